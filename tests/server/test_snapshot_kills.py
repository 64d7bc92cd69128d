"""Real processes, killed at any moment of reading, applying and saving: the next one is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from lives import end_lives

FEW, MANY = 30, 1000


def test_a_killed_writer_leaves_its_last_whole_snapshot(tmp_path: Path) -> None:
    result = end_lives("snapshot_kills.py", tmp_path, FEW)
    assert sum(result["killed_at"].values()) == FEW
    assert result["minutes"] > 0


@pytest.mark.slow
def test_a_thousand_killed_writers_leave_no_wrong_row(tmp_path: Path) -> None:
    result = end_lives("snapshot_kills.py", tmp_path, MANY)
    for step in "LAS":  # loading, applying, saving
        assert result["killed_at"][step] > 20, result
