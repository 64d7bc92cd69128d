"""Filters that were read lately, by their text: clients ask with the same few again and again."""

from __future__ import annotations

from collections.abc import Callable

from klinecore.errors import FilterError
from klinecore.filters.language import Filter, compile, parse_expression
from klinecore.filters.limits import LIMIT_MEANINGS, Limits
from server.api.problems import InvalidFilterError

__all__ = ["KEPT_MAX", "CompiledFilters"]

#: Filters that are kept; the one that was made first goes first.
KEPT_MAX = 256


class CompiledFilters:
    """Texts to filters and expressions, with counts of what became of them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._kept: dict[tuple[bool, str], Filter] = {}
        self.compiled = 0
        self.hits = 0
        #: Refused texts, by the limit they were over; "none" for those that cannot be read.
        self.refused: dict[str, int] = {}

    def filter(self, text: str) -> Filter:
        """A condition. Raises InvalidFilterError."""
        return self._find(text, compile, condition=True)

    def expression(self, text: str) -> Filter:
        """A number or a condition. Raises InvalidFilterError."""
        return self._find(text, parse_expression, condition=False)

    def _find(self, text: str, make: Callable[..., Filter], *, condition: bool) -> Filter:
        found = self._kept.get((condition, text))
        if found is not None:
            self.hits += 1
            return found
        try:
            made = make(text, limits=self.limits)
        except FilterError as error:
            limit = error.hint.removeprefix("limit: ")
            limit = limit if limit in LIMIT_MEANINGS else "none"
            self.refused[limit] = self.refused.get(limit, 0) + 1
            raise InvalidFilterError(error) from None
        self.compiled += 1
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[condition, text] = made
        return made
