"""The catalog: one line per indicator, from which runtime, documentation and tests are made."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import COMPAT, Indicator, choice, number, period

__all__ = ["CATALOG", "FAMILIES"]

FAMILIES = {
    "averages": "Moving averages",
    "momentum": "Momentum",
    "volatility": "Volatility",
    "trend": "Trend",
    "volume": "Volume",
    "windows": "Windows",
    "rows": "Prices, crosses and patterns",
}

ANY = ("source",)
HL = ("high", "low")
HLC = ("high", "low", "close")
KLINE = ("open", "high", "low", "close")
HLCV = ("high", "low", "close", "volume")
VALUE = ("value",)
WILDER = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978"
MEAN_SEED = "Seeded with the mean of the first `period` values."
DEMANDED = period(None)
BOUNDS = (-1000.0, 1000.0)


_averages = partial(Indicator, family="averages")
_AVERAGES = [
    _averages(
        name="sma", title="Simple moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1", formula="sum(source, period) / period",
        source="the definition", talib="SMA",
    ),
    _averages(
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
    _averages(
        name="rma", title="Wilder's moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1", memory="recursive",
        formula="e + (source - e) / period",
        source=WILDER, seeding=MEAN_SEED, talib="RMA",
    ),
    _averages(
        name="wma", title="Weighted moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1",
        formula="sum(weight * source) / sum(weight), weight 1 for the oldest to period",
        source="the definition", talib="WMA",
    ),
    _averages(
        name="hma", title="Hull moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1 + isqrt(period) - 1",
        formula="wma(2 * wma(source, period // 2) - wma(source, period), isqrt(period))",
        source="A. Hull, 2005", talib="HMA",
    ),
    _averages(
        name="dema", title="Double exponential moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="2 * (period - 1)", memory="recursive",
        formula="2 * e1 - e2; e1 = ema(source, period), e2 = ema(e1, period)",
        source="P. Mulloy, Stocks & Commodities 12:1, 1994", seeding=MEAN_SEED, talib="DEMA",
    ),
    _averages(
        name="tema", title="Triple exponential moving average", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="3 * (period - 1)", memory="recursive",
        formula="3 * e1 - 3 * e2 + e3; each the ema of the one before",
        source="P. Mulloy, Stocks & Commodities 12:1, 1994", seeding=MEAN_SEED, talib="TEMA",
    ),
    _averages(
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
]  # fmt: skip

_momentum = partial(Indicator, family="momentum")
_MOMENTUM = [
    _momentum(
        name="rsi", title="Relative strength index, 0 to 100", inputs=ANY, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT), rows_before="period",
        memory="recursive",
        formula="100 * gain / (gain + loss); both rma of the rises and falls",
        source=WILDER + ", section VI",
        seeding="Seeded with the mean of the first `period` changes. 0 where nothing ever moved.",
        tradingview="100 where nothing ever moved.", talib="RSI",
    ),
    _momentum(
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
    _momentum(
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
    _momentum(
        name="stochf", title="Fast stochastic, 0 to 100", inputs=HLC, outputs=("k", "d"),
        parameters=(period(14), period(3, "Klines of k's average d.", name="d")),
        rows_before="period + d - 2",
        formula="k = 100 * (close - lowest) / (highest - lowest); d = sma(k, d)",
        source="G. Lane",
        seeding="k is withheld until d exists; 0 where highest = lowest.",
        tradingview="Same values; k starts before d.", talib="STOCHF",
    ),
    _momentum(
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
    _momentum(
        name="cci", title="Commodity channel index", inputs=HLC, outputs=VALUE,
        parameters=(period(20, low=2),), rows_before="period - 1",
        formula="(hlc3 - mean) / (0.015 * mean absolute deviation)",
        source="D. Lambert, 1980",
        seeding="0 where hlc3 does not move by more than rounding.", talib="CCI", exact=1e-9,
    ),
    _momentum(
        name="roc", title="Rate of change, percent", inputs=ANY, outputs=VALUE,
        parameters=(period(10, "Klines back."),), rows_before="period",
        formula="100 * (source / source[period] - 1)", source="the definition",
        seeding="0 where the value to compare with is 0.", talib="ROC",
    ),
    _momentum(
        name="mom", title="Momentum", inputs=ANY, outputs=VALUE,
        parameters=(period(10, "Klines back."),), rows_before="period",
        formula="source - source[period]", source="the definition", talib="MOM",
    ),
    _momentum(
        name="willr", title="Williams %R, -100 to 0", inputs=HLC, outputs=VALUE,
        parameters=(period(14),), rows_before="period - 1",
        formula="-100 * (highest - close) / (highest - lowest)",
        source="L. Williams", seeding="0 where highest = lowest.", talib="WILLR",
    ),
    _momentum(
        name="ao", title="Awesome oscillator", inputs=HL, outputs=VALUE,
        parameters=(
            period(5, "Klines of the fast average.", name="fast"),
            period(34, "Klines of the slow average.", name="slow"),
        ),
        rows_before="max(fast, slow) - 1", formula="sma(hl2, fast) - sma(hl2, slow)",
        source="B. Williams, Trading Chaos, 1995", talib="AO",
    ),
]  # fmt: skip

_volatility = partial(Indicator, family="volatility")
_VOLATILITY = [
    _volatility(
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
    _volatility(
        name="atr", title="Average true range", inputs=HLC, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT),
        rows_before="period - (compat == 'tradingview')", memory="recursive",
        formula="rma(max(high - low, |high - close[1]|, |low - close[1]|), period)",
        source=WILDER + ", section III",
        seeding="The first row has no range; seeded with the mean of the next `period`.",
        tradingview="The first row's range is high - low and counts.", talib="ATR",
    ),
    _volatility(
        name="natr", title="Average true range, percent of the close", inputs=HLC, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT),
        rows_before="period - (compat == 'tradingview')", memory="recursive",
        formula="100 * atr / close",
        source="J. Forman, Stocks & Commodities, 2006",
        seeding="As atr. 0 where close = 0.",
        tradingview="As atr.", talib="NATR",
    ),
    _volatility(
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
    _volatility(
        name="donchian", title="Donchian channel", inputs=HL, outputs=("upper", "middle", "lower"),
        parameters=(period(20),), rows_before="period - 1",
        formula="upper = highest(high); lower = lowest(low); middle = (upper + lower) / 2",
        source="R. Donchian", talib="DONCHIAN", exact=0.0,
    ),
    _volatility(
        name="chop", title="Choppiness index, 0 to 100", inputs=HLC, outputs=VALUE,
        parameters=(period(14, low=2),), rows_before="period",
        formula="100 * log10(sum(true range) / (highest - lowest)) / log10(period)",
        source="E. W. Dreiss", seeding="The first row has no range; NaN where highest = lowest.",
        tradingview="The first row's range is high - low and counts: one value more.",
    ),
]  # fmt: skip

_DIRECTION = "Wilder's sums start from `period - 1` rows, then take each row smoothed."
_DIRECTION_TV = "The sums start from `period` rows; differs by up to 2 points at first."
_trend = partial(Indicator, family="trend")
_TREND = [
    _trend(
        name="adx", title="Average directional movement index, 0 to 100", inputs=HLC,
        outputs=VALUE, parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT),
        rows_before="2 * period - 1", memory="recursive",
        formula="rma(100 * |plus_di - minus_di| / (plus_di + minus_di), period)",
        source=WILDER + ", section IV", seeding=_DIRECTION, tradingview=_DIRECTION_TV, talib="ADX",
    ),
    _trend(
        name="plus_di", title="Plus directional indicator, 0 to 100", inputs=HLC, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT), rows_before="period",
        memory="recursive",
        formula="100 * sum(rises of the high that exceed the low's falls) / sum(true range)",
        source=WILDER + ", section IV", seeding=_DIRECTION, tradingview=_DIRECTION_TV,
        talib="PLUS_DI",
    ),
    _trend(
        name="minus_di", title="Minus directional indicator, 0 to 100", inputs=HLC, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT), rows_before="period",
        memory="recursive",
        formula="100 * sum(falls of the low that exceed the high's rises) / sum(true range)",
        source=WILDER + ", section IV", seeding=_DIRECTION, tradingview=_DIRECTION_TV,
        talib="MINUS_DI",
    ),
    _trend(
        name="supertrend", title="Supertrend", inputs=HLC, outputs=("line", "trend"),
        parameters=(
            period(10, "Klines of the true range's average."),
            number("multiplier", 3.0, "Ranges to each side.", 0.0, 1000.0),
            COMPAT,
        ),
        rows_before="period - (compat == 'tradingview')", memory="recursive",
        formula="hl2 +- multiplier * atr, each only moved towards price until a close is beyond "
        "it; line is the band on the trend's far side",
        source="O. Seban", seeding="Starts up. trend is 1 up, -1 down.",
        tradingview="ATR as there; starts down; trend is **-1 up**, 1 down.", talib="SUPERTREND",
    ),
    _trend(
        name="sar", title="Parabolic stop and reverse", inputs=HL, outputs=VALUE,
        parameters=(
            number("acceleration", 0.02, "Step of the acceleration.", 0.0, 1000.0),
            number("maximum", 0.2, "Its largest value.", 0.0, 1000.0),
        ),
        rows_before="1", memory="recursive",
        formula="stop + acceleration * (extreme - stop), within two rows' range",
        source=WILDER + ", section II",
        seeding="The first row's low (or high) is the first stop; down only if the low fell more "
        "than the high rose.",
        tradingview="Takes its first direction from the closes.", talib="SAR",
    ),
    _trend(
        name="heikin_ashi", title="Heikin-Ashi klines", inputs=KLINE, outputs=KLINE, parameters=(),
        rows_before="0", memory="recursive",
        formula="close = ohlc4; open = mean of the last Heikin-Ashi open and close; high and low "
        "include both",
        source="D. Valcu, Stocks & Commodities 22:2, 2004",
        seeding="The first open is (open + close) / 2.", talib="HA",
    ),
]  # fmt: skip

_volume = partial(Indicator, family="volume")
_VOLUME = [
    _volume(
        name="mfi", title="Money flow index, 0 to 100", inputs=HLCV, outputs=VALUE,
        parameters=(period(14),), rows_before="period",
        formula="100 * inflow / (inflow + outflow); sums of hlc3 * volume where hlc3 rose, fell",
        source="G. Quong and A. Soudack",
        seeding="0 where nothing flowed. A change of hlc3 within rounding is none.",
        talib="MFI",
    ),
    _volume(
        name="obv", title="On-balance volume", inputs=("close", "volume"), outputs=VALUE,
        parameters=(COMPAT,), rows_before="0", memory="recursive",
        formula="cumulated volume, added where the close rose, taken off where it fell",
        source="J. Granville, 1963", seeding="Starts at the first row's volume.",
        tradingview="Starts at 0.", talib="OBV",
    ),
    _volume(
        name="vwap", title="Volume-weighted average price",
        inputs=(*HLCV, "open_time_ms"), outputs=("vwap", "upper", "lower"),
        parameters=(
            choice("anchor", "Where the sums start anew, in UTC: never, each day, each Monday.",
                   "none", "day", "week"),
            number("deviations", 1.0, "Deviations of the bands.", *BOUNDS),
        ),
        rows_before="0", memory="recursive",
        formula="sum(hlc3 * volume) / sum(volume); bands by the volume-weighted deviation",
        source="the definition", seeding="NaN until there was volume (TA-Lib: 0).",
        tradingview="Same, with `anchor=\"day\"` as there.", talib="VWAP",
    ),
    _volume(
        name="pvi", title="Positive volume index", inputs=("close", "volume"), outputs=VALUE,
        parameters=(number("start", 1000.0, "First value.", -1e9, 1e9),), rows_before="0",
        memory="recursive",
        formula="grows by the close's relative change on rows with more volume than the one before",
        source="P. Dysart; N. Fosback, Stock Market Logic, 1976",
        tradingview="Same, except for the start.", talib="PVI",
    ),
]  # fmt: skip

_windows = partial(Indicator, family="windows")
_WINDOWS = [
    _windows(
        name="highest", title="Largest value of a window", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1", formula="max(source, period)",
        source="van Herk, 1992, for the method", talib="MAX", exact=0.0,
    ),
    _windows(
        name="lowest", title="Smallest value of a window", inputs=ANY, outputs=VALUE,
        parameters=(DEMANDED,), rows_before="period - 1", formula="min(source, period)",
        source="van Herk, 1992, for the method", talib="MIN", exact=0.0,
    ),
    _windows(
        name="correl", title="Pearson's correlation, -1 to 1", inputs=("first", "second"),
        outputs=VALUE, parameters=(period(30, low=2),), rows_before="period - 1",
        formula="covariance / (deviation of first * deviation of second)",
        source="the definition; with row numbers as second it is J. Ehlers' CTI",
        seeding="0 where one of them does not move.",
        tradingview="NaN where one of them does not move.", talib="CORREL", exact=1e-9,
    ),
]  # fmt: skip

_rows = partial(Indicator, family="rows")
_ROWS = [
    _rows(
        name="hl2", title="Median price", inputs=HL, outputs=VALUE, parameters=(),
        rows_before="0", formula="(high + low) / 2", source="the definition", talib="MEDPRICE",
    ),
    _rows(
        name="hlc3", title="Typical price", inputs=HLC, outputs=VALUE, parameters=(),
        rows_before="0", formula="(high + low + close) / 3", source="the definition",
        talib="TYPPRICE",
    ),
    _rows(
        name="ohlc4", title="Average price", inputs=KLINE, outputs=VALUE, parameters=(),
        rows_before="0", formula="(open + high + low + close) / 4", source="the definition",
        talib="AVGPRICE",
    ),
    _rows(
        name="crosses_above", title="1 where the first series crosses above the second, else 0",
        inputs=("first", "second"), outputs=VALUE, parameters=(), rows_before="1", condition=True,
        formula="first[1] <= second[1] and first > second", source="Pine's ta.crossover",
    ),
    _rows(
        name="crosses_below", title="1 where the first series crosses below the second, else 0",
        inputs=("first", "second"), outputs=VALUE, parameters=(), rows_before="1", condition=True,
        formula="first[1] >= second[1] and first < second", source="Pine's ta.crossunder",
    ),
    _rows(
        name="engulfing", title="Engulfing pattern: 100 or 80 bullish, negative bearish, 0 none",
        inputs=("open", "close"), outputs=VALUE, parameters=(), rows_before="1",
        formula="a body of the other colour that holds the body before it; 80 where they share "
        "one end",
        source="G. Morris, Candlestick Charting Explained",
        seeding="From the second row on (TA-Lib: from the third).",
        tradingview="No such function.", talib="CDLENGULFING", exact=0.0,
    ),
]  # fmt: skip

CATALOG: dict[str, Indicator] = {
    entry.name: entry
    for family in (_AVERAGES, _MOMENTUM, _VOLATILITY, _TREND, _VOLUME, _WINDOWS, _ROWS)
    for entry in family
}
