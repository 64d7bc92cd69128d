"""Query parameters of the data routes: what they mean, what they allow, how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec

from klinecore.errors import UnknownSeriesError
from klinecore.interval import INTERVALS
from klinecore.series import Series
from server.api.problems import ApiError
from server.api.router import Parameter, Query, Request
from server.api.state import ServedMarket

__all__ = [
    "EXPRESSIONS_MAX",
    "LIMIT_DEFAULT",
    "LINES",
    "MARKET",
    "SERIES_FILTER",
    "WINDOW",
    "Window",
    "find_series",
    "read_body",
    "read_expressions",
    "read_interval",
    "read_limit",
    "read_window",
    "unknown_symbol",
]

Body = TypeVar("Body", bound=msgspec.Struct)

LIMIT_DEFAULT: Final = 100

#: Times beyond this are microseconds by mistake (year 2286 in milliseconds).
TIME_MS_MAX: Final = 9_999_999_999_999

MARKET = Parameter(
    "market",
    "Which market; the default is the first one served.",
    {"type": "string", "enum": ["spot", "um"]},
)

WINDOW = (
    Parameter(
        "limit",
        "Closed klines, from 1 to the server's capacity.",
        {"type": "integer", "minimum": 1, "default": LIMIT_DEFAULT},
    ),
    Parameter(
        "forming",
        "Append the kline the exchange may still revise, with `x` false.",
        {"type": "boolean", "default": False},
    ),
    Parameter(
        "startTime",
        "Oldest open time, ms UTC; with it the oldest `limit` klines from there are returned.",
        {"type": "integer", "minimum": 0, "maximum": TIME_MS_MAX},
    ),
    Parameter(
        "endTime",
        "Newest open time, ms UTC.",
        {"type": "integer", "minimum": 0, "maximum": TIME_MS_MAX},
    ),
    MARKET,
)

SERIES_FILTER = (
    Parameter("symbol", "Only this symbol.", {"type": "string"}),
    Parameter("interval", "Only this interval.", {"type": "string", "enum": list(INTERVALS)}),
    MARKET,
)


#: Expressions of one request.
EXPRESSIONS_MAX: Final = 8

LINES = (
    Parameter(
        "expr",
        f"An expression such as rsi(14) or macd().hist; up to {EXPRESSIONS_MAX}, each as its own "
        "`expr`. `+` is written %2B.",
        {"type": "string"},
        several=True,
        required=True,
    ),
    WINDOW[0],
    MARKET,
)


class Window(NamedTuple):
    """Which rows of a series are asked for."""

    limit: int
    forming: bool
    start_ms: int | None
    end_ms: int | None


def read_window(query: Mapping[str, str], capacity: int) -> Window:
    """The window of a klines request.

    Raises ApiError 400: a value outside what it allows; the message says what that is.
    """
    limit = read_limit(query, capacity)
    forming = query.get("forming", "false")
    if forming not in ("true", "false"):
        raise ApiError(
            400,
            "invalid_forming",
            f"forming is true or false, not {forming[:40]!r}.",
            allowed=["true", "false"],
        )
    start_ms = _read_integer(query, "startTime", 0, TIME_MS_MAX, "invalid_time")
    end_ms = _read_integer(query, "endTime", 0, TIME_MS_MAX, "invalid_time")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise ApiError(400, "invalid_time", f"startTime {start_ms} is after endTime {end_ms}.")
    return Window(limit, forming == "true", start_ms, end_ms)


def read_limit(query: Mapping[str, str], capacity: int) -> int:
    """How many of the newest rows. Raises ApiError 400: not from 1 to ``capacity``."""
    limit = _read_integer(query, "limit", 1, capacity, "invalid_limit")
    return min(LIMIT_DEFAULT, capacity) if limit is None else limit


def read_expressions(query: Query) -> list[str]:
    """The expressions of a request. Raises ApiError 400: none, or too many."""
    texts = query.several.get("expr", [])
    if not texts:
        raise ApiError(400, "missing_parameter", "expr must be given, such as expr=rsi(14).")
    if len(texts) > EXPRESSIONS_MAX:
        raise ApiError(400, "too_many_expressions", f"At most {EXPRESSIONS_MAX} are drawn at once.")
    return texts


def find_series(served: ServedMarket, symbol: str, interval: str) -> Series:
    """A series by the names of a path. Raises ApiError: see ``read_interval``; 404, no symbol."""
    try:
        return served.market[symbol, interval]
    except UnknownSeriesError as error:
        read_interval(interval, served.market.intervals)
        raise unknown_symbol(error) from None


def unknown_symbol(error: UnknownSeriesError, status: int = 404) -> ApiError:
    """The refusal of a symbol that is not held."""
    return ApiError(
        status,
        "unknown_symbol",
        f"Symbol {error.name[:40]!r} is not held by this server; /v1/symbols lists all.",
        allowed=error.known,
    )


def read_interval(name: str, served: tuple[str, ...]) -> str:
    """An interval that is served.

    Raises ApiError: 400, no interval of the exchange (names are case-sensitive); 404, none of ours.
    """
    if name in served:
        return name
    if name in INTERVALS:
        raise ApiError(
            404,
            "interval_not_served",
            f"Interval {name!r} is not held by this server.",
            allowed=served,
        )
    raise ApiError(
        400,
        "invalid_interval",
        f"{name[:40]!r} is no interval; names are case-sensitive.",
        allowed=served,
    )


def _read_integer(
    query: Mapping[str, str], name: str, low: int, high: int, code: str
) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    # int() alone would also take signs, blanks, underscores and other scripts' digits.
    if text.isascii() and text.isdigit() and len(text) <= len(str(high)):
        value = int(text)
        if low <= value <= high:
            return value
    raise ApiError(400, code, f"{name} is a whole number from {low} to {high}, not {text[:40]!r}.")


def read_body(request: Request, kind: type[Body]) -> Body:
    """A request's body as a message. Raises ApiError 400."""
    try:
        return msgspec.json.decode(request.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "bad_body", f"The body is not what is expected: {error}") from None
