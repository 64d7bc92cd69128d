"""One seed: a world, its faults by chance, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

from simulation.faults import draw_schedule
from simulation.judge import Verdict
from simulation.loop import run
from simulation.thinning import thinned
from simulation.world import World

__all__ = ["Outcome", "run_seed"]

#: The end of a simulation is without faults for so long, s.
CALM_S = 600.0


class Outcome(NamedTuple):
    """What became of one seed."""

    seed: int
    market: str
    verdict: Verdict
    injected: dict[str, int]  # faults by name
    hours: float  # simulated
    trace_hash: str
    trace_count: int
    lines: tuple[str, ...]  # the last ones of the trace

    @property
    def ok(self) -> bool:
        """True if the server did everything right."""
        return self.verdict.ok


def run_seed(
    seed: int,
    *,
    symbols: int = 50,
    hours: float = 24.0,
    market: str | None = None,
    names: tuple[str, ...] | None = None,
) -> Outcome:
    """Simulate; ``names`` are the only faults that happen, None for all.

    ``market``: None is spot, and USD-M for every fourth seed. Never raises for faults of the
    server: they are in the verdict.
    """
    market = market or ("um" if seed % 4 == 3 else "spot")
    with thinned():
        return run(_run_seed(seed, symbols, hours, market, names))


async def _run_seed(
    seed: int,
    symbols: int,
    hours: float,
    market: str,
    names: tuple[str, ...] | None,
) -> Outcome:
    world = World(seed, symbols=symbols, hours=hours, market=market)
    await world.open()
    try:
        await world.until_ready()
        watching = asyncio.create_task(world.watch())
        until_s = hours * 3600.0 - CALM_S
        planned = draw_schedule(world.random, world.loop.time(), until_s, names)
        await world.suffer(planned)
        await world.heal()
        await world.check_all()
        await world.sleep_until(world.end_ms)
        if watching.done():
            watching.result()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        verdict = await world.verdict()
    except Exception as error:
        world.judge.fail("error", f"{type(error).__name__}: {error}")
        verdict = world.judge.verdict({})
    finally:
        await world.close()
    return Outcome(
        seed,
        market,
        verdict,
        world.injected,
        world.loop.time() / 3600.0,
        world.trace.hexdigest(),
        world.trace.count,
        tuple(world.trace.lines),
    )
