"""Binance's own rules: weights, pages, stream names, the universe of symbols."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation.clock import SimulatedClock
from simulation.loop import run

from server.clock import SystemClock
from server.errors import FeedError, RestError
from server.feeds.binance import (
    VENUES,
    Api,
    kline_weight,
    plan_limits,
    split_streams,
    stream_names,
)
from server.feeds.budget import Priority, WeightBudget
from server.feeds.rest import RestResponse
from server.feeds.universe import resolve_symbols
from server.feeds.venue_time import VenueTime
from server.settings import Settings

venues = st.sampled_from(sorted(VENUES)).map(VENUES.__getitem__)


@pytest.mark.parametrize(
    ("name", "limit", "weight"),
    [
        ("spot", 1, 2),
        ("spot", 1000, 2),
        ("um", 1, 1),
        ("um", 99, 1),
        ("um", 100, 2),
        ("um", 499, 2),
        ("um", 500, 5),
        ("um", 1000, 5),
        ("um", 1001, 10),
        ("um", 1500, 10),
    ],
)
def test_klines_weigh_by_their_limit(name: str, limit: int, weight: int) -> None:
    assert kline_weight(VENUES[name], limit) == weight


def test_more_rows_than_the_exchange_gives_is_an_error() -> None:
    with pytest.raises(ValueError, match="at most 1000 rows"):
        kline_weight(VENUES["spot"], 1001)


def test_usd_m_window_of_501_rows_is_asked_for_in_two_cheap_pages() -> None:
    limits = plan_limits(VENUES["um"], 501)
    assert (len(limits), sum(limits)) == (2, 501)
    assert sum(kline_weight(VENUES["um"], limit) for limit in limits) == 3


@given(venues, st.integers(1, 5000))
def test_pages_cover_the_rows_and_cost_no_more_than_equal_pages(venue: Any, rows: int) -> None:
    limits = plan_limits(venue, rows)
    assert sum(limits) == rows
    weight = sum(kline_weight(venue, limit) for limit in limits)
    for size, cost in venue.kline_weights:
        assert weight <= -(-rows // size) * cost


def test_the_largest_window_is_planned_at_once() -> None:
    assert sum(plan_limits(VENUES["um"], 100_001)) == 100_001


def test_streams_are_named_in_lower_case_symbol_by_symbol() -> None:
    assert stream_names(["BTCUSDT", "币安人生USDT"], ["1m", "1M"]) == [
        "btcusdt@ticker",
        "btcusdt@kline_1m",
        "btcusdt@kline_1M",
        "币安人生usdt@ticker",
        "币安人生usdt@kline_1m",
        "币安人生usdt@kline_1M",
    ]


@given(st.integers(0, 3000), st.integers(1, 1024))
def test_connections_are_few_even_and_hold_every_stream_once(count: int, limit: int) -> None:
    streams = [str(index) for index in range(count)]
    parts = split_streams(streams, limit)
    assert [stream for part in parts for stream in part] == streams
    assert len(parts) == -(-count // limit)
    assert all(0 < len(part) <= limit for part in parts)


class Answers:
    """A REST transport that answers from a table, and notes what it was asked."""

    def __init__(self, **bodies: Any) -> None:
        self.bodies = bodies
        self.asked: list[tuple[str, dict[str, str | int]]] = []

    async def get(self, path: str, query: Any) -> RestResponse:
        self.asked.append((path, dict(query)))
        body = self.bodies[path.rsplit("/", 1)[1]]
        return RestResponse(200, {}, body if type(body) is bytes else msgspec.json.encode(body))

    async def close(self) -> None:
        return None


def make_api(rest: Any, name: str = "spot") -> Api:
    clock = SystemClock()
    budget = WeightBudget(VenueTime(clock), limit=6000, share=1.0)
    return Api(VENUES[name], rest, budget, clock)


INFO = {
    "timezone": "UTC",
    "rateLimits": [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    ],
    "symbols": [
        {"symbol": "AUSDT", "status": "TRADING", "quoteAsset": "USDT", "new": {"field": 1}},
        {"symbol": "BUSDT", "status": "HALT", "quoteAsset": "USDT"},
        {"symbol": "CUSDT", "status": "SOMETHING_NEW", "quoteAsset": "USDT"},
        {"symbol": "DUSDT", "status": "TRADING", "quoteAsset": "USDT"},
        {"symbol": "币安人生USDT", "status": "TRADING", "quoteAsset": "USDT"},
        {"symbol": "ABTC", "status": "TRADING", "quoteAsset": "BTC"},
    ],
}
TICKERS = [
    {"symbol": "ABTC", "quoteVolume": "9999999"},
    {"symbol": "AUSDT", "quoteVolume": "5.5"},
    {"symbol": "BUSDT", "quoteVolume": "100"},
    {"symbol": "DUSDT", "quoteVolume": "70.25"},
    {"symbol": "币安人生USDT", "quoteVolume": "nonsense"},
    {"symbol": "GONEUSDT", "quoteVolume": "1000"},
]


@pytest.mark.parametrize(
    ("symbols", "found", "unknown"),
    [
        ("top:2:USDT", ("DUSDT", "AUSDT"), ()),
        ("top:50:usdt", ("DUSDT", "AUSDT", "币安人生USDT"), ()),
        ("all:BTC", ("ABTC",), ()),
        (" dusdt ,AUSDT,DUSDT", ("DUSDT", "AUSDT"), ()),
        ("AUSDT,BUSDT,CUSDT,NOUSDT", ("AUSDT", "BUSDT", "CUSDT"), ("NOUSDT",)),
        ("币安人生usdt", ("币安人生USDT",), ()),
    ],
)
def test_symbols_are_those_the_exchange_lists_and_trades_where_it_has_the_choice(
    symbols: str, found: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    api = make_api(Answers(exchangeInfo=INFO, **{"24hr": TICKERS}))
    selection = asyncio.run(resolve_symbols(Settings(symbols=symbols), api))
    assert selection[:2] == (found, unknown)


@pytest.mark.parametrize("symbols", ["NOUSDT", "top:5:EUR", "all:EUR"])
def test_nothing_left_is_an_error_that_says_what_was_asked_for(symbols: str) -> None:
    api = make_api(Answers(exchangeInfo=INFO, **{"24hr": TICKERS}))
    with pytest.raises(FeedError, match=symbols):
        asyncio.run(resolve_symbols(Settings(symbols=symbols), api))


def test_weight_limit_is_the_one_the_exchange_states() -> None:
    api = make_api(Answers(exchangeInfo=INFO))
    asyncio.run(api.exchange_info())
    assert api.budget.limit == 1200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"symbols":[{"status":1}]}',
        b'{"symbols":[{"symbol":"\xff"}]}',  # no UTF-8
        b'{"symbols":[],"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_answer_of_another_shape_is_an_error_not_a_crash(body: bytes) -> None:
    api = make_api(Answers(exchangeInfo=body))
    with pytest.raises(RestError, match="exchangeInfo: the answer is not what was expected"):
        asyncio.run(api.exchange_info())


@pytest.mark.parametrize("time_ms", [-1, 10**14, 10**30])
def test_a_time_that_is_none_is_an_error_and_moves_nothing(time_ms: int) -> None:
    api = make_api(Answers(time=b'{"serverTime":%d}' % time_ms))
    with pytest.raises(RestError, match="time: the answer is not what was expected"):
        asyncio.run(api.sync_time())
    assert not api.time.known


def test_few_tickers_are_asked_for_by_name_where_that_is_cheaper() -> None:
    async def scenario() -> None:
        rest = Answers(**{"24hr": []})
        api = make_api(rest)
        await api.tickers(["A", "币"])
        await api.tickers([str(index) for index in range(101)])
        await make_api(rest, "um").tickers(["A"])
        assert rest.asked == [
            ("/api/v3/ticker/24hr", {"symbols": '["A","币"]'}),
            ("/api/v3/ticker/24hr", {}),
            ("/fapi/v1/ticker/24hr", {}),
        ]
        assert api.budget.used == 2 + 80

    asyncio.run(scenario())


def test_refused_request_carries_its_status() -> None:
    class Refuses(Answers):
        async def get(self, path: str, query: Any) -> RestResponse:
            return RestResponse(400, {}, b'{"code":-1121,"msg":"Invalid symbol."}')

    api = make_api(Refuses())
    with pytest.raises(RestError, match="Invalid symbol") as caught:
        asyncio.run(api.klines("X", "1m", 5))
    assert caught.value.status == 400
    assert (api.requests, api.failures) == (1, 1)


class SlowRest:
    """Answers each request after a second, with its number; notes what it was asked."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.asked: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.used = 0
        self.weight = 2

    async def get(self, path: str, query: Any) -> RestResponse:
        self.asked.append(dict(query))
        number = len(self.asked)
        await self.clock.sleep(1.0)
        if self.error is not None:
            raise self.error
        self.used += self.weight
        return RestResponse(200, {"x-mbx-used-weight-1m": str(self.used)}, b"%d" % number)

    async def close(self) -> None:
        return None


def make_slow(in_flight_max: int = 32, name: str = "spot") -> tuple[SlowRest, Api]:
    clock = SimulatedClock(1_768_384_801_000)
    rest = SlowRest(clock)
    time = VenueTime(clock)
    budget = WeightBudget(time, limit=6000, share=1.0, in_flight_max=in_flight_max)
    return rest, Api(VENUES[name], rest, budget, clock)


def test_equal_requests_that_are_under_way_share_one_answer() -> None:
    async def scenario() -> None:
        rest, api = make_slow()
        same = [api.klines("A", "1m", 5, start_ms=7) for _ in range(3)]
        others = [api.klines("A", "1m", 5, start_ms=8), api.klines("B", "1m", 5, start_ms=7)]
        bodies = [answer.body for answer in await asyncio.gather(*same, *others)]
        assert bodies == [b"1", b"1", b"1", b"2", b"3"]
        assert (api.shared, api.requests) == (2, 3)
        assert (await api.klines("A", "1m", 5, start_ms=7)).body == b"4", "a later read is its own"

    run(scenario())


def test_an_answer_is_as_old_as_its_question() -> None:
    async def scenario() -> None:
        rest, api = make_slow()
        assert (await api.klines("A", "1m", 5)).asked_ms == 1_768_384_801_000

    run(scenario())


def test_the_others_get_their_answer_when_one_that_waits_is_cancelled() -> None:
    async def scenario() -> None:
        rest, api = make_slow()
        tasks = [asyncio.ensure_future(api.klines("A", "1m", 5)) for _ in range(3)]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        tasks[2].cancel()
        assert (await tasks[1]).body == b"1"
        assert tasks[0].cancelled()

    run(scenario())


def test_a_request_nobody_waits_for_any_more_is_given_up() -> None:
    async def scenario() -> None:
        rest, api = make_slow()
        tasks = [asyncio.ensure_future(api.klines("A", "1m", 5)) for _ in range(3)]
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)
        assert api.budget.forecast().in_flight == 0
        assert (await api.klines("A", "1m", 5)).body == b"2"
        assert len(asyncio.all_tasks()) == 1

    run(scenario())


def test_everybody_that_waits_hears_of_a_failure() -> None:
    async def scenario() -> None:
        rest, api = make_slow()
        rest.error = RestError("no answer")
        results = await asyncio.gather(
            *(api.klines("A", "1m", 5) for _ in range(3)), return_exceptions=True
        )
        assert [str(error) for error in results] == ["no answer"] * 3
        assert (api.requests, api.failures) == (1, 1)

    run(scenario())


def test_an_urgent_request_does_not_wait_for_an_equal_one_at_the_end_of_the_queue() -> None:
    async def scenario() -> None:
        rest, api = make_slow(in_flight_max=1)
        first = asyncio.ensure_future(api.klines("X", "1m", 5))
        await asyncio.sleep(0.1)
        waiting = [
            asyncio.ensure_future(api.klines(symbol, "1m", 5, priority=Priority.HISTORY))
            for symbol in "BCDA"
        ]
        await asyncio.sleep(0.1)
        assert (await api.klines("A", "1m", 5, priority=Priority.REPAIR)).body == b"2"
        assert [query["symbol"] for query in rest.asked[:2]] == ["X", "A"]
        await asyncio.gather(first, *waiting)

    run(scenario())


def test_weights_the_headers_tell_are_learned() -> None:
    async def scenario() -> None:
        rest, api = make_slow(name="um")
        rest.weight = 5
        for _ in range(7):
            await api.klines("A", "1m", 499)
        assert kline_weight(api.venue, 499) == 5
        assert VENUES["um"].kline_weights[1] == (499, 2)
        assert plan_limits(api.venue, 501) == (501,), "two pages have become dearer"
        assert api.budget.used == 35

    run(scenario())
