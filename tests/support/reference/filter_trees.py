"""Random filters for property tests: trees made part by part, not read from text."""

from __future__ import annotations

from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from klinecore.filters import FIELDS, LIMITS, OPERATIONS, TICKER_FIELDS, FilterError, Limits, Node
from klinecore.filters.build import Builder
from klinecore.filters.tree import TIME
from klinecore.indicators import CATALOG

INTERVALS = ("1m", "5m", "1h", "4h", "1d")
NUMBERS = ("lag", "neg", "abs", "sqrt", "log", "sign", "add", "sub", "mul", "div", "min", "max",
           "clip", "count", "bars_since", "rank", "breadth")  # fmt: skip
CONDITIONS = ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "rising", "falling",
              "any_of", "all_of", "top", "bottom", "lag")  # fmt: skip
ACROSS = ("rank", "breadth", "top", "bottom")
REMEMBERS = ("lag", "rising", "falling", "any_of", "all_of", "count", "bars_since")


def reads(node: Node) -> bool:
    """Whether a value depends on klines at all."""
    return any(below.op == "field" for below in node.walk())


class Grower:
    """Draws one tree. ``ticker`` and ``across`` say what may stand where it grows."""

    def __init__(self, draw: Any, limits: Limits, *, across: bool, ticker: bool) -> None:
        self.draw = draw
        self.builder = Builder("", limits)
        self.across = across
        self.ticker = ticker
        self.interval = ""

    def pick(self, choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def make(self, op: str, *args: Node, params: tuple[Any, ...] = ()) -> Node:
        return self.builder.make(op, args, params, self.interval)

    def leaf(self) -> Node:
        kind = self.pick(
            ["field", "field", "const", "ticker"] if self.ticker else ["field", "const"]
        )
        if kind == "field":
            return self.make("field", params=(self.pick(FIELDS),))
        if kind == "ticker":
            return self.make("ticker", params=(self.pick(TICKER_FIELDS),))
        some = st.integers(-1000, 1000) | st.floats(-1e100, 1e100)
        return self.make("const", params=(float(self.draw(some)) + 0.0,))

    def remembered(self, depth: int) -> Node:
        """A number of which earlier values exist."""
        ticker, self.ticker = self.ticker, False
        node = self.number(depth)
        self.ticker = ticker
        return node if node.op != "const" else self.make("field", params=("close",))

    def indicator(self, depth: int) -> Node:
        entry = CATALOG[self.pick(sorted(CATALOG))]
        params: list[Any] = [entry.name]
        for p in entry.parameters:
            if p.kind == "choice":
                params.append(self.pick(p.choices))
            elif p.kind == "period":
                params.append(self.draw(st.integers(int(p.low), min(int(p.high), int(p.low) + 20))))
            else:
                params.append(float(self.draw(st.floats(p.low, p.high))) + 0.0)
        columns = self.pick([True, True, False])
        args = []
        for name in entry.inputs:
            if name == TIME or (name in FIELDS and columns):
                args.append(self.make("field", params=(name,)))
            else:
                args.append(self.remembered(depth - 1))
        node = self.make("indicator", *args, params=tuple(params))
        if len(entry.outputs) > 1:
            return self.make("output", node, params=(self.pick(entry.outputs),))
        return node

    def other_interval(self, kind: str, depth: int) -> Node:
        kept = self.interval, self.ticker, self.across
        self.interval, self.ticker, self.across = self.pick(INTERVALS), False, False
        node = self.of_kind(kind, depth - 1)
        if not reads(node):
            node = self.make("field", params=("close",))
            node = node if kind == "number" else self.make("gt", node, self.leaf())
        self.interval, self.ticker, self.across = kept
        return node

    def of_kind(self, kind: str, depth: int) -> Node:
        return self.number(depth) if kind == "number" else self.condition(depth)

    def number(self, depth: int) -> Node:
        if depth <= 0 or self.draw(st.integers(0, 3)) == 0:
            return self.leaf()
        way = self.draw(st.integers(0, 9))
        if way == 0 and not self.interval:
            return self.other_interval("number", depth)
        if way <= 4:
            node = self.indicator(depth)
            return node if node.kind == "number" else self.leaf()
        return self.operation(self.pick(NUMBERS), "number", depth)

    def condition(self, depth: int) -> Node:
        if depth <= 0:
            return self.make("gt", self.leaf(), self.leaf())
        way = self.draw(st.integers(0, 9))
        if way == 0 and not self.interval:
            return self.other_interval("condition", depth)
        if way == 1:
            node = self.indicator(depth)
            return node if node.kind == "condition" else self.make("gt", node, self.leaf())
        if way == 2:
            middle, low, high = self.number(depth - 1), self.leaf(), self.leaf()
            between = self.make("lt", low, middle), self.make("le", middle, high)
            return self.make("and", *between)
        return self.operation(self.pick(CONDITIONS), "condition", depth)

    def operation(self, op: str, kind: str, depth: int) -> Node:
        if op in ACROSS and not self.across:
            return self.of_kind(kind, 0)
        operation = OPERATIONS[op]
        params = tuple(self.draw(st.integers(1, 9)) for _ in operation.params)
        ticker = self.ticker
        self.ticker = ticker and op not in REMEMBERS
        takes = [kind] if op == "lag" else list(operation.takes)
        if op in ("and", "or"):
            takes *= self.draw(st.integers(1, 2))
        args = [self.of_kind(taken, depth - 1) for taken in takes]
        self.ticker = ticker
        if op in ("and", "or"):
            flat: list[Node] = []
            for arg in args:
                same = arg.op == op and arg.interval == self.interval
                flat.extend(arg.args if same else (arg,))
            args = list({id(arg): arg for arg in flat}.values())
            if len(args) == 1:
                return args[0]
        if op == "neg" and args[0].op == "const":
            return self.make("const", params=(0.0 - float(args[0].params[0]),))
        if op == "lag" and args[0].op == "const":
            return args[0]
        return self.make(op, *args, params=params)


@st.composite
def trees(
    draw: Any,
    kind: str = "condition",
    *,
    depth: int = 5,
    across: bool = True,
    ticker: bool = True,
    limits: Limits = LIMITS,
) -> Node:
    """The root of a random filter, or number; ``across`` and ``ticker``: whether it has such."""
    try:
        return Grower(draw, limits, across=across, ticker=ticker).of_kind(kind, depth)
    except FilterError:
        reject()
