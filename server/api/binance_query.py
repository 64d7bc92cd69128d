"""Binance's query parameters: what they mean, and its refusals of what they are not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn

import msgspec

from klinecore.interval import INTERVALS
from server.api.problems import BinanceError
from server.api.router import Parameter

__all__ = [
    "INFO",
    "KLINES",
    "LIMITS",
    "SYMBOLS",
    "TICKERS",
    "Range",
    "mandatory",
    "read_integer",
    "read_names",
    "read_range",
    "read_symbol",
    "read_ticker_type",
]

#: Rows a klines request may ask for at most, by market.
LIMITS: Final = {"spot": 1000, "um": 1500}
LIMIT_DEFAULT: Final = 500
#: Times from there on are microseconds.
_MICROSECONDS: Final = 100_000_000_000_000
_INTEGER_RANGE: Final = "^[0-9]{1,20}$"
_SYMBOL_RANGE: Final = r"^[\w\-._&&[^a-z]]{1,50}$"
_SYMBOL: Final = re.compile(r"([^\Wa-z]|[-.]){1,50}")
_SYMBOLS_RANGE: Final = r'^\[("[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}){0,1}\]$'
#: Ways to say that boundaries are those of UTC, the only ones there are here.
_UTC: Final = frozenset(("0", "00", "0:00", "00:00", "+0", "+00:00", "-0", "-00:00", "+0:00"))

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "integer", "minimum": 0}
_SYMBOL_PARAMETER = Parameter("symbol", "Symbol, in capitals.", _TEXT)
_LIST_PARAMETER = Parameter("symbols", 'Symbols as a JSON array: ["BTCUSDT","ETHUSDT"].', _TEXT)

KLINES = (
    _SYMBOL_PARAMETER._replace(required=True),
    Parameter(
        "interval",
        "Interval, case-sensitive.",
        {"type": "string", "enum": list(INTERVALS)},
        required=True,
    ),
    Parameter("startTime", "Oldest open time; with it the oldest `limit` rows.", _TIME),
    Parameter("endTime", "Newest open time.", _TIME),
    Parameter("timeZone", "Only 0: boundaries are those of UTC.", _TEXT),
    Parameter("limit", "Rows, the forming one included.", {"type": "integer", "default": 500}),
)
SYMBOLS = (_SYMBOL_PARAMETER, _LIST_PARAMETER)
TICKERS = (
    *SYMBOLS,
    Parameter("type", "MINI leaves fields out.", {"type": "string", "enum": ["FULL", "MINI"]}),
)


INFO = (
    *SYMBOLS,
    Parameter("showPermissionSets", "Changes nothing.", {"type": "boolean"}),
)


class Range(NamedTuple):
    """Which rows of a series are asked for; the forming one counts."""

    limit: int
    start_ms: int | None
    end_ms: int | None


def mandatory(query: Mapping[str, str], name: str) -> str:
    """Raises BinanceError: not there, or empty."""
    value = query.get(name)
    if value is None:
        raise BinanceError(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    return _filled(value, name)


def read_symbol(query: Mapping[str, str], held: Mapping[str, object]) -> str:
    """A symbol that is held. Raises BinanceError."""
    name = mandatory(query, "symbol")
    if not _SYMBOL.fullmatch(name):
        _refuse_characters("symbol", _SYMBOL_RANGE)
    if name not in held:
        raise BinanceError(-1121, "Invalid symbol.")
    return name


def read_names(query: Mapping[str, str], held: Mapping[str, object]) -> tuple[list[str], bool]:
    """Symbols asked for, all where none is named, and whether the answer is one object."""
    if "symbol" in query and "symbols" in query:
        raise BinanceError(
            -1128, "Combination of optional parameters invalid. Recommendation: 'symbol'"
        )
    if "symbol" in query:
        return [read_symbol(query, held)], True
    if "symbols" not in query:
        return list(held), False
    try:
        names = msgspec.json.decode(_filled(query["symbols"], "symbols"), type=list[str])
    except msgspec.DecodeError:
        _refuse_characters("symbols", _SYMBOLS_RANGE)
    if not all(map(_SYMBOL.fullmatch, names)):
        _refuse_characters("symbols", _SYMBOLS_RANGE)
    if len(set(names)) != len(names):
        raise BinanceError(-1151, "Symbol is present multiple times in the list.")
    if any(name not in held for name in names):
        raise BinanceError(-1121, "Invalid symbol.")
    return names, False


def read_range(query: Mapping[str, str], market: str) -> Range:
    """Spot gives its most where more is asked for, USD-M refuses. Raises BinanceError."""
    if query.get("timeZone", "0").strip() not in _UTC:
        raise BinanceError(-1130, "Data sent for parameter 'timeZone' is not valid: only 0 is.")
    limit = read_integer(query, "limit")
    most = LIMITS[market]
    if limit is None:
        limit = LIMIT_DEFAULT
    if limit < 1 or (limit > most and market != "spot"):
        raise BinanceError(-1130, "Data sent for parameter 'limit' is not valid.")
    start_ms, end_ms = _time(query, "startTime"), _time(query, "endTime")
    if market != "spot" and start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise BinanceError(-1023, "Start time is greater than end time.")
    return Range(min(limit, most), start_ms, end_ms)


def read_ticker_type(query: Mapping[str, str]) -> str:
    """FULL or MINI. Raises BinanceError."""
    kind = query.get("type", "FULL")
    if kind not in ("FULL", "MINI"):
        raise BinanceError(-1139, "Invalid ticker type.")
    return kind


def _time(query: Mapping[str, str], name: str) -> int | None:
    value = read_integer(query, name)
    return value // 1000 if value is not None and value >= _MICROSECONDS else value


def read_integer(query: Mapping[str, str], name: str) -> int | None:
    """A whole number; None if it is not given. Raises BinanceError."""
    text = query.get(name)
    if text is None:
        return None
    _filled(text, name)
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        _refuse_characters(name, _INTEGER_RANGE)
    return int(text)


def _filled(value: str, name: str) -> str:
    if not value:
        raise BinanceError(-1105, f"Parameter '{name}' was empty.")
    return value


def _refuse_characters(name: str, legal: str) -> NoReturn:
    raise BinanceError(
        -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    )
