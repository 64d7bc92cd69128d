"""A hundred simulated days of 50 symbols and 4 intervals, with ten faults an hour or more."""

from __future__ import annotations

import io
import sys

import pytest
from simulation.faults import FAULTS
from simulation.runner import run_seeds


@pytest.mark.slow
def test_a_hundred_days_end_with_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():  # a quarter of an hour: whoever waits sees how far it is
        summary = run_seeds(range(100), jobs=2, hours=24.0, symbols=50, out=sys.stdout)
    assert summary.failed == ()
    assert sum(summary.injected.values()) >= 10 * summary.hours
    assert summary.injected.keys() == FAULTS.keys()


def test_the_runner_prints_a_seed_and_how_to_repeat_it() -> None:
    out = io.StringIO()
    summary = run_seeds([5], jobs=1, hours=0.5, symbols=2, names=("cut",), out=out, trace=True)
    assert summary.ok
    told = out.getvalue()
    assert "--seeds 5 --jobs 1 --symbols 2 --hours 0.5 --market spot --trace --faults cut" in told
    assert "seeds: 1, failed: 0" in told
