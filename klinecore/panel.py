"""One column of many symbols, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from klinecore.frame import Frame
from klinecore.kline import COLUMNS

__all__ = ["panel"]


class _Series(Protocol):
    @property
    def symbol(self) -> str: ...
    def frame(self) -> Frame: ...


class _Market(Protocol):
    @property
    def symbols(self) -> tuple[str, ...]: ...
    def __getitem__(self, key: tuple[str, str], /) -> _Series: ...


def panel(
    market: _Market, interval: str, column: str = "close", symbols: Iterable[str] | None = None
) -> Frame:
    """A column of ``klinecore.COLUMNS`` of many symbols: a row per open time, a column per symbol.

    ``open_time`` (the index) holds every time at which any of the symbols has a closed kline,
    oldest first; a symbol's column is float64, unknown where it has none then. ``market`` may be an
    attached one. ``symbols``: whose, default all of the market's. New memory, 8 bytes a place.

    Raises UnknownSeriesError: the market does not hold a symbol or the interval. ValueError: a
    column there is not, a symbol given twice.
    """
    if column not in COLUMNS:
        raise ValueError(f"column must be one of {', '.join(COLUMNS)}, not {column!r}")
    found = [
        market[symbol, interval] for symbol in (market.symbols if symbols is None else symbols)
    ]
    asked = [series.symbol for series in found]
    if len(set(asked)) != len(asked):
        raise ValueError("a symbol is asked for twice")
    frames = [series.frame() for series in found]
    times = np.unique(np.concatenate([np.empty(0, "M8[ms]"), *(f["open_time"] for f in frames)]))
    values = np.full((len(frames), len(times)), np.nan)
    for row, frame in zip(values, frames, strict=True):
        row[np.searchsorted(times, frame["open_time"])] = frame[column]
    return Frame({"open_time": times, **dict(zip(asked, values, strict=True))}, index="open_time")
