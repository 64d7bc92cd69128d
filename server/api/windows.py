"""What memory answers of a range of klines: the window of a series, as Binance counts its rows."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from klinecore.market import Market
from klinecore.series import Series
from server.api.binance_query import Range

__all__ = ["HeldWindow", "Window", "lacks"]


class Window(Protocol):
    """The newest rows of a series, the forming one included; a view of this moment."""

    @property
    def interval(self) -> str:
        """Of the klines it is made of."""
        ...

    @property
    def version(self) -> int:
        """Moves when one of those changes."""
        ...

    @property
    def first_ms(self) -> int | None:
        """Opening time of the oldest row; None without any."""
        ...

    def count(self, span: Range) -> int:
        """Rows up to the end of a range, at most its limit."""
        ...

    def body(self, span: Range) -> bytes:
        """The rows of a range as Binance's array. Raises InexactError."""
        ...


class HeldWindow:
    """The window of a series that is held."""

    def __init__(self, market: Market, series: Series) -> None:
        self._market = market
        self._series = series
        self.interval = series.interval
        self.version = series.sequence

    @property
    def first_ms(self) -> int | None:
        """Opening time of the oldest row; None without any."""
        series = self._series
        if len(series):
            return int(series.open_time_ms[0])
        return None if series.forming is None else series.forming.open_time_ms

    def count(self, span: Range) -> int:
        """Rows up to the end of a range, at most its limit."""
        end_ms, forming = span.end_ms, self._series.forming
        shown = forming is not None and (end_ms is None or forming.open_time_ms <= end_ms)
        return min(span.limit, self._series.index_range(None, end_ms)[1] + shown)

    def body(self, span: Range) -> bytes:
        """Rows as the exchange gives them: it counts the forming one as one of ``limit``."""
        limit, start_ms, end_ms = span
        series = self._series
        forming = series.forming
        shown = forming is not None and (end_ms is None or forming.open_time_ms <= end_ms)
        if start_ms is not None:
            later = len(series)
            if later >= limit:
                later -= int(np.searchsorted(series.open_time_ms, start_ms))
            shown = shown and later < limit
        elif forming is not None and shown:
            if limit == 1:  # nothing but the forming one
                start_ms = forming.open_time_ms
            limit = max(limit - 1, 1)
        return self._market.klines_array_json(
            series.symbol, series.interval, limit, forming=shown, start_ms=start_ms, end_ms=end_ms
        )


def lacks(series: Series, span: Range) -> bool:
    """True if rows that may still come would belong into the answer."""
    if not len(series):
        return True
    opens = series.open_time_ms
    if span.start_ms is None:
        first_ms = int(opens[max(0, len(opens) - span.limit)])
        if len(opens) < span.limit:
            return True
    else:
        first_ms = span.start_ms
        if first_ms < opens[0]:
            return True
    last_ms = span.end_ms if span.end_ms is not None else int(opens[-1])
    return any(first_ms <= last and first <= last_ms for first, last in series.holes())
