"""Every file of the project keeps the same few habits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

COLUMNS_MAX = 100
LINES_MAX = 520
# Longer than that, each for a reason; the number is what it may grow to.
LONG = {
    "klinecore/indicators/averages.py": 600,  # written from the catalog: one family, one module
    "klinecore/indicators/momentum.py": 800,  # likewise
    "klinecore/indicators/patterns.py": 800,  # likewise
    "klinecore/indicators/trend.py": 600,  # likewise
    "klinecore/indicators/lanes.pyx": 600,  # one extension type is one class body
    "klinecore/filters/runner.pyx": 600,  # likewise
    "klinecore/market.pyx": 780,  # one extension type is one class body: it cannot be split
    "klinecore/parsers/binance.pyx": 600,  # one grammar, read by functions that inline each other
}
CODE = {".py", ".pyx", ".pxd", ".pyi"}
TEXT = CODE | {".toml", ".ini", ".md", ".txt", ".js", ".css", ".yml", ".yaml"}
FOLDERS = ("klinecore", "server", "tests", "benchmarks", "docs")

READS_TIME = re.compile(
    r"\btime\.(?:time|monotonic|perf_counter)(?:_ns)?\b"
    r"|\bdatetime\.(?:now|utcnow|today)\b|\bdate\.today\b"
    r"|^\s*from\s+time\s+import\b",
    re.M,
)


def files(root: Path, suffixes: set[str]) -> Iterator[Path]:
    found = [path for path in root.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += [path for path in (root / folder).rglob("*") if path.is_file()]
    for path in sorted(found):
        hidden = any(part.startswith((".", "__pycache__")) for part in path.parts[-3:])
        if path.suffix in suffixes and not hidden:
            yield path


def named(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def test_there_is_something_to_look_at(root: Path) -> None:
    names = {named(root, path) for path in files(root, TEXT)}
    assert {"klinecore/market.pyx", "klinecore/series.pyi", "pyproject.toml", "setup.py"} <= names


def test_code_is_at_most_100_columns_wide(root: Path) -> None:
    wide = [
        f"{named(root, path)}:{number}"
        for path in files(root, CODE)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > COLUMNS_MAX
    ]
    assert wide == []


def test_lines_end_with_a_line_feed_alone_and_nothing_before_it(root: Path) -> None:
    untidy = []
    for path in files(root, TEXT):
        data = path.read_bytes()
        spaces = path.suffix in CODE and re.search(rb"[ \t]\n|\t", data)
        if b"\r" in data or spaces or (data and not data.endswith(b"\n")):
            untidy.append(named(root, path))
    assert untidy == []


def docstring(path: Path) -> str | None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(text))
    opening = re.match(r'"""(.*?)"""', text, re.S)
    return opening.group(1) if opening else None


def summary_fault(text: str | None) -> str | None:
    """What is wrong with the first paragraph of a module's docstring."""
    if not text:
        return "has no docstring"
    summary = " ".join(text.strip().split("\n\n")[0].split())
    if not summary.endswith((".", ":")):
        return "does not end its first sentence"
    if re.search(r"[.!?] [A-Z]", summary):
        return "begins with more than one sentence"
    return None


def test_every_module_says_in_one_sentence_what_it_is(root: Path) -> None:
    silent = []
    for path in files(root, {".py", ".pyx", ".pxd"}):
        fault = summary_fault(docstring(path))
        if fault and path.parent != root and path.stat().st_size:
            silent.append(f"{named(root, path)} {fault}")
    assert silent == []


@pytest.mark.parametrize("text", [None, "", "No end", "Two of them. One too many."])
def test_a_docstring_of_another_shape_is_found(text: str | None) -> None:
    assert summary_fault(text)


def test_modules_are_short_enough_to_read_at_once(root: Path) -> None:
    lengths = {
        named(root, path): len(path.read_text(encoding="utf-8").splitlines())
        for path in files(root, CODE)
    }
    long = {name: length for name, length in lengths.items() if length > LONG.get(name, LINES_MAX)}
    assert long == {}
    assert [name for name in LONG if lengths[name] <= LINES_MAX] == []


def test_only_the_clock_reads_the_time(root: Path) -> None:
    readers = [
        named(root, path)
        for path in files(root, {".py", ".pyx"})
        if named(root, path).startswith(("klinecore/", "server/"))
        and READS_TIME.search(path.read_text(encoding="utf-8"))
    ]
    assert readers == ["server/clock.py"]


def test_no_file_names_the_machine_it_was_written_on(root: Path) -> None:
    # A home such as /root is everybody's, and says nothing about a machine.
    places = {str(path) for path in (root, Path.home()) if len(path.parts) > 2}
    if not places:
        pytest.skip(f"the checkout's own path, {root}, is too plain to look for")
    machine = re.compile(r"(?<![\w.-])(?:" + "|".join(map(re.escape, places)) + r")(?=[/\s'\"]|$)")
    named_there = [
        named(root, path)
        for path in files(root, TEXT)
        if machine.search(path.read_text(encoding="utf-8"))
    ]
    assert named_there == []
