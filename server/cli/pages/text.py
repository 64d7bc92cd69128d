"""Markdown: tables, and parts of a page that are written by a program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from server.errors import ServerError

__all__ = ["cell", "replace_part", "table"]


def cell(text: object) -> str:
    """Text as it may stand in a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; every line of it ends."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def replace_part(page: str, name: str, body: str) -> str:
    """The page with ``body`` between its marks ``<!-- name: .. -->`` and ``<!-- end of name -->``.

    Raises ServerError: the page has no such marks.
    """
    marks = re.compile(
        rf"^(<!-- {re.escape(name)}: .*? -->\n).*?^(<!-- end of {re.escape(name)} -->$)",
        re.M | re.S,
    )
    if not marks.search(page):
        raise ServerError(f"the page has no marks of {name!r}")
    return marks.sub(lambda found: f"{found[1]}\n{body.strip()}\n\n{found[2]}", page, count=1)
