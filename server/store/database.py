"""One SQLite file: a thread that writes it in groups, another that reads, and nobody who waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from server.clock import Clock
from server.errors import SettingsError, StoreError
from server.metrics import Registry
from server.store.connections import BUSY_S, Connect, Work, is_fault, reason, settle
from server.store.damage import set_aside
from server.store.reader import Reader
from server.store.schema import DamagedError, prepare, touch

__all__ = ["GROUP_MAX", "GROUP_S", "Database", "Work"]

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: A group is committed once it has so many pieces, or so long after its first; at once if somebody
#: waits for it.
GROUP_MAX = 500
GROUP_S = 0.02
#: Seconds between two attempts to write while that fails; they double up to the second figure.
RETRY_S, RETRY_MAX_S = 0.1, 5.0
#: Seconds the last group may take when the server stops.
CLOSE_S = 5.0
#: Bytes the write-ahead log keeps on disk between two checkpoints.
_LOG_BYTES = 32 << 20


class _Piece(NamedTuple):
    work: Work[Any]
    weight: int
    future: asyncio.Future[Any] | None  # of whoever waits for the commit


#: A piece, what its work returned, or why nothing of it was kept.
_Done = tuple[_Piece, Any, BaseException | None]


class _Outcome(NamedTuple):
    """What the writer tells the loop of one attempt."""

    done: list[_Done]
    seconds: float
    fault: str | None  # why the whole group failed


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
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._urgent = threading.Event()  # do not wait for more of a group
        self._closing = False
        self._writer: _Writer | None = None
        self._reader: Reader | None = None
        self._measure(metrics)

    def _measure(self, metrics: Registry) -> None:
        metrics.gauge("store_queue", "Rows that wait to be written.").read(
            lambda: float(self.waiting)
        )
        metrics.gauge("store_up", "1 while rows can be written.").read(
            lambda: float(self._writer is not None and self.fault is None)
        )
        metrics.gauge("store_bytes", "Size of the file and its log.").read(self._bytes)
        self._commits = metrics.histogram("store_commit_seconds", "Time to write one group.")
        self._rows = metrics.counter("store_rows_total", "Rows that were handed in and written.")
        self._drops = metrics.counter(
            "store_dropped_total", "Rows there was no room for while the store was slow or down."
        )
        self._errors = metrics.counter(
            "store_errors_total", "Groups and rows that could not be written, by reason.",
            ("reason",),
        )  # fmt: skip

    def _bytes(self) -> float:
        size = 0
        for path in (self.path, f"{self.path}-wal"):
            with contextlib.suppress(OSError):
                size += os.stat(path).st_size
        return float(size)

    # --- life ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Start. If the disk does not let us now, serve on and try again.

        Raises SettingsError: the file is another program's, or a newer one's.
        """
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        self._writer = _Writer(self, self._queue, self._urgent, self._loop, opened)
        self._reader = Reader(self.path, self._connect, self._clock, self._loop)
        self._writer.start()
        self._reader.start()
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
        self._put(_Piece(work, weight, None))
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
        self._put(_Piece(work, 1, future))
        self._urgent.set()
        return await future

    async def read(self, work: Work[Result]) -> Result:
        """Do ``work``, which may only read. Raises StoreError: that is not possible now."""
        if self._reader is None or self._closing:
            raise StoreError("the store is closed")
        if not self.opened.is_set():
            raise StoreError(self.fault or "the store is not open yet")
        return await self._reader.read(work)

    def _put(self, piece: _Piece) -> None:
        self.waiting += piece.weight
        self._queue.put(piece)
        # While nothing can be written, the writer alone decides when it tries again.
        if self.waiting >= GROUP_MAX and self.fault is None and not self._urgent.is_set():
            self._urgent.set()

    # --- what the writer tells -----------------------------------------------------------------

    def told(self, outcome: _Outcome) -> None:
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
            for function in self.after_commit:
                function(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def monotonic(self) -> float:
        return self._clock.monotonic()


class _Writer(threading.Thread):
    """Takes pieces from the queue and writes them in groups, in their order."""

    def __init__(
        self,
        database: Database,
        pieces: queue.SimpleQueue[_Piece | None],
        urgent: threading.Event,
        loop: asyncio.AbstractEventLoop,
        opened: asyncio.Future[None],
    ) -> None:
        super().__init__(name="store-writer", daemon=True)
        self.ended: asyncio.Future[None] = loop.create_future()
        self._database = database
        self._pieces = pieces
        self._urgent = urgent
        self._loop = loop
        self._opened = opened
        self._held: deque[_Piece] = deque()  # taken from the queue, not written yet
        self._connection: sqlite3.Connection | None = None
        self._is_open = False  # the server has started, with the file or without
        self._was_there = False  # the file was opened once
        self._is_full = False  # synchronous = FULL
        self._closing = False
        self._backlog = False  # the last group was full: do not wait for more

    def run(self) -> None:
        try:
            self._live()
        except BaseException as error:  # a thread that ends unheard would leave everybody waiting
            log.critical("the store's writer failed", exc_info=error)
            self._tell_loop(settle, self._opened, error)
            self._tell_loop(self._database.refuse_all)
            self._give_up(f"internal: {type(error).__name__}: {error}")
        finally:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
            self._tell_loop(settle, self.ended, None)

    def _live(self) -> None:
        failures = 0
        try:
            fault = self._reconnect()
        except SettingsError as error:
            self._tell_loop(settle, self._opened, error)
            return
        self._is_open = True
        is_shut = fault is not None
        self._report([], 0.0, fault)
        self._tell_loop(settle, self._opened, None)
        while True:
            if fault is None:
                failures = 0
                if not self._held and not self._wait():
                    return
            else:
                if self._closing:
                    self._give_up(fault)
                    return
                self._pause(min(RETRY_MAX_S, RETRY_S * 2.0 ** min(failures, 16)), fault)
                failures += 1
            self._urgent.clear()
            self._take()
            was_down = fault is not None
            if self._connection is None:
                failed_to_open, fault = is_shut, self._reconnect()
                is_shut = fault is not None
                if failed_to_open and not is_shut:
                    self._report([], 0.0, None)  # it can be read, whatever there is to write
            if self._connection is not None:
                fault = self._group(is_trial=was_down)
            if fault is not None:
                self._refuse(fault)

    def _pause(self, seconds: float, fault: str) -> None:
        """Until the next attempt is due, or the end; who would wait for it is refused at once."""
        due_s = self._database.monotonic() + seconds
        while not self._closing and (left_s := due_s - self._database.monotonic()) > 0:
            if self._urgent.wait(left_s):
                self._urgent.clear()
                self._take()
                self._refuse(fault)

    # --- taking --------------------------------------------------------------------------------

    def _wait(self) -> bool:
        """Until there is something, and a little longer for more. False: that was the last."""
        if self._closing:
            return False
        piece = self._pieces.get()
        if piece is None:
            self._closing = True
        else:
            self._held.append(piece)
            if not self._backlog:
                self._urgent.wait(GROUP_S)
        return True

    def _take(self) -> None:
        """Move everything that waits into ``_held``."""
        while True:
            try:
                piece = self._pieces.get_nowait()
            except queue.Empty:
                return
            if piece is None:
                self._closing = True
            else:
                self._held.append(piece)

    # --- writing -------------------------------------------------------------------------------

    def _reconnect(self) -> str | None:
        try:
            self._connection = self._database.connect(is_first=not self._was_there)
            self._was_there = True
            self._is_full = False
            return None
        except (sqlite3.Error, OSError) as error:
            return reason(error)
        except SettingsError as error:
            if not self._is_open:
                raise
            return f"replaced: {error}"

    def _group(self, *, is_trial: bool) -> str | None:
        """Write the next pieces, for a trial even if there are none; why that failed."""
        group: list[_Piece] = []
        rows = 0
        for piece in self._held:
            if group and rows + piece.weight > GROUP_MAX:
                break
            group.append(piece)
            rows += piece.weight
        self._backlog = len(group) < len(self._held) or rows >= GROUP_MAX
        if not group and not is_trial:
            return None
        assert self._connection is not None
        started_s = self._database.monotonic()
        try:
            done = self._commit(self._connection, group)
        except sqlite3.Error as error:
            connection, self._connection = self._connection, None
            with contextlib.suppress(sqlite3.Error):
                connection.close()  # what is still open is rolled back
            return reason(error)
        for _ in group:
            self._held.popleft()
        # The group is written, whatever becomes of these.
        with contextlib.suppress(sqlite3.Error):
            for function in self._database.after_commit:
                function(self._connection)
        self._report(done, self._database.monotonic() - started_s, None)
        return None

    def _commit(self, connection: sqlite3.Connection, group: Sequence[_Piece]) -> list[_Done]:
        # What somebody is told to be kept has to outlast a loss of power; the rest, its process.
        is_full = any(piece.future is not None for piece in group)
        if is_full != self._is_full:
            connection.execute(f"PRAGMA synchronous = {'FULL' if is_full else 'NORMAL'}")
            self._is_full = is_full
        done: list[_Done] = []
        connection.execute("BEGIN IMMEDIATE")
        if not group:
            touch(connection)
        for piece in group:
            connection.execute("SAVEPOINT piece")
            try:
                done.append((piece, piece.work(connection), None))
            except Exception as error:
                if is_fault(error):
                    raise
                connection.execute("ROLLBACK TO piece")
                done.append((piece, None, error))
            connection.execute("RELEASE piece")
        connection.execute("COMMIT")
        return done

    # --- telling -------------------------------------------------------------------------------

    def _refuse(self, fault: str) -> None:
        """Nobody waits for a disk that fails; what was posted is tried again."""
        error = StoreError(fault)
        done: list[_Done] = [(one, None, error) for one in self._held if one.future is not None]
        self._held = deque(piece for piece in self._held if piece.future is None)
        self._report(done, 0.0, fault)

    def _give_up(self, fault: str) -> None:
        self._take()
        self._refuse(fault)
        rows = sum(piece.weight for piece in self._held)
        if rows:
            log.error("%d rows were never written: %s", rows, fault)

    def _report(
        self,
        done: list[_Done],
        seconds: float,
        fault: str | None,
    ) -> None:
        self._tell_loop(self._database.told, _Outcome(done, seconds, fault))

    def _tell_loop(self, function: Callable[..., object], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to hear it
            self._loop.call_soon_threadsafe(function, *arguments)
