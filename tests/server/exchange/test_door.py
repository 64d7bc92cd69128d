"""Plain HTTP at the exchange's port: keep-alive, refusals, and nothing that hangs."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any

import pytest

from server.handshake import HEAD_SIZE_MAX


def test_one_connection_carries_many_requests(stepping: Any) -> None:
    def ask(port: int) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        used = []
        try:
            for _ in range(3):
                connection.request("GET", "/api/v3/ping")
                answer = connection.getresponse()
                assert answer.read() == b"{}"
                assert not answer.will_close
                used.append(int(answer.headers["X-MBX-USED-WEIGHT-1M"]))
        finally:
            connection.close()
        return used

    async def run() -> None:
        async with stepping() as talk:
            assert await asyncio.to_thread(ask, talk.exchange.port) == [1, 2, 3]

    asyncio.run(run())


def test_requests_sent_at_once_are_answered_in_order(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk:
            reader, writer = await asyncio.open_connection("127.0.0.1", talk.exchange.port)
            paths = ["/api/v3/ping", "/api/v3/time", "/nothing"] * 40
            last = "GET /api/v3/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            text = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths) + last
            writer.write(text.encode())
            heard = await asyncio.wait_for(reader.read(), 30)
            writer.close()
            statuses = [int(part[:3]) for part in heard.split(b"HTTP/1.1 ")[1:]]
            assert statuses == [200, 200, 404] * 40 + [200]

    asyncio.run(run())


def test_an_answer_is_json_with_its_length(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk:
            status, headers, body = await talk.get("/api/v3/klines?symbol=BTCUSDT&interval=1m")
            assert status == 200
            assert headers["content-type"] == "application/json;charset=UTF-8"
            assert int(headers["content-length"]) == len(body)
            assert len(json.loads(body)) == 500
            status, headers, _ = await talk.get("/nothing")
            assert (status, headers["content-type"]) == (404, "text/html")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /api/v3/ping HTTP/1.1\r\n\r\n", 405),
        (b"GET /api/v3/ping\r\n\r\n", 400),
        (b"GET  /api/v3/ping HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\r\n\r\n", 400),
        (b"GET /api/v3/ping HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /api/v3/ping HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET /api/v3/ping HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"GET /api/v3/ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"a" * (HEAD_SIZE_MAX + 1), 431),
        (b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 400),
        (b"GET /api/v3/klines?symbol=\xff\xfe HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ends(
    stepping: Any, sent: bytes, status: int
) -> None:
    async def run() -> None:
        async with stepping() as talk:
            reader, writer = await asyncio.open_connection("127.0.0.1", talk.exchange.port)
            writer.write(sent)
            heard = await asyncio.wait_for(reader.read(), 30)
            assert heard.startswith(b"HTTP/1.1 %d " % status)
            assert b"Traceback" not in heard
            writer.close()
            assert (await talk.get("/api/v3/ping"))[0] == 200

    asyncio.run(run())


def test_a_connection_that_asks_nothing_is_closed(
    stepping: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.exchange.door.IDLE_S", 0.05)

    async def run() -> None:
        async with stepping() as talk:
            reader, writer = await asyncio.open_connection("127.0.0.1", talk.exchange.port)
            writer.write(b"GET /api/v3/pi")
            assert await asyncio.wait_for(reader.read(), 30) == b""
            writer.close()

    asyncio.run(run())


def test_open_connections_are_bounded(
    stepping: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.exchange.app._DOORS_MAX", 2)

    async def run() -> None:
        async with stepping() as talk:
            port = talk.exchange.port
            open_ = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            await until(lambda: len(talk.exchange._doors) == 2)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await until(lambda: talk.exchange.counters["doors_refused"] == 1)
            assert await asyncio.wait_for(reader.read(), 30) == b""
            for _, one in [*open_, (reader, writer)]:
                one.close()
            await until(lambda: not talk.exchange._doors)
            assert (await talk.get("/api/v3/ping"))[0] == 200

    asyncio.run(run())


def test_a_fault_of_ours_is_500_without_a_traceback(
    stepping: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with stepping() as talk:
            monkeypatch.setattr(talk.exchange.rest, "handle", lambda *_: 1 / 0)
            status, _, body = await talk.get("/api/v3/ping")
            assert status == 500
            assert json.loads(body)["code"] == -1000
            assert b"Zero" not in body

    asyncio.run(run())
