"""Query parameters of the data routes: what they mean, what they allow, how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from klinecore.interval import INTERVALS
from server.api.problems import ApiError
from server.api.router import Parameter

__all__ = [
    "LIMIT_DEFAULT",
    "MARKET",
    "SERIES_FILTER",
    "WINDOW",
    "Window",
    "read_interval",
    "read_window",
]

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
    limit = _read_integer(query, "limit", 1, capacity, "invalid_limit")
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
    if limit is None:
        limit = min(LIMIT_DEFAULT, capacity)
    return Window(limit, forming == "true", start_ms, end_ms)


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
