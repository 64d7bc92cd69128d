"""Every name of the language from one table: for errors, completion, reference and prompts."""

from __future__ import annotations

from klinecore.filters.tree import FIELDS, OPERATIONS, TIME
from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Indicator

__all__ = ["CALLS", "bare", "example"]

_SIGNS = {"const", "field", "ticker", "lag", "neg", "add", "sub", "mul", "div"}
_SIGNS |= {"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"}
#: Operations that are called by name; the others are written with signs.
CALLS = tuple(name for name in OPERATIONS if name not in _SIGNS)


def bare(entry: Indicator) -> bool:
    """Whether an indicator is written without brackets: it takes nothing but the kline."""
    return not entry.parameters and all(name in FIELDS for name in entry.inputs)


def example(name: str) -> str:
    """How an indicator or operation is called."""
    if name in CATALOG:
        entry = CATALOG[name]
        words = [i for i in entry.inputs if i not in FIELDS and i not in (TIME, "source")]
        words += [
            f"{p.default:g}" if isinstance(p.default, int | float) else "20"
            for p in entry.parameters
            if p.kind != "choice"
        ]
        several = f".{entry.outputs[0]}" if len(entry.outputs) > 1 else ""
        return (name if bare(entry) else f"{name}({', '.join(words)})") + several
    operation = OPERATIONS[name]
    letters = ("x", "low", "high") if name == "clip" else ("x", "y")
    values = ["x > y"] if operation.takes[0] == "condition" else letters[: len(operation.takes)]
    return f"{name}({', '.join([*values, *operation.params])})"
