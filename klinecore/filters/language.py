"""Reads filters: text in, a checked tree with one normal form and its hash out.

>>> from klinecore.filters import compile
>>> compile("rsi() < 30 and (close > sma(200))").normal
'rsi(close, 14) < 30 and close > sma(close, 200)'
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from functools import cached_property

from klinecore.errors import FilterError
from klinecore.filters.checker import Checker
from klinecore.filters.limits import LIMITS, Limits
from klinecore.filters.need import Need, bars_on, needs
from klinecore.filters.scan import scan
from klinecore.filters.tree import Node, looks_across
from klinecore.interval import INTERVALS

__all__ = ["LANGUAGE", "Filter", "compile", "parse_expression"]

#: Version of the language, a part of every hash: it changes if a text's meaning ever does.
LANGUAGE = 1


@dataclass(frozen=True, eq=False)
class Filter:
    """A filter that was read: its text, its normal form, and its tree.

    Texts with the same normal form are the same filter, and equal. ``intervals`` are those named
    by @, shortest first. ``cross_symbols`` says whether it looks across symbols.
    """

    text: str
    normal: str
    root: Node
    intervals: tuple[str, ...]
    cross_symbols: bool
    need: dict[str, tuple[Need, ...]]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the language's version and the normal form, 64 hexadecimal digits."""
        return hashlib.sha256(f"klinecore filter {LANGUAGE}\n{self.normal}".encode()).hexdigest()

    @property
    def bars(self) -> dict[str, int]:
        """Klines needed for the newest value, by interval; "" is the filter's own.

        Where another interval is read as of earlier closes, as in ``(close @ "1h")[3]``, more of
        it is needed; how many depends on the filter's own: see ``bars_on``.
        """
        return {interval: max(need.rows for need in some) for interval, some in self.need.items()}

    def bars_on(self, interval: str) -> dict[str, int]:
        """Klines needed of every interval, by its name, if the filter's own is ``interval``."""
        return bars_on(self.need, interval)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.normal == other.normal

    def __hash__(self) -> int:
        return hash(self.normal)


def compile(text: str, *, limits: Limits = LIMITS) -> Filter:
    """The filter that ``text`` is; a condition, ready to be evaluated.

    Raises
    ------
    FilterError: it cannot be read, is no condition, or is larger than ``limits`` allow.
    TypeError: it is no text.
    """
    made = parse_expression(text, limits=limits)
    if made.root.kind != "condition":
        message = "a filter is a condition, and this is a number"
        raise FilterError(message, text, 0, "compare it with something, such as > 0")
    return made


def parse_expression(text: str, *, limits: Limits = LIMITS) -> Filter:
    """As ``compile``, of a number or a condition.

    Raises
    ------
    FilterError: it cannot be read, or is larger than ``limits`` allow.
    """
    if not isinstance(text, str):
        raise TypeError(f"a filter is a str, not {type(text).__name__}")
    scan(text, limits)
    try:
        # In brackets, blanks at the start are no indentation.
        body = ast.parse(f"({text})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        offset = max(min(getattr(error, "offset", 0) or 0, len(text) + 1) - 2, 0)
        raise FilterError("this cannot be read", text, offset, "write it more simply") from None
    checker = Checker(text, 1, limits)
    root = checker.one(body)
    return _made(text, root, limits)


def _made(text: str, root: Node, limits: Limits) -> Filter:
    if len(root.text) > min(limits.text, limits.tokens):
        try:
            scan(root.text, limits)  # it must be one that is read again
        except FilterError as error:
            message = f"in its normal form, {error.message}"
            raise FilterError(message, text, 0, error.hint) from None
    need = needs(root)
    intervals = tuple(name for name in INTERVALS if name in need)
    return Filter(text, root.text, root, intervals, any(map(looks_across, root.walk())), need)
