"""Volume: their lines of the catalog."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import (
    BOUNDS,
    COMPAT,
    HLCV,
    VALUE,
    Indicator,
    choice,
    number,
    period,
)

__all__ = ["ENTRIES"]

_entry = partial(Indicator, family="volume")

ENTRIES = [
    _entry(
        name="mfi", title="Money flow index, 0 to 100", inputs=HLCV, outputs=VALUE,
        parameters=(period(14),), rows_before="period",
        formula="100 * inflow / (inflow + outflow); sums of hlc3 * volume where hlc3 rose, fell",
        source="G. Quong and A. Soudack",
        seeding="0 where nothing flowed. A change of hlc3 within rounding is none.",
        talib="MFI",
    ),
    _entry(
        name="obv", title="On-balance volume", inputs=("close", "volume"), outputs=VALUE,
        parameters=(COMPAT,), rows_before="0", memory="recursive",
        formula="cumulated volume, added where the close rose, taken off where it fell",
        source="J. Granville, 1963", seeding="Starts at the first row's volume.",
        tradingview="Starts at 0.", talib="OBV",
    ),
    _entry(
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
    _entry(
        name="pvi", title="Positive volume index", inputs=("close", "volume"), outputs=VALUE,
        parameters=(number("start", 1000.0, "First value.", -1e9, 1e9),), rows_before="0",
        memory="recursive",
        formula="grows by the close's relative change on rows with more volume than the one before",
        source="P. Dysart; N. Fosback, Stock Market Logic, 1976",
        tradingview="Same, except for the start.", talib="PVI",
    ),
    _entry(
        name="cmf", title="Chaikin money flow, -1 to 1", inputs=HLCV, outputs=VALUE,
        parameters=(period(20),), rows_before="period - 1",
        formula="sum(volume * ((close - low) - (high - close)) / (high - low)) / sum(volume)",
        source="M. Chaikin", seeding="0 where there was no volume; a row without range counts 0.",
        talib="CMF",
    ),
]  # fmt: skip
