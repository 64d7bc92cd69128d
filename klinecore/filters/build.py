"""Makes a filter's nodes: equal parts once, each with its normal form, within the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign

from klinecore.errors import FilterError
from klinecore.filters.limits import Limits
from klinecore.filters.need import looks_back, node_ns
from klinecore.filters.tree import FIELDS, OPERATIONS, TIME, Kind, Node, looks_across
from klinecore.filters.vocabulary import bare
from klinecore.indicators.catalog import CATALOG

__all__ = ["Builder", "Part", "number_text"]

Parameter = float | int | str

# How tightly a text holds together, as in Python: the larger, the tighter.
OR, AND, NOT, COMPARE, SUM, PRODUCT, SIGN, ATOM = range(1, 9)

_BINARY = {"add": ("+", SUM), "sub": ("-", SUM), "mul": ("*", PRODUCT), "div": ("/", PRODUCT)}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


def number_text(value: float | int) -> str:
    """The shortest usual spelling that reads back as the number."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


@dataclass(slots=True)
class Part:
    """What the builder knows of a node, itself or through its arguments."""

    text: str  # without the interval, as it stands inside a part on the same interval
    tightness: int
    height: int = 1  # operations in operations
    back: int = 0  # klines before the newest one of its interval that are needed
    ticks: bool = False  # whether it reads the ticker
    across: bool = False  # whether it looks across symbols


class Builder:
    """Nodes of one filter. ``at`` is where in the text the part stands that is being made."""

    def __init__(self, text: str, limits: Limits) -> None:
        self.text = text
        self.limits = limits
        self.at = 0
        self.nodes: dict[tuple[object, ...], Node] = {}
        self.parts: dict[int, Part] = {}  # by a node's identity
        self.indicators = 0
        self.windows = 0
        self.cost_ns = 0

    def make(
        self,
        op: str,
        args: Sequence[Node] = (),
        params: tuple[Parameter, ...] = (),
        interval: str = "",
    ) -> Node:
        """The node of this operation; the same object for the same operation."""
        key = (op, tuple(map(id, args)), params, interval)
        node = self.nodes.get(key)
        if node is None:
            text, tightness = self._spell(op, args, params, interval)
            part = Part(text, tightness)
            if interval:
                text, _ = self._placed(part, interval)
            node = Node(op, tuple(args), params, interval, self._kind(op, args, params), text)
            self.nodes[key] = node
            self.parts[id(node)] = part
            self._gather(node, part)
            self._check(node, part)
        return node

    def _gather(self, node: Node, part: Part) -> None:
        """What a node has through its arguments, and of its own."""
        for arg in node.args:
            below = self.parts[id(arg)]
            part.height = max(part.height, below.height + 1)
            part.ticks |= below.ticks
            part.across |= below.across
            if arg.interval == node.interval:
                part.back = max(part.back, below.back)
        own = looks_back(node)
        part.back += own
        part.ticks |= node.op == "ticker"
        part.across |= looks_across(node)
        self.windows += own
        self.cost_ns += node_ns(node)
        self.indicators += node.op == "indicator"

    def _check(self, node: Node, part: Part) -> None:
        limits = self.limits
        if len(self.nodes) > limits.nodes:
            raise self.over("nodes", limits.nodes, "distinct parts")
        if self.indicators > limits.indicators:
            raise self.over("indicators", limits.indicators, "distinct indicators")
        if self.windows > limits.windows:
            raise self.over("windows", limits.windows, "klines remembered over all its parts")
        if self.cost_ns > limits.cost_ns:
            raise self.over("cost_ns", limits.cost_ns, "nanoseconds, about, per symbol and close")
        if part.height > limits.depth:
            message = f"nested deeper than {limits.depth}"
            raise FilterError(message, self.text, self.at, "limit: depth")
        if part.back >= limits.window:
            message = f"this needs {part.back + 1:,} klines, and a series keeps {limits.window:,}"
            raise FilterError(message, self.text, self.at, "limit: window")

    def over(self, limit: str, most: int, what: str) -> FilterError:
        """The refusal at a limit."""
        message = f"a filter has at most {most:,} {what}"
        return FilterError(message, self.text, self.at, f"limit: {limit}")

    def _kind(self, op: str, args: Sequence[Node], params: tuple[Parameter, ...]) -> Kind:
        if op == "indicator":
            return "condition" if CATALOG[str(params[0])].condition else "number"
        return args[0].kind if op in ("lag", "output") else OPERATIONS[op].gives

    # The normal form

    def _placed(self, part: Part, interval: str) -> tuple[str, int]:
        """A part's text on another interval."""
        text = part.text if part.tightness >= ATOM else f"({part.text})"
        return f'{text} @ "{interval}"', PRODUCT

    def _arg(self, node: Node, interval: str, least: int) -> str:
        """An argument's text where it must hold together at least that tightly."""
        part = self.parts[id(node)]
        text, tightness = part.text, part.tightness
        if node.interval != interval:
            text, tightness = self._placed(part, node.interval)
        return text if tightness >= least else f"({text})"

    def _spell(
        self, op: str, args: Sequence[Node], params: tuple[Parameter, ...], interval: str
    ) -> tuple[str, int]:
        if op == "const":
            value = float(params[0])
            return number_text(value), ATOM if copysign(1.0, value) > 0 else SIGN
        if op in ("field", "ticker"):
            return ("ticker." if op == "ticker" else "") + str(params[0]), ATOM
        if op == "output":
            return f"{self._arg(args[0], interval, ATOM)}.{params[0]}", ATOM
        if op == "indicator":
            return self._spell_indicator(args, params, interval), ATOM
        if op == "lag":
            return f"{self._arg(args[0], interval, ATOM)}[{params[0]}]", ATOM
        return self._spell_signs(op, args, interval) or (
            self._spell_call(op, args, params, interval), ATOM
        )  # fmt: skip

    def _spell_signs(self, op: str, args: Sequence[Node], interval: str) -> tuple[str, int] | None:
        if op in _BINARY:
            sign, tight = _BINARY[op]
            left = self._arg(args[0], interval, tight)
            return f"{left} {sign} {self._arg(args[1], interval, tight + 1)}", tight
        if op in _COMPARE:
            sides = (self._arg(arg, interval, SUM) for arg in args)
            return f" {_COMPARE[op]} ".join(sides), COMPARE
        if op == "neg":
            return f"-{self._arg(args[0], interval, SIGN)}", SIGN
        if op == "not":
            return f"not {self._arg(args[0], interval, NOT)}", NOT
        if op == "or":
            return " or ".join(self._arg(arg, interval, AND) for arg in args), OR
        if op == "and":
            return self._spell_and(args, interval)
        return None

    def _spell_and(self, args: Sequence[Node], interval: str) -> tuple[str, int]:
        """Comparisons that follow each other are written as a chain: ``30 < x < 70``."""
        parts: list[str] = []
        chained = False
        for before, node in zip((None, *args), args, strict=False):
            chains = (
                before is not None
                and before.op in _COMPARE
                and node.op in _COMPARE
                and before.interval == node.interval == interval
                and before.args[1] is node.args[0]
            )
            if chains:
                right = self._arg(node.args[1], interval, SUM)
                parts[-1] += f" {_COMPARE[node.op]} {right}"
                chained = True
            else:
                parts.append(self._arg(node, interval, NOT))
        alone = chained and len(parts) == 1
        return " and ".join(parts), COMPARE if alone else AND

    def _spell_call(
        self, op: str, args: Sequence[Node], params: tuple[Parameter, ...], interval: str
    ) -> str:
        given = [self._arg(arg, interval, OR) for arg in args]
        first = args[0]
        if op in ("min", "max") and first.op == op and first.interval == interval:
            # min(x, y, z) is min(min(x, y), z), and written so.
            given[0] = self.parts[id(first)].text.removeprefix(f"{op}(").removesuffix(")")
        return f"{op}({', '.join([*given, *map(str, params)])})"

    def _spell_indicator(
        self, args: Sequence[Node], params: tuple[Parameter, ...], interval: str
    ) -> str:
        entry = CATALOG[str(params[0])]
        given = [(name, arg) for name, arg in zip(entry.inputs, args, strict=True) if name != TIME]
        usual = [
            arg.op == "field" and arg.params == (name,) and arg.interval == interval
            for name, arg in given
        ]
        if all(usual) and bare(entry):
            return entry.name
        columns = [name in FIELDS for name, _ in given]
        # Columns are written only if one of them is another series.
        implied = all(u for u, column in zip(usual, columns, strict=True) if column)
        words = [
            self._arg(arg, interval, OR)
            for (_, arg), column in zip(given, columns, strict=True)
            if not (column and implied)
        ]
        pairs = list(zip(entry.parameters, params[1:], strict=True))
        words += [number_text(float(v)) for p, v in pairs if p.kind != "choice"]
        words += [f'{p.name}="{v}"' for p, v in pairs if p.kind == "choice" and v != p.default]
        return f"{entry.name}({', '.join(words)})"
