"""Sorts the arguments of a call: series first, then numbers in their order, words by name."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from klinecore.filters.scan import nearest
from klinecore.filters.tree import FIELDS, TIME, Operation
from klinecore.filters.vocabulary import example
from klinecore.indicators.entry import Indicator
from klinecore.indicators.entry import Parameter as Declared
from klinecore.interval import INTERVALS

if TYPE_CHECKING:
    from klinecore.filters.checker import Checker

__all__ = ["SYMBOLS_MAX", "Arguments", "literal"]

#: Largest n of top and bottom.
SYMBOLS_MAX = 10_000

Parameter = float | int | str


def literal(part: ast.expr) -> float | int | str | None:
    """The number or text that is written out; None if it is anything else."""
    negative = False
    while isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub | ast.UAdd):
        negative ^= isinstance(part.op, ast.USub)
        part = part.operand
    value = part.value if isinstance(part, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        return None if negative else value
    return 0 - value if negative else value


class Arguments:
    """The arguments of one call, which its errors point at."""

    def __init__(self, checker: Checker, call: ast.expr, name: str) -> None:
        self.checker = checker
        self.refuse = checker.refuse
        self.call = call
        self.name = name

    def of_operation(
        self, operation: Operation
    ) -> tuple[Sequence[ast.expr], tuple[Parameter, ...]]:
        """The values an operation works on, and its parameters."""
        assert isinstance(self.call, ast.Call)
        given, named = list(self.call.args), self._named(self.call.keywords, operation.params)
        wanted = len(operation.params) - len(named)
        least = len(operation.takes)
        most = len(given) if self.name in ("min", "max") else least + wanted
        if not least + wanted <= len(given) <= most:
            count = least + len(operation.params)
            some = "at least two" if self.name in ("min", "max") else str(count)
            self.refuse(
                self.call,
                f"{self.name} takes {some} argument{'s' if count > 1 else ''}, not "
                f"{len(given) + len(named)}",
                f"write {self._example()}",
            )
        values = given[: len(given) - wanted]
        numbers = [named[p] if p in named else given[-1] for p in operation.params]
        highest = SYMBOLS_MAX if operation.memory == "symbols" else self.checker.limits.window
        return values, tuple(self._whole(n, "n", 1, highest) for n in numbers)

    def of_indicator(
        self, entry: Indicator, given: Sequence[ast.expr], named: Sequence[ast.keyword]
    ) -> tuple[dict[str, ast.expr], tuple[Parameter, ...]]:
        """An indicator's inputs that are given, by name, and all its parameters in their order."""
        givable = [name for name in entry.inputs if name != TIME]
        parameters = {p.name: p for p in entry.parameters}
        by_name = self._named(named, [*givable, *parameters])
        inputs = self._series(entry, given, givable, by_name)
        rest = given[len(inputs) :]
        inputs.update({name: by_name.pop(name) for name in givable if name in by_name})
        self._place(entry, rest, by_name)
        missing = [p.name for p in entry.parameters if p.name not in by_name and p.default is None]
        if missing:
            for part in inputs.values():
                self.checker.one(part)  # an unknown name is the nearer reason
            message = f"{self.name} needs {missing[0]}, a number that is written out"
            self.refuse(self.call, message, f"write {self._example()}")
        params = tuple(
            self._read(by_name[name], p) if name in by_name else _default(p)
            for name, p in parameters.items()
        )
        return inputs, params

    def _named(self, keywords: Sequence[ast.keyword], known: Sequence[str]) -> dict[str, ast.expr]:
        found: dict[str, ast.expr] = {}
        for keyword in keywords:
            name = str(keyword.arg)
            if name not in known:
                hint = nearest(name, list(known)) or f"write {self._example()}"
                self.refuse(keyword, f"{self.name} has no argument {name[:40]}", hint)
            if name in found:
                self.refuse(keyword, f"{name} is given twice", "give it once")
            found[name] = keyword.value
        return found

    def _series(
        self,
        entry: Indicator,
        given: Sequence[ast.expr],
        givable: Sequence[str],
        by_name: dict[str, ast.expr],
    ) -> dict[str, ast.expr]:
        """The leading arguments that are series, by the names of the inputs they are."""
        free = [name for name in givable if name not in FIELDS and name not in by_name]
        leading = 0
        while leading < len(given) and literal(given[leading]) is None:
            leading += 1
        demanded = [name for name in free if name != "source"]
        if demanded:
            # These are named by nothing but their place, so numbers may stand there too.
            leading = max(leading, min(len(free), len(given)))
        if leading not in {0, len(free), len(givable)} or (demanded and not leading):
            words = ", ".join(givable if leading > len(free) else free or givable)
            message = f"{self.name} takes {words} first, or none of them"
            if demanded:
                message = f"{self.name} takes these series first: {words}"
            if leading and not demanded and not free:
                message = f"{self.name} reads {', '.join(givable)} by itself"
            self.refuse(given[-1] if given else self.call, message, f"write {self._example()}")
        names = givable if leading == len(givable) else free
        return dict(zip(names, given[:leading], strict=False))

    def _place(
        self, entry: Indicator, rest: Sequence[ast.expr], by_name: dict[str, ast.expr]
    ) -> None:
        """Give each number, and each text, the next parameter of its kind."""
        numbers = [p.name for p in entry.parameters if p.kind != "choice"]
        words = [p.name for p in entry.parameters if p.kind == "choice"]
        for part in rest:
            value = literal(part)
            free = words if isinstance(value, str) else numbers
            if value is None or not free:
                what = "series come first" if value is None else f"{self.name} takes no more"
                self.refuse(part, f"unexpected argument: {what}", f"write {self._example()}")
            name = free.pop(0)
            if name in by_name:
                self.refuse(part, f"{name} is given twice", "give it once")
            by_name[name] = part

    def _read(self, part: ast.expr, parameter: Declared) -> Parameter:
        if parameter.kind == "period":
            high = min(int(parameter.high), self.checker.limits.window)
            return self._whole(part, parameter.name, int(parameter.low), high)
        value = literal(part)
        if parameter.kind == "choice":
            if value not in parameter.choices:
                message = f"{parameter.name} of {self.name} is one of some words, in quotes"
                hint = " or ".join(f'"{word}"' for word in parameter.choices)
                if value in INTERVALS:
                    hint = f'on another interval: {self._example()} @ "{value}"'
                self.refuse(part, message, hint)
            return str(value)
        if not isinstance(value, int | float):
            message = f"{parameter.name} of {self.name} must be a number that is written out"
            self.refuse(part, message, f"such as {parameter.default}")
        if not parameter.low <= value <= parameter.high:
            bounds = f"{parameter.low:g} to {parameter.high:g}"
            message = f"{parameter.name} of {self.name} must be {bounds}"
            self.refuse(part, message, f"such as {parameter.default}")
        return float(value) + 0.0

    def _whole(self, part: ast.expr, name: str, low: int, high: int) -> int:
        value = literal(part)
        if type(value) is not int:
            message = f"{name} of {self.name} must be a whole number that is written out"
            self.refuse(part, message, f"write {self._example()}")
        if not low <= value <= high:
            hint = (
                "limit: window"
                if value > high == self.checker.limits.window
                else f"write {self._example()}"
            )
            self.refuse(part, f"{name} of {self.name} must be {low:,} to {high:,}", hint)
        return value

    def _example(self) -> str:
        return example(self.name)


def _default(parameter: Declared) -> Parameter:
    value = parameter.default
    assert value is not None
    if isinstance(value, str):
        return value
    return int(value) if parameter.kind == "period" else float(value)
