"""Names say what a thing is in the words of the glossary, and modules say what they offer."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

# What a name must not be made of, and the word that stands in its place.
INSTEAD = {
    "candle": "kline",
    "candles": "klines",
    "candlestick": "kline",
    "candlesticks": "klines",
    "ohlc": "kline",
    "ohlcv": "kline",
    "util": "what it does",
    "utils": "what it does",
    "helper": "what it does",
    "helpers": "what it does",
    "manager": "what it does",
    "misc": "what it does",
    "common": "what it does",
}
# Made of such words, and what everybody calls it all the same.
KNOWN = {"ohlc4"}
NAME = re.compile(r"[^\W\d]\w*")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
DEFINES = re.compile(
    r"^\s*(?:async\s+)?(?:def|class|cdef\s+class|cpdef\s+enum|cdef\s+enum|cdef\s+struct)\s+(\w+)",
    re.M,
)
ASSIGNS = re.compile(r"^\s*(?:self\.)?(\w+)\s*(?::[^=\n]+)?=(?!=)", re.M)


def parts(name: str) -> set[str]:
    """The words a name is made of: ``open_time_ms`` and ``OpenTimeMs`` alike."""
    return {part.lower() for part in PART.findall(name)}


def odd_names(text: str) -> list[str]:
    """Names that a text defines with words that are not ours."""
    names = {*DEFINES.findall(text), *ASSIGNS.findall(text)}
    odd = (name for name in names if parts(name) & INSTEAD.keys())
    return sorted(name for name in odd if name.strip("_").lower() not in KNOWN)


def code(root: Path, *suffixes: str) -> list[Path]:
    return [
        path
        for package in ("klinecore", "server")
        for path in sorted((root / package).rglob("*"))
        if path.suffix in suffixes
    ]


def test_names_are_made_of_our_words(root: Path) -> None:
    found = {
        path.relative_to(root).as_posix(): odd
        for path in code(root, ".py", ".pyx", ".pxd", ".pyi")
        if (odd := odd_names(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_files_are_named_after_what_they_hold(root: Path) -> None:
    for path in [*code(root, ".py", ".pyx", ".pxd", ".pyi"), *(root / "tests").rglob("*.py")]:
        assert not parts(path.stem) & INSTEAD.keys(), path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("def parse_candle(row):", "parse_candle"),
        ("class CandleManager:", "CandleManager"),
        ("cdef class SymbolHelper:", "SymbolHelper"),
        ("self.ohlcv = 1", "ohlcv"),
        ("    last_candles: list[int] = []", "last_candles"),
        ("async def load_common():", "load_common"),
    ],
)
def test_an_odd_name_is_found(text: str, name: str) -> None:
    assert odd_names(text) == [name]


@pytest.mark.parametrize(
    "text",
    ["# a candle is a kline", "if helper == 1:", "@asynccontextmanager", "commonly = 1", "x = 1"],
)
def test_other_text_is_left_alone(text: str) -> None:
    assert odd_names(text) == []


def public_names(tree: ast.Module) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and node.name[0] != "_"}


def offered(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == "__all__":
                return list(ast.literal_eval(node.value)) if node.value else None
    return None


def test_every_module_of_the_library_lists_what_it_offers(root: Path) -> None:
    silent = []
    for path in code(root, ".py", ".pyi"):
        if "klinecore" not in path.relative_to(root).parts or not path.stat().st_size:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = offered(tree)
        # Helpful only if it is whole and in order: the list is what a reader sees first.
        if names is None or not public_names(tree) <= set(names):
            silent.append(path.relative_to(root).as_posix())
    assert silent == []


def test_the_lists_of_a_compiled_module_and_its_stub_agree(root: Path) -> None:
    for path in code(root, ".pyx"):
        stub = path.with_suffix(".pyi")
        assert stub.exists(), f"{path.name} has no stub"
        listed = re.search(r"^__all__[^=]*= (\[[^\]]*\])", path.read_text(encoding="utf-8"), re.M)
        assert listed, f"{path.name} has no __all__"
        names = offered(ast.parse(stub.read_text(encoding="utf-8")))
        assert names == ast.literal_eval(listed.group(1)), path.name


def test_every_public_function_and_class_has_a_docstring(root: Path) -> None:
    silent = []
    for path in code(root, ".py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            if isinstance(node, kinds) and node.name[0] != "_" and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(root).as_posix()}: {node.name}")
    assert silent == []
