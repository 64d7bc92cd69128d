"""Filters run over HTTP: now, over the past, as lines; beside other requests, and within limits."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import klinecore as kc
from klinecore.filters import compile, replay
from server.api import results
from server.api.filter_types import Expressions, FilterEvaluation, FilterReplay
from server.api.problems import ApiError
from server.api.worker import Worker

Make = Callable[..., Any]
EVALUATE, REPLAY = "/v1/filters/evaluate", "/v1/filters/replay"
UNICODE = "币安人生USDT"


def post(server: Any, target: str, message: object, **fields: object) -> Any:
    if isinstance(message, str):
        message = {"filter": message, "interval": "1m", **fields}
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return server.get(target, ("Content-Type", "application/json"), method="POST", body=[body])


def lines(server: Any, *expressions: str, target: str = "BTCUSDT/1m", **more: object) -> Any:
    query = urlencode([*(("expr", text) for text in expressions), *more.items()])
    return server.get(f"/v1/indicators/{target}?{query}")


# --- now -------------------------------------------------------------------------------------


def test_each_symbol_is_true_false_or_unknown_with_its_reason(server: Any) -> None:
    server.market.push("ETHUSDT", "1m", server.row(5))
    answer = post(server, EVALUATE, "close > 29 and close[1] > 0")
    assert answer.status == 200
    found = msgspec.json.decode(answer.body, type=FilterEvaluation)
    assert found.filter.hash == compile("close > 29 and close[1] > 0").hash
    assert found.matches == ["BTCUSDT"]
    assert found.counts == {"true": 1, "false": 0, "unknown": 2}
    assert found.unknown == {"NOT_WARM": 1, "NO_ROWS": 1}
    assert [(part.text, part.kind) for part in found.parts] == [
        ("close", "number"),
        ("close > 29", "condition"),
        ("close[1]", "number"),
        ("close[1] > 0", "condition"),
        ("close > 29 and close[1] > 0", "condition"),
    ]
    first, second, third = found.symbols
    assert (first.symbol, first.result, first.reason) == ("BTCUSDT", True, None)
    assert (first.open_time_ms, first.price) == (server.row(29).open_time_ms, 29.5)
    assert first.values == [29.5, True, 28.5, True, True]
    assert (second.result, second.reason) == (None, "NOT_WARM")
    assert second.values == [5.5, False, None, None, None]
    assert (third.symbol, third.reason, third.open_time_ms) == (UNICODE, "NO_ROWS", None)
    assert third.price is None


def test_only_the_symbols_that_are_named_and_no_parts(server: Any) -> None:
    found = post(server, EVALUATE, "close > 1", symbols=["ethusdt"], parts=False).json()
    assert [row["symbol"] for row in found["symbols"]] == ["ETHUSDT"]
    assert (found["parts"], found["symbols"][0]["values"]) == ([], [])


def test_across_symbols_all_count_whoever_is_asked_for(server: Any) -> None:
    for symbol, close in (("ETHUSDT", "50"), (UNICODE, "10")):
        server.market.push(symbol, "1m", server.row(29, close=close))
    found = post(server, EVALUATE, "rank(close) == 2", symbols=["BTCUSDT"]).json()
    assert found["matches"] == ["BTCUSDT"]


# --- over the past ---------------------------------------------------------------------------


def test_firings_are_those_of_the_library_the_newest_of_them_oldest_first(server: Any) -> None:
    text = "close > close[1] and trades / 2 > sma(trades, 2) / 2"
    expected = replay(compile(text), server.market, "1m", mode="level", cooldown=2)
    answer = post(server, REPLAY, text, mode="level", cooldown=2, limit=3)
    assert answer.status == 200
    found = msgspec.json.decode(answer.body, type=FilterReplay)
    assert found.fired == len(expected.open_time_ms) > 3
    assert found.by_symbol == {"BTCUSDT": found.fired}
    assert [firing.open_time_ms for firing in found.firings] == expected.open_time_ms[-3:].tolist()
    assert found.firings[-1].symbol == "BTCUSDT"
    assert found.firings[-1].price == expected.price[-1]
    assert (found.mode, found.cooldown, found.symbols, found.rows) == ("level", 2, 3, 20)
    assert found.unknown == {"NOT_WARM": 1}
    oldest = int(server.market["BTCUSDT", "1m"].open_time_ms[0])
    assert (found.since["1m"].earliest_ms, found.since["1m"].latest_ms) == (oldest, oldest)
    assert not found.depends_on_first
    assert post(server, REPLAY, "close > ema(3)").json()["depends_on_first"]


def test_on_the_edge_a_filter_fires_when_it_becomes_true(server: Any) -> None:
    found = post(server, REPLAY, "close > 20").json()
    assert (found["mode"], found["fired"]) == ("edge", 1)
    assert found["firings"][0]["open_time_ms"] == server.row(20).open_time_ms


# --- lines -----------------------------------------------------------------------------------


def test_a_line_is_in_step_with_the_klines_and_null_where_unknown(server: Any) -> None:
    answer = lines(server, "sma(3)", "close > 15", limit=20)
    assert answer.status == 200
    found = msgspec.json.decode(answer.body, type=Expressions)
    klines = server.get("/klines/BTCUSDT/1m?limit=20").json()["klines"]
    assert found.open_time_ms == [row["t"] for row in klines]
    assert (found.symbol, found.interval, found.count) == ("BTCUSDT", "1m", 20)
    mean, above = found.expressions
    assert (mean.text, mean.normal, mean.kind) == ("sma(3)", "sma(close, 3)", "number")
    assert mean.values[:3] == [None, None, 11.5]
    assert (above.kind, above.values[:7]) == ("condition", [False] * 5 + [True] * 2)
    assert mean.bars == {"1m": 3}
    assert lines(server, "sma(3)", limit=2).json()["expressions"][0]["values"] == [27.5, 28.5]


def test_without_rows_a_line_is_empty(server: Any) -> None:
    found = lines(server, "rsi(14)", target="ETHUSDT/1m").json()
    assert (found["count"], found["expressions"][0]["values"]) == (0, [])


@pytest.mark.parametrize(
    ("target", "expressions", "more", "status", "code"),
    [
        ("BTCUSDT/1m", [], {}, 400, "missing_parameter"),
        ("BTCUSDT/1m", ["close"] * 9, {}, 400, "too_many_expressions"),
        ("BTCUSDT/1m", ["close", "clos"], {}, 400, "invalid_filter"),
        ("BTCUSDT/1m", ["macd()"], {}, 400, "invalid_filter"),
        ("BTCUSDT/1m", ['close @ "5m"'], {}, 400, "interval_not_served"),
        ("BTCUSDT/1m", ["close"], {"limit": 21}, 400, "invalid_limit"),
        ("BTCUSDT/1m", ["close"], {"market": "um"}, 400, "invalid_market"),
        ("BTCUSDT/1m", ["close"], {"forming": "true"}, 400, "unknown_parameter"),
        ("NOPE/1m", ["close"], {}, 404, "unknown_symbol"),
        ("BTCUSDT/5m", ["close"], {}, 404, "interval_not_served"),
        ("BTCUSDT/1x", ["close"], {}, 400, "invalid_interval"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    server: Any, target: str, expressions: list[str], more: dict[str, Any], status: int, code: str
) -> None:
    answer = lines(server, *expressions, target=target, **more)
    assert (answer.status, answer.code) == (status, code)


# --- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [EVALUATE, REPLAY])
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"interval": "5m"}, "interval_not_served"),
        ({"interval": "1x"}, "invalid_interval"),
        ({"filter": 'close @ "5m" > 1'}, "interval_not_served"),
        ({"filter": "rsi(14)"}, "invalid_filter"),
        ({"symbols": ["NOPE"]}, "unknown_symbol"),
        ({"symbols": ["BTCUSDT", "btcusdt"]}, "bad_body"),
        ({"symbols": []}, "bad_body"),
        ({"symbols": ["BTCUSDT"] * 1001}, "bad_body"),
        ({"market": "um"}, "invalid_market"),
        ({"extra": 1}, "bad_body"),
        ({"interval": None}, "bad_body"),
    ],
)
def test_what_cannot_be_run_is_refused(
    server: Any, target: str, fields: dict[str, object], code: str
) -> None:
    answer = post(server, target, {"filter": "close > 1", "interval": "1m", **fields})
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    "fields", [{"mode": "once"}, {"cooldown": -1}, {"limit": 0}, {"limit": 10_001}, {"limit": 1.5}]
)
def test_a_replay_of_another_kind_is_refused(server: Any, fields: dict[str, Any]) -> None:
    assert post(server, REPLAY, "close > 1", **fields).code == "bad_body"


@pytest.mark.parametrize(
    ("setting", "most", "part"),
    [
        ("filter_rows_max", 19, "20 klines, at most 19"),
        ("filter_seconds_max", 1e-7, "at most 1e-07"),
    ],
)
def test_too_much_is_refused_with_the_number(
    make_server: Make, setting: str, most: float, part: str
) -> None:
    server = make_server(capacity=20, **{setting: most}).serve().fill(20)
    answer = post(server, REPLAY, "close > 1")
    assert (answer.status, answer.code) == (400, "too_large")
    assert part in answer.json()["detail"]
    assert b"filters_too_large_total 1" in server.get("/metrics").body
    assert post(server, REPLAY, "close > 1", symbols=["ETHUSDT"]).status == 200


def test_a_server_that_is_starting_says_so(make_server: Make) -> None:
    server = make_server()
    assert post(server, REPLAY, "close > 1").status == 503
    assert lines(server, "close").status == 503


def test_a_silent_exchange_shows_in_the_headers(server: Any) -> None:
    server.feed.age_ms = 10**6
    server.state.beat(0.0)
    assert post(server, EVALUATE, "close > 1").headers["x-data-state"] == "stale"


# --- beside other requests -------------------------------------------------------------------


def large(make_server: Make, symbols: int = 200, **settings: Any) -> Any:
    """A server of many symbols whose windows are full."""
    server = make_server(**settings)
    server.market = kc.Market([f"S{i:03}USDT" for i in range(symbols)], ["1m"], 500)
    rng = np.random.default_rng(1)
    body: list[list[Any]] = []
    for index, price in enumerate(100 + rng.standard_normal(500).cumsum()):
        row = server.row(index)
        text = f"{price:.4f}"
        body.append([
            row.open_time_ms, text, text, text, text, "1.0", row.close_time_ms, "1.0", 1, "1", "1",
            "0",
        ])  # fmt: skip
    answer = json.dumps(body).encode()
    for symbol in server.market.symbols:
        server.market.apply_klines(symbol, "1m", answer, closed_before_ms=2**53)
    served = type(server.served)("spot", server.market, server.feed, server.channels, epoch=7)
    server.served = served
    return server.serve()


async def ask(server: Any, target: str, message: object = None) -> tuple[int, bytes]:
    """One request beside others."""
    sent: list[dict[str, Any]] = []
    body = b"" if message is None else json.dumps(message).encode()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(part: dict[str, Any]) -> None:
        sent.append(part)

    path, _, query = target.partition("?")
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST" if body else "GET", "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "headers": headers,
        "client": ("127.0.0.1", "1"),
    }  # fmt: skip
    await server.api(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


HEAVY = {"filter": "close > wma(100) and rank(close) < 3", "interval": "1m"}


def test_klines_are_answered_while_a_heavy_replay_computes(
    make_server: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = large(make_server)
    computing, go_on = threading.Event(), threading.Event()
    threads: list[int] = []

    def held_up(*arguments: Any) -> FilterReplay:
        threads.append(threading.get_ident())
        computing.set()
        assert go_on.wait(30)
        return run_over_past(*arguments)

    run_over_past = results.run_over_past
    monkeypatch.setattr("server.api.filters.run_over_past", held_up)

    async def scenario() -> None:
        heavy = asyncio.create_task(ask(server, REPLAY, HEAVY))
        while not computing.is_set():
            await asyncio.sleep(0)
        for i in range(20):
            # The market changes too: the replay is of the moment it was asked for.
            server.market.push("S000USDT", "1m", server.row(500 + i))
            status, body = await ask(server, "/klines/S000USDT/1m?limit=1")
            assert json.loads(body)["klines"][0]["t"] == server.row(500 + i).open_time_ms
            assert status == 200
            assert (await ask(server, "/v1/indicators/S001USDT/1m?expr=rsi(14)"))[0] == 200
        assert not heavy.done()
        go_on.set()
        status, body = await heavy
        assert (status, json.loads(body)["rows"]) == (200, 200 * 500)

    asyncio.run(scenario())
    assert threads != [threading.get_ident()]


def test_beyond_so_many_at_a_time_a_request_is_told_to_come_again(
    make_server: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = large(make_server, filter_jobs_max=2)
    go_on = threading.Event()
    run_over_past = results.run_over_past

    def held_up(*arguments: Any) -> FilterReplay:
        assert go_on.wait(30)
        return run_over_past(*arguments)

    monkeypatch.setattr("server.api.filters.run_over_past", held_up)

    async def scenario() -> None:
        asked = [asyncio.create_task(ask(server, REPLAY, HEAVY)) for _ in range(3)]
        status, body = await asked[2]
        assert (status, json.loads(body)["code"]) == (503, "busy")
        metrics = (await ask(server, "/metrics"))[1]
        assert b"filters_jobs 2" in metrics
        assert b"filters_busy_total 1" in metrics
        go_on.set()
        assert [(await one)[0] for one in asked[:2]] == [200, 200]
        assert b'filters_seconds_count{kind="replay"} 2' in (await ask(server, "/metrics"))[1]

    asyncio.run(scenario())


def test_a_client_that_leaves_does_not_make_room_before_its_work_is_done() -> None:
    worker = Worker(1)
    started, go_on = threading.Event(), threading.Event()

    async def read() -> int:
        return 7

    def compute(rows: int) -> int:
        started.set()
        assert go_on.wait(30)
        return rows

    async def scenario() -> None:
        left = asyncio.create_task(worker.run(read, compute))
        while not started.is_set():
            await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        with pytest.raises(ApiError) as refused:
            await worker.run(read, compute)
        assert refused.value.status == 503
        go_on.set()
        while worker.jobs:
            await asyncio.sleep(0)
        assert await worker.run(read, compute) == 7

    asyncio.run(scenario())
    assert worker.refused == 1


def test_a_symbol_that_is_removed_while_its_request_waits_is_404(make_server: Make) -> None:
    server = large(make_server, symbols=3)
    heavy = "/v1/indicators/S000USDT/1m?expr=rank(wma(100))" + "&expr=rank(wma(99))" * 7

    async def scenario() -> None:
        asked = asyncio.create_task(ask(server, heavy))
        await asyncio.sleep(0)
        server.market.remove_symbol("S000USDT")
        status, body = await asked
        assert (status, json.loads(body)["code"]) == (404, "unknown_symbol")

    asyncio.run(scenario())


# --- whatever is sent ------------------------------------------------------------------------

ANY = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
FILTERS = st.sampled_from(
    ["close > 1", "rank(volume) < 2", 'close @ "1h" > 1', "rsi(14) < 30", "log(0) > 1", "", "x",
     "ticker.last > 1", "bars_since(close > 20) < 3", "close / (close - close) > 0"]
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=9).map(lambda text: b'{"filter":"close > 1%s","interval":"1m"}' % text),
    st.integers(1, 5000).map(lambda deep: b'{"symbols":' + b"[" * deep),
    st.fixed_dictionaries(
        {},
        optional={
            "filter": st.one_of(FILTERS, ANY),
            "interval": st.one_of(st.sampled_from(["1m", "1h", "5m"]), ANY),
            "symbols": st.one_of(st.lists(st.sampled_from(["BTCUSDT", "x", ""]), max_size=3), ANY),
            "market": st.one_of(st.just("spot"), ANY),
            "mode": st.one_of(st.sampled_from(["edge", "level"]), ANY),
            "cooldown": ANY,
            "limit": ANY,
            "parts": ANY,
            "more": ANY,
        },
    ),
    st.fixed_dictionaries({"filter": FILTERS, "interval": st.sampled_from(["1m", "1h"])}),
)


@given(target=st.sampled_from([EVALUATE, REPLAY]), message=BODIES)
def test_no_body_makes_the_server_fail(make_server: Make, target: str, message: object) -> None:
    assert post(_fuzzed(make_server), target, message).status in {200, 400}


@given(st.lists(st.one_of(FILTERS, st.text(max_size=20)), max_size=3), st.text(max_size=4))
def test_no_expression_makes_the_server_fail(
    make_server: Make, texts: list[str], limit: str
) -> None:
    answer = lines(_fuzzed(make_server), *texts, limit=limit or 20)
    assert answer.status in {200, 400}


_shared: list[Any] = []


def _fuzzed(make_server: Make) -> Any:
    """One server for all examples: its market takes a while to reserve."""
    if not _shared:
        _shared.append(make_server(capacity=20).serve().fill(30))
    return _shared[0]
