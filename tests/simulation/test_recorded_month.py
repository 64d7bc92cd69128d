"""A month the market really had, with faults injected into its replay: the same verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulation.seeds import run_recorded

from server.exchange.recorded import RecordedMarket

SYMBOLS_AT_LEAST = 7


@pytest.mark.slow
def test_the_recorded_month_is_served_as_it_was(data_dir: Path) -> None:
    paths = sorted((data_dir / "klines" / "um" / "1m" / "2026-02").glob("*.csv.gz"))
    assert len(paths) >= SYMBOLS_AT_LEAST
    outcome = run_recorded(202602, RecordedMarket(paths))
    assert outcome.verdict.faults == ()
    assert outcome.ok
    assert outcome.hours > 27 * 24
    assert sum(outcome.injected.values()) >= 10 * outcome.hours
    assert outcome.verdict.closes_told > 300_000
