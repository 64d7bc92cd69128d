"""Symbols by request: what is asked, what is answered, and what follows in every answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from klinecore import Market
from server.api import status
from server.api.state import ServedMarket
from server.errors import FeedError
from server.feeds.universe import NoRoomError, UnknownSymbolsError
from server.signals.channels import Channels

JSON = ("Content-Type", "application/json")


def post(server: Any, message: object, *headers: tuple[str, str], target: str = "") -> Any:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return server.get(
        target or "/v1/symbols", *(headers or (JSON,)), method="POST", body=(body[:5], body[5:])
    )


def test_what_is_added_and_removed_reaches_the_feed_and_the_answer_says_what_is_held(
    server: Any,
) -> None:
    answer = post(server, {"add": ["solusdt"], "remove": ["BTCUSDT"]})
    assert answer.status == 200
    assert server.feed.changed == [(["solusdt"], ["BTCUSDT"])]
    assert answer.json()["statuses"]["ETHUSDT"] == "TRADING"
    assert answer.json()["room"] == 5
    assert post(server, {"add": ["X"]}, target="/v1/symbols?market=um").code == "invalid_market"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnknownSymbolsError(["AUSDT", "币USDT"], "the exchange does not list"), 400, None),
        (NoRoomError("there is room for 1 more symbols, not for 2"), 409, "no_room"),
        (FeedError("the exchange's list of symbols could not be read; try again"), 503, None),
    ],
)
def test_what_cannot_be_done_says_why(
    server: Any, error: Exception, status: int, code: str | None
) -> None:
    server.feed.change_error = error
    answer = post(server, {"add": ["AUSDT", "币USDT"]})
    assert answer.status == status
    assert code in (None, answer.code)
    assert str(error) in answer.json()["detail"]
    if status == 400:
        assert answer.json()["reasons"] == ["AUSDT", "币USDT"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"add":"BTCUSDT"}', b'{"add":[""]}', b'{"add":[7]}', b'{"addd":[]}',
     b'{"add":["%s"]}' % (b"X" * 65), b"\xff", b'{"add":["\xff"]}'],
)  # fmt: skip
def test_a_body_of_another_shape_is_refused(server: Any, body: bytes) -> None:
    answer = post(server, body)
    assert (answer.status, answer.code) == (400, "bad_body")
    assert server.feed.changed == []


def test_a_page_of_another_site_cannot_post_without_asking_first(server: Any) -> None:
    """A browser sends plain text and forms anywhere, and JSON only after a preflight."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = post(server, {"add": ["AUSDT"]}, ("Content-Type", kind))
        assert (answer.status, answer.code) == (415, "not_json")
    preflight = server.get("/v1/symbols", ("Origin", "https://evil.example"), method="OPTIONS")
    assert "access-control-allow-methods" not in preflight.headers
    assert server.feed.changed == []


def test_a_body_is_bounded_and_the_key_comes_before_it(make_server: Any) -> None:
    server = make_server(request_body_max=100).serve()
    assert post(server, b" " * 101).status == 413
    locked = make_server(api_key="k").serve()
    assert post(locked, b" " * 10**6).status == 401
    assert post(locked, {"add": []}, JSON, ("X-API-Key", "k")).status == 200


def test_methods_that_a_path_has_are_named(server: Any) -> None:
    assert server.get("/v1/symbols", method="DELETE").json()["allowed"] == [
        "GET", "HEAD", "OPTIONS", "POST",
    ]  # fmt: skip
    assert post(server, {}, target="/tickers").status == 405
    paths = server.get("/openapi.json").json()["paths"]
    assert set(paths["/v1/symbols"]) == {"get", "post"}
    schema = paths["/v1/symbols"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["$ref"].endswith("/SymbolsChange")


def serve_with_room(server: Any) -> Market:
    """The server's market, exchanged for one with room."""
    market = Market(["BTCUSDT", "ETHUSDT"], ["1m"], 20, room=2)
    server.market = market
    server.channels = Channels("spot", market, server.hub, server.clock)
    server.served = ServedMarket("spot", market, server.feed, server.channels, epoch=7)
    server.serve()
    return market


def test_a_symbol_added_later_is_in_every_answer(server: Any) -> None:
    market = serve_with_room(server)
    subscriber = server.hub.subscribe()
    assert server.channels.find("solusdt@kline_1m") is None
    assert server.get("/klines/SOLUSDT/1m").status == 404
    market.add_symbol("SOLUSDT")
    subscriber.add(server.channels.find("solusdt@kline_1m"))
    market.push("SOLUSDT", "1m", server.row(0))
    server.channels.publish(server.market.drain())
    assert json.loads(subscriber.take())["s"] == "SOLUSDT"
    assert server.get("/klines/SOLUSDT/1m").json()["count"] == 1
    server.state.beat(0.0)
    assert server.served.readiness.series.total == 3
    assert "SOLUSDT" in server.get("/v1/symbols").json()["markets"]["spot"]["symbols"]
    assert server.get("/v1/status?symbol=SOLUSDT").status == 200


def test_a_symbol_removed_while_the_status_is_written_is_left_out(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "STATUS_CHUNK", 1)
    market = serve_with_room(server)
    gone = market.symbols[1]
    told = server.feed.series_state

    def series_state(symbol: str, interval: str) -> Any:
        if gone in market.symbols:
            asyncio.get_running_loop().call_soon(market.remove_symbol, gone)
        return told(symbol, interval)

    monkeypatch.setattr(server.feed, "series_state", series_state)
    answer = server.get("/v1/status")
    assert answer.status == 200
    described = {series["symbol"] for series in answer.json()["markets"]["spot"]["series"]}
    assert gone not in market.symbols
    assert described == set(market.symbols)


def test_a_symbol_removed_and_added_again_never_shows_what_was_cached_of_it(server: Any) -> None:
    market = serve_with_room(server)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for index in range(5):
            market.push(symbol, "1m", server.row(index))
    target = "/klines/ETHUSDT/1m?forming=true"
    old = server.get(target)
    assert server.get(target).body == old.body
    market.remove_symbol("ETHUSDT")
    assert server.get(target).status == 404
    market.add_symbol("ETHUSDT")
    fresh = server.get(target, ("If-None-Match", old.headers["etag"]))
    assert fresh.status == 200
    assert fresh.json()["count"] == 0
    for index in range(100, 105):
        market.push("ETHUSDT", "1m", server.row(index))
        answer = server.get(target, ("If-None-Match", old.headers["etag"]))
        assert answer.status == 200
        assert answer.json()["klines"][-1]["o"] == f"{index}.10"


def test_no_close_is_overdue_of_a_symbol_that_does_not_trade_or_has_just_resumed(
    server: Any,
) -> None:
    serve_with_room(server)
    server.fill(5, "ETHUSDT")
    server.market.push("BTCUSDT", "1m", server.row(99))
    server.clock.now_ms = server.row(100).open_time_ms + 30_000
    server.state.beat(0.0)
    assert server.served.readiness.series.stale == 1
    server.feed.words["ETHUSDT"] = "HALT"
    server.state.beat(0.0)
    assert server.served.readiness.series.stale == 0
    assert server.served.readiness.symbols_not_trading == ["ETHUSDT"]
    server.feed.words.clear()
    server.market.push("ETHUSDT", "1m", server.row(100, closed=False))
    server.state.beat(0.0)
    assert server.served.readiness.series.stale == 0


def test_a_client_can_leave_the_stream_of_a_symbol_that_was_removed(server: Any) -> None:
    market = serve_with_room(server)
    topic = server.channels.find("ETHUSDT@ticker")
    market.remove_symbol("ETHUSDT")
    assert server.channels.find("ETHUSDT@ticker") is None
    assert server.channels.topic_of("ETHUSDT@ticker") == topic
