"""Each way a stream can die while its socket lives, or the socket dies: noticed, healed, counted.

The whole server in virtual time, at the exchange's own pace; the judge looks at every row in the
end.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from simulation.loop import run
from simulation.thinning import thinned
from simulation.world import World

from server.exchange.publisher import SPEEDS
from server.exchange.sockets import wrap
from server.feeds import base, session

#: A stream of a busy symbol is found stale within this time, s; a subscription heals it.
FOUND_S = 15.0


def at_real_pace(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def under_virtual_time(*args: Any, **named: Any) -> None:
        with thinned():
            base._LOOK_S = session._WATCH_S = 1.0
            run(test(*args, **named))

    under_virtual_time.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return under_virtual_time


@asynccontextmanager
async def scenario(*, market: str = "spot", **settings: Any) -> AsyncIterator[World]:
    """Three symbols, one of them quiet; at the end every row is the exchange's own."""
    defaults = {
        "kline_update_s": 0.0,
        "ticker_update_s": 0.0,
        "stale_after_s": 30.0,
        "ping_timeout_s": 30.0,
    }
    world = World(2, symbols=3, market=market, settings=defaults | settings)
    world.exchange._speeds = SPEEDS[market]
    await world.open()
    try:
        await world.until_ready()
        await world.sleep(90.0)  # every stream has come
        yield world
        verdict = await world.verdict()
        assert verdict.ok, "\n".join(verdict.faults)
    finally:
        await world.close()


def feed_of(world: World) -> Any:
    assert world.server is not None
    return world.server._feeds[0]


def status(world: World) -> Any:
    return feed_of(world).status()


def healings(world: World) -> dict[str, float]:
    counter = feed_of(world)._connections.healings
    return {step: counter.value(step) for step in ("resubscribe", "reconnect", "rest")}


def reconnects(world: World, reason: str) -> float:
    assert world.server is not None
    counter = world.server._metrics.counter("kline_feed_reconnects_total", "", ["reason"])
    return float(counter.value(reason))


async def until(world: World, condition: Callable[[], object], seconds: float) -> float:
    """Seconds until the condition holds. Fails if that takes longer than it may."""
    begun = world.loop.time()
    while not condition():
        assert world.loop.time() - begun < seconds, f"not within {seconds} s: {status(world)}"
        await world.sleep(0.5)
    return world.loop.time() - begun


def heard_by(world: World) -> list[Any]:
    """Control messages the exchange receives from now on."""
    heard: list[Any] = []
    for connection in world.exchange.streams.connections:
        control = connection._control

        def noted(text: bytes, control: Any = control) -> None:
            heard.append(json.loads(text))
            control(text)

        connection._control = noted
    return heard


@pytest.mark.parametrize("name", ["btcusdt@kline_1m", "btcusdt@kline_1h", "btcusdt@ticker"])
@pytest.mark.parametrize("market", ["spot", "um"])
@at_real_pace
async def test_one_stream_that_stops_is_subscribed_anew_and_no_other(
    market: str, name: str
) -> None:
    async with scenario(market=market) as world:
        heard = heard_by(world)
        delivering = status(world).streams_delivering
        world.exchange.faults.mute_streams = {name}
        await until(world, lambda: healings(world)["resubscribe"], 20.0)
        assert status(world).streams_stale == 1
        await world.sleep(1.0)
        world.exchange.faults.mute_streams = set()
        await until(world, lambda: not status(world).streams_stale, 5.0)
        assert [(one["method"], one["params"]) for one in heard] == [
            ("UNSUBSCRIBE", [name]),
            ("SUBSCRIBE", [name]),
        ]
        assert status(world).streams_delivering >= delivering >= 13
        assert status(world).connections[0].connects == 1
        world.troubled(0.0)


@at_real_pace
async def test_ack_without_frames_of_one_stream_is_noticed() -> None:
    async with scenario() as world:
        world.exchange.faults.mute_streams = {"btcusdt@kline_5m"}
        for end in world.network.clients:
            end.sever(reset=True)
        await until(world, lambda: status(world).connections[0].connects == 2, 10.0)
        await until(world, lambda: healings(world)["resubscribe"] == 1, 20.0)
        assert status(world).streams_stale == 1
        state = feed_of(world).series_state("BTCUSDT", "5m")
        assert state.stale
        assert state.blind_ms > 0
        world.exchange.faults.mute_streams = set()
        await until(world, lambda: not status(world).streams_stale, 10.0)
        world.troubled(0.0)


@at_real_pace
async def test_ack_without_frames_of_a_whole_connection_is_noticed() -> None:
    async with scenario() as world:
        world.exchange.faults.ack_only = True
        for end in world.network.clients:
            end.sever(reset=True)
        await until(world, lambda: status(world).connections[0].connects == 2, 10.0)
        assert status(world).streams_delivering == 0, "acknowledged is not delivering"
        await until(world, lambda: not feed_of(world).ready, 40.0)
        await until(world, lambda: status(world).connections[0].connects >= 3, 120.0)
        world.exchange.faults.ack_only = False
        await until(world, lambda: status(world).streams_delivering >= 10, 120.0)
        assert feed_of(world).blind_s > 60.0 * 12
        world.troubled(0.0)


@at_real_pace
async def test_frozen_data_with_pings_is_noticed_whatever_is_repeated() -> None:
    async with scenario() as world:
        exchange = world.exchange
        (row,) = exchange.book.rows("BTCUSDT", "1m", world.now_ms, limit=1)
        frozen = exchange.book.kline_frame("BTCUSDT", "1m", row, world.now_ms)
        exchange.faults.mute_all = True
        for _ in range(90):
            exchange.streams.send_to_all(frozen)
            await world.sleep(1.0)
        assert status(world).connections[0].connects >= 2
        assert not feed_of(world).ready
        exchange.faults.mute_all = False
        await until(world, lambda: feed_of(world).ready, 60.0)
        world.troubled(0.0)


@at_real_pace
async def test_half_open_tcp_is_noticed_within_thirty_seconds() -> None:
    async with scenario() as world:
        for end in world.network.clients:
            end.deaf = end.peer.deaf = True
        await until(world, lambda: status(world).connections[0].connects == 2, 30.0)
        assert reconnects(world, "silent") == 1
        assert 0 < feed_of(world).series_state("BTCUSDT", "1m").blind_total_ms < 40_000 or (
            feed_of(world).series_state("BTCUSDT", "1m").blind_ms > 0
        )
        world.troubled(0.0)


@at_real_pace
async def test_a_mass_cut_brings_all_back_within_the_limits() -> None:
    async with scenario(streams_per_connection_spot=1, connect_interval_s=0.2) as world:
        count = len(status(world).connections)
        assert count == 15
        for _ in range(30):
            for end in world.network.clients:
                end.sever(reset=True)
            await world.sleep(10.0)
        assert world.network.connects <= 300 + count, "within the first five minutes"
        await until(world, lambda: feed_of(world).ready, 600.0)
        assert world.exchange.counters["connects_refused"] == 0
        world.troubled(0.0)


@pytest.mark.parametrize("combined", [False, True], ids=["raw", "combined"])
@pytest.mark.parametrize("market", ["spot", "um"])
@at_real_pace
async def test_an_announced_shutdown_leaves_no_blind_moment(market: str, combined: bool) -> None:
    async with scenario(market=market) as world:
        (old,) = list(world.exchange.streams.connections)
        message = b'{"e":"serverShutdown","E":%d}' % world.now_ms
        old.send(wrap("!serverShutdown", message) if combined else message)
        await until(world, lambda: old not in world.exchange.streams.connections, 20.0)
        assert reconnects(world, "shutdown") == 1
        assert feed_of(world).blind_s == 0.0
        assert status(world).connections[0].connects == 2
        assert status(world).streams_stale == 0


@at_real_pace
async def test_connections_are_replaced_before_the_day_ends_and_never_together() -> None:
    async with scenario(
        streams_per_connection_spot=5, rotate_after_s=1800.0, stale_after_s=60.0
    ) as world:
        world.exchange._keep_alive["life_s"] = 1900.0
        begun_s = world.loop.time()
        seen: dict[int, int] = {}
        moments: list[float] = []
        while len(moments) < 3:
            assert world.loop.time() - begun_s < 1900.0
            for connection in status(world).connections:
                if seen.setdefault(connection.id, connection.connects) != connection.connects:
                    seen[connection.id] = connection.connects
                    moments.append(world.loop.time())
            await world.sleep(1.0)
        apart = [later - sooner for sooner, later in zip(moments, moments[1:], strict=False)]
        assert min(apart) > 10.0, "a tenth of their life lies between the first and the last"
        assert world.exchange.counters["life_over"] == 0
        assert feed_of(world).blind_s == 0.0
        assert reconnects(world, "rotation") == 3


@at_real_pace
async def test_the_cut_at_24_hours_is_healed_where_it_comes_without_rotation() -> None:
    async with scenario(rotate_after_s=86_400.0) as world:
        world.exchange._keep_alive["life_s"] = 200.0
        await until(world, lambda: world.exchange.counters["life_over"], 200.0)
        world.exchange._keep_alive["life_s"] = 86_400.0
        world.troubled(0.0)
        await until(world, lambda: reconnects(world, "closed"), 10.0)
        await until(world, lambda: feed_of(world).ready, 10.0)
        assert reconnects(world, "closed") == 1


@at_real_pace
async def test_a_successor_that_lacks_a_stream_does_not_replace_the_old_connection() -> None:
    async with scenario() as world:
        streams = world.exchange.streams
        (old,) = list(streams.connections)
        subscribe = streams.subscribe

        def all_but_one(stream: str, connection: Any) -> None:
            if stream != "btcusdt@kline_1m":
                subscribe(stream, connection)

        streams.subscribe = all_but_one
        streams.announce_shutdown()
        opened = streams.counters["connections"]
        await until(world, lambda: streams.counters["connections"] == opened + 2, 40.0)
        assert old in streams.connections
        assert feed_of(world).blind_s == 0.0
        streams.subscribe = subscribe
        await until(world, lambda: old not in streams.connections, 40.0)
        assert feed_of(world).blind_s == 0.0
        assert status(world).streams_stale == 0


@at_real_pace
async def test_a_stream_nothing_heals_is_left_to_rest_and_loses_no_close() -> None:
    async with scenario() as world:
        world.exchange.faults.mute_streams = {"btcusdt@kline_1m"}
        await until(world, lambda: healings(world)["rest"] == 1, 120.0)
        assert healings(world) == {"resubscribe": 1, "reconnect": 1, "rest": 1}
        before = world.network.connects
        await world.sleep(600.0)
        assert world.network.connects - before <= 4, "waits grow"
        world.troubled(0.0)


@at_real_pace
async def test_an_hour_in_which_nothing_is_wrong_heals_nothing() -> None:
    """One of the symbols has minutes without a trade."""
    async with scenario() as world:
        await world.sleep(3600.0)
        assert feed_of(world)._liveness.stale_found == 0
        assert feed_of(world).blind_s == 0.0
        assert status(world).connections[0].connects == 1
