"""Moving averages: their lines of the catalog."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import (
    ANY,
    DEMANDED,
    MEAN_SEED,
    VALUE,
    WILDER,
    Indicator,
    choice,
    number,
    period,
)

__all__ = ["ENTRIES"]

_entry = partial(Indicator, family="averages")

ENTRIES = [
    _entry(
        name="sma", title="Simple moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1", formula="sum(source, period) / period",
        source="the definition", talib="SMA",
    ),
    _entry(
        name="ema", title="Exponential moving average", inputs=ANY, outputs=VALUE,
        parameters=(
            DEMANDED,
            choice("seed", "The mean of the first `period` values, or the first.", "sma", "first"),
        ),
        rows_before="0 if seed == 'first' else period - 1", memory="recursive",
        formula="e + (source - e) * 2 / (period + 1)", source="TA-Lib", seeding=MEAN_SEED,
        tradingview="Sources disagree on the seed: `seed=\"first\"` is the other one.",
        talib="EMA",
    ),
    _entry(
        name="rma", title="Wilder's moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1", memory="recursive",
        formula="e + (source - e) / period",
        source=WILDER, seeding=MEAN_SEED, talib="RMA",
    ),
    _entry(
        name="wma", title="Weighted moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1",
        formula="sum(weight * source) / sum(weight), weight 1 for the oldest to period",
        source="the definition", talib="WMA",
    ),
    _entry(
        name="hma", title="Hull moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1 + isqrt(period) - 1",
        formula="wma(2 * wma(source, period // 2) - wma(source, period), isqrt(period))",
        source="A. Hull, 2005", talib="HMA",
    ),
    _entry(
        name="dema", title="Double exponential moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="2 * (period - 1)", memory="recursive",
        formula="2 * e1 - e2; e1 = ema(source, period), e2 = ema(e1, period)",
        source="P. Mulloy, Stocks & Commodities 12:1, 1994", seeding=MEAN_SEED, talib="DEMA",
    ),
    _entry(
        name="tema", title="Triple exponential moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="3 * (period - 1)", memory="recursive",
        formula="3 * e1 - 3 * e2 + e3; each the ema of the one before",
        source="P. Mulloy, Stocks & Commodities 12:1, 1994", seeding=MEAN_SEED, talib="TEMA",
    ),
    _entry(
        name="t3", title="Tillson's T3 moving average", inputs=ANY, outputs=VALUE,
        parameters=(
            period(5),
            number("factor", 0.7, "Volume factor: 0 is an EMA of EMAs, 1 a DEMA.", 0.0, 1.0),
        ),
        rows_before="6 * (period - 1)", memory="recursive",
        formula="c1 e6 + c2 e5 + c3 e4 + c4 e3 of six EMAs in a chain; v = factor, c1 = -v^3, "
        "c2 = 3 v^2 + 3 v^3, c3 = -6 v^2 - 3 v - 3 v^3, c4 = 1 + 3 v + v^3 + 3 v^2",
        source="T. Tillson, Stocks & Commodities 16:1, 1998", seeding=MEAN_SEED, talib="T3",
    ),
    _entry(
        name="kama", title="Kaufman's adaptive moving average", inputs=ANY, outputs=VALUE,
        parameters=(period(10, "Klines whose way is compared; TA-Lib's default is 30."),),
        rows_before="period", memory="recursive",
        formula="e + (source - e) * s^2, s = 2/31 + (2/3 - 2/31) * |source - source[period]| / "
        "sum(|source - source[1]|, period)",
        source="P. Kaufman, Smarter Trading, 1995",
        seeding="Starts from the value before the first row that has one. s = 2/3 where nothing "
        "moved.",
        tradingview="Starts from the first value.", talib="KAMA",
    ),
    _entry(
        name="linreg", title="End of the straight line through a window", inputs=ANY,
        outputs=VALUE, parameters=(period(14, low=2),), rows_before="period - 1",
        formula="the line of least squares, at its newest value", source="the definition",
        tradingview="Same, with offset 0.", talib="LINEARREG",
        exact=1e-12,
    ),
    _entry(
        name="linreg_slope", title="Slope of the straight line through a window, per kline",
        inputs=ANY, outputs=VALUE, parameters=(period(14, low=2),), rows_before="period - 1",
        formula="rise of the line of least squares from one value to the next",
        source="the definition", tradingview="linreg(0) - linreg(1) there.",
        talib="LINEARREG_SLOPE", exact=1e-12,
    ),
]  # fmt: skip
