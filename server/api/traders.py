"""The trader routes: made, listed, changed, run and deleted, each by whoever may."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import msgspec
from msgspec import UNSET

from klinecore.errors import FilterError
from server.api.parameters import LIMIT_DEFAULT, read_body, read_limit
from server.api.problems import ApiError, InvalidFilterError
from server.api.router import Access, Parameter, Request, Route
from server.api.state import ServerState
from server.api.trader_types import (
    LockedTrader,
    RunTrader,
    TraderChange,
    TraderDraft,
    Traders,
    TraderView,
)
from server.api.types import Response
from server.errors import QuotaError
from server.traders.desk import Desk, NotAllowedError, TraderRefusedError, UnknownTraderError
from server.traders.model import Trader
from server.traders.runs import RunResult

__all__ = ["TraderRoutes", "trader_problem"]

#: Traders of one answer.
PAGE_MAX = 1000
#: Traders described in one go before other requests get a turn.
_CHUNK = 64

_NEVER = (b"cache-control", b"no-store")

_PAGING = (
    Parameter(
        "limit",
        f"Traders of one answer, default {LIMIT_DEFAULT}.",
        {"type": "integer", "minimum": 1, "maximum": PAGE_MAX},
    ),
    Parameter("after", "The answer begins behind the trader of this id.", {"type": "string"}),
)

#: Status of what a trader can be refused for; others are the client's, 400.
_STATUSES = {"engine_full": 409, "too_many_traders": 409, "starting": 503}


class TraderRoutes:
    """Handlers over one ``ServerState``; ``table`` says which path leads to which."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.table = self._make_table()

    @property
    def _desk(self) -> Desk:
        return self._state.desk

    def _make_table(self) -> tuple[Route, ...]:
        opened, trade = Access.OPEN, Access.TRADE
        posted = (400, 401, 403, 409, 413, 415, 429, 503)
        one = "/v1/traders/{id}"
        return (
            Route(
                "/v1/traders",
                self._list,
                "Traders, built-in ones and one's own, and how they are",
                opened,
                Traders,
                _PAGING,
                (400, 401, 429),
                personal=True,
            ),
            Route(
                "/v1/traders",
                self._create,
                "Make a trader, which runs at once",
                trade,
                TraderView,
                (),
                posted,
                answer_statuses=(201,),
                body=TraderDraft,
                changes=True,
                personal=True,
            ),
            Route(
                one,
                self._get,
                "A trader and how it is",
                opened,
                TraderView,
                (),
                (401, 404, 429),
                personal=True,
            ),
            Route(
                one,
                self._change,
                "Change a trader",
                trade,
                TraderView,
                (),
                (404, *posted),
                body=TraderChange,
                method="PATCH",
                changes=True,
                personal=True,
            ),
            Route(
                one,
                self._delete,
                "Delete a trader and what was kept of it",
                trade,
                None,
                (),
                (401, 403, 404, 429),
                method="DELETE",
                changes=True,
                personal=True,
            ),
            Route(
                one + "/run",
                self._run,
                "What a trader says at the newest closed klines",
                trade,
                RunResult,
                (),
                (404, *posted),
                body=RunTrader,
                changes=True,
                personal=True,
            ),
        )

    async def _list(self, request: Request) -> Response:
        traders = self._desk.visible(request.principal)
        limit = read_limit(request.query, PAGE_MAX)
        first = 0
        after = request.query.get("after")
        if after is not None:
            places = [place for place, one in enumerate(traders) if one.id == after]
            if not places:
                raise ApiError(400, "invalid_parameter", "There is no trader to begin after.")
            first = places[0] + 1
        page = traders[first : first + limit]
        views = []
        for place, trader in enumerate(page):
            views.append(self._view(trader))
            if place % _CHUNK == _CHUNK - 1:
                await asyncio.sleep(0)
        more = first + limit < len(traders)
        locked = [
            msgspec.convert(trader, LockedTrader, from_attributes=True)
            for trader in self._desk.book.locked(request.principal)
        ]
        return _json(Traders(views, len(traders), page[-1].id if more else None, locked))

    async def _create(self, request: Request) -> Response:
        draft = read_body(request, TraderDraft)
        now_ms = self._state.clock.time_ms()
        trader = Trader(
            id=str(uuid4()),
            owner=request.principal.owner,
            name=draft.name,
            filter=draft.filter,
            interval=draft.interval,
            market=draft.market or self._state.market_names[0],
            symbols=tuple(draft.symbols),
            mode=draft.mode,
            cooldown_bars=draft.cooldown_bars,
            evaluate_on=draft.evaluate_on,
            enabled=draft.enabled,
            description=draft.description,
            conditions=tuple(draft.conditions),
            indicators=_raw(draft.indicators),
            category=draft.category,
            difficulty=draft.difficulty,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        try:
            run = await self._desk.create(request.principal, trader, past=draft.past)
            made = self._desk.get(request.principal, trader.id)
        except _REFUSALS as error:
            raise trader_problem(error) from None
        return _json(self._view(made, run), status=201)

    def _get(self, request: Request) -> Response:
        try:
            return _json(self._view(self._desk.get(request.principal, request.segments[0])))
        except UnknownTraderError as error:
            raise trader_problem(error) from None

    async def _change(self, request: Request) -> Response:
        change = read_body(request, TraderChange)
        try:
            given = {
                name: value
                for name in change.__struct_fields__
                if (value := getattr(change, name)) is not UNSET
            }
            if "indicators" in given:
                given["indicators"] = _raw(given["indicators"])
            for name in ("symbols", "conditions"):
                if name in given:
                    given[name] = tuple(given[name])
            trader = await self._desk.update(
                request.principal,
                request.segments[0],
                lambda before: msgspec.structs.replace(
                    before, **given, updated_ms=self._state.clock.time_ms()
                ),
            )
        except _REFUSALS as error:
            raise trader_problem(error) from None
        return _json(self._view(trader))

    async def _delete(self, request: Request) -> Response:
        try:
            await self._desk.delete(request.principal, request.segments[0])
        except _REFUSALS as error:
            raise trader_problem(error) from None
        return Response.bare(204, [_NEVER])

    async def _run(self, request: Request) -> Response:
        asked = read_body(request, RunTrader)
        symbols = None if asked.symbols is None else [name.upper() for name in asked.symbols]
        try:
            (result,) = await self._desk.run(request.principal, request.segments, symbols=symbols)
        except _REFUSALS as error:
            raise trader_problem(error) from None
        return _json(result)

    def _view(self, trader: Trader, run: RunResult | None = None) -> TraderView:
        entry = self._desk.book.get(trader.id)
        filter = entry.filter if entry is not None else None
        return TraderView(
            **{name: getattr(trader, name) for name in Trader.__struct_fields__},
            filter_hash=filter.hash if filter is not None else None,
            origin=entry.origin if entry is not None else "",
            health=self._desk.health(trader),
            run=run,
        )


_REFUSALS = (UnknownTraderError, NotAllowedError, TraderRefusedError, QuotaError, FilterError)


def trader_problem(error: Exception) -> ApiError:
    """What a client is told of one of the desk's errors."""
    match error:
        case UnknownTraderError():
            return ApiError(404, "unknown_trader", "There is no such trader.")
        case NotAllowedError():
            return ApiError(403, "not_allowed", f"{_sentence(error)}.")
        case QuotaError():
            return ApiError(403, "quota_exceeded", f"{_sentence(error)}.")
        case FilterError():
            return InvalidFilterError(error)
        case TraderRefusedError():
            status = _STATUSES.get(error.code, 400)
            allowed = error.allowed or None
            headers = [(b"retry-after", b"2")] if status == 503 else None
            return ApiError(
                status, error.code, f"{_sentence(error)}.", allowed=allowed, headers=headers
            )
    raise error


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def _raw(indicators: list[dict[str, object]]) -> tuple[msgspec.Raw, ...]:
    return tuple(msgspec.Raw(msgspec.json.encode(one)) for one in indicators)


def _json(answer: msgspec.Struct, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status=status, headers=[_NEVER])
