"""``python -m benchmarks.report``: every figure of a run, with peers that were faster."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

RUN: dict[str, Any] = {
    "datetime": "2026-02-01T00:00:00",
    "machine_info": {
        "cpu": {"brand_raw": "A processor", "count": 2},
        "python_version": "3.11.2",
        "processor": "",
        "machine": "x86_64",
    },
    "benchmarks": [
        {
            "name": "bench_of_one_row",
            "fullname": "bench_rows.py::bench_of_one_row",
            "extra_info": {
                "load": 0.5,
                "figures": [
                    {"name": "of_one_row", "value": 2000.0, "unit": "ns", "peer_ns": None},
                    {"name": "slow", "value": 0.25, "unit": "x", "peer_ns": 8000.0},
                    {"name": "equal", "value": 1.25, "unit": "x", "peer_ns": 1600.0},
                    {"name": "fast", "value": 4.0, "unit": "x", "peer_ns": 500.0},
                ],
            },
        },
        {
            "name": "bench_alone",
            "fullname": "bench_rows.py::bench_alone",
            "extra_info": {
                "load": 1.5,
                "figures": [
                    {"name": "alone", "value": 12.5, "unit": "ns", "peer_ns": None},
                    {"name": "MB", "value": 163.0, "unit": "", "peer_ns": None},
                ],
            },
        },
    ],
}
EXPECTED = """### bench_rows

`pytest benchmarks/bench_rows.py --benchmark-disable-gc -p no:randomly`, 2026-02-01, A processor, \
2 CPUs, Python 3.11.2, load average 0.5 to 1.5.

| what | ours | peer | peer's | ours / peer's | so |
|---|---|---|---|---|---|
| of one row | 2 µs | slow | 8 µs | 0.25 | won |
| of one row | 2 µs | equal | 1.6 µs | 1.25 | tie |
| of one row | 2 µs | fast | 500 ns | 4 | **lost** |
| alone | 12.5 ns |  |  |  |  |
| alone: MB | 163 |  |  |  |  |
"""


def report(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.report", *arguments]
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_wins_ties_and_losses_are_all_told(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(RUN))
    assert report(root, str(file)) == EXPECTED


def test_the_tables_stand_between_the_marks_of_a_page(root: Path, tmp_path: Path) -> None:
    file, page = tmp_path / "run.json", tmp_path / "page.md"
    file.write_text(json.dumps(RUN))
    page.write_text("a\n<!-- figures: here -->\nold\n<!-- end of figures -->\nb\n")
    report(root, str(file), "--page", str(page))
    text = page.read_text(encoding="utf-8")
    assert text == f"a\n<!-- figures: here -->\n\n{EXPECTED}\n<!-- end of figures -->\nb\n"


def test_each_section_of_the_page_names_what_prints_it(root: Path) -> None:
    page = (root / "docs" / "performance.md").read_text(encoding="utf-8")
    for section in page.split("\n## ")[1:]:
        named = re.findall(r"benchmarks/(bench_\w+)\.py", section)
        assert named, section.splitlines()[0]
        assert [n for n in named if n != "bench_NAME" and not file_of(root, n).exists()] == []


def file_of(root: Path, name: str) -> Path:
    return root / "benchmarks" / f"{name}.py"
