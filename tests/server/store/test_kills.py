"""Real processes, killed at any moment of opening, writing and checkpoints: nothing is lost.

Every trader that was acknowledged is there as it was, every signal that was written is there once,
in the outbox too, and the file opens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def killed(root: Path, folder: Path, kills: int, signals: int) -> dict[str, Any]:
    support = root / "tests" / "support"
    done = subprocess.run(
        [sys.executable, str(support / "store_kills.py"), str(folder), str(kills), str(signals)],
        env={**os.environ, "PYTHONPATH": str(support)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["wrong"] == [], done.stderr[-2000:]
    return result


def test_a_killed_store_keeps_what_it_acknowledged(root: Path, tmp_path: Path) -> None:
    result = killed(root, tmp_path, 15, 2000)
    assert result["traders"] > 5


@pytest.mark.slow
def test_hundreds_of_kills_during_ten_thousands_of_signals_lose_and_double_nothing(
    root: Path, tmp_path: Path
) -> None:
    result = killed(root, tmp_path, 200, 20_000)
    assert result["signals"] >= 20_000
    for step in "OTA":  # opening, keeping a trader, telling signals
        assert result["killed_at"].get(step, 0) > 5, result
