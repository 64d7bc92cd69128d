"""From REST into the market: whole windows at the start, holes afterwards.

Rows of REST and stream meet in the market's merge rule in any order, so nothing is buffered. A row
of an answer is closed only if its close time plus grace is past by the exchange's clock and either
a later row stands behind it or two reads agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from klinecore.errors import ParseError
from klinecore.interval import INTERVAL_MS, close_time_ms, next_open_ms
from klinecore.market import Market, RowCounts
from klinecore.series import Series
from server.clock import Clock
from server.errors import FeedError, RestError
from server.feeds.binance import Answer, Api, kline_weight, plan_limits
from server.feeds.budget import Priority
from server.settings import Settings

__all__ = ["Backfill", "Hole", "Key"]

log = logging.getLogger(__name__)

Key = tuple[str, str]
Hole = tuple[int, int]  # first and last missing open time, ms

#: A close is asked for by REST when the stream has not brought it this long after its time, s.
LATE_AFTER_S = 5.0

#: Answers that must lack a row, with later rows behind it, until the exchange counts as not
#: having it.
ABSENT_READS = 2

#: Series looked at without a pause.
_LOOK_STEP = 64

#: Waits between attempts at one request or one hole, s; doubled up to the bound.
_RETRY_S = (0.5, 60.0)

#: Holes remembered; beyond it the oldest is forgotten, and asked for again.
_HOLES_MAX = 100_000


class _Attempts(NamedTuple):
    """What was tried for one hole."""

    lacking: int  # answers without its rows although later ones were there
    wait_s: float
    next_s: float  # not before


class Backfill:
    """Fills the series of one market and keeps them whole.

    ``on_progress(done, total)`` is called after each window that was filled; ``on_change`` after
    rows that tell of something new.
    """

    def __init__(
        self,
        market: Market,
        api: Api,
        *,
        settings: Settings,
        clock: Clock,
        on_progress: Callable[[int, int], None],
        on_change: Callable[[], None],
    ) -> None:
        self.total = len(market.symbols) * len(market.intervals)
        self.filled: set[Key] = set()
        self.refused: dict[Key, str] = {}  # series the exchange has no klines of, and its words
        self.repaired = 0  # closed rows that a look for holes brought
        self.holes: dict[Key, float] = {}  # series with holes at the last look -> since, s
        self._market = market
        self._api = api
        self._settings = settings
        self._clock = clock
        self._on_progress = on_progress
        self._on_change = on_change
        self._attempts: dict[tuple[Key, Hole], _Attempts] = {}
        self._last_rows: dict[Key, bytes] = {}
        self._busy: set[Key] = set()
        self._waiting = 0  # windows nobody has begun to fill
        self._started_ms = self.now_ms()

    @property
    def done(self) -> int:
        """Series whose window needs no more work."""
        return len(self.filled) + len(self.refused)

    @property
    def absent(self) -> int:
        """Holes the exchange has no rows for."""
        return sum(tried.lacking >= ABSENT_READS for tried in self._attempts.values())

    def is_absent(self, key: Key, hole: Hole) -> bool:
        """True if the exchange has no rows there, as far as two answers tell."""
        tried = self._attempts.get((key, hole))
        return tried is not None and tried.lacking >= ABSENT_READS

    def now_ms(self) -> int:
        """The exchange's time."""
        return self._api.time.now_ms()

    def planned(self) -> dict[Priority, int]:
        """Request weight of the work that nobody has begun, by priority."""
        limits = plan_limits(self._api.venue, self._market.capacity + 1)
        weight = sum(kline_weight(self._api.venue, limit) for limit in limits)
        return {Priority.START: self._waiting * weight}

    # --- the start -----------------------------------------------------------------------------

    async def fill_all(self) -> None:
        """Fill every window, in the order of the market's symbols; retries until each is."""
        waiting = deque(
            (symbol, interval)
            for symbol in self._market.symbols
            for interval in self._market.intervals
        )
        self._waiting = len(waiting)
        self._started_ms = self.now_ms()
        log.info("backfill of %d windows begins", self.total)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.rest_concurrency):
                group.create_task(self._fill_next(waiting))
        log.info("backfill of %d windows is complete", self.total)

    async def _fill_next(self, waiting: deque[Key]) -> None:
        step = max(1, self.total // 10)
        while waiting:
            key = waiting.popleft()
            self._waiting = len(waiting)
            wait_s, wait_max_s = _RETRY_S
            while not await self._try_fill(key):
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, wait_max_s)
            if self.done % step == 0 and self.done < self.total:
                log.info("backfill: %d of %d windows", self.done, self.total)
            self._on_progress(self.done, self.total)

    async def _try_fill(self, key: Key) -> bool:
        """Fill one window; False to try again later."""
        try:
            await self._fill(key, Priority.START)
            self.filled.add(key)
            return True
        except RestError as error:
            if error.status == 400:
                log.error("%s %s cannot be backfilled: %s", *key, error)
                self.refused[key] = str(error)
                return True
            log.warning("%s %s: %s", *key, error)
        except ParseError as error:
            log.warning("%s %s: answer dropped: %s", *key, error)
        return False

    async def _fill(self, key: Key, priority: Priority = Priority.REPAIR) -> None:
        """Fetch a window and its forming row, newest page first."""
        end_ms: int | None = None
        for limit in plan_limits(self._api.venue, self._market.capacity + 1):
            answer = await self._api.klines(*key, limit, end_ms=end_ms, priority=priority)
            counts = self._apply(key, answer, followed=end_ms is not None, history=True)
            if counts.rows < limit:
                return
            end_ms = counts.first_open_ms - 1

    def _apply(
        self, key: Key, answer: Answer, *, followed: bool, history: bool = False
    ) -> RowCounts:
        """Merge an answer.

        ``followed``: later rows than the answer's are known to exist. If not, its last row is
        closed only when it was read twice alike. Of ``history``, rows closed before the start
        are no news.
        """
        body = answer.body
        settled_ms = answer.asked_ms - int(self._settings.grace_s * 1000)
        closed_before_ms = settled_ms
        last_open_ms = _last_open_ms(body)
        if not followed and last_open_ms:
            last = _last_row(body)
            if self._last_rows.get(key) != last:
                closed_before_ms = min(settled_ms, last_open_ms)
            if close_time_ms(key[1], last_open_ms) < settled_ms:
                self._last_rows[key] = last  # a read from before the close proves nothing
        series = self._market[key]
        before = series.closed_count
        fresh = True
        if history:
            # Two passes where rows have closed since the start: first the old ones in silence.
            counts = self._market.apply_klines(
                *key,
                body,
                closed_before_ms=min(closed_before_ms, self._started_ms),
                notify=False,
            )
            fresh = closed_before_ms > self._started_ms <= close_time_ms(key[1], last_open_ms)
        if fresh:
            counts = self._market.apply_klines(*key, body, closed_before_ms=closed_before_ms)
        if key in self.filled:
            self.repaired += series.closed_count - before
        if counts.refused:
            log.warning("%s %s: %d rows of an answer refused", *key, counts.refused)
        if self._market.pending:
            self._on_change()
        return counts

    # --- afterwards ----------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Look at every filled series once, and fetch what is missing, newest holes first."""
        if self._api.budget.blocked_s:
            return
        work: list[tuple[int, Series, Hole]] = []
        now_s = self._clock.monotonic()
        holes_since: dict[Key, float] = {}
        for index, series in enumerate(self._market):
            if index % _LOOK_STEP == 0:
                await asyncio.sleep(0)  # thousands of series must not hold up the frames
            key = (series.symbol, series.interval)
            if key not in self.filled:
                continue
            holes = [hole for hole in series.gaps() if not self.is_absent(key, hole)]
            if holes:
                holes_since[key] = self.holes.get(key, now_s)
            if (late := self._late(series)) is not None:
                holes.append(late)
            work += [(-hole[1], series, hole) for hole in holes if self._is_due(key, hole)]
        self.holes = holes_since
        work.sort(key=lambda item: item[0])
        waiting = deque((series, hole) for _, series, hole in work)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(waiting), self._settings.rest_concurrency)):
                group.create_task(self._mend_next(waiting))

    def _late(self, series: Series) -> Hole | None:
        """The kline that should have closed by now and did not, if none is missing before it."""
        last_ms = series.last_close_ms
        if not last_ms:
            return None
        open_ms = last_ms + 1
        overdue_ms = self.now_ms() - int(LATE_AFTER_S * 1000)
        if next_open_ms(series.interval, open_ms) > overdue_ms:
            return None
        forming = series.forming
        if forming is not None:
            if forming.close_time_ms >= overdue_ms:
                return None  # what lies before a current forming row is a hole, and found as one
            open_ms = forming.open_time_ms
        return open_ms, open_ms

    def _is_due(self, key: Key, hole: Hole) -> bool:
        tried = self._attempts.get((key, hole))
        return tried is None or self._clock.monotonic() >= tried.next_s

    async def _mend_next(self, waiting: deque[tuple[Series, Hole]]) -> None:
        while waiting:
            series, hole = waiting.popleft()
            key = (series.symbol, series.interval)
            if key in self._busy or self._api.budget.blocked_s:
                continue  # the next look finds it again
            self._busy.add(key)
            lacking = False
            try:
                lacking = await self._mend(series, hole)
            except (FeedError, ParseError) as error:
                log.warning("%s %s: hole not filled yet: %s", *key, error)
            finally:
                self._busy.discard(key)
            self._note(series, hole, lacking=lacking)

    async def _mend(self, series: Series, hole: Hole) -> bool:
        """Ask for a hole; True if the answer lacks its rows although later ones are there."""
        key = (series.symbol, series.interval)
        late = hole[0] > series.last_close_ms
        # One row more: what stands behind the hole proves it whole.
        rows = _count(key[1], hole[0], self.now_ms() if late else hole[1]) + 1
        if rows > self._market.capacity + 1:
            await self._fill(key)
            return False
        limit = min(rows, self._api.venue.kline_weights[-1][0])
        end_ms = None if late else close_time_ms(key[1], hole[1]) + 1
        answer = await self._api.klines(*key, limit, start_ms=hole[0], end_ms=end_ms)
        counts = self._apply(key, answer, followed=False)
        return hole in series.gaps() and counts.rows > 0 and counts.last_open_ms > hole[1]

    def _note(self, series: Series, hole: Hole, *, lacking: bool) -> None:
        """Remember what an attempt told, so that no hole is asked for in a hurry for ever."""
        key = (series.symbol, series.interval)
        if hole not in series.gaps() and series.last_close_ms > hole[0]:
            self._attempts.pop((key, hole), None)
            log.info("hole filled", extra={"fields": {"series": " ".join(key)}})
            return
        tried = self._attempts.pop((key, hole), _Attempts(0, _RETRY_S[0], 0.0))
        wait_s = min(tried.wait_s * 2, _RETRY_S[1])
        if len(self._attempts) >= _HOLES_MAX:
            self._attempts.pop(next(iter(self._attempts)))
        tried = _Attempts(tried.lacking + lacking, wait_s, self._clock.monotonic() + tried.wait_s)
        self._attempts[key, hole] = tried
        if lacking and tried.lacking == ABSENT_READS:
            log.warning(
                "the exchange has no klines for a stretch",
                extra={
                    "fields": {"series": " ".join(key), "first_ms": hole[0], "last_ms": hole[1]}
                },
            )


def _count(interval: str, first_ms: int, last_ms: int) -> int:
    """Klines that open in ``[first_ms, last_ms]``, at least 1."""
    length = INTERVAL_MS[interval] or 28 * INTERVAL_MS["1d"]
    return max(0, last_ms - first_ms) // length + 1


def _last_row(body: bytes) -> bytes:
    """The last tuple of a klines answer, as text; empty without one."""
    start = body.rfind(b"[")
    return body[start:] if start > 0 else b""


def _last_open_ms(body: bytes) -> int:
    """Open time of the last tuple; 0 without one, or if it is none."""
    text = _last_row(body)[1:].partition(b",")[0].strip()
    return int(text) if text.isdigit() else 0
