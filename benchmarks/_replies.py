"""Serves ``/ws-api/v3`` over one full series on a port of its own, which it prints."""

from __future__ import annotations

import asyncio

import uvloop
from http_targets import Still, small_market

from server.api.application import create_api
from server.api.state import ServedMarket, ServerState
from server.clock import SystemClock
from server.metrics import Registry
from server.process import settle_memory
from server.settings import Settings
from server.signals.channels import Channels
from server.signals.hub import Hub
from server.streams.port import StreamPort


async def main() -> None:
    clock, hub, market = SystemClock(), Hub(), small_market()
    settings = Settings.load({}, overrides={"stream_port": 0})
    state = ServerState(settings, clock, Registry(), hub)
    channels = Channels("spot", market, hub, clock)
    state.markets["spot"] = ServedMarket("spot", market, Still(), channels, epoch=1)
    api = create_api(state)
    port = StreamPort(state, api.door, api.binance)
    await port.start()
    settle_memory()
    print(port.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
