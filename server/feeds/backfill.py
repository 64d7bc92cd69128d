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

from klinecore.errors import ParseError
from klinecore.interval import INTERVAL_MS, close_time_ms, next_open_ms
from klinecore.market import Market, RowCounts
from klinecore.series import Series
from server.clock import Clock
from server.errors import FeedError, RestError
from server.feeds.binance import Api, plan_limits
from server.settings import Settings

__all__ = ["Backfill"]

log = logging.getLogger(__name__)

Key = tuple[str, str]

#: A close is asked for by REST when the stream has not brought it this long after its time, s.
LATE_AFTER_S = 5.0

#: Reads that must agree before rows the exchange does not give count as absent there.
ABSENT_READS = 2

#: Waits between attempts at one request, s; doubled up to the bound.
_RETRY_S = (0.5, 30.0)

#: Absent stretches remembered; beyond it the oldest is asked for again.
_ABSENT_MAX = 100_000


class Backfill:
    """Fills the series of one market and keeps them whole.

    ``done`` of ``total`` windows are filled; ``on_progress(done, total)`` is called after each.
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
        self.repaired = 0  # rows that a look for holes brought
        self.absent: dict[tuple[str, str, int, int], int] = {}  # hole -> reads without its rows
        self._market = market
        self._api = api
        self._settings = settings
        self._clock = clock
        self._on_progress = on_progress
        self._on_change = on_change
        self._last_bodies: dict[Key, bytes] = {}
        self._busy: set[Key] = set()

    @property
    def done(self) -> int:
        """Series whose window has been filled once."""
        return len(self.filled)

    def now_ms(self) -> int:
        """The exchange's time."""
        return self._clock.time_ms() + self._api.budget.offset_ms

    async def fill_all(self) -> None:
        """Fill every window, in the order of the market's symbols; retries until each is."""
        waiting = deque(
            (symbol, interval)
            for symbol in self._market.symbols
            for interval in self._market.intervals
        )
        log.info("backfill of %d windows begins", self.total)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.rest_concurrency):
                group.create_task(self._fill_next(waiting))
        log.info("backfill of %d windows is complete", self.total)

    async def _fill_next(self, waiting: deque[Key]) -> None:
        while waiting:
            symbol, interval = waiting.popleft()
            await self._fill_surely(symbol, interval)
            self.filled.add((symbol, interval))
            step = max(1, self.total // 10)
            if self.done % step == 0 and self.done < self.total:
                log.info("backfill: %d of %d windows", self.done, self.total)
            self._on_progress(self.done, self.total)

    async def _fill(self, symbol: str, interval: str) -> None:
        """Fetch a window and its forming row, newest page first."""
        end_ms: int | None = None
        for limit in plan_limits(self._api.venue, self._market.capacity + 1):
            body = await self._api.klines(symbol, interval, limit, end_ms=end_ms)
            counts = self._apply(symbol, interval, body, newest=end_ms is None, notify=False)
            if counts.rows < limit:
                return
            end_ms = counts.first_open_ms - 1

    async def _fill_surely(self, symbol: str, interval: str) -> None:
        wait_s, wait_max_s = _RETRY_S
        while True:
            try:
                await self._fill(symbol, interval)
                return
            except RestError as error:
                if error.status == 400:
                    log.error("%s %s cannot be backfilled: %s", symbol, interval, error)
                    return
                log.warning("%s %s: %s", symbol, interval, error)
            except ParseError as error:
                log.warning("%s %s: answer dropped: %s", symbol, interval, error)
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, wait_max_s)

    def _apply(
        self, symbol: str, interval: str, body: bytes, *, newest: bool, notify: bool
    ) -> RowCounts:
        """Merge an answer. Of the newest page, the last row is closed only if read twice alike."""
        closed_before_ms = self.now_ms() - int(self._settings.grace_s * 1000)
        key = (symbol, interval)
        if newest:
            if self._last_bodies.get(key) != _last_row(body):
                closed_before_ms = min(closed_before_ms, _last_open_ms(body))
            self._last_bodies[key] = _last_row(body)
        counts = self._market.apply_klines(
            symbol, interval, body, closed_before_ms=closed_before_ms, notify=notify
        )
        if counts.refused:
            log.warning("%s %s: %d rows of an answer refused", symbol, interval, counts.refused)
        if notify and self._market.pending:
            self._on_change()
        return counts

    async def sweep(self) -> None:
        """Look at every filled series once, and fetch what is missing."""
        for series in self._market:
            key = (series.symbol, series.interval)
            if key not in self.filled or key in self._busy or self._api.budget.blocked_s:
                continue
            holes = [hole for hole in series.gaps() if not self.is_absent(key, hole)]
            late = self._is_late(series)
            if not holes and not late:
                continue
            self._busy.add(key)
            try:
                await self._mend(series, holes, late=late)
            except (FeedError, ParseError) as error:
                log.warning("%s %s: hole not filled yet: %s", *key, error)
            finally:
                self._busy.discard(key)

    def is_absent(self, key: Key, hole: tuple[int, int]) -> bool:
        """True if the exchange has no rows there, as far as two reads tell."""
        return self.absent.get((*key, *hole), 0) >= ABSENT_READS

    def _is_late(self, series: Series) -> bool:
        """True if a close is overdue that no answer has yet explained."""
        last_ms = series.last_close_ms
        if not last_ms:
            return False
        due_ms = next_open_ms(series.interval, last_ms + 1)
        if self.now_ms() < due_ms + int(LATE_AFTER_S * 1000):
            return False
        return not self.is_absent(
            (series.symbol, series.interval), (last_ms + 1, self._turn(series))
        )

    def _turn(self, series: Series) -> int:
        """Which kline of its interval is forming now, as a number that names the late stretch."""
        length = INTERVAL_MS[series.interval] or INTERVAL_MS["1d"]
        return self.now_ms() // length

    async def _mend(self, series: Series, holes: list[tuple[int, int]], *, late: bool) -> None:
        symbol, interval = series.symbol, series.interval
        rows_max = self._api.venue.kline_weights[-1][0]
        for first_ms, last_ms in holes:
            # One row more on each side: a later row behind the hole proves it whole.
            end_ms = close_time_ms(interval, last_ms) + 1
            body = await self._api.klines(
                symbol, interval, rows_max, start_ms=first_ms, end_ms=end_ms
            )
            await self._take(series, body, (first_ms, last_ms), newest=False)
        if late:
            start_ms = series.last_close_ms + 1
            mark = (start_ms, self._turn(series))
            body = await self._api.klines(symbol, interval, rows_max, start_ms=start_ms)
            await self._take(series, body, mark, newest=True)

    async def _take(
        self, series: Series, body: bytes, hole: tuple[int, int], *, newest: bool
    ) -> None:
        before = series.closed_count
        key = (series.symbol, series.interval, *hole)
        self._apply(series.symbol, series.interval, body, newest=newest, notify=True)
        brought = series.closed_count - before
        self.repaired += brought
        if brought:
            self.absent.pop(key, None)
            log.info(
                "hole filled",
                extra={"fields": {"series": f"{key[0]} {key[1]}", "klines": brought}},
            )
            return
        if len(self.absent) >= _ABSENT_MAX:
            self.absent.pop(next(iter(self.absent)))
        self.absent[key] = self.absent.get(key, 0) + 1


def _last_row(body: bytes) -> bytes:
    """The last tuple of a klines answer, as text; empty without one."""
    start = body.rfind(b"[")
    return body[start:] if start > 0 else b""


def _last_open_ms(body: bytes) -> int:
    """Open time of the last tuple; 0 without one, or if it is none."""
    text = _last_row(body)[1:].partition(b",")[0].strip()
    return int(text) if text.isdigit() else 0
