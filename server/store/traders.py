"""Traders that outlast the process: those made here, and the last good set of Supabase's."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from server.errors import QuotaError, StoreError
from server.store.database import Database
from server.traders.model import Trader

__all__ = ["LOCAL", "SUPABASE", "TraderStore"]

log = logging.getLogger(__name__)

#: Whose the traders are.
LOCAL, SUPABASE = "local", "supabase"

#: Rows of each table that go with their trader at once; the rest follows in batches.
GOING_MAX = 1000

_OF_A_TRADER = ("signals", "executions")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Trader)


class TraderStore:
    """Keeps traders; what is said to be done outlasts a loss of power.

    Every method raises StoreError: the store cannot be reached now, and nothing was changed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, origin: str = LOCAL) -> list[Trader]:
        """All traders of an origin, by age."""
        return await self._database.read(lambda connection: _load(connection, origin))

    async def insert(self, trader: Trader, quota: int | None) -> None:
        """Keep a new one. Raises QuotaError: its owner has ``quota`` enabled ones already."""

        def work(connection: sqlite3.Connection) -> None:
            _check_quota(connection, trader, quota)
            connection.execute("DELETE FROM departed WHERE trader_id = ?", (trader.id,))
            try:
                connection.execute("INSERT INTO traders VALUES (?, ?, ?, ?, ?)", _row(trader))
            except sqlite3.IntegrityError:
                raise StoreError(f"there is a trader {trader.id} already") from None

        await self._database.write(work)

    async def update(self, trader: Trader, quota: int | None) -> None:
        """Keep it as it is now. Raises QuotaError: it was enabled beyond the quota."""

        def work(connection: sqlite3.Connection) -> None:
            _check_quota(connection, trader, quota)
            cursor = connection.execute(
                "UPDATE traders SET owner = ?, enabled = ?, body = ? WHERE origin = ? AND id = ?",
                (trader.owner, trader.enabled, _encode(trader), LOCAL, trader.id),
            )
            if not cursor.rowcount:
                raise StoreError(f"there is no trader {trader.id}")

        await self._database.write(work)

    async def delete(self, trader_id: str) -> None:
        """Keep it no longer, and nothing of it."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM traders WHERE origin = ? AND id = ?", (LOCAL, trader_id)
            )
            depart(connection, trader_id)

        await self._database.write(work)

    async def replace(self, traders: Sequence[Trader], origin: str = SUPABASE) -> None:
        """Let the traders of an origin be these and no others; what goes, goes with all of it."""
        rows = {trader.id: _row(trader, origin) for trader in traders}

        def work(connection: sqlite3.Connection) -> None:
            before = {
                row[1]: row
                for row in connection.execute("SELECT * FROM traders WHERE origin = ?", (origin,))
            }
            for trader_id in before.keys() - rows.keys():
                connection.execute(
                    "DELETE FROM traders WHERE origin = ? AND id = ?", (origin, trader_id)
                )
                connection.execute("INSERT OR IGNORE INTO departed VALUES (?)", (trader_id,))
            for trader_id, row in rows.items():
                if before.get(trader_id) != row:
                    connection.execute("INSERT OR REPLACE INTO traders VALUES (?, ?, ?, ?, ?)", row)
                    connection.execute("DELETE FROM departed WHERE trader_id = ?", (trader_id,))

        await self._database.write(work)


def depart(connection: sqlite3.Connection, trader_id: str) -> bool:
    """Delete what is left of a trader, at most so much; True: that was all."""
    connection.execute("DELETE FROM trader_errors WHERE trader_id = ?", (trader_id,))
    rest = False
    for table in _OF_A_TRADER:
        cursor = connection.execute(
            f"DELETE FROM {table} WHERE seq IN"
            f" (SELECT seq FROM {table} WHERE trader_id = ? LIMIT ?)",
            (trader_id, GOING_MAX),
        )
        rest = rest or cursor.rowcount == GOING_MAX
    connection.execute("DELETE FROM execution_hours WHERE trader_id = ?", (trader_id,))
    # What its engine said last may still be on its way here: later on it is looked after again.
    connection.execute("INSERT OR IGNORE INTO departed VALUES (?)", (trader_id,))
    return not rest


def _check_quota(connection: sqlite3.Connection, trader: Trader, quota: int | None) -> None:
    if quota is None or not trader.enabled:
        return
    (others,) = connection.execute(
        "SELECT count(*) FROM traders WHERE owner IS ? AND enabled = 1 AND origin = ? AND id != ?",
        (trader.owner, LOCAL, trader.id),
    ).fetchone()
    if others >= quota:
        raise QuotaError(quota)


def _load(connection: sqlite3.Connection, origin: str) -> list[Trader]:
    rows = connection.execute("SELECT id, body FROM traders WHERE origin = ?", (origin,))
    return sorted(_decode_all(rows), key=lambda trader: (trader.created_ms, trader.id))


def _decode_all(rows: Iterable[tuple[str, str]]) -> Iterable[Trader]:
    for trader_id, body in rows:
        try:
            yield _decoder.decode(body)
        except msgspec.DecodeError as error:
            log.error("trader %s cannot be read and is left out: %s", trader_id, error)


def _row(trader: Trader, origin: str = LOCAL) -> tuple[str, str, str | None, int, str]:
    return origin, trader.id, trader.owner, int(trader.enabled), _encode(trader)


def _encode(trader: Trader) -> str:
    return _encoder.encode(trader).decode()
