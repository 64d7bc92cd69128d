"""One socket: subscriptions within the exchange's limits, and what ends an attempt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from klinecore import Market
from server.clock import ScaledClock
from server.errors import FeedError
from server.feeds.link import PROBE_AFTER_S, SUBSCRIBE_SIZE_MAX, Link, pack_subscriptions
from server.feeds.listener import ChangeNotifier
from server.feeds.liveness import Base
from server.settings import Settings

WIRE_SIZE_MAX = 4096  # the exchange never answers a longer message, header included


@given(st.lists(st.text(min_size=1, max_size=60), max_size=1500))
def test_every_stream_is_subscribed_once_in_messages_the_exchange_answers(names: list[str]) -> None:
    packed = list(pack_subscriptions(names))
    assert [name for part in packed for name in part] == names
    for part in packed:
        message = json.dumps(
            {"method": "SUBSCRIBE", "params": part, "id": 12345},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        size = len(message.encode(errors="surrogatepass"))
        escapes = sum(name.count(c) for name in part for c in map(chr, (*range(32), 34, 92)))
        assert size - 6 * escapes <= SUBSCRIBE_SIZE_MAX < WIRE_SIZE_MAX - 14


class Peer(WSListener):
    """A server's side of one connection; ``answer`` makes the reply to a message, or None."""

    def __init__(self, answer: Callable[[Any], bytes | None]) -> None:
        self.received: list[tuple[float, bytes]] = []
        self.transport: WSTransport | None = None
        self._answer = answer

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            message = frame.get_payload_as_bytes()
            self.received.append((asyncio.get_running_loop().time(), message))
            reply = self._answer(json.loads(message))
            if reply == b"cut":
                transport.disconnect(False)
            elif reply is not None:
                transport.send(WSMsgType.TEXT, reply)


def acknowledge(message: Any) -> bytes:
    return b'{"result":null,"id":%d}' % message["id"]


@asynccontextmanager
async def linked(
    answer: Callable[[Any], bytes | None], **settings: float
) -> AsyncIterator[tuple[Link, Peer, str]]:
    peer = Peer(answer)
    server = await ws_create_server(lambda request: peer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = make_link(**settings)
    try:
        yield link, peer, f"ws://127.0.0.1:{port}/ws"
    finally:
        link.close()
        await link.wait_closed()
        if peer.transport is not None:
            peer.transport.disconnect(False)
        server.close()
        await server.wait_closed()


def make_link(rate: float = 1.0, **settings: float) -> Link:
    clock = ScaledClock(1_700_000_000_000, rate)
    return Link(
        Market(["BTCUSDT"], ["1m"], 10),
        ChangeNotifier(lambda: None),
        settings=Settings(**settings),  # type: ignore[arg-type]
        clock=clock,
        watermark=lambda: 0,
        base=Base(("BTCUSDT",), np.zeros((1, 2), np.int64)),
    )


def test_subscriptions_keep_below_the_allowed_rate() -> None:
    async def scenario() -> None:
        streams = [f"symbol{index:04d}usdt@kline_15m" for index in range(700)]
        async with linked(acknowledge, subscribe_rate_per_s=10.0) as (link, peer, url):
            await link.connect(url)
            await link.subscribe(streams)
            asked = [json.loads(message) for _, message in peer.received]
            assert [name for message in asked for name in message["params"]] == streams
            assert len({message["id"] for message in asked}) == len(asked) >= 5
            times = [moment for moment, _ in peer.received]
            gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
            assert min(gaps) > 0.05, "ten a second are 0.1 s apart"
            assert times[-1] - times[0] >= 0.1 * (len(asked) - 1) * 0.9

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda message: None, "1 subscriptions not acknowledged within 0.2 s"),
        (lambda message: b"cut", "closed the connection while we subscribed"),
        (
            lambda message: b'{"error":{"code":2,"msg":"Invalid request: x"},"id":1}',
            "refused to subscribe.*Invalid request: x",
        ),
        (lambda message: b'{"code":2,"msg":"Invalid request: flat","id":1}', "flat"),
        (lambda message: b'{"result":null,"id":99}', "not acknowledged"),
    ],
    ids=["silent", "cut", "refused", "refused flat", "another id"],
)
def test_subscription_without_its_ack_fails(
    answer: Callable[[Any], bytes | None], message: str
) -> None:
    async def scenario() -> None:
        async with linked(answer, ack_timeout_s=0.2) as (link, _, url), asyncio.timeout(30):
            await link.connect(url)
            with pytest.raises(FeedError, match=message):
                await link.subscribe(["btcusdt@ticker"])

    asyncio.run(scenario())


def test_each_message_has_its_own_deadline() -> None:
    """A lost first ACK is noticed while later messages are still being sent."""

    async def scenario() -> None:
        def answer(message: Any) -> bytes | None:
            return None if message["id"] == 1 else acknowledge(message)

        streams = [f"symbol{index:04d}usdt@kline_15m" for index in range(1000)]
        async with linked(answer, ack_timeout_s=0.3, subscribe_rate_per_s=5.0) as (link, peer, url):
            await link.connect(url)
            with pytest.raises(FeedError, match=r"\d subscriptions not acknowledged"):
                await link.subscribe(streams)
            assert len(peer.received) < 4

    asyncio.run(scenario())


def test_nobody_listening_is_an_error() -> None:
    async def scenario() -> None:
        link = make_link()
        with pytest.raises(FeedError, match="cannot connect to ws://127"):
            await link.connect("ws://127.0.0.1:1/ws")
        link.close()
        await link.wait_closed()

    asyncio.run(scenario())


def test_refused_upgrade_names_the_status() -> None:
    async def scenario() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 451 Unavailable\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FeedError, match="refused the connection with HTTP 451"):
            await make_link().connect(f"ws://127.0.0.1:{port}/ws")
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


def test_server_that_never_answers_the_upgrade_is_given_up() -> None:
    async def scenario() -> None:
        begun = asyncio.Event()
        ended = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            begun.set()
            await reader.read()
            ended.set()
            writer.close()

        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(30):
            with pytest.raises(FeedError):
                await make_link(connect_timeout_s=0.2).connect(f"ws://127.0.0.1:{port}/ws")
            await ended.wait()
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


def test_silent_connection_is_asked_for_a_sign_of_life() -> None:
    async def scenario() -> None:
        def answer(message: Any) -> bytes:
            if message["method"] == "LIST_SUBSCRIPTIONS":
                return b'{"result":["btcusdt@ticker"],"id":%d}' % message["id"]
            return acknowledge(message)

        async with linked(answer, rate=100.0) as (link, peer, url), asyncio.timeout(30):
            await link.connect(url)
            await link.subscribe(["btcusdt@ticker", "btcusdt@kline_1m"])
            while not link.lost:
                link.look()
                await asyncio.sleep(0.005)
            assert link.lost == ("btcusdt@kline_1m",)
            link.look()
            assert link.silent_s < 10.0
            assert not link.overdue
            assert link.data_count == 0, "an answer is no data"

    asyncio.run(scenario())


def test_connection_that_owes_a_sign_of_life_is_overdue() -> None:
    async def scenario() -> None:
        def answer(message: Any) -> bytes | None:
            return None if message["method"] == "LIST_SUBSCRIPTIONS" else acknowledge(message)

        async with linked(answer, rate=100.0) as (link, _, url), asyncio.timeout(30):
            await link.connect(url)
            await link.subscribe(["btcusdt@ticker"])
            while not link.overdue:
                link.look()
                await asyncio.sleep(0.005)
            assert link.silent_s >= PROBE_AFTER_S + 5.0  # the time an answer has

    asyncio.run(scenario())


def test_closing_before_the_connection_is_there_leaves_none() -> None:
    async def scenario() -> None:
        async with linked(acknowledge) as (link, peer, url):
            link.close()
            await link.connect(url)
            async with asyncio.timeout(30):
                await link.closed.wait()
            assert link.listener.transport is None

    asyncio.run(scenario())
