"""Klines as Binance answers for them: from memory, and what is older from disk or the exchange."""

from __future__ import annotations

import math
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np

from klinecore.series import Series
from server.api.binance_query import Range, mandatory, read_range, read_symbol
from server.api.cache import BodyCache
from server.api.problems import BinanceError
from server.api.state import ServedMarket
from server.api.types import Headers, Response
from server.errors import FeedError, RestError, SpentError
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
    if served is None or interval not in served.market.intervals:
        there = ", ".join(served.market.intervals if served else ())
        raise BinanceError(-1120, f"Invalid interval. Held here: {there}.")
    span = read_range(query, market)
    weight = _weight(market, span.limit)
    series = served.market[symbol, interval]
    if (symbol, interval) in served.incomplete and _lacks(series, span):
        raise BinanceError(
            -1001, "Not all of these klines are here yet; try again.", 503, headers=SOON
        )
    key, version = (_CACHED, market, symbol, interval, span), series.sequence
    kept = cache.get(key, version)
    if kept is None:
        if served.history is not None and not _reaches(series, span):
            return _joined(served, served.history, series, span)
        kept = Response(_rows(served, series, span))
        cache.put(key, version, kept)
    return Weighed(weight, kept.body)


async def _joined(served: ServedMarket, history: History, series: Series, span: Range) -> Weighed:
    """Rows from before the window and those of it, as one answer."""
    key = (series.symbol, series.interval)
    for _ in range(_LOOKS_MAX):
        first_ms = _first_open_ms(series)
        if first_ms is None:  # its symbol was removed meanwhile
            raise BinanceError(-1121, "Invalid symbol.")
        end_ms = first_ms if span.end_ms is None else min(first_ms, span.end_ms + 1)
        try:
            if span.start_ms is not None:
                older = await history.after(key, span.start_ms, end_ms, span.limit)
            else:
                lacking = span.limit - _count(series, span)
                older = await history.before(key, end_ms, lacking)
        except FeedError as error:
            raise refusal(error) from None
        if _first_open_ms(series) == first_ms:
            body = _join(served, series, span, older)
            return Weighed(_weight(served.name, span.limit), body)
    raise BinanceError(-1001, "The window moves on too fast; try again.", 503, headers=SOON)


def _join(served: ServedMarket, series: Series, span: Range, older: Rows) -> bytes:
    """``older`` rows end where the window begins, or where the range does."""
    limit, start_ms, end_ms = span
    first_ms = _first_open_ms(series)
    newer = b"[]"
    if start_ms is not None:
        limit -= len(older)
        if limit and first_ms is not None and (end_ms is None or end_ms >= first_ms):
            newer = _rows(served, series, Range(limit, first_ms, end_ms))
    elif count := _count(series, span):
        newer = _rows(served, series, span)
        older = older[max(0, len(older) + count - limit) :]
    parts = [*older, newer[1:-1]] if len(newer) > 2 else older
    return b"[" + b",".join(parts) + b"]"


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


# --- the window --------------------------------------------------------------------------------


def _first_open_ms(series: Series) -> int | None:
    """Opening time of the oldest row in memory; None without any."""
    if len(series):
        return int(series.open_time_ms[0])
    return None if series.forming is None else series.forming.open_time_ms


def _reaches(series: Series, span: Range) -> bool:
    """True if no row of the answer is older than the window, or there is no window."""
    first_ms = _first_open_ms(series)
    if first_ms is None:
        return True
    if span.start_ms is not None:
        last_ms = math.inf if span.end_ms is None else span.end_ms
        return span.start_ms >= first_ms or span.start_ms > last_ms
    return _count(series, span) >= span.limit


def _count(series: Series, span: Range) -> int:
    """Rows of the window up to the end of a range, at most its limit."""
    end_ms = span.end_ms
    forming = series.forming
    shown = forming is not None and (end_ms is None or forming.open_time_ms <= end_ms)
    return min(span.limit, series.index_range(None, end_ms)[1] + shown)


def _weight(market: str, limit: int) -> int:
    if market == "spot":
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def _rows(served: ServedMarket, series: Series, span: Range) -> bytes:
    """Rows as the exchange gives them: it counts the forming one as one of ``limit``."""
    limit, start_ms, end_ms = span
    forming = series.forming
    shown = forming is not None and (end_ms is None or forming.open_time_ms <= end_ms)
    if start_ms is not None:
        later = len(series)
        if later >= limit:
            later -= int(np.searchsorted(series.open_time_ms, start_ms))
        shown = shown and later < limit
    elif forming is not None and shown:
        if limit == 1:  # nothing but the forming one
            start_ms = forming.open_time_ms
        limit = max(limit - 1, 1)
    return served.market.klines_array_json(
        series.symbol, series.interval, limit, forming=shown, start_ms=start_ms, end_ms=end_ms
    )


def _lacks(series: Series, span: Range) -> bool:
    """True if rows that may still come would belong into the answer."""
    if not len(series):
        return True
    opens = series.open_time_ms
    if span.start_ms is None:
        first_ms = int(opens[max(0, len(opens) - span.limit)])
        if len(opens) < span.limit:
            return True
    else:
        first_ms = span.start_ms
        if first_ms < opens[0]:
            return True
    last_ms = span.end_ms if span.end_ms is not None else int(opens[-1])
    return any(first_ms <= last and first <= last_ms for first, last in series.holes())
