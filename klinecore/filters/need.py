"""How many klines a filter needs, of its own interval and of those it names, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from klinecore.filters.tree import OPERATIONS, Node
from klinecore.indicators.catalog import CATALOG
from klinecore.interval import INTERVAL_MS

__all__ = ["Need", "bars_on", "cost_ns", "looks_back", "needs", "node_ns"]

_DAY_MS = 86_400_000
# One core of a small virtual machine, 500 symbols stepped at once. Of these indicators a step goes
# over the whole window, whose klines are their first parameter: fixed, and for each kline.
_INDICATOR_NS = {
    "cci": (20.0, 0.3),
    "linreg": (5.0, 0.7),
    "linreg_slope": (5.0, 0.7),
    "divergence": (0.0, 45.0),
    "volume_nodes": (0.0, 30.0),
}
_MEMORY_NS = {"": 1, "window": 4, "lag": 4, "past": 4, "symbols": 60}


@dataclass(frozen=True, slots=True)
class Need:
    """``rows`` klines of an interval, as of ``back`` klines of the filter's own ago."""

    rows: int
    back: int


def looks_back(node: Node) -> int:
    """Klines before the newest one that a node needs of its arguments."""
    if node.op == "indicator":
        return CATALOG[str(node.params[0])].lookback(*node.params[1:])
    if node.op in ("lag", "rising", "falling"):
        return int(node.params[0])
    if node.op in ("any_of", "all_of", "count"):
        return int(node.params[0]) - 1
    return 0


def needs(root: Node) -> dict[str, tuple[Need, ...]]:
    """By interval, "" for the filter's own, what must be there for the newest value."""
    order = list(root.walk())
    # Each node's largest distance from the newest kline of its interval, and of the filter's own.
    rows = {id(node): 0 for node in order}
    own = {id(node): 0 for node in order}
    found: dict[str, set[Need]] = {"": {Need(1, 0)}}
    for node in reversed(order):
        far, away = rows[id(node)], own[id(node)]
        reach = far + looks_back(node)
        # Its own rows too: arguments on another interval are read as of each of them.
        found.setdefault(node.interval, set()).add(Need(reach + 1, away if node.interval else 0))
        for arg in node.args:
            if arg.interval == node.interval:
                rows[id(arg)] = max(rows[id(arg)], reach)
                own[id(arg)] = max(own[id(arg)], away)
            else:
                own[id(arg)] = max(own[id(arg)], reach)
    return {interval: _largest(some) for interval, some in sorted(found.items())}


def _largest(some: set[Need]) -> tuple[Need, ...]:
    """Those that no other one contains."""
    kept: list[Need] = []
    for need in sorted(some, key=lambda n: (-n.rows, -n.back)):
        if all(need.back > other.back for other in kept):
            kept.append(need)
    return tuple(kept)


def bars_on(need: Mapping[str, tuple[Need, ...]], interval: str) -> dict[str, int]:
    """Klines of every interval that a filter needs when its own is ``interval``, by name."""
    bars: dict[str, int] = {}
    for name, some in need.items():
        step = _longest_ms(interval)
        length = _shortest_ms(name or interval)
        # As of an earlier close, the klines between then and now are needed too.
        rows = max(n.rows + (-(-n.back * step // length) if n.back else 0) for n in some)
        bars[name or interval] = max(rows, bars.get(name or interval, 0))
    return bars


def _longest_ms(interval: str) -> int:
    return INTERVAL_MS[interval] or 31 * _DAY_MS


def _shortest_ms(interval: str) -> int:
    return INTERVAL_MS[interval] or 28 * _DAY_MS


def cost_ns(root: Node) -> int:
    """About how many nanoseconds a filter takes per symbol and close if it shares nothing."""
    return sum(map(node_ns, root.walk()))


def node_ns(node: Node) -> int:
    """About how many nanoseconds a node takes per symbol and close, without its arguments."""
    if node.op == "indicator":
        name = str(node.params[0])
        usual = 50.0 if CATALOG[name].family == "patterns" else 15.0
        fixed, per_kline = _INDICATOR_NS.get(name, (usual, 0.0))
        return round(fixed + (per_kline * float(node.params[1]) if per_kline else 0.0))
    if node.op in ("const", "field", "ticker", "output"):
        return 0
    return _MEMORY_NS[OPERATIONS[node.op].memory]
