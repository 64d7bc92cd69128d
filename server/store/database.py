"""One SQLite file for an event loop: two threads write and read it, and nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from server.clock import Clock
from server.errors import SettingsError, StoreError
from server.metrics import Registry
from server.store.connections import BUSY_S, CACHE_KIB, Connect, Work
from server.store.damage import set_aside
from server.store.reader import Reader
from server.store.schema import DamagedError, prepare
from server.store.writer import GROUP_MAX, Outcome, Piece, Writer

__all__ = ["Database", "Work"]

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Seconds the last group may take when the server stops.
CLOSE_S = 2.0
#: Bytes the write-ahead log keeps on disk between two checkpoints.
_LOG_BYTES = 32 << 20


class Database:
    """The file at ``path``. ``open`` it, then ``post``, ``write`` and ``read``; then ``close``.

    All methods belong to one event loop, ``Work`` runs in threads. Whatever the disk does,
    ``post`` never waits and never raises; what it cannot take any more is dropped and counted.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock,
        metrics: Registry,
        queue_max: int = 20_000,
        connect: Connect = sqlite3.connect,
        claim: Callable[[], object] = lambda: None,
    ) -> None:
        """``queue_max`` pieces may wait to be written; ``connect`` stands for the disk in tests;
        ``claim`` raises OSError while the file is another server's.
        """
        self.path = path
        #: Called in the writer's thread with its connection, after each commit and at the opening.
        self.after_commit: list[Callable[[sqlite3.Connection], None]] = []
        #: Why nothing can be written at the moment; None while it can.
        self.fault: str | None = None
        #: Where a damaged file was put that stood in this one's place at the start.
        self.damaged: str | None = None
        #: Set once the file is there; before that nothing can be read.
        self.opened = asyncio.Event()
        #: Rows that wait to be written.
        self.waiting = 0
        self._queue_max = queue_max
        self._clock = clock
        self._connect = connect
        self._claim = claim
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        self._urgent = threading.Event()  # do not wait for more of a group
        self._closing = False
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._measure(metrics)

    def _measure(self, metrics: Registry) -> None:
        metrics.gauge("store_queue", "Rows that wait to be written.").read(
            lambda: float(self.waiting)
        )
        metrics.gauge("store_up", "1 while rows can be written.").read(lambda: float(self.up))
        metrics.gauge("store_bytes", "Size of the file and its log.").read(
            lambda: float(self.bytes)
        )
        self._commits = metrics.histogram("store_commit_seconds", "Time to write one group.")
        self._rows = metrics.counter("store_rows_total", "Rows that were handed in and written.")
        self._drops = metrics.counter(
            "store_dropped_total", "Rows there was no room for while the store was slow or down."
        )
        self._errors = metrics.counter(
            "store_errors_total", "Groups and rows that could not be written, by reason.",
            ("reason",),
        )  # fmt: skip

    @property
    def up(self) -> bool:
        """True while rows can be written."""
        return self._writer is not None and self.fault is None

    @property
    def bytes(self) -> int:
        """Size of the file and its log."""
        size = 0
        for path in (self.path, f"{self.path}-wal"):
            with contextlib.suppress(OSError):
                size += os.stat(path).st_size
        return size

    # --- life ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Start. If the disk does not let us now, serve on and try again.

        Raises SettingsError: the file is another program's, or a newer one's.
        """
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        self._reader = Reader(self.path, self._connect, self._clock, self._loop)
        self._writer = Writer(
            self, self._queue, self._urgent, self._loop, opened, before_end=self._reader.join
        )
        self._reader.start()
        self._writer.start()
        try:
            await opened
        except SettingsError:
            await self.close()
            raise

    async def close(self) -> None:
        """Write what waits, unless that takes more than ``CLOSE_S`` seconds, and end."""
        writer, reader = self._writer, self._reader
        if writer is None or reader is None:
            return
        self._closing = True
        self._queue.put(None)
        self._urgent.set()
        reader.stop()
        try:
            async with asyncio.timeout(CLOSE_S):
                await asyncio.shield(writer.ended)
        except TimeoutError:
            log.error("the store does not end in %g s; %d rows are lost", CLOSE_S, self.waiting)
        self._writer = self._reader = None

    # --- work ----------------------------------------------------------------------------------

    def post(self, work: Work[object], *, weight: int = 1, share: float = 1.0) -> bool:
        """Have ``work`` done with the next group. Never waits; False: no room, it is dropped.

        ``weight`` is how many rows it writes; ``share`` of the room is what it may have, so that
        what matters less leaves some to what matters more.
        """
        if self.waiting + weight > self._queue_max * share or self._closing:
            self._drops.inc(by=weight)
            return False
        self._put(Piece(work, weight, None))
        return True

    async def write(self, work: Work[Result]) -> Result:
        """Do ``work``; return what it returned once it outlasts a loss of power.

        What it raises itself is raised here, and nothing of it is kept. Raises StoreError: it
        cannot be written now.
        """
        if self._loop is None or self._closing:
            raise StoreError("the store is closed")
        if self.fault is not None:
            raise StoreError(self.fault)
        if self.waiting >= self._queue_max:
            raise StoreError("the store is too slow at the moment")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._put(Piece(work, 1, future))
        self._urgent.set()
        return await future

    async def read(self, work: Work[Result]) -> Result:
        """Do ``work``, which may only read. Raises StoreError: that is not possible now."""
        if self._reader is None or self._closing:
            raise StoreError("the store is closed")
        if not self.opened.is_set():
            raise StoreError(self.fault or "the store is not open yet")
        return await self._reader.read(work)

    def _put(self, piece: Piece) -> None:
        self.waiting += piece.weight
        self._queue.put(piece)
        # While nothing can be written, the writer alone decides when it tries again.
        if self.waiting >= GROUP_MAX and self.fault is None and not self._urgent.is_set():
            self._urgent.set()

    # --- what the writer tells -----------------------------------------------------------------

    def told(self, outcome: Outcome) -> None:
        """In the loop: what became of pieces."""
        written = 0
        for piece, result, error in outcome.done:
            self.waiting -= piece.weight
            if error is None:
                written += piece.weight
            elif piece.future is None:
                self._errors.inc("refused")
                log.error("rows could not be written: %s", error, exc_info=error)
            if piece.future is not None and not piece.future.done():
                if error is None:
                    piece.future.set_result(result)
                else:
                    piece.future.set_exception(error)
        if outcome.done and outcome.fault is None:
            self._rows.inc(by=written)
            self._commits.observe(outcome.seconds)
        self._note(outcome.fault)

    def _note(self, fault: str | None) -> None:
        if fault is not None:
            self._errors.inc(fault.partition(":")[0])
            if fault != self.fault:
                log.warning("the store cannot be written: %s; the server goes on without", fault)
        else:
            if self.fault is not None:
                log.info("the store is written again")
            self.opened.set()
        self.fault = fault

    def refuse_all(self) -> None:
        """In the loop: the writer has ended, nothing is written any more."""
        self._closing = True

    def set_damaged(self, place: str) -> None:
        """In the loop: the file was set aside at the start, and a new one begun."""
        self.damaged = place
        self._errors.inc("damaged")

    # --- the writer's side: files --------------------------------------------------------------

    def connect(self, *, is_first: bool) -> sqlite3.Connection:
        """In the writer: the file, ready. Raises SettingsError, sqlite3.Error, OSError.

        Only the first time it is looked through for damage, and set aside if there is some.
        """
        try:
            return self._open_file(check=is_first)
        except DamagedError as error:
            if not is_first:
                raise
            place = set_aside(self.path, str(error), self._clock, self._connect)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self.set_damaged, place.path)
            connection = self._open_file(check=True)
            place.restore(connection)
            return connection

    def _open_file(self, *, check: bool) -> sqlite3.Connection:
        os.makedirs(os.path.dirname(self.path) or ".", mode=0o700, exist_ok=True)
        self._claim()
        # Filters and signals are their owners' alone; SQLite gives its log the same rights.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = self._connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            prepare(connection, self.path, self._clock, check=check)
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            for function in self.after_commit:
                function(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def monotonic(self) -> float:
        return self._clock.monotonic()
