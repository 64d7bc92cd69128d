"""How tests use a world: as a context, and under virtual time."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from simulation.loop import run
from simulation.thinning import in_full, thinned
from simulation.world import World

__all__ = ["scenario", "simulated"]


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test under virtual time: it sleeps as long as it likes."""

    @functools.wraps(test)
    def under_virtual_time(*args: Any, **named: Any) -> None:
        with thinned():
            run(test(*args, **named))

    under_virtual_time.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return under_virtual_time


@contextlib.asynccontextmanager
async def scenario(
    *,
    seed: int = 1,
    symbols: int = 3,
    ready: bool = True,
    judged: bool = True,
    full_pace: bool = False,
    **options: Any,
) -> AsyncIterator[World]:
    """A world whose server is ready (or just started); at the end everything must be true.

    ``judged=False`` leaves out the verdict: for tests that end with a wrong server on purpose.
    ``full_pace=True`` thins nothing: for tests of how soon something is noticed.
    """
    options.setdefault("hours", 24.0)  # the truth is known that far; time passes as the test says
    world = World(seed, symbols=symbols, full_pace=full_pace, **options)
    with in_full() if full_pace else contextlib.nullcontext():
        await world.open()
        try:
            if ready:
                await world.until_ready()
            yield world
            if judged:
                verdict = await world.verdict()
                assert verdict.ok, "\n".join([*verdict.faults, *list(world.trace.lines)[-40:]])
        finally:
            await world.close()
