"""Trend: their lines of the catalog."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import (
    COMPAT,
    HL,
    HLC,
    KLINE,
    VALUE,
    WILDER,
    Indicator,
    number,
    period,
)

__all__ = ["ENTRIES"]

_DIRECTION = "Wilder's sums start from `period - 1` rows, then take each row smoothed."
_DIRECTION_TV = "The sums start from `period` rows; differs by up to 2 points at first."
_entry = partial(Indicator, family="trend")

ENTRIES = [
    _entry(
        name="adx", title="Average directional movement index, 0 to 100", inputs=HLC,
        outputs=VALUE, parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT),
        rows_before="2 * period - 1", memory="recursive",
        formula="rma(100 * |plus_di - minus_di| / (plus_di + minus_di), period)",
        source=WILDER + ", section IV", seeding=_DIRECTION, tradingview=_DIRECTION_TV, talib="ADX",
    ),
    _entry(
        name="plus_di", title="Plus directional indicator, 0 to 100", inputs=HLC, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT), rows_before="period",
        memory="recursive",
        formula="100 * sum(rises of the high that exceed the low's falls) / sum(true range)",
        source=WILDER + ", section IV", seeding=_DIRECTION, tradingview=_DIRECTION_TV,
        talib="PLUS_DI",
    ),
    _entry(
        name="minus_di", title="Minus directional indicator, 0 to 100", inputs=HLC, outputs=VALUE,
        parameters=(period(14, "Klines in Wilder's smoothing."), COMPAT), rows_before="period",
        memory="recursive",
        formula="100 * sum(falls of the low that exceed the high's rises) / sum(true range)",
        source=WILDER + ", section IV", seeding=_DIRECTION, tradingview=_DIRECTION_TV,
        talib="MINUS_DI",
    ),
    _entry(
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
    _entry(
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
    _entry(
        name="heikin_ashi", title="Heikin-Ashi klines", inputs=KLINE, outputs=KLINE, parameters=(),
        rows_before="0", memory="recursive",
        formula="close = ohlc4; open = mean of the last Heikin-Ashi open and close; high and low "
        "include both",
        source="D. Valcu, Stocks & Commodities 22:2, 2004",
        seeding="The first open is (open + close) / 2.", talib="HA",
    ),
    _entry(
        name="aroon", title="Aroon: how new the window's extremes are, 0 to 100", inputs=HL,
        outputs=("up", "down", "oscillator"), parameters=(period(14),), rows_before="period",
        formula="up = 100 * (period - rows since the highest high) / period; down of the lowest "
        "low; oscillator = up - down; extremes over period + 1 klines",
        source="T. Chande, 1995", seeding="Of equal extremes the newest counts.", talib="AROON",
    ),
    _entry(
        name="ichimoku", title="Ichimoku lines", inputs=HL,
        outputs=("conversion", "base", "span_a", "span_b"),
        parameters=(
            period(9, "Klines of the conversion line.", name="fast"),
            period(26, "Klines of the base line.", name="slow"),
            period(52, "Klines of the second span.", name="span"),
        ),
        rows_before="max(fast, slow, span) - 1",
        formula="middle of highest(high) and lowest(low) over each window; span_a = (conversion + "
        "base) / 2",
        source="G. Hosoda, 1969",
        seeding="Spans are not moved ahead: the cloud over a kline is that of `slow - 1` ago, "
        "`ichimoku().span_a[25]`.",
        tradingview="Draws the spans `slow - 1` klines ahead; same values.",
    ),
]  # fmt: skip
