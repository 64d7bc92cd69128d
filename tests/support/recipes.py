"""The recipes of docs/clients.md, as text."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["recipes"]

SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.M | re.S)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def recipes(root: Path, title: str, language: str = "python") -> list[str]:
    """Blocks of a language in the section of a title."""
    sections = dict(SECTION.findall((root / "docs" / "clients.md").read_text(encoding="utf-8")))
    return [program for found, program in BLOCK.findall(sections[title]) if found == language]
