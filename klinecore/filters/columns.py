"""Values of a filter's nodes over all rows in memory, each with the reason where it is unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from klinecore.filters.copied import MarketRows, fields_read
from klinecore.filters.loops import logarithm, places, silences
from klinecore.filters.reasons import Reason
from klinecore.filters.table import AsOf, Reasons, Table
from klinecore.filters.tree import TIME, Node, looks_across
from klinecore.indicators import CATALOG
from klinecore.indicators.entry import Indicator, Values
from klinecore.indicators.kernels import kernel_of

__all__ = ["Column", "Columns", "Order"]

Truths: TypeAlias = NDArray[np.bool_]

#: Letters of the exchange for what is read of a ticker.
LETTERS = {
    "last": "c",
    "change_percent": "P",
    "volume": "v",
    "quote_volume": "q",
    "high": "h",
    "low": "l",
}


class Column(NamedTuple):
    """A node over the rows of a table: numbers, or for a condition where it is true.

    ``reasons`` is 0 where it is known; where it is not, a number is NaN and a condition False.
    A constant is a column of no dimension.
    """

    data: NDArray[Any]
    reasons: Reasons

    def numbers(self) -> Values:
        """As float64: 1.0 true, 0.0 false, NaN unknown."""
        if self.data.dtype != bool:
            return self.data
        made: Values = self.data.astype(np.float64)
        return np.where(self.reasons == Reason.KNOWN, made, np.nan)


class Order:
    """A tree's nodes in the order in which they are computed, and what is known before."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.nodes = list(root.walk())
        self.uses = Counter(id(arg) for node in self.nodes for arg in node.args)
        self.across = any(map(looks_across, self.nodes))
        self.lookbacks = {
            id(node): CATALOG[str(node.params[0])].lookback(*node.params[1:])
            for node in self.nodes
            if node.op == "indicator"
        }


class Columns:
    """The columns of a tree's nodes; a node's own interval "" is ``interval``.

    Rows are copied when this is made; columns are anchored at the oldest row in memory. With
    ``tickers`` the newest tickers stand at each symbol's newest row, else they are unknown.

    A column is kept as long as a node that is not computed yet reads it.
    """

    def __init__(
        self,
        order: Order,
        market: MarketRows,
        interval: str,
        symbols: Iterable[str],
        *,
        tickers: bool = True,
    ) -> None:
        """Copy what the tree reads, and the closes of the own interval.

        Raises UnknownSeriesError: the market does not hold a symbol or an interval.
        """
        self.interval = interval
        self.order = order
        symbols = tuple(symbols)
        wanted = fields_read(order.nodes, interval)
        wanted[interval].add("close")
        self.tables = {name: Table(market, name, symbols, some) for name, some in wanted.items()}
        self.tickers: list[dict[str, str | int] | None] = []
        if any(node.op == "ticker" for node in order.nodes):
            self.tickers = [market.ticker(s) if tickers else None for s in symbols]
        self._as_of: dict[tuple[str, str], AsOf] = {}
        self._columns: dict[int, Column] = {}
        self._several: dict[int, dict[str, Column]] = {}

    @property
    def own(self) -> Table:
        """The rows of the filter's own interval."""
        return self.tables[self.interval]

    def run(self, seen: Callable[[Node, Column], None]) -> None:
        """Compute every node, arguments first, and show each over the rows of its own interval.

        An indicator of several outputs is not shown; they are.
        """
        uses = self.order.uses.copy()
        with np.errstate(all="ignore"):  # what is not finite becomes unknown
            for node in self.order.nodes:
                self._compute(node)
                if (column := self._columns.get(id(node))) is not None:
                    seen(node, column)
                for arg in node.args:
                    uses[id(arg)] -= 1
                    if not uses[id(arg)]:
                        self._columns.pop(id(arg), None)
                        self._several.pop(id(arg), None)
                if not uses[id(node)]:
                    self._columns.pop(id(node), None)

    def at_own(self, node: Node, column: Column) -> Column:
        """A node's column at the rows of the filter's own interval; constants spread over them."""
        column = self.as_of(column, node.interval or self.interval, self.interval)
        return _spread(column, len(self.own))

    def as_of(self, column: Column, interval: str, at: str) -> Column:
        """A column of one interval at the rows of another."""
        if interval == at or not column.data.ndim:
            return column
        if (found := self._as_of.get((at, interval))) is None:
            found = AsOf(self.tables[at], self.tables[interval])
            self._as_of[at, interval] = found
        if not len(column.data):
            missing = np.full(len(found.rows), np.nan).astype(column.data.dtype)
            if missing.dtype == bool:
                missing[:] = False
            return Column(missing, found.reasons)
        reasons = np.maximum(column.reasons[found.rows], found.reasons)
        gone = found.reasons != Reason.KNOWN
        # Row -1 was read where there is none.
        reasons[gone] = found.reasons[gone]
        data = column.data[found.rows]
        data[gone] = False if data.dtype == bool else np.nan
        return Column(data, reasons)

    def _compute(self, node: Node) -> None:
        interval = node.interval or self.interval
        table = self.tables[interval]
        if node.op == "output":
            self._columns[id(node)] = self._several[id(node.args[0])][str(node.params[0])]
            return
        args = [
            self.as_of(self._columns[id(arg)], arg.interval or self.interval, interval)
            for arg in node.args
        ]
        if node.op == "indicator":
            entry = CATALOG[str(node.params[0])]
            lookback = self.order.lookbacks[id(node)]
            outputs = _indicator(table, entry, node.params[1:], lookback, args)
            if len(outputs) == 1:
                self._columns[id(node)] = _as_kind(outputs[0], node.kind)
            else:
                self._several[id(node)] = dict(zip(entry.outputs, outputs, strict=True))
        elif node.op == "ticker":
            self._columns[id(node)] = self._ticker(table, str(node.params[0]))
        elif node.op in ROW_BY_ROW:
            self._columns[id(node)] = _spread(ROW_BY_ROW[node.op](*args), len(table))
        else:
            args = [_spread(arg, len(table)) for arg in args]
            self._columns[id(node)] = OVER_ROWS[node.op](table, *args, *node.params)

    def _ticker(self, table: Table, name: str) -> Column:
        data = np.full(len(table), np.nan)
        for row, ticker in zip(table.newest, self.tickers, strict=True):
            text = ticker.get(LETTERS[name]) if ticker else None
            if row >= 0 and text not in (None, ""):
                data[row] = float(text)
        return Column(data, np.where(np.isnan(data), Reason.NO_TICKER, 0).astype(np.uint8))


def _spread(column: Column, rows: int) -> Column:
    if column.data.ndim:
        return column
    return Column(np.full(rows, column.data), np.full(rows, column.reasons))


def _as_kind(column: Column, kind: str) -> Column:
    return Column(column.data > 0, column.reasons) if kind == "condition" else column


def _worst(args: Iterable[Column]) -> Reasons:
    return reduce(np.maximum, (arg.reasons for arg in args))


def _settled(data: Values, reasons: Reasons) -> Column:
    """A result of known arguments that is not finite is unknown."""
    odd = ~np.isfinite(data)
    if odd.any():
        data = np.where(odd, np.nan, data)
        reasons = np.where(odd & (reasons == 0), np.uint8(Reason.UNDEFINED), reasons)
    return Column(data, reasons)


def _indicator(
    table: Table,
    entry: Indicator,
    parameters: tuple[Any, ...],
    lookback: int,
    args: list[Column],
) -> list[Column]:
    """Every output of an indicator, from a fresh state in each stretch."""
    args = [_spread(arg, len(table)) for arg in args]
    inputs = tuple(np.ascontiguousarray(arg.data) for arg in args)
    if len(inputs) < len(entry.inputs) and entry.inputs[-1] == TIME:
        inputs += (table.open_time_ms.astype(np.float64),)
    outputs = kernel_of(entry.name).stretches(inputs, table.starts, parameters)
    fed = _worst(args) if args else np.zeros(len(table), dtype=np.uint8)
    recursive = entry.memory == "recursive"
    return [
        Column(data, silences(data, fed, table.starts, table.cold, lookback, recursive))
        for data in outputs
    ]


# Row by row: constants may be arguments.


def _compared(test: Callable[[Any, Any], Any]) -> Callable[..., Column]:
    def compare(x: Column, y: Column) -> Column:
        reasons = np.maximum(x.reasons, y.reasons)
        return Column(np.asarray(test(x.data, y.data)) & (reasons == 0), reasons)

    return compare


def _computed(formula: Callable[..., Any]) -> Callable[..., Column]:
    def compute(*args: Column) -> Column:
        return _settled(np.asarray(formula(*(arg.data for arg in args))), _worst(args))

    return compute


def _log(x: Any) -> Any:
    return logarithm(np.ascontiguousarray(x).reshape(-1)).reshape(np.shape(x))


def _sign(x: Any) -> Any:
    return np.where(x != x, np.nan, np.asarray(x > 0, float) - np.asarray(x < 0, float))


def _smaller(x: Any, y: Any) -> Any:
    """y if y < x, else x: NumPy's own does not say which of 0.0 and -0.0 it gives."""
    return np.where((y < x) | (y != y), y, x)


def _larger(x: Any, y: Any) -> Any:
    return np.where((y > x) | (y != y), y, x)


def _both(*args: Column) -> Column:
    reasons = _worst(args)
    return Column(reduce(np.logical_and, (arg.data for arg in args)) & (reasons == 0), reasons)


def _either(*args: Column) -> Column:
    reasons = _worst(args)
    return Column(reduce(np.logical_or, (arg.data for arg in args)) & (reasons == 0), reasons)


def _not(x: Column) -> Column:
    return Column(~x.data & (x.reasons == 0), x.reasons)


ROW_BY_ROW: dict[str, Callable[..., Column]] = {
    "neg": _computed(np.negative),
    "abs": _computed(np.abs),
    "sqrt": _computed(np.sqrt),
    "log": _computed(_log),
    "sign": _computed(_sign),
    "add": _computed(np.add),
    "sub": _computed(np.subtract),
    "mul": _computed(np.multiply),
    "div": _computed(np.divide),
    "min": _computed(_smaller),
    "max": _computed(_larger),
    "clip": _computed(lambda x, low, high: _smaller(_larger(x, low), high)),
    "lt": _compared(np.less),
    "le": _compared(np.less_equal),
    "gt": _compared(np.greater),
    "ge": _compared(np.greater_equal),
    "eq": _compared(np.equal),
    "ne": _compared(np.not_equal),
    "and": _both,
    "or": _either,
    "not": _not,
}


# Over rows of a table: none of their arguments is a constant.


def _field(table: Table, name: str) -> Column:
    data = table.open_time_ms.astype(np.float64) if name == TIME else table.fields[name]
    return Column(data, np.zeros(len(table), dtype=np.uint8))


def _const(table: Table, value: float) -> Column:
    return _settled(np.asarray(float(value)), np.asarray(0, dtype=np.uint8))


def _slid(join: np.ufunc, data: NDArray[Any], rows: int) -> NDArray[Any]:
    """``join`` over the last ``rows`` rows at each row; whatever where there are fewer.

    Doubling: log2(rows) passes.
    """
    made = data.copy()
    width = 1
    while width < min(rows, len(data)):
        step = min(width, rows - width)
        made[step:] = join(made[step:], made[:-step])
        width += step
    return made


def _window(table: Table, reasons: Reasons, rows: int) -> Reasons:
    """The largest reason of the last ``rows`` rows; where a stretch has fewer, that."""
    return np.where(table.position < rows - 1, table.cold, _slid(np.maximum, reasons, rows))


def _lag(table: Table, x: Column, n: int) -> Column:
    reasons = np.where(table.position < n, table.cold, np.roll(x.reasons, n))
    missing = False if x.data.dtype == bool else np.nan
    return Column(np.where(reasons == 0, np.roll(x.data, n), missing), reasons)


def _beyond(test: Callable[[Any, Any], Any], join: np.ufunc) -> Callable[..., Column]:
    def beyond(table: Table, x: Column, n: int) -> Column:
        reasons = _window(table, x.reasons, n + 1)
        known = reasons == 0
        return Column(test(x.data, np.roll(_slid(join, x.data, n), 1)) & known, reasons)

    return beyond


def _gathered(join: np.ufunc) -> Callable[..., Column]:
    def gather(table: Table, x: Column, n: int) -> Column:
        reasons = _window(table, x.reasons, n)
        return Column(_slid(join, x.data, n) & (reasons == 0), reasons)

    return gather


def _count(table: Table, x: Column, n: int) -> Column:
    reasons = _window(table, x.reasons, n)
    total = np.concatenate(([0], np.cumsum(x.data)))
    data = (total[1:] - total[np.maximum(np.arange(1, len(table) + 1) - n, 0)]).astype(np.float64)
    return Column(np.where(reasons == 0, data, np.nan), reasons)


def _bars_since(table: Table, x: Column) -> Column:
    rows = np.arange(len(table))
    start = rows - table.position
    last = np.maximum.accumulate(np.where(x.data, rows, -1)) if len(rows) else rows
    odd = np.maximum.accumulate(np.where(x.reasons > 0, rows, -1)) if len(rows) else rows
    never = (last < start) & (odd < start)
    lost = (odd >= start) & (odd > last)
    reasons = np.where(lost, x.reasons[odd], np.where(never, np.uint8(Reason.NOT_WARM), 0))
    reasons = np.where(table.cold == Reason.HOLE, np.maximum(reasons, Reason.HOLE), reasons)
    reasons = reasons.astype(np.uint8)
    return Column(np.where(reasons == 0, (rows - last).astype(np.float64), np.nan), reasons)


def _rank(table: Table, x: Column) -> Column:
    return Column(places(x.data, table.moments, x.reasons), x.reasons)


def _top(table: Table, x: Column, n: int) -> Column:
    return Column(places(x.data, table.moments, x.reasons) <= n, x.reasons)


def _bottom(table: Table, x: Column, n: int) -> Column:
    """The top of -x: of equal values the earlier symbol's is taken first here too."""
    return Column(places(-x.data, table.moments, x.reasons) <= n, x.reasons)


def _breadth(table: Table, x: Column) -> Column:
    moments = table.moments
    size = int(moments.max()) + 1 if len(moments) else 0
    known = np.bincount(moments[x.reasons == 0], minlength=size).astype(np.float64)
    true = np.bincount(moments[x.data], minlength=size).astype(np.float64)
    share = (100.0 * true / known)[moments]
    return Column(share, np.where(np.isnan(share), x.reasons, 0).astype(np.uint8))


OVER_ROWS: dict[str, Callable[..., Column]] = {
    "const": _const,
    "field": _field,
    "lag": _lag,
    "rising": _beyond(np.greater, np.maximum),
    "falling": _beyond(np.less, np.minimum),
    "any_of": _gathered(np.logical_or),
    "all_of": _gathered(np.logical_and),
    "count": _count,
    "bars_since": _bars_since,
    "rank": _rank,
    "top": _top,
    "bottom": _bottom,
    "breadth": _breadth,
}
