"""Fault matrix, what happens to this machine and its network: rows 13, 14 and 16 to 18."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable

import pytest
from simulation.records import MINUTE_MS, Record, kline_frame, next_minute_ms
from simulation.scenario import scenario, simulated
from simulation.world import World

# --- 13: clocks ------------------------------------------------------------------------------


@pytest.mark.parametrize("step_ms", [10_000, -10_000, 3_600_000, -3_600_000])
@simulated
async def test_fault_13_a_step_of_the_wall_clock_closes_nothing_early_or_late(
    step_ms: int,
) -> None:
    """Fault 13: the wall clock is set by 10 s or an hour while closes are missing: all are told at
    their true time, those that only REST brings within 5 s; never stale, never unready."""
    async with scenario(symbols=2) as world:
        record = Record(world)
        await world.sleep_until(next_minute_ms(world) - 3000)
        world.clock.step(step_ms)
        world.troubled(0.0)
        await world.sleep(60.0)
        world.exchange.faults.drop_closes = 2
        world.troubled(0.0)
        await world.sleep(60.0)
        world.clock.step(-2 * step_ms)
        await world.sleep(300.0)
        delays = record.delays_s("BTCUSDT")
        assert len(delays) == 7
        assert min(delays) >= 0.0
        assert sorted(delays)[-2] < 1.0
        assert 1.0 < max(delays) < 5.0  # the one that was dropped
        assert world._is_ready()
        status, headers, _ = await world.ask("/klines/BTCUSDT/1m")
        assert (status, "x-data-state" in headers) == (200, False)
        # The exchange's time is known to within a round trip's half.
        assert abs(world.feed.status().server_offset_ms + world.clock.skew_ms) <= 100


@pytest.mark.parametrize("skew_ms", [10_000, -10_000, 3_600_000, -3_600_000])
@simulated
async def test_fault_13_a_start_with_a_wrong_clock_is_as_a_start_with_a_right_one(
    skew_ms: int,
) -> None:
    """Fault 13: a skew of 10 s or an hour from the start: whole and ready, no close told early."""
    async with scenario(symbols=2) as world:
        await world.stop_server()
        world.clock.step(skew_ms)
        record = Record(world)
        await world.start_server()
        await world.until_ready(60.0)
        await world.sleep(180.0)
        delays = record.delays_s("BTCUSDT")
        assert len(delays) >= 3
        assert 0.0 <= min(delays) <= max(delays) < 1.0
        await world.check_all(final=True)


@pytest.mark.parametrize("drift", [-0.5, 0.5])
@simulated
async def test_fault_13_a_clock_that_runs_wrong_for_hours_is_followed(drift: float) -> None:
    """Fault 13: 500 ppm for two hours, 3.6 s off in the end: the exchange's time stays within
    0.2 s, no close is early, none later than 1 s."""
    async with scenario(symbols=1, intervals=("1m",)) as world:
        record = Record(world)
        world.clock.slew(drift)
        for _ in range(24):
            await world.sleep(300.0)
            assert abs(world.feed.status().server_offset_ms + world.clock.skew_ms) <= 200
        delays = record.delays_s(world.market.symbols[0])
        assert len(delays) == 120
        assert 0.0 <= min(delays) <= max(delays) < 1.0


@pytest.mark.parametrize("ahead_ms", [3_600_000, -3_600_000, 1 << 52])
@simulated
async def test_fault_13_event_times_off_by_an_hour_change_no_order_and_no_judgement(
    ahead_ms: int,
) -> None:
    """Fault 13: one frame of each symbol with E in the future or the past: what follows is taken
    all the same, every close told once within 1 s, no connection given up for 10 minutes."""
    async with scenario(symbols=2, intervals=("1m",), full_pace=True) as world:
        record = Record(world)
        opened_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        for symbol in world.market.symbols:
            event_ms = max(1, min(world.now_ms + ahead_ms, 1 << 52))
            frame = kline_frame(world, symbol, "1m", opened_ms, event_ms=event_ms)
            world.exchange.streams.send_to_all(frame)
        await world.sleep(600.0)
        delays = record.delays_s("BTCUSDT")
        assert len(delays) == 10
        assert 0.0 <= min(delays) <= max(delays) < 1.0
        assert world.connects == [1]
        assert world._is_ready()


@simulated
async def test_fault_13_a_kline_of_the_future_is_no_close() -> None:
    """Fault 13: a closed kline that opens an hour ahead: refused and counted, no row, no close."""
    async with scenario(symbols=2, intervals=("1m",)) as world:
        record = Record(world)
        series = world.market["BTCUSDT", "1m"]
        ahead_ms = next_minute_ms(world) + 60 * MINUTE_MS
        row = world.exchange.book.row_at(
            "BTCUSDT", "1m", world.now_ms // MINUTE_MS * MINUTE_MS, world.now_ms
        )
        assert row is not None
        row = row._replace(open_ms=ahead_ms, close_ms=ahead_ms + MINUTE_MS - 1, closed=True)
        frame = world.exchange.book.kline_frame("BTCUSDT", "1m", row, world.now_ms)
        count = series.closed_count
        world.exchange.streams.send_to_all(frame)
        await world.sleep(0.5)
        assert series.closed_count == count
        assert world.market.counters()["future"] == 1
        await world.sleep(180.0)
        assert len(record.told("BTCUSDT", "1m")) == 3
        assert series.gaps() == []


# --- 14: names, addresses, certificates ------------------------------------------------------

CONNECT_FAILURES = {
    "no such name": socket.gaierror(-2, "Name or service not known"),
    "no name server": socket.gaierror(-3, "Temporary failure in name resolution"),
    "wrong address": ConnectionRefusedError(111, "connection refused"),
    "no route by IPv6": OSError(101, "Network is unreachable"),
    "expired certificate": ssl.SSLCertVerificationError(1, "certificate has expired"),
    "no TLS there": ssl.SSLError(1, "wrong version number"),
}


@pytest.mark.parametrize("name", CONNECT_FAILURES)
@simulated
async def test_fault_14_connects_that_fail_are_tried_again_within_30_s_each(name: str) -> None:
    """Fault 14: DNS, TLS, certificates, for half an hour: waits grow to 30 s and no further, the
    reason is named, and 31.5 s after it is mended the connection is live."""
    failure = CONNECT_FAILURES[name]
    async with scenario(symbols=1, intervals=("1m",)) as world:
        record = Record(world)
        world.troubled(1800.0)
        begun_s = world.loop.time()
        world.network.clients[0].sever(reset=True)
        with world.held(world.network.conditions, "failure", failure):
            await world.sleep(1800.0)
            connection = world.feed.status().connections[0]
            assert connection.state != "live"
            assert str(failure.args[-1]) in connection.reason
            assert (await world.ask("/ready"))[0] == 503
        attempts = record.connects(begun_s)
        waits = [after - before for before, after in zip(attempts, attempts[1:], strict=False)]
        assert len(attempts) >= 1800 / 31.5
        assert max(waits) <= 31.5
        assert max(waits) > 20.0  # they have grown
        await world.until(lambda: world.live, 31.5)


@simulated
async def test_fault_14_a_black_hole_costs_the_connect_timeout_and_no_more() -> None:
    """Fault 14: connecting never ends: given up after 10 s each time, again after 30 s at most."""
    async with scenario(symbols=1, intervals=("1m",)) as world:
        record = Record(world)
        world.troubled(1800.0)
        begun_s = world.loop.time()
        world.network.clients[0].sever(reset=True)
        with world.held(world.network.conditions, "blackhole", True):
            await world.sleep(1800.0)
        attempts = record.connects(begun_s)
        waits = [after - before for before, after in zip(attempts, attempts[1:], strict=False)]
        assert 10.0 <= min(waits) <= max(waits) <= 10.0 + 31.5
        await world.until(lambda: world.live, 10.0 + 31.5)


@simulated
async def test_fault_14_a_host_that_cannot_be_reached_is_left_for_the_next_within_30_s() -> None:
    """Fault 14: nobody listens at the first of three hosts, the second dies in the middle: the next
    one serves within 31.5 s each time, named and counted, and every row is whole."""
    async with scenario(symbols=2) as world:
        await world.stop_server()
        network = world.network
        second = world.exchange.ws_url.removeprefix("ws://")
        address = ("127.0.0.1", int(second.rpartition(":")[2]))
        listener = network._listeners[address]
        third = f"127.0.0.3:{address[1]}"
        network.listen(listener.factory, "127.0.0.3", address[1])
        world._values["spot_ws"] = f"ws://127.0.0.2:9,ws://{second},ws://{third}"
        begun_s = world.loop.time()
        record = Record(world)
        await world.start_server()
        await world.until(lambda: world.serving and world.live, 31.5)
        assert world.feed.status().connections[0].host == second
        await world.until_ready()
        await world.sleep(200.0)

        network.close(listener)
        world.troubled(0.0)
        network.clients[0].sever(reset=True)
        await world.until(lambda: not world.live, 1.0)
        assert f"connection 0 is down: {second}" in world.feed.status().reasons[0]
        await world.until(lambda: world.live, 31.5)
        assert world.feed.status().connections[0].host == third
        hosts = [facts[2] for facts in record.lines("connect") if float(facts[0]) >= begun_s]
        assert hosts == ["127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.3"]
        _, _, body = await world.ask("/metrics")
        assert b'kline_feed_host_changes_total{market="spot",kind="stream"} 2' in body
        assert b'kline_feed_host_changes_total{market="spot",kind="rest"} 0' in body
        network._listeners[address] = listener  # for the end of the exchange
        await world.sleep(300.0)
        assert world.connects == [2]
        assert world._is_ready()


# --- 16: slow networks -----------------------------------------------------------------------


async def lag_s(world: World) -> float:
    """What ``/metrics`` tells of the feed's lag."""
    _, _, body = await world.ask("/metrics")
    found = re.search(rb'kline_feed_lag_seconds\{market="spot"\} (\S+)', body)
    assert found is not None
    return float(found[1])


SLOW = {
    "2 s latency": ("latency_s", 2.0),
    "5 % loss": ("jitter_s", 3.0),  # retransmissions show as latency
    "20 kB/s": ("bytes_per_s", 20_000.0),
}


@pytest.mark.parametrize("name", SLOW)
@simulated
async def test_fault_16_a_slow_network_makes_closes_late_and_nothing_else(name: str) -> None:
    """Fault 16: for 10 minutes: every close told once and true, at most 7 s late, no reconnect."""
    async with scenario(symbols=3, intervals=("1m", "5m")) as world:
        record = Record(world)
        world.troubled(600.0)
        with world.held(world.network.conditions, *SLOW[name]):
            await world.sleep(600.0)
        delays = record.delays_s("BTCUSDT")
        assert len(delays) == 10
        assert 0.0 <= min(delays) <= max(delays) < 7.0
        assert world.connects == [1]


@simulated
async def test_fault_16_a_lag_that_grows_is_measured_and_called_stale() -> None:
    """Fault 16: a line so narrow that data falls 45 s behind: the lag metric tells it to
    within 2 s, and from 30 s on everything is served as stale, although data keeps coming."""
    async with scenario(symbols=4, intervals=("1m", "5m"), full_pace=True) as world:
        await world.sleep(10.0)
        assert await lag_s(world) < 10.0
        world.troubled(300.0)
        with world.held(world.network.conditions, "bytes_per_s", 350.0):
            behind_s = 0.0
            while behind_s < 45.0:
                await world.sleep(5.0)
                assert world.loop.time() < 1000.0
                newest_ms = int(world.market.event_times().max())
                newest_ms = max(newest_ms, int(world.market.ticker_times().max()))
                behind_s = (world.now_ms - newest_ms) / 1000
                assert abs(await lag_s(world) - behind_s) < 2.0
                _, headers, _ = await world.ask("/klines/BTCUSDT/1m")
                if not 28.0 < behind_s < 32.0:
                    assert ("x-data-state" in headers) == (behind_s > 30.0)
        await world.until(lambda: world.live, 31.5)
        await world.sleep(90.0)  # what is on its way has arrived
        assert await lag_s(world) < 10.0
        await world.check_all(final=True)


# --- 17: too little of the processor ---------------------------------------------------------


async def stall(world: World, seconds: float, during: Callable[[], None] = lambda: None) -> None:
    """The server reads nothing for a while, then everything at once, as after SIGSTOP."""
    (end,) = world.network.clients
    end.pause_reading()
    during()
    await world.sleep(seconds)
    end.resume_reading()


@simulated
async def test_fault_17_after_a_stall_no_close_is_shed_and_forming_rows_are() -> None:
    """Fault 17: 30 symbols unread for 50 s over a boundary, at full pace: every close told once and
    at once afterwards, of hundreds of forming rows at most one a series; nothing counted lost."""
    # A process that is stopped looks at no clock either.
    settings = {"ack_timeout_s": 60.0, "ping_timeout_s": 120.0, "close_wait_s": 60.0}
    async with scenario(
        symbols=30, intervals=("1m",), capacity=20, settings=settings, full_pace=True
    ) as world:
        record = Record(world)
        market = world.market
        opened_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        await world.sleep_until(opened_ms + 40_000)
        world.troubled(50.0)
        before = market.counters()["frames_kline"]
        assert world.server is not None
        await stall(world, 50.0)
        published = world.server.state.hub.published
        assert market.counters()["frames_kline"] == before
        await world.sleep(0.001)
        came = market.counters()["frames_kline"] - before
        assert came > 5 * 30
        for symbol in market.symbols:
            assert len(record.told(symbol, "1m", opened_ms)) == 1
        # Of what came at once: a close and a forming row of each series, and the barrier.
        assert 30 <= world.server.state.hub.published - published <= 2 * 30 + 1
        assert world.connects == [1]
        assert market.counters()["events_lost"] == 0
        assert world.server.state.markets["spot"].channels.closes_lost == 0


# --- 18: the process ends --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "kill", "power"])
@simulated
async def test_fault_18_a_server_that_ends_anyhow_starts_from_its_snapshot_and_asks_for_the_rest(
    how: str,
) -> None:
    """Fault 18: SIGTERM, SIGKILL or loss of power, 10 minutes down: ready within 20 s, and REST is
    asked for the rows since the last snapshot (5 minutes before at most), not for windows.

    Every step of writing and reading: ``tests/server/test_snapshots.py``,
    ``test_snapshot_losses.py`` and ``test_snapshot_kills.py``.
    """
    settings = {"snapshot_interval_s": 300.0}
    async with scenario(symbols=4, capacity=120, settings=settings) as world:
        await world.sleep(700.0)
        record = Record(world)
        ended_s = world.loop.time()
        await world.restart(600.0, how=how)
        assert world.loop.time() - ended_s - 600.0 < 20.0
        limits = [
            int(found[1])
            for one in record.asked("interval=1m", ended_s)
            if (found := re.search(r"limit=(\d+)", one.target))
        ]
        assert len(limits) >= 4
        assert max(limits) <= 10 + 5 + 2
        await world.check_all(final=True)


@simulated
async def test_fault_18_killed_again_and_again_it_never_serves_a_wrong_row() -> None:
    """Fault 18: 12 lives of 50 s to 10 minutes, killed or without power in whatever they do: every
    row served in any of them is true."""
    settings = {"snapshot_interval_s": 60.0}
    async with scenario(symbols=2, settings=settings) as world:
        for life in range(12):
            await world.sleep(50.0 * (1 + life))
            await world.check_all()
            await world.restart(10.0 * life, how=("kill", "power")[life % 2])
            await world.check_all()
        assert world.lives == 13
