"""Values are TA-Lib's from the first one on; where digits are at stake, the definition's."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from reference.faces import apart, batch, first_row
from reference.indicators import ORACLES
from reference.prices import Klines, coarse, hostile, seeded
from reference.tradingview import TRADINGVIEW
from reference.turns import TURNS

from klinecore.indicators import CATALOG
from klinecore.indicators.entry import Indicator

PERIODS = (2, 3, 14, 20, 200)
ORDINARY = seeded()
HOSTILE = hostile() | {"coarse": coarse(36, 4_000)}
# TA-Lib has no smoothing of k there.
FIXED: dict[str, dict[str, object]] = {"stochrsi": {"smooth": 1}}
# After a spike of a million TA-Lib's own running sums have lost digits: ours are held to the
# definition below. Its RSI is nearly constant then, and stochrsi a quotient of what it varies by.
LOST = {"hma": 1e-8, "stochrsi": 1e-7, "kama": 1e-6, "ultosc": 1e-7}


def variants(entry: Indicator) -> list[tuple[object, ...]]:
    """Parameters to try: some periods, and the defaults."""
    fixed = FIXED.get(entry.name, {})
    if not any(p.name == "period" for p in entry.parameters):
        return [entry.defaults(**fixed)]
    return [entry.defaults(period=period, **fixed) for period in PERIODS]


@pytest.fixture(scope="session")
def calls() -> dict:
    pytest.importorskip("talib", reason="TA-Lib is in the test extra")
    from reference.talib_calls import CALLS

    return CALLS


def far_from_talib(entry: Indicator, klines: Klines, calls: dict, limit: float) -> list[str]:
    far = []
    for parameters in variants(entry):
        theirs = calls[entry.name](klines, parameters)
        ours = batch(entry, klines, parameters)
        first = entry.lookback(*parameters)
        for output, a, b in zip(entry.outputs, ours, theirs, strict=False):
            if entry.name == "supertrend" or entry.talib.startswith("CDL"):
                # Whole numbers have no NaN: TA-Lib writes 0 before the first one.
                first = max(first, 2)
                b = np.where(np.arange(len(b)) < first, a, b)
            distance = apart(entry, output, klines, a, b)
            if not distance <= limit or (first_row(a) != min(first, len(a)) and first > 2):
                far.append(f"{output}{parameters}: {distance:.1e}, from {first_row(a)}")
    return far


@pytest.mark.parametrize("prices", ORDINARY)
@pytest.mark.parametrize("name", [name for name in CATALOG if CATALOG[name].talib])
def test_values_are_talibs_from_the_first_one_on(name: str, prices: str, calls: dict) -> None:
    entry = CATALOG[name]
    assert far_from_talib(entry, ORDINARY[prices], calls, entry.exact) == []


@pytest.mark.parametrize("prices", HOSTILE)
@pytest.mark.parametrize("name", [name for name in CATALOG if CATALOG[name].talib])
def test_values_are_talibs_on_hostile_prices(name: str, prices: str, calls: dict) -> None:
    limit = LOST.get(name, 1e-9) if prices == "spiked" else 1e-9
    assert far_from_talib(CATALOG[name], HOSTILE[prices], calls, limit) == []


@pytest.mark.parametrize("prices", ORDINARY | HOSTILE)
@pytest.mark.parametrize("name", ORACLES)
def test_values_are_the_definitions(name: str, prices: str) -> None:
    entry, klines = CATALOG[name], (ORDINARY | HOSTILE)[prices]
    for parameters in variants(entry):
        theirs = ORACLES[name](klines, parameters)
        for output, a, b in zip(
            entry.outputs, batch(entry, klines, parameters), theirs, strict=True
        ):
            distance = apart(entry, output, klines, a, b)
            # Where a spike has passed, what a volume-weighted band was cannot come back.
            limit = 1e-11 if name == "vwap" else 1e-12
            assert distance <= limit, f"{output}{parameters}"


def turning_variants(entry: Indicator) -> list[tuple[object, ...]]:
    """Every word, and for windows some that are shorter than the default."""
    words = [p for p in entry.parameters if p.kind == "choice"]
    made = [entry.defaults(**{words[0].name: w}) for w in words[0].choices] if words else []
    periods = [p.name for p in entry.parameters if p.kind == "period"]
    if periods:
        made.append(entry.defaults(**dict(zip(periods, (40, 3, 7), strict=False))))
    return [entry.defaults(), *made]


@pytest.mark.parametrize("prices", ORDINARY | HOSTILE)
@pytest.mark.parametrize("name", TURNS)
def test_patterns_and_levels_are_as_described(name: str, prices: str) -> None:
    entry, klines = CATALOG[name], (ORDINARY | HOSTILE)[prices]
    klines = klines.part(slice(0, 700))
    for parameters in turning_variants(entry):
        theirs = TURNS[name](klines, parameters)
        for output, a, b in zip(
            entry.outputs, batch(entry, klines, parameters), theirs, strict=True
        ):
            assert apart(entry, output, klines, a, b) <= 1e-12, f"{output}{parameters}"


@pytest.mark.parametrize("name", [n for n in CATALOG if CATALOG[n].talib.startswith("CDL")])
def test_every_pattern_is_found_where_it_is_held_against_talib(name: str) -> None:
    found = batch(CATALOG[name], HOSTILE["coarse"], CATALOG[name].defaults())[0]
    assert np.count_nonzero(np.nan_to_num(found)) > 0


@pytest.mark.parametrize("prices", ORDINARY)
@pytest.mark.parametrize("name", TRADINGVIEW)
def test_tradingviews_values_where_they_differ(name: str, prices: str) -> None:
    entry, klines = CATALOG[name], ORDINARY[prices]
    for period in ({"period": 14}, {"period": 3}, {}):
        given = period if any(p.name == "period" for p in entry.parameters) else {}
        parameters = entry.defaults(compat="tradingview", **given)
        theirs = TRADINGVIEW[name](klines, parameters[:-1])
        for output, a, b in zip(
            entry.outputs, batch(entry, klines, parameters), theirs, strict=True
        ):
            assert apart(entry, output, klines, a, b) <= 1e-11, f"{output}{parameters}"


@pytest.mark.parametrize("name", sorted(TRADINGVIEW))
def test_the_two_ways_do_differ_somewhere(name: str) -> None:
    entry = CATALOG[name]
    prices = HOSTILE["flat"] if name in {"rsi", "stochrsi"} else ORDINARY["walk"]
    here, there = (
        batch(entry, prices, entry.defaults(compat=word)) for word in ("talib", "tradingview")
    )
    assert any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(here, there, strict=True))


def test_ema_may_start_from_the_first_value() -> None:
    close = ORDINARY["walk"].close
    entry = CATALOG["ema"]
    (ours,) = batch(entry, ORDINARY["walk"], entry.defaults(period=20, seed="first"))
    expected = close.copy()
    for row in range(1, len(close)):
        expected[row] = expected[row - 1] + (close[row] - expected[row - 1]) * 2 / 21
    np.testing.assert_allclose(ours, expected, rtol=1e-13)


@pytest.mark.parametrize("anchor", ["none", "day", "week"])
def test_vwap_starts_anew_at_its_anchor(anchor: str) -> None:
    entry = CATALOG["vwap"]
    klines = ORDINARY["wild"]
    parameters = (anchor, 2.0)
    theirs = ORACLES["vwap"](klines, parameters)
    for output, a, b in zip(entry.outputs, batch(entry, klines, parameters), theirs, strict=True):
        assert apart(entry, output, klines, a, b) <= 1e-11


def month(path: Path) -> Klines:
    with gzip.open(path, "rt", encoding="ascii") as file:
        rows = [[float(row[i]) for i in range(1, 6)] for row in list(csv.reader(file))[1:]]
    return Klines(*np.ascontiguousarray(np.array(rows).T))


def test_values_are_talibs_on_a_real_month(data_dir: Path, calls: dict) -> None:
    far = []
    for path in sorted((data_dir / "klines/um/1m/2026-02").glob("*.csv.gz"))[:3]:
        klines = month(path)
        for name in calls:
            entry = CATALOG[name]
            far += [f"{name} {fault}" for fault in far_from_talib(entry, klines, calls, 1e-9)]
    assert far == []
