"""Virtual time: order, jumps, and an end where nothing can happen any more."""

from __future__ import annotations

import asyncio

import pytest
from simulation.clock import SimulatedClock
from simulation.loop import StuckError, run


def test_a_day_of_sleep_takes_no_time_and_the_order_is_that_of_the_timers() -> None:
    async def scenario() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[str, float]] = []

        async def wake(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, loop.time()))

        await asyncio.gather(wake("day", 86_400), wake("second", 1), wake("hour", 3_600))
        return seen

    assert run(scenario()) == [("second", 1.0), ("hour", 3600.0), ("day", 86_400.0)]


def test_waiting_for_what_nobody_does_is_an_error_and_no_hang() -> None:
    async def scenario() -> None:
        await asyncio.Event().wait()

    with pytest.raises(StuckError):
        run(scenario())


def test_work_of_an_executor_is_done_in_this_thread() -> None:
    async def scenario() -> tuple[int, float]:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(max, 1, 2), asyncio.get_running_loop().time()

    result, seconds = run(scenario())
    assert (result, seconds > 0) == (2, True)


def test_steps_and_drift_move_the_wall_clock_alone() -> None:
    async def scenario() -> None:
        clock = SimulatedClock(1_000_000)
        clock.step(-3_600_000)
        await clock.sleep(10)
        assert (clock.time_ms(), clock.monotonic()) == (1_000_000 - 3_600_000 + 10_000, 10.0)
        clock.slew(5.0)
        await clock.sleep(10)
        assert clock.skew_ms == -3_600_000 + 50
        clock.mend()
        assert (clock.time_ms(), clock.monotonic()) == (1_020_000, 20.0)

    run(scenario())
