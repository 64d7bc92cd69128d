"""The alert routes: where somebody wants their signals; nobody sees another's targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import UNSET

from server.alerts.addresses import RefusedError
from server.alerts.messages import Alert, TraderName
from server.alerts.model import Kind, Target, TargetStatus
from server.alerts.office import AlertOffice
from server.alerts.signing import make_secret
from server.api.alert_types import (
    AlertChange,
    AlertDetail,
    AlertDraft,
    AlertMade,
    Alerts,
    AlertSecret,
    AlertTest,
    AlertView,
)
from server.api.parameters import read_body
from server.api.problems import ApiError
from server.api.router import Access, Request, Route
from server.api.state import ServerState
from server.api.types import Response
from server.errors import QuotaError
from server.identity import Principal, Scope
from server.signals.model import Signal, SignalStatus
from server.traders.tiers import TIERS

__all__ = ["AlertRoutes"]

#: Requests that a test counts as: each makes us speak to somebody.
TEST_WEIGHT = 10
#: Milliseconds for which an old secret signs beside the new one.
OLD_SECRET_MS = 86_400_000

_NEVER = (b"cache-control", b"no-store")


class AlertRoutes:
    """Handlers over one ``ServerState``; ``table`` says which path leads to which."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.table = self._make_table()

    def _make_table(self) -> tuple[Route, ...]:
        read, trade = Access.READ, Access.TRADE
        posted = (400, 401, 403, 413, 415, 429, 503)
        one, unknown = "/v1/alerts/{id}", (401, 403, 404, 429, 503)
        return (
            Route(
                "/v1/alerts",
                self._list,
                "Where one's signals are sent",
                read,
                Alerts,
                (),
                (401, 429, 503),
                personal=True,
            ),
            Route(
                "/v1/alerts",
                self._create,
                "Have signals sent somewhere",
                trade,
                AlertMade,
                (),
                posted,
                answer_statuses=(201,),
                body=AlertDraft,
                changes=True,
                personal=True,
            ),
            Route(
                one,
                self._get,
                "A target, and what was given up",
                read,
                AlertDetail,
                (),
                unknown,
                personal=True,
            ),
            Route(
                one,
                self._change,
                "Change a target",
                trade,
                AlertView,
                (),
                (404, *posted),
                method="PATCH",
                body=AlertChange,
                changes=True,
                personal=True,
            ),
            Route(
                one,
                self._delete,
                "Send nothing there any more",
                trade,
                None,
                (),
                unknown,
                method="DELETE",
                changes=True,
                personal=True,
            ),
            Route(
                one + "/test",
                self._test,
                "Send a message there at once",
                trade,
                AlertTest,
                (),
                unknown,
                method="POST",
                changes=True,
                personal=True,
                weight=TEST_WEIGHT,
            ),
            Route(
                one + "/secret",
                self._rotate,
                "Give a webhook another secret; the old one signs beside it for a day",
                trade,
                AlertSecret,
                (),
                (400, *unknown),
                method="POST",
                changes=True,
                personal=True,
            ),
        )

    @property
    def _office(self) -> AlertOffice:
        office = self._state.alerts
        if office is None:
            raise ApiError(503, "no_store", "This server keeps nothing, so it sends no alerts.")
        return office

    async def _list(self, request: Request) -> Response:
        owner = request.principal.owner
        targets = [] if owner is None else self._office.of(owner)
        statuses = await self._office.statuses(targets)
        views = [_view(one, status) for one, status in zip(targets, statuses, strict=True)]
        return _json(Alerts(views))

    async def _create(self, request: Request) -> Response:
        draft = read_body(request, AlertDraft)
        principal = request.principal
        if principal.owner is None:
            raise ApiError(403, "not_allowed", "Alerts belong to somebody: a key is needed.")
        if not TIERS[principal.tier].notifications:
            raise ApiError(403, "tier", f"Tier {principal.tier} has no alerts.")
        if draft.kind is Kind.APPRISE and not principal.scope.includes(Scope.ADMIN):
            raise ApiError(
                403, "not_allowed", "Apprise's URLs reach anywhere: only the operator may."
            )
        self._check_traders(principal, draft.traders)
        secret, address = draft.secret, draft.address
        if draft.kind is Kind.WEBHOOK:
            secret = make_secret()  # a receiver's own choice might be a weak one
        elif draft.kind in (Kind.DISCORD, Kind.APPRISE):
            address = draft.secret.partition(":")[0]
        target = Target(
            id=str(uuid4()),
            owner=principal.owner,
            kind=draft.kind,
            name=draft.name,
            address=address,
            secret=secret,
            traders=tuple(dict.fromkeys(draft.traders)),
            created_ms=self._state.clock.time_ms(),
        )
        try:
            await self._office.add(target, self._state.settings.alert_targets_max)
        except RefusedError as error:
            raise ApiError(400, "invalid_target", f"{_sentence(error)}.") from None
        except QuotaError as error:
            raise ApiError(403, "quota_exceeded", f"{_sentence(error)}.") from None
        shown = secret if draft.kind is Kind.WEBHOOK else None
        made = AlertMade(secret=shown, **_fields(target, TargetStatus()))
        return _json(made, status=201)

    def _check_traders(self, principal: Principal, trader_ids: list[str]) -> None:
        for trader_id in trader_ids:
            entry = self._state.desk.book.find(principal, trader_id)
            # What the operator sees of others is still theirs to be told of.
            if entry is None or entry.trader.owner not in (None, principal.owner):
                raise ApiError(404, "unknown_trader", "There is no such trader.")

    async def _get(self, request: Request) -> Response:
        target = self._find(request)
        (status,) = await self._office.statuses([target])
        dead = await self._office.dead(target)
        return _json(AlertDetail(dead=dead, **_fields(target, status)))

    async def _change(self, request: Request) -> Response:
        change = read_body(request, AlertChange)
        changes: dict[str, Any] = {}
        if change.traders is not UNSET:
            self._check_traders(request.principal, change.traders)
            changes["traders"] = tuple(dict.fromkeys(change.traders))
        if change.name is not UNSET:
            changes["name"] = change.name
        if change.enabled is not UNSET:
            changes |= {"enabled": change.enabled, "disabled_reason": None}
        target = await self._changed(
            request, lambda before: msgspec.structs.replace(before, **changes)
        )
        (status,) = await self._office.statuses([target])
        return _json(_view(target, status))

    async def _delete(self, request: Request) -> Response:
        await self._office.remove(self._find(request).id)
        return Response.bare(204, [_NEVER])

    async def _test(self, request: Request) -> Response:
        target = self._find(request)
        outcome = await self._office.test(target, _sample(self._state.clock.time_ms()))
        return _json(AlertTest(str(outcome.result), outcome.reason))

    async def _rotate(self, request: Request) -> Response:
        target = self._find(request)
        if target.kind is not Kind.WEBHOOK:
            raise ApiError(400, "no_secret", "Only webhooks have a secret of ours.")
        until_ms = self._state.clock.time_ms() + OLD_SECRET_MS
        secret = make_secret()

        def rotate(before: Target) -> Target:
            return msgspec.structs.replace(
                before, secret=secret, old_secret=before.secret, old_until_ms=until_ms
            )

        await self._changed(request, rotate)
        return _json(AlertSecret(secret, until_ms))

    async def _changed(self, request: Request, change: Callable[[Target], Target]) -> Target:
        target = await self._office.change(self._find(request).id, change)
        if target is None:
            raise _unknown()
        return target

    def _find(self, request: Request) -> Target:
        owner = request.principal.owner
        target = None if owner is None else self._office.get(owner, request.segments[0])
        if target is None:
            raise _unknown()
        return target


def _unknown() -> ApiError:
    return ApiError(404, "unknown_target", "There is no such target.")


def _sample(now_ms: int) -> Alert:
    """What a test sends: it looks like a signal and says that it is none."""
    open_ms = now_ms // 60_000 * 60_000 - 60_000
    signal = Signal(
        id=str(uuid4()),
        trader_id="test",
        filter_hash="test",
        market="spot",
        symbol="BTCUSDT",
        interval="1m",
        open_time_ms=open_ms,
        price="0",
        status=SignalStatus.FIRED,
        revision=1,
        data_revision=0,
        complete=True,
        values={},
        anchors={},
        at_ms=now_ms,
        historical=True,
    )
    return Alert(signal, TraderName("test", "this is a test, not a signal"))


def _fields(target: Target, status: TargetStatus) -> dict[str, Any]:
    return {
        "id": target.id,
        "kind": target.kind,
        "name": target.name,
        "address": target.address,
        "traders": list(target.traders),
        "enabled": target.enabled,
        "disabled_reason": target.disabled_reason,
        "created_ms": target.created_ms,
        "status": status,
    }


def _view(target: Target, status: TargetStatus) -> AlertView:
    return AlertView(**_fields(target, status))


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def _json(answer: msgspec.Struct, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status=status, headers=[_NEVER])
