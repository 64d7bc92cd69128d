"""The whole server over simulated hours: nothing lost, doubled, invented or out of order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulation.scenario import scenario, simulated
from simulation.seeds import run_seed


@pytest.mark.parametrize("market", ["spot", "um"])
@simulated
async def test_without_faults_everything_served_is_the_truth(market: str) -> None:
    async with scenario(symbols=6, market=market) as world:
        await world.sleep(3600.0)
        await world.check_all()
    verdict = world.judge.verdict({})
    assert verdict.rows_checked >= 6 * 4 * 120
    assert verdict.closes_told >= 6 * 60


def trace_hash(seed: int) -> str:
    """Of an hour with every class of fault in it."""
    return run_seed(seed, symbols=4, hours=1.5).trace_hash


def test_a_seed_is_the_same_in_every_process(root: Path) -> None:
    support = root / "tests" / "support"
    code = (
        f"import sys; sys.path[:0] = [{str(support)!r}, {str(Path(__file__).parent)!r}]\n"
        "from test_seeds import trace_hash; print(trace_hash(7))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert hashes == {trace_hash(7) + "\n"}
    assert trace_hash(8) != trace_hash(7)


@pytest.mark.parametrize("seed", range(3))
def test_an_hour_of_faults_changes_nothing(seed: int) -> None:
    outcome = run_seed(seed, symbols=10, hours=1.0)
    assert outcome.verdict.faults == ()
    assert outcome.ok
    assert sum(outcome.injected.values()) >= 8
