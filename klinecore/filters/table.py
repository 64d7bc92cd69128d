"""The closed rows of one interval as ragged columns: all symbols' rows, one after another."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klinecore.filters.copied import MarketRows, SeriesRows
from klinecore.filters.loops import latest
from klinecore.filters.reasons import Reason
from klinecore.indicators.entry import Values
from klinecore.interval import INTERVAL_MS
from klinecore.kline import COLUMNS

__all__ = ["AsOf", "Reasons", "Table", "Times", "following"]

Times = NDArray[np.int64]
#: ``Reason`` of each row.
Reasons = NDArray[np.uint8]


class Table:
    """Every symbol's closed rows of one interval, oldest first, symbol after symbol; copies.

    A stretch is a run of a symbol's rows without a hole in it; a confirmed absence ends none.
    ``m`` is the number of symbols, ``n`` of all rows, ``k`` of all stretches.

    Attributes
    ----------
    symbols : tuple of str, in the order given
    offsets : int64, shape (m + 1,); a symbol's rows are ``offsets[i]`` to ``offsets[i + 1]``
    open_time_ms : int64, shape (n,)
    fields : dict of float64 columns, shape (n,); those asked for
    starts : int64, shape (k,); the first row of each stretch
    broken : bool, shape (k,); True where a stretch begins behind a hole
    absent_after : bool, shape (n,); True where a confirmed absence follows the row
    """

    def __init__(
        self, market: MarketRows, interval: str, symbols: Iterable[str], fields: Container[str]
    ) -> None:
        """Copy the rows. Raises UnknownSeriesError: the market does not hold a series."""
        self.interval = interval
        self.symbols = tuple(symbols)
        series = [market[symbol, interval] for symbol in self.symbols]
        times = [one.open_time_ms for one in series]
        self.offsets: Times = np.zeros(len(series) + 1, dtype=np.int64)
        np.cumsum([len(some) for some in times], out=self.offsets[1:])
        self.open_time_ms: Times = _joined(times, np.int64)
        views = [one.columns() for one in series]
        self.fields: dict[str, Values] = {
            name: _joined([view[place] for view in views], np.float64)
            for place, name in enumerate(COLUMNS)
            if name in fields
        }
        self._find_stretches(series)

    def _find_stretches(self, series: list[SeriesRows]) -> None:
        starts = self.offsets[:-1][np.diff(self.offsets) > 0].tolist()
        behind: list[int] = []
        self.absent_after = np.zeros(len(self), dtype=bool)
        for place, one in enumerate(series):
            first, end = self.offsets[place : place + 2].tolist()
            times = self.open_time_ms[first:end]
            if holes := one.holes():
                rows = first + np.searchsorted(times, [hole[1] for hole in holes])
                behind += rows[rows < end].tolist()
            if absences := one.absences():
                before = first - 1 + np.searchsorted(times, [absence[0] for absence in absences])
                self.absent_after[before] = True
        self.starts: Times = np.array(sorted(starts + behind), dtype=np.int64)
        self.broken = np.isin(self.starts, behind)

    def __len__(self) -> int:
        """All rows."""
        return int(self.offsets[-1])

    @cached_property
    def symbol_rows(self) -> NDArray[np.int32]:
        """Index of each row's symbol, shape (n,)."""
        counts = np.diff(self.offsets)
        return np.repeat(np.arange(len(self.symbols), dtype=np.int32), counts)

    @cached_property
    def position(self) -> Times:
        """Rows of the same stretch before each row, shape (n,)."""
        lengths = np.diff(self.starts, append=len(self))
        return np.arange(len(self)) - np.repeat(self.starts, lengths)

    @cached_property
    def cold(self) -> Reasons:
        """Why what needs more rows than its stretch has is unknown: NOT_WARM, or HOLE behind one;
        shape (n,)."""
        lengths = np.diff(self.starts, append=len(self))
        reasons = np.where(self.broken, Reason.HOLE, Reason.NOT_WARM).astype(np.uint8)
        return np.repeat(reasons, lengths)

    @cached_property
    def close_ms(self) -> Times:
        """Boundary at which each row closed: the open time of the kline that follows it."""
        return following(self.interval, self.open_time_ms)

    @cached_property
    def newest(self) -> Times:
        """Each symbol's newest row, shape (m,); -1 without rows."""
        return np.where(np.diff(self.offsets) > 0, self.offsets[1:] - 1, -1)

    @cached_property
    def moments(self) -> Times:
        """Number of each row's open time among all that occur, 0 the oldest, shape (n,)."""
        length = INTERVAL_MS[self.interval]
        if not len(self):
            return self.open_time_ms
        since = self.open_time_ms - self.open_time_ms.min()
        span = int(since.max()) // length + 1 if length else 0
        if length and span <= 8 * len(self) + 1024 and not (since % length).any():
            numbers: Times = since // length
            return numbers
        numbers = np.unique(self.open_time_ms, return_inverse=True)[1]
        return numbers.astype(np.int64)


def following(interval: str, open_time_ms: Times) -> Times:
    """Open times of the klines that follow those, by the exchange's calendar."""
    if length := INTERVAL_MS[interval]:
        return open_time_ms + length
    months = open_time_ms.astype("datetime64[ms]").astype("datetime64[M]") + 1
    return months.astype("datetime64[ms]").astype(np.int64)


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


class AsOf:
    """Which row of ``other`` is the newest one at each row of ``own``; tables of equal symbols.

    At a row that closes at boundary T that is the newest row with a close boundary not after T. It
    is unknown where the kline behind it closed by then too, is not held, and is not confirmed
    absent: a value is never stale in silence.
    """

    def __init__(self, own: Table, other: Table) -> None:
        rows = latest(own.close_ms, own.offsets, other.close_ms, other.offsets)
        reasons = np.zeros(len(own), dtype=np.uint8)
        before = rows < 0
        if before.any():
            empty = np.diff(other.offsets)[own.symbol_rows] == 0
            reasons[before] = np.where(empty, Reason.NO_ROWS, Reason.NOT_WARM)[before]
        if len(other):
            # Where none has closed yet the last row of all is looked at, for nothing.
            due = following(other.interval, other.close_ms)[rows] <= own.close_ms
            reasons[due & ~other.absent_after[rows] & ~before] = Reason.MISSING_CLOSE
        rows[reasons != Reason.KNOWN] = -1
        #: Row of ``other``; -1 where it is unknown.
        self.rows = rows
        #: Why it is.
        self.reasons: Reasons = reasons
