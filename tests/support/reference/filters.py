"""What filters mean, said slowly: every node at every row from dicts of rows, one by one.

Indicators are the streams, fed row by row; the rest is plain Python. Nothing here knows of columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import klinecore as kc
import klinecore.indicators as ki
from klinecore.filters import Node
from klinecore.interval import next_open_ms

__all__ = ["Oracle", "Value"]

NOT_WARM, UNDEFINED, NO_TICKER, HOLE, MISSING_CLOSE, NO_ROWS = range(1, 7)
LETTERS = {"last": "c", "change_percent": "P", "volume": "v", "quote_volume": "q", "high": "h",
           "low": "l"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Value:
    """A number or a truth; None and a reason where it is unknown."""

    value: float | bool | None
    reason: int = 0

    @property
    def number(self) -> float:
        return math.nan if self.value is None else float(self.value)


@dataclass(frozen=True, slots=True)
class Row:
    """A held kline: its numbers, how many rows its stretch has before it, and what went before."""

    fields: dict[str, float]
    open_time_ms: int
    close_ms: int
    position: int
    broken: bool  # a hole is somewhere before it
    absent_after: bool


def settled(value: float) -> Value:
    return Value(value) if math.isfinite(value) else Value(None, UNDEFINED)


def rows_of(market: kc.Market, symbol: str, interval: str) -> list[Row]:
    """A series' closed rows, from its texts."""
    series = market[symbol, interval]
    holes = series.holes()
    absences = {first for first, _ in series.absences()}
    rows: list[Row] = []
    for kline in series.klines():
        opened = kline.open_time_ms
        before = rows[-1] if rows else None
        behind_hole = before is not None and any(
            before.open_time_ms < first < opened for first, _ in holes
        )
        position = 0 if before is None or behind_hole else before.position + 1
        close_ms = next_open_ms(interval, opened)
        fields = {name: float(getattr(kline, name)) for name in kc.COLUMNS}
        fields["open_time_ms"] = float(opened)
        broken = behind_hole or (before is not None and before.broken)
        rows.append(Row(fields, opened, close_ms, position, broken, close_ms in absences))
    return rows


ARITHMETIC = {
    "neg": lambda x: -x,
    "abs": abs,
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
    "log": lambda x: math.log(x) if x > 0 else math.nan,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y if y != 0 else math.nan,
    "min": lambda x, y: y if y < x else x,
    "max": lambda x, y: y if y > x else x,
    "clip": lambda x, low, high: min(max(x, low), high),
}
TESTS = {
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "and": lambda *args: all(args),
    "or": lambda *args: any(args),
    "not": lambda x: not x,
}


class Oracle:
    """A filter's values on a market, by symbol and row."""

    def __init__(self, market: kc.Market, interval: str, *, tickers: bool = True) -> None:
        self.market = market
        self.interval = interval
        self.tickers = tickers
        self.rows: dict[tuple[str, str], list[Row]] = {}
        self.known: dict[tuple[int, str], list[Any]] = {}

    def rows_at(self, symbol: str, interval: str) -> list[Row]:
        key = symbol, interval
        if key not in self.rows:
            self.rows[key] = rows_of(self.market, symbol, interval)
        return self.rows[key]

    def values(self, node: Node, symbol: str) -> list[Value]:
        """A node at every row of its interval."""
        key = id(node), symbol
        if key not in self.known:
            self.known[key] = self.find(node, symbol)
        return self.known[key]

    def at_own(self, node: Node, symbol: str) -> list[Value]:
        """A node at every row of the filter's own interval."""
        return self.as_of(node, symbol, self.interval)

    def as_of(self, node: Node, symbol: str, interval: str) -> list[Value]:
        own = self.rows_at(symbol, interval)
        other_interval = node.interval or self.interval
        if node.op == "const":
            return [settled(float(node.params[0]))] * len(own)
        if other_interval == interval:
            return self.values(node, symbol)
        values = self.values(node, symbol)
        others = self.rows_at(symbol, other_interval)
        found = []
        for row in own:
            if not others:
                found.append(Value(None, NO_ROWS))
                continue
            closed = [i for i, other in enumerate(others) if other.close_ms <= row.close_ms]
            if not closed:
                found.append(Value(None, NOT_WARM))
                continue
            last = others[closed[-1]]
            due = next_open_ms(other_interval, last.close_ms) <= row.close_ms
            stale = due and not last.absent_after
            found.append(Value(None, MISSING_CLOSE) if stale else values[closed[-1]])
        return found

    def find(self, node: Node, symbol: str) -> list[Value]:
        interval = node.interval or self.interval
        rows = self.rows_at(symbol, interval)
        op = node.op
        if op == "field":
            return [Value(row.fields[str(node.params[0])]) for row in rows]
        if op == "ticker":
            return self.find_ticker(str(node.params[0]), symbol, len(rows))
        if op == "output":
            place = ki.CATALOG[str(node.args[0].params[0])].outputs.index(str(node.params[0]))
            return [several[place] for several in self.values(node.args[0], symbol)]
        if op in ("rank", "top", "bottom", "breadth"):
            return [self.across(node, symbol, row) for row in rows]
        args = [self.as_of(arg, symbol, interval) for arg in node.args]
        if op == "indicator":
            return self.indicator(node, rows, args)
        if op in ARITHMETIC or op in TESTS:
            return [self.one(op, values) for values in zip(*args, strict=True)]
        return [self.remembered(op, node.params, args[0], rows, i) for i in range(len(rows))]

    def one(self, op: str, args: Sequence[Value]) -> Value:
        reason = max(arg.reason for arg in args)
        if reason:
            return Value(None, reason)
        given = [arg.value for arg in args]
        if op in TESTS:
            return Value(TESTS[op](*given))
        try:
            return settled(ARITHMETIC[op](*given))
        except OverflowError:
            return Value(None, UNDEFINED)

    def find_ticker(self, name: str, symbol: str, count: int) -> list[Value]:
        found = [Value(None, NO_TICKER)] * count
        ticker = self.market.ticker(symbol) if self.tickers else None
        if ticker and count and ticker.get(LETTERS[name]) not in (None, ""):
            found[-1] = Value(float(ticker[LETTERS[name]]))
        return found

    def indicator(self, node: Node, rows: list[Row], args: list[list[Value]]) -> list[Any]:
        entry = ki.CATALOG[str(node.params[0])]
        given = {p.name: v for p, v in zip(entry.parameters, node.params[1:], strict=True)}
        found: list[Any] = []
        stream: Any = None
        fed = 0
        for i, row in enumerate(rows):
            if row.position == 0:
                stream = getattr(ki, entry.stream)(**given)
                fed = 0
            inputs = [arg[i] for arg in args]
            numbers = [value.number for value in inputs]
            if len(numbers) < len(entry.inputs):
                numbers.append(float(row.open_time_ms))
            made = stream.update(*numbers)
            reason = max(value.reason for value in inputs)
            fed += reason == 0
            blind = entry.memory == "recursive" and row.broken
            if blind:
                cold = HOLE
            elif fed <= stream.lookback:
                cold = HOLE if row.broken else NOT_WARM
            else:
                cold = 0
            several = []
            for number in made if isinstance(made, tuple) else (made,):
                if math.isfinite(number) and not blind:
                    truth = bool(number) if node.kind == "condition" else number
                    several.append(Value(truth))
                else:
                    several.append(Value(None, max(reason, cold) or UNDEFINED))
            found.append(several if len(several) > 1 else several[0])
        return found

    def remembered(
        self, op: str, params: tuple[Any, ...], values: list[Value], rows: list[Row], i: int
    ) -> Value:
        row = rows[i]
        cold = Value(None, HOLE if row.broken else NOT_WARM)
        if op == "bars_since":
            return self.bars_since(values, row, i)
        (n,) = params
        if op == "lag":
            return values[i - n] if row.position >= n else cold
        back = n if op in ("rising", "falling") else n - 1
        if row.position < back:
            return cold
        window = values[i - back : i + 1]
        reason = max(value.reason for value in window)
        if reason:
            return Value(None, reason)
        known = [value.value for value in window]
        if op == "rising":
            return Value(all(known[-1] > other for other in known[:-1]))
        if op == "falling":
            return Value(all(known[-1] < other for other in known[:-1]))
        if op == "any_of":
            return Value(any(known))
        return Value(all(known)) if op == "all_of" else Value(float(sum(known)))

    def bars_since(self, values: list[Value], row: Row, i: int) -> Value:
        reason = NOT_WARM
        found = Value(None, NOT_WARM)
        for back in range(row.position + 1):
            value = values[i - back]
            if value.reason:
                reason = value.reason
                break
            if value.value:
                reason = 0
                found = Value(float(back))
                break
        if row.broken:
            reason = max(reason, HOLE)
        return Value(None, reason) if reason else found

    def across(self, node: Node, symbol: str, row: Row) -> Value:
        interval = node.interval or self.interval
        there = []
        mine = None
        for other in self.market.symbols:
            values = self.as_of(node.args[0], other, interval)
            for their_row, value in zip(self.rows_at(other, interval), values, strict=True):
                if their_row.open_time_ms == row.open_time_ms:
                    if other == symbol:
                        mine = value
                    if not value.reason:
                        there.append((other, value.value))
        assert mine is not None
        if node.op == "breadth":
            if not there:
                return Value(None, mine.reason)
            return Value(100.0 * sum(value for _, value in there) / len(there))
        if mine.reason:
            return Value(None, mine.reason)
        largest_first = sorted(there, key=lambda pair: -pair[1])  # sorted keeps ties in order
        smallest_first = sorted(there, key=lambda pair: pair[1])
        ordered = smallest_first if node.op == "bottom" else largest_first
        place = [name for name, _ in ordered].index(symbol) + 1
        return Value(float(place)) if node.op == "rank" else Value(place <= node.params[0])

    def firings(self, root: Node, symbol: str, mode: str, cooldown: int) -> list[int]:
        """Open times of the closes at which a filter fires."""
        fired: list[int] = []
        last_known: bool | None = None
        wait = 0
        for row, value in zip(
            self.rows_at(symbol, self.interval), self.at_own(root, symbol), strict=True
        ):
            wait -= wait > 0
            fires = bool(value.value) and (mode == "level" or last_known is False)
            if not value.reason:
                last_known = bool(value.value)
            if fires and not wait:
                fired.append(row.open_time_ms)
                wait = cooldown + 1
        return fired
