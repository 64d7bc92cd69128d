"""Real processes, killed at any moment of reading, applying and saving: the next one is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FEW, MANY = 30, 1000


def killed(root: Path, folder: Path, kills: int) -> dict[str, Any]:
    support = root / "tests" / "support"
    done = subprocess.run(
        [sys.executable, str(support / "kills.py"), str(folder), str(kills)],
        env={**os.environ, "PYTHONPATH": str(support)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_killed_writer_leaves_its_last_whole_snapshot(root: Path, tmp_path: Path) -> None:
    result = killed(root, tmp_path, FEW)
    assert result["wrong"] == []
    assert sum(result["killed_at"].values()) == FEW
    assert result["minutes"] > 0


@pytest.mark.slow
def test_a_thousand_killed_writers_leave_no_wrong_row(root: Path, tmp_path: Path) -> None:
    result = killed(root, tmp_path, MANY)
    assert result["wrong"] == []
    for step in "LAS":  # loading, applying, saving
        assert result["killed_at"][step] > 20, result
