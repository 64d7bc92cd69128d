"""Binance's public market data from memory: its paths, parameters, shapes, numbers and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from klinecore.series import Series
from server.access.rates import PER_MINUTE
from server.api.binance_query import (
    INFO,
    KLINES,
    SYMBOLS,
    TICKERS,
    Range,
    mandatory,
    read_names,
    read_range,
    read_symbol,
    read_ticker_type,
)
from server.api.problems import ApiError, BinanceError
from server.api.router import Access, Parameter, Request, Route
from server.api.state import ServedMarket, ServerState
from server.api.types import Headers, Response
from server.feeds.universe import GONE
from server.identity import Principal, Scope

__all__ = ["BinanceRoutes"]

_PREFIXES: Final = {"spot": "/api/v3", "um": "/fapi/v1"}
_MINUTE_MS: Final = 60_000
#: Clients whose weight of the minute is remembered; one more, and all begin anew.
_CLIENTS_MAX: Final = 10_000
#: Long names of a ticker's letters, in the order of the answer.
_LONG_NAMES: Final = {
    "s": "symbol",
    "p": "priceChange",
    "P": "priceChangePercent",
    "w": "weightedAvgPrice",
    "x": "prevClosePrice",
    "c": "lastPrice",
    "Q": "lastQty",
    "b": "bidPrice",
    "B": "bidQty",
    "a": "askPrice",
    "A": "askQty",
    "o": "openPrice",
    "h": "highPrice",
    "l": "lowPrice",
    "v": "volume",
    "q": "quoteVolume",
    "O": "openTime",
    "C": "closeTime",
    "F": "firstId",
    "L": "lastId",
    "n": "count",
}
_MINI: Final = tuple("sohlcvqOCFLn")
_SOON: Final[Headers] = [(b"retry-after", b"2")]


class _Weighed(NamedTuple):
    weight: int  # as Binance counts it
    body: bytes


class _Weights:
    """What each client has used in the minute, as the exchange's headers tell it."""

    def __init__(self) -> None:
        self._minute = -1
        self._used: dict[str, int] = {}

    def take(self, client: str, weight: int, now_ms: int) -> Headers:
        minute = now_ms // _MINUTE_MS
        if minute != self._minute or len(self._used) >= _CLIENTS_MAX:
            self._minute = minute
            self._used.clear()
        used = self._used[client] = self._used.get(client, 0) + weight
        text = b"%d" % used
        return [(b"x-mbx-used-weight", text), (b"x-mbx-used-weight-1m", text)]


_Answer = Callable[[str, Request], _Weighed]


class BinanceRoutes:
    """Handlers below ``/api/v3`` and ``/fapi/v1``, and the little that clients ask beside them."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._weights = _Weights()
        opened = Access.OPEN
        self.table = (
            *self._market_routes("spot"),
            *self._market_routes("um"),
            Route("/sapi/v1/system/status", self._system, "Binance: no maintenance", opened, _JSON),
            Route("/dapi/v1/exchangeInfo", self._nothing, "Binance: COIN-M, empty", opened, _JSON),
        )

    def _market_routes(self, market: str) -> list[Route]:
        prefix, opened = _PREFIXES[market], Access.OPEN
        routes = [
            Route(f"{prefix}/ping", self._ping, "Binance: connectivity", opened, _JSON),
            Route(f"{prefix}/time", self._time, "Binance: the exchange's time", opened, _JSON),
        ]
        paths: list[tuple[str, _Answer, str, tuple[Parameter, ...]]] = [
            ("exchangeInfo", self._exchange_info, "symbols as the exchange describes them", INFO),
            ("klines", self._klines, "klines, the forming one included", KLINES),
            ("ticker/24hr", self._ticker_24hr, "rolling 24 hours", TICKERS),
            ("ticker/price", self._ticker_price, "last prices", SYMBOLS),
        ]
        if market == "spot":
            paths += [
                ("uiKlines", self._klines, "the same as klines", KLINES),
                # USD-M's ticker streams carry no bid and ask.
                ("ticker/bookTicker", self._book_ticker, "best bid and ask", SYMBOLS),
            ]
        for path, answer, text, parameters in paths:
            routes.append(
                Route(
                    f"{prefix}/{path}",
                    self._handler(market, answer),
                    f"Binance: {text}",
                    Access.READ,
                    _JSON,
                    parameters,
                    (400, 401, 429, 503),
                    personal=True,
                )
            )
        return routes

    def _handler(self, market: str, answer: _Answer) -> Callable[[Request], Response]:
        def handle(request: Request) -> Response:
            client = request.principal.bucket
            try:
                weighed = answer(market, request)
            except ApiError as error:
                error.headers = [*(error.headers or ()), *self._take(client, 1)]
                raise
            headers = [_FRESH, *self._take(client, weighed.weight)]
            served = self._state.markets.get(market)
            if served is not None:
                headers += served.warnings
            return Response(weighed.body, headers=headers)

        return handle

    def _take(self, client: str, weight: int) -> Headers:
        return self._weights.take(client, weight, self._state.clock.time_ms())

    # --- what needs no market ------------------------------------------------------------------

    def _ping(self, request: Request) -> Response:
        return Response(b"{}", headers=[_FRESH])

    def _time(self, request: Request) -> Response:
        return Response(b'{"serverTime":%d}' % self._now_ms(), headers=[_FRESH])

    def _system(self, request: Request) -> Response:
        """``status`` 1 is Binance's maintenance: we cannot answer either."""
        working = not self._state.draining and bool(self._state.markets)
        status, text = (0, "normal") if working else (1, "system_maintenance")
        return Response(msgspec.json.encode({"status": status, "msg": text}), headers=[_FRESH])

    def _nothing(self, request: Request) -> Response:
        return Response(self._info([], []), headers=[_FRESH])

    def _info(self, symbols: list[msgspec.Raw], limits: list[dict[str, Any]]) -> bytes:
        return msgspec.json.encode(
            {
                "timezone": "UTC",
                "serverTime": self._now_ms(),
                "rateLimits": limits,
                "exchangeFilters": [],
                "symbols": symbols,
            }
        )

    def _exchange_info(self, market: str, request: Request) -> _Weighed:
        """Symbols held, in the exchange's own words, and the limits of who asks."""
        served = self._served(market)
        names, _ = read_names(request.query, _held(served))
        told: list[msgspec.Raw] = []
        if served is not None:
            details, statuses = served.feed.details(), served.feed.statuses()
            told = [
                msgspec.Raw(details[name])
                for name in names
                if name in details and statuses.get(name) != GONE
            ]
            if names and not told:
                raise BinanceError(
                    -1001, "The exchange has not told of them yet; try again.", 503, headers=_SOON
                )
        weight = 20 if market == "spot" else 1
        return _Weighed(weight, self._info(told, _limits(request.principal)))

    def _now_ms(self) -> int:
        """The exchange's time, as far as it is known."""
        now_ms = self._state.market_clock.time_ms()
        for served in self._state.markets.values():
            return now_ms + served.feed.status().server_offset_ms
        return now_ms

    # --- klines --------------------------------------------------------------------------------

    def _klines(self, market: str, request: Request) -> _Weighed:
        query = request.query
        served = self._served(market)
        symbol = read_symbol(query, _held(served))
        interval = mandatory(query, "interval")
        if served is None or interval not in served.market.intervals:
            held = ", ".join(served.market.intervals if served else ())
            raise BinanceError(-1120, f"Invalid interval. Held here: {held}.")
        span = read_range(query, market)
        series = served.market[symbol, interval]
        if (symbol, interval) in served.incomplete and _lacks(series, span):
            raise BinanceError(
                -1001, "Not all of these klines are here yet; try again.", 503, headers=_SOON
            )
        return _Weighed(_kline_weight(market, span.limit), _rows(served, series, span))

    # --- tickers -------------------------------------------------------------------------------

    def _ticker_24hr(self, market: str, request: Request) -> _Weighed:
        kind = read_ticker_type(request.query)
        letters = tuple(_LONG_NAMES) if kind == "FULL" else _MINI
        tickers, single = self._tickers(market, request.query)
        answers = [
            {_LONG_NAMES[key]: ticker[key] for key in letters if key in ticker}
            for ticker in tickers
        ]
        weight = 1 if single else 40
        if market == "spot":
            count = len(tickers)
            weight = 2 if count <= 20 else 40 if count <= 100 else 80
            weight = weight if single or "symbols" in request.query else 80
        return _weighed(weight, answers, single)

    def _ticker_price(self, market: str, request: Request) -> _Weighed:
        tickers, single = self._tickers(market, request.query, "c")
        answers = []
        for ticker in tickers:
            answer = {"symbol": ticker["s"], "price": ticker["c"]}
            answers.append(answer if market == "spot" else answer | {"time": ticker["E"]})
        weight = (2 if single else 4) if market == "spot" else (1 if single else 2)
        return _weighed(weight, answers, single)

    def _book_ticker(self, market: str, request: Request) -> _Weighed:
        tickers, single = self._tickers(market, request.query, "bBaA")
        answers = [{_LONG_NAMES[key]: ticker[key] for key in "sbBaA"} for ticker in tickers]
        return _weighed(2 if single else 4, answers, single)

    def _tickers(
        self, market: str, query: Mapping[str, str], needed: str = ""
    ) -> tuple[list[dict[str, Any]], bool]:
        """Tickers asked for that have come; raises BinanceError where the only one has not."""
        served = self._served(market)
        names, single = read_names(query, _held(served))
        tickers: list[dict[str, Any]] = []
        if served is None:
            return tickers, single
        for name in names:
            ticker = served.market.ticker(name)
            if ticker is not None and all(letter in ticker for letter in needed):
                tickers.append(ticker)
        if single and not tickers:
            raise BinanceError(-1001, "No ticker of it has come yet.", 503, headers=_SOON)
        return tickers, single

    def _served(self, market: str) -> ServedMarket | None:
        """The market; None where it is not served at all. Raises ApiError 503: not there yet."""
        return self._state.served(market) if market in self._state.market_names else None


_JSON: Final = "application/json"
_FRESH: Final = (b"cache-control", b"no-cache")


def _limits(principal: Principal) -> list[dict[str, Any]]:
    """Requests a minute of somebody's tier; the operator is not limited."""
    if principal.scope is Scope.ADMIN:
        return []
    limit = PER_MINUTE[principal.tier]
    return [
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 1, "limit": limit}
    ]


def _held(served: ServedMarket | None) -> Mapping[str, object]:
    return {} if served is None else dict.fromkeys(served.market.symbols)


def _weighed(weight: int, answers: list[dict[str, Any]], single: bool) -> _Weighed:
    return _Weighed(weight, msgspec.json.encode(answers[0] if single else answers))


def _kline_weight(market: str, limit: int) -> int:
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
