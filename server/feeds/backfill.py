"""From REST into the market: whole windows at the start, holes afterwards.

Rows of REST and stream meet in the market's merge rule in any order, so nothing is buffered. What
an answer proves is decided in ``answers``; closes that are late are the business of ``closes``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from klinecore.errors import ParseError, UnknownSeriesError
from klinecore.interval import INTERVALS, close_time_ms, next_open_ms
from klinecore.market import Market
from klinecore.series import Series
from server.clock import Clock
from server.errors import FeedError, RestError
from server.feeds.answers import Answers, Key, count_rows
from server.feeds.binance import kline_weight, plan_limits
from server.feeds.budget import Priority
from server.settings import Settings

__all__ = ["Backfill", "Hole", "Key"]

log = logging.getLogger(__name__)

Hole = tuple[int, int]  # first and last missing open time, ms

#: Answers that must lack a row, with later rows behind it, until the exchange counts as not
#: having it; and how far they must be apart, s.
ABSENT_READS = 2
EVIDENCE_S = 10.0

#: A hole that ended at most so many klines ago is fresh: mended before anything else.
FRESH_KLINES = 30

#: Older holes mended in one look.
OLD_HOLES_MAX = 8

#: Looks after which every series was looked at, changed or not.
_ROUND_LOOKS = 12

#: Series looked at without a pause.
_LOOK_STEP = 64

#: Waits between attempts at one request or one hole, s; doubled up to the bound.
_RETRY_S = (0.5, 60.0)

#: Holes remembered; beyond it the oldest is forgotten, and asked for again.
_HOLES_MAX = 100_000


class _Attempts(NamedTuple):
    """What was tried for one hole."""

    lacking: int  # answers without its rows although later ones were there
    lacking_s: float  # when the last of them came
    wait_s: float
    next_s: float  # not before


class Backfill:
    """Fills the series of one market and keeps them whole.

    ``on_progress(done, total)`` is called after each window that was filled.
    """

    def __init__(
        self,
        market: Market,
        answers: Answers,
        *,
        settings: Settings,
        clock: Clock,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self.filled: set[Key] = set()
        self.refused: dict[Key, str] = {}  # series the exchange has no klines of, and its words
        self.absent = 0  # stretches the exchange was found to have no rows for
        self.holes: dict[Key, float] = {}  # series with unexplained holes -> since when, s
        self.gone: frozenset[str] = frozenset()  # symbols the exchange answers nothing about
        self._market = market
        self._answers = answers
        self._api = answers.api
        self._settings = settings
        self._clock = clock
        self._on_progress = on_progress
        self._keys: dict[Key, None] = {}  # series to fill, or filled
        self._waiting: deque[Key] = deque()
        self._deepening: deque[Key] = deque()
        # Filled while nothing had closed, as of a new listing: no gap will show what is missing
        # before the first close.
        self._rootless: dict[Key, None] = {}
        self._attempts: dict[tuple[Key, Hole], _Attempts] = {}
        # Rows that are here before anything was asked for came from a snapshot or an old arena.
        self._warm = {(s.symbol, s.interval): s.last_close_ms for s in market if len(s)}
        # Newest open times at the last look, and whose they were.
        self._seen: tuple[tuple[str, ...], NDArray[np.int64] | None] = ((), None)
        self._round = 0
        self._began_s = clock.monotonic()
        self._started_ms = self.now_ms()
        self._added_ms: dict[str, int] = {}  # of symbols that came later
        self._add_keys(market.symbols)

    @property
    def total(self) -> int:
        """Series to fill, and filled."""
        return len(self._keys)

    @property
    def done(self) -> int:
        """Series whose window needs no more work."""
        return len(self.filled) + len(self.refused)

    def now_ms(self) -> int:
        """The exchange's time."""
        return self._api.time.now_ms()

    def planned(self) -> dict[Priority, int]:
        """Request weight of the work that nobody has begun, by priority."""
        venue = self._api.venue
        limits = plan_limits(venue, self._market.capacity + 1)
        whole = sum(kline_weight(venue, limit) for limit in limits)
        warm = [key for key in self._waiting if key in self._warm]
        behind = sum(not self._is_current(key, self._warm[key]) for key in warm)
        cold = len(self._waiting) - len(warm)
        return {
            Priority.START: cold * whole + behind * kline_weight(venue, 1),
            Priority.HISTORY: len(self._deepening) * whole,
        }

    # --- the start -----------------------------------------------------------------------------

    def _add_keys(self, symbols: Iterable[str]) -> list[Key]:
        """Remember the series of these symbols: shortest intervals first, then symbols."""
        intervals = sorted(self._market.intervals, key=INTERVALS.index)
        keys = [(symbol, interval) for interval in intervals for symbol in symbols]
        self._keys.update(dict.fromkeys(keys))
        return keys

    async def fill_all(self) -> None:
        """Fill every window; retries until each is."""
        # Not now: streams may have run for long before anything could be asked.
        waited_s = self._clock.monotonic() - self._began_s
        self._started_ms = self.now_ms() - int(waited_s * 1000)
        self._waiting.extend(self._keys)
        log.info("backfill of %d windows begins", self.total)
        await self._work()
        log.info("backfill of %d windows is complete", self.total)

    async def fill_symbol(self, symbol: str) -> None:
        """Fill the windows of a symbol that was added to the market, if that still holds it."""
        if symbol not in self._market.symbols:
            return
        self._added_ms[symbol] = self.now_ms()
        self._waiting.extend(self._add_keys([symbol]))
        await self._work()

    def forget_symbol(self, symbol: str) -> None:
        """Drop what is remembered of a symbol that was removed from the market."""
        for interval in self._market.intervals:
            key = (symbol, interval)
            self._keys.pop(key, None)
            self.refused.pop(key, None)
            self.holes.pop(key, None)
            self.filled.discard(key)
            self._warm.pop(key, None)
            self._rootless.pop(key, None)
        self._attempts = {k: tried for k, tried in self._attempts.items() if k[0][0] != symbol}
        self._added_ms.pop(symbol, None)
        self._answers.forget(symbol)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.rest_concurrency):
                group.create_task(self._fill_next())

    async def _fill_next(self) -> None:
        while self._waiting:
            key = self._waiting.popleft()
            await self._insist(self._try_fill, key)
            if self.done % max(1, self.total // 10) == 0 and self.done < self.total:
                log.info("backfill: %d of %d windows", self.done, self.total)
            self._on_progress(self.done, self.total)
        while self._deepening:
            await self._insist(self._deepen, self._deepening.popleft())

    async def _insist(self, attempt: Callable[[Key], Awaitable[bool]], key: Key) -> None:
        """Try until it is done, after growing waits."""
        wait_s, wait_max_s = _RETRY_S
        while not await attempt(key):
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, wait_max_s)

    async def _try_fill(self, key: Key) -> bool:
        """Fill one window; False to try again later."""
        try:
            await self._fill(key)
            self.filled.add(key)
            if not len(self._market[key]):
                self._rootless[key] = None
            return True
        except UnknownSeriesError:
            return True  # its symbol was removed meanwhile
        except RestError as error:
            if error.status == 400:
                log.error("%s %s cannot be backfilled: %s", *key, error)
                if key in self._keys:  # else its symbol was removed meanwhile
                    self.refused[key] = str(error)
                return True
            log.warning("%s %s: %s", *key, error)
        except ParseError as error:
            log.warning("%s %s: answer dropped: %s", *key, error)
        return False

    async def _fill(self, key: Key) -> None:
        """Fetch what a window lacks: all of it, or after a warm start what came since."""
        series = self._market[key]
        since_ms = self._warm.get(key)
        begun_ms = self._added_ms.get(key[0], self._started_ms)  # what closed before is no news
        if since_ms is not None and (
            self._is_current(key, since_ms)
            or await self._fetch_since(key, since_ms + 1, Priority.START, silent_before_ms=begun_ms)
        ):
            if len(series) < series.capacity:
                self._deepening.append(key)
            return
        await self._fetch_window(key, Priority.START, silent_before_ms=begun_ms)

    def _is_current(self, key: Key, since_ms: int) -> bool:
        """True if no close is missing after ``since_ms``: the forming row comes by the stream."""
        series = self._market[key]
        last_close_ms = series.last_close_ms
        if next_open_ms(key[1], last_close_ms + 1) <= self.now_ms():
            return False
        return last_close_ms == since_ms or all(hole[1] < since_ms for hole in series.holes())

    async def _fetch_window(
        self, key: Key, priority: Priority, *, repair: bool = False, silent_before_ms: int = 0
    ) -> None:
        """Fetch a window and its forming row, newest page first."""
        end_ms: int | None = None
        for limit in plan_limits(self._api.venue, self._market.capacity + 1):
            counts = await self._answers.fetch(
                key,
                limit,
                end_ms=end_ms,
                priority=priority,
                followed=end_ms is not None,
                repair=repair,
                silent_before_ms=silent_before_ms,
            )
            if counts.rows < limit:
                return
            end_ms = counts.first_open_ms - 1

    async def _fetch_since(
        self,
        key: Key,
        start_ms: int,
        priority: Priority,
        *,
        repair: bool = False,
        silent_before_ms: int = 0,
    ) -> bool:
        """Fetch the rows from a moment on, the forming one included.

        False, and nothing was fetched, if the window has moved on entirely.
        """
        rows = count_rows(key[1], start_ms, self.now_ms())
        if rows > self._market.capacity:
            return False
        while rows > 0:
            limit = min(rows, self._api.venue.kline_weights[-1][0])
            counts = await self._answers.fetch(
                key,
                limit,
                start_ms=start_ms,
                priority=priority,
                repair=repair,
                silent_before_ms=silent_before_ms,
            )
            if counts.rows < limit or limit == rows:
                break
            # Its last row once more: only with a later one behind it, it is known to be closed.
            start_ms = counts.last_open_ms
            rows -= limit - 1
        return True

    async def fetch_tail(self, key: Key) -> None:
        """Fetch what comes after the newest closed row: closes that are late, or a new window.

        Raises RestError, ParseError, UnknownSeriesError.
        """
        start_ms = self._market[key].last_close_ms + 1
        if not await self._fetch_since(key, start_ms, Priority.REPAIR, repair=True):
            await self._fetch_window(key, Priority.REPAIR, repair=True)

    async def _deepen(self, key: Key) -> bool:
        """Fetch the rows before the oldest one of a window that is not full; False to try again
        later."""
        try:
            series = self._market[key]
            missing = series.capacity - len(series)
            while missing > 0 and len(series):
                limit = min(missing, self._api.venue.kline_weights[-1][0])
                counts = await self._answers.fetch(
                    key,
                    limit,
                    end_ms=int(series.open_time_ms[0]) - 1,
                    priority=Priority.HISTORY,
                    followed=True,
                    silent_before_ms=self.now_ms(),
                )
                if counts.rows < limit:
                    break
                missing -= counts.rows
        except UnknownSeriesError:
            return True  # its symbol was removed meanwhile
        except (FeedError, ParseError) as error:
            log.warning("%s %s: older rows not fetched: %s", *key, error)
            return isinstance(error, RestError) and error.status == 400
        return True

    # --- afterwards ----------------------------------------------------------------------------

    async def _look_before(self, key: Key) -> None:
        """Fetch what closed before the first row, of a window that began without one."""
        try:
            series = self._market[key]
            if not len(series):
                return
            first_ms = int(series.open_time_ms[0])
            counts = await self._answers.fetch(
                key,
                min(series.capacity, self._api.venue.kline_weights[-1][0]),
                end_ms=first_ms,
                repair=True,
                silent_before_ms=self._added_ms.get(key[0], self._started_ms),
            )
            if counts.rows and counts.last_open_ms == first_ms:  # it reached up to the first row
                self._rootless.pop(key, None)
        except UnknownSeriesError:
            self._rootless.pop(key, None)
        except (FeedError, ParseError) as error:
            if isinstance(error, RestError) and error.status == 400:
                self._rootless.pop(key, None)  # delisted again: there is nobody to ask
            log.warning("%s %s: rows before the first not fetched yet: %s", *key, error)

    async def sweep(self) -> None:
        """Look for holes and rows to read again, and fetch what is missing, newest holes first."""
        if self._api.budget.blocked_s:
            return
        for key in tuple(self._rootless):
            await self._look_before(key)
        fresh: list[tuple[int, Key, Hole]] = []
        old: list[tuple[int, Key, Hole]] = []
        now_s, now_ms = self._clock.monotonic(), self.now_ms()
        for index, series in enumerate(self._suspects()):
            if index % _LOOK_STEP == _LOOK_STEP - 1:
                await asyncio.sleep(0)  # thousands of series must not hold up the frames
            key = (series.symbol, series.interval)
            holes = [] if key[0] in self.gone else self._inner_holes(series)
            if not holes:
                self.holes.pop(key, None)
                continue
            self.holes.setdefault(key, now_s)
            for hole in holes:
                if self._is_due(key, hole):
                    is_fresh = count_rows(key[1], hole[1], now_ms) <= FRESH_KLINES
                    (fresh if is_fresh else old).append((-hole[1], key, hole))
        fresh.sort()
        old.sort()
        if self.done < self.total:
            old = []  # the windows of the start come first
        await self._mend_all(deque((key, hole) for _, key, hole in fresh + old[:OLD_HOLES_MAX]))
        for key, open_ms in self._answers.due_rereads():
            if key[0] not in self.gone:
                await self._reread(key, open_ms)

    def _suspects(self) -> list[Series]:
        """Filled series that may have got, or lost, a hole since the last look.

        A hole comes with a new row behind it, or by an answer of REST, so few have to be looked
        at; a part of all the others in turn, because memory can be shared and faults are patient.
        """
        market = self._market
        symbols, times = market.symbols, market.last_open_times()
        self._round = (self._round + 1) % _ROUND_LOOKS
        suspects = dict.fromkeys((*self.holes, *self._answers.touched))
        self._answers.touched.clear()
        before_symbols, before = self._seen
        self._seen = symbols, times
        same = before is not None and before_symbols == symbols
        changed = np.argwhere(times != before if same else times).tolist()
        turn = range(self._round, len(symbols), _ROUND_LOOKS)
        changed += [[row, column] for row in turn for column in range(times.shape[1])]
        suspects |= {(symbols[row], market.intervals[column]): None for row, column in changed}
        return [market[key] for key in suspects if key in self.filled]

    @staticmethod
    def _inner_holes(series: Series) -> list[Hole]:
        """Unexplained holes with a closed row behind them; what is missing after it is late."""
        last_close_ms = series.last_close_ms
        return [hole for hole in series.holes() if hole[0] < last_close_ms]

    def _is_due(self, key: Key, hole: Hole) -> bool:
        tried = self._attempts.get((key, hole))
        return tried is None or self._clock.monotonic() >= tried.next_s

    async def _mend_all(self, waiting: deque[tuple[Key, Hole]]) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(waiting), self._settings.rest_concurrency)):
                group.create_task(self._mend_next(waiting))

    async def _mend_next(self, waiting: deque[tuple[Key, Hole]]) -> None:
        busy = self._answers.busy
        while waiting:
            key, hole = waiting.popleft()
            if key in busy or self._api.budget.blocked_s:
                continue  # the next look finds it again
            busy.add(key)
            try:
                series = self._market[key]
                lacking = await self._mend(series, hole)
                self._note(series, hole, lacking=lacking)
            except UnknownSeriesError:
                continue
            except (FeedError, ParseError) as error:
                log.warning("%s %s: hole not filled yet: %s", *key, error)
                self._note(series, hole, lacking=False)
            finally:
                busy.discard(key)

    async def _mend(self, series: Series, hole: Hole) -> bool:
        """Ask for a hole; True if the answer lacks its rows although later ones are there."""
        key = (series.symbol, series.interval)
        # One row more: what stands behind the hole proves it whole.
        rows = count_rows(key[1], *hole) + 1
        if rows > self._market.capacity + 1:
            # A long halt, perhaps: the oldest row from there on tells whether there is any in it.
            counts = await self._answers.fetch(
                key, 1, start_ms=hole[0], priority=Priority.REPAIR, followed=True
            )
            if counts.rows and counts.first_open_ms > hole[1]:
                return hole in series.holes()
            await self._fetch_window(key, Priority.REPAIR, repair=True)
            return False
        fresh = count_rows(key[1], hole[1], self.now_ms()) <= FRESH_KLINES
        counts = await self._answers.fetch(
            key,
            min(rows, self._api.venue.kline_weights[-1][0]),
            start_ms=hole[0],
            end_ms=close_time_ms(key[1], hole[1]) + 1,
            priority=Priority.REPAIR if fresh else Priority.HISTORY,
            repair=True,
        )
        return hole in series.holes() and counts.rows > 0 and counts.last_open_ms > hole[1]

    def _note(self, series: Series, hole: Hole, *, lacking: bool) -> None:
        """Remember what an attempt told, so that no hole is asked for in a hurry for ever."""
        key = (series.symbol, series.interval)
        tried = self._attempts.pop((key, hole), _Attempts(0, -EVIDENCE_S, _RETRY_S[0], 0.0))
        if hole not in series.holes():
            log.info("hole filled", extra={"fields": {"series": " ".join(key)}})
            return
        now_s = self._clock.monotonic()
        lacks = tried.lacking
        lacking_s = tried.lacking_s
        if lacking and (not lacks or now_s - lacking_s >= EVIDENCE_S):
            lacks += 1
            lacking_s = now_s
        if lacks >= ABSENT_READS:
            self.absent += self._market.confirm_absent(*key, *hole)
            log.warning(
                "the exchange has no klines for a stretch",
                extra={
                    "fields": {"series": " ".join(key), "first_ms": hole[0], "last_ms": hole[1]}
                },
            )
            return
        if len(self._attempts) >= _HOLES_MAX:
            self._attempts.pop(next(iter(self._attempts)))
        next_s = now_s + (EVIDENCE_S if lacking else tried.wait_s)
        wait_s = min(tried.wait_s * 2, _RETRY_S[1])
        self._attempts[key, hole] = _Attempts(lacks, lacking_s, wait_s, next_s)

    async def _reread(self, key: Key, open_ms: int) -> None:
        try:
            await self._answers.reread(key, open_ms)
        except UnknownSeriesError:
            return
        except (FeedError, ParseError) as error:
            log.warning("%s %s: row not read again yet: %s", *key, error)
