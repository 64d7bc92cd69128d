"""Real processes, killed at any moment of opening, writing and checkpoints: nothing is lost.

Every trader that was acknowledged is there as it was, every signal that was written is there once,
in the outbox too, and the file opens.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lives import end_lives


def test_a_killed_store_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    result = end_lives("store_kills.py", tmp_path, 15, 2000)
    assert result["traders"] > 5


@pytest.mark.slow
def test_hundreds_of_kills_during_ten_thousands_of_signals_lose_and_double_nothing(
    tmp_path: Path,
) -> None:
    result = end_lives("store_kills.py", tmp_path, 200, 20_000)
    assert result["signals"] >= 20_000
    for step in "OTA":  # opening, keeping a trader, telling signals
        assert result["killed_at"].get(step, 0) > 5, result
