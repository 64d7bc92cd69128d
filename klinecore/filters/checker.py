"""Checks Python's tree of an expression part by part, and builds the filter's own from it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import NoReturn

from klinecore.errors import FilterError
from klinecore.filters.arguments import Arguments
from klinecore.filters.build import Builder
from klinecore.filters.limits import Limits
from klinecore.filters.scan import nearest
from klinecore.filters.tree import FIELDS, OPERATIONS, TICKER_FIELDS, TIME, Kind, Node, looks_across
from klinecore.filters.vocabulary import CALLS, OTHERWISE, bare, example, names
from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Indicator
from klinecore.interval import INTERVALS

__all__ = ["NUMBER_MAX", "Checker", "outputs_of"]

#: Largest number of the language: kernels take what is beyond it for no number.
NUMBER_MAX = 1e100

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
}
_OTHER = "write values with + - * /, compare them, join conditions with and, or, not"


class Checker:
    """Builds the nodes of one text. Nothing of the text is evaluated."""

    def __init__(self, text: str, shift: int, limits: Limits) -> None:
        self.text = text
        self.shift = shift  # columns Python's tree is ahead of the text
        self.limits = limits
        self.builder = Builder(text, limits)
        self.depth = 0
        self.interval = ""
        self.placed = False  # inside an @
        self.intervals: set[str] = set()
        self._of: dict[type[ast.expr], Callable[..., Node]] = {
            ast.BoolOp: self._join,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.Compare: self._compare,
            ast.Call: self._call,
            ast.Attribute: self._attribute,
            ast.Subscript: self._subscript,
            ast.Name: self._name,
            ast.Constant: self._constant,
        }

    def refuse(self, part: ast.AST, message: str, hint: str = "", *, name: str = "") -> NoReturn:
        """Point at a part of the text, or the name that ends it, and say what is wrong with it."""
        offset = self.offset(part)
        if name:
            offset = int(getattr(part, "end_col_offset", 0)) - self.shift - len(name)
        raise FilterError(message, self.text, offset, hint)

    def offset(self, part: ast.AST) -> int:
        """Where a part begins in the text."""
        return max(int(getattr(part, "col_offset", 0)) - self.shift, 0)

    def make(
        self,
        part: ast.AST,
        op: str,
        args: Sequence[Node] = (),
        params: tuple[float | int | str, ...] = (),
    ) -> Node:
        """A node on the interval that counts here."""
        self.builder.at = self.offset(part)
        return self.builder.make(op, args, params, self.interval)

    def any(self, part: ast.expr) -> Node:
        """A part's node, also one that stands for several outputs."""
        read = self._of.get(type(part))
        if read is None:
            self.refuse(part, "this is no part of the language", _OTHER)
        self.depth += 1
        if self.depth > self.limits.depth:
            self.refuse(part, f"nested deeper than {self.limits.depth}", "limit: depth")
        node = read(part)
        self.depth -= 1
        return node

    def one(self, part: ast.expr) -> Node:
        """A part's node, which must be one value."""
        node = self.any(part)
        outputs = outputs_of(node)
        if outputs:
            name = str(node.params[0])
            ways = " or ".join(f".{output}" for output in outputs)
            self.refuse(part, f"{name} has several outputs: say which", f"add {ways}")
        return node

    def of_kind(self, part: ast.expr, kind: Kind, whose: str) -> Node:
        """A part's node, which must be a number, or a condition."""
        node = self.one(part)
        if node.kind != kind:
            message = f"{whose} takes a {kind}, and this is a {node.kind}: {_short(node.text)}"
            compare = "compare it with something, such as > 0"
            choose = "a condition is true or false: use it with and, or, not, or count it"
            self.refuse(part, message, compare if kind == "condition" else choose)
        return node

    def remembered(self, part: ast.expr, node: Node, what: str) -> Node:
        """A value of which earlier ones are needed: the ticker has none."""
        if self.builder.parts[id(node)].ticks:
            hint = "compare the ticker outside of it"
            self.refuse(part, f"{what} reads earlier values, and the ticker has none", hint)
        return node

    # Signs

    def _join(self, part: ast.BoolOp) -> Node:
        op = "and" if isinstance(part.op, ast.And) else "or"
        args: list[Node] = []
        for value in part.values:
            node = self.of_kind(value, "condition", op)
            # The same condition however it was bracketed; what is read as of another interval
            # is one value and stays whole.
            flat = node.op == op and node.interval == self.interval
            args.extend(node.args if flat else (node,))
        return self.joined(part, op, args)

    def joined(self, part: ast.expr, op: str, args: Sequence[Node]) -> Node:
        """All of some conditions, or one of them; what is said twice counts once."""
        distinct = list({id(arg): arg for arg in args}.values())
        return self.make(part, op, distinct) if len(distinct) > 1 else distinct[0]

    def _binary(self, part: ast.BinOp) -> Node:
        if isinstance(part.op, ast.MatMult):
            return self._as_of(part)
        op = _BINARY.get(type(part.op))
        if op is None:
            self.refuse(part, "this sign is no part of the language", _OTHER)
        sign = {"add": "+", "sub": "-", "mul": "*", "div": "/"}[op]
        left = self.of_kind(part.left, "number", sign)
        right = self.of_kind(part.right, "number", sign)
        return self.make(part, op, (left, right))

    def _as_of(self, part: ast.BinOp) -> Node:
        name = part.right.value if isinstance(part.right, ast.Constant) else None
        if not isinstance(name, str):
            self.refuse(part.right, "expected an interval in quotes after @", 'such as @ "1h"')
        if name not in INTERVALS:
            known = f"known: {', '.join(INTERVALS)}"
            self.refuse(part.right, f"unknown interval {name[:20]!r}", known)
        self.intervals.add(name)
        if len(self.intervals) > self.limits.intervals:
            message = f"a filter has at most {self.limits.intervals} other intervals"
            self.refuse(part.right, message, "limit: intervals")
        if self.placed:
            hint = "name one interval for each part"
            self.refuse(part, "@ stands inside another @", hint)
        self.placed, self.interval = True, name
        node = self.one(part.left)
        self.placed, self.interval = False, ""
        if self.builder.parts[id(node)].ticks:
            self.refuse(part, "the ticker has no interval", "compare it outside of the @")
        if not any(below.op == "field" for below in node.walk()):
            # Most likely all before it was meant: x < 30 @ "1h" is x < (30 @ "1h").
            hint = f'put what is meant in brackets: (rsi(14) < 30) @ "{name}"'
            self.refuse(part, f"{_short(node.text)} reads no kline", hint)
        if self.builder.parts[id(node)].across:
            op = next(below.op for below in node.walk() if looks_across(below))
            hint = f'put the @ inside: {op}(x @ "{name}", ...)'
            self.refuse(part, f"{op} looks across symbols at the filter's closes", hint)
        return node

    def _unary(self, part: ast.UnaryOp) -> Node:
        if isinstance(part.op, ast.Not):
            return self.make(part, "not", (self.of_kind(part.operand, "condition", "not"),))
        sign = "-" if isinstance(part.op, ast.USub) else "+"
        node = self.of_kind(part.operand, "number", sign)
        if sign == "+":
            return node
        if node.op == "const":
            return self.make(part, "const", (), (0.0 - float(node.params[0]),))
        return self.make(part, "neg", (node,))

    def _compare(self, part: ast.Compare) -> Node:
        values = [self.of_kind(v, "number", "a comparison") for v in (part.left, *part.comparators)]
        made = []
        for sign, left, right in zip(part.ops, values, values[1:], strict=False):
            op = _COMPARE.get(type(sign))
            if op is None:
                self.refuse(part, "this comparison is no part of the language", _OTHER)
            made.append(self.make(part, op, (left, right)))
        return self.joined(part, "and", made)

    def _subscript(self, part: ast.Subscript) -> Node:
        node = self.one(part.value)
        index = part.slice
        negative = isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub)
        count = index.value if isinstance(index, ast.Constant) else None
        if type(count) is not int:
            message = "[n] looks back only" if negative else "expected a whole number in [ ]"
            self.refuse(index, message, "such as close[1], the value one closed kline ago")
        if count > self.limits.window:
            message = f"[n] looks back at most {self.limits.window:,} klines"
            self.refuse(index, message, "limit: window")
        if node.op == "const":
            self.refuse(part, "a number has no earlier value", "leave the [n] out")
        self.remembered(part, node, "[n]")
        return self.make(part, "lag", (node,), (count,)) if count else node

    # Names

    def _constant(self, part: ast.Constant) -> Node:
        value = part.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(part, "a text is no value", "texts name intervals and choices only")
        if value > NUMBER_MAX:
            self.refuse(part, f"this number is larger than {NUMBER_MAX:g}", "write a smaller one")
        return self.make(part, "const", (), (float(value),))

    def _name(self, part: ast.Name) -> Node:
        name = part.id
        if name in FIELDS:
            return self.make(part, "field", (), (name,))
        entry = CATALOG.get(name)
        if entry is not None and bare(entry):
            return self._indicator(part, entry, (), ())
        if name == "ticker":
            ways = ", ".join(f"ticker.{field}" for field in TICKER_FIELDS)
            self.refuse(part, "ticker has several fields: say which", ways)
        if name in CALLS or entry is not None:
            self.refuse(part, f"{name} takes arguments", f"write {example(name)}")
        self.unknown(part, name)

    def unknown(self, part: ast.AST, name: str) -> NoReturn:
        """Refuse a name nobody knows and suggest the one that is most like it."""
        instead = OTHERWISE.get(name.lower())
        hint = f"write {instead}" if instead else nearest(name, names())
        self.refuse(part, f"unknown name {name[:40]}", hint or "columns are open, high, low, close")

    def _attribute(self, part: ast.Attribute) -> Node:
        if isinstance(part.value, ast.Name) and part.value.id == "ticker":
            if part.attr not in TICKER_FIELDS:
                hint = nearest(part.attr, list(TICKER_FIELDS)) or ", ".join(TICKER_FIELDS)
                message = f"the ticker has no {part.attr[:40]}"
                self.refuse(part, message, hint, name=part.attr)
            return self.make(part, "ticker", (), (part.attr,))
        if not isinstance(part.value, ast.Call | ast.Name):
            hint = "such as macd(12, 26, 9).hist"
            self.refuse(part, "a named output follows its indicator directly", hint)
        node = self.any(part.value)
        outputs = outputs_of(node)
        if part.attr not in outputs:
            hint = nearest(part.attr, list(outputs)) or ", ".join(outputs)
            message = f"{_short(node.text)} has no output {part.attr[:40]}"
            hint = hint or "it is one value: leave the name out"
            self.refuse(part, message, hint, name=part.attr)
        return self.make(part, "output", (node,), (part.attr,))

    def _call(self, part: ast.Call) -> Node:
        if not isinstance(part.func, ast.Name):
            self.refuse(part, "only a name can be called", "such as rsi(14)")
        name = part.func.id
        if name in CATALOG:
            return self._indicator(part, CATALOG[name], part.args, part.keywords)
        if name in CALLS:
            return self._operation(part, name)
        if name in FIELDS:
            self.refuse(part, f"{name} is a column and takes no arguments", f"write {name}")
        self.unknown(part, name)

    def _operation(self, part: ast.Call, name: str) -> Node:
        operation = OPERATIONS[name]
        values, params = Arguments(self, part, name).of_operation(operation)
        args = [
            self.of_kind(value, operation.takes[min(i, len(operation.takes) - 1)], name)
            for i, value in enumerate(values)
        ]
        if operation.memory and operation.memory != "symbols":
            for value, arg in zip(values, args, strict=True):
                self.remembered(value, arg, name)
        node = self.make(part, name, args[: len(operation.takes)], params)
        for arg in args[len(operation.takes) :]:
            node = self.make(part, name, (node, arg), params)
        return node

    def _indicator(
        self,
        part: ast.expr,
        entry: Indicator,
        given: Sequence[ast.expr],
        named: Sequence[ast.keyword],
    ) -> Node:
        arguments = Arguments(self, part, entry.name)
        inputs, params = arguments.of_indicator(entry, given, named)
        args = []
        for name in entry.inputs:
            if name in inputs:
                node = self.of_kind(inputs[name], "number", entry.name)
                args.append(self.remembered(inputs[name], node, entry.name))
            else:
                if name == "source" and self.depth >= self.limits.depth:
                    # The normal form says close, one level below.
                    self.refuse(part, f"nested deeper than {self.limits.depth}", "limit: depth")
                column = name if name in FIELDS or name == TIME else "close"
                args.append(self.make(part, "field", (), (column,)))
        return self.make(part, "indicator", args, (entry.name, *params))


def outputs_of(node: Node) -> tuple[str, ...]:
    """Names of a node's outputs if it is an indicator with several, else none."""
    if node.op != "indicator":
        return ()
    outputs = CATALOG[str(node.params[0])].outputs
    return outputs if len(outputs) > 1 else ()


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
