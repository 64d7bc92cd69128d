"""Every switch, seen from a client's side of a real socket."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.exchange.faults import RestFault

MINUTE_MS = 60_000
STREAM = "btcusdt@kline_1m"
LIST = {"method": "LIST_SUBSCRIPTIONS", "id": 1}


async def frames(talk: Any, client: Any, count: int) -> list[Any]:
    return [json.loads(await asyncio.wait_for(client.recv(), 30)) for _ in range(count)]


def test_muted_streams_are_silent_while_pings_go_on(stepping: Any) -> None:
    async def run() -> None:
        async with stepping(ping_s=0.05) as talk:
            talk.exchange.faults.mute_streams.add(STREAM)
            async with talk.raw(f"/ws/{STREAM}/qtumusdt@kline_1m") as client:
                await talk.step(1, tickers_every_ms=0)
                head = await asyncio.wait_for(client.reader.readexactly(2), 30)
                heard = bytearray()
                while b"\x89" not in heard:  # the other stream's frame, then a ping
                    heard += await asyncio.wait_for(client.reader.read(4096), 30)
                assert head[0] == 0x81
                assert b"QTUMUSDT" in heard
                assert b"BTCUSDT" not in heard
                talk.exchange.faults.mute_streams.clear()
                talk.exchange.faults.mute_all = True
                await talk.step(1, tickers_every_ms=0)
                assert talk.exchange.counters["frames"] == 1

    asyncio.run(run())


def test_subscriptions_can_go_without_ack_or_without_data(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws") as client:
            talk.exchange.streams.messages_per_s = 100
            talk.exchange.faults.no_ack = True
            subscribe = {"method": "SUBSCRIBE", "params": [STREAM], "id": 1}
            await client.send(json.dumps(subscribe))
            await asyncio.wait_for(await client.ping(), 30)  # what was sent has been read
            talk.exchange.faults.ack_only = True
            await client.send(json.dumps(subscribe | {"params": ["qtumusdt@kline_1m"]}))
            await asyncio.wait_for(await client.ping(), 30)
            talk.exchange.faults.no_ack = False
            await talk.step(1, tickers_every_ms=0)
            (heard,) = await frames(talk, client, 1)
            assert heard["s"] == "BTCUSDT"  # no reply before it
            assert await talk.ask(client, subscribe | {"params": ["a@b"], "id": 2}) == {
                "result": None,
                "id": 2,
            }
            assert talk.exchange.counters["frames"] == 1

    asyncio.run(run())


def test_closes_can_be_lost(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket(f"/ws/{STREAM}") as client:
            talk.exchange.faults.drop_closes = 2
            begin = talk.exchange.now_ms
            await talk.step(4, tickers_every_ms=0)
            heard = await frames(talk, client, 2)
            assert [message["k"]["t"] - begin for message in heard] == [
                2 * MINUTE_MS,
                3 * MINUTE_MS,
            ]

    asyncio.run(run())


def test_closes_can_come_late_after_the_next_kline_has_begun(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket(f"/ws/{STREAM}") as client:
            talk.exchange.faults.late_close_ms = 15_000
            await talk.step(2, forming_every_ms=5000, tickers_every_ms=0)
            heard = await frames(talk, client, talk.exchange.counters["frames"])
            at = next(at for at, message in enumerate(heard) if message["k"]["x"])
            assert heard[at - 1]["k"]["t"] == heard[at]["k"]["t"] + MINUTE_MS
            late_ms = heard[at - 1]["E"] - heard[at]["k"]["T"]
            assert 10_000 < late_ms <= 15_001
            assert talk.exchange.counters["late_closes"] == 2
            talk.exchange.faults.late_close_ms = 0
            await talk.step(1, tickers_every_ms=0)
            opens = [message["k"]["t"] for message in await frames(talk, client, 2)]
            assert opens[1] - opens[0] == MINUTE_MS  # the last late one, then one on time

    asyncio.run(run())


def test_frames_can_come_more_than_once(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket(f"/ws/{STREAM}") as client:
            talk.exchange.faults.duplicates = 2
            await talk.step(1, tickers_every_ms=0)
            first, second, third = await frames(talk, client, 3)
            assert first == second == third

    asyncio.run(run())


def test_closes_of_one_moment_can_come_in_reverse(stepping: Any) -> None:
    async def run() -> None:
        names = "btcusdt@kline_1m/btcusdt@kline_5m/qtumusdt@kline_1m"
        async with stepping() as talk, talk.socket(f"/ws/{names}") as client:
            await talk.step(5, tickers_every_ms=0)
            usual = [(m["s"], m["k"]["i"]) for m in (await frames(talk, client, 11))[-3:]]
            talk.exchange.faults.reorder = True
            await talk.step(5, tickers_every_ms=0)
            turned = [(m["s"], m["k"]["i"]) for m in (await frames(talk, client, 11))[-3:]]
            assert turned == usual[::-1]

    asyncio.run(run())


def test_frames_can_be_cut_or_be_something_else(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket(f"/ws/{STREAM}") as client:
            talk.exchange.faults.truncate = 1
            talk.exchange.faults.malformed.extend([b"\x00", b'{"e":"kline"}'])
            await talk.step(2, tickers_every_ms=0)
            heard = [await asyncio.wait_for(client.recv(decode=False), 30) for _ in range(4)]
            assert heard[0] == b"\x00"
            with pytest.raises(json.JSONDecodeError):
                json.loads(heard[1])
            assert heard[2] == b'{"e":"kline"}'
            assert json.loads(heard[3])["k"]["x"]

    asyncio.run(run())


def test_foreign_symbols_can_be_in_arrays(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws/!miniTicker@arr") as client:
            talk.exchange.faults.foreign_tickers.append(b'{"e":"24hrMiniTicker","s":"BTCUSD_PERP"}')
            await talk.step(1)
            assert json.loads(await client.recv())[-1]["s"] == "BTCUSD_PERP"

    asyncio.run(run())


def test_halted_symbols_fall_silent_and_others_do_not(stepping: Any) -> None:
    async def run() -> None:
        names = f"{STREAM}/qtumusdt@kline_1m"
        async with stepping() as talk, talk.socket(f"/ws/{names}") as client:
            talk.exchange.faults.halted.add("BTCUSDT")
            await talk.step(2, tickers_every_ms=0)
            assert {m["s"] for m in await frames(talk, client, 2)} == {"QTUMUSDT"}
            assert talk.exchange.counters["frames"] == 2

    asyncio.run(run())


@pytest.mark.parametrize("reset", [True, False])
def test_all_connections_can_be_cut_at_once(stepping: Any, until: Any, reset: bool) -> None:
    async def run() -> None:
        async with stepping() as talk:
            async with talk.raw("/ws") as one, talk.raw("/stream") as two:
                await until(lambda: len(talk.exchange.streams.connections) == 2)
                talk.exchange.streams.cut_all(reset=reset)
                for client in (one, two):
                    if reset:
                        with pytest.raises(ConnectionResetError):
                            await client.to_the_end()
                    else:
                        assert await client.to_the_end() == b"\x88\x02\x03\xe9"  # 1001, then FIN
                await until(lambda: not talk.exchange.streams.connections)
            async with talk.socket("/ws") as again:
                assert (await talk.ask(again, LIST))["result"] == []

    asyncio.run(run())


def test_a_connection_can_end_in_the_middle_of_a_frame(stepping: Any, until: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws") as client:
            await talk.ask(client, LIST)
            talk.exchange.streams.cut_mid_frame('{"s":"币安人生USDT"}'.encode() * 20)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), 30)
            assert client.protocol.close_code == 1006

    asyncio.run(run())


def test_half_open_sockets_give_no_byte_and_no_end(stepping: Any, until: Any) -> None:
    async def run() -> None:
        options = {"ping_s": 0.1, "pong_s": 0.2, "life_s": 0.3}
        async with stepping(**options) as talk, talk.raw(f"/ws/{STREAM}") as client:
            await until(lambda: len(talk.exchange.streams.connections) == 1)
            talk.exchange.faults.half_open = True
            silent = asyncio.create_task(client.reader.read(1))
            client.send((9, b"are you there"), (1, json.dumps(LIST).encode()))
            await talk.step(3)
            # Two lives later it is neither answered nor pinged nor cut.
            done, _ = await asyncio.wait({silent}, timeout=0.6)
            assert not done
            assert len(talk.exchange.streams.connections) == 1
            assert talk.exchange.counters["life_over"] == 0
            talk.exchange.faults.half_open = False
            assert await asyncio.wait_for(silent, 30)

    asyncio.run(run())


def test_connects_can_be_refused_by_answer_and_by_kernel(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws") as open_:
            talk.exchange.faults.refuse_connects = True
            with pytest.raises(InvalidStatus) as caught:
                async with talk.socket("/ws"):
                    pass
            assert caught.value.response.status_code == 503
            talk.exchange.faults.refuse_connects = False
            port = talk.exchange.port
            await talk.exchange.refuse()
            with pytest.raises(ConnectionRefusedError):
                await talk.get("/api/v3/ping")
            assert (await talk.ask(open_, LIST))["result"] == []  # open streams stay
            await talk.exchange.listen()
            assert talk.exchange.port == port
            async with talk.socket("/ws") as again:
                assert (await talk.ask(again, LIST))["result"] == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fault", "retry_after"),
    [
        (RestFault(429, "0"), "0"),
        (RestFault(418, "259200"), "259200"),
        (RestFault(503, None, b"<html>", "text/html"), None),
        (RestFault(451, None, b'{"code":0,"msg":"Service unavailable"}'), None),
        (RestFault(403, "Wed, 21 Oct 2026 07:28:00 GMT"), "Wed, 21 Oct 2026 07:28:00 GMT"),
    ],
)
def test_rest_can_answer_anything(stepping: Any, fault: RestFault, retry_after: str | None) -> None:
    async def run() -> None:
        async with stepping() as talk:
            talk.exchange.faults.rest.append(fault)
            status, headers, body = await talk.get("/api/v3/ping")
            assert (status, body) == (fault.status, fault.body)
            assert headers.get("retry-after") == retry_after
            assert headers["content-type"] == fault.content_type
            assert (await talk.get("/api/v3/ping"))[0] == 200

    asyncio.run(run())


def test_rest_can_be_slow_while_streams_go_on(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket(f"/ws/{STREAM}") as client:
            talk.exchange.faults.rest_delay_s = 0.3
            began = time.monotonic()
            slow = asyncio.create_task(talk.get("/api/v3/ping"))
            await talk.step(1, tickers_every_ms=0)
            assert await talk.hear(client, "kline")
            assert not slow.done()
            assert (await slow)[0] == 200
            assert time.monotonic() - began >= 0.3

    asyncio.run(run())


def test_a_rest_answer_can_end_in_its_middle(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk:
            talk.exchange.faults.rest_cut = 1
            with pytest.raises(http.client.IncompleteRead):
                await talk.get("/api/v3/klines?symbol=BTCUSDT&interval=1m")
            status, _, body = await talk.get("/api/v3/klines?symbol=BTCUSDT&interval=1m")
            assert status == 200
            assert len(json.loads(body)) == 500

    asyncio.run(run())


def test_klines_can_lack_the_row_that_just_closed(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk:
            target = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=3"
            whole = json.loads((await talk.get(target))[2])
            talk.exchange.faults.klines_lack_last = True
            assert json.loads((await talk.get(target))[2]) == whole[:-1]

    asyncio.run(run())
