"""The scenario interface: what its documentation promises, and a judge that sees faults."""

from __future__ import annotations

import pytest
from simulation.faults import FAULTS
from simulation.scenario import scenario, simulated


@simulated
async def test_a_dropped_close_comes_by_rest() -> None:
    async with scenario() as world:
        world.exchange.faults.drop_closes = 1
        world.troubled(60.0)
        await world.sleep(90.0)
        assert world.exchange.faults.drop_closes == 0
        await world.check_all()


@pytest.mark.parametrize("name", FAULTS)
@simulated
async def test_each_class_of_fault_heals(name: str) -> None:
    async with scenario(seed=3) as world:
        await world.inject(name)


@simulated
async def test_the_server_has_several_lives() -> None:
    async with scenario() as world:
        await world.sleep(300.0)
        await world.stop_server()
        await world.sleep(600.0)
        await world.start_server()
        await world.until_ready()
        await world.sleep(300.0)
        assert (await world.ask("/ready"))[0] == 200
