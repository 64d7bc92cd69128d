"""Volatility: their lines of the catalog."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import (
    ANY,
    BOUNDS,
    COMPAT,
    HL,
    HLC,
    VALUE,
    WILDER,
    Indicator,
    number,
    period,
)

__all__ = ["ENTRIES"]

_entry = partial(Indicator, family="volatility")

ENTRIES = [
    _entry(
        name="bb", title="Bollinger bands", inputs=ANY,
        outputs=("upper", "middle", "lower", "width"),
        parameters=(
            period(20), number("deviations", 2.0, "Deviations to each side.", *BOUNDS),
        ),
        rows_before="period - 1",
        formula="middle = sma; upper, lower = middle +- deviations * population deviation; "
        "width = (upper - lower) / middle",
        source="J. Bollinger", seeding="width is NaN where middle = 0.", talib="BBANDS",
        exact=1e-11,
    ),
    _entry(
        name="atr", title="Average true range", inputs=HLC, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT),
        rows_before="period - (compat == 'tradingview')", memory="recursive",
        formula="rma(max(high - low, |high - close[1]|, |low - close[1]|), period)",
        source=WILDER + ", section III",
        seeding="The first row has no range; seeded with the mean of the next `period`.",
        tradingview="The first row's range is high - low and counts.", talib="ATR",
    ),
    _entry(
        name="natr", title="Average true range, percent of the close", inputs=HLC, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT),
        rows_before="period - (compat == 'tradingview')", memory="recursive",
        formula="100 * atr / close",
        source="J. Forman, Stocks & Commodities, 2006",
        seeding="As atr. 0 where close = 0.",
        tradingview="As atr.", talib="NATR",
    ),
    _entry(
        name="keltner", title="Keltner channel", inputs=HLC, outputs=("upper", "middle", "lower"),
        parameters=(
            period(20, "Klines of the middle average."),
            period(10, "Klines of the true range's average.", name="atr_period"),
            number("multiplier", 2.0, "Ranges to each side.", *BOUNDS),
            COMPAT,
        ),
        rows_before="max(period - 1, atr_period - (compat == 'tradingview'))", memory="recursive",
        formula="middle = ema(hlc3, period); upper, lower = middle +- multiplier * atr",
        source="C. Keltner, 1960; L. Raschke's form",
        seeding="Both seeds end at the first row that has values.",
        tradingview="The middle averages closes, and each average is seeded on its first rows.",
        talib="KC",
    ),
    _entry(
        name="donchian", title="Donchian channel", inputs=HL, outputs=("upper", "middle", "lower"),
        parameters=(period(20),), rows_before="period - 1",
        formula="upper = highest(high); lower = lowest(low); middle = (upper + lower) / 2",
        source="R. Donchian", talib="DONCHIAN", exact=0.0,
    ),
    _entry(
        name="chop", title="Choppiness index, 0 to 100", inputs=HLC, outputs=VALUE,
        parameters=(period(14, low=2),), rows_before="period",
        formula="100 * log10(sum(true range) / (highest - lowest)) / log10(period)",
        source="E. W. Dreiss", seeding="The first row has no range; NaN where highest = lowest.",
        tradingview="The first row's range is high - low and counts: one value more.",
    ),
]  # fmt: skip
