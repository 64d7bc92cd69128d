"""Server-sent events: nothing lost or told twice, and who comes back goes on where they were."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_target import Target, busy_target
from event_reader import Reader, read_events

from server.access.keys import KeysFile
from server.api import events, market_events
from server.identity import OPERATOR, Scope, Tier
from server.signals.topics import owner_topic

KEY = "correct-horse-battery-staple"
STREAM = "btcusdt@kline_1m"


def close(server: Any, index: int) -> None:
    server.market.push("BTCUSDT", "1m", server.row(index))
    server.channels.publish(server.market.drain())


@pytest.fixture(autouse=True)
def told_already(server: Any) -> None:
    """What the server was filled with is nobody's news."""
    server.market.drain()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def read(server: Any, streams: str = STREAM, last_id: str | None = None) -> Reader:
    return read_events(server, server.scope(f"/events?streams={streams}"), last_id)


def opened(events: list[Any]) -> list[int]:
    return [(event.data["k"]["t"] - 1_700_000_040_000) // 60_000 for event in events]


def test_closes_come_as_events_with_ids(server: Any) -> None:
    async def scenario() -> None:
        async with read(server) as reader:
            assert reader.status == 200
            assert reader.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert reader.headers["cache-control"] == "no-store"
            assert "content-length" not in reader.headers
            for index in (31, 32, 33):
                close(server, index)
            got = await reader.some(3)
            assert opened(got) == [31, 32, 33]
            assert len({event.id for event in got}) == 3
            assert b"retry: 2000\n\n" in reader.body

    run(scenario())


def test_who_comes_back_in_time_misses_nothing_and_hears_nothing_twice(server: Any) -> None:
    async def scenario() -> None:
        seed = random.Random(7)
        next_index, heard = 32, [31]
        async with read(server) as reader:
            close(server, 31)
            (event,) = await reader.some(1)
        last_id = event.id
        for _ in range(12):
            async with read(server, last_id=last_id) as reader:
                for _ in range(seed.randrange(4)):
                    close(server, next_index)
                    next_index += 1
                # The client may go with events on their way that it never saw.
                waiting = next_index - 31 - len(heard)
                for event in await reader.some(seed.randint(0, waiting)):
                    heard += opened([event])
                    last_id = event.id
            close(server, next_index)
            next_index += 1
        async with read(server, last_id=last_id) as reader:
            for event in await reader.some(next_index - 31 - len(heard)):
                heard += opened([event])
            await reader.silence()
        assert heard == list(range(31, next_index))

    run(scenario())


def test_what_is_not_held_any_more_is_said(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_events, "HELD_MAX", 2)

    async def scenario() -> None:
        async with read(server) as reader:
            for index in range(31, 36):
                close(server, index)
            first = (await reader.some(5))[0]
        for last_id in (first.id, "unknown.3", "nonsense", first.id + "9"):
            async with read(server, last_id=last_id) as reader:
                reset = await reader.next()
                assert reset is not None
                assert reset.kind == "reset"
                assert "not held" in reset.data["reason"]
                await reader.silence()

    run(scenario())


def test_another_streams_or_another_key_cannot_take_it_up(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    file = KeysFile(str(tmp_path / "keys.json"))
    other, _ = file.add("ann", Tier.PRO, Scope.READ, now_ms=0)
    server = make_server(capacity=20, api_key=KEY, api_keys_file=file.path).serve()

    def asked(key: str, streams: str = STREAM) -> Any:
        return server.scope(f"/events?streams={streams}", ("X-API-Key", key))

    async def scenario() -> None:
        async with read_events(server, asked(KEY)) as reader:
            close(server, 31)
            (event,) = await reader.some(1)
        for scope in (asked(KEY, "!barrier"), asked(other)):
            async with read_events(server, scope, event.id) as reader:
                reset = await reader.next()
                assert reset is not None
                assert reset.kind == "reset"
        async with read_events(server, asked(KEY), event.id) as reader:
            close(server, 32)
            assert opened(await reader.some(1)) == [32]
        async with read_events(server, asked("wrong")) as reader:
            assert reader.status == 401

    run(scenario())


def test_a_second_connection_takes_over_from_the_first(server: Any) -> None:
    async def scenario() -> None:
        async with read(server) as first:
            close(server, 31)
            (event,) = await first.some(1)
            async with read(server, last_id=event.id) as second:
                ended = await first.next()
                assert ended is not None
                assert ended.kind == "end"
                close(server, 32)
                assert opened(await second.some(1)) == [32]

    run(scenario())


def test_streams_left_behind_are_few_and_not_for_long(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_events, "LEFT_MAX", 3)
    monkeypatch.setattr(market_events, "LINGER_S", 0.05)

    async def scenario() -> None:
        for _ in range(10):
            async with read(server):
                pass
        assert len(server.hub) == 3
        await asyncio.sleep(0.1)
        assert len(server.hub) == 0

    run(scenario())


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "invalid_streams"),
        ("?streams=", "invalid_streams"),
        ("?streams=///", "invalid_streams"),
        ("?streams=btcusdt@kline_1M", "unknown_stream"),
        ("?streams=signals@6f0d3c0e-8a53-4c0f-9c7e-2f6a1f0b7d51", "unknown_stream"),
        (f"?streams={STREAM}&market=um", "invalid_market"),
    ],
)
def test_what_cannot_be_told_is_refused(server: Any, query: str, code: str) -> None:
    assert server.get(f"/events{query}").code == code


def test_a_last_event_id_of_nobody_is_refused(server: Any) -> None:
    answer = server.get(f"/events?streams={STREAM}", ("Last-Event-ID", "x" * 201))
    assert answer.code == "invalid_event_id"


def test_head_tells_the_headers_and_subscribes_nobody(server: Any) -> None:
    answer = server.get(f"/events?streams={STREAM}", method="HEAD")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert len(server.hub) == 0


def test_so_many_clients_and_no_more(make_server: Callable[..., Any]) -> None:
    server = make_server(capacity=20, sse_clients_max=1).serve()

    async def scenario() -> None:
        async with read(server), read(server) as second:
            assert second.status == 503
        async with read(server) as third:
            assert third.status == 200

    run(scenario())


def test_who_takes_nothing_is_ended_and_holds_up_nobody(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SWEEP_S", 0.01)
    monkeypatch.setattr(events, "CLOSE_S", 0.01)

    async def scenario() -> None:
        async with read(server) as stuck, read(server) as reader:
            stuck.takes.clear()
            close(server, 31)
            close(server, 32)
            assert opened(await reader.some(2)) == [31, 32]
            await asyncio.sleep(0.03)
            assert not stuck.task.done()
            server.clock.now_ms += 11_000
            await asyncio.wait_for(stuck.task, 30)
            dropped = server.metrics.counter("sse_clients_dropped_total", "", ["reason"])
            assert dropped.value("slow") == 1
            stuck.takes.set()

    run(scenario())


def test_silence_is_broken_by_comments(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SWEEP_S", 0.01)

    async def scenario() -> None:
        async with read(server) as reader:
            for expected in (1, 2, 3):
                server.clock.now_ms += 16_000
                async with asyncio.timeout(30):
                    while reader.comments < expected:
                        await asyncio.sleep(0.005)
            await reader.silence()

    run(scenario())


def test_everybody_is_told_when_the_server_goes(server: Any) -> None:
    async def scenario() -> None:
        async with read(server) as reader:
            server.api.close_all()
            last = await reader.next()
            assert last is not None
            assert (last.kind, last.data) == ("end", {"reason": "the server is shutting down"})
            assert await reader.next() is None
        assert server.api.clients == 0

    run(scenario())


def test_signals_can_be_among_the_streams_and_none_is_dropped_at_a_close(server: Any) -> None:
    async def scenario() -> None:
        async with read(server, f"{STREAM}/signals") as reader:
            await reader.silence()
            for number in range(2000):  # of all symbols at once
                message = json.dumps({"type": "signal", "data": {"n": number}}).encode()
                server.hub.publish("signals:all", message)
            got = await reader.some(2000)
            assert [event.data["data"]["n"] for event in got] == list(range(2000))
            assert server.hub.publish(owner_topic(OPERATOR), b"{}") == 0

    run(scenario())


# --- under granian -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy() -> Iterator[Target]:
    target = busy_target()
    yield target
    target.stop()


def request(port: int, *, buffer: int = 0) -> socket.socket:
    raw = socket.socket()
    if buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    raw.settimeout(10)
    raw.connect(("127.0.0.1", port))
    raw.sendall(
        f"GET /events?streams={STREAM}/tickers HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    )
    return raw


def test_events_arrive_on_the_wire_and_gone_clients_are_noticed(busy: Target) -> None:
    target = busy
    readers = [request(target.port) for _ in range(5)]
    for raw in readers:
        received = b""
        while received.count(b"\ndata: ") < 3:
            received += raw.recv(1 << 20)
        assert received.startswith(b"HTTP/1.1 200")
    assert target.metric("sse_clients") == 5
    for raw in readers:
        raw.close()
    deadline = time.monotonic() + 10
    while target.metric("sse_clients"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # What is published for nobody must not pile up in the process.
    before = target.rss_bytes
    time.sleep(2)
    assert target.rss_bytes - before < 20 << 20


def test_a_reader_that_does_not_read_is_ended(busy: Target) -> None:
    target = busy

    def dropped() -> float:
        metric = target.metric
        return sum(metric("sse_clients_dropped_total", reason=why) for why in ("slow", "ended"))

    before = dropped()
    raw = request(target.port, buffer=4096)
    deadline = time.monotonic() + 10
    while dropped() <= before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    raw.close()
