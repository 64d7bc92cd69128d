"""Signals that outlast the process: each once, in its newest state, and read page by page."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from server.signals.model import Signal, SignalStatus
from server.store.database import Database
from server.store.outbox import Outbox
from server.store.writer import GROUP_MAX

__all__ = [
    "COUNT_MAX",
    "LIMIT_MAX",
    "KeptSignal",
    "Place",
    "SignalPage",
    "SignalQuery",
    "SignalStore",
]

#: Signals of one page.
LIMIT_MAX = 1000

#: Signals that are counted at most.
COUNT_MAX = 10_000

_COLUMNS = (
    "id, trader_id, filter_hash, market, symbol, interval, open_time_ms, price, status, revision,"
    " data_revision, complete, sub_values, anchors, at_ms, historical"
)
# A signal comes again after a restart, or from a replica: what is not newer changes nothing.
_UPSERT = (
    f"INSERT INTO signals (seq, {_COLUMNS}) VALUES ({', '.join('?' * 17)})"
    " ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, price = excluded.price,"
    " status = excluded.status, revision = excluded.revision,"
    " data_revision = excluded.data_revision, complete = excluded.complete,"
    " sub_values = excluded.sub_values, anchors = excluded.anchors, at_ms = excluded.at_ms,"
    " historical = excluded.historical WHERE excluded.revision > signals.revision"
)
_BEHIND_ALL = 1 << 62

_encoder = msgspec.json.Encoder()
_values = msgspec.json.Decoder(dict[str, float | None])
_anchors = msgspec.json.Decoder(dict[str, int])


class Place(NamedTuple):
    """Where a page from the newest to the oldest ended; a revision does not move a signal."""

    open_time_ms: int
    id: str


class SignalQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which signals: newest klines first, or with ``since`` every change in order of coming."""

    trader_ids: Collection[str] | None  # whose signals whoever asks may see; None: everybody's
    trader_id: str | None = None
    market: str | None = None
    symbol: str | None = None
    since: int | None = None  # seq of the last change that is known; not together with ``before``
    before: Place | None = None
    after: Place | None = None  # the page just newer than that; not together with the others
    limit: int = 100


class KeptSignal(NamedTuple):
    """A signal, and its place in the order of changes, which moves with each of its revisions."""

    seq: int
    signal: Signal


class SignalPage(NamedTuple):
    """Some signals, and where the next page begins: as ``since`` or ``before``."""

    signals: list[KeptSignal]
    since: int | None  # of a page of changes, also of an empty one
    before: Place | None  # None: that was the last page
    after: Place | None = None  # what is newer; None of an empty page, and of one of changes


class SignalStore:
    """Signals, upserted by id; the newer revision wins, the same one changes nothing."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    def put(self, signals: Sequence[Signal]) -> None:
        """Keep some, and tell Supabase of them. Never waits; see ``Database.post``."""
        for start in range(0, len(signals), GROUP_MAX):
            part = tuple(signals[start : start + GROUP_MAX])
            self._database.post(partial(self._keep, signals=part), weight=len(part))

    def _keep(self, connection: sqlite3.Connection, signals: Sequence[Signal]) -> None:
        (seq,) = connection.execute("SELECT value FROM counts WHERE name = 'signal_seq'").fetchone()
        changed: dict[str, Signal] = {}
        for signal in signals:
            if connection.execute(_UPSERT, _row(seq + 1, signal)).rowcount > 0:
                seq += 1
                changed[signal.id] = signal
        if not changed:
            return
        connection.execute("UPDATE counts SET value = ? WHERE name = 'signal_seq'", (seq,))
        if self._outbox.enabled:
            self._outbox.append(
                connection,
                "signals",
                [
                    (signal.id, signal.trader_id, signal.at_ms, _encoder.encode(signal).decode())
                    for signal in changed.values()
                ],
            )

    async def page(self, query: SignalQuery) -> SignalPage:
        """Signals as asked for. Raises StoreError."""
        return await self._database.read(lambda connection: _page(connection, query))

    async def get(self, signal_id: str) -> KeptSignal | None:
        """One signal; None if it is not there. Whoever asks is to be checked. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> KeptSignal | None:
            row = connection.execute(
                f"SELECT seq, {_COLUMNS} FROM signals WHERE id = ?", (signal_id,)
            ).fetchone()
            return None if row is None else _kept(row)

        return await self._database.read(work)

    async def provisional(self, market: str, limit: int) -> list[Signal]:
        """A market's newest that are neither confirmed nor retracted, in order of their coming.

        Raises StoreError.
        """

        def work(connection: sqlite3.Connection) -> list[Signal]:
            rows = connection.execute(
                f"SELECT seq, {_COLUMNS} FROM signals WHERE status = 'provisional' AND market = ?"
                " ORDER BY seq DESC LIMIT ?",
                (market, limit),
            )
            return [_kept(row).signal for row in rows][::-1]

        return await self._database.read(work)

    async def count(self, trader_ids: Collection[str] | None, since_ms: int) -> int:
        """How many were told of klines from ``since_ms`` on, retracted and historical ones left
        out, by these traders; ``COUNT_MAX`` stands for more. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> int:
            told = "open_time_ms >= ? AND historical = 0 AND status != 'retracted'"
            if trader_ids is None:
                source = f"signals WHERE {told}"
                values: list[Any] = [since_ms]
            else:
                source = (
                    "(SELECT value AS wanted FROM json_each(?)) CROSS JOIN signals"
                    f" WHERE trader_id = wanted AND {told}"
                )
                values = [json.dumps(list(trader_ids)), since_ms]
            (count,) = connection.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT {COUNT_MAX})", values
            ).fetchone()
            return int(count)

        return await self._database.read(work)

    async def last_seq(self) -> int:
        """Of the newest change; 0 if there never was one. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> int:
            (seq,) = connection.execute(
                "SELECT value FROM counts WHERE name = 'signal_seq'"
            ).fetchone()
            return int(seq)

        return await self._database.read(work)


def _page(connection: sqlite3.Connection, query: SignalQuery) -> SignalPage:
    trader_ids = query.trader_ids
    if query.trader_id is not None:
        is_visible = trader_ids is None or query.trader_id in trader_ids
        trader_ids = [query.trader_id] if is_visible else []
    limit = max(1, min(query.limit, LIMIT_MAX))
    conditions, values = _conditions(query)
    order = "open_time_ms DESC, id DESC"
    if query.since is not None:
        order = "seq"
    elif query.after is not None:
        order = "open_time_ms, id"
    where = " AND ".join(conditions) or "1"
    tail = f"ORDER BY {order} LIMIT {limit + 1}"
    if trader_ids is None:
        sql = f"SELECT seq, {_COLUMNS} FROM signals WHERE {where} {tail}"
    else:
        # The first rows of each trader by its index, then the first of those: however many
        # signals others have, they are not looked at.
        sql = (
            f"SELECT seq, {_COLUMNS} FROM (SELECT value AS wanted FROM json_each(?))"
            " CROSS JOIN signals WHERE seq IN (SELECT seq FROM signals WHERE trader_id = wanted"
            f" AND {where} {tail}) {tail}"
        )
        values.insert(0, json.dumps(list(trader_ids)))
    kept = [_kept(row) for row in connection.execute(sql, values)]
    more, kept = kept[limit:], kept[:limit]
    if query.since is not None:
        return SignalPage(kept, kept[-1].seq if kept else query.since, None)
    if query.after is not None:
        kept.reverse()
    if not kept:
        return SignalPage(kept, None, None)
    first, last = kept[0].signal, kept[-1].signal
    older = more or query.after is not None  # there is what the page is newer than
    return SignalPage(
        kept,
        None,
        Place(last.open_time_ms, last.id) if older else None,
        Place(first.open_time_ms, first.id),
    )


def _conditions(query: SignalQuery) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if query.since is not None:
        conditions.append("seq > ?")
        values.append(query.since)
    elif query.before is not None:
        conditions.append("(open_time_ms, id) < (?, ?)")
        values += query.before
    elif query.after is not None:
        conditions.append("(open_time_ms, id) > (?, ?)")
        values += query.after
    for name in ("market", "symbol"):
        value = getattr(query, name)
        if value is not None:
            conditions.append(f"{name} = ?")
            values.append(value)
    return conditions, values


def _row(seq: int, signal: Signal) -> tuple[Any, ...]:
    return (
        seq,
        signal.id,
        signal.trader_id,
        signal.filter_hash,
        signal.market,
        signal.symbol,
        signal.interval,
        signal.open_time_ms,
        signal.price,
        str(signal.status),
        signal.revision,
        signal.data_revision,
        int(signal.complete),
        _encoder.encode(signal.values).decode(),
        _encoder.encode(signal.anchors).decode(),
        signal.at_ms,
        int(signal.historical),
    )


def _kept(row: Sequence[Any]) -> KeptSignal:
    return KeptSignal(
        row[0],
        Signal(
            id=row[1],
            trader_id=row[2],
            filter_hash=row[3],
            market=row[4],
            symbol=row[5],
            interval=row[6],
            open_time_ms=row[7],
            price=row[8],
            status=SignalStatus(row[9]),
            revision=row[10],
            data_revision=row[11],
            complete=bool(row[12]),
            values=_values.decode(row[13]),
            anchors=_anchors.decode(row[14]),
            at_ms=row[15],
            historical=bool(row[16]),
        ),
    )
