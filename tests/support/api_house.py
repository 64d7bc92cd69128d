"""The API with a store, traders and people with keys, called in process within one loop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import shelves

from server.access.keys import KeysFile
from server.api.application import create_api
from server.api.state import ServerState
from server.clock import SystemClock
from server.identity import Scope, Tier
from server.metrics import Registry
from server.settings import Settings
from server.signals.hub import Hub
from server.signals.model import Signal
from server.traders.model import Trader

OPERATOR_KEY = "correct-horse-battery-staple"


class Reply(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["code"])


class House:
    """What ``serving`` gives."""

    def __init__(self, state: ServerState, keys: dict[str, str]) -> None:
        self.state = state
        self.api = create_api(state)
        self.keys = keys

    def scope(
        self, target: str, who: str | None, method: str = "GET", **headers: str
    ) -> dict[str, Any]:
        path, _, query = target.partition("?")
        sent = [(b"host", b"127.0.0.1")]
        sent += [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
        if who is not None:
            sent.append((b"x-api-key", self.keys[who].encode()))
        return {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": sent,
            "client": ("127.0.0.1", "50000"),
            "extensions": {},
            "subprotocols": [],
        }

    async def ask(
        self, who: str | None, target: str, method: str = "GET", body: Any = None
    ) -> Reply:
        parts = [b""] if body is None else [json.dumps(body).encode()]
        headers = {} if body is None else {"content_type": "application/json"}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": parts.pop(), "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.api(self.scope(target, who, method, **headers), receive, send)
        start, end = sent
        named = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], named, end["body"])

    def own(self, *traders: Trader) -> None:
        """Let these be the traders, built-in ones by having no owner."""
        self.state.desk.replace([one for one in traders if one.owner is None], "builtin")
        self.state.desk.replace([one for one in traders if one.owner is not None], "local")

    def tell(self, *signals: Signal) -> None:
        """As the desk does: to whoever listens, then to what is kept."""
        self.state.desk.teller.tell(signals, self.state.clock.time_ms())


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[House]:
    """People: anna (pro), bert (elite), carl (free), reader (anna's key that only reads)."""
    clock = SystemClock()
    file = KeysFile(str(folder / "keys.json"))
    keys = {"operator": OPERATOR_KEY}
    for who, owner, tier, scope in (
        ("anna", "anna", Tier.PRO, Scope.TRADE),
        ("bert", "bert", Tier.ELITE, Scope.TRADE),
        ("carl", "carl", Tier.FREE, Scope.TRADE),
        ("reader", "anna", Tier.PRO, Scope.READ),
    ):
        keys[who] = file.add(owner, tier=tier, scope=scope, now_ms=0)[0]
    options = {"api_key": OPERATOR_KEY, "api_keys_file": file.path, **settings}
    async with shelves.opened(folder) as store:
        loaded = Settings.load({}, overrides=options)
        metrics = Registry()
        state = ServerState(loaded, clock, metrics, Hub(loaded.subscriber_queue_max), store=store)
        assert state.alerts is not None
        state.alerts.open()
        try:
            yield House(state, keys)
        finally:
            await state.alerts.close()
