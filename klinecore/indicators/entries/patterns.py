"""Patterns of a few klines: their lines of the catalog."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import HL, KLINE, VALUE, Indicator, Parameter, choice, number

__all__ = ["ENTRIES"]

_MORRIS = "G. Morris, Candlestick Charting Explained; TA-Lib for the measures"
_TREND = "Its patterns ask for a trend before and measure bodies by an average of 14."
_SHORT = "short, long: below, above the mean body of the 10 klines before"
_NONE = "no shadow: below a tenth of the mean range of the 10 klines before"
_NEAR = "near: within a fifth of the mean range of the 5 klines up to it"

GAPS = choice(
    "gaps",
    "Whether the pattern needs its gap. Where trading never stops there hardly is one: `near` "
    "takes what misses it by up to a fifth of the mean range of 5 klines.",
    "needed", "near",
)  # fmt: skip


def _penetration(default: float, meaning: str) -> Parameter:
    return number("penetration", default, meaning, 0.0, 1.0)


_entry = partial(Indicator, family="patterns")
_pattern = partial(
    _entry,
    inputs=KLINE,
    outputs=VALUE,
    source=_MORRIS,
    tradingview=_TREND,
    exact=0.0,
    condition=True,
)

ENTRIES = [
    _entry(
        name="engulfing", title="Engulfing pattern: 100 or 80 bullish, negative bearish, 0 none",
        inputs=("open", "close"), outputs=VALUE, parameters=(), rows_before="1",
        formula="a body of the other colour that holds the body before it; 80 where they share "
        "one end",
        source="G. Morris, Candlestick Charting Explained",
        seeding="From the second row on (TA-Lib: from the third).",
        tradingview="No such function.", talib="CDLENGULFING", exact=0.0,
    ),
    _entry(
        name="inside_bar", title="Inside bar: within the range of the kline before", inputs=HL,
        outputs=VALUE, parameters=(), rows_before="1", condition=True,
        formula="high < high[1] and low > low[1]", source="the definition",
        tradingview="No such function.",
    ),
    _pattern(
        name="doji", title="Doji: hardly a body",
        parameters=(), rows_before="10",
        formula="|close - open| <= a tenth of the mean range of the 10 klines before",
        talib="CDLDOJI",
    ),
    _pattern(
        name="hammer", title="Hammer: a short body on a long lower shadow, low down",
        parameters=(), rows_before="11",
        formula="short body, lower shadow longer than it, no upper one, body below or near low[1]; "
        f"{_SHORT}; {_NONE}; {_NEAR}",
        talib="CDLHAMMER",
    ),
    _pattern(
        name="hanging_man", title="Hanging man: a short body on a long lower shadow, high up",
        parameters=(), rows_before="11",
        formula="as hammer, body above or near high[1]",
        talib="CDLHANGINGMAN",
    ),
    _pattern(
        name="inverted_hammer",
        title="Inverted hammer: a short body under a long upper shadow, low down",
        parameters=(GAPS,), rows_before="11",
        formula="short body, upper shadow longer than it, no lower one, body below the body before",
        talib="CDLINVERTEDHAMMER",
    ),
    _pattern(
        name="shooting_star",
        title="Shooting star: a short body under a long upper shadow, high up",
        parameters=(GAPS,), rows_before="11",
        formula="as inverted_hammer, body above the body before",
        talib="CDLSHOOTINGSTAR",
    ),
    _pattern(
        name="harami", title="Harami: 100 or 80 bullish, negative bearish, 0 none",
        condition=False,
        parameters=(), rows_before="11",
        formula="a short body within the long one before, of the side that ends; 80 where they "
        "share an end",
        talib="CDLHARAMI",
    ),
    _pattern(
        name="morning_star",
        title="Morning star: a long fall, a short body below it, a rise into the first",
        parameters=(
            _penetration(0.3, "Share of the first body that the last close reaches into."),
            GAPS,
        ),
        rows_before="12",
        formula="long falling body; short body below it; rising body that is not short and closes "
        "above close[2] + penetration * body[2]",
        talib="CDLMORNINGSTAR",
    ),
    _pattern(
        name="evening_star",
        title="Evening star: a long rise, a short body above it, a fall into the first",
        parameters=(
            _penetration(0.3, "Share of the first body that the last close reaches into."),
            GAPS,
        ),
        rows_before="12",
        formula="long rising body; short body above it; falling body that is not short and closes "
        "below close[2] - penetration * body[2]",
        talib="CDLEVENINGSTAR",
    ),
    _pattern(
        name="piercing",
        title="Piercing line: after a long fall, a rise from below to above its middle",
        parameters=(GAPS,), rows_before="11",
        formula="long falling body, then a long rising one that opens below low[1] and closes "
        "above the middle of the first and below its open",
        talib="CDLPIERCING",
    ),
    _pattern(
        name="dark_cloud_cover", title="Dark cloud cover: after a long rise, a fall from above it",
        parameters=(
            _penetration(0.5, "Share of the first body that the last close reaches into."),
            GAPS,
        ),
        rows_before="11",
        formula="long rising body, then a falling one that opens above high[1] and closes above "
        "open[1] and below close[1] - penetration * body[1]",
        talib="CDLDARKCLOUDCOVER",
    ),
    _pattern(
        name="three_white_soldiers",
        title="Three white soldiers: three rises, each from within the one before",
        parameters=(), rows_before="12",
        formula="three rising bodies without upper shadow, each opens in or near the body before "
        "and closes above it, none far shorter than the one before, the last not short",
        talib="CDL3WHITESOLDIERS",
    ),
    _pattern(
        name="three_black_crows",
        title="Three black crows: after a rise three falls, each from within the one before",
        parameters=(GAPS,), rows_before="13",
        formula="after a rising body three falling ones without lower shadow, each opens within "
        "the body before and closes below it, the first below the high before",
        talib="CDL3BLACKCROWS",
    ),
]  # fmt: skip
