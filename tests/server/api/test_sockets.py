"""The API under granian on real sockets: malformed HTTP, streams, and clients that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from api_target import DEADLINE_S, Target, busy_target, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from ws_frames import MISTAKES

MINUTE_MS = 60_000
START_MS = 1_700_000_040_000


@pytest.fixture(scope="module")
def quiet() -> Iterator[Target]:
    """Publishes nothing on its own; takes three WebSocket clients."""
    target = Target(settings={"ws_clients_max": 3, "capacity": 500, "ws_subscriptions_max": 2})
    yield target
    target.stop()


@pytest.fixture(scope="module")
def busy() -> Iterator[Target]:
    """See ``busy_target``."""
    target = busy_target()
    yield target
    target.stop()


# --- HTTP ----------------------------------------------------------------------------------------


def exchange(port: int, data: bytes, *, until_closed: bool = False) -> bytes:
    """Send bytes, return what comes back until the first whole answer or the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as raw:
        raw.sendall(data)
        received = b""
        while chunk := raw.recv(65536):
            received += chunk
            head, found, body = received.partition(b"\r\n\r\n")
            if found and not until_closed:
                length = [
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ]
                if data.startswith(b"HEAD") or len(body) >= (length or [0])[0]:
                    break
        return received


def test_rows_arrive_as_the_market_built_them(quiet: Target) -> None:
    answer = json.loads(quiet.get("/klines/btcusdt/1m?limit=500"))
    assert answer["count"] == 500
    assert [row["t"] for row in answer["klines"]] == [START_MS + i * MINUTE_MS for i in range(500)]


def test_head_sends_the_length_and_no_body_on_the_wire(quiet: Target) -> None:
    request = b"HEAD /klines/BTCUSDT/1m HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    head, _, body = exchange(quiet.port, request, until_closed=True).partition(b"\r\n\r\n")
    assert body == b""
    assert int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) > 10_000


def test_a_known_etag_costs_no_body_on_the_wire(quiet: Target) -> None:
    path = b"/klines/BTCUSDT/1m?limit=500"
    first = exchange(quiet.port, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    etag = first.lower().split(b"etag: ")[1].split(b"\r\n")[0].replace(b"w/", b"W/")
    request = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: " + etag
    second = exchange(quiet.port, request + b"\r\nConnection: close\r\n\r\n", until_closed=True)
    assert second.startswith(b"HTTP/1.1 304")
    assert len(second) < 400


HOST = b"Host: localhost\r\n"
PROBES = {
    "garbage": b"\x00\xff\xfe\x01" * 100 + b"\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bad version": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "no version": b"GET /\r\n\r\n",
    "NUL in path": b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "byte 0xff in path": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in header": b"GET / HTTP/1.1\r\n" + HOST + b"A: \x00\r\n\r\n",
    "space in header name": b"GET / HTTP/1.1\r\n" + HOST + b"A b: c\r\n\r\n",
    "no Host": b"GET /tickers HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "foreign Host": b"GET /tickers HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "empty Content-Length": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: \r\n\r\n",
    "bad Content-Length": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1x\r\n\r\n",
    "negative length": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "huge length": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length and chunked": b"POST / HTTP/1.1\r\n" + HOST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk overflow": b"GET / HTTP/1.1\r\n" + HOST
    + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n\r\n",
    "101 headers": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 101 + b"\r\n",
    "large header": b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
    "long URL": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "large body": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 70000\r\n\r\n" + b"x" * 70_000,
    "WebSocket without key": b"GET /ws HTTP/1.1\r\n" + HOST
    + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "plain GET of /ws": b"GET /ws HTTP/1.1\r\n" + HOST + b"\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", PROBES)
def test_malformed_http_is_refused_and_hurts_nobody(quiet: Target, name: str) -> None:
    with contextlib.suppress(ConnectionResetError):
        answer = exchange(quiet.port, PROBES[name])
        if answer:
            status = int(answer.split(b" ", 2)[1])
            assert 400 <= status < 500, answer[:200]
            assert b"Traceback" not in answer
    assert json.loads(quiet.get("/health"))["status"] == "healthy"


@pytest.mark.slow
def test_a_client_that_sends_its_headers_slowly_is_cut(quiet: Target) -> None:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", quiet.port), timeout=60) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: local")
        raw.recv(1024)
    assert 3.0 < time.monotonic() - started < 60.0


# --- streams -------------------------------------------------------------------------------------


async def ask(client: ClientConnection, method: str, *params: str, number: int = 1) -> Any:
    """Send a control message; its reply, whatever else comes before it."""
    await client.send(json.dumps({"method": method, "params": list(params), "id": number}))
    while True:
        message = json.loads(await asyncio.wait_for(client.recv(), DEADLINE_S))
        if "id" in message:
            assert message["id"] == number
            return message


def test_a_silent_client_receives_tickers_until_it_subscribes(busy: Target) -> None:
    async def scenario() -> None:
        async with connect(busy.url, max_size=None) as client:
            first = json.loads(await client.recv())
            assert first["type"] == "ticker"
            assert (await ask(client, "LIST_SUBSCRIPTIONS"))["result"] == ["tickers"]
            assert (await ask(client, "SUBSCRIBE", "BTCUSDT@kline_1m"))["result"] is None
            listed = await ask(client, "LIST_SUBSCRIPTIONS")
            assert listed["result"] == ["btcusdt@kline_1m"]
            async with asyncio.timeout(DEADLINE_S):
                while "k" not in json.loads(await client.recv()):
                    pass
                for _ in range(5):
                    assert json.loads(await client.recv())["e"] == "kline"

    asyncio.run(scenario())


def test_a_client_that_reads_misses_no_close(busy: Target) -> None:
    async def scenario() -> None:
        async with connect(busy.url, max_size=None) as client:
            await ask(client, "SUBSCRIBE", "btcusdt@kline_1m", "tickers")
            opens = []
            async with asyncio.timeout(DEADLINE_S):
                while len(opens) < 100:
                    message = json.loads(await client.recv())
                    if "k" in message:
                        opens.append(message["k"]["t"])
            assert opens == [opens[0] + i * MINUTE_MS for i in range(100)]

    asyncio.run(scenario())


def test_after_unsubscribing_nothing_comes(quiet: Target, busy: Target) -> None:
    async def scenario() -> None:
        async with connect(busy.url, max_size=None) as client:
            await ask(client, "SUBSCRIBE", "btcusdt@kline_1m")
            await ask(client, "UNSUBSCRIBE", "btcusdt@kline_1m", "ethusdt@ticker", number=2)
            assert (await ask(client, "LIST_SUBSCRIPTIONS", number=3))["result"] == []
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.recv(), 0.2)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("message", "code", "part"),
    [
        ("nonsense", 3, "Invalid JSON"),
        ('{"method":"X","id":1}', 2, "unknown variant"),
        ('{"method":"SUBSCRIBE","params":["dogeusdt@ticker"],"id":1}', 2, "unknown stream"),
        ('{"method":"SUBSCRIBE","params":["!bar"],"id":1}', 2, "tickers, !barrier, !symbols"),
        ('{"method":"SUBSCRIBE","params":["btcusdt@kline_1M"],"id":1}', 2, "unknown stream"),
        (
            '{"method":"SUBSCRIBE","params":["btcusdt@ticker","ethusdt@ticker",'
            '"btcusdt@kline_1m"],"id":1}',
            2,
            "at most 2",
        ),
    ],
)
def test_a_bad_control_message_is_answered_and_changes_nothing(
    quiet: Target, message: str, code: int, part: str
) -> None:
    async def scenario() -> None:
        async with connect(quiet.url) as client:
            await client.send(message)
            reply = json.loads(await client.recv())
            assert reply["error"]["code"] == code
            assert part in reply["error"]["msg"]
            assert (await ask(client, "LIST_SUBSCRIPTIONS"))["result"] == ["tickers"]

    asyncio.run(scenario())


async def closing(client: ClientConnection) -> tuple[int, str]:
    """Read until the server closes; its code and reason."""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(DEADLINE_S):
            async for _ in client:
                pass
    return client.close_code or 0, client.close_reason or ""


def test_a_message_that_is_too_large_ends_the_connection(quiet: Target) -> None:
    async def scenario() -> None:
        async with connect(quiet.url) as client:
            await client.send("x" * 4097)
            code, reason = await closing(client)
        assert (code, "4096 bytes" in reason) == (1009, True)

    asyncio.run(scenario())


def closing_frames(port: int, sent: bytes) -> tuple[list[int], bool]:
    """Codes of close frames after what was sent, 0 for one without; and whether that was the end.

    Nothing comes for a while where it was not.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=0.3) as raw:
        raw.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        received, ended = b"", False
        with contextlib.suppress(TimeoutError, ConnectionError):
            while b"\r\n\r\n" not in received:
                received += raw.recv(65536)
            raw.sendall(sent)
            while part := raw.recv(65536):
                received += part
            ended = True
    frames, codes = received.partition(b"\r\n\r\n")[2], []
    while frames:  # none of them is long
        size = frames[1]
        if frames[0] == 0x88:
            codes.append(int.from_bytes(frames[2:4]) if size else 0)
        frames = frames[2 + size :]
    return codes, ended


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_the_protocol_ends_its_connection_and_no_other(
    quiet: Target, name: str
) -> None:
    """granian says goodbye without a code; the stream port says which mistake it was."""
    sent, code = MISTAKES[name]
    codes, ended = closing_frames(quiet.port, sent)
    if "flood" in name or name == "a binary message":  # which granian answers, or takes as text
        assert (codes, ended) == ([], False)
    else:
        assert ended
        assert codes in ([0], [code], [1002])
    assert json.loads(quiet.get("/health"))["status"] == "healthy"
    until(lambda: quiet.metric("ws_clients") == 0)


def test_too_many_messages_end_the_connection(quiet: Target) -> None:
    async def scenario() -> None:
        async with connect(quiet.url) as client:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(50):
                    await client.send("{}")
                    # What is under way when the server closes costs its reason: a reset.
                    await asyncio.sleep(0.02)
            code, reason = await closing(client)
        assert (code, "a second" in reason) == (1008, True)

    asyncio.run(scenario())


def test_a_client_beyond_the_limit_is_refused_before_the_handshake(quiet: Target) -> None:
    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(connect(quiet.url))
            with pytest.raises(InvalidStatus) as caught:
                await connect(quiet.url)
            assert caught.value.response.status_code == 503
            assert b"too_many_clients" in caught.value.response.body

    until(lambda: quiet.metric("ws_clients") == 0)
    asyncio.run(scenario())
    until(lambda: quiet.metric("ws_clients") == 0)

    async def again() -> None:
        async with connect(quiet.url):
            pass

    asyncio.run(again())


def test_a_client_that_never_reads_delays_nobody_and_is_ended(busy: Target) -> None:
    """K7: one such client froze the original's whole ingest."""
    longest_s = [longest_silence_beside_clients_that_never_read(busy)]
    # Messages come every 5 ms; the rest is this machine's noise, which the next turn has not.
    while min(longest_s) >= 0.5 and len(longest_s) < 4:
        longest_s.append(longest_silence_beside_clients_that_never_read(busy))
    assert min(longest_s) < 0.5, longest_s


def longest_silence_beside_clients_that_never_read(busy: Target) -> float:
    """Seconds between two messages of a client that reads, while three do not, and are ended."""
    until(lambda: busy.metric("ws_clients") == 0)
    dropped = busy.metric("ws_clients_dropped_total", code="1013")
    rss_before = busy.rss_bytes
    stalled = [busy.dial(receive_buffer=4096) for _ in range(3)]

    async def read_meanwhile() -> tuple[float, int]:
        longest_s, closes, rss_max = 0.0, 0, 0
        async with connect(busy.url, max_size=None) as client:
            await ask(client, "SUBSCRIBE", "btcusdt@kline_1m", "tickers")
            begun = last = time.monotonic()
            previous = None
            while last < begun + 4.0 or closes <= 200:
                message = json.loads(await asyncio.wait_for(client.recv(), DEADLINE_S))
                now = time.monotonic()
                longest_s, last = max(longest_s, now - last), now
                if "k" in message:
                    opened = message["k"]["t"]
                    assert previous is None or opened == previous + MINUTE_MS
                    previous = opened
                    closes += 1
                    if closes % 50 == 0:
                        rss_max = max(rss_max, busy.rss_bytes)
        return longest_s, rss_max

    longest_s, rss_max = asyncio.run(read_meanwhile())
    assert rss_max - rss_before < 30e6
    until(lambda: busy.metric("ws_clients_dropped_total", code="1013") >= dropped + 3)
    until(lambda: busy.metric("ws_clients") == 0)
    for raw in stalled:
        with raw, contextlib.suppress(ConnectionResetError):
            while raw.recv(1 << 20):  # what was on its way, then the end
                pass
    return longest_s


def test_closes_that_cannot_be_delivered_end_the_client_with_1013(busy: Target) -> None:
    """Closes are never dropped in silence: the client learns that it must ask anew."""
    until(lambda: busy.metric("ws_clients") == 0)
    overflowed = busy.metric("ws_queues_overflowed")

    async def scenario() -> tuple[int, str]:
        # max_queue: the client library stops reading when nobody takes its messages.
        async with connect(busy.url, max_size=None, max_queue=1) as client:
            await ask(client, "SUBSCRIBE", "btcusdt@kline_1m", "tickers")
            while busy.metric("ws_queues_overflowed") == overflowed:
                await asyncio.sleep(0.02)
            return await closing(client)

    code, reason = asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))
    assert code == 1013
    assert "too slow" in reason


def test_a_client_that_vanishes_while_stalled_leaves_no_memory_behind(busy: Target) -> None:
    """granian queues what is sent to a peer that is gone; the writer must have ended."""
    until(lambda: busy.metric("ws_clients") == 0)
    rss_before = busy.rss_bytes
    for reset in (True, False, True):
        raw = busy.dial(receive_buffer=4096)
        until(lambda: busy.metric("ws_clients") == 1)
        sent = busy.metric("ws_bytes_sent")
        until(lambda sent=sent: busy.metric("ws_bytes_sent") > sent)  # type: ignore[misc]
        if reset:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
        else:
            raw.shutdown(socket.SHUT_WR)
        until(lambda: busy.metric("ws_clients") == 0)
        raw.close()
    assert busy.rss_bytes - rss_before < 20e6


def test_the_key_is_asked_for_on_the_wire_before_the_handshake() -> None:
    target = Target(settings={"api_key": "right-key"})

    async def status(**arguments: Any) -> int:
        try:
            async with connect(target.url, **arguments) as client:
                assert client.subprotocol in (None, "klinecore.v1")
                return 101
        except InvalidStatus as error:
            challenge = error.response.headers["WWW-Authenticate"]
            return error.response.status_code if challenge.startswith("Bearer") else 0

    async def scenario() -> list[int]:
        return [
            await status(),
            await status(additional_headers={"X-API-Key": "wrong"}),
            await status(subprotocols=["klinecore.v1", "klinecore.key.wrong"]),
            await status(additional_headers={"X-API-Key": "right-key"}),
            await status(additional_headers={"Authorization": "Bearer right-key"}),
            await status(subprotocols=["klinecore.v1", "klinecore.key.right-key"]),
        ]

    try:
        assert asyncio.run(scenario()) == [401, 401, 401, 101, 101, 101]
    finally:
        target.stop()
