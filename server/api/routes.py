"""What each route answers; its table is the source of the API description."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from klinecore.errors import UnknownSeriesError
from klinecore.series import Series
from server.api.alerts import AlertRoutes
from server.api.binance import BinanceRoutes
from server.api.binance_answers import BinanceAnswers
from server.api.cache import BodyCache
from server.api.event_routes import EventRoutes
from server.api.events import EventServer
from server.api.executions import ExecutionRoutes
from server.api.filters import FilterRoutes
from server.api.functions import FunctionRoutes
from server.api.me import MeRoutes
from server.api.openapi import describe
from server.api.page import CONTENT_SECURITY_POLICY, front_page
from server.api.panels import PanelRoutes
from server.api.parameters import (
    MARKET,
    WINDOW,
    Window,
    find_series,
    read_body,
    read_window,
    unknown_symbol,
)
from server.api.problems import ApiError
from server.api.router import Access, Request, Route
from server.api.signals import SignalRoutes
from server.api.state import ServedMarket, ServerState
from server.api.status import StatusRoutes
from server.api.traders import TraderRoutes
from server.api.types import (
    Headers,
    Health,
    Klines,
    MarketSymbols,
    Readiness,
    Response,
    Symbols,
    SymbolsChange,
    Ticker,
)
from server.api.web import WebRoutes
from server.errors import FeedError
from server.feeds.universe import NoRoomError, UnknownSymbolsError
from server.web.site import PAGE_HEADERS, open_site

__all__ = ["Routes"]

#: The loop must have beaten this recently for the process to count as alive.
HEARTBEAT_AGE_S_MAX = 5.0

_FRESH = (b"cache-control", b"no-cache")  # keep it, but ask each time whether it still holds
_NEVER = (b"cache-control", b"no-store")
_METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class _KlinesPlan(NamedTuple):
    """What a target of ``/klines`` means; good as long as the market holds the same symbols."""

    served: ServedMarket
    symbols: tuple[str, ...]
    series: Series
    window: Window
    key: tuple[str, str, str, Window]


class Routes:
    """Handlers over one ``ServerState``; ``table`` says which path leads to which."""

    def __init__(
        self,
        state: ServerState,
        cache: BodyCache,
        events: EventServer,
        binance: BinanceAnswers,
    ) -> None:
        self._state = state
        self._cache = cache
        self.table = (
            *self._make_table(),
            *FilterRoutes(state).table,
            *PanelRoutes(state).table,
            *FunctionRoutes(state).table,
            *TraderRoutes(state).table,
            *EventRoutes(state, events).table,
            *SignalRoutes(state, events).table,
            *ExecutionRoutes(state).table,
            *AlertRoutes(state).table,
            *BinanceRoutes(state, binance).table,
            *MeRoutes(state).table,
            *StatusRoutes(state).table,
            *WebRoutes(open_site(state.settings)).table,
        )
        self._page = Response(
            front_page(self.table),
            content_type=b"text/html; charset=utf-8",
            headers=[
                (b"content-security-policy", CONTENT_SECURITY_POLICY),
                *((name.encode(), value.encode()) for name, value in PAGE_HEADERS.items()),
                _FRESH,
            ],
        )
        self._description = Response(describe(self.table), headers=[_FRESH])

    def _make_table(self) -> tuple[Route, ...]:
        opened, read, operator = Access.OPEN, Access.READ, Access.ADMIN
        errors = (400, 401, 404, 429, 503)
        return (
            Route("/docs", self._front, "Where everything is", opened, "text/html"),
            Route(
                "/health",
                self._health,
                "Whether the process is alive",
                opened,
                Health,
                answer_statuses=(503,),
            ),
            Route(
                "/ready",
                self._ready,
                "Whether the data can be relied on",
                opened,
                Readiness,
                answer_statuses=(503,),
            ),
            Route("/openapi.json", self._openapi, "This description", opened, "application/json"),
            Route(
                "/klines/{symbol}/{interval}",
                self._klines,
                "Newest klines of a series, oldest first",
                read,
                Klines,
                WINDOW,
                (304, *errors),
            ),
            Route(
                "/ticker/{symbol}",
                self._ticker,
                "Rolling 24 hours of a symbol",
                read,
                Ticker,
                (MARKET,),
                errors,
            ),
            Route(
                "/tickers",
                self._tickers,
                "Rolling 24 hours of every symbol",
                read,
                dict[str, Ticker],
                (MARKET,),
                errors,
            ),
            Route(
                "/ws",
                self._upgrade,
                "WebSocket: tickers at once, other streams by SUBSCRIBE",
                read,
                None,
                (MARKET,),
                (400, 401, 403, 426, 429, 503),
            ),
            Route(
                "/v1/symbols",
                self._symbols,
                "Symbols and intervals held, by market",
                read,
                Symbols,
                (),
                (401, 429, 503),
            ),
            Route(
                "/v1/symbols",
                self._change_symbols,
                "Hold more symbols, or hold some no longer",
                operator,
                MarketSymbols,
                (MARKET,),
                (400, 401, 403, 409, 413, 415, 429, 503),
                body=SymbolsChange,
                changes=True,
            ),
            Route(
                "/metrics", self._metrics, "Metrics", operator, "text/plain", (), (401, 403, 429)
            ),
        )

    def _front(self, request: Request) -> Response:
        return self._page

    def _openapi(self, request: Request) -> Response:
        return self._description

    def _health(self, request: Request) -> Response:
        state = self._state
        now = state.clock.monotonic()
        alive = now - state.heartbeat_s <= HEARTBEAT_AGE_S_MAX
        health = Health(
            status="healthy" if alive else "stuck",
            time=state.clock.time_ms() // 1000,
            uptime_s=round(now - state.started_s, 3),
            loop_lag_ms=round(state.loop_lag_s * 1000, 3),
        )
        return _json(health, status=200 if alive else 503)

    def _ready(self, request: Request) -> Response:
        readiness = self._state.readiness()
        return _json(readiness, status=200 if readiness.ready else 503)

    def _klines(self, request: Request) -> Response:
        plan: _KlinesPlan | None = request.plan
        if plan is None or plan.symbols is not plan.served.market.symbols:
            plan = self._plan_klines(request)
        served, _, series, window, key = plan
        version = series.sequence if window.forming else series.revision
        response = self._cache.get(key, version)
        if response is None:
            response = _klines_response(served, series, window, version)
            self._cache.put(key, version, response)
        if served.warnings:
            return response.with_headers(served.warnings)
        if served.incomplete and (series.symbol, series.interval) in served.incomplete:
            return response.with_headers([(b"x-data-state", b"incomplete")])
        return response

    def _plan_klines(self, request: Request) -> _KlinesPlan:
        """Everything of the answer that the target alone decides."""
        symbol, interval = request.segments
        served = self._state.served(request.query.get("market"))
        series = find_series(served, symbol, interval)
        window = read_window(request.query, served.market.capacity)
        key = (served.name, series.symbol, interval, window)
        plan = _KlinesPlan(served, served.market.symbols, series, window, key)
        request.plan = plan
        return plan

    def _ticker(self, request: Request) -> Response:
        served = self._state.served(request.query.get("market"))
        symbol = request.segments[0]
        try:
            body = served.market.ticker_json(symbol)
        except UnknownSeriesError as error:
            raise unknown_symbol(error) from None
        if body is None:
            raise ApiError(
                404,
                "no_ticker_yet",
                f"The exchange has sent no ticker of {symbol.upper()[:40]!r} yet.",
            )
        return _fresh(body, served)

    def _tickers(self, request: Request) -> Response:
        served = self._state.served(request.query.get("market"))
        return _fresh(served.market.tickers_json(), served)

    def _upgrade(self, request: Request) -> Response:
        raise ApiError(
            426,
            "upgrade_required",
            "This address speaks WebSocket.",
            headers=[(b"upgrade", b"websocket"), (b"connection", b"upgrade")],
        )

    def _symbols(self, request: Request) -> Response:
        self._state.served(None)
        markets = self._state.markets
        return _json(Symbols({name: _describe_symbols(s) for name, s in markets.items()}))

    async def _change_symbols(self, request: Request) -> Response:
        served = self._state.served(request.query.get("market"))
        change = read_body(request, SymbolsChange)
        try:
            await served.feed.change_symbols(change.add, change.remove)
        except UnknownSymbolsError as error:
            raise ApiError(
                400, "unknown_symbol", f"Nothing was done: {error}.", reasons=list(error.names)
            ) from None
        except NoRoomError as error:
            raise ApiError(409, "no_room", f"Nothing was done: {error}.") from None
        except FeedError as error:
            raise ApiError(
                503, "exchange_silent", f"{error}.", headers=[(b"retry-after", b"5")]
            ) from None
        return _json(_describe_symbols(served))

    def _metrics(self, request: Request) -> Response:
        body = self._state.metrics.render()
        return Response(body, content_type=_METRICS_TYPE, headers=[_NEVER])


def _describe_symbols(served: ServedMarket) -> MarketSymbols:
    return MarketSymbols(
        symbols=list(served.market.symbols),
        intervals=list(served.market.intervals),
        capacity=served.market.capacity,
        unknown_symbols=served.readiness.unknown_symbols,
        statuses=served.feed.statuses(),
        without_room=served.readiness.symbols_without_room,
        room=served.feed.room,
    )


def _klines_response(
    served: ServedMarket, series: Series, window: Window, version: int
) -> Response:
    body = served.market.klines_json(
        series.symbol,
        series.interval,
        window.limit,
        forming=window.forming,
        start_ms=window.start_ms,
        end_ms=window.end_ms,
    )
    etag = b'W/"%x-%x"' % (served.epoch, version)
    return Response(body, headers=[(b"etag", etag), _FRESH])


def _json(answer: msgspec.Struct, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status=status, headers=[_NEVER])


def _fresh(body: bytes, served: ServedMarket) -> Response:
    headers: Headers = [_FRESH, *served.warnings]
    return Response(body, headers=headers)
