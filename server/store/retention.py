"""What is too old goes, a little at a time, so that the writer is never long at it."""

from __future__ import annotations

import logging
import sqlite3
from typing import NamedTuple

from server.clock import Clock
from server.errors import StoreError
from server.metrics import Registry
from server.store.database import Database
from server.store.traders import depart

__all__ = ["Ages", "Retention"]

log = logging.getLogger(__name__)

#: Seconds between two looks, and between two batches while there is more to do.
LOOK_S, PAUSE_S = 60.0, 0.2
#: Rows of a batch, and free pages that are given back to the disk with it.
BATCH_MAX, PAGES_MAX = 500, 200
#: Executions' roll-ups are kept as long as the longest window that is shown, and a day.
HOURS_MS = 31 * 86_400_000


class Ages(NamedTuple):
    """How long, and how many, of the newest, are kept."""

    executions_s: float
    executions_max: int
    signals_s: float
    signals_max: int


class Retention:
    """Deletes what is older than ``Ages``; ``run`` it as a task."""

    def __init__(self, database: Database, ages: Ages, *, clock: Clock, metrics: Registry) -> None:
        self._database = database
        self._ages = ages
        self._clock = clock
        self._removed = metrics.counter(
            "store_removed_total", "Rows that were deleted for their age or number.", ("table",)
        )

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                while await self.step():
                    await self._clock.sleep(PAUSE_S)
            except StoreError as error:
                log.debug("nothing can be removed now: %s", error)
            except sqlite3.Error:
                log.exception("old rows could not be removed")
            await self._clock.sleep(LOOK_S)

    async def step(self) -> bool:
        """One batch; True if there is more to do. Raises StoreError."""
        now_ms = self._clock.time_ms()
        ages = self._ages
        removed, more = await self._database.write(
            lambda connection: _remove(connection, now_ms, ages)
        )
        for table, count in removed.items():
            self._removed.inc(table, by=count)
        return more


def _remove(connection: sqlite3.Connection, now_ms: int, ages: Ages) -> tuple[dict[str, int], bool]:
    """How many rows went, by table, and whether there may be more."""
    removed = {
        "signals": _remove_oldest(
            connection, "signals", "at_ms", now_ms - int(ages.signals_s * 1000), ages.signals_max
        ),
        "executions": _remove_oldest(
            connection,
            "executions",
            "started_ms",
            now_ms - int(ages.executions_s * 1000),
            ages.executions_max,
        ),
        "execution_hours": connection.execute(
            "DELETE FROM execution_hours WHERE (trader_id, hour_ms) IN (SELECT trader_id, hour_ms"
            " FROM execution_hours WHERE hour_ms < ? ORDER BY hour_ms LIMIT ?)",
            (now_ms - HOURS_MS, BATCH_MAX),
        ).rowcount,
    }
    more = any(count >= BATCH_MAX for count in removed.values())
    more = _remove_departed(connection) or more
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free, PAGES_MAX)):
        # One by one: Python takes the first step of this statement only, which frees one page.
        connection.execute("PRAGMA incremental_vacuum(1)")
    return removed, more


def _remove_oldest(
    connection: sqlite3.Connection, table: str, column: str, before_ms: int, rows_max: int
) -> int:
    """The rows that came first, of those the too old ones, and those that are too many."""
    first, last = connection.execute(
        f"SELECT (SELECT min(seq) FROM {table}), (SELECT max(seq) FROM {table})"
    ).fetchone()
    if first is None:
        return 0
    # Rows are missing between the two: only if there could be too many they are counted.
    excess = last - first + 1 - rows_max
    if excess > 0:
        excess = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] - rows_max
    return connection.execute(
        f"DELETE FROM {table} WHERE seq IN (SELECT seq FROM"
        f" (SELECT seq, {column}, row_number() OVER (ORDER BY seq) AS place FROM"
        f" (SELECT seq, {column} FROM {table} ORDER BY seq LIMIT ?))"
        f" WHERE {column} < ? OR place <= ?)",
        (BATCH_MAX, before_ms, excess),
    ).rowcount


def _remove_departed(connection: sqlite3.Connection) -> bool:
    """What is left of one trader that is gone; True: there may be more, or another one."""
    row = connection.execute("SELECT trader_id FROM departed LIMIT 1").fetchone()
    if row is None:
        return False
    if depart(connection, row[0]):
        connection.execute("DELETE FROM departed WHERE trader_id = ?", row)
    return True
