"""What filters read of a market, as a copy: made where it changes, computed on anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from klinecore.errors import UnknownSeriesError
from klinecore.filters.tree import TIME, Node, looks_across
from klinecore.indicators.entry import Values
from klinecore.kline import COLUMNS

__all__ = ["MarketCopy", "MarketRows", "SeriesCopy", "SeriesRows", "fields_read"]

_NOTHING: Values = np.empty(0)


class SeriesRows(Protocol):
    """What filters read of a series: a live one, or a copy."""

    @property
    def symbol(self) -> str: ...
    @property
    def open_time_ms(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def columns(self) -> Any:
        """Columns by their place in ``klinecore.COLUMNS``."""

    def holes(self) -> list[tuple[int, int]]: ...
    def absences(self) -> list[tuple[int, int]]: ...


class MarketRows(Protocol):
    """What filters read of a market: a live one, or a copy."""

    @property
    def symbols(self) -> tuple[str, ...]: ...
    @property
    def capacity(self) -> int: ...
    def __getitem__(self, key: tuple[str, str], /) -> SeriesRows: ...
    def ticker(self, symbol: str) -> dict[str, str | int] | None: ...


def fields_read(nodes: Iterable[Node], interval: str) -> dict[str, set[str]]:
    """Columns that the nodes read, by interval; their own "" is ``interval``."""
    found: dict[str, set[str]] = {interval: set()}
    for node in nodes:
        names = found.setdefault(node.interval or interval, set())
        if node.op == "field" and node.params[0] != TIME:
            names.add(str(node.params[0]))
    return found


class SeriesCopy:
    """The closed rows of a series at one moment: some of its columns, holes and absences."""

    __slots__ = ("_absences", "_columns", "_holes", "open_time_ms", "symbol")

    def __init__(self, series: SeriesRows, names: Iterable[str]) -> None:
        self.symbol = series.symbol
        self.open_time_ms = series.open_time_ms.copy()
        self._columns = [_NOTHING] * len(COLUMNS)
        live = series.columns()
        for name in names:
            place = COLUMNS.index(name)
            self._columns[place] = live[place].copy()
        self._holes = series.holes()
        self._absences = series.absences()

    def __len__(self) -> int:
        return len(self.open_time_ms)

    def columns(self) -> list[Values]:
        """Those that were copied, at their places; the others are empty."""
        return self._columns

    def holes(self) -> list[tuple[int, int]]:
        """As of the copy."""
        return self._holes

    def absences(self) -> list[tuple[int, int]]:
        """As of the copy."""
        return self._absences


class MarketCopy:
    """What some trees read of a market, copied a few symbols at a time.

    ``evaluate``, ``replay`` and ``expression_series`` of those trees take it in the market's
    place, in any thread. Each symbol is copied at one moment with all intervals that are read;
    between two calls of ``copy`` the market may change, and a symbol that it no longer holds by
    its turn is left out.

    Attributes
    ----------
    symbols : tuple of str, those that are there; all of the market's if a tree looks across symbols
    asked : tuple of str, of those the ones that were asked for
    """

    def __init__(
        self,
        market: MarketRows,
        roots: Iterable[Node],
        interval: str,
        symbols: Iterable[str] | None = None,
    ) -> None:
        """Copies nothing yet. ``symbols``: whose, default all of the market's.

        Raises UnknownSeriesError: the market does not hold a symbol or an interval. ValueError: a
        symbol is asked for twice.
        """
        self._market = market
        nodes = [node for root in roots for node in root.walk()]
        self._fields = fields_read(nodes, interval)
        self._fields[interval].add("close")
        self._tickers: dict[str, dict[str, str | int] | None] | None = None
        if any(node.op == "ticker" for node in nodes):
            self._tickers = {}
        held = market.symbols
        self.asked = held
        if symbols is not None:
            self.asked = tuple(market[symbol, interval].symbol for symbol in symbols)
        if len(set(self.asked)) != len(self.asked):
            raise ValueError("a symbol is asked for twice")
        self.symbols = held if any(map(looks_across, nodes)) else self.asked
        self.capacity = market.capacity
        for name in self._fields:
            for symbol in self.symbols[:1]:
                market[symbol, name]
        self._series: dict[tuple[str, str], SeriesCopy] = {}
        self._next = 0

    @property
    def intervals(self) -> tuple[str, ...]:
        """Those that are read."""
        return tuple(self._fields)

    @property
    def rows(self) -> int:
        """Rows that are copied, or will be."""
        return sum(
            len(self._market[symbol, interval])
            for symbol in self.symbols
            for interval in self._fields
        )

    def copy(self, count: int) -> bool:
        """Copy the next ``count`` symbols; True when all are. For the thread that may read."""
        for symbol in self.symbols[self._next : self._next + count]:
            try:
                self._copy(symbol)
            except UnknownSeriesError:  # removed since
                self.symbols = tuple(s for s in self.symbols if s != symbol)
                self.asked = tuple(s for s in self.asked if s != symbol)
            else:
                self._next += 1
        return self._next == len(self.symbols)

    def _copy(self, symbol: str) -> None:
        live = {name: self._market[symbol, name] for name in self._fields}
        for name, series in live.items():
            self._series[symbol, name] = SeriesCopy(series, self._fields[name])
        if self._tickers is not None:
            self._tickers[symbol] = self._market.ticker(symbol)

    def __getitem__(self, key: tuple[str, str], /) -> SeriesCopy:
        """Raises UnknownSeriesError: it was not copied."""
        found = self._series.get(key)
        if found is None:
            symbol, interval = key
            if interval not in self._fields:
                raise UnknownSeriesError("interval", interval, list(self._fields))
            raise UnknownSeriesError("symbol", symbol, self.symbols)
        return found

    def ticker(self, symbol: str) -> dict[str, str | int] | None:
        """As of the copy."""
        return (self._tickers or {}).get(symbol)
