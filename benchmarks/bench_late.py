"""What a late row costs live filters: 1,000 traders', beside the ready ones, and 500 symbols.

A row behind the newest one lets the symbol's filters start anew, and those that compare symbols for
all of them. Nothing else is evaluated meanwhile, and the process serves nobody.
"""

from __future__ import annotations

import json
from statistics import median
from typing import Any

import klinecore as kc
from benchmarks.bench_cold import (
    LENGTHS_MS,
    MINUTE_MS,
    ROWS,
    START_MS,
    SYMBOLS,
    backfill,
    close,
    engine_over,
    pumped_s,
)
from klinecore.filters import READY, Engine, compile

TIMES = 5


def warm() -> tuple[kc.Market, Engine]:
    """As in a server that runs: memory is full, and every filter stands at the newest close."""
    market = kc.Market(SYMBOLS, list(LENGTHS_MS), ROWS)
    engine = engine_over(market)
    for one in READY.values():
        engine.add(compile(one.text), one.interval, mode=one.mode, cooldown=one.cooldown)
    backfill(market, START_MS)
    for interval, length_ms in LENGTHS_MS.items():
        market.begin_barrier(interval, START_MS - length_ms)
    engine.pump(market.drain())
    engine.catch_up()
    close(market, START_MS + MINUTE_MS)
    engine.pump(market.drain())
    return market, engine


def correct(market: kc.Market, symbol: str, interval: str, price: float) -> None:
    """Let the exchange say something else of the row before the newest one."""
    opened = int(market[symbol, interval].open_time_ms[-2])
    text = f"{price:.4f}"
    row = [
        opened, text, text, text, text, "5.000", opened + LENGTHS_MS[interval] - 1, "500.00000",
        100, "2.500", "250.00000", "0",
    ]  # fmt: skip
    market.apply_klines(
        symbol, interval, json.dumps([row]).encode(), closed_before_ms=1 << 60, correct=True
    )


def corrections() -> dict[str, list[float]]:
    """CPU milliseconds of a late row of one symbol, by interval."""
    market, engine = warm()
    taken: dict[str, list[float]] = {}
    for number in range(TIMES):
        for interval in LENGTHS_MS:
            correct(market, SYMBOLS[7 * number], interval, 100.0 + number)
            before = engine.counters()["started_anew"] + engine.counters()["compared_anew"]
            taken.setdefault(interval, []).append(1e3 * pumped_s(market, engine))
            assert engine.counters()["started_anew"] + engine.counters()["compared_anew"] > before
    return taken


def bench_late_row(bench: Any) -> None:
    """A correction of the row before the newest one, of one symbol of 500."""
    for interval, taken in bench.once(corrections).items():
        bench.quantity(f"of {interval}, ms CPU", median(taken))
