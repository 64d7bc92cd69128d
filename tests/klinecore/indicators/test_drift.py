"""Nothing drifts: after millions of rows a window's value is that of the window alone."""

from __future__ import annotations

import numpy as np
import pytest
from reference.faces import apart, batch
from reference.indicators import ORACLES
from reference.prices import Klines, Values, walk

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
