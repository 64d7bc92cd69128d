"""One seed: a world, its faults by chance, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from typing import NamedTuple

from server.exchange.recorded import RecordedMarket
from simulation.faults import draw_schedule
from simulation.judge import Verdict
from simulation.loop import run
from simulation.thinning import thinned
from simulation.world import INTERVALS, World

__all__ = ["Outcome", "run_recorded", "run_seed", "suffer"]

#: The end of a simulation is without faults for so long, s.
CALM_S = 600.0


#: Streams of one connection, as the server is set without being told.
STREAMS_MAX = {"spot": 1024, "um": 200}

#: Symbols that are listed in the course of a simulation.
_SPARE = 3

#: Hours of a recording before and behind what is simulated.
_MARGIN_H = 2.0


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

    spare = _SPARE if seed % 2 else 0  # every other server keeps whatever is listed

    # One connection, or two or three: what hits one of several is another fault.
    streams = -(-symbols * (len(INTERVALS) + 1) // (1 + seed % 3))
    most = STREAMS_MAX[market]
    settings = {f"streams_per_connection_{market}": min(streams, most)}

    async def simulate() -> Outcome:
        world = World(
            seed, symbols=symbols, spare=spare, hours=hours, market=market, settings=settings
        )
        return await suffer(world, hours, names)

    with thinned(), _collecting_seldom():
        return run(simulate())


def run_recorded(seed: int, source: RecordedMarket, hours: float | None = None) -> Outcome:
    """The same over a recorded market: all of it, but for the hours at its ends."""
    assert source.end_ms is not None
    start_ms = source.first_ms + int(_MARGIN_H * 3_600_000)
    whole = (source.end_ms - start_ms) / 3_600_000 - _MARGIN_H
    hours = whole if hours is None else min(hours, whole)

    async def simulate() -> Outcome:
        return await suffer(World(seed, hours=hours, source=source, start_ms=start_ms), hours)

    with thinned(), _collecting_seldom():
        return run(simulate())


@contextlib.contextmanager
def _collecting_seldom() -> Iterator[None]:
    """While in here garbage is looked for less often: a day is mostly rows, and they stay."""
    thresholds = gc.get_threshold()
    gc.set_threshold(20_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


async def suffer(world: World, hours: float, names: tuple[str, ...] | None = None) -> Outcome:
    """Let a world live so long with faults by chance; see ``run_seed``."""
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
        world.check_symbols()
        world.check_ready()
        verdict = await world.verdict()
    except Exception as error:
        world.judge.fail("error", f"{type(error).__name__}: {error}")
        verdict = world.judge.verdict({})
    finally:
        await world.close()
    return Outcome(
        world.seed,
        world.source.market,
        verdict,
        world.injected,
        world.loop.time() / 3600.0,
        world.trace.hexdigest(),
        world.trace.count,
        tuple(world.trace.lines),
    )
