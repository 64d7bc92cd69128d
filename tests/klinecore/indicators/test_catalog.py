"""The catalog is whole: every indicator has both faces, and the written files follow it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from reference.faces import batch, first_row
from reference.prices import coarse, joined, walk

import klinecore as kc
import klinecore.indicators as ki
from klinecore.indicators import CATALOG
from klinecore.indicators.catalog import FAMILIES
from klinecore.indicators.writing import written

TIER_1 = {
    "rsi", "ema", "rma", "bb", "sma", "crosses_above", "crosses_below", "mfi", "atr", "adx",
    "plus_di", "minus_di", "macd", "stoch", "stochf", "cci", "vwap", "highest", "lowest", "hl2",
    "hlc3", "ohlc4",
}  # fmt: skip
TIER_2 = {
    "heikin_ashi", "roc", "sar", "tema", "stochrsi", "chop", "correl", "hma", "wma", "dema", "t3",
    "mom", "ao", "keltner", "obv", "supertrend", "donchian", "willr", "natr",
}  # fmt: skip
TIER_3 = {"pvi", "engulfing", "divergence", "volume_nodes"}
BESIDES = {
    "change", "pivot_high", "pivot_low", "doji", "hammer", "inverted_hammer", "shooting_star",
    "hanging_man", "harami", "morning_star", "evening_star", "piercing", "dark_cloud_cover",
    "three_white_soldiers", "three_black_crows", "inside_bar", "kama", "linreg", "linreg_slope",
    "ppo", "ultosc", "aroon", "ichimoku", "cmf",
}  # fmt: skip


def test_the_set_is_covered() -> None:
    assert set(CATALOG) == TIER_1 | TIER_2 | TIER_3 | BESIDES
    assert {entry.family for entry in CATALOG.values()} == set(FAMILIES)


@pytest.mark.parametrize("path", written(), ids=lambda path: path.name)
def test_what_is_written_from_the_catalog_is_up_to_date(path: object) -> None:
    if not path.parent.is_dir():  # type: ignore[attr-defined]
        pytest.skip("not a checkout")
    expected = written()[path]  # type: ignore[index]
    assert path.read_text(encoding="utf-8") == expected, (  # type: ignore[attr-defined]
        "run python -m klinecore.indicators.writing"
    )


@pytest.mark.parametrize("name", CATALOG)
def test_an_indicator_has_both_faces_with_its_parameters(name: str) -> None:
    entry = CATALOG[name]
    function, made = getattr(kc, name), getattr(kc, entry.stream)
    assert function is getattr(ki, name)
    parameters = [p.name for p in entry.parameters]
    assert sorted(inspect.signature(made).parameters) == sorted(parameters)
    taken = [*entry.inputs, *parameters, "out"]
    assert sorted(inspect.signature(function).parameters) == sorted(taken)
    for parameter in entry.parameters:
        default = inspect.signature(made).parameters[parameter.name].default
        assert default == (
            inspect.Parameter.empty if parameter.default is None else parameter.default
        )
    assert function.__doc__.startswith(entry.title)
    assert entry.formula.split()[0] in function.__doc__


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("period", [1, 2, 7, 30])
@pytest.mark.parametrize("word", [0, 1])
def test_the_lookback_is_the_first_row_with_every_output(name: str, period: int, word: int) -> None:
    entry = CATALOG[name]
    given: dict[str, object] = {
        p.name: min(max(period, p.low), p.high) if p.kind == "period" else p.choices[word]
        for p in entry.parameters
        if p.kind != "number"
    }
    parameters = entry.defaults(**given)
    outputs = batch(entry, walk(31, 300), parameters)
    first = max(map(first_row, outputs))
    if entry.sparse:
        assert min(map(first_row, outputs)) >= entry.lookback(*parameters)
    else:
        assert first == entry.lookback(*parameters)


def _after_another_past(name: str, word: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All outputs at the first row that reads no more than what two series share, in units."""
    entry = CATALOG[name]
    given: dict[str, object] = {
        p.name: 7 + 2 * place if p.kind == "period" else p.choices[word]
        for place, p in enumerate(entry.parameters)
        if p.kind != "number"
    }
    parameters = entry.defaults(**given)
    shared = walk(seed, entry.lookback(*parameters) + 1)
    pasts = [walk(seed + 1, 50, price=90.0), walk(seed + 2, 50, price=120.0)]
    newest = [
        np.array([output[-1] for output in batch(entry, joined(past, shared), parameters)])
        for past in pasts
    ]
    assert entry.sparse or np.isfinite(newest).all()
    return newest[0], newest[1]


@pytest.mark.parametrize("word", [0, 1])
@pytest.mark.parametrize("name", [n for n in CATALOG if CATALOG[n].memory == "window"])
def test_a_window_forgets_what_was_before_it(name: str, word: int) -> None:
    for seed in range(10):
        first, second = _after_another_past(name, word, 100 + 3 * seed)
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("word", [0, 1])
@pytest.mark.parametrize("name", [n for n in CATALOG if CATALOG[n].memory == "recursive"])
def test_what_is_recursive_shows_what_was_before(name: str, word: int) -> None:
    apart = [_after_another_past(name, word, 100 + 3 * seed) for seed in range(10)]
    assert any(np.abs(first / second - 1).max() > 1e-6 for first, second in apart)


@pytest.mark.parametrize("name", [n for n in CATALOG if CATALOG[n].condition])
def test_a_condition_is_true_or_false(name: str) -> None:
    entry = CATALOG[name]
    given = {p.name: p.choices[-1] for p in entry.parameters if p.kind == "choice"}
    ticks = coarse(33, 50_000)
    columns = [ticks.open, ticks.close]
    if entry.inputs != ("first", "second"):
        columns = list(ticks.columns(entry.inputs))
    output = getattr(kc, name)(*columns, **given)
    assert set(output[entry.lookback(*entry.defaults(**given)) :]) == {0.0, 1.0}


def test_defaults_name_what_is_missing_or_unknown() -> None:
    with pytest.raises(ValueError, match=r"sma: missing \['period'\]"):
        CATALOG["sma"].defaults()
    with pytest.raises(ValueError, match=r"rsi: unknown \['length'\]"):
        CATALOG["rsi"].defaults(length=3)


def test_the_two_average_seeds_of_the_literature_are_far_apart_for_long() -> None:
    close = walk(32, 700).close
    apart = np.abs(ki.ema(close, 200, seed="first") / ki.ema(close, 200) - 1)
    assert apart[499] > 1e-6
