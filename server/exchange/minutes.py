"""A market's minutes as integer columns, and their exact aggregates: what every source gives.

All values are integers: prices in units of the symbol's price decimals, volumes of its volume
decimals, quote volumes of their sum. Sums, maxima and first/last of integers are exact, so a
higher interval equals the trades it is made of, to the last digit.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from klinecore.interval import INTERVAL_MS, close_time_ms, next_open_ms, open_time_ms

__all__ = ["MINUTE_MS", "Minutes", "Row", "Source", "Symbol", "aggregate", "exact_sums"]

MINUTE_MS = 60_000

_INT64_MAX = 2**63 - 1

Integers: TypeAlias = NDArray[np.int64]


class Symbol(NamedTuple):
    """One symbol: its assets, and how many decimals its numbers have."""

    name: str
    base: str
    quote: str
    price_decimals: int
    volume_decimals: int
    quote_decimals: int


class Row(NamedTuple):
    """One kline in integers; ids are -1 without trades."""

    open_ms: int
    close_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    trades: int
    taker_buy_base: int
    taker_buy_quote: int
    first_id: int
    last_id: int
    closed: bool


class Minutes(NamedTuple):
    """Consecutive present minutes, oldest first; each column has one int64 per minute."""

    open_ms: Integers
    open: Integers
    high: Integers
    low: Integers
    close: Integers
    volume: Integers
    quote_volume: Integers
    trades: Integers
    taker_buy_base: Integers
    taker_buy_quote: Integers
    first_id: Integers
    last_id: Integers

    def between(self, first_ms: int, end_ms: int) -> Minutes:
        """Minutes that opened at ``first_ms`` or later and before ``end_ms``; views."""
        low, high = self.open_ms.searchsorted(first_ms), self.open_ms.searchsorted(end_ms)
        if not low and high == len(self.open_ms):
            return self
        return Minutes(*[column[low:high] for column in self])

    @staticmethod
    def concatenate(parts: list[Minutes]) -> Minutes:
        return Minutes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class Source(Protocol):
    """Where a simulated market's data comes from."""

    market: str  # spot or um

    @property
    def symbols(self) -> dict[str, Symbol]: ...

    @property
    def first_ms(self) -> int:
        """Opening time of the oldest minute there is."""
        ...

    @property
    def end_ms(self) -> int | None:
        """Where the data ends; None if it never does."""
        ...

    def minutes(self, symbol: str, first_ms: int, now_ms: int) -> Minutes:
        """Minutes from ``first_ms`` up to and including the one ``now_ms`` is in, so far."""
        ...

    def present(self, symbol: str, now_ms: int) -> Row | None:
        """The minute ``now_ms`` is in, so far, as a row of 1m; None if there is none."""
        ...

    def texts(self, symbol: Symbol, row: Row, interval: str) -> list[str]:
        """How the exchange prints open, high, low, close, volume, quote volume and taker buys."""
        ...


def aggregate(minutes: Minutes, interval: str, now_ms: int) -> list[Row]:
    """Klines of ``interval`` from minutes, the last one forming if ``now_ms`` is inside it."""
    if not len(minutes.open_ms):
        return []
    summed = minutes if interval == "1m" else _summed(minutes, _opens(interval, minutes.open_ms))
    open_times, *values = (column.tolist() for column in summed)
    length = INTERVAL_MS[interval]
    if length:
        close_times = (summed.open_ms + (length - 1)).tolist()
    else:
        close_times = [close_time_ms(interval, open_ms) for open_ms in open_times]
    closed = [close_ms < now_ms for close_ms in close_times]
    return list(map(Row, open_times, close_times, *values, closed))


def _summed(minutes: Minutes, opens: Integers) -> Minutes:
    """Klines as columns: what minutes come to whose klines opened at ``opens``, one of each."""
    changes = np.flatnonzero(opens[1:] != opens[:-1])
    starts, ends = np.append(0, changes + 1), np.append(changes, len(opens) - 1)
    trades = np.add.reduceat(minutes.trades, starts)
    # Minutes without trades have no ids; the first and last id are those of minutes that do.
    known = np.where(minutes.first_id < 0, np.iinfo(np.int64).max, minutes.first_id)
    return Minutes(
        open_ms=opens[starts],
        open=minutes.open[starts],
        high=np.maximum.reduceat(minutes.high, starts),
        low=np.minimum.reduceat(minutes.low, starts),
        close=minutes.close[ends],
        volume=exact_sums(minutes.volume, starts),
        quote_volume=exact_sums(minutes.quote_volume, starts),
        trades=trades,
        taker_buy_base=exact_sums(minutes.taker_buy_base, starts),
        taker_buy_quote=exact_sums(minutes.taker_buy_quote, starts),
        first_id=np.where(trades > 0, np.minimum.reduceat(known, starts), -1),
        last_id=np.maximum.reduceat(minutes.last_id, starts),
    )


def exact_sums(values: Integers, starts: Integers) -> NDArray[Any]:
    """Sum of each group of ``values``; in Python's integers where int64 might not hold one."""
    if int(values.max()) * len(values) > _INT64_MAX:
        return np.add.reduceat(values.astype(object), starts)
    return np.add.reduceat(values, starts)


def _opens(interval: str, minutes: Integers) -> Integers:
    """Opening time of the kline each minute belongs to."""
    length = INTERVAL_MS[interval]
    if length:
        anchor = open_time_ms(interval, int(minutes[0]))
        return (minutes - anchor) // length * length + anchor
    opens = []
    open_ms = open_time_ms(interval, int(minutes[0]))
    end_ms = next_open_ms(interval, open_ms)
    for minute in minutes.tolist():
        while minute >= end_ms:
            open_ms, end_ms = end_ms, next_open_ms(interval, end_ms)
        opens.append(open_ms)
    return np.array(opens, np.int64)
