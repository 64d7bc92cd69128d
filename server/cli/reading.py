"""Filters and expressions given on the command line, read before any server is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from server.errors import ServerError

if TYPE_CHECKING:
    from klinecore.filters.language import Filter

__all__ = ["FilterRefusedError", "read_filter"]


class FilterRefusedError(ServerError):
    """What was given is no filter; the message shows where."""


def read_filter(text: str, *, condition: bool = True, far: bool = False) -> Filter:
    """The filter, or an expression of any kind. Raises FilterRefusedError.

    ``far``: a server is to run it, which says itself how far it lets filters look back.
    """
    from klinecore.errors import FilterError
    from klinecore.filters.language import compile, parse_expression
    from klinecore.filters.limits import LIMITS

    limits = replace(LIMITS, window=LIMITS.windows) if far else LIMITS
    try:
        return compile(text, limits=limits) if condition else parse_expression(text, limits=limits)
    except FilterError as error:
        raise FilterRefusedError(str(error)) from None
