"""What a filter becomes before it runs: steps, each computed once for all filters that need it.

A step is known by its ``key``: operation, parameters, keys of the arguments and interval. Steps of
one *stage* can advance together; a stage is an interval, the stages of other intervals it reads,
and whether it looks across symbols.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from klinecore.filters.tree import OPERATIONS, TIME, Kind, Node
from klinecore.indicators.catalog import CATALOG

__all__ = ["Key", "StageKey", "Step", "parts_of", "resolve"]

Key: TypeAlias = tuple[object, ...]

_NO_STAGES: frozenset[StageKey] = frozenset()


class StageKey(NamedTuple):
    """Which steps advance together: with the same row of the same interval."""

    interval: str
    #: Stages of other intervals whose values are read as of a row's close.
    reads: frozenset[StageKey] = _NO_STAGES
    #: True if it needs the same row of all symbols.
    across: bool = False

    @property
    def depth(self) -> tuple[bool, bool, int, str]:
        """Sorts stages so that each comes after those it reads and those it builds on."""
        return bool(self.reads), self.across, len(self.reads), self.interval

    def builds_on(self, other: StageKey) -> bool:
        """True if steps here may use steps of ``other``, a stage of the same interval."""
        return (
            self != other
            and self.interval == other.interval
            and self.reads >= other.reads
            and self.across >= other.across
        )


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operation on one interval: what it works on, and the stage it belongs to."""

    key: Key
    op: str
    params: tuple[float | int | str, ...]
    args: tuple[Step, ...]
    kind: Kind
    stage: StageKey
    #: Rows of its own interval from which on it can be known.
    rows: int
    #: True if rows older than any window matter: then it says nothing after a hole.
    endless: bool = field(default=False)

    def walk(self) -> Iterator[Step]:
        """Every distinct step below and this one, arguments before what uses them."""
        seen: set[Key] = set()
        stack: list[tuple[Step, bool]] = [(self, False)]
        while stack:
            step, ready = stack.pop()
            if step.key in seen:
                continue
            if ready:
                seen.add(step.key)
                yield step
            else:
                stack.append((step, True))
                stack.extend((arg, False) for arg in reversed(step.args))


def resolve(root: Node, interval: str, held: Mapping[Key, Step] | None = None) -> Step:
    """The steps of a filter on ``interval``; equal parts become one step, one of ``held`` if there.

    Raises
    ------
    ValueError: an interval is read inside another one's part, or the root is no condition.
    """
    if root.kind != "condition":
        raise ValueError(f"a filter must be a condition, not a {root.kind}: {root.text}")
    steps, made = _make(root, interval, held or {})
    return _read(made[id(root), _home(root, interval, interval)], interval, steps)


def parts_of(root: Node, interval: str) -> dict[str, Key]:
    """The step of each part of a filter that has a value, by the part's normal form.

    A part on another interval is read as of the row, if the filter reads it so itself.
    """
    steps, made = _make(root, interval, {})
    top = _read(made[id(root), _home(root, interval, interval)], interval, steps)
    computed = {step.key for step in top.walk()}
    several = {id(node.args[0]) for node in root.walk() if node.op == "output"}
    found: dict[str, Key] = {}
    homes = sorted({node.interval or interval for node in root.walk()} - {interval})
    for node in root.walk():
        if node.op == "const" or id(node) in several:
            continue
        for home in [interval, *homes] if node.op == "ticker" else [node.interval or interval]:
            own = made[id(node), home].key
            as_of = ("as_of", (), (own,), interval)
            key = as_of if as_of in computed else own
            if key in computed:
                found[node.text] = key
                break
    return found


def _make(
    root: Node, interval: str, held: Mapping[Key, Step]
) -> tuple[ChainMap[Key, Step], dict[tuple[int, str], Step]]:
    """Every step of a tree, by its key, and by its node and the interval it is computed on."""
    steps = ChainMap[Key, Step]({}, held)  # type: ignore[arg-type]  # only the first is written to
    made: dict[tuple[int, str], Step] = {}
    homes = sorted({node.interval or interval for node in root.walk()} | {interval})
    for node in root.walk():
        # What has no rows of its own is computed wherever it is used.
        for home in homes if node.op in {"const", "ticker"} else [node.interval or interval]:
            args = tuple(
                _read(made[id(arg), _home(arg, home, interval)], home, steps) for arg in node.args
            )
            made[id(node), home] = _step(node, home, args, steps)
    return steps, made


def _home(node: Node, reader: str, interval: str) -> str:
    return reader if node.op in {"const", "ticker"} else node.interval or interval


def _read(arg: Step, home: str, steps: ChainMap[Key, Step]) -> Step:
    """``arg`` as a step of interval ``home``: itself, or its value as of a row's close there."""
    if arg.stage.interval == home:
        return arg
    if arg.stage.reads:
        raise ValueError(f"a part on {arg.stage.interval} reads another interval itself")
    key = ("as_of", (), (arg.key,), home)
    stage = StageKey(home, frozenset({arg.stage}))
    step = Step(key, "as_of", (), (arg,), arg.kind, stage, 1)
    return steps.setdefault(key, step)


def _step(node: Node, home: str, args: tuple[Step, ...], steps: ChainMap[Key, Step]) -> Step:
    # The types matter: 1 == 1.0 == True, but they may be parameters of different meaning.
    params = tuple((type(value).__name__, value) for value in node.params)
    key = (node.op, params, tuple(arg.key for arg in args), home)
    if key in steps:
        return steps[key]
    memory = OPERATIONS[node.op].memory if node.op in OPERATIONS else ""
    # One object where there are none, as is the rule: thousands of steps keep it.
    reads = _NO_STAGES.union(*(arg.stage.reads for arg in args)) or _NO_STAGES
    across = memory == "symbols" or any(arg.stage.across for arg in args)
    rows = max((arg.rows for arg in args), default=1)
    endless = memory == "past"
    if node.op == "indicator":
        entry = CATALOG[str(node.params[0])]
        if len(args) < len(entry.inputs) and entry.inputs[-1] == TIME:
            time = Node("field", (), (TIME,), "", "number", TIME)
            args += (_step(time, home, (), steps),)
        rows += entry.lookback(*node.params[1:])
        endless = entry.memory == "recursive"
    elif memory in {"window", "lag"}:
        rows += int(node.params[-1]) - (node.op in {"any_of", "all_of", "count"})
    stage = StageKey(home, reads, across)
    steps[key] = Step(key, node.op, node.params, args, node.kind, stage, rows, endless)
    return steps[key]
