"""The weight ledger: never above its share, never a request while the exchange refuses."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.feeds.budget import WeightBudget
from server.feeds.rest import RestResponse

MINUTE_S = 60.0


class ManualClock:
    """Time passes only while somebody sleeps."""

    def __init__(self, start_ms: int = 0) -> None:
        self.now_s = start_ms / 1000

    def time_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += max(seconds, 0.0)
        await asyncio.sleep(0)


def answer(status: int = 200, used: int | None = None, retry: str | None = None) -> RestResponse:
    headers = {}
    if used is not None:
        headers["x-mbx-used-weight-1m"] = str(used)
    if retry is not None:
        headers["retry-after"] = retry
    return RestResponse(status, headers, b"{}")


@given(
    st.lists(st.tuples(st.integers(1, 80), st.booleans()), min_size=1, max_size=60),
    st.integers(100, 6000),
    st.sampled_from([0.1, 0.5, 1.0]),
)
def test_no_minute_gets_more_than_its_share(
    requests: list[tuple[int, bool]], limit: int, share: float
) -> None:
    async def scenario() -> None:
        clock = ManualClock(1_000_000)
        budget = WeightBudget(clock, limit=limit, share=share)
        spent: dict[int, list[int]] = {}
        for weight, answered in requests:
            await budget.acquire(weight)
            minute = clock.time_ms() // 60_000
            spent.setdefault(minute, []).append(weight)
            budget.settle(weight, answer(used=sum(spent[minute])) if answered else None)
        for weights in spent.values():
            assert sum(weights) <= max(limit * share, max(weights))

    asyncio.run(scenario())


def test_a_single_request_above_the_share_is_let_through_alone() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        budget = WeightBudget(clock, limit=10, share=0.1)
        await budget.acquire(80)
        budget.settle(80, answer(used=80))
        assert clock.now_s == 0.0
        await budget.acquire(80)
        assert clock.now_s >= MINUTE_S

    asyncio.run(scenario())


def test_weight_of_strangers_behind_our_address_counts() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        budget = WeightBudget(clock, limit=100, share=0.5)
        await budget.acquire(2)
        budget.settle(2, answer(used=49))
        assert budget.used == 49
        await budget.acquire(2)
        assert clock.now_s >= MINUTE_S, "51 would be above half of 100"
        assert budget.used == 0

    asyncio.run(scenario())


def test_requests_under_way_count() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        budget = WeightBudget(clock, limit=100, share=0.5)
        for _ in range(25):
            await budget.acquire(2)
        assert clock.now_s == 0.0
        waiting = asyncio.ensure_future(budget.acquire(2))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done(), "none of the 25 has been answered"
        budget.settle(2, answer(used=2))
        await waiting

    asyncio.run(scenario())


def test_minutes_are_those_of_the_exchange() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        budget = WeightBudget(clock, limit=100, share=0.5)
        budget.offset_ms = 59_000
        await budget.acquire(50)
        budget.settle(50, answer(used=50))
        await budget.acquire(50)
        assert 1.0 <= clock.now_s < 2.0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "retry", "wait_s"),
    [
        (429, "7", 7.0),
        (429, "0", 1.0),
        (429, None, 60.0),
        (429, "soon", 60.0),
        (429, "Wed, 21 Oct 2026 07:28:00 GMT", 60.0),
        (429, "-5", 60.0),
        (418, "120", 120.0),
        (418, "259200", 259_200.0),
        (418, "99999999999", 259_200.0),
        (418, None, 120.0),
        (403, None, 300.0),
        (451, None, 600.0),
    ],
)
def test_nothing_is_given_out_until_a_refusal_is_over(
    status: int, retry: str | None, wait_s: float
) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        budget = WeightBudget(clock, limit=6000, share=0.5)
        await budget.acquire(1)
        budget.settle(1, answer(status, retry=retry))
        assert budget.blocked_s == wait_s
        assert str(status) in (budget.blocked_reason or "")
        await budget.acquire(1)
        assert clock.now_s >= wait_s
        assert (budget.blocked_reason, budget.refusals) == (None, 1)

    asyncio.run(scenario())


def test_a_shorter_refusal_does_not_end_a_longer_one() -> None:
    async def scenario() -> None:
        budget = WeightBudget(ManualClock(), limit=6000, share=0.5)
        for status, retry in ((418, "500"), (429, "5")):
            await budget.acquire(1) if not budget.blocked_s else None
            budget.settle(1, answer(status, retry=retry))
        assert budget.blocked_s == 500.0
        assert "418" in (budget.blocked_reason or "")

    asyncio.run(scenario())
