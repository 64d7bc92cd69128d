"""The clock of the closes: barriers at every boundary, and REST for what does not arrive in time.

One task per feed, on the exchange's time. It looks at what is there instead of counting events, so
it does not matter whether the loop was stalled, the time was set or symbols have changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from klinecore.errors import ParseError, UnknownSeriesError
from klinecore.interval import INTERVAL_MS, INTERVALS, close_time_ms, next_open_ms, open_time_ms
from klinecore.market import Market
from server.clock import Clock, wait_event
from server.errors import FeedError
from server.feeds.answers import Answers, Key
from server.feeds.backfill import Backfill
from server.settings import Settings

__all__ = ["Closes", "newest_closed_open"]

log = logging.getLogger(__name__)

#: Longest pause between two looks, s.
LOOK_S = 1.0

#: Boundaries that were slept through and still get a barrier of their own; older ones get none,
#: and are counted.
CATCH_UP_MAX = 5

#: Waits between two requests for the same late closes, s; doubled up to the bound.
RETRY_S = (2.0, 60.0)

#: The same for a series that is not expected to close (halted): the exchange may have no more rows
#: of it, or one of a kline that was cut short.
HALTED_RETRY_S = (60.0, 600.0)


class _Want(NamedTuple):
    """A series whose newest close is late."""

    open_ms: int  # of the newest kline that should have closed
    wait_s: float  # after the next attempt
    next_s: float  # not before
    halted: bool
    seldom: bool  # nothing is known of a kline that has begun: there may be none


class Closes:
    """Begins and ends barriers, and fetches the closes that are late.

    ``on_change`` is called after the market has something to tell.
    """

    def __init__(
        self,
        market: Market,
        answers: Answers,
        backfill: Backfill,
        *,
        settings: Settings,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self.fetched = 0  # late closes that were asked for
        self.skipped = 0  # boundaries that were slept through and got no barrier
        self._market = market
        self._answers = answers
        self._backfill = backfill
        self._clock = clock
        self._time = answers.api.time
        self._budget = answers.api.budget
        self._on_change = on_change
        self._horizon_ms = int(settings.horizon_s * 1000)
        self._deadline_ms = int(settings.barrier_deadline_s * 1000)
        self._wait_ms = int(settings.close_wait_s * 1000)
        self._tasks_max = settings.rest_concurrency
        self._intervals = sorted(market.intervals, key=INTERVALS.index)
        self._columns = [market.intervals.index(interval) for interval in self._intervals]
        self._begun: dict[str, int] = {}  # open time of the newest barrier
        self._ending: dict[str, int] = {}  # open barriers, and their deadlines
        self._due: dict[str, int] = {}  # open time of what should be here, at the last look
        self._wants: dict[Key, _Want] = {}
        self._running = 0  # requests under way
        self._witness_s = 0.0  # when the next witness may be asked
        self._wake = asyncio.Event()

    @property
    def late(self) -> int:
        """Series whose newest close is late at the moment, halted ones not counted."""
        return sum(not want.halted for want in self._wants.values())

    def look_soon(self) -> None:
        """Something has changed for the better: ask for what is late without waiting."""
        for key, want in self._wants.items():
            if not want.halted:
                self._wants[key] = want._replace(next_s=0.0, wait_s=RETRY_S[0])
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled; begin once the exchange's time is known."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                now_ms = self._time.now_ms()
                if self._horizon_ms:
                    self._market.horizon_ms = now_ms + self._horizon_ms
                await self._look_at_barriers(now_ms)
                self._look_for_late(now_ms)
                self._fetch_late(group)
                await wait_event(self._wake, self._clock, self._pause_s(now_ms))

    def _pause_s(self, now_ms: int) -> float:
        """Until the next boundary, deadline, late close or retry, at most ``LOOK_S``."""
        now_s = self._clock.monotonic()
        moments = list(self._ending.values())
        for interval, open_ms in self._begun.items():
            boundary_ms = next_open_ms(interval, open_ms)
            moments += boundary_ms + self._wait_ms, next_open_ms(interval, boundary_ms)
        waits_s = [(moment - now_ms) / 1000 for moment in moments if moment > now_ms]
        waits_s += [want.next_s - now_s for want in self._wants.values() if want.next_s > now_s]
        # A millisecond more, so that the moment is past by a clock of whole ones.
        return min(LOOK_S, min(waits_s, default=LOOK_S) + 0.001)

    # --- barriers ------------------------------------------------------------------------------

    async def _look_at_barriers(self, now_ms: int) -> None:
        """Begin those whose boundary has come, shortest interval first; end those overdue."""
        times = self._market.last_open_times()
        for interval, column in zip(self._intervals, self._columns, strict=True):
            anchor_ms = _anchor_ms(interval, times[:, column])
            newest_ms = newest_closed_open(interval, now_ms, anchor_ms)
            before_ms = self._begun.setdefault(interval, newest_ms)
            missed: list[int] = []
            while before_ms < newest_ms and len(missed) < CATCH_UP_MAX:
                missed.append(newest_ms)
                newest_ms = newest_closed_open(interval, newest_ms, anchor_ms)
            if before_ms < newest_ms:
                self.skipped += _count_between(interval, before_ms, newest_ms)
            for open_ms in reversed(missed):
                await self._end(interval)
                self._begun[interval] = open_ms
                if self._market.begin_barrier(interval, open_ms):
                    close_ms = close_time_ms(interval, open_ms)
                    self._ending[interval] = close_ms + 1 + self._deadline_ms
                    self._tell()
        for interval, deadline_ms in tuple(self._ending.items()):
            if deadline_ms <= self._time.now_ms():
                await self._end(interval)

    async def _end(self, interval: str) -> None:
        """End an open barrier, and let it be told before the next one takes its place."""
        if self._ending.pop(interval, None) is not None:
            self._market.end_barrier(interval)
            self._tell()
            await asyncio.sleep(0)

    def _tell(self) -> None:
        if self._market.pending:
            self._on_change()

    # --- late closes ---------------------------------------------------------------------------

    def _look_for_late(self, now_ms: int) -> None:
        """Find series whose newest close should be here by now; note those that were mended."""
        symbols, times = self._market.symbols, self._market.last_open_times()
        filled = self._backfill.filled
        late: dict[Key, int] = {}
        for interval, column in zip(self._intervals, self._columns, strict=True):
            opens = times[:, column]
            anchor_ms = _anchor_ms(interval, opens)
            due_ms = newest_closed_open(interval, now_ms - self._wait_ms, anchor_ms)
            keys = [(symbols[row], interval) for row in np.flatnonzero(opens < due_ms)]
            keys = [key for key in keys if key in filled]
            late.update(dict.fromkeys(keys, due_ms))
            if (
                self._due.get(interval) != due_ms
                or not self._wants.keys() >= set(keys)
                # A symbol may trade again at any moment, not at the boundary of an interval.
                or any(self._wants[key].halted for key in keys)
            ):
                self._due[interval] = due_ms
                self._want(interval, keys, due_ms)
        for key in [key for key in self._wants if key not in late]:
            del self._wants[key]

    def _want(self, interval: str, keys: list[Key], due_ms: int) -> None:
        """Note what is late; a series that was late before keeps its waits."""
        if not keys:
            return
        now_s = self._clock.monotonic()
        expected = set(self._market.missing_closes(interval, due_ms))
        for key in keys:
            halted = key[0] not in expected
            want = self._wants.get(key)
            # A kline that had begun does close, though its symbol was halted meanwhile.
            seldom = halted and self._market[key].forming is None
            if want is None or want.halted != halted or (want.seldom and not seldom):
                wait_s = HALTED_RETRY_S[0] if seldom else RETRY_S[0]
                want = _Want(due_ms, wait_s, now_s, halted, seldom)
            self._wants[key] = want._replace(open_ms=due_ms)

    def _fetch_late(self, group: asyncio.TaskGroup) -> None:
        """Ask for what is late: the newest boundary first, then the shortest interval."""
        if not self._wants or self._budget.blocked_s:
            return
        now_s = self._clock.monotonic()
        busy = self._answers.busy
        due = [key for key, want in self._wants.items() if want.next_s <= now_s and key not in busy]
        due.sort(
            key=lambda key: (
                -close_time_ms(key[1], self._wants[key].open_ms),
                INTERVALS.index(key[1]),
            )
        )
        for key in due[: max(0, self._tasks_max - self._running)]:
            want = self._wants[key]
            wait_max_s = HALTED_RETRY_S[1] if want.halted else RETRY_S[1]
            self._wants[key] = want._replace(
                next_s=now_s + want.wait_s, wait_s=min(2 * want.wait_s, wait_max_s)
            )
            busy.add(key)
            self._running += 1
            self.fetched += 1
            group.create_task(self._fetch(key))

    async def _fetch(self, key: Key) -> None:
        try:
            await self._backfill.fetch_tail(key)
            await self._ask_witness(key)
        except UnknownSeriesError:
            return
        except (FeedError, ParseError) as error:
            log.warning("%s %s: late close not fetched yet: %s", *key, error)
        finally:
            self._answers.busy.discard(key)
            self._running -= 1
            self._wake.set()  # the next one in line

    async def _ask_witness(self, key: Key) -> None:
        """If a kline is over and nothing proves its close, see how far the exchange's database is.

        The newest row of a series that is known to go on tells; see ``Answers``.
        """
        forming = self._market[key].forming
        if forming is None or self._answers.shown_ms > forming.close_time_ms:
            return
        now_s = self._clock.monotonic()
        if forming.close_time_ms >= self._time.now_ms() - self._wait_ms or now_s < self._witness_s:
            return  # it is not over, or somebody has asked just now
        self._witness_s = now_s + RETRY_S[0]
        symbols, times = self._market.symbols, self._market.event_times()
        column = self._columns[0]
        row = int(times[:, column].argmax())
        if times[row, column]:
            await self._answers.fetch((symbols[row], self._intervals[0]), 1)


def newest_closed_open(interval: str, now_ms: int, anchor_ms: int = 0) -> int:
    """Open time of the newest kline that has closed by ``now_ms``.

    ``anchor_ms`` shifts the calendar: some open time of a ``3d`` series, 0 elsewhere.
    """
    opened_ms = open_time_ms(interval, now_ms - anchor_ms) + anchor_ms
    return open_time_ms(interval, opened_ms - 1 - anchor_ms) + anchor_ms


def _anchor_ms(interval: str, opens: NDArray[np.int64]) -> int:
    """The exchange documents no anchor of ``3d``: it is as its rows have it."""
    newest_ms = int(opens.max(initial=0)) if interval == "3d" else 0
    return newest_ms % INTERVAL_MS["3d"] if newest_ms else 0


def _count_between(interval: str, first_ms: int, end_ms: int) -> int:
    """Boundaries after one open time up to another."""
    length = INTERVAL_MS[interval] or 30 * INTERVAL_MS["1d"]
    return max(1, (end_ms - first_ms) // length)
