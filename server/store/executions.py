"""The history of evaluations, what it amounts to, and what is wrong with traders."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from server.clock import Clock
from server.store.database import Database
from server.store.outbox import Outbox
from server.store.writer import GROUP_MAX
from server.traders.model import Execution, RunSource, TraderError

__all__ = ["WINDOWS_MS", "ErrorStore", "ExecutionPage", "ExecutionStore", "RunCounts"]

HOUR_MS = 3_600_000
#: Windows of the roll-up; of the longer ones the oldest hour counts whole.
WINDOWS_MS = {"1h": HOUR_MS, "24h": 24 * HOUR_MS, "7d": 168 * HOUR_MS, "30d": 720 * HOUR_MS}
#: Windows that are added up from the executions themselves.
_EXACT = ("1h", "24h")

#: Of the room of the queue: while the disk is down, signals matter more.
_SHARE = 0.5
#: Executions of one page.
LIMIT_MAX = 1000

_COLUMNS = tuple(Execution.__struct_fields__)
_INSERT = (
    f"INSERT INTO executions ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    " ON CONFLICT (trader_id, interval, open_time_ms, source) DO NOTHING"
)
_COUNT = (
    "INSERT INTO execution_hours VALUES (?1, ?2, 1, ?3, ?4, ?5, ?5, ?5)"
    " ON CONFLICT (trader_id, hour_ms) DO UPDATE SET runs = runs + 1,"
    " failures = failures + excluded.failures, matches = matches + excluded.matches,"
    " us_sum = us_sum + excluded.us_sum, us_min = min(us_min, excluded.us_min),"
    " us_max = max(us_max, excluded.us_max)"
)

_encoder = msgspec.json.Encoder()


class RunCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the executions of a window amount to."""

    runs: int
    success_percent: float | None  # None: there were none
    matches: int  # symbols, over all runs
    ms_min: float | None
    ms_mean: float | None
    ms_max: float | None


class ExecutionPage(NamedTuple):
    """Some executions, the newest first, and where the next page begins; None: nowhere."""

    executions: list[Execution]
    before: tuple[int, int] | None


class ExecutionStore:
    """One execution for each trader, interval, kline and source; a second one changes nothing."""

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    def put(self, executions: Sequence[Execution]) -> None:
        """Keep some. Never waits; see ``Database.post``."""
        for start in range(0, len(executions), GROUP_MAX):
            part = tuple(executions[start : start + GROUP_MAX])
            work = partial(self._keep, executions=part)
            self._database.post(work, weight=len(part), share=_SHARE)

    def _keep(self, connection: sqlite3.Connection, executions: Sequence[Execution]) -> None:
        told = []
        for one in executions:
            if connection.execute(_INSERT, _row(one)).rowcount <= 0:
                continue
            hour_ms = one.started_ms - one.started_ms % HOUR_MS
            failed = int(one.error is not None)
            connection.execute(
                _COUNT, (one.trader_id, hour_ms, failed, one.symbols_matched, one.duration_us)
            )
            # Of the engine's and the clock's, a thousand traders leave more than a million a day.
            asked_for = one.source is RunSource.REQUEST
            if failed or one.symbols_matched or one.incomplete or asked_for:
                told.append(one)
        if self._outbox.enabled:
            self._outbox.append(connection, "executions", [_outbox_row(one) for one in told])

    async def page(
        self, trader_id: str, *, before: tuple[int, int] | None = None, limit: int = 100
    ) -> ExecutionPage:
        """A trader's executions, the newest first. Raises StoreError."""
        limit = max(1, min(limit, LIMIT_MAX))

        def work(connection: sqlite3.Connection) -> ExecutionPage:
            rows = connection.execute(
                f"SELECT seq, {', '.join(_COLUMNS)} FROM executions"
                " WHERE trader_id = ? AND (started_ms, seq) < (?, ?)"
                " ORDER BY started_ms DESC, seq DESC LIMIT ?",
                (trader_id, *(before or (1 << 62, 0)), limit + 1),
            ).fetchall()
            found = [_execution(row[1:]) for row in rows[:limit]]
            last = rows[limit - 1] if len(rows) > limit else None
            return ExecutionPage(found, last and (found[-1].started_ms, last[0]))

        return await self._database.read(work)

    async def roll_up(self, trader_ids: Collection[str] | None) -> dict[str, RunCounts]:
        """What the executions of some traders, or of all, amount to, by window.

        Raises StoreError.
        """
        now_ms = self._clock.time_ms()
        wanted = None if trader_ids is None else json.dumps(list(trader_ids))

        def work(connection: sqlite3.Connection) -> dict[str, RunCounts]:
            return {
                name: _roll_up(connection, wanted, now_ms - length_ms, exact=name in _EXACT)
                for name, length_ms in WINDOWS_MS.items()
            }

        return await self._database.read(work)


class ErrorStore:
    """What is wrong with traders, once for each filter and kind."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    def put(self, errors: Sequence[TraderError]) -> None:
        """Take their newest state. Never waits; see ``Database.post``."""
        part = tuple(errors)
        self._database.post(
            lambda connection: self._keep(connection, part), weight=len(part), share=_SHARE
        )

    def clear(self, trader_id: str) -> None:
        """Nothing is wrong with a trader any more. Never waits."""
        self._database.post(lambda connection: self._clear(connection, trader_id))

    def _clear(self, connection: sqlite3.Connection, trader_id: str) -> None:
        gone = connection.execute(
            "DELETE FROM trader_errors WHERE trader_id = ? RETURNING last_ms", (trader_id,)
        ).fetchall()
        if gone and self._outbox.enabled:
            # An error that comes later than those must not be cleared with them.
            last_ms = max(row[0] for row in gone)
            body = _encoder.encode({"trader_id": trader_id, "last_ms": last_ms}).decode()
            self._outbox.append(connection, "cleared", [(trader_id, trader_id, last_ms, body)])

    def _keep(self, connection: sqlite3.Connection, errors: Sequence[TraderError]) -> None:
        kept = []
        for error in errors:
            # What was counted before a restart goes on counting.
            row = connection.execute(
                "INSERT INTO trader_errors VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (trader_id, filter_hash, kind) DO UPDATE SET"
                " message = excluded.message, first_ms = min(first_ms, excluded.first_ms),"
                " last_ms = max(last_ms, excluded.last_ms), count = max(count, excluded.count)"
                " RETURNING *",
                msgspec.structs.astuple(error),
            ).fetchone()
            kept.append(TraderError(**dict(zip(TraderError.__struct_fields__, row, strict=True))))
        if self._outbox.enabled:
            newest = {_error_key(error): error for error in kept}
            self._outbox.append(
                connection,
                "errors",
                [
                    (key, error.trader_id, error.last_ms, _encoder.encode(error).decode())
                    for key, error in newest.items()
                ],
            )

    async def load(self) -> list[TraderError]:
        """All of them. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> list[TraderError]:
            fields = TraderError.__struct_fields__
            rows = connection.execute("SELECT * FROM trader_errors")
            return [TraderError(**dict(zip(fields, row, strict=True))) for row in rows]

        return await self._database.read(work)


def _row(one: Execution) -> tuple[Any, ...]:
    return tuple(
        str(value) if isinstance(value, RunSource) else value
        for value in msgspec.structs.astuple(one)
    )


def _execution(row: Sequence[Any]) -> Execution:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["source"] = RunSource(values["source"])
    values["incomplete"] = bool(values["incomplete"])
    return Execution(**values)


def _outbox_row(one: Execution) -> tuple[str, str, int, str]:
    key = f"{one.trader_id}/{one.interval}/{one.open_time_ms}/{one.source}"
    return key, one.trader_id, one.started_ms, _encoder.encode(one).decode()


def _error_key(error: TraderError) -> str:
    return f"{error.trader_id}/{error.filter_hash}/{error.kind}"


def _roll_up(
    connection: sqlite3.Connection, trader_ids: str | None, from_ms: int, *, exact: bool
) -> RunCounts:
    whose = "1" if trader_ids is None else "trader_id IN (SELECT value FROM json_each(?2))"
    if exact:
        sql = (
            "SELECT count(*), count(error), sum(symbols_matched), min(duration_us),"
            " sum(duration_us), max(duration_us) FROM executions"
            f" WHERE started_ms >= ?1 AND {whose}"
        )
    else:
        sql = (
            "SELECT sum(runs), sum(failures), sum(matches), min(us_min), sum(us_sum), max(us_max)"
            f" FROM execution_hours WHERE hour_ms >= ?1 AND {whose}"
        )
        from_ms -= from_ms % HOUR_MS
    values = (from_ms,) if trader_ids is None else (from_ms, trader_ids)
    runs, failures, matches, us_min, us_sum, us_max = connection.execute(sql, values).fetchone()
    if not runs:
        return RunCounts(
            runs=0, success_percent=None, matches=0, ms_min=None, ms_mean=None, ms_max=None
        )
    return RunCounts(
        runs=runs,
        success_percent=100.0 * (runs - failures) / runs,
        matches=matches,
        ms_min=us_min / 1000,
        ms_mean=us_sum / runs / 1000,
        ms_max=us_max / 1000,
    )
