"""What a warm restart costs, and what another process pays for reading."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import klinecore as kc
from klinecore.interval import INTERVAL_MS, open_time_ms
from klinecore.snapshot import encode, restore

SYMBOLS = [f"COIN{number}USDT" for number in range(500)]
INTERVALS = ["1m", "5m", "15m", "1h"]
CAPACITY = 500
NOW_MS = 1_770_000_000_000
ROUNDS = 5


def history(interval: str) -> bytes:
    """A REST answer of CAPACITY closed rows."""
    length = INTERVAL_MS[interval]
    first = open_time_ms(interval, NOW_MS) - CAPACITY * length
    rows = [
        [
            open_ms, "57432.15000000", "57445.00000000", "57432.14000000", "57444.99000000",
            f"{number}.98730000", open_ms + length - 1, f"573588112{number:03}.12345678",
            214 + number, "4.24300000", "243588112.12345678", "0",
        ]
        for number, open_ms in enumerate(range(first, first + CAPACITY * length, length))
    ]  # fmt: skip
    return json.dumps(rows).encode()


@pytest.fixture(scope="module")
def market() -> kc.Market:
    """500 symbols, 4 intervals, 500 rows."""
    filled = kc.Market(SYMBOLS, INTERVALS, CAPACITY)
    for interval in INTERVALS:
        body = history(interval)
        for symbol in SYMBOLS:
            filled.apply_klines(symbol, interval, body, closed_before_ms=NOW_MS, notify=False)
    return filled


def chunk_times(market: kc.Market) -> tuple[list[bytes], list[float]]:
    """All chunks, and the seconds the event loop would stand still for each."""
    chunks, taken = [], []
    steps = encode(market)
    while True:
        before = time.perf_counter()
        chunk = next(steps, None)
        taken.append(time.perf_counter() - before)
        if chunk is None:
            return chunks, taken
        chunks.append(chunk)


def bench_encode(bench: Any, market: kc.Market) -> None:
    """A snapshot of everything, in the chunks the loop takes between its other work."""
    rounds = [chunk_times(market) for _ in range(ROUNDS)]
    chunks = bench.once(lambda: rounds[0][0])
    size = sum(map(len, chunks))
    assert size > 90 * sum(map(len, market))
    bench.quantity("MB", size / 1e6)
    bench.quantity("s per GB", min(sum(taken) for _, taken in rounds) / size * 1e9)
    # Of each chunk the fastest round: the slowest is when something else had the processor.
    worst = max(map(min, zip(*(taken for _, taken in rounds), strict=True)))
    bench.quantity("longest chunk, ms", worst * 1e3)


def bench_restore(bench: Any, market: kc.Market) -> None:
    """All of it back into an empty market: verified whole, then copied."""
    data = b"".join(encode(market))

    def again() -> tuple[float, kc.Market]:
        empty = kc.Market(SYMBOLS, INTERVALS, CAPACITY)
        before = time.perf_counter()
        counts = restore(empty, data)
        assert counts.rows == len(SYMBOLS) * len(INTERVALS) * CAPACITY
        return time.perf_counter() - before, empty

    rounds = [again()[0] for _ in range(ROUNDS)]
    _, restored = bench.once(again)
    assert restored["COIN7USDT", "1h"].klines() == market["COIN7USDT", "1h"].klines()
    bench.quantity("s", min(rounds))


def bench_attached_read(bench: Any, tmp_path: Path) -> None:
    """500 rows out of another process's arena, changed since the last look: a whole copy.

    Its peer copies the same bytes without asking whether they fit each other.
    """
    market = kc.Market(["BTCUSDT"], ["1m"], CAPACITY, path=str(tmp_path / "arena"))
    body = history("1m")
    market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=NOW_MS, notify=False)
    series = kc.attach(tmp_path / "arena")["BTCUSDT", "1m"]
    live = market["BTCUSDT", "1m"]
    attached = kc.attach(tmp_path / "arena")

    def read() -> Any:
        return attached["BTCUSDT", "1m"].columns()  # a new object has no copy to share

    columns = bench(read)
    np.testing.assert_array_equal(columns, live.columns())
    np.testing.assert_array_equal(columns, series.columns())
    bench.peer("plain copy", live.snapshot)
    assert attached.retries == 0


def bench_attached_look(bench: Any, tmp_path: Path) -> None:
    """The same when nothing has changed: the copy is shared."""
    market = kc.Market(["BTCUSDT"], ["1m"], CAPACITY, path=str(tmp_path / "arena"))
    body = history("1m")
    market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=NOW_MS, notify=False)
    series = kc.attach(tmp_path / "arena")["BTCUSDT", "1m"]
    columns = bench(series.columns)
    assert columns.shape == (9, CAPACITY)
