"""Calls an indicator by its name, and measures how far two of its outputs are apart."""

from __future__ import annotations

import numpy as np
from reference.prices import Klines, Values

import klinecore.indicators as ki
from klinecore.indicators.entry import Indicator
from klinecore.indicators.kernel import Stream

# Outputs that cross zero are measured against what they are made of.
BOUNDED = {
    "rsi": 100.0, "stoch": 100.0, "stochf": 100.0, "stochrsi": 100.0, "cci": 100.0,
    "roc": 100.0, "willr": 100.0, "mfi": 100.0, "adx": 100.0, "plus_di": 100.0,
    "minus_di": 100.0, "ppo": 100.0, "ultosc": 100.0, "aroon": 100.0, "cmf": 1.0,
    "chop": 100.0, "correl": 1.0, "bb.width": 1.0,
}  # fmt: skip
OF_PRICES = {"macd", "ao", "mom", "linreg", "linreg_slope"}


def batch(entry: Indicator, klines: Klines, parameters: tuple[object, ...]) -> tuple[Values, ...]:
    """All outputs over arrays."""
    given = {p.name: value for p, value in zip(entry.parameters, parameters, strict=True)}
    made = getattr(ki, entry.name)(*klines.columns(entry.inputs), **given)
    return tuple(made) if isinstance(made, tuple) else (made,)


def stream(entry: Indicator, parameters: tuple[object, ...]) -> Stream:
    """A stream with these parameters."""
    given = {p.name: value for p, value in zip(entry.parameters, parameters, strict=True)}
    made = getattr(ki, entry.stream)(**given)
    assert isinstance(made, Stream)
    return made


def apart(entry: Indicator, output: str, klines: Klines, ours: Values, theirs: Values) -> float:
    """Largest difference where theirs is defined, relative to the value or to what it is made of.

    Infinite if one of them is defined where the other is not.
    """
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return np.inf
    unit: float | Values = BOUNDED.get(f"{entry.name}.{output}", BOUNDED.get(entry.name, 0.0))
    if entry.name in OF_PRICES:
        unit = np.maximum.accumulate(np.abs(klines.close))
    difference = np.abs(ours - theirs)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(difference == 0, 0.0, difference / np.maximum(np.abs(theirs), unit))
    return float(np.nanmax(relative, initial=0.0))


def first_row(values: Values) -> int:
    """The first row with a value; the number of rows if there is none."""
    there = np.flatnonzero(~np.isnan(values))
    return int(there[0]) if there.size else len(values)
