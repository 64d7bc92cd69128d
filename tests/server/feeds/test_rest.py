"""The REST client against servers that misbehave on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from server.errors import RestError
from server.feeds import rest as rest_module
from server.feeds.hosts import Hosts
from server.feeds.rest import HttpRest

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]


def ok(body: bytes = b"{}", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (headers, len(body), body)


@asynccontextmanager
async def serving(
    handler: Handler, **options: float
) -> AsyncIterator[tuple[HttpRest, list[bytes]]]:
    """A client of a server whose ``handler`` answers one request; False ends the connection."""
    requests: list[bytes] = []
    connections = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                requests.append(b"%d " % connections + head)
                if not await handler(head, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    values = {"concurrency": 1, "timeout_s": 5.0, "body_max": 1 << 20} | options
    client = HttpRest(Hosts([f"http://127.0.0.1:{port}/base/"]), **values)  # type: ignore[arg-type]
    try:
        yield client, requests
    finally:
        await client.close()
        server.close()
        await server.wait_closed()


def always(data: bytes, *, keep: bool = True) -> Handler:
    async def handler(head: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        return keep

    return handler


def test_answer_is_status_lower_case_headers_and_body() -> None:
    async def scenario() -> None:
        data = ok(b'{"a":1}', b"X-MBX-USED-WEIGHT-1M: 7\r\n").replace(b"200 OK", b"429 Too Many")
        async with serving(always(data)) as (client, requests):
            answer = await client.get("/klines", {"symbol": "币安", "limit": 5})
            assert (answer.status, answer.body) == (429, b'{"a":1}')
            assert answer.headers["x-mbx-used-weight-1m"] == "7"
            line = requests[0].split(b"\r\n")[0]
            assert line == b"1 GET /base/klines?symbol=%E5%B8%81%E5%AE%89&limit=5 HTTP/1.1"

    asyncio.run(scenario())


def test_connection_is_kept_and_replaced_when_it_was_closed_while_idle() -> None:
    async def scenario() -> None:
        answered = 0

        async def handler(head: bytes, writer: asyncio.StreamWriter) -> bool:
            nonlocal answered
            answered += 1
            writer.write(ok())
            await writer.drain()
            return answered != 2

        async with serving(handler) as (client, requests):
            for _ in range(4):
                assert (await client.get("/", {})).status == 200
            assert [request.split()[0] for request in requests] == [b"1", b"1", b"2", b"2"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "cut off"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nabc", "no answer"),
        (ok(b"x" * 2000), "longer than 1000 bytes"),
        (b"", "no answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n", "no answer"),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000 + b"\r\n\r\n", "no answer"),
    ],
)
def test_answer_that_is_none_is_an_error(data: bytes, message: str) -> None:
    async def scenario() -> None:
        async with serving(always(data, keep=False), body_max=1000) as (client, _):
            with pytest.raises(RestError, match=message) as caught:
                await client.get("/", {})
            assert caught.value.status == 0

    asyncio.run(scenario())


def test_redirects_are_not_followed() -> None:
    async def scenario() -> None:
        data = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
        async with serving(always(data)) as (client, requests):
            assert (await client.get("/", {})).status == 302
            assert len(requests) == 1

    asyncio.run(scenario())


async def stall(head: bytes, writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(30)
    return False


async def drip(
    head: bytes, writer: asyncio.StreamWriter, headers: bytes = b"content-length: 1000000\r\n"
) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n" % headers)
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_at_last(head: bytes, writer: asyncio.StreamWriter) -> bool:
    """An answer after which the connection ends: http.client lets go of it at its head."""
    return await drip(head, writer, b"connection: close\r\ncontent-length: 1000000\r\n")


@pytest.mark.parametrize("handler", [stall, drip, drip_at_last])
def test_server_that_stalls_or_drips_is_given_up(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_module, "_WHOLE_FACTOR", 2)

    async def scenario() -> None:
        async with serving(handler, timeout_s=0.2) as (client, _), asyncio.timeout(30):
            with pytest.raises(RestError):
                await client.get("/", {})

    asyncio.run(scenario())


@pytest.mark.parametrize("slow", [drip, drip_at_last])
def test_thread_is_free_again_after_a_request_was_given_up(
    slow: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_module, "_WHOLE_FACTOR", 1)

    async def scenario() -> None:
        handlers = [slow, always(ok())]

        async def handler(head: bytes, writer: asyncio.StreamWriter) -> bool:
            return await handlers.pop(0)(head, writer)

        async with serving(handler, timeout_s=1.0) as (client, _), asyncio.timeout(30):
            with pytest.raises(RestError, match="no whole answer"):
                await client.get("/", {})
            assert (await client.get("/", {})).status == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("handler", [stall, drip_at_last])
def test_close_ends_requests_under_way(handler: Handler) -> None:
    async def scenario() -> None:
        async with serving(handler, timeout_s=60.0) as (client, requests), asyncio.timeout(30):
            request = asyncio.ensure_future(client.get("/", {}))
            while not requests:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)  # the head of an answer has been read, if there is one
            await client.close()
            with pytest.raises(RestError):
                await request

    asyncio.run(scenario())


def test_nobody_there_is_an_error() -> None:
    async def scenario() -> None:
        hosts = Hosts(["http://127.0.0.1:1"])
        client = HttpRest(hosts, concurrency=1, timeout_s=2.0, body_max=1000)
        with pytest.raises(RestError, match="no answer from 127"):
            await client.get("/", {})
        await client.close()

    asyncio.run(scenario())


@asynccontextmanager
async def answering(status: list[int]) -> AsyncIterator[tuple[asyncio.Server, str, list[bytes]]]:
    """A server that answers with ``status[0]``, and the requests it got."""
    requests: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                if not status[0]:
                    break
                writer.write(ok().replace(b"200 OK", b"%d X" % status[0]))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests
    finally:
        server.close()
        await server.wait_closed()


def test_fault_14_a_request_without_an_answer_makes_the_next_one_go_to_the_next_host() -> None:
    """Fault 14: nobody at the first host, then the second gives no answer: each costs one request,
    never asked again at once; the one that answers is kept."""

    async def scenario() -> None:
        status = [200]
        async with (
            answering(status) as (_, second, at_second),
            answering([200]) as (_, third, at_third),
        ):
            hosts = Hosts(["http://127.0.0.1:1", second + "/base", third])
            client = HttpRest(hosts, concurrency=1, timeout_s=2.0, body_max=1000)
            try:
                with pytest.raises(RestError, match="no answer from 127.0.0.1:1:") as caught:
                    await client.get("/time", {})
                assert caught.value.status == 0
                assert (at_second, at_third) == ([], [])
                for _ in range(3):
                    assert (await client.get("/time", {})).status == 200
                assert [head.split()[1] for head in at_second] == [b"/base/time"] * 3
                status[0] = 0
                # The kept connection ends without an answer, and so does the fresh one.
                with pytest.raises(RestError, match="no answer from"):
                    await client.get("/time", {})
                for _ in range(3):
                    assert (await client.get("/time", {})).status == 200
                assert [head.split()[1] for head in at_third] == [b"/time"] * 3
                assert hosts.changes == 2
            finally:
                await client.close()
            assert hosts.changes == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [403, 418, 429, 451, 500, 503])
def test_fault_14_a_refusal_is_meant_for_our_address_and_changes_no_host(status: int) -> None:
    async def scenario() -> None:
        async with (
            answering([status]) as (_, first, at_first),
            answering([200]) as (_, second, at_second),
        ):
            hosts = Hosts([first, second])
            client = HttpRest(hosts, concurrency=1, timeout_s=2.0, body_max=1000)
            try:
                for _ in range(3):
                    assert (await client.get("/time", {})).status == status
            finally:
                await client.close()
            assert (len(at_first), len(at_second), hosts.changes) == (3, 0, 0)

    asyncio.run(scenario())


def test_fault_14_a_host_that_is_silent_is_left_after_its_time() -> None:
    async def scenario() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        first = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, answering([200]) as (_, second, _requests):
            hosts = Hosts([first, second])
            client = HttpRest(hosts, concurrency=2, timeout_s=0.3, body_max=1000)
            try:
                together = (client.get("/time", {}) for _ in range(2))
                answers = await asyncio.gather(*together, return_exceptions=True)
                assert all(isinstance(answer, RestError) for answer in answers)
                assert (await client.get("/time", {})).status == 200
                assert hosts.changes == 1
            finally:
                await client.close()

    asyncio.run(scenario())
