"""Binance's kline intervals: names, lengths and the opening times of their calendar.

Names are case-sensitive, as on the exchange: ``1m`` is a minute, ``1M`` a month. All times are
milliseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

__all__ = [
    "INTERVALS",
    "INTERVAL_MS",
    "check_interval",
    "close_time_ms",
    "next_open_ms",
    "open_time_ms",
]

_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
# 1970-01-01 was a Thursday; weekly klines open on Monday, three days before.
_WEEK_ANCHOR: Final = -3 * _DAY

#: Length in milliseconds; 0 for ``1M``, whose length is the calendar's.
INTERVAL_MS: Final[dict[str, int]] = {
    "1s": _SECOND,
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "8h": 8 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": _DAY,
    "3d": 3 * _DAY,
    "1w": 7 * _DAY,
    "1M": 0,
}

#: Every interval name, shortest first.
INTERVALS: Final[tuple[str, ...]] = tuple(INTERVAL_MS)


def check_interval(name: str) -> str:
    """Return ``name`` if it is an interval of the exchange.

    Raises
    ------
    ValueError: it is not; the message lists the allowed names.
    """
    if name not in INTERVAL_MS:
        raise ValueError(f"unknown interval {name!r}; allowed: {', '.join(INTERVALS)}")
    return name


def open_time_ms(interval: str, time_ms: int) -> int:
    """Opening time of the kline of ``interval`` that contains ``time_ms``.

    ``3d`` is counted from 1970-01-01; the exchange documents no anchor for it, so its live rows
    keep the opening time they were sent with.
    """
    if interval == "1M":
        moment = datetime.fromtimestamp(time_ms // 1000, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1000
    length = INTERVAL_MS[check_interval(interval)]
    anchor = _WEEK_ANCHOR if interval == "1w" else 0
    return (time_ms - anchor) // length * length + anchor


def next_open_ms(interval: str, open_ms: int) -> int:
    """Opening time of the kline after the one that opened at ``open_ms``."""
    if interval == "1M":
        moment = datetime.fromtimestamp(open_ms // 1000, UTC)
        year, month = (
            (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
        )
        return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
    return open_ms + INTERVAL_MS[check_interval(interval)]


def close_time_ms(interval: str, open_ms: int) -> int:
    """Last millisecond of the kline that opened at ``open_ms``: the exchange's ``T``."""
    return next_open_ms(interval, open_ms) - 1
