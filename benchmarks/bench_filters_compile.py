"""What reading a filter costs: one that is good, and the worst that may be sent instead."""

from __future__ import annotations

import sys
import timeit
import tracemalloc
from pathlib import Path
from typing import Any

from klinecore.filters import FilterError, compile

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from reference.hostile_filters import HOSTILE

USUAL = 'rsi(14) @ "1h" < 30 and close > sma(200) and volume > 2 * sma(volume, 20)'
ROUNDS = 7


def refused(text: str) -> str:
    """What the refusal says, as it is shown."""
    try:
        compile(text)
    except FilterError as error:
        return str(error)
    raise AssertionError(f"{text[:40]!r} was read")


def refusal_ms(text: str) -> float:
    return min(timeit.repeat(lambda: refused(text), number=1, repeat=ROUNDS)) * 1e3


def bench_compile_a_filter(bench: Any) -> None:
    """What saving a trader costs: text to checked tree, normal form and needs."""
    made = bench(compile, USUAL)
    assert made.bars == {"": 200, "1h": 15}


def bench_refuse_hostile_filters(bench: Any) -> None:
    """What a hostile text costs: the slowest of all of them, and the largest."""
    shown = bench.once(lambda: [refused(text) for text in HOSTILE])
    assert len(shown) == len(HOSTILE)
    bench.quantity("slowest, ms", max(map(refusal_ms, HOSTILE)))
    tracemalloc.start()
    try:
        peaks = []
        for text in HOSTILE:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            refused(text)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    bench.quantity("largest, MB", max(peaks) / 1e6)
