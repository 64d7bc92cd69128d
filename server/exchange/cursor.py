"""Klines of one symbol as time goes by: each minute is read once and added to all intervals.

REST sums ranges afresh from the source; streams come this way. Both must give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable

from klinecore.interval import close_time_ms, open_time_ms
from server.exchange.minutes import MINUTE_MS, Minutes, Row, Source, aggregate

__all__ = ["Cursor"]

#: Minutes read from the source at a time.
_BLOCK_MS = 240 * MINUTE_MS


class Cursor:
    """Closed and forming klines of ``symbol``; fast as long as minutes are asked for in order."""

    def __init__(self, source: Source, symbol: str) -> None:
        self._source = source
        self._symbol = symbol
        self._block: dict[int, Row] = {}
        self._block_span = (0, 0)
        self._at_ms = 0  # minutes before this are in the sums
        self._sums: dict[str, Row | None] = {}

    def close_minute(self, boundary_ms: int, intervals: Iterable[str]) -> dict[str, Row]:
        """Klines of ``intervals`` that end at ``boundary_ms``, a whole minute."""
        if boundary_ms != self._at_ms + MINUTE_MS:
            self._sums.clear()
        self._at_ms = boundary_ms
        if self._sums:
            minute = self._minute(boundary_ms - MINUTE_MS)
            for interval, row in self._sums.items():
                self._sums[interval] = _join(row, minute, interval)
        wanted = dict.fromkeys(intervals)  # no set: its order would depend on the process
        for interval in [interval for interval in wanted if interval not in self._sums]:
            opened_ms = open_time_ms(interval, boundary_ms - 1)
            self._sums[interval] = self._sum(interval, opened_ms, boundary_ms)
        closes = {}
        for interval, row in self._sums.items():
            if open_time_ms(interval, boundary_ms) == boundary_ms:
                self._sums[interval] = None
                if row is not None and interval in wanted:
                    closes[interval] = Row(*row[:-1], closed=True)
        return closes

    def forming(self, now_ms: int, intervals: Iterable[str]) -> dict[str, Row]:
        """Klines of ``intervals`` that contain ``now_ms``, as they stand then."""
        opened_ms = now_ms // MINUTE_MS * MINUTE_MS
        if opened_ms != self._at_ms:
            self._sums.clear()
            self._at_ms = opened_ms
        minute = self._source.present(self._symbol, now_ms)
        rows = {}
        for interval in intervals:
            if interval not in self._sums:
                begun_ms = open_time_ms(interval, opened_ms)
                self._sums[interval] = self._sum(interval, begun_ms, opened_ms)
            row = _join(self._sums[interval], minute, interval)
            if row is not None:
                rows[interval] = row
        return rows

    def _minute(self, open_ms: int) -> Row | None:
        start_ms, end_ms = self._block_span
        if not start_ms <= open_ms < end_ms:
            start_ms, end_ms = self._block_span = (open_ms, open_ms + _BLOCK_MS)
            # Some of it may lie ahead of the clock: sources know no clock.
            minutes = self._whole(start_ms, end_ms)
            self._block = {row.open_ms: row for row in aggregate(minutes, "1m", end_ms)}
        return self._block.get(open_ms)

    def _sum(self, interval: str, first_ms: int, end_ms: int) -> Row | None:
        """The kline of ``interval`` over the minutes of ``[first_ms, end_ms)``, if it has any."""
        rows = aggregate(self._whole(first_ms, end_ms), interval, end_ms)
        return rows[-1] if rows else None

    def _whole(self, first_ms: int, end_ms: int) -> Minutes:
        # As of `end_ms`, when the last minute asked for is over; the one that follows is cut off.
        minutes = self._source.minutes(self._symbol, first_ms, end_ms)
        return minutes.between(first_ms, end_ms)


def _join(earlier: Row | None, later: Row | None, interval: str) -> Row | None:
    """The kline over two neighbouring stretches of time, either of which may be without rows."""
    if later is None:
        return earlier
    if earlier is None:
        open_ms = open_time_ms(interval, later.open_ms)
        return Row(open_ms, close_time_ms(interval, open_ms), *later[2:-1], closed=False)
    return Row(
        earlier.open_ms,
        earlier.close_ms,
        earlier.open,
        max(earlier.high, later.high),
        min(earlier.low, later.low),
        later.close,
        earlier.volume + later.volume,
        earlier.quote_volume + later.quote_volume,
        earlier.trades + later.trades,
        earlier.taker_buy_base + later.taker_buy_base,
        earlier.taker_buy_quote + later.taker_buy_quote,
        earlier.first_id if earlier.trades else later.first_id,
        later.last_id if later.trades else earlier.last_id,
        False,
    )
