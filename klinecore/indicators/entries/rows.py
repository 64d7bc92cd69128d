"""Prices and crosses: their lines of the catalog."""

from __future__ import annotations

from functools import partial

from klinecore.indicators.entry import HL, HLC, KLINE, VALUE, Indicator

__all__ = ["ENTRIES"]

_entry = partial(Indicator, family="rows")

ENTRIES = [
    _entry(
        name="hl2", title="Median price", inputs=HL, outputs=VALUE, parameters=(),
        rows_before="0", formula="(high + low) / 2", source="the definition", talib="MEDPRICE",
    ),
    _entry(
        name="hlc3", title="Typical price", inputs=HLC, outputs=VALUE, parameters=(),
        rows_before="0", formula="(high + low + close) / 3", source="the definition",
        talib="TYPPRICE",
    ),
    _entry(
        name="ohlc4", title="Average price", inputs=KLINE, outputs=VALUE, parameters=(),
        rows_before="0", formula="(open + high + low + close) / 4", source="the definition",
        talib="AVGPRICE",
    ),
    _entry(
        name="crosses_above", title="1 where the first series crosses above the second, else 0",
        inputs=("first", "second"), outputs=VALUE, parameters=(), rows_before="1", condition=True,
        formula="first[1] <= second[1] and first > second", source="Pine's ta.crossover",
    ),
    _entry(
        name="crosses_below", title="1 where the first series crosses below the second, else 0",
        inputs=("first", "second"), outputs=VALUE, parameters=(), rows_before="1", condition=True,
        formula="first[1] >= second[1] and first < second", source="Pine's ta.crossunder",
    ),
]  # fmt: skip
