"""The stream port on a real socket over a real market, in the loop of the test."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

import klinecore as kc
from server.api.application import create_api
from server.api.state import ServedMarket, ServerState
from server.clock import SystemClock
from server.feeds.base import FeedStatus, Progress, SeriesState
from server.metrics import Registry
from server.settings import Settings
from server.signals.channels import Channels
from server.signals.hub import Hub
from server.streams.port import StreamPort

MINUTE = 60_000
START_MS = 1_700_000_040_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def row(index: int, *, closed: bool = True, close: str = "") -> kc.Kline:
    """Kline number ``index`` since ``START_MS``; each differs."""
    start = START_MS + index * MINUTE
    return kc.Kline(
        start, f"{index}.10", f"{index}.90", f"{index}.05", close or f"{index}.50", "10.000",
        start + MINUTE - 1, "15.00000001", 3 + index, "5.000", "7.5", closed,
    )  # fmt: skip


class StillFeed:
    """A feed to which nothing happens."""

    room = 0

    def status(self) -> FeedStatus:
        return FeedStatus(
            market="spot", phase="live", connections=[], streams_desired=1, streams_delivering=1,
            backfill=Progress(1, 1), unknown_symbols=[], last_message_age_ms=1, used_weight=1,
            weight_limit=6000, server_offset_ms=0, gaps_repaired=0, gaps_absent=0, reasons=[],
        )  # fmt: skip

    def details(self) -> dict[str, bytes]:
        return {}

    def statuses(self) -> dict[str, str]:
        return dict.fromkeys(SYMBOLS, "TRADING")

    def incomplete(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    def series_state(self, symbol: str, interval: str) -> SeriesState:
        return SeriesState(ready=True, source="stream")

    async def change_symbols(self, add: object, remove: object) -> None:
        raise NotImplementedError


class Running:
    """A port that listens, and the market behind it."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings.load(
            {}, overrides={"stream_port": 0, "stream_patience_s": 0.0, **settings}
        )
        clock = SystemClock()
        self.hub = Hub()
        self.metrics = Registry()
        self.state = ServerState(self.settings, clock, self.metrics, self.hub)
        self.market = kc.Market(SYMBOLS, ["1m", "1h"], capacity=50)
        self.channels = Channels("spot", self.market, self.hub, clock)
        self.state.markets["spot"] = ServedMarket(
            "spot", self.market, StillFeed(), self.channels, epoch=1
        )
        self.api = create_api(self.state)
        self.streams = StreamPort(self.state, self.api.door, self.api.binance)

    def url(self, path: str = "/ws") -> str:
        return f"ws://127.0.0.1:{self.streams.port}{path}"

    def connect(self, path: str = "/ws", **options: Any) -> connect:
        return connect(self.url(path), compression=None, **options)

    def close_kline(self, index: int, symbol: str = "BTCUSDT") -> None:
        self.market.push(symbol, "1m", row(index))
        self.channels.publish(self.market.drain())

    def move_kline(self, index: int, close: str, symbol: str = "BTCUSDT") -> None:
        self.market.push(symbol, "1m", row(index, closed=False, close=close))
        self.channels.publish(self.market.drain())


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Running]:
    """Listen, sweep, and stop."""
    server = Running(**settings)
    await server.streams.start()
    sweep = asyncio.create_task(server.streams.sweep())
    try:
        yield server
    finally:
        sweep.cancel()
        await asyncio.gather(sweep, return_exceptions=True)
        await server.streams.stop()


async def ask(client: ClientConnection, method: str, *params: object, **more: object) -> Any:
    """Send a control message; its reply, which must be the next message."""
    await client.send(json.dumps({"method": method, "params": params, "id": 1, **more}))
    return json.loads(await client.recv())


HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def dial(server: Running, path: str) -> socket.socket:
    """A WebSocket by hand, with a small window, whose owner decides whether it reads."""
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await loop.sock_connect(raw, ("127.0.0.1", server.streams.port))
    await loop.sock_sendall(raw, HANDSHAKE.format(path=path).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await loop.sock_recv(raw, 4096)
    assert answer.startswith(b"HTTP/1.1 101")
    return raw


async def until(condition: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
