"""The thread that writes a store's file in groups, and tries again while that fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from server.errors import SettingsError, StoreError
from server.store.connections import Work, is_fault, reason, settle
from server.store.schema import touch

if TYPE_CHECKING:
    from server.store.database import Database

__all__ = ["GROUP_MAX", "GROUP_S", "Done", "Outcome", "Piece", "Writer"]

log = logging.getLogger(__name__)

#: A group is committed once it has so many pieces, or so long after its first; at once if somebody
#: waits for it.
GROUP_MAX = 500
GROUP_S = 0.02
#: Seconds between two attempts to write while that fails; they double up to the second figure.
RETRY_S, RETRY_MAX_S = 0.1, 5.0
#: Seconds that what reads the file has to end, so that the last to leave it can empty its log.
READER_END_S = 1.0


class Piece(NamedTuple):
    """What is to be done with the file, in one go or not at all."""

    work: Work[Any]
    weight: int
    future: asyncio.Future[Any] | None  # of whoever waits for the commit


#: A piece, what its work returned, or why nothing of it was kept.
Done = tuple[Piece, Any, BaseException | None]


class Outcome(NamedTuple):
    """What the writer tells the loop of one attempt."""

    done: list[Done]
    seconds: float
    fault: str | None  # why the whole group failed


class Writer(threading.Thread):
    """Takes pieces from the queue and writes them in groups, in their order."""

    def __init__(
        self,
        database: Database,
        pieces: queue.SimpleQueue[Piece | None],
        urgent: threading.Event,
        loop: asyncio.AbstractEventLoop,
        opened: asyncio.Future[None],
        *,
        before_end: Callable[[float], object],
    ) -> None:
        """``before_end(seconds)`` waits so long for others to let go of the file."""
        super().__init__(name="store-writer", daemon=True)
        self.ended: asyncio.Future[None] = loop.create_future()
        self._database = database
        self._pieces = pieces
        self._urgent = urgent
        self._loop = loop
        self._opened = opened
        self._before_end = before_end
        self._held: deque[Piece] = deque()  # taken from the queue, not written yet
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
                self._before_end(READER_END_S)
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
        group: list[Piece] = []
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

    def _commit(self, connection: sqlite3.Connection, group: Sequence[Piece]) -> list[Done]:
        # What somebody is told to be kept has to outlast a loss of power; the rest, its process.
        is_full = any(piece.future is not None for piece in group)
        if is_full != self._is_full:
            connection.execute(f"PRAGMA synchronous = {'FULL' if is_full else 'NORMAL'}")
            self._is_full = is_full
        done: list[Done] = []
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
        done: list[Done] = [(one, None, error) for one in self._held if one.future is not None]
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
        done: list[Done],
        seconds: float,
        fault: str | None,
    ) -> None:
        self._tell_loop(self._database.told, Outcome(done, seconds, fault))

    def _tell_loop(self, function: Callable[..., object], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to hear it
            self._loop.call_soon_threadsafe(function, *arguments)
