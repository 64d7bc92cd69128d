"""The newest changes of signals in the store's order, read once for all who follow them.

A signal is told when it is kept, not before: whoever comes back with the number of the last change
they heard of goes on from exactly there, without a gap and without hearing anything twice.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from server.api.events import event, told
from server.clock import Clock
from server.errors import StoreError
from server.signals.model import Signal
from server.signals.topics import signal_message
from server.store.base import Store
from server.store.signals import LIMIT_MAX, KeptSignal, SignalQuery

__all__ = ["Follower", "SignalLog", "Wanted"]

log = logging.getLogger(__name__)

#: Changes held in memory; who is further behind reads the store itself.
HELD_MAX = 4096
#: Changes one such read brings.
PAGE = 500
#: Seconds between two attempts at a store that cannot be read.
RETRY_S = 1.0

_UNREAD = "signals cannot be read now"
_FORGOTTEN = "what came after the last event is not kept any more"


class _Change(NamedTuple):
    seq: int
    signal: Signal
    text: bytes  # the event


class Wanted(NamedTuple):
    """Which signals one client follows."""

    visible: Callable[[str], bool]  # whether they may see a trader, by its id, now
    query: Callable[[int], SignalQuery]  # the same of the store, from a change on
    trader_id: str | None
    market: str | None
    symbol: str | None
    recent_only: bool  # the last few changes, and no further back

    def fits(self, signal: Signal) -> bool:
        """Whether a signal is among them."""
        return (
            self.trader_id in (None, signal.trader_id)
            and self.market in (None, signal.market)
            and self.symbol in (None, signal.symbol)
            and self.visible(signal.trader_id)
        )


class Follower:
    """One client's place in the changes: an ``EventSource`` that holds little, however far back."""

    def __init__(self, log: SignalLog, wanted: Wanted, last: int | None) -> None:
        """``last``: number of the last change heard of; None: from now on."""
        self._log = log
        self._wanted = wanted
        self._last = last
        self._ready: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._begun = False
        #: Why nothing comes any more.
        self.ended: str | None = None

    async def fetch(self) -> bytes | None:
        """See ``EventSource``."""
        if self._ready:
            return self._ready.popleft()
        try:
            if not self._begun:
                await self._begin()
            elif self._last is not None:
                await self._look(self._last)
        except StoreError:
            self.ended = "the store cannot be read now"
        return self._ready.popleft() if self._ready else None

    async def _begin(self) -> None:
        newest = await self._log.begin()
        self._begun = True
        if self._last is None:
            self._last = newest
        elif self._last > newest or (self._wanted.recent_only and newest - self._last > HELD_MAX):
            # Of another file, or of a past that is not this client's to read.
            self._last = newest
            self._ready.append(told("reset", _FORGOTTEN))
        else:
            await self._look(self._last)

    async def _look(self, last: int) -> None:
        log, wanted = self._log, self._wanted
        if last < log.first:
            known = log.last
            page = await log.page(wanted.query(last))
            self._ready.extend(change.text for change in map(_change, page))
            whole = len(page) < PAGE
            reached = page[-1].seq if page else last
            self._last = max(reached, known) if whole else reached
            return
        for change in log.after(last):
            if wanted.fits(change.signal):
                self._ready.append(change.text)
        self._last = log.last

    async def wait(self) -> None:
        """See ``EventSource``."""
        if self._ready or self.ended is not None:
            return
        if self._last is not None and self._last < self._log.last:
            return
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def rouse(self) -> None:
        """See ``EventSource``."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """See ``EventSource``."""
        self._log.leave(self)


class SignalLog:
    """Reads each change once, as long as anybody follows."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._signals = store.signals
        self._clock = clock
        self._followers: dict[Follower, None] = {}
        self._changes: list[_Change] = []
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._kept = asyncio.Event()
        self._begun: asyncio.Future[int] | None = None
        self._fault: str | None = None
        self._seen = -1  # in the writer's thread: number of the newest change
        #: Every change after ``first`` up to ``last`` is held.
        self.first = self.last = 0
        store.database.after_commit.append(self._committed)

    def __len__(self) -> int:
        """Who follows."""
        return len(self._followers)

    def follow(self, wanted: Wanted, last: int | None) -> Follower:
        """A new follower; see there. Whoever takes one must ``close`` it."""
        follower = Follower(self, wanted, last)
        self._followers[follower] = None
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._begun = self._loop.create_future()
            self._task = asyncio.create_task(self._read(self._begun))
            self._task.add_done_callback(self._stopped)
        return follower

    def leave(self, follower: Follower) -> None:
        """It is closed; after the last one nothing is read or held any more."""
        self._followers.pop(follower, None)
        if not self._followers and self._task is not None:
            self._task.cancel()
            self._task = None
            self._changes.clear()

    async def begin(self) -> int:
        """Number of the newest change, once changes are read."""
        assert self._begun is not None
        await asyncio.shield(self._begun)
        return self.last

    def after(self, seq: int) -> list[_Change]:
        """The changes after that one, of those that are held."""
        place = bisect_right(self._changes, seq, key=lambda change: change.seq)
        return self._changes[place:]

    async def page(self, query: SignalQuery) -> list[KeptSignal]:
        """Changes from the store. Raises StoreError."""
        return (await self._signals.page(query)).signals

    # --- reading -------------------------------------------------------------------------------

    def _committed(self, connection: sqlite3.Connection) -> None:
        """In the writer's thread: something was written."""
        (seq,) = connection.execute("SELECT value FROM counts WHERE name = 'signal_seq'").fetchone()
        if seq != self._seen:
            self._seen = seq
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._kept.set)

    async def _read(self, begun: asyncio.Future[int]) -> None:
        while not begun.done():
            try:
                self.first = self.last = await self._signals.last_seq()
                begun.set_result(self.last)
            except StoreError as error:
                self._note(str(error))
                await self._clock.sleep(RETRY_S)
        while True:
            self._kept.clear()
            try:
                while await self._read_some():
                    pass
            except StoreError as error:
                self._note(str(error))
                await self._clock.sleep(RETRY_S)
                continue
            await self._kept.wait()

    def _note(self, fault: str | None) -> None:
        """What is wrong with the store is said once, not with every attempt."""
        if fault is not None and fault != self._fault:
            log.warning("signals cannot be followed: %s", fault)
        self._fault = fault

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """Reading ended; by a fault of ours if nobody stopped it: the next follower starts it."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.critical("signals could not be read", exc_info=error)
        self._task = None
        self._changes.clear()
        if self._begun is not None and not self._begun.done():
            self._begun.set_exception(StoreError(_UNREAD))
        for follower in self._followers:
            follower.ended = _UNREAD
            follower.rouse()

    async def _read_some(self) -> bool:
        """Take in what was kept since. False: that was all. Raises StoreError."""
        query = SignalQuery(trader_ids=None, since=self.last, limit=LIMIT_MAX)
        page = await self.page(query)
        self._note(None)
        if page:
            self._changes.extend(map(_change, page))
            self.last = page[-1].seq
            if len(self._changes) > 2 * HELD_MAX:
                del self._changes[:-HELD_MAX]
                self.first = self._changes[0].seq - 1
            for follower in self._followers:
                follower.rouse()
        return len(page) == LIMIT_MAX


def _change(kept: KeptSignal) -> _Change:
    return _Change(kept.seq, kept.signal, event(signal_message(kept.signal), str(kept.seq)))
