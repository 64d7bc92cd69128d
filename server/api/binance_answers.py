"""Binance's public market data from memory: what can be asked, shapes, numbers and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from server.access.rates import PER_MINUTE
from server.api.binance_forwards import FORWARDED, Forwarded, pass_on
from server.api.binance_klines import SOON, Answered, Query, Weighed, answer_klines
from server.api.binance_query import (
    INFO,
    KLINES,
    SYMBOLS,
    TICKERS,
    read_names,
    read_symbol,
    read_ticker_type,
)
from server.api.cache import BodyCache
from server.api.problems import BinanceError
from server.api.router import Parameter
from server.api.state import ServedMarket, ServerState
from server.feeds.universe import GONE
from server.identity import Principal, Scope

__all__ = ["PREFIXES", "BinanceAnswers", "Question", "rate_limits"]

#: Where a market's paths are.
PREFIXES: Final = {"spot": "/api/v3", "um": "/fapi/v1"}
_MINUTE_MS: Final = 60_000
#: Clients whose weight of the minute is remembered; one more, and all begin anew.
_CLIENTS_MAX: Final = 10_000
#: Long names of a ticker's letters, in the order of the answer. The simulated exchange has a table
#: of its own: tests compare the two answers, and would not see a fault that both shared.
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
#: Methods of a WebSocket that are not called as their paths.
_METHODS: Final = {"trades": "trades.recent", "aggTrades": "trades.aggregate"}
_MINI: Final = tuple("sohlcvqOCFLn")


class Question(NamedTuple):
    """One thing that can be asked of a market, over HTTP and over a WebSocket alike."""

    path: str  # behind the market's prefix
    text: str
    #: ``answer(market, query, principal)``: at once, or what brings it. Raises ApiError.
    answer: Callable[[str, Query, Principal], Answered]
    parameters: tuple[Parameter, ...] = ()
    opened: bool = False  # to anybody over HTTP, and without weight there

    @property
    def method(self) -> str:
        """Its name over a WebSocket."""
        name = self.path.replace("/", ".").replace("bookTicker", "book")
        return _METHODS.get(name, name)


class BinanceAnswers:
    """Answers for everybody who asks as Binance is asked, and what each has used."""

    def __init__(self, state: ServerState, cache: BodyCache) -> None:
        self._state = state
        self._cache = cache
        self._minute = -1
        self._used: dict[str, int] = {}  # weight in the minute, by client
        self._symbols: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {}
        #: What can be asked, by market.
        self.questions = {market: self._questions(market) for market in PREFIXES}

    def _questions(self, market: str) -> tuple[Question, ...]:
        questions = [
            Question("ping", "connectivity", self._ping, opened=True),
            Question("time", "the exchange's time", self._time, opened=True),
            Question(
                "exchangeInfo",
                "symbols as the exchange describes them",
                self._exchange_info,
                INFO,
            ),
            Question("klines", "klines, the forming one included", self._klines, KLINES),
            Question("ticker/24hr", "rolling 24 hours", self._ticker_24hr, TICKERS),
            Question("ticker/price", "last prices", self._ticker_price, SYMBOLS),
        ]
        if market == "spot":
            questions += [
                Question("uiKlines", "the same as klines", self._klines, KLINES),
                # USD-M's ticker streams carry no bid and ask.
                Question("ticker/bookTicker", "best bid and ask", self._book_ticker, SYMBOLS),
            ]
        forwarded = FORWARDED[market] if self._state.settings.forward else ()
        questions += [
            Question(asked.path, asked.text, partial(self._forward, asked), asked.parameters)
            for asked in forwarded
        ]
        if market == "spot" and not forwarded:
            text = "average of five minutes, where answers are passed on"
            questions.append(Question("avgPrice", text, self._no_average, SYMBOLS[:1]))
        return tuple(questions)

    def take(self, client: str, weight: int) -> int:
        """Count what a client has asked; what it has used in this minute."""
        minute = self._state.clock.time_ms() // _MINUTE_MS
        if minute != self._minute or len(self._used) >= _CLIENTS_MAX:
            self._minute = minute
            self._used.clear()
        used = self._used[client] = self._used.get(client, 0) + weight
        return used

    # --- what needs no market ------------------------------------------------------------------

    def _ping(self, market: str, query: Query, principal: Principal) -> Weighed:
        return Weighed(1, b"{}")

    def _time(self, market: str, query: Query, principal: Principal) -> Weighed:
        return Weighed(1, b'{"serverTime":%d}' % self.now_ms())

    def info(self, symbols: list[msgspec.Raw], limits: list[dict[str, Any]]) -> bytes:
        """An ``exchangeInfo``."""
        return msgspec.json.encode(
            {
                "timezone": "UTC",
                "serverTime": self.now_ms(),
                "rateLimits": limits,
                "exchangeFilters": [],
                "symbols": symbols,
            }
        )

    def _exchange_info(self, market: str, query: Query, principal: Principal) -> Weighed:
        """Symbols held, in the exchange's own words, and the limits of who asks."""
        served = self._served(market)
        names, _ = read_names(query, self._held(served))
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
                    -1001, "The exchange has not told of them yet; try again.", 503, headers=SOON
                )
        weight = 20 if market == "spot" else 1
        return Weighed(weight, self.info(told, rate_limits(principal)))

    def now_ms(self) -> int:
        """The exchange's time, as far as it is known."""
        now_ms = self._state.market_clock.time_ms()
        for served in self._state.markets.values():
            return now_ms + served.feed.status().server_offset_ms
        return now_ms

    # --- klines --------------------------------------------------------------------------------

    def _klines(self, market: str, query: Query, principal: Principal) -> Answered:
        served = self._served(market)
        return answer_klines(market, served, self._held(served), query, self._cache)

    # --- what the exchange alone can answer ----------------------------------------------------

    def _forward(
        self, asked: Forwarded, market: str, query: Query, principal: Principal
    ) -> Answered:
        served = self._served(market)
        if served is None or served.forwards is None:
            raise BinanceError(-1121, "Invalid symbol.")
        return pass_on(asked, served.forwards, self._held(served), query)

    def _no_average(self, market: str, query: Query, principal: Principal) -> Answered:
        """It is of the trades of exactly five minutes, with the last one's time."""
        read_symbol(query, self._held(self._served(market)))
        text = "klines do not settle an average of trades; with KLINE_FORWARD the exchange is asked"
        raise BinanceError(-1020, f"This operation is not supported: {text}.")

    # --- tickers -------------------------------------------------------------------------------

    def _ticker_24hr(self, market: str, query: Query, principal: Principal) -> Weighed:
        kind = read_ticker_type(query)
        letters = tuple(_LONG_NAMES) if kind == "FULL" else _MINI
        tickers, single = self._tickers(market, query)
        answers = [
            {_LONG_NAMES[key]: ticker[key] for key in letters if key in ticker}
            for ticker in tickers
        ]
        weight = 1 if single else 40
        if market == "spot":
            count = len(tickers)
            weight = 2 if count <= 20 else 40 if count <= 100 else 80
            weight = weight if single or "symbols" in query else 80
        return _weighed(weight, answers, single)

    def _ticker_price(self, market: str, query: Query, principal: Principal) -> Weighed:
        tickers, single = self._tickers(market, query, "c")
        answers = []
        for ticker in tickers:
            answer = {"symbol": ticker["s"], "price": ticker["c"]}
            answers.append(answer if market == "spot" else answer | {"time": ticker["E"]})
        weight = (2 if single else 4) if market == "spot" else (1 if single else 2)
        return _weighed(weight, answers, single)

    def _book_ticker(self, market: str, query: Query, principal: Principal) -> Weighed:
        tickers, single = self._tickers(market, query, "bBaA")
        answers = [{_LONG_NAMES[key]: ticker[key] for key in "sbBaA"} for ticker in tickers]
        return _weighed(2 if single else 4, answers, single)

    def _tickers(
        self, market: str, query: Query, needed: str = ""
    ) -> tuple[list[dict[str, Any]], bool]:
        """Tickers asked for that have come; raises BinanceError where the only one has not."""
        served = self._served(market)
        names, single = read_names(query, self._held(served))
        tickers: list[dict[str, Any]] = []
        if served is None:
            return tickers, single
        for name in names:
            ticker = served.market.ticker(name)
            if ticker is not None and all(letter in ticker for letter in needed):
                tickers.append(ticker)
        if single and not tickers:
            raise BinanceError(-1001, "No ticker of it has come yet.", 503, headers=SOON)
        return tickers, single

    def _served(self, market: str) -> ServedMarket | None:
        """The market; None where it is not served at all. Raises ApiError 503: not there yet."""
        return self._state.served(market) if market in self._state.market_names else None

    def _held(self, served: ServedMarket | None) -> Mapping[str, object]:
        """Symbols of a market; made anew when they have changed: it has another tuple then."""
        if served is None:
            return {}
        symbols, held = self._symbols.get(served.name, ((), {}))
        if symbols is not served.market.symbols:
            held = dict.fromkeys(served.market.symbols)
            self._symbols[served.name] = (served.market.symbols, held)
        return held


def rate_limits(principal: Principal, used: int | None = None) -> list[dict[str, Any]]:
    """Requests a minute of somebody's tier, and how many of them are used; the operator is not
    limited."""
    if principal.scope is Scope.ADMIN:
        return []
    limit: dict[str, Any] = {
        "rateLimitType": "RAW_REQUESTS",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": PER_MINUTE[principal.tier],
    }
    return [limit if used is None else limit | {"count": used}]


def _weighed(weight: int, answers: list[dict[str, Any]], single: bool) -> Weighed:
    return Weighed(weight, msgspec.json.encode(answers[0] if single else answers))
