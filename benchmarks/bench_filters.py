"""What filters cost over 500 symbols x 500 klines in memory, beside TA-Lib and NumPy in one run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import klinecore as kc
from klinecore.filters import (
    Filter,
    Replay,
    compile,
    evaluate,
    expression_series,
    parse_expression,
    replay,
)
from klinecore.interval import INTERVAL_MS, open_time_ms

talib = pytest.importorskip("talib", reason="TA-Lib is in the bench extra")

SYMBOLS = [f"COIN{number}USDT" for number in range(500)]
ROWS = 500
NOW_MS = 1_770_000_000_000
Values = NDArray[np.float64]
Firings = list[tuple[str, int]]


def history(random: np.random.Generator, interval: str) -> bytes:
    """A REST answer of a random walk's closed rows."""
    length = INTERVAL_MS[interval]
    first = open_time_ms(interval, NOW_MS) - ROWS * length
    close = 100.0 * np.exp(np.cumsum(random.normal(0, 1e-2, ROWS)))
    volume = np.exp(random.normal(3, 1, ROWS))
    rows = [
        [
            opened, f"{c:.4f}", f"{c * 1.004:.4f}", f"{c * 0.996:.4f}", f"{c:.4f}", f"{v:.3f}",
            opened + length - 1, f"{v * c:.5f}", 100, f"{v / 2:.3f}", f"{v * c / 2:.5f}", "0",
        ]
        for opened, c, v in zip(
            range(first, first + ROWS * length, length), close, volume, strict=True
        )
    ]  # fmt: skip
    return json.dumps(rows).encode()


@pytest.fixture(scope="module")
def market() -> kc.Market:
    random = np.random.default_rng(0)
    made = kc.Market(SYMBOLS, ["1m", "15m"], ROWS)
    for symbol in SYMBOLS:
        for interval in ("1m", "15m"):
            body = history(random, interval)
            made.apply_klines(symbol, interval, body, closed_before_ms=NOW_MS, notify=False)
    return made


def edges(market: kc.Market, condition: Callable[[kc.Series], tuple[Any, Any]]) -> Firings:
    """Where a condition became true, symbol by symbol; it says where it is true and known."""
    fired: Firings = []
    for symbol in SYMBOLS:
        series = market[symbol, "1m"]
        true, known = condition(series)
        rises = np.flatnonzero(true[1:] & ~true[:-1] & known[:-1]) + 1
        fired += [(symbol, time) for time in series.open_time_ms[rises].tolist()]
    return sorted(fired)


def shown(found: Replay) -> Firings:
    places = found.symbol_index.tolist()
    return sorted(
        (found.symbols[place], time)
        for place, time in zip(places, found.open_time_ms.tolist(), strict=True)
    )


def replayed(bench: Any, market: kc.Market, filter: Filter) -> Firings:
    found: Replay = bench(replay, filter, market, "1m")
    assert found.rows == len(SYMBOLS) * ROWS
    assert len(found.open_time_ms) > 100
    return shown(found)


def bench_replay_oversold(bench: Any, market: kc.Market) -> None:
    """All firings of one filter in the memory of 500 symbols, rows copied and all."""

    def theirs(series: kc.Series) -> tuple[Any, Any]:
        close = series.close
        rsi, mean = talib.RSI(close, 14), talib.SMA(close, 200)
        return (rsi < 30) & (close > mean), ~np.isnan(rsi) & ~np.isnan(mean)

    filter = compile("rsi(14) < 30 and close > sma(200)")
    found = replayed(bench, market, filter)
    expected = bench.peer("TA-Lib and NumPy", edges, market, theirs)
    # A sum that ends in other digits may put a close on the other side of its mean.
    assert len(set(found) ^ set(expected)) <= 2


def bench_replay_cross(bench: Any, market: kc.Market) -> None:
    def theirs(series: kc.Series) -> tuple[Any, Any]:
        fast, slow = talib.EMA(series.close, 12), talib.EMA(series.close, 26)
        mean = talib.SMA(series.volume, 20)
        above = np.zeros(ROWS, dtype=bool)
        above[1:] = (fast[:-1] <= slow[:-1]) & (fast[1:] > slow[1:])
        known = ~np.isnan(mean)
        known[1:] &= ~np.isnan(slow[:-1])
        known[0] = False
        return above & (series.volume > 2 * mean), known

    filter = compile("crosses_above(ema(12), ema(26)) and volume > 2 * sma(volume, 20)")
    found = replayed(bench, market, filter)
    expected = bench.peer("TA-Lib and NumPy", edges, market, theirs)
    assert len(set(found) ^ set(expected)) <= 2


def bench_replay_as_of(bench: Any, market: kc.Market) -> None:
    """The same with a part on another interval."""
    replayed(bench, market, compile('rsi(14) @ "15m" < 50 and close > close[1]'))


def bench_replay_across(bench: Any, market: kc.Market) -> None:
    """A place among 500 symbols at each of 500 closes."""
    replayed(bench, market, compile("top(mom(10), 10)"))


def bench_evaluate(bench: Any, market: kc.Market) -> None:
    """Now, with every part by its name."""
    found = bench(evaluate, compile("rsi(14) < 30 and close > sma(200)"), market, "1m")
    assert not np.isnan(found.values).any()
    assert {"rsi(close, 14)", "sma(close, 200)", "close"} <= found.parts.keys()


def bench_expression_of_one_symbol(bench: Any, market: kc.Market) -> None:
    """A line under a chart: 500 klines of one symbol."""
    line = parse_expression("macd(12, 26, 9).hist / close")
    times, values = bench(expression_series, line, market, SYMBOLS[0], "1m")
    assert len(times) == len(values) == ROWS
