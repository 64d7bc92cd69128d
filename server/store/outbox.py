"""What Supabase is still to be told: bounded, one row for each thing, deleted once it is there."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from server.clock import Clock
from server.metrics import Registry
from server.store.connections import open_reading
from server.store.database import Database

__all__ = ["DEAD_MAX", "KINDS", "Letter", "Outbox", "OutboxFile", "OutboxRow"]

log = logging.getLogger(__name__)

#: Kinds of rows; at the bound, the first ones go first. An error that was never told does less harm
#: than one that is never cleared.
KINDS = ("executions", "errors", "cleared", "signals")

#: Letters that are kept; beyond it the oldest go.
DEAD_MAX = 10_000


class OutboxRow(NamedTuple):
    """A row that waits. ``body`` is the JSON of what is told."""

    seq: int
    key: str  # a newer state of the same thing has the same, and takes its place
    trader_id: str
    at_ms: int
    body: bytes


class Letter(Protocol):
    """A row that will never be taken, and why."""

    @property
    def seq(self) -> int: ...
    @property
    def code(self) -> str: ...
    @property
    def detail(self) -> str: ...


class DeadLetter(NamedTuple):
    """One that was kept."""

    seq: int
    kind: str
    key: str
    trader_id: str
    code: str
    detail: str
    body: str
    at_ms: int


class Outbox:
    """Rows on their way to Supabase, written in the transaction of what they tell of."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        metrics: Registry,
        enabled: bool,
        rows_max: int,
        bytes_max: int,
    ) -> None:
        """Not ``enabled``: nothing is appended; what an earlier life left stays where it is."""
        self.enabled = enabled
        self.depth = 0
        #: Of the oldest row; None if there is none.
        self.oldest_ms: int | None = None
        self._database = database
        self._clock = clock
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._dropped = dict.fromkeys(KINDS, 0)  # also in earlier lives
        self._is_full = self._is_open = False
        database.after_commit.append(self._look)
        metrics.gauge("outbox_depth", "Rows Supabase is still to be told.").read(
            lambda: float(self.depth)
        )
        metrics.gauge("outbox_oldest_seconds", "Age of the oldest of them.").read(self._oldest_s)
        drops = metrics.counter(
            "outbox_dropped_total", "Rows there was no room for in the outbox.", ("kind",)
        )
        for kind in KINDS:
            drops.read(lambda kind=kind: float(self._dropped[kind]), kind)  # type: ignore[misc]
        self._dead = metrics.counter(
            "outbox_dead_total", "Rows Supabase refused for good.", ("code",)
        )

    def _oldest_s(self) -> float:
        oldest_ms = self.oldest_ms
        return 0.0 if oldest_ms is None else max(0, self._clock.time_ms() - oldest_ms) / 1000

    # --- in the writer's thread ----------------------------------------------------------------

    def append(
        self,
        connection: sqlite3.Connection,
        kind: str,
        rows: Sequence[tuple[str, str, int, str]],
    ) -> None:
        """Add rows of (key, trader id, ms, JSON) to the transaction; the oldest make room."""
        if not self.enabled or not rows:
            return
        connection.executemany(
            "DELETE FROM outbox WHERE kind = ? AND key = ?", [(kind, row[0]) for row in rows]
        )
        connection.executemany(
            "INSERT INTO outbox (kind, key, trader_id, at_ms, body) VALUES (?, ?, ?, ?, ?)",
            [(kind, *row) for row in rows],
        )
        self._make_room(connection)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        for kind in KINDS:
            while (excess := self._excess(connection)) > 0:
                cursor = connection.execute(
                    "DELETE FROM outbox WHERE seq IN"
                    " (SELECT seq FROM outbox WHERE kind = ? ORDER BY seq LIMIT ?)",
                    (kind, excess),
                )
                if not cursor.rowcount:
                    break
                connection.execute(
                    "INSERT INTO counts VALUES ('outbox_dropped_' || ?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                    (kind, cursor.rowcount),
                )

    def _excess(self, connection: sqlite3.Connection) -> int:
        """How many rows have to go, as far as can be said before the first one went."""
        rows, size = connection.execute("SELECT rows, bytes FROM outbox_size").fetchone()
        excess = max(0, rows - self._rows_max)
        if size > self._bytes_max:
            excess = max(excess, (size - self._bytes_max) * rows // size, 1)
        return int(excess)

    def _look(self, connection: sqlite3.Connection) -> None:
        counts = dict(connection.execute("SELECT name, value FROM counts"))
        dropped = {kind: counts.get(f"outbox_dropped_{kind}", 0) for kind in KINDS}
        if dropped != self._dropped and not self._is_full and self._is_open:
            self._is_full = True
            log.error(
                "the outbox is full: its oldest rows are dropped, %s first, and Supabase is never "
                "told of them; see outbox_dropped_total",
                KINDS[0],
            )
        self._dropped = dropped
        self._is_open = True
        (self.depth,) = connection.execute("SELECT rows FROM outbox_size").fetchone()
        if self.depth < self._rows_max // 2:
            self._is_full = False
        row = connection.execute("SELECT at_ms FROM outbox ORDER BY seq LIMIT 1").fetchone()
        self.oldest_ms = None if row is None else row[0]

    # --- for whoever talks to Supabase ---------------------------------------------------------

    async def read(self, kind: str, after: int, limit: int) -> list[OutboxRow]:
        """The next rows of a kind behind ``after``, by seq. Raises StoreError."""
        return await self._database.read(lambda connection: _read(connection, kind, after, limit))

    async def acknowledge(self, seqs: Sequence[int]) -> None:
        """Rows that are there: delete them. Raises StoreError: they stay, to be sent again.

        A row that was replaced by a newer state meanwhile has another seq, and stays.
        """

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in seqs])

        await self._database.write(work)

    async def bury(self, letters: Sequence[Letter]) -> None:
        """Rows that will never be taken: keep them aside, with the reason. Raises StoreError."""
        now_ms = self._clock.time_ms()
        rows = [(letter.code, letter.detail, now_ms, letter.seq) for letter in letters]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO dead_letters (kind, key, trader_id, code, detail, body, at_ms)"
                " SELECT kind, key, trader_id, ?, ?, body, ? FROM outbox WHERE seq = ?",
                rows,
            )
            connection.executemany(
                "DELETE FROM outbox WHERE seq = ?", [(letter.seq,) for letter in letters]
            )
            connection.execute(
                "DELETE FROM dead_letters WHERE seq <= (SELECT max(seq) FROM dead_letters) - ?",
                (DEAD_MAX,),
            )

        await self._database.write(work)
        for letter in letters:
            self._dead.inc(letter.code)

    async def dead_letters(
        self, *, before: int | None = None, limit: int = 100
    ) -> list[DeadLetter]:
        """The newest ones, before a seq. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> list[DeadLetter]:
            rows = connection.execute(
                "SELECT * FROM dead_letters WHERE seq < ? ORDER BY seq DESC LIMIT ?",
                (before if before is not None else 1 << 62, limit),
            )
            return [DeadLetter(*row) for row in rows]

        return await self._database.read(work)

    async def revive(self, seqs: Sequence[int]) -> None:
        """Let dead letters be sent again, unless a newer state waits. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            text = json.dumps(list(seqs))
            connection.execute(
                "INSERT OR IGNORE INTO outbox (kind, key, trader_id, at_ms, body)"
                " SELECT kind, key, trader_id, at_ms, body FROM dead_letters"
                " WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq",
                (text,),
            )
            connection.execute(
                "DELETE FROM dead_letters WHERE seq IN (SELECT value FROM json_each(?))", (text,)
            )

        await self._database.write(work)


class OutboxFile:
    """The outbox as another process sees it, which never writes: it only says what arrived."""

    def __init__(self, path: str) -> None:
        """Raises sqlite3.Error: there is no such file, or not yet."""
        self._connection = open_reading(path)

    def read(self, kind: str, after: int, limit: int) -> list[OutboxRow]:
        """The next rows of a kind behind ``after``, by seq. Raises sqlite3.Error."""
        return _read(self._connection, kind, after, limit)

    def close(self) -> None:
        self._connection.close()


def _read(connection: sqlite3.Connection, kind: str, after: int, limit: int) -> list[OutboxRow]:
    rows = connection.execute(
        "SELECT seq, key, trader_id, at_ms, body FROM outbox"
        " WHERE kind = ? AND seq > ? ORDER BY seq LIMIT ?",
        (kind, after, limit),
    )
    return [
        OutboxRow(seq, key, trader_id, at_ms, body.encode())
        for seq, key, trader_id, at_ms, body in rows
    ]
