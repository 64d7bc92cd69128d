"""What a filter is, what it needs and what it costs, without running it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from klinecore.filters.language import Filter
from klinecore.filters.need import node_ns
from klinecore.filters.tree import OPERATIONS, Kind, Node
from klinecore.indicators.catalog import CATALOG

__all__ = ["Explanation", "Part", "explain"]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a filter that has a value of its own."""

    text: str  #: normal form
    kind: Kind
    shared: bool = False  #: whether one of the other filters has it too


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a filter before it runs; ``str()`` is some lines to read."""

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
    cost_added_ns: int  #: likewise, without what other filters have too

    def __str__(self) -> str:
        bars = [f"{count} of {name or 'its own interval'}" for name, count in self.bars.items()]
        shared = self.cost_ns - self.cost_added_ns
        less = f", {shared} of them shared" if shared else ""
        lines = [
            f"filter   {self.normal}",
            f"hash     {self.hash}",
            f"klines   {', '.join(bars)}",
            f"symbols  {'all together' if self.cross_symbols else 'each by itself'}",
            f"cost     about {self.cost_ns} ns per symbol and close{less}, {self.nodes} nodes",
            "parts",
        ]
        marks = ("  (shared)" if part.shared else "" for part in self.parts)
        parts = zip(self.parts, marks, strict=True)
        return "\n".join([*lines, *(f"  {p.kind:<9}  {p.text}{mark}" for p, mark in parts)])


def explain(
    filter: Filter, interval: str | None = None, others: Iterable[Filter] = ()
) -> Explanation:
    """Explain a filter; with its own ``interval``, the klines needed are named by it.

    ``others`` are filters of the same own interval that run beside it: what they compute too is
    told. Raises KeyError: no such interval.
    """
    theirs = {node.text for other in others for node in other.root.walk()}
    costs = {node.text: node_ns(node) for node in filter.root.walk()}
    return Explanation(
        normal=filter.normal,
        hash=filter.hash,
        parts=_parts_of(filter.root, theirs),
        nodes=sum(1 for _ in filter.root.walk()),
        intervals=filter.intervals,
        cross_symbols=filter.cross_symbols,
        depends_on_first=any(map(_remembers, filter.root.walk())),
        bars=filter.bars if interval is None else filter.bars_on(interval),
        cost_ns=sum(costs.values()),
        cost_added_ns=sum(cost for text, cost in costs.items() if text not in theirs),
    )


def _remembers(node: Node) -> bool:
    if node.op == "indicator":
        return CATALOG[str(node.params[0])].memory == "recursive"
    return node.op in OPERATIONS and OPERATIONS[node.op].memory == "past"


def _parts_of(root: Node, theirs: set[str]) -> tuple[Part, ...]:
    """The nodes that have a value of their own: neither constants nor several outputs at once."""
    several = {id(node.args[0]) for node in root.walk() if node.op == "output"}
    return tuple(
        Part(node.text, node.kind, node.op != "field" and node.text in theirs)
        for node in root.walk()
        if node is root or (node.op != "const" and id(node) not in several)
    )
