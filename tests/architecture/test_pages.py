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
PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/*.md", "docs/decisions/*.md")
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


def test_what_is_no_link_setting_or_heading_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Two Words\n[a](other.md) [b](#two-words) [c](https://e.com/)\n")
    assert targets(page) == [((tmp_path / "other.md").resolve(), ""), (page, "two-words")]
    assert anchors(page) == {"two-words"}
