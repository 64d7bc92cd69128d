"""A session's life: one connection after the other, successors before the end where possible."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from simulation.clock import SimulatedClock
from simulation.loop import run

from server.feeds.hosts import Hosts
from server.feeds.session import ConnectLimiter


def test_connects_of_all_sessions_are_spaced() -> None:
    async def scenario() -> None:
        clock = SimulatedClock(0)
        limiter = ConnectLimiter(clock, 1.0)
        times: list[float] = []

        async def attempt() -> None:
            await limiter.wait()
            times.append(clock.monotonic())

        await asyncio.gather(*(attempt() for _ in range(20)))
        assert limiter.attempts == 20
        times.sort()
        assert times[-1] - times[0] >= 19.0

    run(scenario())


def test_ten_connections_cut_at_once_come_back_one_by_one(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(streams_per_connection_spot=1, connect_interval_s=1.0) as world:
            await world.until_ready()
            asked_s: list[float] = []
            may_connect = world.exchange._may_connect

            def noted(address: str) -> bool:
                asked_s.append(world.clock.monotonic())
                return bool(may_connect(address))

            world.exchange._may_connect = noted
            world.exchange.streams.cut_all(reset=True)
            await world.until(lambda: not world.feed.ready)
            await world.until_ready()
            assert len(asked_s) == 9
            assert asked_s[-1] - asked_s[0] >= 7.0, "about a second apart"
            assert world.exchange.counters.get("connects_refused", 0) == 0

    run(scenario())


@pytest.mark.parametrize("name", ["spot", "um"])
def test_announced_shutdown_brings_the_successor_first_and_loses_no_close(
    open_world: Any, name: str
) -> None:
    async def scenario() -> None:
        async with open_world(name=name, intervals=("1m",)) as world:
            await world.until_ready()
            (old,) = world.exchange.streams.connections
            world.exchange.streams.announce_shutdown()
            await world.until(lambda: len(world.exchange.streams.connections) == 2, "both are open")
            assert world.feed.ready
            await world.until(lambda: old not in world.exchange.streams.connections)
            assert world.feed.ready
            await world.until(lambda: sum(world.closes().values()) >= 6)
            assert set(world.closes().values()) == {1}
            assert world.feed.repaired == 0, "nothing had to be fetched"
            world.assert_true_and_whole()
            assert world.feed.status().connections[0].connects == 2

    run(scenario())


def test_connection_is_rotated_before_the_exchange_cuts_it(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(rotate_after_s=40.0, exchange_options={"life_s": 60.0}) as world:
            await world.until_ready()
            await world.until(lambda: world.feed.status().connections[0].connects >= 3)
            assert world.exchange.streams.counters["life_over"] == 0
            assert world.feed.ready

    run(scenario())


def test_successor_that_brings_nothing_is_not_trusted(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            (old,) = world.exchange.streams.connections
            world.exchange.faults.ack_only = True  # new subscriptions are not made
            world.exchange.streams.announce_shutdown()
            opened = world.exchange.streams.counters["connections"]
            await world.until(
                lambda: world.exchange.streams.counters["connections"] >= opened + 2,
                "a second successor is tried",
            )
            assert old in world.exchange.streams.connections
            assert world.feed.ready
            world.exchange.faults.ack_only = False
            await world.until(lambda: old not in world.exchange.streams.connections)
            assert world.feed.ready

    run(scenario())


def test_a_change_nobody_acknowledges_ends_no_connection_that_delivers(open_world: Any) -> None:
    """Its other streams go on until a successor is there."""

    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            (old,) = world.exchange.streams.connections
            (session,) = world.feed._connections
            world.exchange.faults.no_ack = True
            session.resubscribe(["btcusdt@ticker"])
            await world.until(lambda: session.reason, "it is to be replaced")
            assert session.connected
            assert "not acknowledged" in session.reason
            await asyncio.sleep(20.0)
            assert old in world.exchange.streams.connections
            world.exchange.faults.no_ack = False
            await world.until(lambda: old not in world.exchange.streams.connections)
            assert world.feed.ready
            assert session._reconnects.value("unanswered") == 1
            assert session._reconnects.value("silent") == 0

    run(scenario())


def test_old_connection_that_ends_before_its_successor_is_there_is_admitted(
    open_world: Any,
) -> None:
    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            world.exchange.faults.refuse_connects = True
            world.exchange.streams.announce_shutdown()
            await asyncio.sleep(0.05)
            assert world.feed.ready
            world.exchange.streams.cut_all()
            await world.until(lambda: not world.feed.ready)
            assert world.feed.status().reasons[0].startswith("connection 0 is down: ")
            await world.until(lambda: "HTTP 503" in world.feed.status().reasons[0])
            world.exchange.faults.refuse_connects = False
            await world.until_ready()

    run(scenario())


def test_waits_between_attempts_grow_to_their_bound(open_world: Any) -> None:
    async def scenario() -> None:
        waits: list[float] = []

        def refuse(exchange: Any) -> None:
            exchange.faults.refuse_connects = True

        async with open_world(
            prepare=refuse, backoff_max_s=30.0, connect_interval_s=0.0, start=False
        ) as world:
            session = world.feed._connections._sessions[0]
            uniform = session._random.uniform

            def noted(low: float, high: float) -> float:
                waits.append(high)
                return float(uniform(low, high))

            session._random.uniform = noted
            await world.feed.start()
            await world.until(lambda: len(waits) >= 9)
            assert waits[:9] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
            assert world.feed.status().connections[0].state in ("waiting", "connecting")
            assert not world.feed.ready

    run(scenario())


def test_subscriptions_without_ack_are_tried_again(open_world: Any) -> None:
    async def scenario() -> None:
        def silent(exchange: Any) -> None:
            exchange.faults.no_ack = True

        async with open_world(prepare=silent) as world:
            await world.until(
                lambda: any("not acknowledged" in r for r in world.feed.status().reasons)
            )
            world.exchange.faults.no_ack = False
            await world.until_ready()

    run(scenario())


def two_hosts(exchange: Any) -> tuple[str, str]:
    """URLs of the exchange, by the address it listens at and by another one."""
    network = asyncio.get_running_loop().network  # type: ignore[attr-defined]
    ((_, port),) = network._listeners
    network.listen(network._listeners["127.0.0.1", port].factory, "127.0.0.3", port)
    return f"ws://127.0.0.1:{port}", f"ws://127.0.0.3:{port}"


def use_hosts(world: Any, urls: tuple[str, ...]) -> None:
    """Before its start: the sessions of ``world`` choose among these."""
    for session in world.feed._connections:
        session.hosts = Hosts([url + "/ws" for url in urls])


def test_a_successor_tries_its_own_host_first_and_then_the_next(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(start=False) as world:
            first, second = two_hosts(world.exchange)
            use_hosts(world, (first, second))
            await world.feed.start()
            await world.until_ready()
            status = world.feed.status
            assert status().connections[0].host == first.removeprefix("ws://")
            world.exchange.streams.announce_shutdown()
            await world.until(lambda: status().connections[0].connects == 2)
            assert status().connections[0].host == first.removeprefix("ws://"), "it still works"
            network = asyncio.get_running_loop().network  # type: ignore[attr-defined]
            network._listeners.pop(("127.0.0.1", int(first.rpartition(":")[2])))
            await world.until_ready()
            world.exchange.streams.announce_shutdown()
            await world.until(lambda: status().connections[0].connects == 3)
            assert world.feed.ready
            assert status().connections[0].host == second.removeprefix("ws://")
            world.assert_true_and_whole()

    run(scenario())


def test_a_connection_that_ended_is_tried_at_its_own_host_first(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(start=False) as world:
            first, second = two_hosts(world.exchange)
            use_hosts(world, (first, second))
            await world.feed.start()
            await world.until_ready()
            for connects in (2, 3):
                world.exchange.streams.cut_all(reset=True)
                await world.until(lambda: not world.feed.ready)
                assert any(first.removeprefix("ws://") in r for r in world.feed.status().reasons)
                await world.until_ready()
                assert world.feed.status().connections[0].connects == connects
                assert world.feed.status().connections[0].host == first.removeprefix("ws://")
                await asyncio.sleep(5.0)  # it brings something

    run(scenario())


@pytest.mark.parametrize("fault", ["no_ack", "ack_only"])
def test_a_host_that_acknowledges_nothing_or_brings_nothing_is_left(
    open_world: Any, fault: str
) -> None:
    async def scenario() -> None:
        def silent(exchange: Any) -> None:
            setattr(exchange.faults, fault, True)

        async with open_world(prepare=silent, start=False) as world:
            first, second = two_hosts(world.exchange)
            use_hosts(world, (first, second))
            await world.feed.start()
            (session,) = world.feed._connections
            await world.until(lambda: session.hosts.changes == 1)
            setattr(world.exchange.faults, fault, False)
            await world.until_ready()
            assert world.feed.status().connections[0].host == second.removeprefix("ws://")

    run(scenario())


def test_a_host_that_cuts_every_connection_before_it_brings_anything_is_left(
    open_world: Any,
) -> None:
    async def scenario() -> None:
        async with open_world(start=False) as world:
            first, second = two_hosts(world.exchange)
            use_hosts(world, (first, second))
            (session,) = world.feed._connections
            world.exchange.faults.ack_only = True
            await world.feed.start()
            for changes in (0, 1):
                await world.until(lambda: session.connected)
                world.exchange.streams.cut_all()
                await world.until(lambda: not session.connected)
                await asyncio.sleep(0.1)
                assert session.hosts.changes == changes
            world.exchange.faults.ack_only = False
            await world.until_ready()
            assert session.host == second.removeprefix("ws://")

    run(scenario())
