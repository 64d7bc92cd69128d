"""Nothing drifts: after millions of rows a window's value is that of the window alone."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from reference.faces import apart, batch
from reference.indicators import ORACLES
from reference.prices import Klines, Values, walk

import klinecore as kc
from klinecore.indicators import CATALOG

WINDOWED = ["sma", "wma", "hma", "bb", "highest", "cci", "mfi", "ao", "correl", "chop", "stoch"]


def long_series(rows: int, volatility: float, spike: bool) -> Klines:
    """A walk that is pulled back to its start, so that prices stay prices."""
    random = np.random.default_rng(41)
    noise = random.normal(0, volatility, rows)
    close = np.exp(np.cumsum(noise) - np.linspace(0, noise.sum(), rows))
    if spike:
        close[rows // 2] *= 1e6
    wick = np.abs(random.normal(0, volatility / 3, (2, rows)))
    opened = np.concatenate([close[:1], close[:-1]])
    high = np.maximum(opened, close) * (1 + wick[0])
    low = np.minimum(opened, close) * (1 - wick[1])
    return Klines(opened, high, low, close, random.uniform(1, 100, rows))


def drift(rows: int, volatility: float, spike: bool) -> dict[str, float]:
    """How far the newest rows are from the definition, by indicator."""
    klines = long_series(rows, volatility, spike)
    newest = klines.part(slice(rows - 300, rows))
    found = {}
    for name in WINDOWED:
        entry = CATALOG[name]
        demanded = {"period": 20} if entry.parameters[0].name == "period" else {}
        parameters = entry.defaults(**demanded)
        theirs = ORACLES[name](newest, parameters)
        ours: tuple[Values, ...] = tuple(o[-200:] for o in batch(entry, klines, parameters))
        last = newest.part(slice(100, 300))
        found[name] = max(
            apart(entry, output, last, a, b[-200:])
            for output, a, b in zip(entry.outputs, ours, theirs, strict=True)
        )
    return found


@pytest.mark.parametrize(("volatility", "spike"), [(1e-3, False), (1e-3, True), (1e-6, False)])
def test_windows_do_not_drift_in_a_few_rows(volatility: float, spike: bool) -> None:
    found = drift(200_000, volatility, spike)
    assert {name: far for name, far in found.items() if far > 1e-11} == {}


@pytest.mark.slow
@pytest.mark.parametrize(("volatility", "spike"), [(1e-3, False), (1e-3, True), (1e-6, False)])
def test_windows_do_not_drift_in_ten_million_rows(volatility: float, spike: bool) -> None:
    found = drift(10_000_000, volatility, spike)
    assert {name: far for name, far in found.items() if far > 1e-11} == {}


def test_a_stretch_of_still_prices_leaves_no_deviation_behind() -> None:
    close = np.concatenate([walk(42, 500).close, np.full(100, 123.456)])
    upper, middle, lower, width = batch(
        CATALOG["bb"], Klines(close, close, close, close, close), (20, 2.0)
    )
    assert (upper[-80:] == 123.456).all()
    assert (middle[-80:] == 123.456).all()
    assert (width[-80:] == 0).all()


CHUNK = 1_000_000
REMEMBERED = 5_000  # rows after which an average of 50 has nothing left of what was before


def chunk_of(number: int, volatility: float, spike: float) -> Values:
    """Prices that end where they started; the first one of all is a spike."""
    noise = np.random.default_rng(number).normal(0, volatility, CHUNK)
    close: Values = np.exp(np.cumsum(noise) - np.linspace(0, noise.sum(), CHUNK))
    close[0] *= spike
    return close


def smoothed(values: Values, share: np.longdouble) -> np.longdouble:
    average = values[0]
    for value in values[1:]:
        average += (value - average) * share
    return np.longdouble(average)


def drift_of_updates(rows: int, volatility: float, spike: float) -> dict[str, float]:
    """How far streams are, after so many updates, from what long doubles make of the last rows.

    Of the window alone for averages and bands; of so many rows that what was before is forgotten
    for EMA and RSI.
    """
    sma, ema, rsi, bb = kc.Sma(20), kc.Ema(50), kc.Rsi(14), kc.Bb(20)
    for number in range(rows // CHUNK):
        # In the end it is as long as it can be since windows were computed anew.
        close = chunk_of(number, volatility, spike)[: CHUNK - (number + 1 == rows // CHUNK)]
        prices = close.tolist()
        for fed in (sma, ema, rsi, bb):
            deque(map(fed.update, prices), maxlen=0)
    assert sma.count == ema.count == rsi.count == bb.count == rows - 1
    exact = close[-REMEMBERED:].astype(np.longdouble)
    one = np.longdouble(1)
    mean = exact[-20:].sum() / 20
    deviation = np.sqrt(((exact[-20:] - mean) ** 2).sum() / 20)
    change = np.diff(exact)
    gain, loss = (smoothed(np.maximum(side * change, 0), one / 14) for side in (1, -1))
    average = smoothed(exact, 2 * one / 51)
    bands = bb.value
    return {
        "sma": float(abs(sma.value - mean) / mean),
        "ema": float(abs(ema.value - average) / average),
        "rsi": float(abs(rsi.value - 100 * gain / (gain + loss)) / 100),
        "bb, middle": float(abs(bands.middle - mean) / mean),
        "bb, upper": float(abs(bands.upper - mean - 2 * deviation) / mean),
        "bb, width": float(abs(bands.width * mean / 4 - deviation) / deviation),
    }


def far_off(found: dict[str, float]) -> None:
    """Within 1e-12; a deviation of a millionth of the price within 1e-9."""
    allowed = {"bb, width": 1e-9}
    assert {n: far for n, far in found.items() if not far <= allowed.get(n, 1e-12)} == {}


@pytest.mark.parametrize(("volatility", "spike"), [(1e-3, 1.0), (1e-3, 1e6), (1e-6, 1.0)])
def test_updates_do_not_drift_in_a_million(volatility: float, spike: float) -> None:
    far_off(drift_of_updates(CHUNK, volatility, spike))


@pytest.mark.slow
@pytest.mark.parametrize(("volatility", "spike"), [(1e-3, 1e6), (1e-6, 1.0)])
def test_updates_do_not_drift_in_a_hundred_million(volatility: float, spike: float) -> None:
    far_off(drift_of_updates(100 * CHUNK, volatility, spike))
