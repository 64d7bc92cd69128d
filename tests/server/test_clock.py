"""Clocks: the machine's, and one that runs faster."""

from __future__ import annotations

import asyncio
import time

import pytest

from server.clock import Clock, ScaledClock, SystemClock, wait_event


def test_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    assert abs(clock.time_ms() - time.time() * 1000) < 1000
    assert clock.monotonic() <= clock.monotonic()


def test_scaled_clock_starts_where_it_is_told_and_runs_faster() -> None:
    clock = ScaledClock(1_700_000_000_000, 1000.0)
    begun = time.monotonic()
    while (real_s := time.monotonic() - begun) < 0.02:
        pass
    passed_ms = clock.time_ms() - 1_700_000_000_000
    assert passed_ms >= real_s * 1000 * 1000
    assert abs(clock.monotonic() * 1000 - passed_ms) < 1000 * 1000


def test_scaled_sleep_is_shorter_by_the_rate() -> None:
    clock = ScaledClock(0, 1000.0)
    begun = time.monotonic()
    asyncio.run(clock.sleep(30.0))
    assert 0.03 <= time.monotonic() - begun < 25.0
    assert clock.monotonic() >= 30.0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_rate_must_be_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match="rate must be above 0"):
        ScaledClock(0, rate)


def test_wait_event_returns_at_the_event_or_at_the_end_of_the_time() -> None:
    async def scenario() -> None:
        clock = ScaledClock(0, 1000.0)
        event = asyncio.Event()
        assert not await wait_event(event, clock, 1.0)
        asyncio.get_running_loop().call_soon(event.set)
        assert await wait_event(event, clock, 1_000_000.0)
        assert await wait_event(event, clock, 0.0)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, "a wait leaves no task behind"

    asyncio.run(scenario())


@pytest.mark.parametrize("clock", [SystemClock(), ScaledClock(0, 1.0)])
def test_a_bounded_wait_costs_little_and_leaves_no_waiter(clock: Clock) -> None:
    """Every connection waits so once a second, 86,400 times in a simulated day."""

    async def scenario() -> float:
        event = asyncio.Event()
        count = 2000
        begun = time.process_time()  # others may have the processor meanwhile
        for _ in range(count):
            await wait_event(event, clock, 0.0)
        assert not event._waiters
        return (time.process_time() - begun) / count

    assert min(asyncio.run(scenario()) for _ in range(5)) < 50e-6, "two tasks took 70 us and more"


def test_a_cancelled_wait_leaves_no_waiter_and_no_timer() -> None:
    async def scenario() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(wait_event(event, SystemClock(), 1000.0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not event._waiters

    asyncio.run(scenario())
