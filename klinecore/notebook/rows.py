"""Where a chart's rows come from: a series here or in another process, a frame, a live market."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from klinecore.attached import AttachedMarket, AttachedSeries
from klinecore.errors import UnknownSeriesError
from klinecore.frame import Frame
from klinecore.indicators.entry import Values
from klinecore.interval import INTERVAL_MS, check_interval, next_open_ms
from klinecore.kline import COLUMNS
from klinecore.market import Market
from klinecore.series import Series

__all__ = ["Followed", "Live", "OneSeries", "Rows", "Source", "find_source"]

_Stretches = list[tuple[int, int]]


class Live(Protocol):
    """What is needed of ``klinecore.client.Live``."""

    @property
    def market(self) -> Market: ...
    @property
    def connected(self) -> bool: ...
    @property
    def following(self) -> bool: ...
    @property
    def fault(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one series at one moment, the forming one behind the closed ones."""

    symbol: str
    interval: str
    open_time_ms: NDArray[np.int64]
    fields: Values  #: shape (9, n), in the order of ``klinecore.COLUMNS``
    forming: bool  #: whether the last row may still change
    missing: _Stretches  #: holes: first and last missing open times
    absent: _Stretches  #: likewise, confirmed by the exchange

    def __len__(self) -> int:
        return len(self.open_time_ms)

    @property
    def closed(self) -> Rows:
        """Those that are closed."""
        if not self.forming:
            return self
        times, fields = self.open_time_ms[:-1], self.fields[:, :-1]
        return Rows(self.symbol, self.interval, times, fields, False, self.missing, self.absent)

    def columns(self) -> Values:
        """As filters read them."""
        return self.fields

    def holes(self) -> _Stretches:
        """As filters read them."""
        return self.missing

    def absences(self) -> _Stretches:
        """As filters read them."""
        return self.absent


class OneSeries:
    """A market as filters read it: one series as it was copied, the others as they are now."""

    def __init__(self, rows: Rows, others: Market | AttachedMarket | None) -> None:
        self._rows = rows
        self._others = others
        self.symbols = (rows.symbol,)
        self.capacity = max(1, len(rows))

    def __getitem__(self, key: tuple[str, str], /) -> Rows | Series:
        """Raises UnknownSeriesError: it is not held, or nothing is known beside the one series."""
        if key == (self._rows.symbol, self._rows.interval):
            return self._rows
        if self._others is None:
            raise UnknownSeriesError("interval", key[1], [self._rows.interval])
        found = self._others[key]
        return found.read() if isinstance(found, AttachedSeries) else found

    def ticker(self, symbol: str) -> dict[str, str | int] | None:
        """The newest one."""
        return self._others.ticker(symbol) if self._others is not None else None


class Source(Protocol):
    """One series to draw."""

    others: Market | AttachedMarket | None

    def read(self) -> Rows: ...
    def moved(self) -> bool:
        """Whether there is something new since ``read``."""

    @property
    def status(self) -> str:
        """How it goes, "" if there is nothing to say."""


class Followed:
    """A series that may change, of this process or of another one."""

    def __init__(
        self,
        series: Series | AttachedSeries,
        others: Market | AttachedMarket | None = None,
        live: Live | None = None,
    ) -> None:
        self.others = others
        self._series = series
        self._live = live
        self._sequence = -1

    def moved(self) -> bool:
        """Raises UnknownSeriesError, TornReadError, of another process's series."""
        return self._series.sequence != self._sequence

    def read(self) -> Rows:
        """Raises UnknownSeriesError, TornReadError, of another process's series."""
        series = self._series
        if isinstance(series, AttachedSeries):
            series = series.read()
        self._sequence = series.sequence
        times, fields = series.open_time_ms, series.columns()
        forming = series.forming
        if forming is not None:
            newest = [float(getattr(forming, name)) for name in COLUMNS]
            times = np.append(times, forming.open_time_ms)
            fields = np.column_stack((fields, newest))
        return Rows(
            symbol=series.symbol,
            interval=series.interval,
            open_time_ms=np.array(times, dtype=np.int64),
            fields=np.array(fields, dtype=np.float64),
            forming=forming is not None,
            missing=series.holes(),
            absent=series.absences(),
        )

    @property
    def status(self) -> str:
        """Of a live market its connection, of an attached one whether its writer is gone."""
        if self._live is not None:
            live = self._live
            if live.connected:
                return "live"
            return f"{'reconnecting' if live.following else 'ended'}: {live.fault}"
        if isinstance(self.others, AttachedMarket) and self.others.replaced:
            return "ended: its writer is gone; attach again"
        return ""


class _Still:
    """A frame: it does not change."""

    def __init__(self, frame: Frame, symbol: str, interval: str | None) -> None:
        self.others: Market | AttachedMarket | None = None
        wanted = {"open_time", "open", "high", "low", "close"}
        if lacking := sorted(wanted - set(frame.names)):
            raise ValueError(f"a frame of klines has {', '.join(lacking)}, too")
        times = frame["open_time"].astype("M8[ms]").astype(np.int64)
        if (np.diff(times) <= 0).any():
            raise ValueError("open_time must ascend")
        interval = _interval_of(times) if interval is None else check_interval(interval)
        fields = np.full((len(COLUMNS), len(times)), np.nan)
        for place, name in enumerate(COLUMNS):
            if name in frame.names:
                fields[place] = frame[name]
        missing = list(_steps_missing(times, interval))
        self._rows = Rows(symbol, interval, times, fields, False, missing, [])

    def read(self) -> Rows:
        return self._rows

    def moved(self) -> bool:
        return False

    @property
    def status(self) -> str:
        return ""


def find_source(source: object, symbol: str | None, interval: str | None) -> Source:
    """The series that is meant.

    Raises UnknownSeriesError: the market does not hold it; ValueError: it must be named, or must
    not; TypeError: this is nothing to draw.
    """
    if isinstance(source, Frame):
        return _Still(source, symbol or "", interval)
    if isinstance(source, Series | AttachedSeries):
        if symbol is not None or interval is not None:
            raise ValueError("a series has its symbol and interval")
        return Followed(source)
    live: Any = None
    market = source
    if isinstance(getattr(source, "market", None), Market):
        live, market = source, source.market  # type: ignore[attr-defined]
    if not isinstance(market, Market | AttachedMarket):
        kinds = "a series, a frame, a market, or what kc.client.connect gives"
        raise TypeError(f"a chart shows {kinds}, not {type(source).__name__}")
    symbol = _only("symbol", symbol, market.symbols)
    interval = _only("interval", interval, market.intervals)
    return Followed(market[symbol, interval], market, live)


def _only(what: str, name: str | None, held: tuple[str, ...]) -> str:
    if name is not None:
        return name
    if len(held) != 1:
        some = ", ".join(held[:10]) + (", ..." if len(held) > 10 else "")
        raise ValueError(f"say which {what}: {some}")
    return held[0]


def _interval_of(times: NDArray[np.int64]) -> str:
    """The interval whose length is the shortest step."""
    shortest = int(np.diff(times).min()) if len(times) > 1 else 0
    for name, length in INTERVAL_MS.items():
        if length and length == shortest:
            return name
    if 28 <= shortest / INTERVAL_MS["1d"] <= 31:
        return "1M"
    raise ValueError("say interval=: the steps of open_time are none of the exchange's")


def _steps_missing(times: NDArray[np.int64], interval: str) -> Iterator[tuple[int, int]]:
    length = INTERVAL_MS[interval]
    if length:
        for place in np.flatnonzero(np.diff(times) >= 2 * length):
            yield int(times[place]) + length, int(times[place + 1]) - length
        return
    for before, after in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        first = last = next_open_ms(interval, before)
        while (following := next_open_ms(interval, last)) < after:
            last = following
        if first < after:
            yield first, last
