"""Requests whose klines have to be fetched: they hold up nobody, and few of them wait."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import uvloop
from stream_port import Running, row, running, until
from websockets.asyncio.client import ClientConnection

from server.errors import SpentError
from server.streams.requests import REQUESTS_LATE_MAX

PATH = "/ws-api/v3"
ROWS = 30


def fill(server: Running) -> None:
    for index in range(ROWS):
        server.market.push("BTCUSDT", "1m", row(index))


async def call(client: ClientConnection, method: str, params: object = None, id: int = 1) -> Any:
    """Ask, and read the next reply."""
    await client.send(json.dumps({"id": id, "method": method, "params": params or {}}))
    return json.loads(await asyncio.wait_for(client.recv(), 30))


class SlowHistory:
    """Rows from before the window that come when they are let go."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = 0
        self.error: Exception | None = None

    async def before(self, key: object, end_ms: int, limit: int) -> list[bytes]:
        self.asked += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [b'[1,"1","1","1","1","1",2,"1",1,"1","1","0"]'] * limit


OLD = {"symbol": "BTCUSDT", "interval": "1m", "limit": ROWS + 3}


def test_klines_that_have_to_be_fetched_hold_up_no_other_request() -> None:
    async def story() -> None:
        async with running() as server, server.connect(PATH) as client:
            fill(server)
            history = SlowHistory()
            server.state.markets["spot"].history = history  # type: ignore[assignment]
            for number in range(REQUESTS_LATE_MAX):
                await client.send(json.dumps({"id": number, "method": "klines", "params": OLD}))
            assert (await call(client, "ping", id=77))["id"] == 77
            refused = await call(client, "klines", OLD, id=88)
            assert (refused["id"], refused["status"]) == (88, 429)
            assert refused["error"]["code"] == -1003
            history.gate.set()
            replies = [json.loads(await client.recv()) for _ in range(REQUESTS_LATE_MAX)]
            assert sorted(reply["id"] for reply in replies) == list(range(REQUESTS_LATE_MAX))
            assert {len(reply["result"]) for reply in replies} == {ROWS + 3}
            assert history.asked == REQUESTS_LATE_MAX
            history.error = SpentError("spent", 7.5)
            reply = await call(client, "klines", OLD)
            assert (reply["status"], reply["error"]["code"]) == (429, -1003)
            assert reply["error"]["data"]["retryAfter"] > reply["error"]["data"]["serverTime"]
            history.error = ZeroDivisionError()
            reply = await call(client, "klines", OLD)
            assert (reply["status"], reply["error"]["code"]) == (500, -1000)

    uvloop.run(story())


def test_who_goes_while_klines_are_fetched_leaves_nothing_behind() -> None:
    async def story() -> None:
        async with running() as server:
            fill(server)
            history = SlowHistory()
            server.state.markets["spot"].history = history  # type: ignore[assignment]
            for _ in range(2):
                async with server.connect(PATH) as client:
                    await client.send(json.dumps({"id": 1, "method": "klines", "params": OLD}))
                    await until(lambda: history.asked)
                history.asked = 0
            history.gate.set()
            await until(lambda: not server.streams._desk.late)
            history.gate.clear()
            async with server.connect(PATH) as client:
                await client.send(json.dumps({"id": 1, "method": "klines", "params": OLD}))
                await until(lambda: history.asked)
        await until(lambda: not server.streams._desk.late)

    uvloop.run(story())
