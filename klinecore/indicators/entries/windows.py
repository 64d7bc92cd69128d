"""Windows: their lines of the catalog."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import ANY, DEMANDED, VALUE, Indicator, period

__all__ = ["ENTRIES"]

_entry = partial(Indicator, family="windows")

ENTRIES = [
    _entry(
        name="highest", title="Largest value of a window", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1", formula="max(source, period)",
        source="van Herk, 1992, for the method", talib="MAX", exact=0.0,
    ),
    _entry(
        name="lowest", title="Smallest value of a window", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1", formula="min(source, period)",
        source="van Herk, 1992, for the method", talib="MIN", exact=0.0,
    ),
    _entry(
        name="change", title="Change over some klines, percent", inputs=ANY, outputs=VALUE,
        parameters=(period(1, "Klines back."),), rows_before="period",
        formula="100 * (source / source[period] - 1)", source="the definition",
        seeding="NaN where the value to compare with is 0; else as roc.",
        tradingview="Its ta.change is the difference: mom.",
    ),
    _entry(
        name="correl", title="Pearson's correlation, -1 to 1", inputs=("first", "second"),
        outputs=VALUE, parameters=(period(30, low=2),), rows_before="period - 1",
        formula="covariance / (deviation of first * deviation of second)",
        source="the definition; with row numbers as second it is J. Ehlers' CTI",
        seeding="0 where one of them does not move.",
        tradingview="NaN where one of them does not move.", talib="CORREL", exact=1e-9,
    ),
]  # fmt: skip
