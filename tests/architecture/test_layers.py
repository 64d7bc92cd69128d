"""Imports only go downward: each module knows its own package and the rows below it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

# Lowest first. A package's name stands for everything in it; the longest name that fits counts.
ROWS = (
    ("klinecore.errors", "klinecore.interval", "klinecore.kline", "klinecore.number",
     "klinecore.sequence"),
    ("klinecore.arena", "klinecore.charting"),
    ("klinecore.parsers", "klinecore.names", "klinecore.events", "klinecore.merge",
     "klinecore.ticker", "klinecore.indicators", "klinecore.arrow", "klinecore.markup"),
    ("klinecore.states", "klinecore.barrier", "klinecore.columns", "klinecore.frame"),
    ("klinecore.series", "klinecore.encode", "klinecore.panel"),
    ("klinecore.market",),
    ("klinecore.snapshot", "klinecore.attached", "klinecore.filters"),
    ("klinecore",),     # the front door: gathers names, and is what users import
    ("klinecore.client", "klinecore.notebook"),
    ("server.errors",),     # below the rest, which raise them
    ("server.settings", "server.clock", "server.logs", "server.metrics", "server.identity",
     "server.handshake", "server.tls", "server.process", "server.ending"),
    ("server.disk",),
    ("server.signals",),
    ("server.traders",),
    ("server.feeds", "server.snapshots", "server.store", "server.alerts",
     "server.access", "server.web"),
    ("server.api", "server.exchange", "server.sync"),
    ("server.streams",),    # above server.api, whose door, gate and route functions it uses
    ("server.app",),
    ("server.serving",),
    ("server.cli",),
    ("server.__main__",),
)  # fmt: skip
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
# A package's __init__ may gather what the package is made of.
EXEMPT = {"klinecore", "server"}

COMMENT = re.compile(r"#[^\n]*")
FROM = re.compile(r"^[ \t]*from[ \t]+(\.*[\w.]*)[ \t]+c?import[ \t]*(\([^)]*\)|[^\n]*)", re.M)
PLAIN = re.compile(r"^[ \t]*c?import[ \t]+([\w., \t]+)", re.M)
TRIPLE = re.compile(r'("""|\'\'\').*?\1', re.S)


def absolute(module: str, is_package: bool, level: int, name: str) -> str:
    """The absolute name of a relative import; ``level`` is its number of leading dots."""
    if not level:
        return name
    parts = module.split(".")
    above = parts[: len(parts) - level + is_package]
    return ".".join([*above, name] if name else above)


def python_imports(text: str, module: str, is_package: bool) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, is_package, node.level, node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def cython_imports(text: str, module: str, is_package: bool) -> Iterator[str]:
    text = COMMENT.sub("", TRIPLE.sub('""', text)).replace("\\\n", " ").replace(";", "\n")
    for base, names in FROM.findall(text):
        name = base.lstrip(".")
        whole = absolute(module, is_package, len(base) - len(name), name)
        for part in names.strip("() \t\n").split(","):
            if part.strip():
                yield f"{whole}.{part.split()[0]}"
    for names in PLAIN.findall(text):
        yield from (part.split()[0] for part in names.split(",") if part.strip())


def imports(text: str, module: str, suffix: str, is_package: bool = False) -> list[str]:
    """Dotted names of what a module takes in; for ``from a import b`` that is ``a.b``."""
    read = cython_imports if suffix in {".pyx", ".pxd"} else python_imports
    return list(read(text, module, is_package))


def owner(name: str) -> str | None:
    """The entry of ``ROWS`` a dotted name belongs to."""
    while name not in ROW_OF:
        name, _, last = name.rpartition(".")
        if not last:
            return None
    return name


def faults(text: str, module: str, suffix: str, is_package: bool = False) -> list[str]:
    """What a module imports and must not."""
    own = owner(module)
    if own is None or (own == "klinecore" and module != own):
        return [f"{module} stands in no row; give it one"]
    found = []
    for name in imports(text, module, suffix, is_package):
        if name.split(".")[0] not in {"klinecore", "server"}:
            continue
        target = owner(name)
        if target is None:
            found.append(f"{module} imports {name}, which stands in no row")
        elif target != own and ROW_OF[target] >= ROW_OF[own]:
            found.append(f"{module} imports {name}")
    return found


def modules(root: Path) -> Iterator[tuple[Path, str, bool]]:
    for package in ("klinecore", "server"):
        for path in sorted((root / package).rglob("*")):
            if path.suffix in {".py", ".pyx", ".pxd", ".pyi"}:
                parts = path.relative_to(root).with_suffix("").parts
                is_package = parts[-1] == "__init__"
                yield path, ".".join(parts[:-1] if is_package else parts), is_package


def test_imports_only_go_downward(root: Path) -> None:
    found, seen = [], set()
    for path, module, is_package in modules(root):
        seen.add(path.suffix)
        if module not in EXEMPT:
            found += faults(path.read_text(), module, path.suffix, is_package)
    assert found == []
    assert seen == {".py", ".pyx", ".pxd", ".pyi"}


UPWARD = [
    ("from klinecore.market cimport Market", ".pxd"),
    ("from klinecore cimport market", ".pyx"),
    ("from klinecore cimport merge, market as m", ".pyx"),
    ("cimport klinecore.market", ".pyx"),
    ("cimport cython, klinecore.merge, klinecore.market as m", ".pyx"),
    ("import json, klinecore.market", ".pyx"),
    ("from klinecore.market cimport (  # the owner\n    Market,\n)", ".pyx"),
    ("from klinecore \\\n    cimport market", ".pyx"),
    ("from .market cimport Market", ".pyx"),
    ("from . cimport market", ".pyx"),
    ("cimport cython; from klinecore cimport market", ".pyx"),
    ("def late():\n    from klinecore.market import Market", ".pyx"),
    ("def late():\n    from klinecore.market import Market", ".py"),
    ("from .market import Market", ".py"),
    ("from . import market", ".py"),
    ("import json, klinecore.market", ".py"),
    ("import klinecore", ".py"),
    ("from klinecore import Market", ".pyi"),
    ("from server.clock import Clock", ".py"),
    ("if TYPE_CHECKING:\n    from klinecore.market import Market", ".pyi"),
]


@pytest.mark.parametrize(("text", "suffix"), UPWARD)
def test_an_upward_import_is_found_in_every_form(text: str, suffix: str) -> None:
    assert len(faults(text, "klinecore.series", suffix)) == 1


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("from klinecore.merge cimport SeriesMemory, series_find", ".pyx"),
        ("from .merge cimport SeriesMemory", ".pxd"),
        ("from . import kline", ".py"),
        ("import numpy as np\nfrom libc.stdint cimport int64_t", ".pyx"),
        ('"""\nfrom klinecore.market cimport Market\n"""', ".pyx"),
        ("# from klinecore.market cimport Market", ".pyx"),
        ('cdef extern from "market.h":\n    int market', ".pyx"),
    ],
)
def test_what_goes_downward_or_is_no_import_passes(text: str, suffix: str) -> None:
    assert faults(text, "klinecore.series", suffix) == []


def test_neighbours_of_a_row_do_not_know_each_other() -> None:
    assert faults("from klinecore.encode cimport Scratch", "klinecore.series", ".pyx")
    assert faults("from server.exchange.app import Exchange", "server.api.routes", ".py")
    assert not faults("from server.api.types import Send", "server.api.routes", ".py")
    assert not faults("from .types import Send", "server.api.routes", ".py")
    assert faults("from ..exchange.app import Exchange", "server.api.routes", ".py")


def test_a_module_without_a_row_is_named() -> None:
    assert faults("", "klinecore.novelty", ".pyx") == [
        "klinecore.novelty stands in no row; give it one"
    ]
    assert faults("", "server.novelty", ".py") == ["server.novelty stands in no row; give it one"]
