"""Rows from REST: whole windows within the weight limit, holes mended, nothing closed too early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from klinecore import Market
from klinecore.interval import close_time_ms, next_open_ms
from server.errors import RestError
from server.exchange.faults import RestFault
from server.feeds.backfill import Backfill
from server.feeds.binance import VENUES, Api
from server.feeds.budget import WeightBudget
from server.feeds.rest import RestResponse
from server.feeds.venue_time import VenueTime
from server.settings import Settings

MINUTE_MS = 60_000
START_MS = 1_768_384_800_000  # a full hour


@pytest.mark.parametrize(("name", "capacity"), [("spot", 1), ("spot", 2100), ("um", 500)])
def test_windows_of_any_size_are_filled_page_by_page(
    open_world: Any, name: str, capacity: int
) -> None:
    async def scenario() -> None:
        async with open_world(
            name=name, symbols=("BTCUSDT",), capacity=capacity, intervals=("1m", "5m")
        ) as world:
            await world.until_ready()
            for series in world.market:
                assert len(series) == capacity
                assert series.gaps() == []
                held = world.held(series.symbol, series.interval)
                tail = held[-min(capacity, 900) :]
                assert tail == world.truth("BTCUSDT", series.interval, tail[0][0], tail[-1][0])

    asyncio.run(scenario())


def test_backfill_stays_below_its_share_of_the_weight_limit(open_world: Any) -> None:
    async def scenario() -> None:
        symbols = tuple(f"{chr(65 + index)}AAUSDT" for index in range(6))
        used: list[tuple[int, int]] = []
        async with open_world(
            symbols=symbols,
            rate=40.0,
            rest_weight_share=0.25,
            stale_after_s=600.0,
            exchange_options={"weight_limit": 60},
            start=False,
        ) as world:
            world.api.budget.limit = 60
            handle = world.exchange.rest.handle

            def noted(target: str, now_ms: int, *rest: Any) -> Any:
                answer = handle(target, now_ms, *rest)
                used.append((now_ms // MINUTE_MS, int(answer.headers["X-MBX-USED-WEIGHT-1M"])))
                return answer

            world.exchange.rest.handle = noted
            await world.feed.start()
            await world.until(lambda: world.feed.phase == "live")
            assert max(weight for _, weight in used) <= 15
            assert len({minute for minute, _ in used}) >= 2
            assert world.exchange.rest.counters["refused_429"] == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [429, 418, 403, 451])
def test_no_request_is_sent_while_the_exchange_refuses(open_world: Any, status: int) -> None:
    async def scenario() -> None:
        async with open_world(rate=60.0, rest_concurrency=1, start=False) as world:
            exchange = world.exchange
            await world.feed.start()
            await world.until(lambda: exchange.rest.counters["requests"] >= 1)
            exchange.faults.rest.append(RestFault(status, "40"))
            await world.until(lambda: world.api.budget.blocked_s > 30, "refused")
            assert any(f"({status})" in reason for reason in world.feed.status().reasons)
            asked = exchange.rest.counters["requests"]
            frames = world.market.counters()["frames_kline"]
            await world.until(lambda: world.api.budget.blocked_s < 2.0)
            assert exchange.rest.counters["requests"] == asked
            assert world.market.counters()["frames_kline"] > frames, "streams go on"
            await world.until_ready()
            world.assert_true_and_whole()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "fault",
    [
        RestFault(500, body=b""),
        RestFault(503, body=b"<html>busy</html>"),
        RestFault(200, body=b"<html>hello</html>"),
        RestFault(200, body=b"[[1,2"),
        RestFault(200, body=b"[[1,2,3]]"),
        RestFault(301, body=b""),
    ],
    ids=lambda fault: f"{fault.status} {fault.body!r}",
)
def test_answers_that_are_none_are_asked_for_again(open_world: Any, fault: RestFault) -> None:
    async def scenario() -> None:
        def spoil(exchange: Any) -> None:
            exchange.faults.rest.extend([fault] * 6)

        async with open_world(prepare=spoil, rate=60.0) as world:
            await world.until_ready()
            assert not world.exchange.faults.rest
            world.assert_true_and_whole()

    asyncio.run(scenario())


# --- against a table of rows: what counts as closed, and what is asked --------------------------


class ManualClock:
    """Time passes only when a test says so, or somebody sleeps."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.now_ms += int(max(seconds, 0.0) * 1000)
        await asyncio.sleep(0)


def row(open_ms: int, trades: int = 5, interval: str = "1m") -> list[Any]:
    close_ms = close_time_ms(interval, open_ms)
    number = "1.00000000"
    return [open_ms, *[number] * 5, close_ms, number, trades, number, number, "0"]


class Shelf:
    """An exchange's REST whose rows are what a test puts there."""

    def __init__(self, rows: list[list[Any]]) -> None:
        self.rows = rows
        self.asked: list[dict[str, Any]] = []

    async def get(self, path: str, query: Mapping[str, Any]) -> RestResponse:
        assert path.endswith("/klines")
        self.asked.append(dict(query))
        first, last = query.get("startTime", 0), query.get("endTime", 1 << 62)
        found = [row for row in self.rows if first <= row[0] <= last]
        limit = query["limit"]
        found = found[:limit] if "startTime" in query else found[-limit:]
        return RestResponse(200, {}, json.dumps(found).encode())

    async def close(self) -> None:
        return None


class Bench:
    """A backfill over a shelf, for one symbol."""

    def __init__(
        self, rows: list[list[Any]], now_ms: int, *, capacity: int = 10, venue: str = "spot"
    ) -> None:
        self.shelf = Shelf(rows)
        self.clock = ManualClock(now_ms)
        self.market = Market(["AUSDT"], ["1m"], capacity)
        self.series = self.market["AUSDT", "1m"]
        self.told: list[Any] = []
        budget = WeightBudget(VenueTime(self.clock), limit=6000, share=1.0)
        self.api = Api(VENUES[venue], self.shelf, budget, self.clock)
        self.backfill = Backfill(
            self.market,
            self.api,
            settings=Settings(grace_s=2.0, rest_concurrency=1),
            clock=self.clock,
            on_progress=lambda done, total: None,
            on_change=lambda: self.told.extend(self.market.drain()),
        )

    @property
    def held(self) -> list[int]:
        """Closed minutes held, counted from START_MS."""
        return [int(t - START_MS) // MINUTE_MS for t in self.series.open_time_ms]


def minutes(*numbers: int) -> list[list[Any]]:
    return [row(START_MS + number * MINUTE_MS) for number in numbers]


def at(minute: float) -> int:
    return START_MS + int(minute * MINUTE_MS)


def test_rows_closed_before_the_start_are_filled_in_silence() -> None:
    bench = Bench(minutes(*range(20)), at(19.5))
    asyncio.run(bench.backfill.fill_all())
    assert bench.held == list(range(9, 19))
    assert bench.series.forming is not None
    assert bench.told == []
    assert bench.shelf.asked == [{"symbol": "AUSDT", "interval": "1m", "limit": 11}]


def test_rows_closed_since_the_start_are_told() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(20)), at(19.5))
        get = bench.shelf.get

        async def slow(path: str, query: Mapping[str, Any]) -> RestResponse:
            if bench.clock.now_ms < at(21):
                bench.clock.now_ms = at(21.5)
                bench.shelf.rows = minutes(*range(22))
                raise RestError("no answer")
            return await get(path, query)

        bench.shelf.get = slow  # type: ignore[method-assign]
        await bench.backfill.fill_all()
        assert bench.held == list(range(11, 21))
        closed = [event.open_time_ms for event in bench.told if event.kind.name == "CLOSED"]
        assert closed == [at(19), at(20)]

    asyncio.run(scenario())


def test_last_row_of_an_answer_is_not_closed_by_our_clock_alone() -> None:
    """A row read just after its close may be incomplete: the exchange says so itself."""

    async def scenario() -> None:
        bench = Bench(minutes(*range(5)), at(5.2))
        await bench.backfill.fill_all()
        assert bench.held == [0, 1, 2, 3]
        bench.shelf.rows = [*minutes(0, 1, 2, 3), row(at(4), trades=9)]
        await bench.backfill.sweep()
        assert bench.held == [0, 1, 2, 3], "two reads that do not agree"
        bench.clock.now_ms += 5_000
        await bench.backfill.sweep()
        assert bench.held == [0, 1, 2, 3, 4], "two reads that agree"
        assert bench.series.last is not None
        assert bench.series.last.trades == 9

    asyncio.run(scenario())


def test_two_reads_agree_only_if_both_came_after_the_close() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(5)), at(4.5))
        await bench.backfill.fill_all()
        bench.clock.now_ms = at(5.2)
        await bench.backfill.sweep()
        assert bench.held == [0, 1, 2, 3]
        bench.clock.now_ms = at(5.4)
        await bench.backfill.sweep()
        assert bench.held == [0, 1, 2, 3, 4]

    asyncio.run(scenario())


def test_later_row_proves_a_close_at_once() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(5)), at(4.5))
        await bench.backfill.fill_all()
        bench.clock.now_ms = at(5.2)
        bench.shelf.rows = minutes(*range(6))
        await bench.backfill.sweep()
        assert bench.held == [0, 1, 2, 3, 4]
        assert [event.kind.name for event in bench.told] == ["CLOSED", "FORMING"]

    asyncio.run(scenario())


def test_close_within_grace_is_not_believed() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(6)), at(5) + 1_000)
        await bench.backfill.fill_all()
        assert bench.held == [0, 1, 2, 3], "minute 4 ended one second ago"

    asyncio.run(scenario())


@pytest.mark.parametrize("venue", ["spot", "um"])
@pytest.mark.parametrize("count", [1, 2, 97, 98, 99, 398, 400])
def test_hole_is_asked_for_with_the_rows_it_needs(venue: str, count: int) -> None:
    async def scenario() -> None:
        every = list(range(500))
        bench = Bench(minutes(*every[:50], *every[50 + count :]), at(499.5), capacity=500)
        bench.api.venue = VENUES[venue]  # type: ignore[misc]
        await bench.backfill.fill_all()
        bench.shelf.asked.clear()
        bench.shelf.rows = minutes(*every)
        await bench.backfill.sweep()
        assert bench.held == every[:-1]
        (asked,) = bench.shelf.asked
        assert asked["limit"] == count + 1
        assert (asked["startTime"], asked["endTime"]) == (at(50), at(50 + count))

    asyncio.run(scenario())


@pytest.mark.parametrize("missed", [1, 9, 10, 11, 12, 5000])
def test_outage_of_any_length_ends_in_a_whole_window(missed: int) -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(20)), at(19.5))
        await bench.backfill.fill_all()
        bench.shelf.rows = minutes(*range(20 + missed))
        bench.clock.now_ms = at(19.5 + missed)
        await bench.backfill.sweep()
        assert bench.held == list(range(9 + missed, 19 + missed))
        assert bench.series.gaps() == []

    asyncio.run(scenario())


def test_venue_hole_is_recorded_after_two_answers_and_asked_for_no_more() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(5), *range(8, 12)), at(11.2))
        await bench.backfill.fill_all()
        hole = (at(5), at(7))
        assert bench.series.gaps() == [hole]
        bench.shelf.asked.clear()
        for _ in range(30):
            await bench.backfill.sweep()
            bench.clock.now_ms += 500
        assert len(bench.shelf.asked) == 2
        assert bench.backfill.is_absent(("AUSDT", "1m"), hole)
        assert bench.backfill.absent == 1
        assert bench.backfill.holes == {}

    asyncio.run(scenario())


def test_answer_without_later_rows_is_no_evidence_and_not_asked_for_in_a_hurry() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(5), *range(8, 12)), at(11.2))
        await bench.backfill.fill_all()
        bench.shelf.rows = []
        bench.shelf.asked.clear()
        for _ in range(100):
            await bench.backfill.sweep()
            bench.clock.now_ms += 500
        holes = [asked for asked in bench.shelf.asked if asked["startTime"] == at(5)]
        assert 3 <= len(holes) <= 8, "waits double"
        assert not bench.backfill.is_absent(("AUSDT", "1m"), (at(5), at(7)))
        bench.shelf.rows = minutes(*range(12))
        bench.clock.now_ms += 60_000
        await bench.backfill.sweep()
        assert bench.series.gaps() == []

    asyncio.run(scenario())


def test_halted_symbol_is_asked_for_rarely() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(12)), at(11.2))
        await bench.backfill.fill_all()
        bench.shelf.asked.clear()
        for _ in range(600):
            await bench.backfill.sweep()
            bench.clock.now_ms += 5_000
        assert len(bench.shelf.asked) <= 60, "50 minutes pass"
        assert bench.held == list(range(2, 12)), "the last kline closed when two reads agreed"

    asyncio.run(scenario())


def test_current_forming_row_is_not_late() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(12)), at(11.9))
        await bench.backfill.fill_all()
        bench.shelf.asked.clear()
        bench.clock.now_ms = next_open_ms("1m", at(11)) + 4_000
        await bench.backfill.sweep()
        assert bench.shelf.asked == []

    asyncio.run(scenario())


def test_nothing_is_swept_before_its_window_was_filled() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(12)), at(11.9))
        await bench.backfill.sweep()
        assert bench.shelf.asked == []

    asyncio.run(scenario())


def test_series_the_exchange_refuses_is_given_up_and_named() -> None:
    async def scenario() -> None:
        bench = Bench([], at(0.5))

        async def refuse(path: str, query: Mapping[str, Any]) -> RestResponse:
            return RestResponse(400, {}, b'{"code":-1121,"msg":"Invalid symbol."}')

        bench.shelf.get = refuse  # type: ignore[method-assign]
        await bench.backfill.fill_all()
        assert bench.backfill.done == 1
        assert bench.backfill.filled == set()
        assert "Invalid symbol" in bench.backfill.refused["AUSDT", "1m"]

    asyncio.run(scenario())


def test_lost_answers_are_asked_for_with_growing_waits() -> None:
    async def scenario() -> None:
        bench = Bench(minutes(*range(12)), at(11.5))
        times: list[int] = []
        get = bench.shelf.get

        async def lose(path: str, query: Mapping[str, Any]) -> RestResponse:
            times.append(bench.clock.now_ms)
            if len(times) < 6:
                raise RestError("no answer")
            return await get(path, query)

        bench.shelf.get = lose  # type: ignore[method-assign]
        await bench.backfill.fill_all()
        waits = [b - a for a, b in zip(times, times[1:], strict=False)]
        assert waits == [500, 1000, 2000, 4000, 8000]

    asyncio.run(scenario())
