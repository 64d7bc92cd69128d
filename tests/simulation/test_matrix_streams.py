"""Fault matrix, what happens to connections and streams: rows 1 to 3, 9 and 10."""

from __future__ import annotations

import re

import pytest
from picows import WSCloseCode
from simulation.records import MINUTE_MS, Record, kline_frame, next_minute_ms
from simulation.scenario import scenario, simulated
from simulation.world import World

from server.exchange.generated import GeneratedMarket

# --- 1: cuts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("after", [1, 2, 3, 130, 301, 500])
@simulated
async def test_fault_01_a_cut_at_any_byte_is_healed_within_1_5_s_and_leaves_no_hole(
    after: int, reset: bool
) -> None:
    """Fault 1: RST or FIN within the closes of a minute; connected again within 1 s and the first
    wait of at most 0.5 s, nothing missing 6 s later."""
    async with scenario(symbols=2, intervals=("1m", "5m")) as world:
        await world.sleep_until(next_minute_ms(world) - 1000)
        end = world.network.clients[0]
        end.peer.cut_after, end.peer.cut_resets = after, reset
        await world.until(lambda: end not in world.network.clients, 10.0)
        world.troubled(0.0)
        await world.until(lambda: world.network.clients != [], 1.5)
        await world.until(lambda: world.connects == [2] and world.live, 0.5)
        await world.sleep(6.0)
        await world.check_all(final=True)


@simulated
async def test_fault_01_a_cut_in_the_middle_of_a_character_changes_no_row() -> None:
    """Fault 1: half of a frame whose first half ends within a character; the symbol is Unicode."""
    source = GeneratedMarket(1, ["币安人生USDT", "BTCUSDT"])
    async with scenario(source=source) as world:
        market = world.market
        name = next(iter(source.symbols))
        opened_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        frame = kline_frame(world, name, "1m", opened_ms, event_ms=world.now_ms)
        # Spaces in front until the middle is behind a lead byte.
        while not frame[len(frame) // 2 - 1] & 0x80 or frame[len(frame) // 2] & 0xC0 != 0x80:
            frame = b" " + frame if frame.index("币".encode()) < len(frame) // 2 else frame + b" "
        revisions = [series.revision for series in market]
        world.troubled(0.0)
        world.exchange.streams.cut_mid_frame(frame)
        await world.until(lambda: world.connects[0] == 2, 2.0)
        assert [series.revision for series in market] == revisions
        assert market.counters()["frames_malformed"] == 0  # it was never a whole frame


# --- 2: half open ----------------------------------------------------------------------------


@simulated
async def test_fault_02_half_open_connection_is_noticed_within_10_s_and_healed() -> None:
    """Fault 2: no bytes, no FIN; with tickers of 1 s it is seen within 10 s by their absence."""
    async with scenario(symbols=3, full_pace=True) as world:
        await world.sleep(20.0)
        end = world.network.clients[0]
        end.deaf = end.peer.deaf = True
        world.troubled(0.0)
        assert world.connects == [1]
        await world.until(lambda: world.feed.status().connections[0].state != "live", 10.0)
        await world.until(lambda: world.connects == [2] and world.live, 2.5)
        await world.sleep(15.0)
        await world.check_all(final=True)
        end.peer.abort()


@simulated
async def test_fault_02_half_open_connection_without_fast_streams_is_noticed_within_30_s() -> None:
    """Fault 2: streams thinned to minutes; the ping watchdog sees it within 30 s."""
    settings = {"ping_timeout_s": 30.0}
    async with scenario(symbols=2, settings=settings) as world:
        await world.sleep(7.0)
        end = world.network.clients[0]
        end.deaf = end.peer.deaf = True
        world.troubled(0.0)
        await world.until(lambda: world.connects[0] == 2, 30.0 + 5.0)
        end.peer.abort()


# --- 3: signs of life without data -----------------------------------------------------------


async def healings(world: World) -> dict[str, int]:
    """What was done for stale streams, by step."""
    _, _, body = await world.ask("/metrics")
    found = re.findall(rb'kline_stream_healings_total\{step="(\w+)"\} (\d+)', body)
    return {step.decode(): int(count) for step, count in found}


@simulated
async def test_fault_03_one_silent_stream_is_stale_within_15_s_resubscribed_then_left_to_rest() -> (
    None
):
    """Fault 3: one kline stream of a busy symbol delivers nothing, all else goes on: stale within
    3 updates of 2 s and the trades that prove it, subscribed anew, then on a new connection, then
    its closes come by REST within 5 s; the other streams are not stale, the blind time is told."""
    async with scenario(symbols=2, intervals=("1m", "5m"), full_pace=True) as world:
        await world.sleep(20.0)
        record = Record(world)
        world.troubled(600.0)
        joined = world.exchange.streams.joined["btcusdt@kline_1m"]
        muted_s = world.loop.time()
        state = world.feed.series_state
        world.exchange.faults.mute_streams.add("btcusdt@kline_1m")
        await world.until(lambda: state("BTCUSDT", "1m").stale, 15.0)
        await world.until(
            lambda: world.exchange.streams.joined.get("btcusdt@kline_1m", 0) > joined, 2.0
        )
        await world.sleep(300.0)
        steps = await healings(world)
        assert steps["resubscribe"] >= 1
        assert steps["reconnect"] >= 1
        assert steps["rest"] >= 1
        assert world.connects[0] <= 5
        delays = record.delays_s("BTCUSDT")
        assert len(delays) == 5
        assert max(delays) <= 5.0
        assert world.feed.status().streams_stale == 1
        assert not state("BTCUSDT", "5m").stale
        silent_ms = (world.loop.time() - muted_s) * 1000
        assert silent_ms - 5000 < state("BTCUSDT", "1m").blind_ms < silent_ms + 5000
        world.exchange.faults.mute_streams.clear()
        await world.until(lambda: world.feed.status().streams_stale == 0, 70.0)
        assert state("BTCUSDT", "1m").blind_ms == 0
        assert state("BTCUSDT", "1m").blind_total_ms > 290_000


@simulated
async def test_fault_03_all_streams_silent_is_stale_after_30_s_and_closes_come_by_rest() -> None:
    """Fault 3: pings and ACKs go on, no data at all for 5 minutes: served as stale after 30 s with
    its age, not ready, every close by REST within 5 s."""
    async with scenario(symbols=2, intervals=("1m",), full_pace=True) as world:
        await world.sleep(10.0)
        record = Record(world)
        world.troubled(300.0)
        with world.held(world.exchange.faults, "mute_all", True):
            await world.sleep(33.0)
            for _ in range(267):
                _, headers, _ = await world.ask("/klines/BTCUSDT/1m")
                assert headers["x-data-state"] == "stale"
                await world.sleep(1.0)
            assert (await world.ask("/ready"))[0] == 503
        delays = record.delays_s("BTCUSDT")
        assert len(delays) == 5
        assert max(delays) <= 5.0


# --- 9: subscriptions ------------------------------------------------------------------------


@simulated
async def test_fault_09_a_subscription_without_its_ack_is_tried_again_in_growing_waits() -> None:
    """Fault 9: no ACK for 10 minutes: every attempt ends after 5 s, waits grow to 30 s at most, and
    1.5 s after the ACKs are back it is subscribed."""
    async with scenario(symbols=2) as world:
        record = Record(world)
        world.network.clients[0].sever(reset=True)
        world.troubled(600.0)
        begun_s = world.loop.time()
        with world.held(world.exchange.faults, "no_ack", True):
            await world.sleep(600.0)
        attempts = record.connects(begun_s)
        waits = [after - before for before, after in zip(attempts, attempts[1:], strict=False)]
        assert 600 / (5 + 30 + 1) - 1 <= len(attempts) <= 600 / 5
        assert min(waits) >= 5.0  # the time an ACK has
        assert max(waits) <= 5.0 + 30.0 + 0.5
        await world.until(lambda: world.live, 5.0 + 30.0 + 1.5)


@simulated
async def test_fault_09_a_refused_subscription_is_tried_again_and_named() -> None:
    """Fault 9: an error reply ends the attempt at once; its words are the reason that is shown."""
    async with scenario(symbols=2) as world:
        world.network.clients[0].sever(reset=True)
        world.troubled(60.0)
        refusal = b'{"error":{"code":2,"msg":"Invalid request: not today"},"id":1}'
        reasons = set()
        with world.held(world.exchange.faults, "no_ack", True):
            for _ in range(120):
                await world.sleep(0.5)
                world.exchange.streams.send_to_all(refusal)
                reasons.add(world.feed.status().connections[0].reason)
        assert any("Invalid request: not today" in reason for reason in reasons)
        await world.until(lambda: world.live, 31.5)


@simulated
async def test_fault_09_no_message_is_longer_than_4096_bytes_and_no_second_has_too_many() -> None:
    """Fault 9: 1,020 streams of long names on one connection: in pieces the exchange answers."""
    source = GeneratedMarket(1, [f"LONGNAMEDSYMBOL{index:04d}USDT" for index in range(204)])
    async with scenario(source=source, capacity=2, judged=False, ready=False) as world:
        await world.sleep(5.0)  # the market is there
        await world.until(lambda: world.live, 30.0)
        (connection,) = world.exchange.streams.connections
        assert len(connection.names) == 1020
        counters = world.exchange.counters
        assert counters["too_long_messages"] == counters["too_many_messages"] == 0
        assert world.connects[0] == 1


# --- 10: planned ends, and all at once -------------------------------------------------------


@pytest.mark.parametrize("combined", [False, True], ids=["raw", "combined"])
@simulated
async def test_fault_10_an_announced_shutdown_brings_the_successor_first_and_misses_nothing(
    combined: bool,
) -> None:
    """Fault 10: serverShutdown in either form: at no moment without a connection, no REST."""
    async with scenario(symbols=2, intervals=("1m",), full_pace=True) as world:
        record = Record(world)
        old = list(world.exchange.streams.connections)
        for connection in old:
            connection.combined = combined
        world.exchange.streams.announce_shutdown()
        least = len(world.network.clients)
        for _ in range(200):
            await world.sleep(0.1)
            least = min(least, len(world.network.clients))
        assert least == 1
        assert world.connects[0] == 2
        assert not set(old) & set(world.exchange.streams.connections)
        await world.sleep(120.0)
        assert record.asked("/klines") == []  # nothing was missed
        assert world.feed.repaired == 0


async def rotate(world: World, seconds: float) -> None:
    """Let time pass; at no moment fewer connections than at the start, and nothing missed."""
    record = Record(world)
    count = len(world.network.clients)
    until_s = world.loop.time() + seconds
    while world.loop.time() < until_s:
        await world.sleep(5.0)
        assert len(world.network.clients) >= count
    assert world.exchange.counters["life_over"] == 0
    assert record.asked("/klines") == []
    connects = record.connects()
    assert len(connects) >= count
    gaps = [after - before for before, after in zip(connects, connects[1:], strict=False)]
    assert min(gaps) >= 1.0
    assert max(gaps) > 10.0  # not all of them together


@simulated
async def test_fault_10_a_rotated_connection_comes_before_its_predecessor_goes() -> None:
    """Fault 10: 10 connections rotated twice within an hour: never fewer than 10, no REST, not
    together."""
    settings = {"streams_per_connection_spot": 2, "rotate_after_s": 1700.0}
    async with scenario(symbols=10, intervals=("1m",), settings=settings) as world:
        await rotate(world, 3600.0)
        assert set(world.connects) == {3}


@pytest.mark.slow
@simulated
async def test_fault_10_connections_are_rotated_before_the_exchange_cuts_them_at_24_hours() -> None:
    """Fault 10: the same at the default of 23 h over two days: the exchange never has to cut."""
    settings = {"streams_per_connection_spot": 2}
    async with scenario(symbols=2, hours=49.0, intervals=("1m",), settings=settings) as world:
        await rotate(world, 48 * 3600.0)
        assert set(world.connects) == {3}


@simulated
async def test_fault_10_all_connections_cut_at_once_come_back_in_waits_of_their_own() -> None:
    """Fault 10: 5 connections cut at once and refused for 10 minutes: at least 1 s apart, no common
    step; live again within the longest wait of 30 s and 5 times 1 s."""
    settings = {"streams_per_connection_spot": 2}
    async with scenario(symbols=2, settings=settings) as world:
        assert len(world.network.clients) == 5
        record = Record(world)
        world.troubled(600.0)
        begun_s = world.loop.time()
        for end in world.network.clients:
            end.sever(reset=True)
        with world.held(world.network.conditions, "refuse", True):
            await world.sleep(600.0)
        attempts = record.connects(begun_s)
        waits = [after - before for before, after in zip(attempts, attempts[1:], strict=False)]
        assert min(waits) >= 0.999
        apart = [round(wait, 3) for wait in waits if wait > 1.101]
        assert len(apart) > 50
        assert len(set(apart)) > 0.9 * len(apart)
        await world.until(lambda: world.live, 35.0)


@simulated
async def test_fault_10_forty_connections_that_never_succeed_stay_below_300_connects() -> None:
    """Fault 10: 40 connections set to come every 0.1 s, no ACK for 10 minutes: the exchange, which
    refuses the 301st connect within 5 minutes, never has to."""
    settings = {"streams_per_connection_spot": 1, "connect_interval_s": 0.1}
    async with scenario(symbols=8, settings=settings) as world:
        record = Record(world)
        world.troubled(600.0)
        for end in world.network.clients:
            end.sever(reset=True)
        with world.held(world.exchange.faults, "no_ack", True):
            await world.sleep(600.0)
        attempts = record.connects()
        most = max(sum(at <= other <= at + 300.0 for other in attempts) for at in attempts)
        assert 200 <= most <= 300
        assert world.exchange.counters["connects_refused"] == 0
        await world.until(lambda: world.live, 340.0)


@simulated
async def test_fault_10_the_cut_at_24_hours_is_healed_at_once() -> None:
    """Fault 10: were a connection never rotated: cut politely at 24 h, whole 10 s later."""
    async with scenario(symbols=2) as world:
        world.troubled(0.0)
        for connection in list(world.exchange.streams.connections):
            connection.cut(WSCloseCode.POLICY_VIOLATION)
        await world.until(lambda: not world.live, 1.0)
        await world.until(lambda: world.live, 2.0)
        await world.sleep(10.0)
        await world.check_all(final=True)
