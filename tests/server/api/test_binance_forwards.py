"""Binance's other public answers: passed on as they are, and nothing of a client with them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_plus

import pytest
from binance_pair import MINUTE, SYMBOLS, Pair
from hypothesis import given
from hypothesis import strategies as st

from server.api.binance_forwards import FORWARDED, pass_on
from server.api.problems import BinanceError
from server.errors import RestError
from server.exchange.faults import RestFault
from server.feeds import forwards as module

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def pair(make_server: Make) -> Pair:
    return Pair(make_server, "spot", capacity=20, forward=True)


def answers(pair: Pair, body: bytes, status: int = 200) -> None:
    """What the exchange says next."""
    pair.exchange._faults.rest.append(RestFault(status, body=body))


def test_it_is_off_unless_asked_for(make_server: Make) -> None:
    for market, asked in FORWARDED.items():
        pair = Pair(make_server, market, capacity=20)
        for one in asked:
            answer = pair.server.get(f"{pair.prefix}/{one.path}?symbol=BTCUSDT")
            if (market, one.path) == ("spot", "avgPrice"):
                assert (answer.status, answer.json()["code"]) == (400, -1020)
                assert "KLINE_FORWARD" in answer.json()["msg"]
            else:
                assert (answer.status, answer.json()["code"]) == (404, -5000)
        assert pair.rest.asked == []


def test_an_average_and_a_book_ticker_are_the_exchanges(make_server: Make, pair: Pair) -> None:
    um = Pair(make_server, "um", capacity=20, forward=True)
    target = "/avgPrice?symbol=BTCUSDT"
    assert pair.our_bytes(target) == pair.their_bytes(target)
    target = "/ticker/bookTicker?symbol=ETHUSDT"
    assert um.our_bytes(target) == um.their_bytes(target)


@pytest.mark.parametrize(
    ("query", "asked", "weight"),
    [
        ("/depth?symbol=BTCUSDT", "/depth?symbol=BTCUSDT", 5),
        ("/depth?symbol=BTCUSDT&limit=00500", "/depth?symbol=BTCUSDT&limit=500", 25),
        ("/depth?limit=5000&symbol=BTCUSDT", "/depth?symbol=BTCUSDT&limit=5000", 250),
        ("/trades?symbol=BTCUSDT&limit=3", "/trades?symbol=BTCUSDT&limit=3", 25),
        ("/aggTrades?symbol=BTCUSDT&fromId=7", "/aggTrades?symbol=BTCUSDT&fromId=7", 4),
        ("/ticker?symbol=BTCUSDT&windowSize=7d", "/ticker?symbol=BTCUSDT&windowSize=7d", 4),
        (
            "/ticker/tradingDay?symbols=%5B%22BTCUSDT%22,%20%22ETHUSDT%22%5D&type=MINI",
            '/ticker/tradingDay?symbols=["BTCUSDT","ETHUSDT"]&type=MINI',
            8,
        ),
    ],
)
def test_a_question_is_written_anew_and_weighed(
    make_server: Make, query: str, asked: str, weight: int
) -> None:
    pair = Pair(make_server, "spot", capacity=20, forward=True)
    answers(pair, b'{"lastUpdateId":7,"bids":[]}')
    answer = pair.server.get(pair.prefix + query, ("X-MBX-APIKEY", "a secret"), ("Cookie", "b=1"))
    assert (answer.status, answer.body) == (200, b'{"lastUpdateId":7,"bids":[]}')
    assert answer.headers["x-mbx-used-weight-1m"] == str(weight)
    assert [unquote_plus(one) for one in pair.rest.asked] == [pair.prefix + asked]
    assert pair.api.budget.client_used == weight


#: What may leave, whatever anybody sends.
ALLOWED = re.compile(
    r"/api/v3/(depth|trades|aggTrades|avgPrice|ticker|ticker/tradingDay)\?"
    r"(symbol=(BTCUSDT|ETHUSDT|币安人生USDT)|symbols=\[[\"A-Z,币安人生]*\])"
    r"(&(fromId|startTime|endTime|limit)=\d{1,20}|&windowSize=\d{1,2}[mhd]|&type=(FULL|MINI))*"
)
words = st.text(max_size=30) | st.sampled_from(
    (
        *SYMBOLS,
        "7",
        "1h",
        "MINI",
        '["BTCUSDT"]',
        "1 OR 1=1",
        "BTCUSDT&x=1",
        "../../sapi",
        "a\r\nb: c",
    )
)


@given(
    st.sampled_from(FORWARDED["spot"]),
    st.dictionaries(
        st.sampled_from(
            ("symbol", "symbols", "limit", "fromId", "startTime", "windowSize", "type", "signature")
        ),
        words,
        max_size=5,
    ),
)
def test_nothing_of_a_client_reaches_the_exchange(
    pair: Pair, one: Any, query: dict[str, str]
) -> None:
    pair.rest.asked.clear()
    asked = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    answer = pair.server.get(f"{pair.prefix}/{one.path}?{asked}")
    assert answer.status in (200, 400, 503)  # the simulated exchange has not all of these paths
    for target in pair.rest.asked:
        assert ALLOWED.fullmatch(unquote_plus(target))


def test_the_exchanges_own_errors_are_passed_on(pair: Pair) -> None:
    answers(pair, b'{"code":-1130,"msg":"Data sent for parameter \'limit\' is not valid."}', 400)
    answer = pair.server.get("/api/v3/depth?symbol=BTCUSDT&limit=9")
    assert (answer.status, answer.json()["code"]) == (400, -1130)


@pytest.mark.parametrize("body", [b"<html>", b"", b"{", b'"\xff"', b"[1" + b" " * (4 << 20) + b"]"])
def test_what_is_no_json_or_too_long_is_not(pair: Pair, body: bytes) -> None:
    answers(pair, body)
    answer = pair.server.get("/api/v3/depth?symbol=BTCUSDT")
    assert (answer.status, answer.json()["code"]) == (503, -1001)
    assert b"html" not in answer.body


def test_the_weight_of_clients_bounds_it(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=20, forward=True, weight_limit=300)
    for _ in range(2):
        answers(pair, b"{}")
        answer = pair.server.get("/api/v3/depth?symbol=BTCUSDT&limit=5000")
    assert (answer.status, answer.json()["code"]) == (429, -1003)
    assert 1 <= int(answer.headers["retry-after"]) <= 61
    assert len(pair.rest.asked) == 1
    pair.server.clock.now_ms += MINUTE
    assert pair.server.get("/api/v3/depth?symbol=BTCUSDT&limit=5000").status == 200


def test_equal_questions_share_an_answer_and_many_are_too_many(
    make_server: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLIGHTS_MAX", 4)
    pair = Pair(make_server, "spot", capacity=20, forward=True)
    forwards, (depth, *_) = pair.served.forwards, FORWARDED["spot"]
    assert forwards is not None

    async def story() -> list[Any]:
        queries = [{"symbol": "BTCUSDT", "limit": str(n // 10 + 1)} for n in range(60)]
        held = dict.fromkeys(SYMBOLS)
        asked = [pass_on(depth, forwards, held, query) for query in queries]
        return await asyncio.gather(*asked, return_exceptions=True)

    for _ in range(4):
        answers(pair, b"[]")
    results = asyncio.run(story())
    refused = [one for one in results if isinstance(one, BinanceError)]
    assert len(refused) == 20
    assert {one.status for one in refused} == {429}
    assert len(pair.rest.asked) == 4
    assert not forwards._flights


def test_an_exchange_that_cannot_be_reached_is_told_as_such(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=20, forward=True)
    pair.rest.error = RestError("no answer")
    answer = pair.server.get("/api/v3/avgPrice?symbol=BTCUSDT")
    assert (answer.status, answer.json()["code"]) == (503, -1001)
