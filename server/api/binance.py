"""Binance's public market data over HTTP: its paths and weight headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from server.api.auth import EVERYBODY
from server.api.binance_answers import PREFIXES, BinanceAnswers, Question
from server.api.binance_klines import Weighed
from server.api.problems import ApiError
from server.api.router import Access, Request, Route
from server.api.state import ServerState
from server.api.types import Headers, Response

__all__ = ["BinanceRoutes"]

_JSON: Final = "application/json"
_FRESH: Final = (b"cache-control", b"no-cache")


class BinanceRoutes:
    """Handlers below ``/api/v3`` and ``/fapi/v1``, and the little that clients ask beside them."""

    def __init__(self, state: ServerState, answers: BinanceAnswers) -> None:
        self._state = state
        self._answers = answers
        opened = Access.OPEN
        self.table = (
            *(
                self._route(market, asked)
                for market, questions in answers.questions.items()
                for asked in questions
            ),
            Route("/sapi/v1/system/status", self._system, "Binance: no maintenance", opened, _JSON),
            Route("/dapi/v1/exchangeInfo", self._nothing, "Binance: COIN-M, empty", opened, _JSON),
        )

    def _route(self, market: str, asked: Question) -> Route:
        path, text = f"{PREFIXES[market]}/{asked.path}", f"Binance: {asked.text}"
        if asked.opened:
            return Route(path, self._opened(market, asked), text, Access.OPEN, _JSON)
        return Route(
            path,
            self._handler(market, asked),
            text,
            Access.READ,
            _JSON,
            asked.parameters,
            (400, 401, 429, 503),
            personal=True,
        )

    def _opened(self, market: str, asked: Question) -> Callable[[Request], Response]:
        def handle(request: Request) -> Response:
            weighed = asked.answer(market, request.query, EVERYBODY)
            assert isinstance(weighed, Weighed)  # nothing that is open to anybody has to be fetched
            return Response(weighed.body, headers=[_FRESH])

        return handle

    def _handler(
        self, market: str, asked: Question
    ) -> Callable[[Request], Response | Awaitable[Response]]:
        def handle(request: Request) -> Response | Awaitable[Response]:
            client = request.principal.bucket
            try:
                weighed = asked.answer(market, request.query, request.principal)
            except ApiError as error:
                raise self._charged(client, error) from None
            if isinstance(weighed, Weighed):
                return self._respond(market, client, weighed)
            return wait(client, weighed)

        async def wait(client: str, weighed: Awaitable[Weighed]) -> Response:
            try:
                return self._respond(market, client, await weighed)
            except ApiError as error:
                raise self._charged(client, error) from None

        return handle

    def _respond(self, market: str, client: str, weighed: Weighed) -> Response:
        headers = [_FRESH, *self._take(client, weighed.weight)]
        served = self._state.markets.get(market)
        if served is not None:
            headers += served.warnings
        return Response(weighed.body, headers=headers)

    def _charged(self, client: str, error: ApiError) -> ApiError:
        """A refusal costs a client little, but something."""
        error.headers = [*(error.headers or ()), *self._take(client, 1)]
        return error

    def _take(self, client: str, weight: int) -> Headers:
        text = b"%d" % self._answers.take(client, weight)
        return [(b"x-mbx-used-weight", text), (b"x-mbx-used-weight-1m", text)]

    def _system(self, request: Request) -> Response:
        """``status`` 1 is Binance's maintenance: we cannot answer either."""
        working = not self._state.draining and bool(self._state.markets)
        status, text = (0, "normal") if working else (1, "system_maintenance")
        return Response(msgspec.json.encode({"status": status, "msg": text}), headers=[_FRESH])

    def _nothing(self, request: Request) -> Response:
        return Response(self._answers.info([], []), headers=[_FRESH])
