"""What filters say of the klines in memory: now, at every close of the past, or as a line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from klinecore.filters.columns import Column, Columns
from klinecore.filters.copied import MarketRows
from klinecore.filters.loops import spaced
from klinecore.filters.reasons import Reason
from klinecore.filters.table import Reasons, Table, Times
from klinecore.filters.tree import Node, looks_across
from klinecore.indicators.entry import Values

__all__ = ["Evaluation", "Mode", "Replay", "Rooted", "evaluate", "expression_series", "replay"]

Mode: TypeAlias = Literal["edge", "level"]


class Rooted(Protocol):
    """What is evaluated: a filter, or an expression of any kind."""

    @property
    def root(self) -> Node:
        """Its tree."""


@dataclass(frozen=True, slots=True)
class Evaluation:
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


@dataclass(frozen=True, slots=True)
class Replay:
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


def evaluate(
    filter: Rooted, market: MarketRows, interval: str, symbols: Iterable[str] | None = None
) -> Evaluation:
    """What a filter and each of its parts are at the newest closed klines of ``interval``.

    Parts on other intervals are those as of that close. ``symbols``: whose, default all of the
    market's; functions across symbols look at all of them anyway. O(rows in memory) per node; new
    arrays. Raises UnknownSeriesError: the market does not hold a symbol or an interval.
    """
    columns, chosen = _columns(filter, market, interval, symbols, tickers=True)
    own = columns.own
    newest = own.newest[chosen]
    parts: dict[str, Values] = {}
    last: list[Column] = []

    def seen(node: Node, column: Column) -> None:
        if node.op != "const" or node is filter.root:
            at = _taken(columns.at_own(node, column), newest)
            if node.op != "const":
                parts[node.text] = at.numbers()
            if node is filter.root:
                last.append(at)

    columns.run(seen)
    (root,) = last
    there = newest >= 0
    return Evaluation(
        interval=interval,
        symbols=tuple(own.symbols[i] for i in chosen),
        values=root.numbers(),
        reasons=root.reasons,
        parts=parts,
        open_time_ms=_at(own.open_time_ms, newest, there, 0),
        price=_at(own.fields["close"], newest, there, np.nan),
    )


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
    columns, chosen = _columns(filter, market, interval, symbols, tickers=False)
    own = columns.own
    root = _root(columns, filter.root)
    looked = np.isin(own.symbol_rows, chosen) if len(chosen) < len(own.symbols) else None
    rows = _fired(own, root, looked, mode, cooldown)
    reasons = root.reasons if looked is None else root.reasons[looked]
    counts = np.bincount(reasons, minlength=len(Reason)).tolist()
    place = np.zeros(len(own.symbols), dtype=np.int32)
    place[chosen] = np.arange(len(chosen), dtype=np.int32)
    rows = rows[np.lexsort((place[own.symbol_rows[rows]], own.open_time_ms[rows]))]
    return Replay(
        interval=interval,
        symbols=tuple(own.symbols[i] for i in chosen),
        symbol_index=place[own.symbol_rows[rows]],
        open_time_ms=own.open_time_ms[rows],
        price=own.fields["close"][rows],
        rows=len(reasons),
        unknown={reason: counts[reason] for reason in Reason if reason and counts[reason]},
        anchors={name: _anchors(table)[chosen] for name, table in columns.tables.items()},
    )


def expression_series(
    expression: Rooted, market: MarketRows, symbol: str, interval: str
) -> tuple[Times, Values]:
    """An expression at every closed kline in memory: open times and values, oldest first.

    int64 and float64, shape ``(n,)``, new arrays, in step with the series' columns. Conditions are
    1.0 and 0.0; NaN where it is unknown. Tickers are known at the newest kline only. Raises
    UnknownSeriesError.
    """
    columns, (place,) = _columns(expression, market, interval, [symbol], tickers=True)
    values = _root(columns, expression.root).numbers()
    own = columns.own
    rows = slice(own.offsets[place], own.offsets[place + 1])
    return own.open_time_ms[rows].copy(), values[rows].copy()


def _columns(
    filter: Rooted,
    market: MarketRows,
    interval: str,
    symbols: Iterable[str] | None,
    *,
    tickers: bool,
) -> tuple[Columns, list[int]]:
    """The columns, and the places of the symbols that were asked for."""
    held = market.symbols
    asked = held if symbols is None else tuple(market[s, interval].symbol for s in symbols)
    if len(set(asked)) != len(asked):
        raise ValueError("a symbol is asked for twice")
    looked = held if any(map(looks_across, filter.root.walk())) else asked
    made = Columns([filter.root], market, interval, looked, fields=["close"], tickers=tickers)
    if looked is asked:
        return made, list(range(len(asked)))
    places = {symbol: i for i, symbol in enumerate(looked)}
    return made, [places[symbol] for symbol in asked]


def _root(columns: Columns, root: Node) -> Column:
    found: list[Column] = []
    columns.run(lambda node, column: found.append(column) if node is root else None)
    return columns.at_own(root, found[0])


def _fired(
    own: Table, root: Column, looked: NDArray[np.bool_] | None, mode: Mode, cooldown: int
) -> Times:
    known = root.reasons == 0
    if looked is not None:
        known &= looked
    rows: Times = np.flatnonzero(known)
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
