"""docs/reliability.md names tests that exist, and every test of a fault or of a must-never item."""

from __future__ import annotations

import re
from pathlib import Path

FAULTS = 18


def defined(root: Path) -> set[str]:
    return {
        name
        for path in (root / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }


def named(root: Path) -> set[str]:
    text = (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    return set(re.findall(r"`(test_\w+)`", text))


def test_every_test_that_is_named_exists(root: Path) -> None:
    assert named(root) - defined(root) == set()


def test_every_test_of_a_fault_is_named(root: Path) -> None:
    kinds = re.compile(r"test_(fault|must_never)_\d\d_")
    assert {name for name in defined(root) if kinds.match(name)} - named(root) == set()


def test_every_row_of_the_matrix_and_every_item_that_is_built_has_a_test(root: Path) -> None:
    found = named(root)
    faults = {int(n[1]) for name in found if (n := re.match(r"test_fault_(\d\d)_", name))}
    items = {int(n[1]) for name in found if (n := re.match(r"test_must_never_(\d\d)_", name))}
    assert faults == set(range(1, FAULTS + 1))
    assert items == set(range(1, 29))


def test_every_file_of_a_command_exists(root: Path) -> None:
    text = (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"[ `](?:\.venv/bin/)?((?:tests|benchmarks|\.ci)/[\w./]+)", text))
    assert len(paths) > 5
    assert {path for path in paths if not (root / path).exists()} == set()
