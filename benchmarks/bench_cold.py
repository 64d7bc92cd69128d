"""What a cold start costs live filters: 1,000 of them, and 500 symbols' rows that came unannounced.

A server that starts holds filters and no rows. History is merged without events, and filters meet
it with the next close; those that met a close before their history start anew.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

import klinecore as kc
from benchmarks.steady import trader
from klinecore.filters import Engine, compile

SYMBOLS = [f"COIN{number}USDT" for number in range(500)]
LENGTHS_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000}
ROWS = 500
FILTERS = 1_000
START_MS = 1_770_000_000_000 // LENGTHS_MS["1h"] * LENGTHS_MS["1h"]
MINUTE_MS = LENGTHS_MS["1m"]
WALKS = 8  # different ones; symbols share them


def engine_over(market: kc.Market) -> Engine:
    """Filters as the traders of ``python -m benchmarks.steady``: 300 predicates, four intervals."""
    made = Engine(market)
    for number in range(FILTERS):
        one = trader(number, len(SYMBOLS))
        made.add(compile(one.filter), one.interval, mode=one.mode, cooldown=one.cooldown_bars)
    return made


def walk(random: np.random.Generator, first_ms: int, count: int, length_ms: int) -> bytes:
    """A REST answer of closed rows."""
    prices = 100.0 * np.exp(np.cumsum(random.normal(0, 1e-3, count)))
    rows = [
        [
            first_ms + i * length_ms, f"{c:.4f}", f"{c * 1.004:.4f}", f"{c * 0.996:.4f}",
            f"{c:.4f}", "5.000", first_ms + (i + 1) * length_ms - 1, "500.00000", 100,
            "2.500", "250.00000", "0",
        ]
        for i, c in enumerate(prices)
    ]  # fmt: skip
    return json.dumps(rows).encode()


def put(market: kc.Market, interval: str, first_ms: int, count: int, *, notify: bool) -> None:
    random = np.random.default_rng(0)
    bodies = [walk(random, first_ms, count, LENGTHS_MS[interval]) for _ in range(WALKS)]
    for number, symbol in enumerate(SYMBOLS):
        body = bodies[number % WALKS]
        market.apply_klines(symbol, interval, body, closed_before_ms=1 << 60, notify=notify)


def backfill(market: kc.Market, until_ms: int) -> None:
    """Merge history of all symbols that closed up to then, and tell nobody."""
    for interval, length_ms in LENGTHS_MS.items():
        last_ms = until_ms // length_ms * length_ms
        put(market, interval, last_ms - ROWS * length_ms, ROWS, notify=False)


def close(market: kc.Market, boundary_ms: int) -> None:
    """Let the klines of all symbols close that end there."""
    for interval, length_ms in LENGTHS_MS.items():
        if boundary_ms % length_ms == 0:
            put(market, interval, boundary_ms - length_ms, 1, notify=True)


def pumped_s(market: kc.Market, engine: Engine) -> float:
    """CPU seconds from events to firings."""
    events = market.drain()
    begun = time.thread_time()
    engine.pump(events)
    return time.thread_time() - begun


def starts() -> tuple[float, float, float]:
    """CPU seconds of meeting history, of starting anew for it, and of the close after that."""
    market = kc.Market(SYMBOLS, list(LENGTHS_MS), ROWS)
    engine = engine_over(market)
    backfill(market, START_MS)
    close(market, START_MS + MINUTE_MS)
    met = pumped_s(market, engine)
    assert engine.counters()["started_anew"] == 0

    market = kc.Market(SYMBOLS, list(LENGTHS_MS), ROWS)
    engine = engine_over(market)
    close(market, START_MS)
    pumped_s(market, engine)
    backfill(market, START_MS - MINUTE_MS)
    close(market, START_MS + MINUTE_MS)
    anew = pumped_s(market, engine)
    assert engine.counters()["started_anew"] == len(SYMBOLS)
    close(market, START_MS + 2 * MINUTE_MS)
    after = pumped_s(market, engine)
    assert engine.counters()["started_anew"] == len(SYMBOLS)
    return met, anew, after


def bench_history_that_nobody_told(bench: Any) -> None:
    """1,000 filters meet 1,000,000 rows at once, at the first close after a cold start."""
    met, anew, after = bench.once(starts)
    bench.quantity("rows before the first close, s CPU", met)
    bench.quantity("rows after the first close, s CPU", anew)
    bench.quantity("after / before", anew / met)
    bench.quantity("the close after that, s CPU", after)
