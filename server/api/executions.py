"""``/v1/executions``: how evaluations went, one by one for a trader, and added up."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from server.api.parameters import LIMIT_DEFAULT, read_limit
from server.api.problems import ApiError
from server.api.router import Access, Parameter, Request, Route
from server.api.state import ServerState
from server.api.types import Response
from server.identity import Scope
from server.store.base import Store
from server.store.executions import LIMIT_MAX, RunCounts
from server.traders.model import Execution
from server.traders.tiers import TIERS

__all__ = ["ExecutionCounts", "ExecutionRoutes", "Executions"]

_NEVER = (b"cache-control", b"no-store")
_PARAMETERS = (
    Parameter("cursor", "Where a page begins, as an earlier answer says.", {"type": "string"}),
    Parameter(
        "limit",
        "Executions of one answer.",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    ),
)


class ExecutionCounts(msgspec.Struct):
    """What executions amount to, by window: 1h, 24h, 7d, 30d."""

    windows: dict[str, RunCounts]


class Executions(ExecutionCounts):
    """A trader's executions, the newest first."""

    executions: list[Execution]
    next: str | None  # what is older


class ExecutionRoutes:
    """Handlers over one ``ServerState``; ``table`` says which path leads to which."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        statuses = (401, 403, 429, 503)
        self.table = (
            Route(
                "/v1/executions",
                self._count,
                "How the evaluations of the traders one sees went, added up",
                Access.READ,
                ExecutionCounts,
                (),
                statuses,
                personal=True,
            ),
            Route(
                "/v1/traders/{id}/executions",
                self._page,
                "A trader's evaluations, the newest first, and added up",
                Access.READ,
                Executions,
                _PARAMETERS,
                (400, 404, *statuses),
                personal=True,
            ),
        )

    async def _count(self, request: Request) -> Response:
        store = self._open(request)
        principal = request.principal
        visible = None
        if not principal.scope.includes(Scope.ADMIN):
            visible = [trader.id for trader in self._state.desk.visible(principal)]
        return _json(ExecutionCounts(await store.executions.roll_up(visible)))

    async def _page(self, request: Request) -> Response:
        store = self._open(request)
        trader_id = request.segments[0]
        if self._state.desk.book.find(request.principal, trader_id) is None:
            raise ApiError(404, "unknown_trader", "There is no such trader.")
        limit, before = read_limit(request.query, LIMIT_MAX), _place(request.query.get("cursor"))
        page = await store.executions.page(trader_id, before=before, limit=limit)
        older = None
        if page.before is not None:
            cursor = f"{page.before[0]}.{page.before[1]}"
            asked = urlencode({"limit": limit, "cursor": cursor})
            older = f"/v1/traders/{trader_id}/executions?{asked}"
        windows = await store.executions.roll_up([trader_id])
        return _json(Executions(windows, page.executions, older))

    def _open(self, request: Request) -> Store:
        """The store, for somebody who may look back. Raises ApiError."""
        principal = request.principal
        if not (principal.scope.includes(Scope.ADMIN) or TIERS[principal.tier].history):
            raise ApiError(403, "tier", f"Tier {principal.tier} has no history.")
        if self._state.store is None:
            raise ApiError(503, "no_store", "This server keeps nothing, so it has no history.")
        return self._state.store


def _place(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    time, _, seq = cursor.partition(".")
    if len(cursor) > 40 or not cursor.isascii() or not (time.isdecimal() and seq.isdecimal()):
        raise ApiError(400, "invalid_cursor", "The cursor is none of this server's.")
    if max(int(time), int(seq)) >= 1 << 62:
        raise ApiError(400, "invalid_cursor", "The cursor is none of this server's.")
    return int(time), int(seq)


def _json(answer: Any) -> Response:
    return Response(msgspec.json.encode(answer), headers=[_NEVER])
