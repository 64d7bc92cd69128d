"""docs/settings.md: every setting with its default, bounds and meaning, from their source."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from server.cli.pages.text import table
from server.settings import BARE_NAMES, BOUNDS, SECRETS, Settings

__all__ = ["Field", "fields", "settings_page"]

_INTRODUCTION = """# Settings

Written by `python -m server.cli.pages` from `server/settings.py`; do not edit.

A setting is an environment variable, a line of a TOML file (`--config FILE`; its name there is in
lower case, without `KLINE_`) or, for the most common ones, a flag: flags win over the environment,
which wins over the file. A list is separated by commas, in TOML it is a list. `true` and `false`
are what they say. An unknown name is an error that says which one was meant, and so is a value out
of bounds. Settings are read once, at the start. `klineserver doctor` judges them.

```toml
symbols = "top:50:USDT"
intervals = ["1m", "5m", "1h"]
keep_signals_days = 90.0
```
"""


#: Settings that count bytes.
_OF_BYTES = re.compile(r"bytes|(body|size|message)_max$")


class Field(NamedTuple):
    """One setting, and the section it stands in."""

    name: str
    section: str
    meaning: str


def fields() -> list[Field]:
    """All settings, in the order of the source, with what its comments say of them."""
    source = inspect.getsource(Settings)
    comments = _comments(source)
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    found, section, last = [], "", body.lineno
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            end = node.end_lineno or node.lineno
            for line in range(last + 1, node.lineno):
                section = re.split("[:;]", comments.get(line, section))[0]
            said = [comments[line] for line in range(node.lineno, end + 1) if line in comments]
            found.append(Field(node.target.id, section, " ".join(said).replace("``", "`")))
            last = end
    return found


def settings_page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    rows: dict[str, list[tuple[str, ...]]] = {}
    for field in fields():
        rows.setdefault(field.section, []).append(tuple(_row(field)))
    for section, lines in rows.items():
        title = section[:1].upper() + section[1:]
        parts.append(f"## {title}\n\n" + table(("setting", "default", "bounds", "meaning"), lines))
    return "\n".join(parts)


def _row(field: Field) -> Iterator[str]:
    bare = {setting: name for name, setting in BARE_NAMES.items()}
    name = bare.get(field.name, f"KLINE_{field.name.upper()}")
    yield f"`{name}`" + (", secret" if field.name in SECRETS else "")
    yield _shown(field.name, getattr(Settings(), field.name))
    bounds = BOUNDS.get(field.name)
    yield "" if bounds is None else " to ".join(_shown(field.name, bound) for bound in bounds)
    yield field.meaning


def _shown(name: str, value: object) -> str:
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return _size(value) if _OF_BYTES.search(name) else f"{value:.15g}"
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return f"`{text.replace(',', '`, `')}`"


def _size(value: float) -> str:
    """As it can be given, and in the largest unit of which it is a whole number."""
    whole = int(value)
    for unit, bits in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if whole and not whole % (1 << bits):
            return f"{whole} ({whole >> bits} {unit})"
    return str(whole)


def _comments(source: str) -> dict[int, str]:
    """Comments by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }
