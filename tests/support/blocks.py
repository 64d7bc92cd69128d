"""Blocks of the pages, with what the mark before each says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["DOCS", "PRINTED", "ROOT", "Block", "blocks", "chosen", "commands"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S
)
#: Their Python is run elsewhere: tests/architecture/test_pages.py, tests/server/streams.
PRINTED = {"README.md", "docs/clients.md"} | {
    f"docs/{name}.md" for name in ("alerts", "frames", "notebooks")
}


class Block(NamedTuple):
    """One block of a page, and what its mark says."""

    page: str
    language: str
    body: str
    mark: str

    @property
    def name(self) -> str:
        return f"{self.page}: {self.body.splitlines()[0][:50]}"


def blocks() -> Iterator[Block]:
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))):
        page = path.relative_to(ROOT).as_posix()
        for found in BLOCK.finditer(path.read_text(encoding="utf-8")):
            yield Block(page, found["language"], found["body"], found["mark"] or "")


def chosen(language: str, page: str = "") -> list[Block]:
    """Blocks that are to be run here."""
    return [
        block
        for block in blocks()
        if block.language == language
        and not block.mark.startswith(("not run: ", "provoked: "))
        and (not page or block.page == page)
    ]


def commands(body: str) -> list[str]:
    """Commands of a block; a line may go on behind a backslash."""
    lines = re.sub(r"\\\n", " ", body).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]
