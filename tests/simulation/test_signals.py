"""Signals of a simulated server: each once, the same for the same seed, equal to the replay."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

import pytest
from simulation.faults import FAULTS
from simulation.loop import run
from simulation.scenario import scenario, simulated
from simulation.seeds import Outcome, suffer
from simulation.signals import true_firings
from simulation.thinning import thinned
from simulation.world import START_MS, World, symbol_names

from server.traders.model import Trader

MINUTE_MS = 60_000

#: Filters whose values depend on the klines in their windows alone, not on the first one there was:
#: but for a mean's last bit, from which the margins keep off.
FILTERS = {
    "breakout": ("close > highest(high, 20)[1]", "1m", {}),
    "cross": ("sma(5) > 1.0003 * sma(20)", "1m", {}),
    "five": ("close > 1.0007 * sma(10) and volume > volume[1]", "5m", {}),
    "quiet": ("crosses_below(close, lowest(low, 30)[1])", "1m", {"cooldown_bars": 4}),
    "hour": ('close > highest(high, 5)[1] and close @ "15m" > close[2] @ "15m"', "5m", {}),
    "level": ("close > highest(high, 40)[1]", "1m", {"mode": "level"}),
}


def traders() -> list[Trader]:
    return [
        Trader(
            id=str(uuid5(UUID(int=9), name)),
            owner="ada",
            name=name,
            filter=text,
            interval=interval,
            created_ms=START_MS,
            updated_ms=START_MS,
            **changed,
        )
        for name, (text, interval, changed) in FILTERS.items()
    ]


def judged(world: World, names: tuple[str, ...], from_ms: int, until_ms: int) -> dict[str, Any]:
    """What is missing and what is too much, by trader; empty where all is right."""
    wrong = {}
    for one in traders():
        told = world.told.firings(one, from_ms, until_ms)
        true = true_firings(world.judge, one, names, from_ms, until_ms)
        assert true, f"{one.name} never fires: nothing is tested"
        if told != true:
            wrong[one.name] = {"missing": sorted(true - told), "too much": sorted(told - true)}
    return wrong


@simulated
async def test_without_faults_signals_are_the_replays_firings() -> None:
    async with scenario(symbols=4, traders=traders()) as world:
        from_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        await world.sleep(6 * 3600.0)
        until_ms = world.now_ms // MINUTE_MS * MINUTE_MS - 20 * MINUTE_MS
    assert judged(world, symbol_names(4), from_ms + 15 * MINUTE_MS, until_ms) == {}
    assert world.told.again == 0
    assert set(world.told.executions.values()) == {1}


@pytest.mark.parametrize("how", ["stop", "kill", "power"])
@simulated
async def test_a_restart_loses_and_doubles_no_signal(how: str) -> None:
    async with scenario(symbols=4, traders=traders()) as world:
        from_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        for pause_s in (4000.0, 700.0, 2500.0):
            await world.sleep(pause_s)
            await world.restart(300.0, how=how)
        await world.sleep(3600.0)
        until_ms = world.now_ms // MINUTE_MS * MINUTE_MS - 20 * MINUTE_MS
    assert judged(world, symbol_names(4), from_ms + 15 * MINUTE_MS, until_ms) == {}
    if how == "stop":
        assert world.told.again == 0, "what was told is remembered"


def day(seed: int, hours: float = 24.0) -> tuple[World, Outcome]:
    """A simulated day with every fault that leaves the symbols as they are."""
    made: list[World] = []
    names = tuple(name for name in FAULTS if name not in ("halts", "listings"))

    async def simulate() -> Outcome:
        world = World(seed, symbols=5, hours=hours, traders=traders())
        made.append(world)
        return await suffer(world, hours, names)

    with thinned():
        outcome = run(simulate())
    return made[0], outcome


@pytest.mark.parametrize(
    ("seed", "hours"),
    [(1, 8.0), *(pytest.param(seed, 24.0, marks=pytest.mark.slow) for seed in (1, 2))],
)
def test_a_day_of_faults_loses_and_invents_no_signal(seed: int, hours: float) -> None:
    world, outcome = day(seed, hours)
    assert outcome.ok, outcome.verdict.faults
    assert outcome.injected["restarts"] > 0
    wrong = judged(world, symbol_names(5), START_MS + 30 * MINUTE_MS, world.end_ms - 20 * MINUTE_MS)
    assert wrong == {}


def test_the_same_seed_gives_the_same_signals() -> None:
    first, second, other = (day(seed, hours=2.0)[0].told for seed in (5, 5, 6))
    assert list(first.signals.values()) == list(second.signals.values())
    assert first.signals
    assert first.signals.keys() != other.signals.keys()
