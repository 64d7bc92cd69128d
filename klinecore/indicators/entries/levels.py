"""Levels and turns: their lines of the catalog."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import HLCV, VALUE, Indicator, choice, number, period

__all__ = ["ENTRIES"]

#: Rows that such an indicator may look over, at each row.
LOOKED_OVER = 1_000
_SIDES = (
    period(5, "Klines before it that it must be beyond.", name="left", high=LOOKED_OVER),
    period(5, "Klines after it that must not be beyond it.", name="right", high=LOOKED_OVER),
)
_TIES = "NaN before the first one. Of equal extremes in a row the first one counts."

_entry = partial(Indicator, family="levels")

ENTRIES = [
    _entry(
        name="pivot_high", title="High of the newest confirmed pivot", inputs=("high",),
        outputs=VALUE, parameters=_SIDES, rows_before="left + right", memory="recursive",
        sparse=True,
        formula="high[right] where it is above the left highs before it and not below the right "
        "ones after it; else as before",
        source="the definition", seeding=_TIES,
        tradingview="Gives it at the row that confirms it and NaN elsewhere.",
    ),
    _entry(
        name="pivot_low", title="Low of the newest confirmed pivot", inputs=("low",),
        outputs=VALUE, parameters=_SIDES, rows_before="left + right", memory="recursive",
        sparse=True,
        formula="low[right] where it is below the left lows before it and not above the right "
        "ones after it; else as before",
        source="the definition", seeding=_TIES,
        tradingview="Gives it at the row that confirms it and NaN elsewhere.",
    ),
    _entry(
        name="divergence", title="Divergence: 1 bullish, -1 bearish, 0 none",
        inputs=("first", "second"), outputs=VALUE,
        parameters=(
            period(30, "Klines in which both extremes lie.", low=3, high=LOOKED_OVER),
            period(5, "Klines that they are apart, at least.", name="distance", high=LOOKED_OVER),
            choice("kind", "Against the way prices went, or hidden: with it.", "regular", "hidden"),
        ),
        rows_before="period - 1",
        formula="bullish: a low of first below an earlier one, with second above what it was then; "
        "bearish: a high above an earlier one, with second below; hidden: first and second swapped",
        source="the practice of charting",
        seeding="An extreme is strictly beyond both rows beside it; each is held against the "
        "newest one that is far enough before it. Bullish is looked for first.",
        tradingview="Its script takes the newest two pivots of the second series.",
    ),
    _entry(
        name="volume_nodes", title="Prices at which much more was traded than beside them",
        inputs=HLCV, outputs=("above", "below", "closest", "nearby"),
        parameters=(
            period(250, high=LOOKED_OVER),
            period(30, "Bins from the lowest low to the highest high.", name="bins", low=3,
                   high=100),
            number("percentile", 70.0, "Percent of the bins that have no more volume.", 0.0, 100.0),
            number("height", 50.0, "Percent of the largest bin that a node has.", 0.0, 100.0),
            number("margin", 5.0, "Percent by which it is above both neighbours.", 0.0, 1000.0),
            number("reach", 5.0, "Percent of the close that is nearby.", 0.0, 1000.0),
        ),
        rows_before="period - 1", sparse=True,
        formula="each kline's volume spread evenly over the bins it touches; a node is the middle "
        "of a bin that passes all three measures; above, below, closest: of those to the close; "
        "nearby: how many are within reach of it",
        source="P. Steidlmayer, Market Profile, for the idea",
        seeding="NaN where there is no such node; the ends have one neighbour.",
        tradingview="Its volume profile marks the largest bin and the value area instead.",
    ),
]  # fmt: skip
