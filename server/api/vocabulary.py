"""Every name that a filter may use, with how it is written and what it means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from klinecore.filters.language import LANGUAGE
from klinecore.filters.limits import LIMITS
from klinecore.filters.ready import READY
from klinecore.filters.tree import FIELDS, OPERATIONS, TICKER_FIELDS, TIME
from klinecore.filters.vocabulary import CALLS, example
from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Indicator, Parameter
from klinecore.interval import INTERVALS
from server.api.filter_types import ReadyFilter, Vocabulary, Word, WordParameter

__all__ = ["vocabulary"]

FIELD_MEANINGS = {
    "open": "first price",
    "high": "highest price",
    "low": "lowest price",
    "close": "last price",
    "volume": "volume, base asset",
    "quote_volume": "volume, quote asset",
    "trades": "number of trades",
    "taker_buy_base": "volume that takers bought, base asset",
    "taker_buy_quote": "volume that takers bought, quote asset",
}
TICKER_MEANINGS = {
    "last": "last price",
    "change_percent": "change over 24 hours, percent",
    "volume": "volume of 24 hours, base asset",
    "quote_volume": "volume of 24 hours, quote asset",
    "high": "highest price of 24 hours",
    "low": "lowest price of 24 hours",
}
SIGNS = {
    "+ - * /": "arithmetic; x / 0 is unknown",
    "< <= > >= == !=": "comparison, also chained: 30 < rsi(14) < 70",
    "and or not": "unknown as soon as any part is",
    "x[n]": OPERATIONS["lag"].meaning.removeprefix("x[n]: "),
    'x @ "1h"': "x on another interval, as of its last close not later than the filter's own",
    "( )": "brackets",
}


def vocabulary() -> Vocabulary:
    """All of it, from the tables that filters are read and run by."""
    return Vocabulary(
        language=LANGUAGE,
        words=[*_fields(), *_functions(), *map(_indicator, CATALOG.values())],
        signs=SIGNS,
        intervals=list(INTERVALS),
        limits=dataclasses.asdict(LIMITS),
        ready=[
            ReadyFilter(
                name=one.name,
                title=one.title,
                description=one.description,
                category=one.category,
                filter=one.text,
                interval=one.interval,
                mode=one.mode,
                cooldown=one.cooldown,
            )
            for one in READY.values()
        ],
    )


def _fields() -> Iterator[Word]:
    for name in FIELDS:
        yield Word(name, "field", "number", name, FIELD_MEANINGS[name])
    for name in TICKER_FIELDS:
        full = f"ticker.{name}"
        yield Word(full, "ticker", "number", full, TICKER_MEANINGS[name])


def _functions() -> Iterator[Word]:
    for name in CALLS:
        operation = OPERATIONS[name]
        yield Word(
            name,
            "function",
            operation.gives,
            example(name),
            operation.meaning,
            inputs=list(operation.takes),
            parameters=[
                WordParameter(n, "Klines or symbols.", "period", None, 1) for n in operation.params
            ],
        )


def _indicator(entry: Indicator) -> Word:
    return Word(
        entry.name,
        "indicator",
        "condition" if entry.condition else "number",
        example(entry.name),
        entry.title,
        inputs=[name for name in entry.inputs if name != TIME],
        outputs=list(entry.outputs) if len(entry.outputs) > 1 else [],
        parameters=[_parameter(parameter) for parameter in entry.parameters],
    )


def _parameter(parameter: Parameter) -> WordParameter:
    chosen = parameter.kind == "choice"
    high = min(parameter.high, LIMITS.window) if parameter.kind == "period" else parameter.high
    return WordParameter(
        parameter.name,
        parameter.meaning,
        parameter.kind,
        parameter.default,
        None if chosen else parameter.low,
        None if chosen else high,
        list(parameter.choices),
    )
