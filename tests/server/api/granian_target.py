"""An API under granian for tests that need real sockets; run as ``granian_target.py PORT OPTIONS``.

It publishes numbered messages on its own: a stream of large conflating tickers, and closes of one
series. OPTIONS is JSON: ``settings``, ``tickers_per_s``, ``closes_per_s``, ``ticker_bytes``; with
``streams`` the stream port is open, too.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings

import klinecore as kc
from server.api.application import create_api
from server.api.state import ServedMarket, ServerState
from server.clock import SystemClock
from server.feeds.base import FeedStatus, Progress, SeriesState
from server.metrics import Registry
from server.serving import HEADER_BYTES_MAX, HEADER_TIMEOUT_MS
from server.settings import Settings
from server.signals.channels import Channels
from server.signals.hub import Hub
from server.streams.port import StreamPort

MINUTE_MS = 60_000


class StillFeed:
    """A feed that has delivered everything there is."""

    def status(self) -> FeedStatus:
        return FeedStatus(
            market="spot", phase="live", connections=[], streams_desired=0, streams_delivering=0,
            backfill=Progress(1, 1), unknown_symbols=[], last_message_age_ms=0, used_weight=0,
            weight_limit=6000, server_offset_ms=0, gaps_repaired=0, gaps_absent=0, reasons=[],
        )  # fmt: skip

    def details(self) -> dict[str, bytes]:
        return {}

    def statuses(self) -> dict[str, str]:
        return {}

    def incomplete(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    def series_state(self, symbol: str, interval: str) -> SeriesState:
        return SeriesState(ready=True, source="stream")


class Target:
    """The API, and a publisher that runs as long as the server does."""

    def __init__(self, options: dict[str, Any]) -> None:
        settings = Settings.load({}, overrides=options.get("settings", {}))
        clock = SystemClock()
        self.options = options
        self.hub = Hub(settings.subscriber_queue_max)
        self.state = ServerState(settings, clock, Registry(), self.hub)
        self.market = kc.Market(["BTCUSDT", "ETHUSDT"], ["1m"], capacity=settings.capacity)
        self.channels = Channels("spot", self.market, self.hub, clock)
        self.state.markets["spot"] = ServedMarket(
            "spot", self.market, StillFeed(), self.channels, epoch=1
        )
        self.state.waiting_for.clear()
        self.api = create_api(self.state)
        for index in range(settings.capacity):
            self.close(index)
        self.market.drain()

    def close(self, index: int) -> None:
        start = 1_700_000_040_000 + index * MINUTE_MS
        row = kc.Kline(
            start, "1.10", "1.90", "1.05", "1.50", "10.000", start + MINUTE_MS - 1,
            "15.00000001", index, "5.000", "7.5",
        )  # fmt: skip
        self.market.push("BTCUSDT", "1m", row)

    async def beat(self) -> None:
        while True:
            self.state.beat(0.0)
            await asyncio.sleep(1)

    async def publish_tickers(self, rate: float) -> None:
        number = 0
        padding = "x" * self.options.get("ticker_bytes", 0)
        topic = self.channels.topic("tickers")
        while True:
            number += 1
            message = json.dumps({"type": "ticker", "data": {"n": number, "padding": padding}})
            self.hub.publish(topic, message.encode(), conflate_key="!BTCUSDT")
            await asyncio.sleep(1 / rate)

    async def publish_closes(self, rate: float) -> None:
        index = self.market.capacity
        while True:
            self.close(index)
            index += 1
            self.channels.publish(self.market.drain())
            await asyncio.sleep(1 / rate)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.api(scope, receive, send)
            return
        tasks = [asyncio.create_task(job) for job in (self.beat(), *self.state.gate.jobs())]
        if rate := self.options.get("tickers_per_s"):
            tasks.append(asyncio.create_task(self.publish_tickers(rate)))
        if rate := self.options.get("closes_per_s"):
            tasks.append(asyncio.create_task(self.publish_closes(rate)))
        streams = StreamPort(self.state, self.api.door, self.api.binance)
        if self.options.get("streams"):
            await streams.start()
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in tasks:
            task.cancel()
        await streams.stop()
        await send({"type": "lifespan.shutdown.complete"})


def load() -> Target:
    return Target(json.loads(sys.argv[2]))


if __name__ == "__main__":
    Granian(
        "granian_target:load",
        address="127.0.0.1",
        port=int(sys.argv[1]),
        interface=Interfaces.ASGI,
        workers=1,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=HEADER_BYTES_MAX
        ),
        runtime_mode=RuntimeModes.st,
        loop=Loops.uvloop,
        log_enabled=False,
        workers_kill_timeout=5,
    ).serve(target_loader=load, wrap_loader=False)
