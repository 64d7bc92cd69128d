"""What a subscriber of the stream port sees."""

from __future__ import annotations

import asyncio
import json

import pytest
import uvloop
from stream_port import MINUTE, START_MS, ask, row, running
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.streams.paths import read_path


def test_a_closed_kline_reaches_its_subscribers_as_the_exchange_frames_it() -> None:
    async def story() -> None:
        async with running() as server, server.connect("/ws/btcusdt@kline_1m") as client:
            server.close_kline(0)
            message = json.loads(await client.recv())
            assert (message["e"], message["s"], message["k"]["x"]) == ("kline", "BTCUSDT", True)
            assert message["k"]["c"] == "0.50"

    uvloop.run(story())


def test_messages_are_wrapped_exactly_if_the_path_ends_in_stream() -> None:
    paths = {
        "/stream?streams=btcusdt@kline_1m": True,
        "/ws/btcusdt@kline_1m": False,
        "/stream": True,
        "/stream/7": False,
        "/stream/ws": False,
        "/stream/ws/3": False,
        "/ws/0": False,
    }

    async def story() -> None:
        async with running() as server:
            for number, (path, wrapped) in enumerate(paths.items()):
                async with server.connect(path) as client:
                    await ask(client, "SUBSCRIBE", "btcusdt@kline_1m")
                    server.close_kline(number)
                    message = json.loads(await client.recv())
                    assert ("stream" in message) == wrapped, path

    uvloop.run(story())


def test_a_snapshot_and_the_messages_behind_it_meet_without_gap_or_overlap() -> None:
    async def story() -> None:
        async with running() as server, server.connect("/stream") as client:
            for index in range(5):
                server.close_kline(index)
            # In the market, and not published yet when the client asks.
            server.market.push("BTCUSDT", "1m", row(5))
            reply = await ask(client, "SUBSCRIBE", "btcusdt@kline_1m", snapshot=3)
            assert reply["result"] is None
            snapshot = json.loads(await client.recv())
            assert snapshot["stream"] == "btcusdt@kline_1m"
            opens = [k["t"] for k in snapshot["data"]["klines"]]
            server.close_kline(6)
            following = json.loads(await client.recv())
            assert following["seq"] == snapshot["seq"] + 1
            opens.append(following["data"]["k"]["t"])
            assert opens == [START_MS + index * MINUTE for index in (3, 4, 5, 6)]

    uvloop.run(story())


def test_who_comes_back_gets_what_it_missed() -> None:
    async def story() -> None:
        async with running() as server:
            async with server.connect("/ws/btcusdt@kline_1m?seq=true") as client:
                server.close_kline(0)
                last = json.loads(await client.recv())["seq"]
            for index in (1, 2, 3):
                server.close_kline(index)
            async with server.connect("/ws/0") as client:
                await ask(client, "SUBSCRIBE", "btcusdt@kline_1m", since=last)
                missed = [json.loads(await client.recv()) for _ in range(3)]
                server.close_kline(4)
                missed.append(json.loads(await client.recv()))
            assert [m["k"]["t"] for m in missed] == [
                START_MS + index * MINUTE for index in (1, 2, 3, 4)
            ]
            assert [m["seq"] for m in missed] == [last + n for n in (1, 2, 3, 4)]

    uvloop.run(story())


@pytest.mark.parametrize("since", [0, 1, 2**60])
def test_a_number_that_is_not_held_is_refused_with_the_way_out(since: int) -> None:
    async def story() -> None:
        async with running() as server, server.connect("/ws/0") as client:
            reply = await ask(client, "SUBSCRIBE", "btcusdt@kline_1m", since=since)
            assert "snapshot" in reply["error"]["msg"]
            assert (await ask(client, "LIST_SUBSCRIPTIONS"))["result"] == []

    uvloop.run(story())


@pytest.mark.parametrize("path", ["/ws", "/ws/key7", "/stream", "/stream?streams=key7"])
def test_streams_of_accounts_are_accepted_and_silent(path: str) -> None:
    asked = read_path(f"/private{path}".encode())
    assert (asked.market, asked.names, asked.silent) == ("um", (), False)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/stream/other", 404),
        ("/ws/nope@kline_1m", 400),
        ("/ws?market=um", 400),
        ("/stream?timeUnit=MICROSECOND", 400),
        ("/ws?" + "a" * 9000, 414),
    ],
)
def test_who_cannot_be_served_is_told_before_the_handshake(path: str, status: int) -> None:
    async def story() -> None:
        async with running() as server:
            with pytest.raises(InvalidStatus) as refused:
                async with server.connect(path):
                    pass
            response = refused.value.response
            assert response.status_code == status
            assert json.loads(response.body)["status"] == status

    uvloop.run(story())


def test_a_key_comes_by_header_subprotocol_or_first_message() -> None:
    async def story() -> None:
        async with running(api_key="secret-key-1") as server:
            for options in (
                {"additional_headers": {"X-API-Key": "secret-key-1"}},
                {"subprotocols": ["klinecore.v1", "klinecore.key.secret-key-1"]},
            ):
                async with server.connect("/ws/btcusdt@ticker", **options) as client:
                    reply = await ask(client, "LIST_SUBSCRIPTIONS")
                    assert reply["result"] == ["btcusdt@ticker"]
            async with server.connect("/ws/btcusdt@ticker") as client:
                reply = await ask(client, "LIST_SUBSCRIPTIONS")
                assert "AUTH" in reply["error"]["msg"]
                assert (await ask(client, "AUTH", "secret-key-1"))["result"] is None
                reply = await ask(client, "LIST_SUBSCRIPTIONS")
                assert reply["result"] == ["btcusdt@ticker"]
            async with server.connect() as client:
                with pytest.raises(ConnectionClosed) as closed:
                    await ask(client, "AUTH", "wrong")
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1008
            with pytest.raises(InvalidStatus):
                async with server.connect(additional_headers={"X-API-Key": "wrong"}):
                    pass

    uvloop.run(story())


def test_an_unknown_client_hears_nothing_and_may_say_little() -> None:
    async def story() -> None:
        async with running(api_key="secret-key-1") as server:
            async with server.connect("/ws/btcusdt@kline_1m") as client:
                server.close_kline(0)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.recv(), 0.05)
            async with server.connect() as client:
                await client.send("x" * 1025)
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1009

    uvloop.run(story())


def test_too_many_messages_a_second_end_the_connection() -> None:
    async def story() -> None:
        async with running(ws_messages_per_s=5.0) as server, server.connect("/ws/0") as client:
            for _ in range(50):
                await client.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
            with pytest.raises(ConnectionClosed) as closed:
                [await client.recv() for _ in range(50)]
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
            assert "messages a second" in closed.value.rcvd.reason

    uvloop.run(story())


def test_a_shutdown_is_told_and_connections_close() -> None:
    async def story() -> None:
        async with running() as server, server.connect("/stream") as client:
            server.streams.close_all()
            notice = json.loads(await client.recv())
            assert notice["stream"] == "!serverShutdown"
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001

    uvloop.run(story())


def test_properties_are_binances() -> None:
    async def story() -> None:
        async with running() as server, server.connect("/ws/btcusdt@kline_1m") as client:
            assert (await ask(client, "GET_PROPERTY", "combined"))["result"] is False
            assert (await ask(client, "SET_PROPERTY", "combined", True))["result"] is None
            server.close_kline(0)
            assert json.loads(await client.recv())["stream"] == "btcusdt@kline_1m"
            assert (await ask(client, "SET_PROPERTY", "combined", 1))["error"]["code"] == 1
            assert (await ask(client, "GET_PROPERTY", "other"))["error"]["code"] == 0

    uvloop.run(story())


def test_a_client_that_answers_a_close_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.streams.messages.CLOSE_S", 600.0)

    async def story() -> None:
        async with running() as server, server.connect("/ws/0") as client:
            server.streams.close_all()
            async with asyncio.timeout(30):
                await client.wait_closed()
                while len(server.streams):
                    await asyncio.sleep(0.01)

    uvloop.run(story())


def test_a_snapshot_of_too_many_klines_is_refused_and_nothing_subscribed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.streams.client.SNAPSHOT_KLINES_MAX", 100)
    spot = ("btcusdt@kline_1m", "ethusdt@kline_1m")

    async def story() -> None:
        async with running() as server, server.connect("/ws/0") as client:
            reply = await ask(client, "SUBSCRIBE", *spot, "solusdt@kline_1m", snapshot=34)
            assert reply["error"]["code"] == 2
            assert "102 klines" in reply["error"]["msg"]
            assert "at most 100" in reply["error"]["msg"]
            assert (await ask(client, "LIST_SUBSCRIPTIONS"))["result"] == []
            # Of more than a series holds nothing is sent; of what is no kline stream neither.
            reply = await ask(client, "SUBSCRIBE", *spot, "btcusdt@ticker", snapshot=1000)
            assert reply["result"] is None
            for _ in spot:
                assert json.loads(await client.recv())["e"] == "snapshot"

    uvloop.run(story())


def test_a_stream_named_twice_has_one_snapshot() -> None:
    async def story() -> None:
        async with running() as server, server.connect("/ws/0") as client:
            server.close_kline(0)
            await ask(client, "SUBSCRIBE", *["BTCUSDT@kline_1m"] * 3, snapshot=2)
            assert json.loads(await client.recv())["e"] == "snapshot"
            assert len((await ask(client, "LIST_SUBSCRIPTIONS"))["result"]) == 1

    uvloop.run(story())


def test_what_only_grows_is_a_counter() -> None:
    async def story() -> None:
        async with running() as server, server.connect("/ws/btcusdt@kline_1m") as client:
            server.close_kline(0)
            await client.recv()
            text = server.metrics.render().decode()
            assert "stream_messages_sent_total counter" in text
            assert "stream_messages_sent_total 1" in text
            assert "stream_clients 1" in text

    uvloop.run(story())
