"""A bench whose barriers are noted as they are told and whose closes are looked after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shelf import MINUTE_MS, START_MS, Bench, at

__all__ = ["Barriers", "running"]


class Barriers(Bench):
    """A bench that notes every barrier as it is when its event is told."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.barriers: list[tuple[str, float, float, bool, int]] = []
        super().__init__(*args, **named)

    def take(self) -> None:
        events = self.market.drain()
        self.told += events
        for event in events:
            if event.kind.name in ("BARRIER", "BARRIER_REVISED"):
                barrier = self.market.barrier(event.interval)
                assert barrier is not None
                assert barrier.open_time_ms == event.open_time_ms, "told before the next begins"
                told_s = (self.venue_clock.time_ms() - barrier.close_time_ms - 1) / 1000
                minute = (event.open_time_ms - START_MS) / MINUTE_MS
                self.barriers.append(
                    (event.interval, minute, told_s, barrier.complete, len(barrier.missing))
                )


@asynccontextmanager
async def running(
    minute: float, *, sweeping: bool = False, **named: Any
) -> AsyncIterator[Barriers]:
    """A bench whose windows are full and whose closes are looked after.

    ``sweeping``: what is still missing when the stream has gone on is looked for as a hole.
    """
    bench = Barriers(at(minute), **{"rest_concurrency": 4, **named})
    await bench.backfill.fill_all()
    bench.shelf.asked.clear()
    tasks = [asyncio.ensure_future(bench.closes.run())]
    if sweeping:
        tasks.append(asyncio.ensure_future(_sweep_on(bench)))
    await asyncio.sleep(0)  # their first look
    try:
        yield bench
        assert not any(task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sweep_on(bench: Barriers) -> None:
    while True:
        await asyncio.sleep(5.0)
        await bench.sweep()
