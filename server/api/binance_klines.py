"""Klines as Binance answers for them: from memory, and what is older from disk or the exchange."""

from __future__ import annotations

import math
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from klinecore.errors import UnknownSeriesError
from klinecore.interval import INTERVALS
from klinecore.series import Series
from server.api.binance_query import Range, mandatory, read_range, read_symbol
from server.api.cache import BodyCache
from server.api.derived import DerivedWindow, InexactError, bases_of
from server.api.problems import BinanceError
from server.api.state import ServedMarket
from server.api.types import Headers, Response
from server.api.windows import HeldWindow, Window, lacks
from server.errors import FeedError, RestError, SpentError
from server.feeds.answers import Key
from server.feeds.history import History, Rows

__all__ = ["SOON", "Answered", "Query", "Weighed", "answer_klines", "refusal"]

#: For what is not there yet.
SOON: Final[Headers] = [(b"retry-after", b"2")]

#: Beside whatever else the cache knows.
_CACHED: Final = "binance"

#: A window that moves on while older rows are fetched is looked at so often.
_LOOKS_MAX = 4


class Weighed(NamedTuple):
    """An answer, and its weight as Binance counts it."""

    weight: int
    body: bytes


#: Parameters by name, as text.
Query: TypeAlias = Mapping[str, str]
#: An answer, or what brings it: the exchange has to be asked, or the disk.
Answered: TypeAlias = Weighed | Coroutine[Any, Any, Weighed]


def answer_klines(
    market: str,
    served: ServedMarket | None,
    held: Mapping[str, object],
    query: Query,
    cache: BodyCache,
) -> Answered:
    """Klines of a query: at once if memory holds them.

    ``served`` is None for a market that is not; ``held`` are its symbols. What memory holds stays
    in the ``cache`` until one of the series' rows changes.

    Raises BinanceError, also when awaited.
    """
    symbol = read_symbol(query, held)
    interval = mandatory(query, "interval")
    history = None if served is None else served.history
    if served is None or not _is_known(served, interval):
        there = ", ".join(served.market.intervals if served else ())
        raise BinanceError(-1120, f"Invalid interval. Held here: {there}.")
    span = read_range(query, market)
    try:
        window = _look(served, symbol, interval)
        if (symbol, interval) in served.incomplete and not (history and _passes(window, span)):
            _check(served.market[symbol, interval], span)
        key, version = (_CACHED, market, symbol, interval, window.interval, span), window.version
        kept = cache.get(key, version)
        if kept is None and (history is None or _reaches(window, span)):
            kept = Response(window.body(span))
            cache.put(key, version, kept)
        if kept is not None:
            return Weighed(_weight(market, span.limit), kept.body)
    except InexactError:
        assert history is not None  # without it, there are held intervals alone
        return _live(served, history, (symbol, interval), span)
    assert history is not None
    return _joined(served, history, (symbol, interval), span)


def _is_known(served: ServedMarket, interval: str) -> bool:
    """True if there are such klines here: held, or to be made or fetched."""
    if interval in served.market.intervals:
        return True
    exists = interval in INTERVALS and (interval != "1s" or served.name == "spot")
    return exists and served.history is not None


def _look(served: ServedMarket, symbol: str, interval: str) -> Window:
    """What memory has of a series at this moment. Raises InexactError, BinanceError."""
    market = served.market
    try:
        if interval in market.intervals:
            return HeldWindow(market, market[symbol, interval])
        for base in bases_of(interval, market.intervals):
            if (symbol, base) not in served.incomplete:
                return DerivedWindow(market[symbol, base], interval)
    except UnknownSeriesError:
        raise BinanceError(-1121, "Invalid symbol.") from None
    raise InexactError("nothing held that it could be made of")


def _reaches(window: Window, span: Range) -> bool:
    """True if no row of the answer is older than the window, or there is no window."""
    first_ms = window.first_ms
    if first_ms is None:
        return True
    if span.start_ms is not None:
        last_ms = math.inf if span.end_ms is None else span.end_ms
        return span.start_ms >= first_ms or span.start_ms > last_ms
    return window.count(span) >= span.limit


def _passes(window: Window, span: Range) -> bool:
    """True if all of a range is older than the window."""
    first_ms, end_ms = window.first_ms, span.end_ms
    return first_ms is not None and end_ms is not None and end_ms < first_ms


def _check(series: Series, span: Range) -> None:
    """Raises BinanceError: rows of a range that the window ought to have may still come."""
    if lacks(series, span):
        text = "Not all of these klines are here yet; try again."
        raise BinanceError(-1001, text, 503, headers=SOON)


async def _joined(served: ServedMarket, history: History, key: Key, span: Range) -> Weighed:
    """Rows from before the window and those of it, as one answer."""
    for _ in range(_LOOKS_MAX):
        try:
            window = _look(served, *key)
            first_ms = window.first_ms
            if first_ms is None:  # its symbol was removed meanwhile
                raise BinanceError(-1121, "Invalid symbol.")
            end_ms = first_ms if span.end_ms is None else min(first_ms, span.end_ms + 1)
            if span.start_ms is not None:
                older = await history.after(key, span.start_ms, end_ms, span.limit)
            else:
                older = await history.before(key, end_ms, span.limit - window.count(span))
            window = _look(served, *key)
            if window.first_ms == first_ms:
                body = _join(window, first_ms, span, older)
                return Weighed(_weight(served.name, span.limit), body)
        except InexactError:
            return await _live(served, history, key, span)
        except FeedError as error:
            raise refusal(error) from None
    raise BinanceError(-1001, "The window moves on too fast; try again.", 503, headers=SOON)


def _join(window: Window, first_ms: int, span: Range, older: Rows) -> bytes:
    """``older`` rows end where the window begins, or where the range does."""
    limit, start_ms, end_ms = span
    newer = b"[]"
    if start_ms is not None:
        limit -= len(older)
        if limit and (end_ms is None or end_ms >= first_ms):
            newer = window.body(Range(limit, first_ms, end_ms))
    elif count := window.count(span):
        newer = window.body(span)
        older = older[max(0, len(older) + count - limit) :]
    parts = [*older, newer[1:-1]] if len(newer) > 2 else older
    return b"[" + b",".join(parts) + b"]"


async def _live(served: ServedMarket, history: History, key: Key, span: Range) -> Weighed:
    """Rows that memory has nothing of, the forming one included."""
    try:
        rows = await history.live(key, span.limit, start_ms=span.start_ms, end_ms=span.end_ms)
    except FeedError as error:
        raise refusal(error) from None
    return Weighed(_weight(served.name, span.limit), b"[" + b",".join(rows) + b"]")


def refusal(error: FeedError) -> BinanceError:
    """What the exchange's refusal, or its silence, means to a client."""
    if isinstance(error, SpentError):
        wait = b"%d" % max(1, math.ceil(error.wait_s))
        return BinanceError(
            -1003,
            f"Too much request weight used; {error}.",
            429,
            headers=[(b"retry-after", wait)],
        )
    if isinstance(error, RestError) and 400 <= error.status < 500:
        try:
            told = msgspec.json.decode(error.body, type=_Told)
            return BinanceError(told.code, told.msg, error.status)
        except msgspec.DecodeError:
            pass
    text = "The exchange cannot be asked for what is not in memory; try again."
    return BinanceError(-1001, text, 503, headers=SOON)


class _Told(msgspec.Struct):
    """The exchange's own error."""

    code: int
    msg: str


def _weight(market: str, limit: int) -> int:
    if market == "spot":
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
