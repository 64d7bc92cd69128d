"""The thread that reads a store's file, one question after the other."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from typing import Any, TypeVar

from server.clock import Clock
from server.errors import StoreError
from server.store.connections import (
    CACHE_KIB,
    Connect,
    Work,
    is_fault,
    open_reading,
    reason,
    settle,
)

__all__ = ["READS_MAX", "READ_S_MAX", "Reader"]

Result = TypeVar("Result")

#: Reads under way or waiting, and seconds one may take.
READS_MAX = 64
READ_S_MAX = 5.0
_READ_STEPS = 20_000  # of SQLite's machine between two looks at the clock


class Reader(threading.Thread):
    """Reads, one after the other, through a connection that cannot write."""

    def __init__(
        self,
        path: str,
        connect: Connect,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(name="store-reader", daemon=True)
        self._path = path
        self._connect = connect
        self._clock = clock
        self._loop = loop
        self._wanted: queue.SimpleQueue[tuple[Work[Any], asyncio.Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._count = 0
        self._connection: sqlite3.Connection | None = None
        self._deadline_s = 0.0
        self._stopping = False

    async def read(self, work: Work[Result]) -> Result:
        if self._count >= READS_MAX:
            raise StoreError("too many questions wait for the store")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._count += 1
        self._wanted.put((work, future))
        return await future

    def stop(self) -> None:
        """End soon, whatever is being read."""
        self._stopping = True
        self._wanted.put(None)

    def run(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            work, future = wanted
            result: Any = None
            failure: BaseException | None = None
            try:
                result = self._do(work)
            except Exception as error:
                failure = StoreError(reason(error)) if is_fault(error) else error
                self._close()
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._answer, future, result, failure)
        self._close()
        while not self._wanted.empty():
            _, future = self._wanted.get()  # type: ignore[misc]
            with contextlib.suppress(RuntimeError):
                closed = StoreError("the store is closed")
                self._loop.call_soon_threadsafe(self._answer, future, None, closed)

    def _do(self, work: Work[Result]) -> Result:
        if self._connection is None:
            self._connection = open_reading(self._path, self._connect)
            self._connection.set_progress_handler(self._is_late, _READ_STEPS)
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._deadline_s = self._clock.monotonic() + READ_S_MAX
        try:
            return work(self._connection)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                if self._stopping:
                    raise StoreError("the store is closed") from None
                raise StoreError(f"reading takes more than {READ_S_MAX:g} s") from None
            raise

    def _is_late(self) -> bool:
        return self._stopping or self._clock.monotonic() > self._deadline_s

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _answer(
        self, future: asyncio.Future[Any], result: Any, failure: BaseException | None
    ) -> None:
        self._count -= 1
        settle(future, failure, result)
