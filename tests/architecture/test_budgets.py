"""A benchmark beyond its budget runs again before it fails: the best of each figure counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BUDGETS = """
[bench_it]
bench_tries.limit.ms = {ms}
bench_paths.limit.files = {files}
"""
BENCH = """
figures = [[3.0, 7.0], [1.0, 9.0], [0.0, 0.0]]


def bench_tries(bench):
    ms, other = bench.once(figures.pop, 0)
    bench.quantity("ms", ms)
    bench.quantity("other", other)


def bench_paths(bench, tmp_path):
    (tmp_path / "file").touch(exist_ok=False)
    bench.once(lambda: None)
    bench.quantity("files", 5.0)
"""


def benchmarks(folder: Path, root: Path, ms: float = 2.0, files: float = 9.0) -> str:
    """What a run with these budgets prints."""
    conftest = (root / "benchmarks" / "conftest.py").read_text()
    (folder / "conftest.py").write_text(conftest + "\nRETRY_PAUSE_S = 0.0\n")
    (folder / "budgets.toml").write_text(BUDGETS.format(ms=ms, files=files))
    (folder / "bench_it.py").write_text(BENCH)
    names = ["-o", "python_files=bench_*.py", "-o", "python_functions=bench_*"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "--rootdir", "."]
    run = subprocess.run(
        [*command, *names, "bench_it.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    return run.stdout


def test_the_best_of_some_tries_counts(tmp_path: Path, root: Path) -> None:
    shown = benchmarks(tmp_path, root)
    assert "2 passed" in shown
    assert [line.split() for line in shown.splitlines() if line.startswith("tries: ")] == [
        ["tries:", "ms", "1.0", "<=", "2"],
        ["tries:", "other", "7.0"],
    ]


@pytest.mark.parametrize(
    ("budget", "over"),
    [({"ms": -1.0}, "tries: ms: 0.0"), ({"files": 4.0}, "paths: files: 5.0")],
)
def test_what_no_try_holds_fails(
    budget: dict[str, float], over: str, tmp_path: Path, root: Path
) -> None:
    shown = benchmarks(tmp_path, root, **budget)
    assert f"over budget: {over}" in shown
    assert "1 error" in shown
