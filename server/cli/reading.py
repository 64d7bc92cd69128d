"""Filters and expressions given on the command line, read before any server is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.errors import ServerError

if TYPE_CHECKING:
    from klinecore.filters.language import Filter

__all__ = ["FilterRefusedError", "read_filter"]


class FilterRefusedError(ServerError):
    """What was given is no filter; the message shows where."""


def read_filter(text: str, *, condition: bool = True) -> Filter:
    """The filter, or an expression of any kind. Raises FilterRefusedError."""
    from klinecore.errors import FilterError
    from klinecore.filters.language import compile, parse_expression

    try:
        return compile(text) if condition else parse_expression(text)
    except FilterError as error:
        raise FilterRefusedError(str(error)) from None
