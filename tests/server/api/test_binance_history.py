"""Klines from before the window: the exchange's own bytes, fetched once, or a clear refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from binance_pair import LENGTHS, MINUTE, NOW_MS, SYMBOLS, Pair
from crash_disk import CrashDisk
from hypothesis import given
from hypothesis import strategies as st

from klinecore.interval import INTERVAL_MS
from server.errors import RestError
from server.exchange.book import SERVED_INTERVALS
from server.exchange.faults import RestFault
from server.feeds.block_files import BlockFiles
from server.metrics import Registry

Make = Callable[..., Any]
DAY_MS = 86_400_000
FIRST_MS = NOW_MS // DAY_MS * DAY_MS - 40 * DAY_MS
INVALID_LIMITS = ("0", "-1", "", "x", "1.5", "²", "99999999999999999999999")
INVALID_TIMES = ("", "x", "-1", "1e3", "999999999999999999999")


def open_files(disk: CrashDisk, bytes_max: int = 1 << 30) -> BlockFiles:
    return BlockFiles("data", bytes_max=bytes_max, disk=disk, metrics=Registry())


@pytest.fixture(params=["spot", "um"], scope="module")
def pair(request: pytest.FixtureRequest, make_server: Make) -> Pair:
    """A listing of 40 days ago, of which 200 rows are in memory, and others on disk in time."""
    files = open_files(CrashDisk())
    return Pair(
        make_server, request.param, capacity=200, first_ms=FIRST_MS, history=True, files=files
    )


@st.composite
def asked(draw: st.DrawFn) -> str:
    """Parameters of a klines request, some of them nonsense."""
    interval = draw(st.sampled_from((*LENGTHS, *SERVED_INTERVALS, "7m", "1H", "")))
    length = INTERVAL_MS.get(interval) or 30 * DAY_MS if interval in INTERVAL_MS else MINUTE
    symbol = draw(st.sampled_from((*SYMBOLS[:2] * 4, SYMBOLS[2], "btcusdt", "NOPEUSDT", "", "A B")))
    edges = st.builds(
        lambda index, off: NOW_MS // length * length - index * length + off,
        st.integers(-3, 1500),
        st.sampled_from((0, 0, 1, -1)),
    )
    moments = (
        edges
        | st.integers(FIRST_MS - 5 * DAY_MS, NOW_MS + 5 * length)
        | st.integers(FIRST_MS - 2 * length, FIRST_MS + 2 * length)
        | st.sampled_from((0, 1, 10**13))
    )
    times = st.one_of(
        *[st.builds(lambda ms, factor: str(ms * factor), moments, st.sampled_from((1, 1, 1000)))]
        * 9,
        st.sampled_from(INVALID_TIMES),
    )
    limits = st.one_of(
        *[st.integers(1, 1600).map(str)] * 6, st.sampled_from(("1", "2", *INVALID_LIMITS))
    )
    query = {
        "symbol": symbol,
        "interval": interval,
        "startTime": draw(st.none() | times),
        "endTime": draw(st.none() | times),
        "limit": draw(st.none() | limits),
        "timeZone": draw(st.sampled_from((*[None] * 8, "0", "00:00", "x", "25:00"))),
    }
    left_out = draw(st.sampled_from((*[""] * 10, "symbol", "interval")))
    return "&".join(
        f"{name}={quote(value)}"
        for name, value in query.items()
        if value is not None and name != left_out
    )


@given(query=asked())
def test_the_answer_is_the_exchanges_to_the_byte_whatever_is_asked(pair: Pair, query: str) -> None:
    target = f"/klines?{query}"
    (status, body), (their_status, their_body) = pair.our_bytes(target), pair.their_bytes(target)
    assert status == their_status, (body, their_body)
    if status == 200:
        assert body == their_body
    else:
        assert pair.ours(target)[1]["code"] == pair.theirs(target)[1]["code"]


# --- fetched once --------------------------------------------------------------------------------

OLD = f"/klines?symbol=BTCUSDT&interval=1m&startTime={NOW_MS // DAY_MS * DAY_MS - DAY_MS}"


def test_what_was_fetched_once_is_not_fetched_again(make_server: Make) -> None:
    disk = CrashDisk()
    first = Pair(make_server, "spot", capacity=200, history=True, files=open_files(disk))
    theirs = first.their_bytes(OLD)
    assert first.our_bytes(OLD) == theirs
    asked = len(first.rest.asked)
    assert asked == 2
    assert first.our_bytes(OLD) == theirs
    assert len(first.rest.asked) == asked, "kept in memory"
    again = Pair(make_server, "spot", capacity=200, history=True, files=open_files(disk))
    assert again.our_bytes(OLD) == theirs
    assert again.rest.asked == [], "kept on disk"


def test_many_who_ask_the_same_cause_one_request(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    key = ("BTCUSDT", "1m")

    async def ask() -> list[list[bytes]]:
        end_ms = NOW_MS // MINUTE * MINUTE - 3000 * MINUTE
        return await asyncio.gather(*(pair.history.before(key, end_ms, 3) for _ in range(50)))

    rows = asyncio.run(ask())
    assert all(one == rows[0] and len(one) == 3 for one in rows)
    assert len(pair.rest.asked) == 1


def test_years_before_the_listing_are_looked_at_once(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, first_ms=FIRST_MS, history=True)
    for query in ("startTime=0", "startTime=86400000", f"endTime={FIRST_MS + 3 * MINUTE}"):
        target = f"/klines?symbol=BTCUSDT&interval=1m&{query}"
        assert pair.our_bytes(target) == pair.their_bytes(target)
    assert len(pair.rest.asked) <= 5
    asked = len(pair.rest.asked)
    for start_ms in range(0, FIRST_MS, FIRST_MS // 20):
        pair.our_bytes(f"/klines?symbol=BTCUSDT&interval=1m&startTime={start_ms}&limit=2")
    assert len(pair.rest.asked) <= asked + 2


def test_a_client_that_pages_reads_what_the_exchange_has(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, first_ms=FIRST_MS, history=True)
    start_ms, pages = 0, 0
    every: list[int] = []
    while True:  # until a page is short
        target = f"/klines?symbol=BTCUSDT&interval=1h&startTime={start_ms}&limit=300"
        page = pair.ours(target)[1]
        every += [row[0] for row in page]
        pages += 1
        if len(page) < 300:
            break
        start_ms = page[-1][6] + 1
    assert every == list(range(FIRST_MS, NOW_MS, 3_600_000))
    assert len(pair.rest.asked) < pages + 4


@pytest.mark.parametrize("filled", [200, 50])
@pytest.mark.parametrize("query", ["limit=700", f"startTime={NOW_MS - 700 * MINUTE}"])
def test_a_window_that_moves_on_meanwhile_leaves_no_seam(
    make_server: Make, query: str, filled: int
) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True, filled=filled)

    def move_on() -> None:
        pair.server.clock.now_ms += 3 * MINUTE
        pair.fill("BTCUSDT", "1m", 3)

    pair.rest.on_ask = move_on
    target = f"/klines?symbol=BTCUSDT&interval=1m&{query}"
    assert pair.our_bytes(target) == pair.their_bytes(target)
    assert pair.server.clock.now_ms > NOW_MS


# --- refusals ----------------------------------------------------------------------------------


def refused(pair: Pair, target: str = OLD) -> tuple[int, int, int]:
    answer = pair.server.get(pair.prefix + target)
    return answer.status, answer.json()["code"], int(answer.headers["retry-after"])


def test_without_weight_for_clients_they_are_told_when_to_come_back(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True, weight_limit=5)
    asked = 0
    while pair.server.get(pair.prefix + f"{OLD}&limit={asked + 1}").status == 200 and asked < 9:
        asked += 1
        pair.history._kept.clear()
    status, code, wait_s = refused(pair)
    assert (status, code) == (429, -1003)
    assert 1 <= wait_s <= 61
    assert len(pair.rest.asked) == 2
    memory = "/klines?symbol=BTCUSDT&interval=1m&limit=9"
    assert pair.our_bytes(memory) == pair.their_bytes(memory), "memory needs no weight"
    pair.server.clock.now_ms += wait_s * 1000
    assert pair.server.get(pair.prefix + OLD).status == 200


@pytest.mark.parametrize("status", [429, 418, 403, 451])
def test_while_the_exchange_refuses_nobody_asks_it(make_server: Make, status: int) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    pair.exchange._faults.rest.append(RestFault(status, retry_after="17"))
    assert refused(pair)[:2] == (429, -1003)
    assert refused(pair)[2] in (16, 17)
    assert len(pair.rest.asked) == 1


def test_an_exchange_that_cannot_be_reached_is_no_empty_answer(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    pair.rest.error = RestError("no answer")
    assert refused(pair)[:2] == (503, -1001)
    pair.rest.error = None
    assert pair.our_bytes(OLD) == pair.their_bytes(OLD)


@pytest.mark.parametrize(
    "body", [b"{}", b"[[1,2]]", b"[", b'[[5,"1","1","1","1","1",6,"1",1,"1","1","0"]]']
)
def test_an_answer_that_is_none_is_not_passed_on(make_server: Make, body: bytes) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    pair.exchange._faults.rest.append(RestFault(200, body=body))
    assert refused(pair)[:2] == (503, -1001)
    assert pair.our_bytes(OLD) == pair.their_bytes(OLD)


def test_what_the_exchange_says_of_a_request_is_passed_on(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    pair.exchange._faults.delisted.add("BTCUSDT")
    answer = pair.server.get(pair.prefix + OLD)
    assert (answer.status, answer.json()) == (400, {"code": -1121, "msg": "Invalid symbol."})


# --- intervals that are not held ---------------------------------------------------------------


def test_what_the_window_settles_is_made_of_it_without_a_request(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    bounded = f"startTime={NOW_MS - 150 * MINUTE}&endTime={NOW_MS - 90 * MINUTE}"
    for interval, query in (
        ("5m", "limit=30"),
        ("15m", "limit=1"),
        ("3m", bounded),
        ("4h", "limit=40"),
        ("1d", "limit=2"),
    ):
        target = f"/klines?symbol=BTCUSDT&interval={interval}&{query}"
        assert pair.our_bytes(target) == pair.their_bytes(target)
    assert pair.rest.asked == []


def test_what_is_older_than_it_can_be_made_of_is_fetched_once(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    target = "/klines?symbol=BTCUSDT&interval=5m&limit=500"
    assert pair.our_bytes(target) == pair.their_bytes(target)
    asked = len(pair.rest.asked)
    assert 1 <= asked <= 2
    for _ in range(5):
        pair.server.clock.now_ms += MINUTE
        pair.fill("BTCUSDT", "1m", 1)
        assert pair.our_bytes(target) == pair.their_bytes(target)
    assert len(pair.rest.asked) == asked


def test_what_cannot_be_made_is_asked_for_now_and_then_only(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True, intervals=("1h",))
    target = "/klines?symbol=BTCUSDT&interval=5m&limit=5"
    assert pair.our_bytes(target) == pair.their_bytes(target)
    for _ in range(10):
        pair.our_bytes(target)
    assert len(pair.rest.asked) == 1
    pair.server.clock.now_ms += 2500
    assert pair.our_bytes(target) == pair.their_bytes(target)
    assert len(pair.rest.asked) == 2
    assert "limit=1000" not in pair.rest.asked[1], "what is known is not asked for again"


def test_a_minute_without_its_close_makes_no_klines(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    pair.server.clock.now_ms += 3 * MINUTE
    pair.fill("BTCUSDT", "1m", 1)  # a hole of two minutes before it
    target = "/klines?symbol=BTCUSDT&interval=5m&limit=5"
    assert pair.our_bytes(target) == pair.their_bytes(target)
    assert len(pair.rest.asked) == 1


def test_a_window_that_is_not_filled_makes_no_klines(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    pair.server.feed.incomplete_keys |= {("BTCUSDT", "1m"), ("BTCUSDT", "1h")}
    pair.server.state.beat(0.0)
    target = "/klines?symbol=BTCUSDT&interval=5m&limit=5"
    assert pair.our_bytes(target) == pair.their_bytes(target)
    assert len(pair.rest.asked) == 1


def test_a_hole_in_the_window_is_none_in_what_is_older(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200, history=True)
    pair.server.feed.incomplete_keys.add(("BTCUSDT", "1m"))
    pair.server.state.beat(0.0)
    older = f"/klines?symbol=BTCUSDT&interval=1m&endTime={NOW_MS - 201 * MINUTE}"
    assert pair.our_bytes(older) == pair.their_bytes(older)
    assert pair.ours("/klines?symbol=BTCUSDT&interval=1m&limit=500")[1]["code"] == -1001


def test_seconds_are_spots_alone(make_server: Make, pair: Pair) -> None:
    asked = len(pair.rest.asked)
    answer = pair.ours("/klines?symbol=BTCUSDT&interval=1s")
    assert (answer[0], answer[1]["code"]) == (400, -1120)  # the simulated exchange has none at all
    assert len(pair.rest.asked) - asked == (pair.prefix == "/api/v3")


def test_without_older_klines_there_are_held_intervals_alone(make_server: Make) -> None:
    pair = Pair(make_server, "spot", capacity=200)
    assert pair.ours("/klines?symbol=BTCUSDT&interval=5m")[1]["code"] == -1120
