"""Stores in temporary folders, what is put into them, and disks that are slow or fail."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from server.clock import SystemClock
from server.disk import SystemDisk
from server.metrics import Registry
from server.settings import Settings
from server.signals.model import Signal, SignalStatus, signal_id
from server.store.base import Store
from server.traders.model import Execution, RunSource, Trader, TraderError

NOW_MS = 1_769_904_000_000
MINUTE = 60_000


_NAMES = {
    sqlite3.SQLITE_CANTOPEN: "SQLITE_CANTOPEN",
    sqlite3.SQLITE_FULL: "SQLITE_FULL",
    sqlite3.SQLITE_IOERR: "SQLITE_IOERR_WRITE",
    sqlite3.SQLITE_READONLY: "SQLITE_READONLY",
}


class SetClock(SystemClock):
    """Wall time stands where it was set; waiting is as ever."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms


class BadDisk:
    """Connections whose commits fail or take long, while told to."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.fault: tuple[int, str] | None = None
        self.commits = 0
        self._goes_on = threading.Event()
        self._goes_on.set()

    def hang(self) -> None:
        """Let every commit wait until ``go_on``."""
        self._goes_on.clear()

    def go_on(self) -> None:
        self._goes_on.set()

    def fail(self, code: int = sqlite3.SQLITE_FULL, text: str = "database or disk is full") -> None:
        self.fault = code, text

    def mend(self) -> None:
        self.fault = None

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        if self.fault is not None and self.fault[0] == sqlite3.SQLITE_CANTOPEN:
            raise self._error()
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if sql == "COMMIT":
                    disk.commits += 1
                    time.sleep(disk.delay_s)
                    disk._goes_on.wait()
                    if disk.fault is not None:
                        raise disk._error()
                return super().execute(sql, *parameters)

        return sqlite3.connect(*arguments, factory=Connection, **options)

    def _error(self) -> sqlite3.OperationalError:
        assert self.fault is not None
        error = sqlite3.OperationalError(self.fault[1])
        error.sqlite_errorcode = self.fault[0]
        error.sqlite_errorname = _NAMES[self.fault[0] & 0xFF]
        return error


def make(
    folder: Path,
    *,
    clock: SystemClock | None = None,
    metrics: Registry | None = None,
    with_outbox: bool = False,
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
    disk: SystemDisk | None = None,
    **settings: Any,
) -> Store:
    return Store(
        Settings(**settings),
        directory=str(folder),
        disk=disk or SystemDisk(),
        clock=clock or SetClock(),
        metrics=metrics or Registry(),
        with_outbox=with_outbox,
        connect=connect,
    )


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[Store]:
    """A store that is there. Its claim ends with it, as if each were a process of its own."""
    disk = options.setdefault("disk", SystemDisk())
    store = make(folder, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()
        disk.close()


async def settled(store: Store, timeout_s: float = 60.0) -> None:
    """Until everything that was put in is written."""
    async with asyncio.timeout(timeout_s):
        while store.database.waiting:
            await asyncio.sleep(0.002)


def trader(number: int = 1, *, owner: str | None = "ann", **fields: Any) -> Trader:
    values: dict[str, Any] = {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "owner": owner,
        "name": f"trader {number}",
        "filter": "close > 1",
        "interval": "1m",
        "created_ms": NOW_MS + number,
        "updated_ms": NOW_MS + number,
    }
    return Trader(**values | fields)


def signal(number: int = 1, *, whose: Trader | None = None, **fields: Any) -> Signal:
    """The one of minute ``number``."""
    trader_id = (whose or trader()).id
    symbol = fields.pop("symbol", "BTCUSDT")
    open_ms = NOW_MS + number * MINUTE
    values: dict[str, Any] = {
        "id": signal_id(trader_id, "f" * 16, "spot", symbol, "1m", open_ms),
        "trader_id": trader_id,
        "filter_hash": "f" * 16,
        "market": "spot",
        "symbol": symbol,
        "interval": "1m",
        "open_time_ms": open_ms,
        "price": "1.50",
        "status": SignalStatus.FIRED,
        "revision": 1,
        "data_revision": 7,
        "complete": True,
        "values": {"close": 1.5, "sma(close, 200)": None},
        "anchors": {"1m": NOW_MS},
        "at_ms": open_ms + MINUTE,
    }
    return Signal(**values | fields)


def execution(number: int = 1, *, whose: Trader | None = None, **fields: Any) -> Execution:
    values: dict[str, Any] = {
        "trader_id": (whose or trader()).id,
        "filter_hash": "f" * 16,
        "interval": "1m",
        "open_time_ms": NOW_MS + number * MINUTE,
        "source": RunSource.ENGINE,
        "started_ms": NOW_MS + (number + 1) * MINUTE,
        "duration_us": 1500,
        "symbols_checked": 50,
        "symbols_matched": 0,
        "symbols_unknown": 0,
        "incomplete": False,
    }
    return Execution(**values | fields)


def mistake(number: int = 1, *, whose: Trader | None = None, **fields: Any) -> TraderError:
    values: dict[str, Any] = {
        "trader_id": (whose or trader()).id,
        "filter_hash": "f" * 16,
        "kind": "unknown_symbol",
        "message": f"no such symbol: {number}",
        "first_ms": NOW_MS,
        "last_ms": NOW_MS + number,
    }
    return TraderError(**values | fields)
