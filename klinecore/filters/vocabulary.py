"""Every name of the language from one table: for errors, completion, reference and prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from klinecore.filters.limits import LIMITS, Limits
from klinecore.filters.tree import FIELDS, OPERATIONS, TICKER_FIELDS, TIME, Kind
from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Indicator, Parameter

__all__ = [
    "CALLS",
    "FIELD_MEANINGS",
    "OTHERWISE",
    "SIGNS",
    "TICKER_MEANINGS",
    "Word",
    "WordParameter",
    "bare",
    "example",
    "names",
    "words",
]

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
#: What is written with signs, tightest last.
SIGNS = {
    "or": "either; unknown as soon as any part is",
    "and": "both; unknown as soon as any part is",
    "not": "the opposite; unknown of what is unknown",
    "< <= > >= == !=": "comparison of two numbers, also chained: 30 < rsi(14) < 70",
    "+ -": "sum and difference",
    "* /": "product and quotient; x / 0 is unknown",
    'x @ "1h"': "x on another interval, as of its last close not later than the filter's own",
    "-x": "the number with its other sign",
    "x[n]": OPERATIONS["lag"].meaning.removeprefix("x[n]: "),
    "( )": "brackets",
}
_SIGNED = {"const", "field", "ticker", "lag", "neg", "add", "sub", "mul", "div"}
_SIGNED |= {"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"}
#: Operations that are called by name; the others are written with signs.
CALLS = tuple(name for name in OPERATIONS if name not in _SIGNED)

#: What others call it, and what to write here.
OTHERWISE = {
    "price": "close",
    "last": "ticker.last",
    "vol": "volume",
    "bbands": "bb(20, 2).upper",
    "bollinger": "bb(20, 2).upper",
    "ma": "sma(20)",
    "mean": "sma(20)",
    "avg": "sma(20)",
    "average": "sma(20)",
    "rolling_mean": "sma(20)",
    "crossover": "crosses_above(x, y)",
    "cross_above": "crosses_above(x, y)",
    "crossunder": "crosses_below(x, y)",
    "cross_below": "crosses_below(x, y)",
    "stddev": "bb(x, 20, 1).upper - bb(x, 20, 1).middle",
    "stdev": "bb(x, 20, 1).upper - bb(x, 20, 1).middle",
    "shift": "x[n]",
    "ref": "x[n]",
    "between": "x < y < 70",
    "iff": "x > y and close > open",
    "barssince": "bars_since(x > y)",
    "psar": "sar()",
    "true": "x > y",
    "false": "x > y",
}


@dataclass(frozen=True, slots=True)
class WordParameter:
    """One number or word that a call takes behind its series; ``default`` None: it must be given.

    ``low`` and ``high`` are None of a choice, which is one of ``choices``.
    """

    name: str
    meaning: str
    kind: Literal["period", "number", "choice"]
    default: float | str | None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """One name of the language: how it is written, what it gives and what that means.

    ``inputs`` are the series it reads; ``outputs`` those of an indicator with several, which are
    written behind it, as in ``macd(12, 26, 9).hist``.
    """

    name: str
    kind: Literal["field", "ticker", "function", "indicator"]
    gives: Kind
    signature: str
    meaning: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parameters: tuple[WordParameter, ...] = ()


def words(limits: Limits = LIMITS) -> tuple[Word, ...]:
    """All names: columns, the ticker's, operations, indicators."""
    indicators = (_indicator(entry, limits) for entry in CATALOG.values())
    return (*_fields(), *map(_operation, CALLS), *indicators)


def names() -> list[str]:
    """What a name in a text may be."""
    return [*FIELDS, *CALLS, *CATALOG, "ticker"]


def bare(entry: Indicator) -> bool:
    """Whether an indicator is written without brackets: it takes nothing but the kline."""
    return not entry.parameters and all(name in FIELDS for name in entry.inputs)


def example(name: str) -> str:
    """How an indicator or operation is called."""
    if name in CATALOG:
        entry = CATALOG[name]
        given = [i for i in entry.inputs if i not in FIELDS and i not in (TIME, "source")]
        given += [
            f"{p.default:g}" if isinstance(p.default, int | float) else "20"
            for p in entry.parameters
            if p.kind != "choice"
        ]
        several = f".{entry.outputs[0]}" if len(entry.outputs) > 1 else ""
        return (name if bare(entry) else f"{name}({', '.join(given)})") + several
    operation = OPERATIONS[name]
    letters = ("x", "low", "high") if name == "clip" else ("x", "y")
    values = ["x > y"] if operation.takes[0] == "condition" else letters[: len(operation.takes)]
    return f"{name}({', '.join([*values, *operation.params])})"


def _fields() -> Iterator[Word]:
    for name in FIELDS:
        yield Word(name, "field", "number", name, FIELD_MEANINGS[name])
    for name in TICKER_FIELDS:
        full = f"ticker.{name}"
        yield Word(full, "ticker", "number", full, TICKER_MEANINGS[name])


def _operation(name: str) -> Word:
    operation = OPERATIONS[name]
    across = operation.memory == "symbols"
    meaning = "Symbols." if across else "Klines."
    parameters = tuple(WordParameter(n, meaning, "period", None, 1) for n in operation.params)
    takes = tuple(operation.takes)
    return Word(
        name, "function", operation.gives, example(name), operation.meaning, takes, (), parameters
    )


def _indicator(entry: Indicator, limits: Limits) -> Word:
    return Word(
        entry.name,
        "indicator",
        "condition" if entry.condition else "number",
        example(entry.name),
        entry.title,
        tuple(name for name in entry.inputs if name != TIME),
        entry.outputs if len(entry.outputs) > 1 else (),
        tuple(_parameter(parameter, limits) for parameter in entry.parameters),
    )


def _parameter(parameter: Parameter, limits: Limits) -> WordParameter:
    chosen = parameter.kind == "choice"
    high = min(parameter.high, limits.window) if parameter.kind == "period" else parameter.high
    return WordParameter(
        parameter.name,
        parameter.meaning,
        parameter.kind,
        parameter.default,
        None if chosen else parameter.low,
        None if chosen else high,
        parameter.choices,
    )
