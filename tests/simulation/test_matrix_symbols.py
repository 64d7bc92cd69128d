"""Fault matrix, what happens to symbols: row 15; others are unaffected, and it is reported."""

from __future__ import annotations

import json
from typing import Any

import pytest
from simulation.records import MINUTE_MS, Record, next_minute_ms
from simulation.scenario import scenario, simulated
from simulation.world import World

from server.exchange.generated import GeneratedMarket

SETTINGS = {"universe_interval_s": 120.0}


async def get(world: World, target: str) -> Any:
    _, _, body = await world.ask(target)
    return json.loads(body)


async def spot_symbols(world: World) -> dict[str, Any]:
    found: dict[str, Any] = (await get(world, "/v1/symbols"))["markets"]["spot"]
    return found


def whole(record: Record, symbol: str, count: int) -> None:
    """So many closes in a row were told, each within a second."""
    told = [one.open_ms for one in record.told(symbol, "1m")]
    assert len(told) == count
    assert told == list(range(told[0], told[0] + count * MINUTE_MS, MINUTE_MS))
    assert max(record.delays_s(symbol)) < 1.0


@simulated
async def test_fault_15_unknown_symbols_are_named_and_hurt_no_other() -> None:
    """Fault 15: 3 of 5 configured names do not exist, one in Unicode: named, the others served."""
    wanted = "BTCUSDT,NOSUCHUSDT,LTCUSDT,币安USDT,X"
    async with scenario(symbols=6, settings=SETTINGS | {"symbols": wanted}) as world:
        record = Record(world)
        symbols = await spot_symbols(world)
        assert symbols["symbols"] == ["BTCUSDT", "LTCUSDT"]
        assert symbols["unknown_symbols"] == ["NOSUCHUSDT", "币安USDT", "X"]
        await world.sleep_until(next_minute_ms(world) + 5 * MINUTE_MS - 1000)
        whole(record, "BTCUSDT", 5)
        assert (await world.ask("/ready"))[0] == 200


@pytest.mark.parametrize("status", ["HALT", "BREAK"])
@simulated
async def test_fault_15_a_symbol_that_stops_is_reported_and_the_others_go_on(status: str) -> None:
    """Fault 15: a status changes: reported within 120 s + 10 s, nothing waits for it, the other
    symbol's 10 closes are told within 1 s each; back, its closes come again."""
    async with scenario(symbols=2, intervals=("1m",), settings=SETTINGS) as world:
        await world.sleep_until(next_minute_ms(world) + 1000)
        record = Record(world)
        world.exchange.set_status("QTUMUSDT", status)
        world.troubled(0.0)
        await world.until(lambda: world.feed.statuses()["QTUMUSDT"] == status, 130.0)
        await world.sleep_until(next_minute_ms(world) + 8 * MINUTE_MS)
        await world.sleep(1.0)
        whole(record, "BTCUSDT", len(record.told("BTCUSDT", "1m")))
        assert len(record.told("BTCUSDT", "1m")) >= 9
        assert world._is_ready()
        world.exchange.set_status("QTUMUSDT", "TRADING")
        world.troubled(130.0)
        await world.until(lambda: world.feed.statuses()["QTUMUSDT"] == "TRADING", 130.0)
        before = len(record.told("QTUMUSDT", "1m"))
        await world.sleep(180.0)
        assert len(record.told("QTUMUSDT", "1m")) >= before + 3
        world.judge.truths.clear()  # written before the halt


@simulated
async def test_fault_15_a_rename_is_one_symbol_gone_and_one_new() -> None:
    """Fault 15: renamed to Unicode under ``all:USDT``: within 260 s the old one is marked as gone
    and the new one served; the third has told every close within 1 s."""
    settings = SETTINGS | {"symbols": "all:USDT"}
    async with scenario(symbols=3, intervals=("1m",), settings=settings, judged=False) as world:
        await world.sleep_until(next_minute_ms(world) + 1000)
        record = Record(world)
        begun_s = world.loop.time()
        world.exchange.rename("QTUMUSDT", "币安人生USDT")
        await world.until(lambda: world.feed.statuses().get("QTUMUSDT") == "GONE", 260.0)
        assert world.feed.statuses()["币安人生USDT"] == "TRADING"
        await world.sleep(300.0)
        path = "/klines/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT/1m?limit=3"
        assert (await get(world, path))["count"] == 3
        whole(record, "BTCUSDT", round((world.loop.time() - begun_s) // 60))
        world.judge.truths.clear()
        await world.check("BTCUSDT", "1m", final=True)
        assert world.judge.faults == []


@simulated
async def test_fault_15_a_thousand_listings_fill_the_room_and_are_named() -> None:
    """Fault 15: 1,000 symbols listed in one moment, room for 8: 8 are held, 992 named as without
    room within 130 s; memory and connections stay as they are, the first symbols lose nothing."""
    names = [f"NEW{index:04d}USDT" for index in range(1000)]
    settings = SETTINGS | {"symbols": "all:USDT", "symbols_room": 8}
    source = GeneratedMarket(1, ["BTCUSDT", "LTCUSDT", *names])
    async with scenario(
        source=source, intervals=("1m",), capacity=5, settings=settings, ready=False, judged=False
    ) as world:
        listed = world.exchange.source
        for name in names:
            listed.symbols.pop(name)
            listed._hidden[name] = [(0, 1 << 62)]
        await world.until_ready()
        size = world.market.size
        await world.sleep_until(next_minute_ms(world) + 1000)
        record = Record(world)
        for name in names:
            world.exchange.list_symbol(name)
        await world.until(lambda: len(world.market.symbols) == 10, 130.0)
        await world.sleep_until(next_minute_ms(world) + 5 * MINUTE_MS - 1000)
        symbols = await spot_symbols(world)
        assert len(symbols["symbols"]) == 10
        assert len(symbols["without_room"]) == 992
        assert world.market.size == size
        assert len(world.network.clients) == 1
        whole(record, "BTCUSDT", len(record.told("BTCUSDT", "1m")))
        assert len(record.told("BTCUSDT", "1m")) >= 5
        for symbol in ("BTCUSDT", "LTCUSDT"):
            await world.check(symbol, "1m", final=True)
        assert world.judge.faults == []
        assert world.exchange.counters["too_many_messages"] == 0


@simulated
async def test_must_never_25_a_delisted_symbol_looks_alive() -> None:
    """Must never 25: delisted: after two lists (250 s) it says GONE in /v1/symbols and in an event
    of ``!symbols``; its rows stand still as they were, and no close of it is told any more."""
    async with scenario(symbols=2, intervals=("1m",), settings=SETTINGS, judged=False) as world:
        assert world.server is not None
        topic = world._served().channels.find("!symbols")
        assert topic is not None
        events = world.server.state.hub.subscribe(topic)
        await world.sleep_until(next_minute_ms(world) + 1000)
        world.exchange.delist("BTCUSDT")
        await world.until(lambda: world.feed.statuses()["BTCUSDT"] == "GONE", 260.0)
        payload = events.take()
        assert payload is not None
        event = json.loads(payload)["data"]
        assert (event["symbol"], event["status"], event["reason"]) == ("BTCUSDT", "GONE", "gone")
        record = Record(world)
        last_ms = world.market["BTCUSDT", "1m"].last_close_ms
        await world.sleep(3600.0)
        assert (await spot_symbols(world))["statuses"]["BTCUSDT"] == "GONE"
        assert world.market["BTCUSDT", "1m"].last_close_ms == last_ms
        assert record.told("BTCUSDT", "1m") == []
        assert len(record.told("QTUMUSDT", "1m")) >= 59
        assert world._is_ready()
