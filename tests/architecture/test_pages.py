"""README and docs: their Python prints what they say, their links and names lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import klinecore
from server.settings import Settings

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)")
PAGES = (
    "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
    "docs/*.md", "docs/decisions/*.md",
)  # fmt: skip
CODE = {".py", ".pyx", ".pxd", ".js"}
#: Theirs, not ours: edge functions find the server by them.
OF_FUNCTIONS = {"KLINE_SERVER_URL", "KLINE_SERVER_API_KEY"}
#: The runbook shows what a misspelt one does.
MISSPELT = {"KLINE_CAPASITY"}


def pages(root: Path) -> list[Path]:
    return [path for pattern in PAGES for path in sorted(root.glob(pattern))]


def targets(page: Path) -> list[tuple[Path, str]]:
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [((page.parent / name if name else page).resolve(), part) for name, part in found]


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(
    "name", ["README.md", "docs/alerts.md", "docs/frames.md", "docs/notebooks.md"]
)
def test_each_python_block_prints_the_text_block_behind_it(
    root: Path, tmp_path: Path, name: str
) -> None:
    found = BLOCK.findall((root / name).read_text(encoding="utf-8"))
    ran = 0
    for (language, program), (following, expected) in zip(found, found[1:], strict=False):
        if language != "python":
            continue
        assert following == "text", "a Python block is followed by what it prints"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(klinecore.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected
        ran += 1
    assert ran


def test_each_link_leads_to_a_file_and_a_heading(root: Path) -> None:
    lost = []
    for page in pages(root):
        for target, part in targets(page):
            if not target.exists() or (part and part not in anchors(target)):
                lost.append((page.name, target.name, part))
    assert lost == []


def test_each_page_is_found_from_readme(root: Path) -> None:
    index = root / "docs" / "index.md"
    assert index in {target for target, _ in targets(root / "README.md")}
    linked = {target for target, _ in targets(index)} | {index}
    assert {page.name for page in (root / "docs").glob("*.md") if page not in linked} == set()


def test_each_setting_that_is_named_is_one(root: Path) -> None:
    fields = {f"KLINE_{name.upper()}" for name in Settings.__struct_fields__}
    unknown = {
        (page.name, name)
        for page in pages(root)
        for name in re.findall(r"KLINE_[A-Z0-9_]*[A-Z0-9]", page.read_text(encoding="utf-8"))
        if name not in fields | OF_FUNCTIONS | MISSPELT
    }
    assert unknown == set()


def test_each_table_of_the_store_is_on_its_page(root: Path) -> None:
    schema = (root / "server" / "store" / "schema.py").read_text(encoding="utf-8")
    page = (root / "docs" / "store.md").read_text(encoding="utf-8")
    tables = set(re.findall(r"^CREATE TABLE (\w+)", schema, re.M))
    assert len(tables) > 5
    assert tables - set(re.findall(r"`(\w+)`", page[page.index("## Tables") :])) == set()


def test_each_metric_that_is_named_is_one(root: Path) -> None:
    """The tables of operations.md are what a running server registers, by a test of the CLI."""
    tables = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    metrics = set(re.findall(r"^\| `(\w+)(?:\{[^}]*\})?` \|", tables, re.M))
    assert len(metrics) > 100
    unknown = {
        (page.name, name)
        for page in pages(root)
        if page.name != "http.md"  # fields of messages
        for name in re.findall(r"`(\w+_(?:total|seconds))(?:\{[^}`]*\})?`", page.read_text("utf-8"))
        if name not in metrics
    }
    assert unknown == set()


def test_each_file_that_is_named_exists(root: Path) -> None:
    inside = (
        r"(?<![\w/.:-])((?:tests|benchmarks|\.ci|server|klinecore|deploy|docs|examples)/[\w./-]+)"
    )
    named = {
        (page.name, name.rstrip("."))
        for page in pages(root)
        for name in re.findall(inside, page.read_text(encoding="utf-8"))
    }
    assert len(named) > 100
    patterns = {
        "benchmarks/bench_NAME.py",
        "tests/database/",
    }  # the second stands in server/supabase
    lost = {(page, name) for page, name in named if not list(root.glob(f"{name}*"))}
    assert {(page, name) for page, name in lost if name not in patterns} == set()


def test_each_default_beside_a_setting_is_its_default(root: Path) -> None:
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 1, "ms": 0.001, "": 1}
    settings, found = Settings(), 0
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        for name, number, unit in re.findall(
            r"`(?:KLINE_)?(\w+)` \(([\d,.]+)(?: (KiB|MiB|GiB|m?s))?[,;)]", text
        ):
            value = getattr(settings, name.lower(), None)
            if isinstance(value, int | float):
                assert value == float(number.replace(",", "")) * units[unit], (page.name, name)
                found += 1
    assert found >= 10


def test_the_code_map_names_what_is_there(root: Path) -> None:
    page = (root / "ARCHITECTURE.md").read_text(encoding="utf-8")
    lost, rows = [], 0
    for line in page[page.index("## Code map") : page.index("## Who may import")].splitlines():
        places, _, holds = line.strip("| ").partition(" | ")
        folder = root / places
        if not (places.endswith("/") and folder.is_dir()):
            continue
        rows += 1
        text = "".join(
            path.name + "\n" + (path.read_text("utf-8") if path.suffix in CODE else "")
            for path in folder.rglob("*")
            if path.is_file()
        )
        names = (re.findall(r"[a-z]\w+", name) for name in re.findall(r"`([^`]+)`", holds))
        lost += [(places, part) for parts in names for part in parts if part not in text]
    assert rows > 10
    assert lost == []


def test_what_is_no_link_setting_or_heading_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Two Words\n[a](other.md) [b](#two-words) [c](https://e.com/)\n")
    assert targets(page) == [((tmp_path / "other.md").resolve(), ""), (page, "two-words")]
    assert anchors(page) == {"two-words"}
