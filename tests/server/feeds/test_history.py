"""Older rows for clients, in virtual time: one request for all who wait, and none too many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from binance_pair import open_api
from crash_disk import CrashDisk
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.clock import SimulatedClock
from simulation.loop import run

from klinecore.interval import INTERVAL_MS, open_time_ms
from server.errors import FeedError, RestError, SpentError
from server.exchange.book import SERVED_INTERVALS, Book
from server.exchange.faults import Faults
from server.exchange.generated import GeneratedMarket
from server.exchange.listings import Listings
from server.exchange.rest import RestFace
from server.feeds import history as module
from server.feeds.block_files import BlockFiles
from server.feeds.history import History
from server.feeds.rest import RestResponse
from server.metrics import Registry

DAY = 86_400_000
NOW_MS = 1_772_409_600_000 + 754 * 60_000 + 34_567
FIRST_MS = NOW_MS // DAY * DAY - 16 * DAY
BTC = "BTCUSDT"
#: A block of three-day klines ends there.
BLOCK_END_MS = 7 * 960 * 3 * DAY
#: Pure: what one test has computed serves the next.
SOURCES = {
    market: GeneratedMarket(3, (BTC,), market=market, first_ms=FIRST_MS)
    for market in ("spot", "um")
}


class Venue:
    """A simulated exchange in virtual time that takes its time to answer."""

    def __init__(self, market: str = "spot", limit: int = 10**9, *, now_ms: int = NOW_MS) -> None:
        self.clock = SimulatedClock(now_ms)
        self.faults = Faults()
        self.listings = Listings(SOURCES[market])
        self.face = RestFace(Book(self.listings), self.faults, weight_limit=10**9)
        self.delay_s = 0.05
        self.asked: list[Mapping[str, str | int]] = []
        self.metrics = Registry()
        self.disk = CrashDisk()
        self.api = open_api(self, market, self.clock, limit)
        self.history = self.open()

    def open(self) -> History:
        """As after a restart, with what is on disk."""
        files = BlockFiles("h", bytes_max=1 << 30, disk=self.disk, metrics=Registry())
        return History(
            self.api, base="simulated", files=files, clock=self.clock, metrics=self.metrics
        )

    async def get(self, path: str, query: Mapping[str, str | int]) -> RestResponse:
        self.asked.append(dict(query))
        target = path + "?" + "&".join(f"{name}={value}" for name, value in query.items())
        await self.clock.sleep(self.delay_s)
        answer = self.face.handle(target, self.clock.time_ms())
        return RestResponse(answer.status, {}, answer.body)

    async def close(self) -> None:
        return None

    def truth(self, interval: str, limit: int, **times: int) -> list[bytes]:
        book, now_ms = self.face.book, self.clock.time_ms()
        rows = book.rows(BTC, interval, now_ms, limit=limit, **times)
        return [book.rest_row(BTC, interval, row).encode() for row in rows]


@given(
    st.sampled_from(("spot", "um")),
    st.lists(
        st.tuples(
            st.sampled_from(SERVED_INTERVALS),
            st.integers(FIRST_MS - 3 * DAY, NOW_MS),
            st.integers(0, 20 * DAY),
            st.integers(1, 1500),
            st.booleans(),
            st.floats(0.0, 100.0),
        ),
        max_size=6,
    ),
)
@settings(max_examples=12)
def test_rows_are_the_exchanges_whoever_asked_before(market: str, plan: list[tuple]) -> None:
    async def scenario() -> None:
        venue = Venue(market)
        for interval, moment_ms, span_ms, limit, onward, pause_s in plan:
            await venue.clock.sleep(pause_s)
            history = venue.open() if limit % 5 == 0 else venue.history
            key = (BTC, interval)
            closed_ms = venue.clock.time_ms() - (INTERVAL_MS[interval] or 31 * DAY) - 5000
            if onward:
                end_ms = min(moment_ms + span_ms, closed_ms)
                rows = await history.after(key, moment_ms, end_ms, limit)
                times = {"start_ms": moment_ms, "end_ms": end_ms - 1}
                expected = venue.truth(interval, limit, **times) if end_ms > moment_ms else []
            else:
                end_ms = min(moment_ms, closed_ms)
                rows = await history.before(key, end_ms, limit)
                expected = venue.truth(interval, limit, end_ms=end_ms - 1)
            assert rows == expected

    run(scenario())


def test_live_rows_are_as_of_a_moment_ago() -> None:
    async def scenario() -> None:
        venue = Venue()
        key, end_ms = (BTC, "4h"), NOW_MS + 1
        before = venue.truth("4h", 5)
        rows = await venue.history.before(key, end_ms, 5, live=True)
        assert rows[:-1] == before[:-1]
        assert len(rows) == 5
        asked = len(venue.asked)
        for _ in range(10):
            await venue.history.before(key, end_ms, 5, live=True)
        assert len(venue.asked) == asked
        await venue.clock.sleep(3.0)
        assert await venue.history.before(key, end_ms, 5, live=True) == venue.truth("4h", 5)
        assert len(venue.asked) == asked + 1

    run(scenario())


def test_everybody_waits_for_one_request_and_one_that_goes_ends_nothing() -> None:
    async def scenario() -> None:
        venue = Venue()
        end_ms = NOW_MS - 12 * DAY
        tasks = [
            asyncio.create_task(venue.history.before((BTC, "1m"), end_ms, 3)) for _ in range(100)
        ]
        await venue.clock.sleep(0.01)
        for task in tasks[:99]:
            task.cancel()
        assert await tasks[99] == venue.truth("1m", 3, end_ms=end_ms - 1)
        assert len(venue.asked) == 1

    run(scenario())


def test_too_many_blocks_at_a_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLIGHTS_MAX", 3)

    async def scenario() -> None:
        venue = Venue()
        tasks = [
            venue.history.before((BTC, "1m"), NOW_MS - days * DAY, 3) for days in range(1, 15, 2)
        ]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [one for one in results if isinstance(one, SpentError)]
        assert len(refused) == len(results) - 3
        assert await venue.history.before((BTC, "1m"), NOW_MS - 13 * DAY, 3)

    run(scenario())


def test_a_silent_exchange_holds_nobody_for_long() -> None:
    async def scenario() -> None:
        venue = Venue()
        venue.delay_s = 300.0
        began_s = venue.clock.monotonic()
        with pytest.raises(RestError):
            await venue.history.before((BTC, "1m"), NOW_MS - 3 * DAY, 3)
        assert venue.clock.monotonic() - began_s <= module.ANSWER_S + 0.1
        await venue.history.close()
        assert len(asyncio.all_tasks()) == 1

    run(scenario())


def test_a_database_that_is_behind_leaves_nothing_on_disk() -> None:
    """A block that has just ended, with its last row missing, must not be that for ever."""

    async def scenario() -> None:
        venue = Venue()
        block_ms = 960 * 60_000
        end_ms = (NOW_MS // block_ms + 1) * block_ms
        await venue.clock.sleep((end_ms - NOW_MS) / 1000 + 200)
        venue.faults.klines_lag_ms = 600_000
        key = (BTC, "1m")
        await venue.history.before(key, end_ms, 5)
        venue.faults.klines_lag_ms = 0
        for history in (venue.history, venue.open()):
            rows = await history.before(key, end_ms, 5)
            assert rows == venue.truth("1m", 5, end_ms=end_ms - 1)

    run(scenario())


def test_halts_are_passed_over() -> None:
    async def scenario() -> None:
        venue = Venue()
        venue.listings.set_status(BTC, "HALT", NOW_MS - 10 * DAY)
        venue.listings.set_status(BTC, "TRADING", NOW_MS - 5 * DAY)
        start_ms = NOW_MS - 10 * DAY - 5 * 60_000
        rows = await venue.history.after((BTC, "1m"), start_ms, NOW_MS - DAY, 20)
        assert rows == venue.truth("1m", 20, start_ms=start_ms)
        end_ms = NOW_MS - 5 * DAY + 5 * 60_000
        rows = await venue.history.before((BTC, "1m"), end_ms, 20)
        assert rows == venue.truth("1m", 20, end_ms=end_ms - 1)
        asked = len(venue.asked)
        assert asked <= 8
        await venue.history.before((BTC, "1m"), NOW_MS - 8 * DAY, 3)
        assert len(venue.asked) == asked, "it is known that there are none"

    run(scenario())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 600_000)

    async def scenario() -> None:
        venue = Venue()
        for days in range(2, 10):
            await venue.history.before((BTC, "1m"), NOW_MS - days * DAY, 3)
        held = sum(block.size for block in venue.history._kept.values())
        assert 0 < held == venue.history._kept_bytes <= 600_000

    run(scenario())


def test_without_a_share_nothing_is_asked() -> None:
    async def scenario() -> None:
        venue = Venue(limit=1)
        with pytest.raises(SpentError) as caught:
            await venue.history.before((BTC, "1m"), NOW_MS - 3 * DAY, 3)
        assert isinstance(caught.value, FeedError)
        assert 0 < caught.value.wait_s <= 61
        assert venue.asked == []

    run(scenario())


@pytest.mark.parametrize("now_ms", [NOW_MS, BLOCK_END_MS + 3 * DAY // 2])
def test_a_row_that_goes_on_is_asked_for_again_wherever_it_began(now_ms: int) -> None:
    """The exchange says where three days begin: here a day before or after where we do."""

    class Elsewhere(Venue):
        async def get(self, path: str, query: Mapping[str, str | int]) -> RestResponse:
            self.asked.append(dict(query))
            last_ms = open_time_ms("3d", now_ms - 2 * DAY) + 2 * DAY
            rows = [
                [open_ms, "1", "1", "1", "1", str(len(self.asked)), open_ms + 3 * DAY - 1]
                + ["1", 1, "1", "1", "0"]
                for open_ms in (last_ms - 3 * DAY, last_ms)
                if int(query.get("startTime", 0)) <= open_ms <= int(query["endTime"])
            ]
            return RestResponse(200, {}, json.dumps(rows[-int(query["limit"]) :]).encode())

    async def scenario() -> None:
        venue = Elsewhere(now_ms=now_ms)
        volumes = []
        for _ in range(3):
            rows = await venue.history.live((BTC, "3d"), 2)
            volumes.append([json.loads(row)[5] for row in rows])
            await venue.clock.sleep(3 * module.LIVE_S)
        closed, going_on = zip(*volumes, strict=True)
        assert len(set(closed)) == 1
        assert len(set(going_on)) == 3

    run(scenario())
