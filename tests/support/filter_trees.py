"""Trees of filters, built by hand and at random."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from klinecore.filters import OPERATIONS, Node
from klinecore.indicators import CATALOG

Part = Node | float | int | str


def node(op: str, *args: Part, params: tuple[Any, ...] = (), interval: str = "") -> Node:
    """One operation; numbers become constants, and names fields."""
    kind = OPERATIONS[op].gives if op in OPERATIONS else "number"
    read = tuple(part(arg, interval) for arg in args)
    inside = ", ".join([*map(str, params), *(arg.text for arg in read)])
    text = f"{op}({inside})" + (f'@"{interval}"' if interval else "")
    return Node(op, read, params, interval, kind, text)


def part(given: Part, interval: str = "") -> Node:
    """A constant, a field of an interval, or what is a node already."""
    if isinstance(given, Node):
        return given
    if isinstance(given, str):
        return node("field", params=(given,), interval=interval)
    return node("const", params=(float(given),))


def indicator(name: str, *given: Any, source: Part | None = None, interval: str = "") -> Node:
    """An indicator over klines, or over one source; ``given`` are its first parameters."""
    entry = CATALOG[name]
    names = [parameter.name for parameter in entry.parameters]
    params = entry.defaults(**dict(zip(names, given, strict=False)))
    inputs = [
        ("close" if source is None else source) if column in {"source", "first"} else column
        for column in entry.inputs
    ]
    args = tuple(part("open" if one == "second" else one, interval) for one in inputs)
    text = f"{name}({', '.join(map(str, given))})" + (f'@"{interval}"' if interval else "")
    kind = "condition" if entry.condition else "number"
    return Node("indicator", args, (name, *params), interval, kind, text)


def output(name: str, of: Node) -> Node:
    """One output of an indicator with several."""
    return Node("output", (of,), (name,), of.interval, "number", f"{of.text}.{name}")


SINGLE = [("sma", 3), ("ema", 4), ("rsi", 3), ("highest", 5), ("atr", 3), ("obv",), ("roc", 2)]
SEVERAL = [("macd", 3, 5, 2), ("bb", 4), ("stoch", 3, 2, 2)]


@st.composite
def numbers(draw: st.DrawFn, intervals: tuple[str, ...], depth: int, across: bool) -> Node:
    """A number on the first of ``intervals``; it may read the others."""
    own, *others = intervals
    kinds = ["field", "const", "indicator", "output"]
    if depth:
        kinds += ["one", "two", "lag", "count", "bars_since", "over"]
        kinds += ["as_of"] * bool(others) + ["rank", "breadth"] * across
    kind = draw(st.sampled_from(kinds))
    inner = numbers(intervals, depth - 1, across)
    if kind == "field":
        return part(draw(st.sampled_from(["close", "volume", "high"])), own)
    if kind == "const":
        return part(draw(st.sampled_from([0.0, 1.0, 50.0, 100.0])))
    if kind == "indicator":
        return indicator(*draw(st.sampled_from(SINGLE)), interval=own)
    if kind == "output":
        several = indicator(*draw(st.sampled_from(SEVERAL)), interval=own)
        return output(CATALOG[str(several.params[0])].outputs[0], several)
    if kind == "one":
        op = draw(st.sampled_from(["neg", "abs", "sqrt", "log", "sign"]))
        return node(op, draw(inner), interval=own)
    if kind == "two":
        op = draw(st.sampled_from(["add", "sub", "mul", "div", "min", "max"]))
        return node(op, draw(inner), draw(inner), interval=own)
    if kind == "lag":
        return node("lag", draw(inner), params=(draw(st.integers(1, 3)),), interval=own)
    if kind == "over":
        name = draw(st.sampled_from(["sma", "ema"]))
        return indicator(name, 3, source=draw(inner), interval=own)
    if kind == "as_of":
        return draw(numbers((draw(st.sampled_from(others)),), depth - 1, across))
    if kind == "rank":
        return node("rank", draw(inner), interval=own)
    condition = draw(conditions(intervals, depth - 1, across))
    params = (draw(st.integers(1, 3)),) if kind == "count" else ()
    return node(kind, condition, params=params, interval=own)


@st.composite
def conditions(draw: st.DrawFn, intervals: tuple[str, ...], depth: int, across: bool) -> Node:
    """A condition on the first of ``intervals``; it may read the others."""
    own, *others = intervals
    kinds = ["compare"]
    if depth:
        kinds += ["and", "or", "not", "rising", "any_of", "all_of", "crosses"]
        kinds += ["as_of"] * bool(others) + ["top", "bottom"] * across
    kind = draw(st.sampled_from(kinds))
    number = numbers(intervals, max(depth - 1, 0), across)
    if kind == "compare":
        op = draw(st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]))
        return node(op, draw(number), draw(number), interval=own)
    if kind == "rising":
        op = draw(st.sampled_from(["rising", "falling"]))
        return node(op, draw(number), params=(draw(st.integers(1, 3)),), interval=own)
    if kind in {"top", "bottom"}:
        return node(kind, draw(number), params=(draw(st.integers(1, 2)),), interval=own)
    inner = conditions(intervals, depth - 1, across)
    if kind == "as_of":
        return draw(conditions((draw(st.sampled_from(others)),), depth - 1, across))
    if kind == "crosses":
        entry = CATALOG["crosses_above"]
        args = (draw(number), draw(number))
        kind_of = "condition" if entry.condition else "number"
        crossing = Node("indicator", args, ("crosses_above",), own, kind_of, "crosses_above(...)")
        return crossing if entry.condition else node("gt", crossing, 0, interval=own)
    if kind == "not":
        return node("not", draw(inner), interval=own)
    if kind in {"any_of", "all_of"}:
        return node(kind, draw(inner), params=(draw(st.integers(1, 3)),), interval=own)
    return node(kind, *(draw(inner) for _ in range(draw(st.integers(2, 3)))), interval=own)
