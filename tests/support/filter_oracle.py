"""What filters say of the rows in a market's memory: row by row, in plain Python, as slow as that.

An unknown value is None. Indicators are the streams of ``klinecore.indicators``, one per stretch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import klinecore.indicators as indicators
from klinecore import Market
from klinecore.filters import Node
from klinecore.indicators import CATALOG
from klinecore.interval import next_open_ms

Value = float | None
Column = list[Value]
INF = math.inf
#: Where a filter fires: (symbol, open_time_ms).
Fires = set[tuple[str, int]]

ARITHMETIC: dict[str, Callable[..., float]] = {
    "neg": lambda x: -x,
    "abs": abs,
    "sqrt": math.sqrt,
    "log": math.log,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "min": min,
    "max": max,
    "clip": lambda x, low, high: min(max(x, low), high),
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "and": lambda *given: all(given),
    "or": lambda *given: any(given),
    "not": lambda x: not x,
}


class Oracle:
    """One filter on one interval of a market, as its memory is now."""

    def __init__(self, market: Market, interval: str) -> None:
        self.market = market
        self.interval = interval
        self.columns: dict[tuple[int, str], dict[str, Column]] = {}
        self.nodes: list[Node] = []  # so that identities stay theirs

    def times(self, symbol: str, interval: str) -> list[int]:
        return [int(time) for time in self.market[symbol, interval].open_time_ms]

    def stretches(self, symbol: str, interval: str) -> list[tuple[int, int]]:
        """Rows ``first <= i < end`` of each run without a hole in it."""
        times = self.times(symbol, interval)
        holes = self.market[symbol, interval].holes()
        starts = [
            i
            for i in range(1, len(times))
            if any(times[i - 1] < first < times[i] for first, _ in holes)
        ]
        bounds = [0, *starts, len(times)]
        return list(zip(bounds, bounds[1:], strict=False))

    def column(self, node: Node, home: str) -> dict[str, Column]:
        """Values of every row of every symbol, of the interval the node is on."""
        on = home if node.op in {"const", "ticker"} else node.interval or self.interval
        if (id(node), on) not in self.columns:
            self.nodes.append(node)
            args = [self.argument(arg, on) for arg in node.args]
            self.columns[id(node), on] = self.compute(node, on, args)
        return self.columns[id(node), on]

    def argument(self, node: Node, on: str) -> dict[str, Column]:
        """An argument's values at the rows of ``on``."""
        column = self.column(node, on)
        other = on if node.op in {"const", "ticker"} else node.interval or self.interval
        if other == on:
            return column
        return {
            symbol: [
                self.as_of(symbol, other, values, next_open_ms(on, time))
                for time in self.times(symbol, on)
            ]
            for symbol, values in column.items()
        }

    def as_of(self, symbol: str, other: str, values: Column, boundary_ms: int) -> Value:
        times = self.times(symbol, other)
        closed = [i for i, time in enumerate(times) if next_open_ms(other, time) <= boundary_ms]
        if not closed:
            return None
        due_ms = next_open_ms(other, times[closed[-1]])
        absent = any(
            first <= due_ms <= last for first, last in self.market[symbol, other].absences()
        )
        if next_open_ms(other, due_ms) <= boundary_ms and not absent:
            return None
        return values[closed[-1]]

    def compute(self, node: Node, on: str, args: list[dict[str, Column]]) -> dict[str, Column]:
        if node.op in {"rank", "top", "bottom", "breadth"}:
            return self.across(node, on, args[0])
        return {
            symbol: self.one(node, symbol, on, [arg[symbol] for arg in args])
            for symbol in self.market.symbols
        }

    def one(self, node: Node, symbol: str, on: str, args: list[Column]) -> Column:
        count = len(self.times(symbol, on))
        if node.op == "const":
            return [float(node.params[0])] * count
        if node.op == "ticker":
            return [None] * count
        if node.op == "field":
            if node.params[0] == "open_time_ms":
                return [float(time) for time in self.times(symbol, on)]
            return [float(x) for x in getattr(self.market[symbol, on], str(node.params[0]))]
        if node.op == "output":
            return self.indicator(node.args[0], symbol, on, args_of(self, node, symbol, on), node)
        if node.op == "indicator":
            # One of several outputs is asked for by an ``output`` above.
            return self.indicator(node, symbol, on, args, None)
        if node.op in ARITHMETIC:
            return [arithmetic(node.op, row) for row in zip(*args, strict=True)]
        out: Column = [None] * count
        for number, (first, end) in enumerate(self.stretches(symbol, on)):
            part = args[0][first:end]
            out[first:end] = [
                past(node, part[: i + 1], broken=number > 0) for i in range(len(part))
            ]
        return out

    def indicator(
        self, node: Node, symbol: str, on: str, args: list[Column], output: Node | None
    ) -> Column:
        name, *params = node.params
        entry = CATALOG[str(name)]
        given = {p.name: value for p, value in zip(entry.parameters, params, strict=True)}
        out: Column = []
        for number, (first, end) in enumerate(self.stretches(symbol, on)):
            stream = getattr(indicators, entry.stream)(**given)
            for i in range(first, end):
                row = [math.nan if arg[i] is None else arg[i] for arg in args]
                value = stream.update(*row)
                if output is not None:
                    value = getattr(value, str(output.params[0]))
                elif len(entry.outputs) > 1:
                    value = math.nan
                blind = number > 0 and entry.memory == "recursive"
                out.append(None if blind or math.isnan(value) else value)
        return out

    def across(self, node: Node, on: str, arg: dict[str, Column]) -> dict[str, Column]:
        out: dict[str, Column] = {s: [None] * len(column) for s, column in arg.items()}
        at: dict[int, list[tuple[str, int]]] = {}
        for symbol in self.market.symbols:
            for i, time in enumerate(self.times(symbol, on)):
                at.setdefault(time, []).append((symbol, i))
        for places in at.values():
            known = [(s, i, arg[s][i]) for s, i in places if arg[s][i] is not None]
            if node.op == "breadth":
                for symbol, i in places:
                    true = sum(bool(x) for _, _, x in known)
                    out[symbol][i] = 100.0 * true / len(known) if known else None
                continue
            sign = 1 if node.op == "bottom" else -1
            known.sort(key=lambda one: sign * float(one[2] or 0))  # stable: ties in their order
            for rank, (symbol, i, _) in enumerate(known):
                out[symbol][i] = rank + 1.0 if node.op == "rank" else rank < int(node.params[0])
        return out

    def gone(self, symbol: str, interval: str) -> bool:
        """True if rows before those in memory may have left it."""
        return len(self.times(symbol, interval)) >= self.market.capacity

    def whole(self, node: Node, on: str) -> dict[str, float]:
        """By symbol, from which time on values at rows of ``on`` need no rows that left memory."""
        other = on if node.op in {"const", "ticker"} else node.interval or self.interval
        if other != on:
            there = self.whole(node, other)
            return {s: self.whole_as_of(s, on, other, ms) for s, ms in there.items()}
        inside = node.args[0] if node.op == "output" else node
        args = [self.whole(arg, on) for arg in inside.args]
        if node.op in {"rank", "top", "bottom", "breadth"}:
            return dict.fromkeys(self.market.symbols, self.whole_across(node, on, args[0]))
        return {
            symbol: self.whole_back(node, symbol, on, max((a[symbol] for a in args), default=-INF))
            for symbol in self.market.symbols
        }

    def whole_back(self, node: Node, symbol: str, on: str, args_ms: float) -> float:
        """Where a value looks back at arguments that are whole from ``args_ms`` on."""
        times = self.times(symbol, on)
        cut = sum(time < args_ms for time in times)
        gone = self.gone(symbol, on)
        if node.op == "bars_since":
            if not gone and args_ms == -INF:
                return -INF
            ages = self.column(node, on)[symbol]
            return min((times[i] for i in range(cut, len(times)) if ages[i] == 0), default=INF)
        if reach(node) == 1 or not (cut or gone):
            return args_ms
        first = cut + reach(node) - 1
        return times[first] if first < len(times) else INF

    def whole_as_of(self, symbol: str, on: str, other: str, there_ms: float) -> float:
        """Where the row that is read as of the close is one that is whole there."""
        if there_ms == -INF and not self.gone(symbol, other):
            return -INF
        ends = [next_open_ms(other, t) for t in self.times(symbol, other) if t >= there_ms]
        closes = (
            time for time in self.times(symbol, on) if ends and next_open_ms(on, time) >= ends[0]
        )
        return min(closes, default=INF)

    def whole_across(self, node: Node, on: str, arg: dict[str, float]) -> float:
        """Where no symbol lacks its row, nor what is compared of it."""
        held = {s: times for s in self.market.symbols if (times := self.times(s, on))}
        found = max((arg[s] for s in held), default=-INF)
        found = max([found, *(times[0] for s, times in held.items() if self.gone(s, on))])
        if found > -INF and any(below.op == "bars_since" for below in node.walk()):
            return INF
        return found

    def undecided(self, root: Node, *, mode: str) -> Fires:
        """Rows of which it cannot be known any more whether the filter fired there."""
        found: Fires = set()
        whole = self.whole(root, self.interval)
        for symbol, values in self.argument(root, self.interval).items():
            unsure = self.gone(symbol, self.interval)
            for time, value in zip(self.times(symbol, self.interval), values, strict=True):
                lost = time < whole[symbol]
                if lost or (mode == "edge" and value and unsure):
                    found.add((symbol, time))
                # Only a value that is known ends that something else may have been before.
                unsure = lost or (unsure and value is None)
        return found

    def fires(self, root: Node, *, mode: str = "edge", cooldown: int = 0) -> Fires:
        """Every row in memory at which the filter fires."""
        found: Fires = set()
        for symbol, values in self.argument(root, self.interval).items():
            last: Value = None
            quiet = 0
            for time, value in zip(self.times(symbol, self.interval), values, strict=True):
                fires = bool(value) and (mode == "level" or last is not None and not last)
                if value is not None:
                    last = value
                if quiet:
                    quiet -= 1
                elif fires:
                    found.add((symbol, time))
                    quiet = cooldown
        return found


def reach(node: Node) -> int:
    """Rows of its arguments a value needs: more than any memory holds of what never ends."""
    if node.op == "bars_since":
        return 1 << 30
    if node.op == "output":
        return reach(node.args[0])
    if node.op == "indicator":
        return 1 + CATALOG[str(node.params[0])].lookback(*node.params[1:])
    if node.op in {"lag", "rising", "falling"}:
        return 1 + int(node.params[0])
    return int(node.params[0]) if node.op in {"any_of", "all_of", "count"} else 1


def args_of(oracle: Oracle, node: Node, symbol: str, on: str) -> list[Column]:
    """The inputs of the indicator below an ``output``."""
    return [oracle.argument(arg, on)[symbol] for arg in node.args[0].args]


def arithmetic(op: str, row: Iterable[Value]) -> Value:
    given: list[Any] = list(row)
    if any(x is None for x in given):
        return None
    try:
        value = ARITHMETIC[op](*given)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return value if isinstance(value, bool) or math.isfinite(value) else None


def past(node: Node, values: Column, *, broken: bool) -> Value:
    """What looks back, from the values of its stretch so far."""
    if node.op == "bars_since":
        age: Value = None
        for value in values:
            if value is None or broken:
                age = None
            elif value:
                age = 0.0
            elif age is not None:
                age += 1
        return age
    n = int(node.params[0])
    if node.op == "lag":
        return values[-1 - n] if len(values) > n else None
    if node.op in {"rising", "falling"}:
        window = values[-1 - n :]
        if len(window) <= n or any(x is None for x in window):
            return None
        newest, before = float(window[-1] or 0), [float(x or 0) for x in window[:-1]]
        return all(newest > x if node.op == "rising" else newest < x for x in before)
    window = values[-n:]
    if len(window) < n or any(x is None for x in window):
        return None
    true = sum(bool(x) for x in window)
    return {"any_of": true > 0, "all_of": true == n, "count": float(true)}[node.op]
