"""What a filter is once it is read: typed operations on values, each a number or a condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "FIELDS",
    "OPERATIONS",
    "TICKER_FIELDS",
    "TIME",
    "Kind",
    "Node",
    "Operation",
    "looks_across",
]

Kind: TypeAlias = Literal["number", "condition"]

#: Columns of a kline that a filter reads by name.
FIELDS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trades",
    "taker_buy_base",
    "taker_buy_quote",
)

#: A field too, but no name of the language: some indicators read it to know where they start anew.
TIME = "open_time_ms"

#: What is read as ``ticker.<name>``: the newest ticker, which has no past.
TICKER_FIELDS = ("last", "change_percent", "volume", "quote_volume", "high", "low")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what it takes, what it gives, and what it remembers between klines."""

    takes: tuple[Kind, ...]
    gives: Kind
    meaning: str
    params: tuple[str, ...] = ()
    #: "": nothing. "window": ``params[-1]`` klines. "lag": likewise, and unknown values count as
    #: klines. "past": all since the first. "symbols": other symbols' values of the same close.
    memory: Literal["", "window", "lag", "past", "symbols"] = ""


_N: Kind = "number"
_C: Kind = "condition"

#: ``indicator`` and ``output`` are the catalog's: what they take and remember stands there.
OPERATIONS: dict[str, Operation] = {
    "const": Operation((), _N, "a number", ("value",)),
    "field": Operation((), _N, "a column of the kline", ("name",)),
    "ticker": Operation((), _N, "a field of the newest ticker", ("name",)),
    # Of a condition it is one: a lag is of the kind of what it looks back at.
    "lag": Operation((_N,), _N, "x[n]: the value n closed klines ago", ("n",), "lag"),
    "neg": Operation((_N,), _N, "-x"),
    "abs": Operation((_N,), _N, "size without sign"),
    "sqrt": Operation((_N,), _N, "square root; unknown below 0"),
    "log": Operation((_N,), _N, "natural logarithm; unknown at 0 and below"),
    "sign": Operation((_N,), _N, "-1, 0 or 1"),
    "add": Operation((_N, _N), _N, "x + y"),
    "sub": Operation((_N, _N), _N, "x - y"),
    "mul": Operation((_N, _N), _N, "x * y"),
    "div": Operation((_N, _N), _N, "x / y; unknown where y is 0"),
    "min": Operation((_N, _N), _N, "the smaller"),
    "max": Operation((_N, _N), _N, "the larger"),
    "clip": Operation((_N, _N, _N), _N, "min(max(x, low), high)"),
    "lt": Operation((_N, _N), _C, "x < y"),
    "le": Operation((_N, _N), _C, "x <= y"),
    "gt": Operation((_N, _N), _C, "x > y"),
    "ge": Operation((_N, _N), _C, "x >= y"),
    "eq": Operation((_N, _N), _C, "x == y"),
    "ne": Operation((_N, _N), _C, "x != y"),
    "and": Operation((_C, _C), _C, "both; two or more arguments"),
    "or": Operation((_C, _C), _C, "either; two or more arguments"),
    "not": Operation((_C,), _C, "not"),
    "rising": Operation((_N,), _C, "above each of the n values before it", ("n",), "lag"),
    "falling": Operation((_N,), _C, "below each of the n values before it", ("n",), "lag"),
    "any_of": Operation((_C,), _C, "true at least once in the last n klines", ("n",), "lag"),
    "all_of": Operation((_C,), _C, "true in each of the last n klines", ("n",), "lag"),
    "count": Operation((_C,), _N, "how often true in the last n klines", ("n",), "lag"),
    "bars_since": Operation(
        (_C,), _N, "klines since it was last true, 0 now; unknown before the first", (), "past"
    ),
    "rank": Operation((_N,), _N, "place among all symbols, 1 the largest", (), "symbols"),
    "top": Operation((_N,), _C, "among the n largest of all symbols", ("n",), "symbols"),
    "bottom": Operation((_N,), _C, "among the n smallest of all symbols", ("n",), "symbols"),
    "breadth": Operation((_C,), _N, "percent of the symbols where it is true", (), "symbols"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation of a filter with what it works on.

    ``params`` are those of the operation; of an ``indicator``, its name in the catalog and then
    all its parameters in the catalog's order, with ``args`` its inputs in the catalog's order; of
    an ``output``, the name of one output of its only argument, an indicator with several.
    ``interval`` is the one it is computed on, "" for the filter's own. An argument on another
    interval is read as of its last kline that closed not later than this node's kline.

    Equal parts of one filter are the same object, so a walk may remember nodes by identity. Nodes
    of different filters are equal if their texts are: a tree has one text and a text one tree.
    """

    op: str
    args: tuple[Node, ...]
    params: tuple[float | int | str, ...]
    interval: str
    kind: Kind
    #: Normal form: the text that reads back as this node if it is a value by itself, which a number
    #: of another interval, several outputs at once and ``TIME`` are not.
    text: str

    def __eq__(self, other: object) -> bool:
        # Part by part it could take as long as the tree is wide if nothing in it were shared.
        return isinstance(other, Node) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def walk(self) -> Iterator[Node]:
        """Every distinct node below and this one, arguments before what uses them."""
        seen: set[int] = set()
        stack: list[tuple[Node, bool]] = [(self, False)]
        while stack:
            node, ready = stack.pop()
            if id(node) in seen:
                continue
            if ready:
                seen.add(id(node))
                yield node
            else:
                stack.append((node, True))
                stack.extend((arg, False) for arg in reversed(node.args))


def looks_across(node: Node) -> bool:
    """Whether a node compares symbols, so that all of them must be there first."""
    return node.op in OPERATIONS and OPERATIONS[node.op].memory == "symbols"
