"""What indicators cost: over arrays, and row by row, beside TA-Lib in the same run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import klinecore as kc

talib = pytest.importorskip("talib", reason="TA-Lib is in the bench extra")
stream = talib.stream

WINDOW = 500
LONG = 100_000
UPDATES = 1_000
Values = NDArray[np.float64]


def klines(rows: int) -> tuple[Values, Values, Values, Values]:
    """High, low, close and volume of a random walk."""
    random = np.random.default_rng(0)
    close = 100.0 * np.exp(np.cumsum(random.normal(0, 1e-3, rows)))
    high = close * (1 + np.abs(random.normal(0, 1e-3, rows)))
    low = close * (1 - np.abs(random.normal(0, 1e-3, rows)))
    return high, low, close, random.uniform(1, 100, rows)


def close_of(rows: int) -> Values:
    return klines(rows)[2]


def beside(bench: Any, ours: Callable[..., Any], theirs: Callable[..., Any], *args: Any) -> None:
    """Ours is measured, TA-Lib's is the peer; both must say the same."""
    made = bench(ours, *args, items=len(args[0]))
    expected = bench.peer("TA-Lib", theirs, *args, items=len(args[0]))
    if isinstance(expected, tuple):
        made, expected = made[0], expected[0]
    np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-9)


# A window of 500 rows, as a backfill of one series: calls and allocations weigh as much as rows.


def bench_sma_window(bench: Any) -> None:
    beside(bench, lambda c: kc.sma(c, 20), lambda c: talib.SMA(c, 20), close_of(WINDOW))


def bench_ema_window(bench: Any) -> None:
    beside(bench, lambda c: kc.ema(c, 50), lambda c: talib.EMA(c, 50), close_of(WINDOW))


def bench_rsi_window(bench: Any) -> None:
    beside(bench, kc.rsi, talib.RSI, close_of(WINDOW))


def bench_macd_window(bench: Any) -> None:
    beside(bench, kc.macd, talib.MACD, close_of(WINDOW))


def bench_bb_window(bench: Any) -> None:
    beside(bench, kc.bb, lambda c: talib.BBANDS(c, 20, 2, 2), close_of(WINDOW))


def bench_atr_window(bench: Any) -> None:
    beside(bench, kc.atr, talib.ATR, *klines(WINDOW)[:3])


def bench_adx_window(bench: Any) -> None:
    beside(bench, kc.adx, talib.ADX, *klines(WINDOW)[:3])


def bench_stoch_window(bench: Any) -> None:
    theirs = partial(talib.STOCH, fastk_period=14, slowk_period=3, slowd_period=3)
    beside(bench, kc.stoch, theirs, *klines(WINDOW)[:3])


def bench_cci_window(bench: Any) -> None:
    beside(bench, kc.cci, lambda *hlc: talib.CCI(*hlc, 20), *klines(WINDOW)[:3])


def bench_mfi_window(bench: Any) -> None:
    beside(bench, kc.mfi, lambda *hlcv: talib.MFI(*hlcv, 14), *klines(WINDOW))


# A long array: rows weigh, calls do not.


def bench_sma_rows(bench: Any) -> None:
    beside(bench, lambda c: kc.sma(c, 20), lambda c: talib.SMA(c, 20), close_of(LONG))


def bench_ema_rows(bench: Any) -> None:
    beside(bench, lambda c: kc.ema(c, 50), lambda c: talib.EMA(c, 50), close_of(LONG))


def bench_rsi_rows(bench: Any) -> None:
    beside(bench, kc.rsi, talib.RSI, close_of(LONG))


def bench_highest_rows(bench: Any) -> None:
    beside(bench, lambda c: kc.highest(c, 200), lambda c: talib.MAX(c, 200), close_of(LONG))


def bench_bb_rows(bench: Any) -> None:
    beside(bench, kc.bb, lambda c: talib.BBANDS(c, 20, 2, 2), close_of(LONG))


# One closed or forming row through Python, as a script with one symbol pays it.


def repeated(call: Callable[..., Any], row: tuple[float, ...]) -> Callable[[], None]:
    """A thousand calls; the loop is about a fifth of the cheapest."""
    if len(row) == 1:
        (value,) = row

        def single() -> None:
            for _ in range(UPDATES):
                call(value)

        return single
    first, second, third = row

    def triple() -> None:
        for _ in range(UPDATES):
            call(first, second, third)

    return triple


def opened(
    ours: Any, theirs: Callable[..., Any], *columns: Values
) -> tuple[Any, tuple[float, ...]]:
    """Both fed with the same rows; TA-Lib's handle and the newest row."""
    rows = [tuple(map(float, row)) for row in zip(*columns, strict=True)]
    for row in rows:
        value = ours.update(*row)
    handle = theirs(*columns)
    np.testing.assert_allclose(np.atleast_1d(value)[0], np.atleast_1d(handle.value)[0], rtol=1e-9)
    return handle, rows[-1]


def updates_beside(bench: Any, ours: Any, theirs: Callable[..., Any], *columns: Values) -> None:
    handle, row = opened(ours, theirs, *columns)
    bench(repeated(ours.update, row), items=UPDATES)
    bench.peer("TA-Lib", repeated(handle.update, row), items=UPDATES)


def previews_beside(bench: Any, ours: Any, theirs: Callable[..., Any], *columns: Values) -> None:
    handle, row = opened(ours, theirs, *columns)
    before = ours.value
    bench(repeated(ours.preview, row), items=UPDATES)
    bench.peer("TA-Lib", repeated(handle.peek, row), items=UPDATES)
    assert ours.value == before


def bench_sma_update(bench: Any) -> None:
    updates_beside(bench, kc.Sma(20), lambda c: stream.SMA(c, 20), close_of(WINDOW))


def bench_ema_update(bench: Any) -> None:
    updates_beside(bench, kc.Ema(50), lambda c: stream.EMA(c, 50), close_of(WINDOW))


def bench_rsi_update(bench: Any) -> None:
    updates_beside(bench, kc.Rsi(), stream.RSI, close_of(WINDOW))


def bench_macd_update(bench: Any) -> None:
    updates_beside(bench, kc.Macd(), stream.MACD, close_of(WINDOW))


def bench_bb_update(bench: Any) -> None:
    """Four outputs to TA-Lib's three."""
    updates_beside(bench, kc.Bb(), lambda c: stream.BBANDS(c, 20, 2.0, 2.0), close_of(WINDOW))


def bench_atr_update(bench: Any) -> None:
    updates_beside(bench, kc.Atr(), stream.ATR, *klines(WINDOW)[:3])


def bench_adx_update(bench: Any) -> None:
    updates_beside(bench, kc.Adx(), stream.ADX, *klines(WINDOW)[:3])


def bench_stoch_update(bench: Any) -> None:
    theirs = partial(stream.STOCH, fastk_period=14, slowk_period=3, slowd_period=3)
    updates_beside(bench, kc.Stoch(), theirs, *klines(WINDOW)[:3])


def bench_rsi_preview(bench: Any) -> None:
    previews_beside(bench, kc.Rsi(), stream.RSI, close_of(WINDOW))


def bench_bb_preview(bench: Any) -> None:
    """Four outputs to TA-Lib's three."""
    previews_beside(bench, kc.Bb(), lambda c: stream.BBANDS(c, 20, 2.0, 2.0), close_of(WINDOW))


def bench_adx_preview(bench: Any) -> None:
    previews_beside(bench, kc.Adx(), stream.ADX, *klines(WINDOW)[:3])
