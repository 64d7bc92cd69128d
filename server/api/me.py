"""``/v1/me``: who asks, and what they may."""

from __future__ import annotations

import msgspec

from server.access.rates import PER_MINUTE
from server.api.router import Access, Request, Route
from server.api.state import ServerState
from server.api.types import Response
from server.errors import StoreError
from server.identity import Principal, Scope
from server.traders.tiers import TIERS

__all__ = ["Me", "MeRoutes"]

_NEVER = (b"cache-control", b"no-store")
_DAY_MS = 86_400_000


class TradersLeft(msgspec.Struct):
    """Somebody's own traders, and how many they may have; null: as many as they like."""

    held: int
    held_max: int
    enabled: int
    enabled_max: int | None


class Me(msgspec.Struct):
    """Who asks. ``owner`` is null of guests, who have no key and may read next to nothing."""

    owner: str | None
    tier: str
    scope: str
    reads: bool  # market data, filters, signals; false: a key or a token is needed
    asks_for_keys: bool  # false: everybody is the operator
    expires_ms: int | None  # of a token, ms UTC
    requests_per_minute: int | None  # of each route; null: they are not counted
    traders: TradersLeft
    #: Signals of today (UTC) that one sees, 10,000 at most; null: nothing is kept here.
    signals_today: int | None


class MeRoutes:
    """The handler over one ``ServerState``; ``table`` says which path leads to it."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.table = (
            Route(
                "/v1/me",
                self._me,
                "Who asks, and what they may",
                Access.OPEN,
                Me,
                (),
                (401, 429, 503),
                personal=True,
            ),
        )

    async def _me(self, request: Request) -> Response:
        state, who = self._state, request.principal
        counted = who.scope is not Scope.ADMIN
        own = [entry.trader for entry in state.desk.book if entry.trader.owner == who.owner]
        if who.owner is None:
            own = []
        me = Me(
            owner=who.owner,
            tier=who.tier,
            scope=who.scope,
            reads=who.owner is not None,
            asks_for_keys=not state.gate.open,
            expires_ms=who.expires_ms,
            requests_per_minute=PER_MINUTE[who.tier] if counted else None,
            traders=TradersLeft(
                held=len(own),
                held_max=state.settings.traders_per_owner_max,
                enabled=sum(trader.enabled for trader in own),
                enabled_max=TIERS[who.tier].custom_traders,
            ),
            signals_today=await self._signals_today(who),
        )
        return Response(msgspec.json.encode(me), headers=[_NEVER])

    async def _signals_today(self, who: Principal) -> int | None:
        store = self._state.store
        if store is None:
            return None
        seen = None
        if not who.scope.includes(Scope.ADMIN):
            seen = [trader.id for trader in self._state.desk.visible(who)]
        now_ms = self._state.market_clock.time_ms()
        try:
            return await store.signals.count(seen, now_ms // _DAY_MS * _DAY_MS)
        except StoreError:
            return None  # who one is does not depend on a disk
