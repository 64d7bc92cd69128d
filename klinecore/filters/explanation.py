"""What a filter is, what it needs and what it costs, without running it."""

from __future__ import annotations

from dataclasses import dataclass

from klinecore.filters.language import Filter
from klinecore.filters.need import cost_ns
from klinecore.filters.tree import OPERATIONS, Kind, Node
from klinecore.indicators.catalog import CATALOG

__all__ = ["Explanation", "Part", "explain"]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a filter that has a value of its own."""

    text: str  #: normal form
    kind: Kind


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a filter before it runs."""

    normal: str
    hash: str
    parts: tuple[Part, ...]  #: arguments before what uses them
    nodes: int  #: distinct parts, constants among them
    intervals: tuple[str, ...]  #: named by @
    cross_symbols: bool  #: whether it looks at other symbols too
    #: Whether values depend on all klines since the first one, with weights that fade, as an EMA's.
    depends_on_first: bool
    bars: dict[str, int]  #: klines needed for a value, by interval; "" is the filter's own
    cost_ns: int  #: about, per symbol and close, if it shares nothing with other filters


def explain(filter: Filter, interval: str | None = None) -> Explanation:
    """Explain a filter; with its own ``interval``, the klines needed are named by it.

    Raises KeyError: no such interval.
    """
    return Explanation(
        normal=filter.normal,
        hash=filter.hash,
        parts=_parts_of(filter.root),
        nodes=sum(1 for _ in filter.root.walk()),
        intervals=filter.intervals,
        cross_symbols=filter.cross_symbols,
        depends_on_first=any(map(_remembers, filter.root.walk())),
        bars=filter.bars if interval is None else filter.bars_on(interval),
        cost_ns=cost_ns(filter.root),
    )


def _remembers(node: Node) -> bool:
    if node.op == "indicator":
        return CATALOG[str(node.params[0])].memory == "recursive"
    return node.op in OPERATIONS and OPERATIONS[node.op].memory == "past"


def _parts_of(root: Node) -> tuple[Part, ...]:
    """The nodes that have a value of their own: neither constants nor several outputs at once."""
    several = {id(node.args[0]) for node in root.walk() if node.op == "output"}
    return tuple(
        Part(node.text, node.kind)
        for node in root.walk()
        if node is root or (node.op != "const" and id(node) not in several)
    )
