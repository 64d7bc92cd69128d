"""Request and reply: what the HTTP paths answer, to the byte, and Binance's forms around it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvloop
from every_key import Keys
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_port import MINUTE, START_MS, SYMBOLS, Running, dial, row, running, until
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from server.access.rates import PER_MINUTE
from server.identity import Tier
from server.streams.requests import REQUESTS_WAITING_MAX, RequestClient

PATH = "/ws-api/v3"
ROWS = 30


def fill(server: Running) -> None:
    """Klines with a forming one, and a ticker of each symbol but the last."""
    for place, symbol in enumerate(SYMBOLS):
        for index in range(ROWS - place):
            server.market.push(symbol, "1m", row(index))
        server.market.push(symbol, "1m", row(ROWS - place, closed=False))
    for symbol in SYMBOLS[:-1]:
        ticker = {letter: "1.50" for letter in "pPwxcQbBaAohlvq"}
        ticker |= {"e": "24hrTicker", "E": START_MS, "s": symbol}  # type: ignore[dict-item]
        ticker |= dict.fromkeys("OCFLn", 7)  # type: ignore[arg-type]
        server.market.apply(json.dumps(ticker).encode())
    server.channels.publish(server.market.drain())


async def get(server: Running, path: str, query: dict[str, str], key: str = "") -> tuple[int, Any]:
    """Status and body of the HTTP path, asked as granian does."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "raw_path": path.encode(),
        "query_string": urlencode(query).encode(), "client": ("127.0.0.1", "1"),
        "headers": [(b"host", b"localhost")] + ([(b"x-api-key", key.encode())] if key else []),
    }  # fmt: skip
    await server.api(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def call(client: ClientConnection, method: object, params: object = None, **more: Any) -> Any:
    """Ask, and read the reply."""
    message = {"id": 1, "method": method} | ({} if params is None else {"params": params}) | more
    await client.send(json.dumps(message))
    return json.loads(await asyncio.wait_for(client.recv(), 30))


# --- the same as over HTTP -----------------------------------------------------------------------

times = st.integers(START_MS - MINUTE, START_MS + (ROWS + 2) * MINUTE) | st.integers(-5, 5)
numbers = st.integers(-2, 1200) | st.sampled_from(["7", "", "x", "٣"])
KLINES = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from([*SYMBOLS] * 3 + ["btcusdt", "NOPE", "", "A&B=C"]),
        "interval": st.sampled_from(["1m", "1m", "1m", "1h", "7m"]),
    },
    optional={
        "startTime": times | times.map(str),
        "endTime": times,
        "limit": numbers,
        "timeZone": st.sampled_from(["0", "8"]),
    },
)
NAMES = st.sampled_from([*SYMBOLS, "NOPE"])
TICKERS = st.fixed_dictionaries(
    {},
    optional={
        "symbol": NAMES,
        "symbols": st.lists(NAMES, max_size=3) | st.just("BTCUSDT"),
        "type": st.sampled_from(["FULL", "MINI", "TINY"]),
    },
)
METHODS = {
    "ping": "ping",
    "exchangeInfo": "exchangeInfo",
    "klines": "klines",
    "uiKlines": "uiKlines",
    "ticker.24hr": "ticker/24hr",
    "ticker.price": "ticker/price",
    "ticker.book": "ticker/bookTicker",
}
QUESTIONS = st.one_of(
    st.tuples(st.sampled_from(["klines", "uiKlines"]), KLINES),
    st.tuples(st.sampled_from([name for name in METHODS if "lines" not in name]), TICKERS),
)


def in_url(params: dict[str, Any]) -> dict[str, str]:
    return {
        name: json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)
        for name, value in params.items()
    }


@settings(max_examples=12)
@given(questions=st.lists(QUESTIONS, min_size=20, max_size=40), mark=st.sampled_from(["", "v3/"]))
def test_every_reply_carries_what_the_path_answers_to_the_byte(
    questions: list[tuple[str, dict[str, Any]]], mark: str
) -> None:
    async def story() -> None:
        async with running(ws_messages_per_s=1000.0) as server, server.connect(PATH) as client:
            fill(server)
            for number, (method, params) in enumerate(questions):
                path = f"/api/v3/{METHODS[method]}"
                status, body = await get(server, path, in_url(params))
                await client.send(
                    json.dumps({"id": number, "method": mark + method, "params": params})
                )
                reply = (await client.recv()).encode()  # type: ignore[union-attr]
                told = b'"result":' if status == 200 else b'"error":'
                if "exchangeInfo" in method and status == 200:  # tells the time
                    assert json.loads(reply)["result"].keys() == json.loads(body).keys()
                    continue
                head = b'{"id":%d,"status":%d,%s' % (number, status, told)
                assert reply == head + body + b',"rateLimits":[]}'

    uvloop.run(story())


def test_klines_are_rows_and_the_forming_one() -> None:
    """The comparison above would hold of two that are equally wrong."""

    async def story() -> None:
        async with running() as server, server.connect(PATH) as client:
            fill(server)
            reply = await call(
                client, "klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 3}
            )
            assert (reply["id"], reply["status"], reply["rateLimits"]) == (1, 200, [])
            expected = [row(ROWS - 2), row(ROWS - 1), row(ROWS, closed=False)]
            assert [r[:5] for r in reply["result"]] == [list(k[:5]) for k in expected]
            time_ms = (await call(client, "time"))["result"]["serverTime"]
            assert abs(time_ms - time.time() * 1000) < 5000

    uvloop.run(story())


def test_a_reply_tells_of_the_newest_row() -> None:
    async def story() -> None:
        async with running() as server, server.connect(PATH) as client:
            fill(server)
            asked = {"symbol": "BTCUSDT", "interval": "1m", "limit": 2}
            for trades, close in ((100, "7.1"), (101, "7.2")):
                moved = row(ROWS, closed=False, close=close)._replace(trades=trades)
                server.market.push("BTCUSDT", "1m", moved)
                for _ in range(2):
                    reply = await call(client, "klines", asked)
                    assert reply["result"][-1][4] == close
            closed = row(ROWS)._replace(trades=102)
            server.market.push("BTCUSDT", "1m", closed)
            reply = await call(client, "klines", asked)
            assert reply["result"][-1][:5] == list(closed[:5])

    uvloop.run(story())


def test_usd_m_is_asked_by_the_path() -> None:
    async def story() -> None:
        async with running() as server, server.connect(f"{PATH}?market=um") as client:
            fill(server)
            reply = await call(client, "klines", {"symbol": "BTCUSDT", "interval": "1m"})
            assert (reply["status"], reply["error"]["code"]) == (400, -1121)  # it is not served
            assert (await call(client, "ticker.price"))["result"] == []
            assert (await call(client, "ticker.book"))["error"]["code"] == -1020

    uvloop.run(story())


# --- forms ---------------------------------------------------------------------------------------


IDS = st.none() | st.integers(-(2**63) + 1, 2**63 - 1) | st.from_regex(r"\A[a-zA-Z0-9_-]{1,36}\Z")


@settings(max_examples=5)
@given(st.lists(IDS, min_size=10, max_size=30))
def test_a_reply_has_the_id_of_its_request(ids: list[int | str | None]) -> None:
    async def story() -> None:
        async with running() as server, server.connect(PATH) as client:
            for one in ids:
                reply = await call(client, "ping", id=one)
                assert reply == {"id": one, "status": 200, "result": {}, "rateLimits": []}

    uvloop.run(story())


REFUSED = {
    "no JSON": ("nonsense", -1135, None),
    "no object": ("[]", -1135, None),
    "deep": ("[" * 4000, -1135, None),
    "a huge number": ('{"id":' + "9" * 4000 + "}", -1135, None),
    "an id of too many characters": ('{"id":"%s","method":"ping"}' % ("x" * 37), -1135, None),
    "an id that is a fraction": ('{"id":1.5,"method":"ping"}', -1135, None),
    "an id that is a truth": ('{"id":true,"method":"ping"}', -1135, None),
    "no method": ('{"id":7}', -1135, 7),
    "a method that is no name": ('{"id":7,"method":1}', -1135, 7),
    "params that are a list": ('{"id":7,"method":"klines","params":["BTCUSDT"]}', -1135, 7),
    "an unknown method": ('{"id":7,"method":"depth"}', -1020, 7),
    "a subscription": ('{"id":7,"method":"SUBSCRIBE","params":{}}', -1020, 7),
    "a logon": ('{"id":7,"method":"session.logon","params":{"apiKey":"x"}}', -1020, 7),
    "an order": ('{"id":7,"method":"order.place","params":{}}', -1020, 7),
    "a path": ('{"id":7,"method":"ticker/24hr"}', -1020, 7),
    "an unknown parameter": ('{"id":7,"method":"ping","params":{"a":1}}', -1104, 7),
    "a fraction": (
        '{"id":7,"method":"klines","params":{"symbol":"BTCUSDT","interval":"1m","limit":1.5}}',
        -1130,
        7,
    ),
    "nothing for a value": ('{"id":7,"method":"klines","params":{"symbol":null}}', -1130, 7),
    "a huge limit": (
        '{"id":7,"method":"klines","params":{"symbol":"BTCUSDT","interval":"1m","limit":%s}}'
        % ("9" * 400),
        -1100,
        7,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_refused_and_the_next_one_is_answered(name: str) -> None:
    text, code, request_id = REFUSED[name]

    async def story() -> None:
        async with running() as server, server.connect(PATH) as client:
            await client.send(text)
            reply = json.loads(await client.recv())
            assert (reply["id"], reply["status"]) == (request_id, 400)
            assert reply["error"]["code"] == code
            assert reply["error"].keys() == {"code", "msg"}
            assert (await call(client, "ping"))["result"] == {}

    uvloop.run(story())


def test_refusals_say_where_to_turn() -> None:
    async def story() -> None:
        async with running() as server, server.connect(PATH) as client:
            said = [
                (await call(client, method))["error"]["msg"]
                for method in ("SUBSCRIBE", "session.logon", "depth")
            ]
            assert "/stream" in said[0]
            assert "account" in said[1]
            assert "ticker.24hr" in said[2]

    uvloop.run(story())


def test_limits_are_left_out_where_they_are_not_wanted() -> None:
    async def story() -> None:
        async with (
            running() as server,
            server.connect(PATH) as client,
            server.connect(f"{PATH}?returnRateLimits=false") as quiet,
        ):
            assert "rateLimits" not in await call(client, "ping", {"returnRateLimits": False})
            assert "rateLimits" not in await call(quiet, "ping")
            assert "rateLimits" in await call(quiet, "ping", {"returnRateLimits": True})

    uvloop.run(story())


def test_a_failure_of_ours_is_a_500_that_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with running() as server, server.connect(PATH) as client:
            fill(server)
            monkeypatch.setattr(
                "server.api.windows.HeldWindow.body", lambda *_: {}["a secret of ours"]
            )
            reply = await call(client, "klines", {"symbol": "BTCUSDT", "interval": "1m"})
            assert (reply["status"], reply["error"]["code"]) == (500, -1000)
            assert "secret" not in json.dumps(reply)
            assert (await call(client, "ping"))["status"] == 200

    uvloop.run(story())
    assert "a secret of ours" in caplog.text


def test_a_shutdown_is_an_event() -> None:
    async def story() -> None:
        async with running() as server, server.connect(PATH) as client:
            await call(client, "ping")
            server.streams.close_all()
            assert json.loads(await client.recv())["event"]["e"] == "serverShutdown"
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1001

    uvloop.run(story())


# --- who asks, and how often ---------------------------------------------------------------------


def test_requests_count_among_those_of_the_same_path(tmp_path: Path) -> None:
    keys = Keys(tmp_path, time.time_ns() // 1_000_000)
    limit = PER_MINUTE[Tier.FREE]

    async def story() -> None:
        async with running(**keys.settings()) as server:
            fill(server)
            options = {"additional_headers": {"X-MBX-APIKEY": keys.trade}}
            async with server.connect(PATH, **options) as client:
                asked = {"symbol": "BTCUSDT", "interval": "1m"}
                query = {name: str(value) for name, value in asked.items()}
                for _ in range(limit - 2):
                    assert (await get(server, "/api/v3/klines", query, keys.trade))[0] == 200
                for count in (limit - 1, limit):
                    reply = await call(client, "klines", asked)
                    assert reply["status"] == 200
                    assert reply["rateLimits"] == [
                        {
                            "rateLimitType": "RAW_REQUESTS", "interval": "MINUTE",
                            "intervalNum": 1, "limit": limit, "count": count,
                        }
                    ]  # fmt: skip
                reply = await call(client, "klines", asked)
                assert (reply["status"], reply["error"]["code"]) == (429, -1003)
                data = reply["error"]["data"]
                assert data["retryAfter"] > data["serverTime"]
                assert (await get(server, "/api/v3/klines", query, keys.trade))[0] == 429
                assert (await call(client, "ticker.price"))["status"] == 200

    uvloop.run(story())


def test_requests_that_are_refused_for_being_too_many_end_the_connection(tmp_path: Path) -> None:
    keys = Keys(tmp_path, time.time_ns() // 1_000_000)

    async def story() -> None:
        async with running(**keys.settings()) as server:
            options = {"additional_headers": {"X-MBX-APIKEY": keys.trade}}
            async with server.connect(PATH, **options) as client:
                with pytest.raises(ConnectionClosed):
                    [await call(client, "ping") for _ in range(PER_MINUTE[Tier.FREE] + 20)]
                assert client.close_code == 1008

    uvloop.run(story())


def test_a_key_may_come_as_the_first_message(tmp_path: Path) -> None:
    keys = Keys(tmp_path, time.time_ns() // 1_000_000)

    async def story() -> None:
        async with running(**keys.settings()) as server, server.connect(PATH) as client:
            reply = await call(client, "ping")
            assert (reply["id"], reply["status"]) == (1, 401)
            assert reply["error"]["code"] == -2015
            assert "AUTH" in reply["error"]["msg"]
            reply = await call(client, "AUTH", [keys.trade])
            assert (reply["status"], reply["result"]) == (200, None)
            assert (await call(client, "ping"))["result"] == {}

    uvloop.run(story())


@pytest.mark.parametrize(
    ("message", "ends"), [('{"id":1,"method":"ping"}', False), ("{}", True), ('{"id":1}', True)]
)
def test_requests_pay_by_their_own_limit_and_all_else_as_on_streams(
    message: str, ends: bool
) -> None:
    async def story() -> None:
        async with running(ws_messages_per_s=5.0) as server, server.connect(PATH) as client:
            for _ in range(100):
                await client.send(message)
            if not ends:
                for _ in range(100):
                    assert json.loads(await client.recv())["status"] == 200
                return
            with pytest.raises(ConnectionClosed):
                [await client.recv() for _ in range(100)]
            assert client.close_code == 1008

    uvloop.run(story())


# --- who does not take replies -------------------------------------------------------------------


def masked(text: str) -> bytes:
    """A client's text message; a mask of zeros leaves it as it is."""
    data = text.encode()
    assert len(data) < 126
    return bytes((0x81, 0x80 | len(data))) + b"\0\0\0\0" + data


def only_client(server: Running) -> RequestClient:
    (client,) = server.streams._clients
    assert isinstance(client, RequestClient)
    return client


def test_replies_wait_for_who_reads_late_and_come_in_order() -> None:
    count = 3000

    async def story() -> None:
        async with running() as server, server.connect(PATH, max_queue=1) as client:
            fill(server)
            held = 0
            asked = {"symbol": "BTCUSDT", "interval": "1m"}

            async def ask() -> None:
                for number in range(count):
                    request = {"id": number, "method": "klines", "params": asked}
                    await client.send(json.dumps(request))

            asking = asyncio.create_task(ask())
            await until(lambda: only_client(server).full_since is not None)
            await asyncio.sleep(0.05)
            for number in range(count):
                if number % 100 == 0:
                    held = max(held, only_client(server).waiting)
                    await asyncio.sleep(0.001)
                assert json.loads(await asyncio.wait_for(client.recv(), 30))["id"] == number
            await asking
            assert held < 128 * 1024
            assert server.streams._desk.waiting == 0

    uvloop.run(story())


def test_who_takes_nothing_holds_little_and_is_ended() -> None:
    async def story() -> None:
        async with running(subscriber_stall_s=0.3) as server:
            fill(server)
            raw = await dial(server, PATH)
            asked = {"symbol": "BTCUSDT", "interval": "1m"}
            request = json.dumps({"id": 1, "method": "klines", "params": asked})
            requests = masked(request) * 20_000
            sending = asyncio.create_task(
                asyncio.wait_for(asyncio.get_running_loop().sock_sendall(raw, requests), 30)
            )
            most = 0
            while server.streams._clients:
                client = only_client(server)
                assert len(client._waiting) <= REQUESTS_WAITING_MAX
                most = max(most, client.waiting)
                server.streams._look_at(client)  # as once a second
                await asyncio.sleep(0.02)
            assert most < 128 * 1024
            assert server.streams._desk.waiting == 0
            assert server.streams.dropped.value("1013") == 1
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            raw.close()

    uvloop.run(story())
