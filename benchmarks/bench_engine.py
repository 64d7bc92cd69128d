"""What live filters cost at a close: 1,000 of them over 300 predicates and 500 symbols."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

import klinecore as kc
from klinecore.filters import Engine, compile
from klinecore.market import Event

SYMBOLS = [f"COIN{number}USDT" for number in range(500)]
ROWS = 60
SWEEPS = 200
MINUTE_MS = 60_000
FIRST_MS = 1_770_000_000_000 // MINUTE_MS * MINUTE_MS
INDICATORS = ["rsi(14)", "ema(50)", "sma(20)", "bb(20, 2).width", "macd(12, 26, 9).hist"]
Body = list[list[Any]]


def rows_of(random: np.random.Generator, first: int, count: int) -> Body:
    """A REST answer of closed rows of a random walk."""
    prices = 100.0 * np.exp(random.normal(0, 1e-3, count))
    return [
        [
            FIRST_MS + (first + i) * MINUTE_MS, f"{c:.4f}", f"{c * 1.004:.4f}", f"{c * 0.996:.4f}",
            f"{c:.4f}", "5.000", FIRST_MS + (first + i + 1) * MINUTE_MS - 1, "500.00000", 100,
            "2.500", "250.00000", "0",
        ]
        for i, c in enumerate(prices)
    ]  # fmt: skip


def market_of(random: np.random.Generator) -> kc.Market:
    made = kc.Market(SYMBOLS, ["1m"], ROWS + 2 * SWEEPS)
    for symbol in SYMBOLS:
        feed(made, symbol, rows_of(random, 0, ROWS), notify=False)
    return made


def feed(market: kc.Market, symbol: str, rows: Body, *, notify: bool = True) -> None:
    market.apply_klines(
        symbol, "1m", json.dumps(rows).encode(), closed_before_ms=1 << 60, notify=notify
    )


def predicates() -> list[str]:
    """300 distinct ones over five indicators."""
    levels = np.linspace(0.0, 2.0, 60)
    middles = [50.0, 100.0, 100.0, 0.01, 0.1]
    return [
        f"{name} > {middle * level:.6f}"
        for name, middle in zip(INDICATORS, middles, strict=True)
        for level in levels
    ]


def engine_of(market: kc.Market, texts: list[str]) -> Engine:
    made = Engine(market)
    for text in texts:
        made.add(compile(text), "1m")
    made.pump(market.drain())
    return made


def sweeps(market: kc.Market, engines: list[Engine]) -> list[float]:
    """Microseconds of each engine's fastest sweep over all symbols, from events to firings.

    They take turns at each close, so that what slows the machine for a while slows all of them.
    """
    rows = rows_of(np.random.default_rng(1), 0, len(SYMBOLS))
    fastest = [np.inf] * len(engines)
    for sweep in range(SWEEPS):
        # The same price again: what is measured is evaluating, not telling of firings.
        for symbol, row in zip(SYMBOLS, rows, strict=True):
            opened = FIRST_MS + (ROWS + sweep) * MINUTE_MS
            feed(market, symbol, [[opened, *row[1:6], opened + MINUTE_MS - 1, *row[7:]]])
        events: list[Event] = market.drain()
        for place, engine in enumerate(engines):
            begun = time.perf_counter_ns()
            engine.pump(events)
            taken = (time.perf_counter_ns() - begun) / 1e3
            fastest[place] = min(fastest[place], taken)
    return fastest


def bench_thousand_filters(bench: Any) -> None:
    """What is added to a close by 300 predicates and 1,000 conditions over them."""
    random = np.random.default_rng(0)
    market = market_of(random)
    some = predicates()
    few = engine_of(market, some[::60])
    many = engine_of(
        market,
        [
            f"{some[i % 300]} and {some[(7 * i + 1) % 300]} and not {some[(11 * i + 5) % 300]}"
            for i in range(1_000)
        ],
    )
    assert many.step_count < 4_000
    base, whole = bench.once(sweeps, market, [few, many])
    assert many.counters()["started_anew"] == 0
    bench.quantity("sweep of 5 indicators and 5 filters, us", base)
    bench.quantity("sweep of 1,000 filters, us", whole)
    bench.quantity("added by predicates and filters, us", whole - base)
