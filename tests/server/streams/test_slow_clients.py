"""A client that does not read hurts only itself, holds little, and is told why it is ended."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import uvloop
from stream_port import HANDSHAKE, Running, dial, running, until

from server.streams.client import StreamClient


def ticker(number: int) -> bytes:
    return json.dumps(
        {
            "e": "24hrTicker", "E": number, "s": "BTCUSDT", "p": "1.0", "P": "1.00", "w": "1.0",
            "x": "1", "c": f"{number}.0", "Q": "1", "b": "1", "B": "1", "a": "1", "A": "1",
            "o": "1", "h": "3", "l": "1", "v": "10.0", "q": "5", "O": 1, "C": 2, "F": 1, "L": 3,
            "n": 3,
        },
    ).encode()  # fmt: skip


async def fill(server: Running) -> None:
    """Publish tickers until a socket takes no more."""
    number = 0
    while server.streams.fanout.lagging == 0:
        number += 1
        server.market.apply(ticker(number))
        server.channels.publish(server.market.drain())
        await asyncio.sleep(0)


def test_updates_for_a_full_socket_replace_each_other_and_others_get_them_all() -> None:
    async def story() -> None:
        async with (
            running(subscriber_stall_s=60.0) as server,
            server.connect("/ws/btcusdt@ticker") as quick,
        ):
            raw = await dial(server, "/ws/btcusdt@ticker")
            fanout, got, number = server.streams.fanout, 0, 0
            while fanout.lagging == 0 or number < 3000:
                number += 1
                server.market.apply(ticker(number))
                server.channels.publish(server.market.drain())
                await quick.recv()
                got += 1
                assert number < 100_000
            assert got == number
            assert fanout.lagging == 1
            slow = next(c for c in server.streams._clients if c.full_since is not None)
            for _ in range(1000):
                number += 1
                server.market.apply(ticker(number))
                server.channels.publish(server.market.drain())
                await quick.recv()
            # One message waits, however many were published.
            assert fanout.waiting(slow) < 1000
            assert slow.waiting <= 2 * 64 * 1024
            raw.close()
            await until(lambda: len(server.streams) == 1)

    uvloop.run(story())


def test_a_client_that_takes_nothing_is_ended_and_what_it_held_is_free() -> None:
    async def story() -> None:
        async with running(subscriber_stall_s=0.5) as server:
            raw = await dial(server, "/ws/btcusdt@ticker")
            await fill(server)
            await until(lambda: len(server.streams) == 0)
            assert server.streams.fanout.lagging == 0
            assert server.streams.dropped.value("1013") == 1
            raw.close()

    uvloop.run(story())


def test_a_client_with_too_much_to_take_is_ended_before_it_stalls_for_long() -> None:
    async def story() -> None:
        async with running(subscriber_stall_s=600.0, stream_queue_bytes_max=1 << 17) as server:
            raw = await dial(server, "/ws/btcusdt@kline_1m")
            index = 0
            async with asyncio.timeout(30.0):
                while len(server.streams):
                    for _ in range(50):
                        server.close_kline(index)
                        index += 1
                    await asyncio.sleep(0.001)
            assert server.streams.dropped.value("1013") == 1
            raw.close()

    uvloop.run(story())


def test_a_client_that_has_not_taken_one_snapshot_gets_no_other(monkeypatch: Any) -> None:
    monkeypatch.setattr("server.streams.client.FULL_S", 60.0)
    monkeypatch.setattr("server.streams.port.SWEEP_S", 60.0)
    message = json.dumps(
        {"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "snapshot": 50, "id": 1}
    )

    async def story() -> None:
        async with (
            running(
                subscriber_stall_s=600.0, stream_queue_bytes_max=1 << 16, ws_messages_per_s=1000.0
            ) as server,
            server.connect("/ws/0", max_queue=1) as client,
        ):
            for index in range(50):
                server.close_kline(index)
            for _ in range(1900):
                await client.send(message)
            snapshots = refused = 0
            while snapshots + refused < 1900:
                answer = json.loads(await client.recv())
                if answer.get("e") == "snapshot":
                    snapshots += 1
                elif "error" in answer:
                    refused += 1
                    assert "not taken" in answer["error"]["msg"]
            assert refused > 0
            assert len(server.streams) == 1

    uvloop.run(story())


def test_a_client_that_reads_again_gets_every_close() -> None:
    async def story() -> None:
        async with (
            running(subscriber_stall_s=600.0, stream_queue_bytes_max=1 << 26) as server,
            server.connect("/ws/btcusdt@kline_1m", max_queue=1) as client,
        ):
            index = 0
            while server.streams.fanout.lagging == 0:
                for _ in range(200):
                    server.close_kline(index)
                    index += 1
                await asyncio.sleep(0)
                assert index < 1_000_000
            opens = [json.loads(await client.recv())["k"]["t"] for _ in range(index)]
            assert opens == sorted(set(opens))
            assert len(opens) == index
            assert server.streams.fanout.lagging == 0

    uvloop.run(story())


def test_a_client_that_answers_no_ping_is_ended() -> None:
    async def story() -> None:
        async with running(stream_ping_s=0.3) as server:
            raw = await dial(server, "/ws/0")
            async with server.connect("/ws/0"):
                await until(lambda: len(server.streams) == 1)
                await asyncio.sleep(0.5)
                assert len(server.streams) == 1  # the other one answered
            raw.close()

    uvloop.run(story())


def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: Any) -> None:
    monkeypatch.setattr("server.streams.door.HEAD_S", 0.2)

    async def story() -> None:
        async with running() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.streams.port)
            writer.write(b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
            writer.close()

    uvloop.run(story())


def test_who_has_kept_its_head_back_longest_makes_room_for_who_comes(monkeypatch: Any) -> None:
    monkeypatch.setattr("server.streams.door.HANDSHAKES_MAX", 3)

    async def story() -> None:
        async with running() as server:
            silent = []
            for _ in range(4):
                silent.append(await asyncio.open_connection("127.0.0.1", server.streams.port))
                await asyncio.sleep(0.01)
            answer = await asyncio.wait_for(silent[0][0].read(), 30)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after" in answer
            assert b"\nstream_handshakes 3\n" in server.metrics.render()
            async with server.connect("/ws/0"):  # in the place of the second one
                assert (await silent[1][0].read()).startswith(b"HTTP/1.1 503")
                # It is a client now: others have room, and it is none of those who make some.
                for _ in range(4):
                    silent.append(await asyncio.open_connection("127.0.0.1", server.streams.port))
                    await asyncio.sleep(0.01)
                assert len(server.streams) == 1
            for _, writer in silent:
                writer.close()
            await until(lambda: b"\nstream_handshakes 0\n" in server.metrics.render())

    uvloop.run(story())


def test_the_end_does_not_wait_for_heads() -> None:
    async def story() -> None:
        async with running() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.streams.port)
            await asyncio.sleep(0.01)
        assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 503")
        writer.close()

    uvloop.run(story())


def test_connections_of_one_address_and_of_all_are_bounded() -> None:
    async def story(limits: dict[str, int]) -> None:
        async with running(**limits) as server, server.connect("/ws/0"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.streams.port)
            writer.write(HANDSHAKE.format(path="/ws/0").encode())
            assert (await reader.read()).startswith(b"HTTP/1.1 503")
            writer.close()
            assert len(server.streams) == 1

    uvloop.run(story({"stream_clients_max": 1}))
    uvloop.run(story({"stream_clients_per_address_max": 1}))


def test_connections_through_a_trusted_proxy_are_counted_by_who_is_behind_it() -> None:
    async def story() -> None:
        limits = {"stream_clients_per_address_max": 1, "trusted_proxies": ("127.0.0.1",)}
        async with running(**limits) as server:
            answers, writers = [], []
            for client in ("203.0.113.7", "203.0.113.7", "203.0.113.8"):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.streams.port)
                head = HANDSHAKE.format(path="/ws/0").removesuffix("\r\n")
                writer.write(f"{head}X-Forwarded-For: {client}\r\n\r\n".encode())
                answers.append((await reader.readline())[:12])
                writers.append(writer)
            for writer in writers:
                writer.close()
            await until(lambda: not server.streams._by_address)
            assert answers == [b"HTTP/1.1 101", b"HTTP/1.1 503", b"HTTP/1.1 101"]

    uvloop.run(story())


def test_many_who_come_at_once_are_bounded_as_well() -> None:
    async def knock(server: Running) -> asyncio.StreamWriter | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.streams.port)
        writer.write(HANDSHAKE.format(path="/ws/0").encode())
        if (await reader.readline()).startswith(b"HTTP/1.1 101"):
            return writer
        writer.close()
        return None

    async def story() -> None:
        async with running(stream_clients_per_address_max=5) as server:
            writers = await asyncio.gather(*(knock(server) for _ in range(100)))
            inside = [writer for writer in writers if writer is not None]
            assert len(inside) == len(server.streams) == 5
            for writer in inside:
                writer.close()
            await until(lambda: not server.streams._by_address)

    uvloop.run(story())


def test_a_client_that_says_goodbye_and_takes_nothing_does_not_keep_its_place() -> None:
    async def story() -> None:
        async with running(subscriber_stall_s=600.0) as server:
            raw = await dial(server, "/ws/btcusdt@ticker")
            await fill(server)
            raw.send(b"\x88\x80\0\0\0\0")
            await until(lambda: len(server.streams) == 0, 5.0)
            raw.close()

    uvloop.run(story())


def test_a_pong_has_its_time_however_long_the_client_was_not_looked_at() -> None:
    async def story() -> None:
        async with running(stream_ping_s=20.0) as server, server.connect("/ws/0"):
            await until(lambda: len(server.streams) == 1)
            (client,) = server.streams._clients
            client.heard -= 100.0  # the process was stopped, or the socket full
            server.streams._look_at(client)
            server.streams._look_at(client)
            assert not client.closing
            await until(lambda: client.pinged_at is None)

    uvloop.run(story())


def test_a_client_that_is_going_does_not_come_back_to_the_fan_out(monkeypatch: Any) -> None:
    monkeypatch.setattr("server.streams.port.SWEEP_S", 0.01)
    monkeypatch.setattr(StreamClient, "leave_deleted", lambda client: client._listen(client.shape))

    async def story() -> None:
        async with running() as server:
            raw = await dial(server, "/ws/btcusdt@ticker")
            await until(lambda: len(server.streams) == 1)
            (client,) = server.streams._clients
            client.end(1001, "")
            await asyncio.sleep(0.1)
            assert len(server.streams) == 1  # it has not answered yet
            assert not server.streams.fanout._cohorts
            raw.close()

    uvloop.run(story())
