"""Momentum: their lines of the catalog."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import ANY, COMPAT, HL, HLC, VALUE, WILDER, Indicator, period

__all__ = ["ENTRIES"]

_entry = partial(Indicator, family="momentum")

ENTRIES = [
    _entry(
        name="rsi", title="Relative strength index, 0 to 100", inputs=ANY, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT), rows_before="period",
        memory="recursive",
        formula="100 * gain / (gain + loss); both rma of the rises and falls",
        source=WILDER + ", section VI",
        seeding="Seeded with the mean of the first `period` changes. 0 where nothing ever moved.",
        tradingview="100 where nothing ever moved.", talib="RSI",
    ),
    _entry(
        name="macd", title="Moving average convergence and divergence", inputs=ANY,
        outputs=("line", "signal", "hist"),
        parameters=(
            period(12, "Klines of the fast average.", name="fast"),
            period(26, "Klines of the slow one; the two are swapped if it is the faster.",
                   name="slow"),
            period(9, "Klines of the signal.", name="signal"),
            COMPAT,
        ),
        rows_before="max(fast, slow) + signal - 2", memory="recursive",
        formula="line = ema(fast) - ema(slow); signal = ema(line); hist = line - signal",
        source="G. Appel, 1979",
        seeding="The fast average is seeded on the `fast` values that end where the slow one's "
        "seed ends. All three outputs start together.",
        tradingview="The fast average is seeded on the first `fast` values; the line starts as "
        "soon as it exists, at row `slow - 1`.",
        talib="MACD",
    ),
    _entry(
        name="stoch", title="Slow stochastic, 0 to 100", inputs=HLC, outputs=("k", "d"),
        parameters=(
            period(14), period(3, "Klines that smooth k.", name="smooth"),
            period(3, "Klines of k's average d.", name="d"),
        ),
        rows_before="period + smooth + d - 3",
        formula="k = sma(100 * (close - lowest) / (highest - lowest), smooth); d = sma(k, d)",
        source="G. Lane",
        seeding="k is withheld until d exists; 0 where highest = lowest.",
        tradingview="Same values; k starts before d.", talib="STOCH",
    ),
    _entry(
        name="stochf", title="Fast stochastic, 0 to 100", inputs=HLC, outputs=("k", "d"),
        parameters=(period(14), period(3, "Klines of k's average d.", name="d")),
        rows_before="period + d - 2",
        formula="k = 100 * (close - lowest) / (highest - lowest); d = sma(k, d)",
        source="G. Lane",
        seeding="k is withheld until d exists; 0 where highest = lowest.",
        tradingview="Same values; k starts before d.", talib="STOCHF",
    ),
    _entry(
        name="stochrsi", title="Stochastic of the RSI, 0 to 100", inputs=ANY, outputs=("k", "d"),
        parameters=(
            period(14, "Klines of the RSI."),
            period(14, "Klines of the stochastic; TA-Lib's default is 5.", name="length"),
            period(3, "Klines that smooth k; TA-Lib has no such smoothing: 1.", name="smooth"),
            period(3, "Klines of k's average d.", name="d"),
            COMPAT,
        ),
        rows_before="period + length + smooth + d - 3", memory="recursive",
        formula="r = rsi(source, period); k = sma(100 * (r - lowest) / (highest - lowest), "
        "smooth); d = sma(k, d), extremes over length",
        source="T. Chande and S. Kroll, The New Technical Trader, 1994",
        seeding="k is withheld until d exists; 0 where highest = lowest, or nearly (1e-10).",
        tradingview="The RSI's own difference, and k starts before d.",
        talib="STOCHRSI", exact=1e-12,
    ),
    _entry(
        name="cci", title="Commodity channel index", inputs=HLC, outputs=VALUE,
        parameters=(period(20, low=2),), rows_before="period - 1",
        formula="(hlc3 - mean) / (0.015 * mean absolute deviation)",
        source="D. Lambert, 1980",
        seeding="0 where hlc3 does not move by more than rounding.", talib="CCI", exact=1e-9,
    ),
    _entry(
        name="roc", title="Rate of change, percent", inputs=ANY, outputs=VALUE,
        parameters=(period(10, "Klines back."),), rows_before="period",
        formula="100 * (source / source[period] - 1)", source="the definition",
        seeding="0 where the value to compare with is 0.", talib="ROC",
    ),
    _entry(
        name="mom", title="Momentum", inputs=ANY, outputs=VALUE,
        parameters=(period(10, "Klines back."),), rows_before="period",
        formula="source - source[period]", source="the definition", talib="MOM",
    ),
    _entry(
        name="willr", title="Williams %R, -100 to 0", inputs=HLC, outputs=VALUE,
        parameters=(period(14),), rows_before="period - 1",
        formula="-100 * (highest - close) / (highest - lowest)",
        source="L. Williams", seeding="0 where highest = lowest.", talib="WILLR",
    ),
    _entry(
        name="ao", title="Awesome oscillator", inputs=HL, outputs=VALUE,
        parameters=(
            period(5, "Klines of the fast average.", name="fast"),
            period(34, "Klines of the slow average.", name="slow"),
        ),
        rows_before="max(fast, slow) - 1", formula="sma(hl2, fast) - sma(hl2, slow)",
        source="B. Williams, Trading Chaos, 1995", talib="AO",
    ),
    _entry(
        name="ppo", title="Percentage price oscillator", inputs=ANY, outputs=VALUE,
        parameters=(
            period(12, "Klines of the fast average.", name="fast"),
            period(26, "Klines of the slow one; the two are swapped if it is the faster.",
                   name="slow"),
        ),
        rows_before="max(fast, slow) - 1", memory="recursive",
        formula="100 * (ema(fast) - ema(slow)) / ema(slow)", source="G. Appel",
        seeding="Unlike macd's, each average is seeded on its own first values. 0 where the slow "
        "one is 0. Its signal is ema(ppo(), 9).",
        talib="PPO",
    ),
    _entry(
        name="ultosc", title="Ultimate oscillator, 0 to 100", inputs=HLC, outputs=VALUE,
        parameters=(
            period(7, "Klines of the short window, which weighs 4.", name="short"),
            period(14, "Klines of the middle one, which weighs 2.", name="middle"),
            period(28, "Klines of the long one, which weighs 1.", name="long"),
        ),
        rows_before="max(short, middle, long)",
        formula="weighted mean of 100 * sum(close - min(low, close[1])) / sum(true range)",
        source="L. Williams, Stocks & Commodities, 1985",
        seeding="A window in which nothing moved counts as 0.", talib="ULTOSC", exact=1e-12,
    ),
]  # fmt: skip
