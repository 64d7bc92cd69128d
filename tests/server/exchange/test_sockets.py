"""The stream protocol over real sockets: paths, control, pings, limits."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus

from server.exchange.generated import GeneratedMarket
from server.exchange.sockets import category_of, read_path

UNICODE = "币安人生USDT"


TEXT, PING, PONG = 1, 9, 10
CUT = b"\x88\x02\x03\xf0"  # a close frame with code 1008


async def closed_with(client: Any) -> int:
    """Code the server closed with; 1006 for an end without a close frame."""
    await asyncio.wait_for(client.wait_closed(), 30)
    return int(client.protocol.close_code)


def test_raw_and_combined_paths_differ_in_their_wrapping(stepping: Any) -> None:
    async def run() -> None:
        async with (
            stepping() as talk,
            talk.socket("/ws/btcusdt@kline_1m/qtumusdt@kline_1m") as raw,
            talk.socket("/stream?streams=btcusdt@kline_1m") as combined,
        ):
            await talk.step(1)
            assert {message["s"] for message in await talk.hear(raw, "kline", 2)} == {
                "BTCUSDT",
                "QTUMUSDT",
            }
            (wrapped,) = await talk.hear(combined, "kline")
            assert list(wrapped) == ["stream", "data"]
            assert wrapped["stream"] == "btcusdt@kline_1m"

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/", "/wss", "/streams", "/stream/x", "/market/ws", "/ws2"])
def test_an_unknown_path_is_404(stepping: Any, path: str) -> None:
    async def run() -> None:
        async with stepping() as talk:
            with pytest.raises(InvalidStatus) as caught:
                async with talk.socket(path):
                    pass
            assert caught.value.response.status_code == 404

    asyncio.run(run())


def test_subscriptions_are_made_listed_and_undone(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws") as client:
            names = ["btcusdt@kline_1m", "qtumusdt@kline_1m"]
            subscribe = {"method": "SUBSCRIBE", "params": names, "id": 1}
            assert await talk.ask(client, subscribe) == {"result": None, "id": 1}
            listed = await talk.ask(client, {"method": "LIST_SUBSCRIPTIONS", "id": "x9"})
            assert listed == {"result": names, "id": "x9"}
            await talk.step(1, tickers_every_ms=0)
            assert len(await talk.hear(client, "kline", 2)) == 2
            undo = {"method": "UNSUBSCRIBE", "params": names[:1], "id": None}
            assert await talk.ask(client, undo) == {"result": None, "id": None}
            await talk.step(1, tickers_every_ms=0)
            (left,) = await talk.hear(client, "kline")
            assert left["s"] == "QTUMUSDT"
            assert talk.exchange.counters["frames"] == 3

    asyncio.run(run())


def test_the_combined_property_can_be_read_and_set(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws/btcusdt@kline_1m") as client:
            read = {"method": "GET_PROPERTY", "params": ["combined"], "id": 1}
            assert (await talk.ask(client, read))["result"] is False
            write = {"method": "SET_PROPERTY", "params": ["combined", True], "id": 2}
            assert await talk.ask(client, write) == {"result": None, "id": 2}
            assert (await talk.ask(client, read))["result"] is True
            await talk.step(1, tickers_every_ms=0)
            (wrapped,) = await talk.hear(client, "kline")
            assert wrapped["stream"] == "btcusdt@kline_1m"
        async with stepping() as talk, talk.socket("/stream") as client:
            assert (await talk.ask(client, read))["result"] is True

    asyncio.run(run())


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ("nonsense", 3, "Invalid JSON: expected value at line 1 column"),
        ({"method": "SUBSCRIBE", "params": [7], "id": 1}, 2, "Invalid request: invalid stream"),
        ({"method": "SUBSCRIBE", "params": ["a b"], "id": 1}, 2, "Invalid request: invalid stream"),
        ({"method": "GET_PROPERTY", "params": [5], "id": 1}, 2, "property name must be a string"),
        ({"method": "GET_PROPERTY", "params": ["x"], "id": 1}, 0, "Unknown property"),
        (
            {"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1},
            1,
            "Invalid value type: expected Boolean",
        ),
        ({"params": [], "id": 1}, 2, "missing field `method`"),
    ],
)
def test_errors_come_in_the_nested_form_and_the_socket_stays(
    stepping: Any, message: object, code: int, text: str
) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws") as client:
            answer = await talk.ask(client, message)
            assert answer["error"]["code"] == code
            assert text in answer["error"]["msg"]
            assert (await talk.ask(client, {"method": "LIST_SUBSCRIPTIONS"}))["result"] == []

    asyncio.run(run())


def test_an_unknown_symbol_is_acknowledged_and_silent(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws") as client:
            request = {"method": "SUBSCRIBE", "params": ["nosuchusdt@kline_1m"], "id": 1}
            assert (await talk.ask(client, request))["result"] is None
            await talk.step(3)
            assert talk.exchange.counters["frames"] == 0

    asyncio.run(run())


def test_unicode_symbols_stream_raw_and_percent_encoded(stepping: Any) -> None:
    async def run() -> None:
        name = f"{UNICODE.lower()}@kline_1m"
        async with (
            stepping(GeneratedMarket(7, (UNICODE,))) as talk,
            talk.socket(f"/stream?streams={quote(name)}") as one,
            talk.socket("/ws") as two,
        ):
            request = {"method": "SUBSCRIBE", "params": [name], "id": 1}
            assert (await talk.ask(two, json.dumps(request, ensure_ascii=False)))["id"] == 1
            await talk.step(1, tickers_every_ms=0)
            (wrapped,) = await talk.hear(one, "kline")
            assert (wrapped["stream"], wrapped["data"]["s"]) == (name, UNICODE)
            assert (await talk.hear(two, "kline"))[0] == wrapped["data"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "heard"),
    [
        ("/ws", []),
        ("/stream", []),
        ("/private/ws", []),
        ("/market/ws", ["kline", "24hrMiniTicker"]),
        ("/public/ws", ["bookTicker"]),
    ],
)
def test_a_um_path_carries_its_category_only(stepping: Any, path: str, heard: list[str]) -> None:
    async def run() -> None:
        source = GeneratedMarket(7, ("BTCUSDT",), market="um")
        async with stepping(source) as talk, talk.socket(path) as client:
            names = ["btcusdt@kline_1m", "btcusdt@bookTicker", "btcusdt@miniTicker"]
            request = {"method": "SUBSCRIBE", "params": names, "id": 1}
            assert (await talk.ask(client, request))["result"] is None
            assert (await talk.ask(client, {"method": "LIST_SUBSCRIPTIONS"}))["result"] == names
            await talk.step(1)
            assert talk.exchange.counters["frames"] == len(heard)
            for kind in heard:
                assert await talk.hear(client, kind)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("stream", "category"),
    [
        ("btcusdt@kline_1m", "market"),
        ("!miniTicker@arr", "market"),
        ("!ticker@arr", "market"),
        ("btcusdt@bookTicker", "public"),
        ("!bookTicker", "public"),
        ("btcusdt@depth@100ms", "public"),
        ("btcusdt@trade", "public"),
        ("btcusdt@aggTrade", "market"),
    ],
)
def test_categories_of_um_streams(stream: str, category: str) -> None:
    assert category_of(stream) == category


def test_paths_are_read_as_the_exchange_does() -> None:
    def names(target: str, market: str = "spot") -> list[str]:
        asked = read_path(target, market)
        assert asked is not None
        return list(asked["names"])

    assert names("/ws") == names("/ws/") == names("/stream") == names("/stream?streams=") == []
    assert names("/ws/a@kline_1m/b@ticker/") == ["a@kline_1m", "b@ticker"]
    assert names("/stream?streams=a@x/b@y&timeUnit=MILLISECOND") == ["a@x", "b@y"]
    assert names("/market/ws/a@x", "um") == ["a@x"]
    assert read_path("/market/ws/a@x", "spot") is None


# --- limits ------------------------------------------------------------------------------------


def test_a_control_message_over_4096_bytes_is_never_answered(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws") as client:
            names = [f"symbol{at:04d}usdt@kline_1m" for at in range(160)]
            text = json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1})
            assert len(text) > 4096
            await client.send(text)
            answer = await talk.ask(client, {"method": "LIST_SUBSCRIPTIONS", "id": 2})
            assert answer == {"result": [], "id": 2}
            assert talk.exchange.counters["too_long_messages"] == 1
            fitting = json.dumps({"method": "SUBSCRIBE", "params": ["a@b"], "id": 1})
            assert (await talk.ask(client, fitting.ljust(4096)))["id"] == 1

    asyncio.run(run())


def test_a_message_in_fragments_is_one_message(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws") as client:
            await client.send(iter(['{"method":"LIST_SUB', 'SCRIPTIONS","id":', "5}"]))
            assert json.loads(await client.recv()) == {"result": [], "id": 5}

    asyncio.run(run())


@pytest.mark.parametrize(("market", "path", "most"), [("spot", "/ws", 5), ("um", "/market/ws", 10)])
def test_more_messages_a_second_than_allowed_cut_the_connection(
    stepping: Any, market: str, path: str, most: int
) -> None:
    async def run() -> None:
        source = GeneratedMarket(7, ("BTCUSDT",), market=market)
        async with stepping(source) as talk, talk.raw(path) as client:
            # In two seconds at most: at least one of them sees more than it may.
            ask = b'{"method":"LIST_SUBSCRIPTIONS"}'
            client.send(*[(TEXT, ask)] * (2 * most + 1))
            assert (await client.to_the_end()).endswith(CUT)
            assert talk.exchange.counters["too_many_messages"] == 1

    asyncio.run(run())


def test_pings_and_pongs_of_the_client_count_as_messages(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.raw("/ws") as client:
            client.send((PING, b"echo"))
            assert await asyncio.wait_for(client.reader.readexactly(6), 30) == b"\x8a\x04echo"
            client.send(*[(PING, b""), (PONG, b"")] * 6)
            assert (await client.to_the_end()).endswith(CUT)

    asyncio.run(run())


def test_more_streams_than_allowed_cut_the_connection(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk:
            talk.exchange.streams.streams_max = 4
            async with talk.socket("/ws/a@x/b@x/c@x") as client:
                request = {"method": "SUBSCRIBE", "params": ["a@x", "d@x"], "id": 1}
                assert (await talk.ask(client, request))["result"] is None
                await client.send(json.dumps(request | {"params": ["e@x"]}))
                assert await closed_with(client) == 1008

    asyncio.run(run())


def test_nothing_is_kept_of_streams_nobody_hears(stepping: Any, until: Any) -> None:
    async def run() -> None:
        async with stepping() as talk:
            streams = talk.exchange.streams
            for at in range(3):
                async with talk.socket(f"/ws/a{at}@x/b{at}@y"):
                    await until(lambda: len(streams.subscribers) == 2)
                await until(lambda: not streams.connections)
            assert streams.subscribers == {}
            assert streams.joined == {}

    asyncio.run(run())


def test_an_url_over_8004_characters_is_rejected(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk:
            path = "/stream?streams=" + "a" * (8004 - len("/stream?streams="))
            async with talk.socket(path):
                pass
            with pytest.raises(InvalidStatus) as caught:
                async with talk.socket(path + "a"):
                    pass
            assert caught.value.response.status_code == 414

    asyncio.run(run())


def test_connection_attempts_are_limited_per_address(
    stepping: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.exchange.app._CONNECTS_MAX", 3)

    async def run() -> None:
        async with stepping() as talk:
            for _ in range(3):
                async with talk.socket("/ws"):
                    pass
            with pytest.raises(InvalidStatus) as caught:
                async with talk.socket("/ws"):
                    pass
            assert caught.value.response.status_code == 429
            assert talk.exchange.counters["connects_refused"] == 1
            async with talk.socket("/ws", local_addr=("127.0.0.2", 0)):
                pass

    asyncio.run(run())


# --- pings, life -------------------------------------------------------------------------------


def test_a_client_that_answers_pings_stays_and_one_that_does_not_is_cut(
    stepping: Any, until: Any
) -> None:
    async def run() -> None:
        async with stepping(ping_s=0.05, pong_s=0.3) as talk:
            talk.exchange.streams.messages_per_s = 1000
            async with talk.socket("/ws") as good, talk.raw("/ws") as dumb:
                heard = await dumb.to_the_end()
                assert heard.startswith(b"\x89")  # pings
                assert heard.endswith(CUT)
                assert talk.exchange.counters["pong_missing"] == 1
                assert (await talk.ask(good, {"method": "LIST_SUBSCRIPTIONS"}))["result"] == []

    asyncio.run(run())


def test_an_unsolicited_pong_does_not_keep_a_connection_alive(stepping: Any, until: Any) -> None:
    async def run() -> None:
        async with stepping(ping_s=0.05, pong_s=0.3) as talk:
            talk.exchange.streams.messages_per_s = 1000
            async with talk.raw("/ws") as client:
                counters = talk.exchange.streams.counters

                def is_cut_in_spite_of_pongs() -> bool:
                    client.send((PONG, b"here I am"))
                    return counters["pong_missing"] == 1

                await until(is_cut_in_spite_of_pongs)
                await until(lambda: not talk.exchange.streams.connections)

    asyncio.run(run())


def test_a_connection_ends_when_its_life_is_over(stepping: Any) -> None:
    async def run() -> None:
        async with stepping(life_s=0.2) as talk, talk.socket("/ws") as client:
            assert await closed_with(client) == 1008
            assert talk.exchange.counters["life_over"] == 1

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/ws", "/stream"])
def test_a_shutdown_is_announced_in_the_form_of_the_path(stepping: Any, path: str) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket(path) as client:
            await talk.ask(client, {"method": "LIST_SUBSCRIPTIONS"})
            talk.exchange.streams.announce_shutdown(talk.exchange.now_ms)
            raw = {"e": "serverShutdown", "E": talk.exchange.now_ms}
            expected = raw if path == "/ws" else {"stream": "!serverShutdown", "data": raw}
            assert json.loads(await client.recv()) == expected

    asyncio.run(run())


def test_a_reader_too_far_behind_is_cut_and_others_are_not_hurt(stepping: Any, until: Any) -> None:
    async def run() -> None:
        async with stepping() as talk:
            exchange = talk.exchange
            exchange.streams.write_buffer_max = 100_000
            path = "/ws/btcusdt@kline_1m"
            async with talk.socket(path) as good, talk.raw(path) as stalled:
                stalled.writer.transport.pause_reading()
                await until(lambda: len(exchange.streams.connections) == 2)
                heard = 0
                while not exchange.counters["slow_cut"]:
                    exchange.streams.send_to_all(b"x" * 50_000)
                    heard += len(await asyncio.wait_for(good.recv(), 30)) == 50_000
                assert heard > 1
                await until(lambda: len(exchange.streams.connections) == 1)
                await talk.step(1, tickers_every_ms=0)
                assert await talk.hear(good, "kline")

    asyncio.run(run())
