"""What filters say of the klines in memory: now, at every close of the past, or as a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from klinecore.filters.columns import Column, Columns, Order
from klinecore.filters.copied import MarketRows
from klinecore.filters.loops import spaced
from klinecore.filters.reasons import Reason
from klinecore.filters.table import Reasons, Table, Times
from klinecore.filters.tree import Node
from klinecore.frame import Frame, Framed
from klinecore.indicators.entry import Values

__all__ = ["Evaluation", "Mode", "Replay", "Rooted", "evaluate", "expression_series", "replay"]

#: Rows that are worked on at a time: columns of that many stay in the processor's cache.
BLOCK_ROWS = 1 << 15

Mode: TypeAlias = Literal["edge", "level"]


class Rooted(Protocol):
    """What is evaluated: a filter, or an expression of any kind."""

    @property
    def root(self) -> Node:
        """Its tree."""


@dataclass(frozen=True, slots=True)
class Evaluation(Framed):
    """A filter at the newest closed kline of each symbol; arrays have one place per symbol."""

    interval: str
    symbols: tuple[str, ...]
    values: Values  #: the root: of a condition 1.0 true, 0.0 false; NaN unknown
    reasons: Reasons  #: ``Reason``, 0 where it is known
    parts: dict[str, Values]  #: every part but constants by its normal text, likewise
    open_time_ms: Times  #: of the kline; 0 without one
    price: Values  #: its close; NaN without one

    @property
    def matches(self) -> tuple[str, ...]:
        """Symbols where the condition is true."""
        return tuple(s for s, value in zip(self.symbols, self.values, strict=True) if value == 1.0)

    def _title(self) -> str:
        unknown = np.count_nonzero(self.reasons)
        counts = f"{len(self.symbols)} symbols, {len(self.matches)} true, {unknown} unknown"
        return f"<Evaluation {self.interval}: {counts}>"

    def frame(self) -> Frame:
        """A row per symbol, the index: ``value``, ``reason``, ``open_time``, ``price``, the parts.

        Parts go by their text. What is unknown is null; ``reason`` says why, as ``Reason`` names it
        in lower case, null where ``value`` is known. Numbers are this object's own arrays, not
        copied: what is written to them later shows. Texts and times are new.
        """
        names = [None if reason == 0 else Reason(reason).name.lower() for reason in self.reasons]
        return Frame(
            {
                "symbol": self.symbols,
                "value": self.values,
                "reason": names,
                "open_time": _datetimes(self.open_time_ms),
                "price": self.price,
                **self.parts,
            },
            index="symbol",
        )


@dataclass(frozen=True, slots=True)
class Replay(Framed):
    """Every close in memory at which a filter would have fired, oldest first, then by symbol."""

    interval: str
    symbols: tuple[str, ...]
    symbol_index: NDArray[np.int32]  #: place in ``symbols``
    open_time_ms: Times  #: of the kline whose close fired
    price: Values  #: its close
    rows: int  #: closes looked at
    unknown: dict[Reason, int]  #: at how many of them the filter was unknown, and why
    #: Per interval that is read, each symbol's oldest row in memory, 0 without one: values are
    #: functions of the rows from there on, and equal the live ones that were fed the same.
    anchors: dict[str, Times]

    def _title(self) -> str:
        return f"<Replay {self.interval}: {len(self.price)} firings in {self.rows} closes>"

    def frame(self) -> Frame:
        """A row per firing, oldest first: ``open_time`` (the index), ``symbol`` and ``price``.

        Prices are this object's own array, not copied: what is written to it later shows. Symbols
        and times are new.
        """
        symbols = [self.symbols[place] for place in self.symbol_index]
        times = _datetimes(self.open_time_ms)
        return Frame(
            {"open_time": times, "symbol": symbols, "price": self.price}, index="open_time"
        )


def evaluate(
    filter: Rooted, market: MarketRows, interval: str, symbols: Iterable[str] | None = None
) -> Evaluation:
    """What a filter and each of its parts are at the newest closed klines of ``interval``.

    Parts on other intervals are those as of that close. ``symbols``: whose, default all of the
    market's; functions across symbols look at all of them anyway. O(rows in memory) per node; new
    arrays. Raises UnknownSeriesError: the market does not hold a symbol or an interval.
    """
    asked = _asked(market, interval, symbols)
    made: dict[str, list[NDArray[Any]]] = {}
    for columns, chosen in _blocks(filter.root, market, interval, asked, tickers=True):
        for name, array in _newest(columns, filter.root, columns.own.newest[chosen]):
            made.setdefault(name, []).append(array)
    whole = {name: np.concatenate(arrays) for name, arrays in made.items()}
    root, reasons, times, price = (whole.pop(name) for name in ("", " reasons", " times", " price"))
    return Evaluation(interval, asked, root, reasons, whole, times, price)


def replay(
    filter: Rooted,
    market: MarketRows,
    interval: str,
    symbols: Iterable[str] | None = None,
    *,
    mode: Mode = "edge",
    cooldown: int = 0,
) -> Replay:
    """Every closed kline in memory at which a filter would have fired.

    ``mode`` "level" fires wherever the condition is true; "edge" where it is true and was false the
    last time it was known, so never the first time. Behind a firing the ``cooldown`` next klines of
    the symbol do not fire. Klines are those held: missing ones count for nothing. Tickers have no
    past, so what reads one is unknown.

    Raises UnknownSeriesError: the market does not hold a symbol or an interval. ValueError: the
    root is no condition, a mode there is not, a negative cooldown.
    """
    if filter.root.kind != "condition":
        raise ValueError(f"only a condition fires; {filter.root.text} is a number")
    if mode not in ("edge", "level"):
        raise ValueError(f"mode must be 'edge' or 'level', not {mode!r}")
    if cooldown < 0:
        raise ValueError(f"cooldown must be 0 or more klines, not {cooldown}")
    asked = _asked(market, interval, symbols)
    counts = np.zeros(len(Reason), dtype=np.int64)
    fired: list[tuple[NDArray[np.int32], Times, Values]] = []
    anchors: dict[str, list[Times]] = {}
    before = 0
    for columns, chosen in _blocks(filter.root, market, interval, asked, tickers=False):
        own = columns.own
        place = np.full(len(own.symbols), -1, dtype=np.int32)
        place[chosen] = np.arange(before, before + len(chosen), dtype=np.int32)
        before += len(chosen)
        root = _root(columns, filter.root)
        looked = place[own.symbol_rows] >= 0 if len(chosen) < len(place) else slice(None)
        counts += np.bincount(root.reasons[looked], minlength=len(Reason))
        rows = np.flatnonzero((root.reasons == 0)[looked])
        rows = rows if isinstance(looked, slice) else np.flatnonzero(looked)[rows]
        rows = _fired(own, root, rows, mode, cooldown)
        fired.append(
            (place[own.symbol_rows[rows]], own.open_time_ms[rows], own.fields["close"][rows])
        )
        for name, table in columns.tables.items():
            anchors.setdefault(name, []).append(_anchors(table)[chosen])
    index, times, price = (np.concatenate(parts) for parts in zip(*fired, strict=True))
    order = np.lexsort((index, times))
    return Replay(
        interval=interval,
        symbols=asked,
        symbol_index=index[order],
        open_time_ms=times[order],
        price=price[order],
        rows=int(counts.sum()),
        unknown={reason: int(counts[reason]) for reason in Reason if reason and counts[reason]},
        anchors={name: np.concatenate(parts) for name, parts in anchors.items()},
    )


def expression_series(
    expression: Rooted, market: MarketRows, symbol: str, interval: str
) -> tuple[Times, Values]:
    """An expression at every closed kline in memory: open times and values, oldest first.

    int64 and float64, shape ``(n,)``, new arrays, in step with the series' columns. Conditions are
    1.0 and 0.0; NaN where it is unknown. Tickers are known at the newest kline only. Raises
    UnknownSeriesError.
    """
    asked = _asked(market, interval, [symbol])
    ((columns, (place,)),) = _blocks(expression.root, market, interval, asked, tickers=True)
    values = _root(columns, expression.root).numbers()
    own = columns.own
    rows = slice(own.offsets[place], own.offsets[place + 1])
    return own.open_time_ms[rows].copy(), values[rows].copy()


def _datetimes(times: Times) -> NDArray[np.datetime64]:
    """Times as Arrow and NumPy have them; NaT where there is none."""
    made = times.astype("M8[ms]")
    made[times == 0] = np.datetime64("NaT")
    return made


def _asked(market: MarketRows, interval: str, symbols: Iterable[str] | None) -> tuple[str, ...]:
    """The symbols as the market spells them."""
    if symbols is None:
        return market.symbols
    asked = tuple(market[symbol, interval].symbol for symbol in symbols)
    if len(set(asked)) != len(asked):
        raise ValueError("a symbol is asked for twice")
    return asked


def _blocks(
    root: Node, market: MarketRows, interval: str, asked: tuple[str, ...], *, tickers: bool
) -> Iterator[tuple[Columns, list[int]]]:
    """Columns of some symbols at a time, and which of them were asked for.

    What looks across symbols needs all of them at once.
    """
    order = Order(root)
    across = order.across
    looked = market.symbols if across else asked
    size = len(looked) if across else BLOCK_ROWS // market.capacity
    for first in range(0, len(looked) or 1, size or 1):
        block = looked[first : first + size] if size else looked[first : first + 1]
        columns = Columns(order, market, interval, block, tickers=tickers)
        places = {symbol: i for i, symbol in enumerate(block)}
        yield columns, [places[symbol] for symbol in (asked if across else block)]


def _newest(columns: Columns, root: Node, newest: Times) -> list[tuple[str, NDArray[Any]]]:
    """Each part's values by its text, the root's by "", and what else is told of the rows."""
    own, there = columns.own, newest >= 0
    found: list[tuple[str, NDArray[Any]]] = [
        (" times", _at(own.open_time_ms, newest, there, 0)),
        (" price", _at(own.fields["close"], newest, there, np.nan)),
    ]

    def seen(node: Node, column: Column) -> None:
        if node.op != "const" or node is root:
            at = _taken(columns.at_own(node, column), newest)
            if node.op != "const":
                found.append((node.text, at.numbers()))
            if node is root:
                found.append(("", at.numbers()))
                found.append((" reasons", at.reasons))

    columns.run(seen)
    return found


def _root(columns: Columns, root: Node) -> Column:
    found: list[Column] = []
    columns.run(lambda node, column: found.append(column) if node is root else None)
    return columns.at_own(root, found[0])


def _fired(own: Table, root: Column, rows: Times, mode: Mode, cooldown: int) -> Times:
    """Those of the rows where it is known at which it fires."""
    true = root.data[rows]
    if mode == "edge":
        symbols = own.symbol_rows[rows]
        rises = np.zeros(len(rows), dtype=bool)
        rises[1:] = true[1:] & ~true[:-1] & (symbols[1:] == symbols[:-1])
        true = rises
    rows = rows[true]
    apart = spaced(rows, own.symbol_rows[rows], cooldown) if cooldown else slice(None)
    fired: Times = rows[apart]
    return fired


def _anchors(table: Table) -> Times:
    there = np.diff(table.offsets) > 0
    anchors: Times = _at(table.open_time_ms, table.offsets[:-1], there, 0)
    return anchors


def _at(column: NDArray[Any], rows: Times, there: NDArray[np.bool_], missing: float) -> Any:
    made = np.full(len(rows), missing, dtype=column.dtype)
    made[there] = column[rows[there]]
    return made


def _taken(column: Column, rows: Times) -> Column:
    """A column at some rows; unknown where there is none."""
    there = rows >= 0
    missing = False if column.data.dtype == bool else np.nan
    reasons = _at(column.reasons, rows, there, Reason.NO_ROWS)
    return Column(_at(column.data, rows, there, missing), reasons)
