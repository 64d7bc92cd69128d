"""``/v1/signals``: what traders told, page by page, change by change, or as it happens."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import urlencode

import msgspec

from server.api.event_routes import last_event_id
from server.api.events import EventServer
from server.api.parameters import MARKET
from server.api.problems import ApiError
from server.api.router import Access, Parameter, Request, Route
from server.api.signal_log import PAGE, SignalLog, Wanted
from server.api.state import ServerState
from server.api.types import Response
from server.identity import Principal, Scope
from server.signals.model import Signal
from server.store.signals import LIMIT_MAX, Place, SignalQuery
from server.traders.tiers import TIERS

__all__ = ["SignalRoutes", "Signals"]

_PATH = "/v1/signals"
_LIMIT = 100
_SEQ_MAX = (1 << 63) - 1
_CURSOR_LENGTH_MAX = 200

_NEVER = (b"cache-control", b"no-store")
_PARAMETERS = (
    Parameter("trader", "Only of this trader.", {"type": "string"}),
    Parameter("symbol", "Only of this symbol.", {"type": "string"}),
    MARKET,
    Parameter(
        "since",
        "Number of a change: every change after it, in the order they came, revisions included.",
        {"type": "integer", "minimum": 0},
    ),
    Parameter("cursor", "Where a page begins, as an earlier answer says.", {"type": "string"}),
    Parameter(
        "limit",
        "Signals of one answer.",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": _LIMIT},
    ),
)


class Signals(msgspec.Struct):
    """Signals of the newest klines first, or with ``since`` changes in the order they came."""

    signals: list[Signal]
    since: int  # to go on from with ``since``, or as an event stream's Last-Event-ID
    next: str | None  # what is older; of changes, what came later
    previous: str | None  # what is newer


class SignalRoutes:
    """Handlers over one ``ServerState``; ``table`` says which path leads to which."""

    def __init__(self, state: ServerState, server: EventServer) -> None:
        self._state = state
        self._server = server
        self._log: SignalLog | None = None
        if state.store is not None:
            self._log = SignalLog(state.store, state.clock)
        self.table = (
            Route(
                _PATH,
                self._signals,
                "Signals of the traders one sees; with Accept: text/event-stream as they come",
                Access.READ,
                Signals,
                _PARAMETERS,
                (400, 401, 403, 404, 429, 503),
                personal=True,
            ),
        )

    async def _signals(self, request: Request) -> Response:
        if self._state.store is None or self._log is None:
            raise ApiError(503, "no_store", "This server keeps nothing, so it has no signals.")
        if b"text/event-stream" in request.headers.get(b"accept", b""):
            return self._follow(request, self._log)
        query = self._query(request)
        signals = self._state.store.signals
        newest = await signals.last_seq()  # before the page: nothing falls between the two
        page = await signals.page(query)
        found = [kept.signal for kept in page.signals]
        if query.since is not None:
            since = page.since if page.since is not None else query.since
            whole = len(found) < query.limit
            following = None if whole else _link(request, since=str(since))
            return _json(Signals(found, since, following, None))
        older = None if page.before is None else _link(request, cursor=_cursor("<", page.before))
        newer = page.after or query.after
        later = None if newer is None else _link(request, cursor=_cursor(">", newer))
        if _shown_max(request.principal) is not None:
            older = later = None
        return _json(Signals(found, newest, older, later))

    def _query(self, request: Request) -> SignalQuery:
        asked = request.query
        limit = _number(asked.get("limit"), "limit", 1, LIMIT_MAX) or _LIMIT
        since = _number(asked.get("since"), "since", 0, _SEQ_MAX)
        cursor = asked.get("cursor")
        if since is not None and cursor is not None:
            raise ApiError(400, "invalid_cursor", "Either since or cursor, not both.")
        before, after = (None, None) if cursor is None else _place(cursor)
        most = _shown_max(request.principal)
        if most is not None:
            if since is not None or cursor is not None:
                raise ApiError(
                    403, "tier", f"Tier {request.principal.tier} sees the newest {most} only."
                )
            limit = min(limit, most)
        return SignalQuery(
            trader_ids=self._visible(request.principal),
            trader_id=self._trader(request),
            market=self._market(request),
            symbol=_symbol(request),
            since=since,
            before=before,
            after=after,
            limit=limit,
        )

    def _visible(self, principal: Principal) -> list[str] | None:
        if principal.scope.includes(Scope.ADMIN):
            return None
        return [trader.id for trader in self._state.desk.visible(principal)]

    def _trader(self, request: Request) -> str | None:
        trader_id = request.query.get("trader")
        if trader_id is None:
            return None
        if self._state.desk.book.find(request.principal, trader_id) is None:
            raise ApiError(404, "unknown_trader", "There is no such trader.")
        return trader_id

    def _market(self, request: Request) -> str | None:
        name = request.query.get("market")
        if name is not None and name not in self._state.market_names:
            raise ApiError(
                400,
                "invalid_market",
                f"Market {name[:40]!r} is not served here.",
                allowed=self._state.market_names,
            )
        return name

    def _follow(self, request: Request, log: SignalLog) -> Response:
        principal, book = request.principal, self._state.desk.book
        for name in ("cursor", "limit"):
            if name in request.query:
                raise ApiError(400, "invalid_parameter", f"{name} is of pages, not of events.")
        trader_id, market = self._trader(request), self._market(request)
        symbol = _symbol(request)
        last_id = last_event_id(request)
        if last_id is not None:  # of a browser that comes back, to the URL it had
            last = _number(last_id, "Last-Event-ID", 0, _SEQ_MAX)
        else:
            last = _number(request.query.get("since"), "since", 0, _SEQ_MAX)

        def query(since: int) -> SignalQuery:
            return SignalQuery(
                trader_ids=self._visible(principal),
                trader_id=trader_id,
                market=market,
                symbol=symbol,
                since=since,
                limit=PAGE,
            )

        wanted = Wanted(
            visible=lambda trader_id: book.find(principal, trader_id) is not None,
            query=query,
            trader_id=trader_id,
            market=market,
            symbol=symbol,
            recent_only=_shown_max(principal) is not None,
        )
        return self._server.answer(principal, lambda: log.follow(wanted, last))


def _shown_max(principal: Principal) -> int | None:
    """How many of the newest signals somebody sees; None: all, and their past."""
    if principal.scope.includes(Scope.ADMIN):
        return None
    return TIERS[principal.tier].builtins_shown


def _symbol(request: Request) -> str | None:
    symbol = request.query.get("symbol")
    return None if symbol is None else symbol.upper()


def _number(text: str | None, name: str, low: int, high: int) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 19 and low <= int(text) <= high:
        return int(text)
    raise ApiError(400, "invalid_parameter", f"{name} is a whole number, {low} or more.")


def _cursor(side: str, place: Place) -> str:
    text = f"{side}{place.open_time_ms}.{place.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[Place | None, Place | None]:
    """Before and after what a cursor stands for. Raises ApiError 400."""
    try:
        if len(cursor) > _CURSOR_LENGTH_MAX:
            raise ValueError
        text = base64.b64decode(
            cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True
        ).decode("ascii")
        time, _, id = text[1:].partition(".")
        if text[:1] not in ("<", ">") or not time.isdecimal() or len(time) > 15 or not id:
            raise ValueError
    except (ValueError, binascii.Error):
        raise ApiError(400, "invalid_cursor", "The cursor is none of this server's.") from None
    place = Place(int(time), id)
    return (place, None) if text[0] == "<" else (None, place)


def _link(request: Request, **changed: str) -> str:
    """The same request, from elsewhere on."""
    query: dict[str, Any] = {
        name: value for name, value in request.query.items() if name not in ("cursor", "since")
    }
    return f"{_PATH}?{urlencode(query | changed)}"


def _json(answer: Signals) -> Response:
    return Response(msgspec.json.encode(answer), headers=[_NEVER])
