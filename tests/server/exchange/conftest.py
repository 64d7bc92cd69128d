"""A running exchange, and ways to talk to it: real sockets, real clients."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from server.clock import SystemClock
from server.exchange.app import Exchange
from server.exchange.generated import GeneratedMarket

#: 2026-03-02 00:00 UTC: a Monday, two days into a month.
MONDAY_MS = 1_772_409_600_000
MINUTE_MS = 60_000


class Talk:
    """One exchange under test and its clients."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def socket(self, path: str, **options: Any) -> connect:
        """A WebSocket to ``path``, as a context manager."""
        return connect(self.exchange.ws_url + path, compression=None, proxy=None, **options)

    def raw(self, path: str) -> Any:
        """A ``RawSocket`` to ``path``, as a context manager."""
        return raw_socket(self.exchange.port, path)

    async def get(self, target: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
        """One GET on a connection of its own: status, lower-case headers, body."""
        return await asyncio.to_thread(get, self.exchange.port, target, **options)

    async def step(self, minutes: int, **options: Any) -> None:
        """Let so many minutes pass."""
        at_ms = self.exchange.now_ms + minutes * MINUTE_MS
        await self.exchange.publish_until(at_ms, **options)

    async def hear(self, client: ClientConnection, kind: str, count: int = 1) -> list[Any]:
        """The next ``count`` messages whose raw part is of that kind; others are passed over."""
        heard: list[Any] = []
        while len(heard) < count:
            message = json.loads(await asyncio.wait_for(client.recv(), 30))
            if isinstance(message, dict) and message.get("data", message).get("e") == kind:
                heard.append(message)
        return heard

    async def ask(self, client: ClientConnection, message: object) -> Any:
        """Send a control message and return the next message."""
        await client.send(message if isinstance(message, str) else json.dumps(message))
        return json.loads(await asyncio.wait_for(client.recv(), 30))


class RawSocket:
    """A WebSocket client that says and hears what it is told to, and nothing of itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *frames: tuple[int, bytes]) -> None:
        """Frames of (opcode, payload under 126 bytes), in one write. A mask of zeros is a mask."""
        self.writer.write(
            b"".join(
                bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload
                for opcode, payload in frames
            )
        )

    async def to_the_end(self) -> bytes:
        """All bytes until the server ends the connection."""
        return await asyncio.wait_for(self.reader.read(), 30)


@asynccontextmanager
async def raw_socket(port: int, path: str) -> AsyncIterator[RawSocket]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    try:
        yield RawSocket(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def get(
    port: int, target: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, target, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body
    finally:
        connection.close()


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition, not for a time. Raises AssertionError when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def stepping(source: Any = None, **options: Any) -> AsyncIterator[Talk]:
    start_ms = options.pop("now_ms", MONDAY_MS)
    source = source or GeneratedMarket(7, ("BTCUSDT", "QTUMUSDT"))
    exchange = Exchange(source, options.pop("clock", SystemClock()), stepping=True, **options)
    await exchange.start(now_ms=start_ms)
    try:
        yield Talk(exchange)
    finally:
        await exchange.stop()


Serve = Callable[..., Any]
Until = Callable[..., Awaitable[None]]


@pytest.fixture(name="stepping")
def _stepping() -> Serve:
    """``async with stepping(source, **options) as talk``: an exchange that moves when told to."""
    return stepping


@pytest.fixture(name="until")
def _until() -> Until:
    """``await until(condition)``."""
    return until


@pytest.fixture
def monday_ms() -> int:
    """Where the tests' time begins."""
    return MONDAY_MS
