"""Binance's paths: what the simulated exchange answers, we answer, as far as memory reaches."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from binance_pair import CAPACITY, LENGTHS, MINUTE, NOW_MS, SYMBOLS, Pair
from hypothesis import given
from hypothesis import strategies as st

Make = Callable[..., Any]
OLDEST_MS = {interval: NOW_MS // ms * ms - CAPACITY * ms for interval, ms in LENGTHS.items()}


@pytest.fixture(scope="module")
def spot(make_server: Make) -> Pair:
    return Pair(make_server, "spot")


@pytest.fixture(scope="module")
def um(make_server: Make) -> Pair:
    return Pair(make_server, "um")


@pytest.fixture(params=["spot", "um"], scope="module")
def pair(request: pytest.FixtureRequest, spot: Pair, um: Pair) -> Pair:
    return spot if request.param == "spot" else um


# --- klines ------------------------------------------------------------------------------------


def times(interval: str) -> st.SearchStrategy[int]:
    """From the oldest row on, beyond now, and in microseconds; boundaries often."""
    oldest_ms, length = OLDEST_MS[interval], LENGTHS[interval]
    boundaries = st.builds(
        lambda index, off: oldest_ms + index * length + off,
        st.integers(0, CAPACITY + 3),
        st.sampled_from((0, 0, 1, length - 1)),
    )
    return boundaries | st.integers(oldest_ms, NOW_MS + 2 * length)


@st.composite
def covered(draw: st.DrawFn) -> str:
    """A request whose rows are all in memory."""
    interval = draw(st.sampled_from(tuple(LENGTHS)))
    symbol = draw(st.sampled_from(SYMBOLS[:2]))
    query = f"symbol={symbol}&interval={interval}"
    start = draw(st.none() | times(interval))
    end = draw(st.none() | times(interval))
    if start is not None:
        query += f"&startTime={start * draw(st.sampled_from((1, 1, 1000)))}"
    if end is not None:
        query += f"&endTime={end}"
    most = 1000
    if start is None:
        last_ms = min(end or NOW_MS, NOW_MS)
        most = max(1, (last_ms - OLDEST_MS[interval]) // LENGTHS[interval] + 1)
    limit = draw(st.none() | st.integers(1, most) | st.sampled_from((1, 2)))
    if limit is None and most < 500:
        limit = most
    limit = limit and min(limit, most)
    return query + (f"&limit={limit}" if limit is not None else "")


@given(query=covered())
def test_klines_are_the_exchanges_whatever_is_asked(pair: Pair, query: str) -> None:
    assert pair.ours(f"/klines?{query}") == pair.theirs(f"/klines?{query}")


def test_ui_klines_are_the_same(spot: Pair) -> None:
    query = f"/uiKlines?symbol={quote(SYMBOLS[2])}&interval=1m&limit=7&timeZone=0"
    assert spot.ours(query) == spot.theirs(query)


def test_what_began_before_memory_begins_with_our_oldest_row(pair: Pair) -> None:
    status, rows = pair.ours("/klines?symbol=BTCUSDT&interval=1m&startTime=0&limit=1")
    assert (status, [row[0] for row in rows]) == (200, [OLDEST_MS["1m"]])
    every = []
    start_ms = 0
    while True:  # as clients page: until one is short
        target = f"/klines?symbol=BTCUSDT&interval=1m&startTime={start_ms}&limit=100"
        page = pair.ours(target)[1]
        every += [row[0] for row in page]
        if len(page) < 100:
            break
        start_ms = page[-1][6] + 1
    assert every == list(range(OLDEST_MS["1m"], NOW_MS, MINUTE))


def test_rows_that_may_still_come_are_waited_for(make_server: Make) -> None:
    server = make_server(capacity=20)
    for index in (*range(5), *range(8, 12)):
        server.market.push("BTCUSDT", "1m", server.row(index))
    server.feed.incomplete_keys.add(("BTCUSDT", "1m"))
    server.serve()
    target = "/api/v3/klines?symbol=BTCUSDT&interval=1m"
    assert len(server.get(f"{target}&limit=3").json()) == 3  # nothing is missing there
    for asked in ("", "&limit=6", "&startTime=0", f"&startTime={server.row(4).open_time_ms}"):
        answer = server.get(target + asked)
        assert (answer.status, answer.code) == (503, "-1001")
        assert int(answer.headers["retry-after"]) > 0
    end_ms = server.row(4).open_time_ms
    start_ms = server.row(0).open_time_ms
    whole = server.get(f"{target}&startTime={start_ms}&endTime={end_ms}")
    assert len(whole.json()) == 5


# --- tickers -----------------------------------------------------------------------------------

TWO = quote('["BTCUSDT","ETHUSDT"]')


@pytest.mark.parametrize("path", ["24hr", "price", "bookTicker"])
@pytest.mark.parametrize("query", ["", "?symbol=BTCUSDT", f"?symbols={TWO}"])
def test_tickers_are_the_exchanges(spot: Pair, path: str, query: str) -> None:
    ours, theirs = (ask(f"/ticker/{path}{query}") for ask in (spot.ours, spot.theirs))
    if path == "bookTicker":  # of the ticker's moment
        keys = [sorted(one) for one in (ours[1] if isinstance(ours[1], list) else [ours[1]])]
        assert set(map(tuple, keys)) == {("askPrice", "askQty", "bidPrice", "bidQty", "symbol")}
        return
    assert ours == theirs


def test_mini_tickers_leave_the_same_out(spot: Pair) -> None:
    target = "/ticker/24hr?symbol=BTCUSDT&type=MINI"
    assert spot.ours(target) == spot.theirs(target)


@pytest.mark.parametrize("query", ["", "?symbol=BTCUSDT"])
def test_usd_m_tickers_are_the_exchanges(um: Pair, query: str) -> None:
    assert um.ours(f"/ticker/24hr{query}") == um.theirs(f"/ticker/24hr{query}")
    ours, theirs = (ask(f"/ticker/price{query}")[1] for ask in (um.ours, um.theirs))
    for one, other in zip(
        *([x] if isinstance(x, dict) else x for x in (ours, theirs)), strict=True
    ):
        assert (one["symbol"], one["price"]) == (other["symbol"], other["price"])
        assert isinstance(one["time"], int)


def test_symbols_that_come_and_go_are_known_at_once(make_server: Make) -> None:
    server = make_server().serve()

    def known() -> list[bool]:
        targets = (f"/api/v3/klines?symbol={name}USDT&interval=1m" for name in ("ETH", "NEW"))
        return [server.get(target).status == 200 for target in targets]

    assert known() == [True, False]
    server.market.remove_symbol("ETHUSDT")
    assert known() == [False, False]
    server.market.add_symbol("NEWUSDT")
    assert known() == [False, True]


def test_no_ticker_yet_is_no_made_up_one(make_server: Make) -> None:
    server = make_server().serve()
    answer = server.get("/api/v3/ticker/price?symbol=BTCUSDT")
    assert (answer.status, answer.code) == (503, "-1001")
    assert server.get("/api/v3/ticker/price").json() == []


# --- refusals ----------------------------------------------------------------------------------

KLINES = "/klines?symbol=BTCUSDT&interval=1m"


@pytest.mark.parametrize(
    "target",
    [
        "/klines",
        "/klines?symbol=BTCUSDT",
        "/klines?symbol=&interval=1m",
        "/klines?symbol=btcusdt&interval=1m",
        "/klines?symbol=NOPEUSDT&interval=1m",
        "/klines?symbol=BTCUSDT&interval=",
        "/klines?symbol=BTCUSDT&interval=7m",
        f"{KLINES}&limit=0",
        f"{KLINES}&limit=-1",
        f"{KLINES}&limit=x",
        f"{KLINES}&limit=",
        f"{KLINES}&startTime=yesterday",
        f"{KLINES}&endTime=",
        f"{KLINES}&timeZone=elsewhere",
        f"{KLINES}&colour=red",
        f"{KLINES}&limit=1&limit=2",
        "/ticker/price?symbol=BTCUSDT&symbols=%5B%22BTCUSDT%22%5D",
        "/ticker/price?symbols=",
        "/ticker/price?symbols=BTCUSDT",
        "/ticker/price?symbols=%5B%22btcusdt%22%5D",
        "/ticker/price?symbols=%5B%22NOPEUSDT%22%5D",
        "/ticker/price?symbols=%5B%22BTCUSDT%22,%22BTCUSDT%22%5D",
        "/ticker/24hr?symbol=BTCUSDT&type=TINY",
    ],
)
def test_refusals_have_the_exchanges_status_and_number(spot: Pair, target: str) -> None:
    (status, ours), (their_status, theirs) = spot.ours(target), spot.theirs(target)
    assert (status, ours["code"]) == (their_status, theirs["code"])
    assert ours.keys() == {"code", "msg"}


@pytest.mark.parametrize("asked", ["&limit=1501", "&startTime=2000&endTime=1000"])
def test_usd_m_refuses_what_spot_takes(spot: Pair, um: Pair, asked: str) -> None:
    (status, ours), (their_status, theirs) = um.ours(KLINES + asked), um.theirs(KLINES + asked)
    assert (status, ours["code"]) == (their_status, theirs["code"])
    assert status == 400
    assert spot.theirs(KLINES + asked)[0] == spot.ours(KLINES + asked)[0] == 200


def test_boundaries_of_other_time_zones_are_refused(spot: Pair) -> None:
    assert spot.ours(f"{KLINES}&timeZone=8")[1]["code"] == -1130


def test_errors_before_the_market_have_its_form_too(make_server: Make) -> None:
    server = make_server(api_key="correct-horse-battery-staple")
    target = "/api/v3/klines?symbol=BTCUSDT&interval=1m"
    key = ("X-MBX-APIKEY", "correct-horse-battery-staple")
    for answer, status, number in (
        (server.get(target), 401, -2015),
        (server.get(target, key), 503, -1001),
        (server.get("/api/v3/depth", key), 404, -5000),
        (server.get("/api/v3/ping", method="DELETE"), 405, -5000),
    ):
        assert (answer.status, answer.json()["code"]) == (status, number)
        assert answer.headers["content-type"] == "application/json"
    for _ in range(12):
        answer = server.get(target, ("X-MBX-APIKEY", "wrong"))
    assert (answer.status, answer.json()["code"]) == (429, -1003)
    assert int(answer.headers["retry-after"]) > 0


def test_a_market_that_is_not_served_has_no_symbols(spot: Pair) -> None:
    get = spot.server.get
    assert get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m").json()["code"] == -1121
    assert get("/fapi/v1/ticker/24hr").json() == []


# --- exchangeInfo ------------------------------------------------------------------------------


def tell(pair: Pair) -> list[dict[str, Any]]:
    """Let the feed have read the exchange's list; what it said."""
    symbols: list[dict[str, Any]] = pair.theirs("/exchangeInfo")[1]["symbols"]
    pair.server.feed.said = {one["symbol"]: json.dumps(one).encode() for one in symbols}
    return symbols


@pytest.mark.parametrize("query", ["", "?symbol=ETHUSDT"])
def test_symbols_are_as_the_exchange_describes_them(pair: Pair, query: str) -> None:
    tell(pair)
    ours, theirs = (ask(f"/exchangeInfo{query}")[1] for ask in (pair.ours, pair.theirs))
    for name in ("symbols", "timezone", "serverTime", "exchangeFilters"):
        assert ours[name] == theirs[name]
    assert ours["rateLimits"] == []  # the operator is not limited


def test_before_the_exchange_told_of_them_there_are_no_made_up_symbols(make_server: Make) -> None:
    answer = make_server().serve().get("/api/v3/exchangeInfo")
    assert (answer.status, answer.code) == (503, "-1001")


def test_what_is_not_listed_any_more_is_left_out(make_server: Make) -> None:
    server = make_server().serve()
    server.feed.said = {name: b'{"symbol":"%s"}' % name.encode() for name in SYMBOLS[:2]}
    server.feed.words["ETHUSDT"] = "GONE"
    info = server.get("/api/v3/exchangeInfo").json()
    assert info["symbols"] == [{"symbol": "BTCUSDT"}]


def test_a_market_that_is_not_served_is_empty_but_valid(spot: Pair) -> None:
    info = spot.server.get("/fapi/v1/exchangeInfo").json()
    assert (info["timezone"], info["symbols"]) == ("UTC", [])


# --- what clients ask beside -------------------------------------------------------------------


def test_weights_are_counted_by_the_minute_as_the_exchange_does(make_server: Make) -> None:
    spot = Pair(make_server, "spot")
    used = 0
    for target, weight in ((KLINES, 2), ("/ticker/price", 4), ("/ticker/24hr", 80), ("/klines", 1)):
        used += weight
        headers = spot.server.get(spot.prefix + target).headers
        assert headers["x-mbx-used-weight"] == headers["x-mbx-used-weight-1m"] == str(used)
    spot.server.clock.now_ms += MINUTE
    assert spot.server.get(spot.prefix + KLINES).headers["x-mbx-used-weight-1m"] == "2"


def test_ping_and_time(pair: Pair) -> None:
    assert pair.ours("/ping") == (200, {})
    assert pair.ours("/time") == (200, {"serverTime": NOW_MS})


def test_the_system_is_normal_when_a_market_is_served(spot: Pair, make_server: Make) -> None:
    path = "/sapi/v1/system/status"
    assert spot.server.get(path).json() == {"status": 0, "msg": "normal"}
    assert make_server().get(path).json() == {"status": 1, "msg": "system_maintenance"}


def test_coin_m_is_empty_but_valid(spot: Pair) -> None:
    info = spot.server.get("/dapi/v1/exchangeInfo").json()
    assert info["serverTime"] == NOW_MS
    assert info["symbols"] == info["rateLimits"] == info["exchangeFilters"] == []
