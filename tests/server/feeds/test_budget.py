"""The weight ledger: never above its share, urgent work first, no request while refused."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.clock import SimulatedClock
from simulation.loop import run

from server.feeds.budget import TURN_MS, Grant, Priority, WeightBudget
from server.feeds.rest import RestResponse
from server.feeds.venue_time import VenueTime

MINUTE_MS = 60_000

#: A second into a minute of the exchange.
START_MS = 1_768_384_801_000


def answer(status: int = 200, used: int | None = None, retry: str | None = None) -> RestResponse:
    headers = {}
    if used is not None:
        headers["x-mbx-used-weight-1m"] = str(used)
    if retry is not None:
        headers["retry-after"] = retry
    return RestResponse(status, headers, b"{}")


class Bench:
    """A budget in virtual time; the exchange's clock is ``venue``."""

    def __init__(
        self,
        limit: int = 6000,
        share: float = 0.5,
        in_flight_max: int = 32,
        start_ms: int = START_MS,
    ) -> None:
        self.clock = SimulatedClock(start_ms)
        self.venue = SimulatedClock(start_ms)
        self.time = VenueTime(self.clock)
        self.budget = WeightBudget(self.time, limit=limit, share=share, in_flight_max=in_flight_max)
        self.sent: list[tuple[int, int, Priority]] = []  # exchange time, weight, priority

    async def ask(
        self,
        weight: int,
        priority: Priority = Priority.REPAIR,
        response: RestResponse | None = None,
        *,
        takes_s: float = 0.0,
    ) -> Grant:
        grant = await self.budget.acquire(weight, priority)
        self.sent.append((self.venue.time_ms(), weight, priority))
        await self.clock.sleep(takes_s)
        self.budget.settle(grant, response or answer())
        return grant

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return asyncio.ensure_future(work)

    async def pause(self, seconds: float = 0.001) -> None:
        await self.clock.sleep(seconds)


requests = st.lists(
    st.tuples(
        st.integers(1, 80),
        st.sampled_from(Priority),
        st.sampled_from([None, "told", "more", "less"]),
        st.floats(0.0, 90.0),  # when it is asked for
        st.floats(0.0, 20.0),  # how long the answer takes
    ),
    min_size=1,
    max_size=60,
)


@given(requests, st.integers(100, 2000), st.sampled_from([0.1, 0.5, 1.0]), st.integers(1, 8))
@settings(max_examples=60)
def test_no_minute_of_the_exchange_gets_more_than_its_share(
    plan: list[Any], limit: int, share: float, in_flight_max: int
) -> None:
    """Whatever the order and the headers; lower priorities leave the reserve alone."""

    async def scenario() -> None:
        bench = Bench(limit, share, in_flight_max)
        budget = bench.budget
        spent: dict[int, int] = {}
        heaviest: dict[int, int] = {}
        under_way = 0

        async def one(weight: int, priority: Priority, tells: Any, at_s: float, s: float) -> None:
            nonlocal under_way
            await bench.pause(at_s)
            grant = await budget.acquire(weight, priority)
            under_way += 1
            assert under_way <= in_flight_max
            minute = bench.venue.time_ms() // MINUTE_MS
            spent[minute] = spent.get(minute, 0) + weight
            heaviest[minute] = max(heaviest.get(minute, 0), weight)
            cap = budget.allowed - (budget.reserved if priority > Priority.REPAIR else 0)
            assert spent[minute] <= max(cap, weight)
            told = {"told": spent[minute], "more": spent[minute] + 5, "less": 1}.get(tells)
            await bench.pause(s)
            under_way -= 1
            budget.settle(grant, answer(used=told) if tells else None)

        await asyncio.gather(*(one(*request) for request in plan))
        for minute, weight in spent.items():
            assert weight <= max(limit * share, heaviest[minute])
        assert (budget.forecast().in_flight, budget.forecast().served_in_s) == (0, 0.0)

    run(scenario())


@given(requests, st.lists(st.tuples(st.floats(0.0, 90.0), st.integers(1, 300)), max_size=6))
@settings(max_examples=60)
def test_no_request_leaves_during_a_ban(plan: list[Any], bans: list[tuple[float, int]]) -> None:
    async def scenario() -> None:
        bench = Bench(200, 1.0, 4)
        banned_until_s = 0.0
        bans_at = {at_s: wait_s for at_s, wait_s in bans}

        async def one(weight: int, priority: Priority, tells: Any, at_s: float, s: float) -> None:
            nonlocal banned_until_s
            await bench.pause(at_s)
            grant = await bench.budget.acquire(weight, priority)
            assert bench.clock.monotonic() >= banned_until_s - 1e-6
            await bench.pause(s)
            due = [at for at in bans_at if at <= bench.clock.monotonic()]
            if not due:
                bench.budget.settle(grant, answer())
                return
            wait_s = bans_at.pop(due[0])
            banned_until_s = max(banned_until_s, bench.clock.monotonic() + wait_s)
            bench.budget.settle(grant, answer(418, retry=str(wait_s)))

        await asyncio.gather(*(one(*request) for request in plan))

    run(scenario())


def test_urgent_requests_go_first_and_equals_in_order_of_arrival() -> None:
    async def scenario() -> None:
        bench = Bench(in_flight_max=1)
        first = bench.spawn(bench.ask(1, takes_s=1.0))
        await bench.pause()
        wanted = [
            Priority.HISTORY,
            Priority.START,
            Priority.REPAIR,
            Priority.START,
            Priority.HISTORY,
            Priority.REPAIR,
        ]
        tasks = [
            bench.spawn(bench.ask(10 + place, priority)) for place, priority in enumerate(wanted)
        ]
        await asyncio.gather(first, *tasks)
        assert [weight for _, weight, _ in bench.sent] == [1, 12, 15, 11, 13, 10, 14]

    run(scenario())


def test_lower_priorities_never_spend_the_reserve() -> None:
    async def scenario() -> None:
        bench = Bench(limit=200, share=0.5)
        assert (bench.budget.allowed, bench.budget.reserved) == (100, 10)
        for _ in range(45):
            await bench.ask(2, Priority.START)
        assert bench.clock.monotonic() == 0.0
        waiting = bench.spawn(bench.ask(2, Priority.START))
        await bench.pause(5.0)
        assert not waiting.done(), "90 of 100 are spent"
        for _ in range(5):
            await bench.ask(2, Priority.REPAIR)
        assert bench.clock.monotonic() == 5.0, "repairs may spend the rest"
        await waiting
        assert bench.venue.time_ms() // MINUTE_MS > START_MS // MINUTE_MS

    run(scenario())


def test_a_waiter_that_is_cancelled_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        bench = Bench(limit=100, share=1.0, in_flight_max=2)
        await bench.ask(100)
        tasks = [bench.spawn(bench.ask(7, Priority(place % 3))) for place in range(9)]
        await bench.pause()
        queued = {"repair": 21, "start": 21, "history": 21, "client": 0}
        assert bench.budget.forecast().queued == queued
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert set(bench.budget.forecast().queued.values()) == {0}
        assert len(asyncio.all_tasks()) == 1
        await bench.ask(50)
        assert len(bench.sent) == 2

    run(scenario())


def test_when_the_first_waiter_is_cancelled_the_next_one_goes() -> None:
    async def scenario() -> None:
        bench = Bench(limit=100, share=1.0)
        await bench.ask(50)
        large = bench.spawn(bench.ask(60))
        small = bench.spawn(bench.ask(10))
        await bench.pause(1.0)
        assert not small.done(), "no overtaking within a priority"
        large.cancel()
        await small
        assert bench.clock.monotonic() == 1.0

    run(scenario())


def test_a_single_request_above_the_share_is_let_through_alone() -> None:
    async def scenario() -> None:
        bench = Bench(limit=10, share=0.1)
        await bench.ask(80, Priority.HISTORY, answer(used=80))
        assert bench.clock.monotonic() == 0.0
        await bench.ask(80, Priority.HISTORY)
        assert bench.clock.monotonic() >= 59.0

    run(scenario())


def test_weight_of_strangers_behind_our_address_counts() -> None:
    async def scenario() -> None:
        bench = Bench(limit=100, share=0.5)
        await bench.ask(2, response=answer(used=49))
        assert bench.budget.used == 49
        await bench.ask(2)
        assert bench.clock.monotonic() >= 59.0, "51 would be above half of 100"
        assert bench.budget.used == 2

    run(scenario())


def test_a_header_that_tells_less_than_we_sent_is_not_believed() -> None:
    async def scenario() -> None:
        bench = Bench(limit=100, share=0.5)
        for _ in range(25):
            await bench.ask(2, response=answer(used=2))
        assert bench.budget.used == 50

    run(scenario())


@pytest.mark.parametrize("header", ["", "x", "-5", "1e3", "٣", "9" * 400])
def test_an_unreadable_header_counts_as_none(header: str) -> None:
    async def scenario() -> None:
        bench = Bench()
        response = RestResponse(200, {"x-mbx-used-weight-1m": header}, b"")
        await bench.ask(2, response=response)
        assert bench.budget.used == 2

    run(scenario())


def test_requests_under_way_count() -> None:
    async def scenario() -> None:
        bench = Bench(limit=100, share=0.5)
        grants = [await bench.budget.acquire(2) for _ in range(25)]
        waiting = bench.spawn(bench.ask(2))
        await bench.pause(1.0)
        assert not waiting.done(), "none of the 25 has been answered"
        bench.budget.settle(grants[0], None)
        await bench.pause(1.0)
        assert not waiting.done(), "an answer that did not come may have been counted"
        bench.budget.settle(grants[1], answer())
        await waiting
        assert bench.clock.monotonic() >= 59.0

    run(scenario())


def test_a_header_from_before_the_turn_of_the_minute_says_nothing_of_this_one() -> None:
    async def scenario() -> None:
        bench = Bench(limit=100, share=1.0)
        await bench.ask(2, response=answer(used=97), takes_s=60.0)
        assert bench.budget.used == 2, "but the request may have been counted to this one"

    run(scenario())


@pytest.mark.parametrize("into_ms", [MINUTE_MS - TURN_MS + 1, MINUTE_MS - 1, 0, TURN_MS - 1])
def test_no_request_leaves_at_the_turn_of_a_minute(into_ms: int) -> None:
    async def scenario() -> None:
        bench = Bench(start_ms=START_MS // MINUTE_MS * MINUTE_MS + into_ms)
        await bench.ask(1)
        assert bench.sent[0][0] % MINUTE_MS == TURN_MS

    run(scenario())


@pytest.mark.parametrize("skew_ms", [-3_600_000, -30_000, 30_000, 3_600_000])
def test_minutes_are_those_of_the_exchange(skew_ms: int) -> None:
    async def scenario() -> None:
        bench = Bench(limit=100, share=0.5)
        bench.clock.step(skew_ms)
        await bench.ask(25)
        bench.time.note(0.0, 0.0, bench.venue.time_ms())
        await bench.ask(25)
        assert bench.budget.used == 50, "finding out the time gives nothing back"
        await bench.ask(50)
        assert bench.sent[-1][0] - START_MS == 59_000 + TURN_MS

    run(scenario())


def test_time_that_goes_back_a_little_gives_no_minute_twice() -> None:
    async def scenario() -> None:
        bench = Bench(limit=100, share=0.5)
        bench.time.note(0.0, 0.4, bench.venue.time_ms() + 200)
        await bench.pause(59.3)
        await bench.ask(50)
        now_s = bench.clock.monotonic()
        bench.time.note(now_s, now_s, bench.venue.time_ms() - 300)
        await bench.ask(50)
        assert bench.sent[1][0] - bench.sent[0][0] > 59_000

    run(scenario())


@pytest.mark.parametrize(
    ("status", "retry", "wait_s"),
    [
        (429, "7", 7.0),
        (429, "0", 1.0),
        (429, None, 60.0),
        (429, "", 60.0),
        (429, "soon", 60.0),
        (429, "Wed, 14 Jan 2026 10:00:31 GMT", 30.0),
        (429, "Wed, 14 Jan 2026 09:00:00 GMT", 1.0),
        (429, "Wed, 99 Nix 2026 10:00:31 GMT", 60.0),
        (429, "Wed, 14 Jan 99999999999 10:00:31 GMT", 60.0),
        (429, "-5", 60.0),
        (429, "1.5", 60.0),
        (429, "٣", 60.0),
        (418, "120", 120.0),
        (418, "259200", 259_200.0),
        (418, "99999999999", 259_200.0),
        (418, "9" * 5000, 259_200.0),
        (418, None, 120.0),
        (403, None, 300.0),
        (451, None, 600.0),
    ],
)
def test_nothing_is_given_out_until_a_refusal_is_over(
    status: int, retry: str | None, wait_s: float
) -> None:
    async def scenario() -> None:
        bench = Bench()
        budget = bench.budget
        await bench.ask(1, response=answer(status, retry=retry))
        assert budget.blocked_s == pytest.approx(wait_s)
        assert budget.forecast().blocked_s == pytest.approx(wait_s)
        assert str(status) in (budget.blocked_reason or "")
        await bench.ask(1)
        assert bench.clock.monotonic() >= wait_s
        assert (budget.blocked_reason, budget.refusals) == (None, 1)

    run(scenario())


def test_a_shorter_refusal_does_not_end_a_longer_one() -> None:
    async def scenario() -> None:
        bench = Bench()
        grants = [await bench.budget.acquire(1) for _ in range(2)]
        for grant, status, retry in zip(grants, (418, 429), ("500", "5"), strict=True):
            bench.budget.settle(grant, answer(status, retry=retry))
        assert bench.budget.blocked_s == 500.0
        assert "418" in (bench.budget.blocked_reason or "")

    run(scenario())


def test_retry_at_once_again_and_again_is_not_believed() -> None:
    async def scenario() -> None:
        bench = Bench()
        for _ in range(9):
            await bench.ask(1, response=answer(429, retry="0"))
        times = [sent_ms for sent_ms, _, _ in bench.sent]
        waits = [(b - a) // 1000 for a, b in zip(times, times[1:], strict=False)]
        assert waits == [1, 2, 4, 8, 16, 32, 64, 64]
        await bench.ask(1)
        await bench.ask(1, response=answer(429, retry="0"))
        assert bench.budget.blocked_s == 1.0, "an answer in between ends the row"

    run(scenario())


def test_forecast_tells_what_waits_and_for_how_long() -> None:
    async def scenario() -> None:
        bench = Bench(limit=200, share=0.5)
        await bench.ask(80, Priority.START, answer(used=85))
        forecast = bench.budget.forecast({Priority.START: 5, Priority.HISTORY: 0})
        assert (forecast.used, forecast.limit, forecast.allowed) == (85, 200, 100)
        assert (forecast.reserved, forecast.queued["start"]) == (10, 5)
        assert forecast.served_in_s == 0.0, "there is room in this minute"
        forecast = bench.budget.forecast({Priority.START: 10})
        assert forecast.served_in_s == pytest.approx(59.2, abs=0.1), "the next turn"
        forecast = bench.budget.forecast({Priority.START: 90, Priority.HISTORY: 90})
        assert forecast.served_in_s == pytest.approx(59.2 + 60, abs=0.1)
        forecast = bench.budget.forecast({Priority.REPAIR: 15})
        assert forecast.served_in_s == 0.0, "out of the reserve"
        await bench.ask(1, response=answer(418, retry="300"))
        forecast = bench.budget.forecast({Priority.START: 91})
        assert forecast.served_in_s == pytest.approx(360)

    run(scenario())


@given(st.integers(1, 3000), st.integers(0, 2))
@settings(max_examples=40)
def test_forecast_comes_true(weight: int, priority: int) -> None:
    async def scenario() -> None:
        bench = Bench(limit=400, share=0.5)
        count = -(-weight // 2)
        promised_s = bench.budget.forecast({Priority(priority): 2 * count}).served_in_s
        for _ in range(count):
            await bench.ask(2, Priority(priority))
        assert bench.clock.monotonic() == pytest.approx(promised_s, abs=0.2)

    run(scenario())


def test_what_a_request_weighed_is_known_only_if_it_was_alone() -> None:
    async def scenario() -> None:
        bench = Bench()
        budget = bench.budget
        grant = await budget.acquire(2)
        assert budget.settle(grant, answer(used=10)) is None, "nothing was told before"
        grant = await budget.acquire(2)
        assert budget.settle(grant, answer(used=15)) == 5
        pair = [await budget.acquire(2), await budget.acquire(2)]
        assert [budget.settle(one, answer(used=20)) for one in pair] == [None, None]
        grant = await budget.acquire(2)
        assert budget.settle(grant, answer()) is None
        grant = await budget.acquire(2)
        assert budget.settle(grant, answer(used=30)) is None, "the one before told nothing"
        grant = await budget.acquire(2)
        await bench.pause(60.0)
        assert budget.settle(grant, answer(used=2)) is None, "another minute"

    run(scenario())


# --- clients -------------------------------------------------------------------------------------


def test_requests_for_clients_get_their_share_and_no_more() -> None:
    async def scenario() -> None:
        bench = Bench(limit=1000, share=0.5)  # 500 are ours, 125 of them clients'
        budget = bench.budget
        assert budget.client_allowed == 125
        sent = 0
        while not budget.client_wait_s(10):
            await bench.ask(10, Priority.CLIENT)
            sent += 10
        assert sent == 120
        assert 0 < budget.client_wait_s(10) <= 61
        assert budget.client_wait_s(5) == 0.0
        began_s = bench.clock.monotonic()
        await bench.ask(100, Priority.REPAIR)
        await bench.ask(100, Priority.HISTORY)
        assert bench.clock.monotonic() == began_s, "nobody else is held up"
        await bench.clock.sleep(budget.client_wait_s(10))
        assert budget.client_wait_s(10) == 0.0

    run(scenario())


def test_clients_come_after_everybody_else() -> None:
    async def scenario() -> None:
        bench = Bench(limit=1000, share=0.5)
        await bench.ask(440, Priority.HISTORY)
        assert bench.budget.client_wait_s(10) == 0.0
        assert bench.budget.client_wait_s(11) > 0, "the reserve is not theirs"
        waiting = bench.spawn(bench.ask(10, Priority.START, takes_s=1.0))
        await bench.pause()
        assert bench.budget.client_wait_s(10) > 0, "what is under way counts"
        await waiting

    run(scenario())


def test_clients_leave_places_in_flight_to_the_feed() -> None:
    async def scenario() -> None:
        bench = Bench(limit=10_000, in_flight_max=4)
        tasks = [bench.spawn(bench.ask(2, Priority.CLIENT, takes_s=30.0)) for _ in range(10)]
        await bench.pause()
        assert bench.budget.forecast().in_flight == 2
        began_s = bench.clock.monotonic()
        for priority in (Priority.REPAIR, Priority.START, Priority.HISTORY):
            await bench.ask(2, priority)
        assert bench.clock.monotonic() - began_s < 0.01
        await asyncio.gather(*tasks)

    run(scenario())


def test_clients_wait_as_everybody_while_the_exchange_refuses() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.ask(1, Priority.REPAIR, answer(status=429, retry="30"))
        assert 29 < bench.budget.client_wait_s(1) <= 30

    run(scenario())
