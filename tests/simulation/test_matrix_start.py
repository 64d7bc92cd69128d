"""Fault matrix, a start while REST cannot be had: rows of the snapshot, streams, no request."""

from __future__ import annotations

import json
import math

import pytest
from simulation.records import MINUTE_MS, Record, next_minute_ms
from simulation.rest import Mishap
from simulation.scenario import scenario, simulated
from simulation.world import World

SETTINGS = {"snapshot_interval_s": 60.0}


async def reasons(world: World) -> list[str]:
    """Why ``/ready`` says no, and ``/v1/status`` the same."""
    status, _, body = await world.ask("/ready")
    assert status == 503
    told: list[str] = json.loads(body)["reasons"]
    assert world.feed.status().reasons
    _, _, body = await world.ask("/v1/status")
    assert all(reason.encode() in body for reason in world.feed.status().reasons[:1])
    return told


async def check_served(world: World) -> None:
    """Every series answers with the rows of the snapshot at least."""
    for symbol in world.market.symbols:
        status, _, body = await world.ask(f"/klines/{symbol}/1m")
        assert status == 200
        assert json.loads(body)["count"] > 50


def listen(world: World) -> None:
    """Hear closes from now on. Barriers begin when the exchange's time is known, which is later."""
    world._listen()
    world.judge.barriers_from_ms = math.inf


async def until_ready(world: World, within_s: float) -> None:
    await world.until(world._is_ready, within_s)
    world.judge.barriers_from_ms = world.now_ms


async def end(world: World, how: str) -> None:
    if how == "stop":
        await world.stop_server()
    else:
        await world.kill_server(power_loss=how == "power")


@pytest.mark.parametrize("how", ["stop", "kill", "power"])
@pytest.mark.parametrize("status", [418, 429, 403, 451])
@simulated
async def test_fault_11_a_restart_during_a_ban_asks_nothing_until_its_end(
    how: str, status: int
) -> None:
    """Fault 11: refused for 10 minutes, restarted 1 and 3 minutes later: 0 requests until the end,
    the snapshot's rows are served and each stream's closes told meanwhile, then all is whole."""
    async with scenario(symbols=2, intervals=("1m",), settings=SETTINGS) as world:
        await world.sleep(130.0)
        record = Record(world)
        world.mishaps.append(Mishap(status, (("retry-after", "600"),), b"{}", trouble_s=600.0))
        world.exchange.faults.drop_closes = 1  # so that something is asked for
        world.troubled(900.0)
        await world.until(lambda: not world.mishaps, 120.0)
        await world.sleep(0.5)
        refused_s = record.asked()[-1].at_s
        for pause_s in (59.5, 120.0):
            await end(world, how)
            await world.sleep(pause_s)
            await world.start_server()
            await world.until(lambda: world.serving, 1.0)
            await check_served(world)
            _, headers, _ = await world.ask(f"/klines/{world.market.symbols[0]}/1m")
            assert headers["x-data-state"] == "stale"
            await world.until(lambda: world.live, 10.0)
            told = await reasons(world)
            assert any("symbols are those of the snapshot: the exchange" in one for one in told)
            assert any(f"({status})" in one for one in told)
        # The streams' closes are taken and told.
        listen(world)
        opened_ms = next_minute_ms(world)
        await world.sleep_until(opened_ms + 3 * MINUTE_MS + 5000)
        assert len(record.told("BTCUSDT", "1m")) >= 3
        left_s = refused_s + 599.0 - world.loop.time()
        assert left_s > 60.0
        await world.sleep(left_s)
        assert record.asked("", refused_s + 0.001) == []
        assert (await world.ask("/ready"))[0] == 503
        await until_ready(world, 60.0)
        assert record.asked("", refused_s + 0.001)[0].at_s >= refused_s + 599.9
        assert not any(path.endswith(".wait") for path in world.disk.entries)


@simulated
async def test_fault_11_a_ban_without_a_snapshot_is_waited_out_and_named() -> None:
    """Fault 11: banned at the first request, restarted, no snapshot yet: nothing is asked, the
    reason is told, and 60 s after the end it is ready."""
    async with scenario(symbols=1, ready=False) as world:
        await world.kill_server()
        world.disk.entries.clear()
        record = Record(world)
        world.mishaps.append(Mishap(418, (("retry-after", "600"),), b"{}", trouble_s=600.0))
        await world.start_server()
        await world.until(lambda: not world.mishaps, 5.0)
        await world.sleep(1.0)
        refused_s = record.asked()[-1].at_s
        await world.kill_server()
        await world.start_server()
        await world.sleep(580.0)
        assert record.asked("", refused_s + 0.001) == []
        status, _, body = await world.ask("/ready")
        assert (status, b"418" in body) == (503, True)
        world.troubled(120.0)
        await world.until_ready(80.0)


def refused(world: World) -> tuple[object, str, object]:
    return world.network.conditions, "failure", ConnectionRefusedError(111, "connection refused")


OUTAGES = {
    "503": Mishap(503, (), b"<html>", trouble_s=15.0),
    "silence": Mishap(0, trouble_s=15.0),
    "stall": Mishap(200, delay_s=60.0, trouble_s=15.0),
    "no list": Mishap(200, (), b"<html>", trouble_s=15.0),
    "empty list": Mishap(200, (), b'{"symbols":[]}', trouble_s=15.0),
}


@pytest.mark.parametrize("symbols", [",", "top:3:USDT", "all:USDT"])
@pytest.mark.parametrize("name", OUTAGES)
@simulated
async def test_fault_11_a_restart_with_rest_down_for_ten_minutes_serves_and_ends_whole(
    name: str, symbols: str
) -> None:
    """Fault 11: no good answer for 10 minutes from the start on: serving within 12 s, streams live
    within 25 s, closes told; no kline closed by REST; whole within 2 minutes afterwards."""
    settings = SETTINGS | ({} if symbols == "," else {"symbols": symbols})
    async with scenario(symbols=3, intervals=("1m", "5m"), settings=settings) as world:
        await world.sleep(130.0)
        record = Record(world)
        await world.kill_server()
        world.troubled(720.0)
        world.mishaps.extend([OUTAGES[name]] * 1000)
        await world.sleep(5.0)
        started_s = world.loop.time()
        await world.start_server()
        await world.until(lambda: world.serving, 12.0)
        assert len(world.market.symbols) == 3
        await check_served(world)
        await world.until(lambda: world.live, 13.0)
        listen(world)
        opened_ms = next_minute_ms(world)
        while world.loop.time() < started_s + 600.0:
            await world.sleep(60.0)
            await world.check_all()
        told = await reasons(world)
        assert any("symbols are those of the snapshot: " in one for one in told)
        assert len([one for one in record.told("BTCUSDT", "1m") if one.open_ms >= opened_ms]) >= 8
        world.mishaps.clear()
        await until_ready(world, 120.0)


@simulated
async def test_fault_11_while_nothing_can_be_asked_no_kline_is_closed_but_by_its_stream() -> None:
    """Fault 11: no connection for streams either: rows stay those of the snapshot, all stale."""
    async with scenario(symbols=2, intervals=("1m",), settings=SETTINGS) as world:
        await world.sleep(130.0)
        await world.kill_server()
        world.troubled(600.0)
        with world.held(world.network.conditions, "refuse", True):
            await world.start_server()
            await world.until(lambda: world.serving, 12.0)
            counts = [series.closed_count for series in world.market]
            for _ in range(5):
                await world.sleep(60.0)
                _, headers, _ = await world.ask("/klines/BTCUSDT/1m")
                assert headers["x-data-state"] == "stale"
            assert [series.closed_count for series in world.market] == counts
        await until_ready(world, 120.0)


@simulated
async def test_fault_11_closes_missed_while_nothing_can_be_asked_are_told_once_afterwards() -> None:
    """Fault 11: streams run, REST is down for 10 minutes, a close of each symbol never comes: it is
    told within 2 minutes of the end, once; what closed before the start is not."""
    async with scenario(symbols=2, intervals=("1m",), settings=SETTINGS) as world:
        await world.sleep(130.0)
        record = Record(world)
        await world.kill_server()
        world.troubled(720.0)
        world.mishaps.extend([OUTAGES["503"]] * 1000)
        await world.sleep(200.0)
        started_ms = world.now_ms
        await world.start_server()
        await world.until(lambda: world.serving and world.live, 25.0)
        listen(world)
        opened_ms = next_minute_ms(world) + MINUTE_MS
        await world.sleep_until(opened_ms + MINUTE_MS - 1000)
        world.exchange.faults.drop_closes = 2
        await world.sleep(500.0)
        assert record.told("BTCUSDT", "1m", opened_ms) == []
        world.mishaps.clear()
        await until_ready(world, 120.0)
        for symbol in world.market.symbols:
            told = [one.open_ms for one in record.told(symbol, "1m")]
            assert told.count(opened_ms) == 1
            assert min(told) + MINUTE_MS > started_ms


@pytest.mark.parametrize("full_pace", [False, True])
@pytest.mark.parametrize("skew_ms", [-3_600_000, -30_000, 30_000, 3_600_000])
@simulated
async def test_fault_13_a_wrong_clock_and_no_exchanges_time_leave_streams_alone(
    skew_ms: int, full_pace: bool
) -> None:
    """Fault 13: the exchange's time cannot be asked for and the machine's is wrong: streams are
    neither called stale nor replaced, closes are told at once."""
    async with scenario(
        symbols=2, intervals=("1m", "5m"), settings=SETTINGS, full_pace=full_pace
    ) as world:
        await world.sleep(130.0)
        record = Record(world)
        await world.kill_server()
        world.clock.step(skew_ms)
        world.troubled(720.0)
        world.mishaps.extend([OUTAGES["503"]] * 1000)
        await world.start_server()
        await world.until(lambda: world.serving and world.live, 25.0)
        listen(world)
        for _ in range(120):
            await world.sleep(5.0)
            assert world.feed.status().streams_stale == 0
            assert world.feed.blind_s < 30.0
        assert world.connects == [1]
        delays = record.delays_s("BTCUSDT")
        assert len(delays) >= 9
        assert 0.0 <= min(delays) <= max(delays) < 1.0
        world.mishaps.clear()
        await until_ready(world, 120.0)


@simulated
async def test_fault_11_the_first_list_corrects_symbols_of_the_snapshot() -> None:
    """Fault 11: what was listed, halted and delisted while the server could not ask is followed by
    the first list."""
    async with scenario(
        symbols=4, spare=2, intervals=("1m",), settings=SETTINGS, judged=False
    ) as world:
        await world.sleep(130.0)
        held = set(world.market.symbols)
        await world.kill_server()
        await world.sleep(5.0)
        world.mishaps.extend([OUTAGES["503"]] * 1000)
        world.exchange.set_status("BTCUSDT", "HALT")
        (listed, *_) = world.unlisted
        world.exchange.list_symbol(listed)
        world.exchange.delist("PEPEUSDT")
        await world.start_server()
        await world.until(lambda: world.serving, 12.0)
        assert set(world.market.symbols) == held
        assert set(world.feed.statuses().values()) == {"TRADING"}
        await world.sleep(120.0)
        world.mishaps.clear()
        await world.until(lambda: not world.feed.universe.assumed, 35.0)
        assert set(world.market.symbols) == held - {"PEPEUSDT"} | {listed}
        assert world.feed.statuses()["BTCUSDT"] == "HALT"
        await until_ready(world, 120.0)


@pytest.mark.parametrize("fault", ["other exchange", "other symbols", "other intervals"])
@simulated
async def test_fault_11_a_snapshot_of_something_else_is_not_used(fault: str) -> None:
    """Fault 11: REST is down, and the snapshot is of another exchange, or of nothing that the
    settings ask for: nothing is served rather than that."""
    async with scenario(symbols=2, intervals=("1m",), settings=SETTINGS, judged=False) as world:
        await world.sleep(130.0)
        await world.kill_server()
        if fault == "other exchange":
            world._values["spot_rest"] = "http://testnet.example"
        elif fault == "other symbols":
            world._values["symbols"] = "ETHUSDT,SOLUSDT"
        else:
            world._values["intervals"] = ["5m", "1h"]
        with world.held(world.network.conditions, "refuse", True):
            await world.start_server()
            await world.sleep(120.0)
            assert not world.serving
            status, _, body = await world.ask("/ready")
            assert (status, b"asking again" in body) == (503, True)
