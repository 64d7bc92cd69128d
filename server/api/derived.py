"""Klines made of shorter ones: exactly the exchange's own, or not at all.

Prices are texts taken over, amounts are sums of whole numbers at the printed scale: no float takes
part. Where the shorter klines do not settle what the exchange would print, nothing is made.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from klinecore.interval import INTERVAL_MS, INTERVALS, next_open_ms, open_time_ms
from klinecore.kline import Kline
from klinecore.series import Series
from server.api.binance_query import Range
from server.errors import ServerError

__all__ = ["DerivedWindow", "InexactError", "bases_of", "derive_rows"]

#: Klines of the base that one answer is made of at most: a few milliseconds of the event loop.
BASE_ROWS_MAX: Final = 1500

#: Whose calendar is the exchange's to tell.
_UNSETTLED: Final = ("3d", "1M")


class InexactError(ServerError):
    """What the exchange would print cannot be told from the klines held. Ask the exchange."""


def bases_of(interval: str, held: Sequence[str]) -> list[str]:
    """Held intervals that ``interval`` is made of without a rest, longest first."""
    if interval in _UNSETTLED:
        return []
    length = INTERVAL_MS[interval]
    shorter = [
        base
        for base in held
        if base != interval and base not in _UNSETTLED and not length % INTERVAL_MS[base]
    ]
    return sorted(shorter, key=INTERVALS.index, reverse=True)


class DerivedWindow:
    """The rows of an interval that is not held, as far as a shorter one's window reaches."""

    def __init__(self, base: Series, interval: str) -> None:
        """Raises InexactError: no kline of ``interval`` begins within the window."""
        self._base = base
        self._interval = interval
        self.interval = base.interval
        self.version = base.sequence
        count, forming = len(base), base.forming
        opens_ms = base.open_time_ms[max(0, count - BASE_ROWS_MAX) :]
        if not len(opens_ms):
            raise InexactError("the window is empty")
        last_ms = int(opens_ms[-1]) if forming is None else forming.open_time_ms
        first_ms = open_time_ms(interval, int(opens_ms[0]))
        if first_ms < opens_ms[0]:
            first_ms = next_open_ms(interval, first_ms)
        if first_ms > last_ms:
            raise InexactError("the window is shorter than a kline")
        self._opens_ms = range(first_ms, last_ms + 1, INTERVAL_MS[interval])
        #: Opening time of the oldest row.
        self.first_ms = first_ms

    def count(self, span: Range) -> int:
        """Rows up to the end of a range, at most its limit."""
        return min(span.limit, self._end(span))

    def _end(self, span: Range) -> int:
        opens_ms = self._opens_ms
        return len(opens_ms) if span.end_ms is None else bisect_right(opens_ms, span.end_ms)

    def body(self, span: Range) -> bytes:
        """The rows of a range as Binance's array. Raises InexactError."""
        opens_ms, limit = self._opens_ms, span.limit
        high = self._end(span)
        if span.start_ms is None:
            low = max(0, high - limit)
        else:
            low = bisect_left(opens_ms, span.start_ms)
            high = min(high, low + limit)
        if high == len(opens_ms) and self._base.forming is None:
            raise InexactError("nothing newer has come yet")
        if low >= high:
            return b"[]"
        first_ms, end_ms = opens_ms[low], next_open_ms(self._interval, opens_ms[high - 1])
        base = self._base
        begin = base.index_range(first_ms, None)[0]
        rows = base.klines(len(base) - begin, forming=True) if begin < len(base) else []
        rows = rows or [row for row in (base.forming,) if row is not None]
        del rows[bisect_left(rows, end_ms, key=lambda row: row.open_time_ms) :]
        if not rows or rows[0].open_time_ms != first_ms:
            raise InexactError("the first of its klines is missing")
        if rows[-1].closed and rows[-1].close_time_ms < end_ms - 1:
            raise InexactError("the newest of its klines is missing")
        return b"[" + b",".join(derive_rows(rows, self._interval, base.interval)) + b"]"


def derive_rows(rows: Sequence[Kline], interval: str, base: str) -> list[bytes]:
    """Tuples of ``interval`` made of ``rows``, the first of which opens when one of them does.

    Raises InexactError: rows are missing in between, or do not settle the texts.
    """
    length = INTERVAL_MS[base]
    first_ms = rows[0].open_time_ms
    if rows[-1].open_time_ms - first_ms != (len(rows) - 1) * length:
        raise InexactError("klines are missing in between")
    derived, begin, open_ms = [], 0, first_ms
    while begin < len(rows):
        end_ms = next_open_ms(interval, open_ms)
        end = begin + (end_ms - open_ms) // length
        derived.append(_derive(rows[begin:end], open_ms, end_ms - 1))
        begin, open_ms = end, end_ms
    return derived


def _derive(rows: Sequence[Kline], open_ms: int, close_ms: int) -> bytes:
    """One tuple.

    A kline without a trade repeats the price before it. Whether that price counts is only known
    where it makes no difference: before the first trade it must be that trade's.
    """
    traded = [row for row in rows if row.trades] or rows[:1]
    opened, closed = traded[0].open, traded[-1].close
    since = opened
    for row in rows:
        if row.trades:
            since = row.close
        elif row.open != since or row.close != since:
            raise InexactError("a price without a trade")
    scales = {_scale(text) for row in traded for text in row[1:5]}
    if len(scales) > 1:
        raise InexactError("prices of several scales")
    high = max((row.high for row in traded), key=_digits)
    low = min((row.low for row in traded), key=_digits)
    volume, quote = _sum([r.volume for r in rows]), _sum([r.quote_volume for r in rows])
    taker = _sum([r.taker_buy_base for r in rows])
    taker_quote = _sum([r.taker_buy_quote for r in rows])
    trades = sum(row.trades for row in rows)
    return (
        f'[{open_ms},"{opened}","{high}","{low}","{closed}","{volume}",{close_ms},"{quote}",'
        f'{trades},"{taker}","{taker_quote}","0"]'
    ).encode()


def _sum(texts: Sequence[str]) -> str:
    """The sum as the exchange prints it. Raises InexactError: the scale is not one."""
    some = [text for text in texts if _digits(text)]
    if not some:
        if len(set(texts)) > 1:
            raise InexactError("zeros of several scales")
        return texts[0]
    scale = _scale(some[0])
    if any(_scale(text) != scale for text in some):
        raise InexactError("amounts of several scales")
    digits = str(sum(map(_digits, some))).rjust(scale + 1, "0")
    return f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits


def _digits(text: str) -> int:
    return int(text.replace(".", ""))


def _scale(text: str) -> int:
    return len(text.partition(".")[2])
