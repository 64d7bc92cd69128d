"""Symbols that come, go, stop and resume at the exchange, seen through the whole server."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from simulation.scenario import simulated
from simulation.world import World

from klinecore.series import RowState
from server.errors import FeedError
from server.feeds.universe import ROWS_KEPT_S, STREAMS_KEPT_S
from server.signals.channels import SYMBOLS

UNICODE = "币安人生USDT"
MINUTE_MS = 60_000


@asynccontextmanager
async def scenario(
    *, symbols: str = "all:USDT", unlisted: tuple[str, ...] = (), count: int = 5, **settings: Any
) -> AsyncIterator[World]:
    """QTUM (quiet), BTC, FDUSD, PEPE, LTC; those ``unlisted`` come later."""
    world = World(
        4, symbols=count, settings={"symbols": symbols, "universe_interval_s": 120.0, **settings}
    )
    for name in unlisted:
        world.exchange.source.symbols.pop(name)
        world.exchange.source._hidden[name] = [(0, 1 << 62)]
    await world.open()
    try:
        await world.until_ready()
        yield world
    finally:
        await world.close()


def feed_of(world: World) -> Any:
    assert world.server is not None
    return world.server._feeds[0]


async def get(world: World, target: str) -> Any:
    status, _, body = await world.ask(target)
    assert status in (200, 503), body
    return json.loads(body)


async def until(world: World, condition: Callable[[], object], seconds: float = 300.0) -> None:
    begun = world.loop.time()
    while not condition():
        assert world.loop.time() - begun < seconds, f"not within {seconds} s"
        await world.sleep(1.0)


class Told:
    """What ``!symbols`` says from now on."""

    def __init__(self, world: World) -> None:
        assert world.server is not None
        topic = world._served().channels.find(SYMBOLS)
        assert topic is not None
        self._subscriber = world.server.state.hub.subscribe(topic)

    def __call__(self) -> list[tuple[str, str, str]]:
        found = []
        while (payload := self._subscriber.take()) is not None:
            message = json.loads(payload)
            assert message["type"] == "symbol"
            data = message["data"]
            assert data["time"] > 0
            found.append((data["symbol"], data["status"], data["reason"]))
        return found


def is_true(world: World, symbol: str, interval: str = "1m", rows: int = 1) -> None:
    """Every closed row held is the exchange's own, without a hole the exchange does not have."""
    market = world._served().market
    series = market[symbol, interval]
    held = series.open_time_ms.tolist()
    assert len(held) >= rows
    truth = world.exchange.book.rows(
        symbol, interval, world.now_ms, limit=1000, start_ms=held[0], end_ms=held[-1]
    )
    assert held == [row.open_ms for row in truth if row.closed]
    assert series.trades.tolist() == [row.trades for row in truth if row.closed]


@pytest.mark.parametrize("status", ["HALT", "BREAK", "SOMETHING_NEW"])
@simulated
async def test_a_halted_symbol_is_served_on_and_waited_for_by_nobody(status: str) -> None:
    async with scenario(symbols="BTCUSDT,LTCUSDT,PEPEUSDT") as world:
        told = Told(world)
        world.exchange.set_status("LTCUSDT", status)
        await until(world, lambda: feed_of(world).statuses()["LTCUSDT"] == status, 130.0)
        assert told() == [("LTCUSDT", status, "status")]
        market = world._served().market
        await world.sleep(20 * 60.0)
        last = market["LTCUSDT", "1m"].last
        assert last is not None
        assert last.open_time_ms < world.now_ms - 15 * MINUTE_MS
        assert (await get(world, "/ready"))["ready"]
        status_of = await get(world, "/v1/status?symbol=LTCUSDT&interval=1m")
        feed = status_of["markets"]["spot"]["series"][0]["feed"]
        assert (feed["blind_ms"], feed["blind_total_ms"], feed["stale"]) == (0, 0, False)
        assert feed_of(world).status().closes_late == 0
        held = await get(world, "/v1/symbols")
        assert held["markets"]["spot"]["statuses"]["LTCUSDT"] == status
        assert (await get(world, "/klines/LTCUSDT/1m"))["count"] > 10
        barrier = market.barrier("1m")
        assert barrier is not None
        assert "LTCUSDT" not in barrier.missing
        world.exchange.set_status("LTCUSDT", "TRADING")
        await until(world, lambda: feed_of(world).statuses()["LTCUSDT"] == "TRADING", 130.0)
        assert told() == [("LTCUSDT", "TRADING", "status")]
        await world.sleep(300.0)
        is_true(world, "LTCUSDT", rows=30)
        series = market["LTCUSDT", "1m"]
        assert series.holes() == []
        absent = series.absences()
        assert absent, "the halt is known to be one"
        assert series.state_at(absent[0][0]) == RowState.ABSENT


@simulated
async def test_a_new_listing_is_held_with_streams_windows_and_answers() -> None:
    async with scenario(unlisted=("PEPEUSDT",)) as world:
        told = Told(world)
        assert (await world.ask("/klines/PEPEUSDT/1m"))[0] == 404
        connects = world.network.connects
        world.exchange.list_symbol("PEPEUSDT")
        await until(world, lambda: "PEPEUSDT" in feed_of(world).statuses(), 130.0)
        assert told() == [("PEPEUSDT", "TRADING", "added")]
        await world.sleep(400.0)
        assert (await get(world, "/ready"))["ready"]
        is_true(world, "PEPEUSDT", rows=4)
        assert feed_of(world).series_state("PEPEUSDT", "1m").source == "stream"
        assert world.network.connects == connects, "a connection with room took its streams"
        assert world._served().channels.find("pepeusdt@kline_1m") is not None
        answer = await get(world, "/klines/PEPEUSDT/1m?limit=3")
        assert answer["count"] == 3


@simulated
async def test_a_symbol_added_by_hand_has_its_history_and_tells_only_what_is_news() -> None:
    async with scenario(symbols="BTCUSDT") as world:
        await world.sleep(600.0)
        assert world.server is not None
        topic = world._served().channels.topic_of("LTCUSDT@kline_1m")
        subscriber = world.server.state.hub.subscribe(topic)
        added_ms = world.now_ms
        await feed_of(world).change_symbols(["ltcusdt"], [])
        await world.sleep(200.0)
        is_true(world, "LTCUSDT", rows=100)
        told = []
        while (payload := subscriber.take()) is not None:
            kline = json.loads(payload)["k"]
            told += [kline["T"]] if kline["x"] else []
        assert told
        assert min(told) >= added_ms
        assert len(told) == len(set(told))


@simulated
async def test_a_full_connection_leaves_new_streams_to_a_new_one() -> None:
    async with scenario(unlisted=("PEPEUSDT",), streams_per_connection_spot=7) as world:
        before = len(feed_of(world).status().connections)
        world.exchange.list_symbol("PEPEUSDT")
        await until(world, lambda: "PEPEUSDT" in feed_of(world).statuses(), 130.0)
        await world.sleep(400.0)
        connections = feed_of(world).status().connections
        assert len(connections) >= before
        assert all(connection.streams <= 7 for connection in connections)
        assert sum(connection.streams for connection in connections) == 5 * 5
        is_true(world, "PEPEUSDT", rows=4)
        assert world.exchange.counters["too_many_messages"] == 0


@simulated
async def test_a_delisted_symbol_is_frozen_marked_and_dropped_after_a_day() -> None:
    async with scenario(symbols="BTCUSDT,LTCUSDT") as world:
        told = Told(world)
        await world.sleep(120.0)
        world.exchange.delist("LTCUSDT")
        await until(world, lambda: feed_of(world).statuses()["LTCUSDT"] == "GONE", 400.0)
        assert told() == [("LTCUSDT", "GONE", "gone")]
        await world.sleep(STREAMS_KEPT_S + 130.0)
        streams = world.exchange.streams.subscribers
        assert not [name for name in streams if name.startswith("ltcusdt")], "unsubscribed"
        assert (await get(world, "/klines/LTCUSDT/1m"))["count"] > 5
        assert (await get(world, "/ready"))["ready"]
        old = world._served().market["LTCUSDT", "1m"].revision
        await world.sleep(ROWS_KEPT_S)
        assert told() == [("LTCUSDT", "GONE", "removed")]
        assert (await world.ask("/klines/LTCUSDT/1m"))[0] == 404
        assert world._served().channels.find("ltcusdt@kline_1m") is None
        world.exchange.list_symbol("LTCUSDT")
        await until(world, lambda: "LTCUSDT" in feed_of(world).statuses(), 130.0)
        await world.sleep(300.0)
        assert world._served().market["LTCUSDT", "1m"].revision > old, "no old body fits"
        is_true(world, "LTCUSDT", rows=3)


@simulated
async def test_a_rename_is_one_symbol_gone_and_one_new_in_any_script() -> None:
    async with scenario() as world:
        told = Told(world)
        world.exchange.rename("LTCUSDT", UNICODE)
        await until(world, lambda: feed_of(world).statuses().get("LTCUSDT") == "GONE", 400.0)
        assert told() == [(UNICODE, "TRADING", "added"), ("LTCUSDT", "GONE", "gone")]
        await world.sleep(600.0)
        is_true(world, UNICODE, rows=8)
        path = "/klines/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT/1m?limit=2"
        assert (await get(world, path))["symbol"] == UNICODE


@simulated
async def test_without_room_a_listing_is_named_and_others_are_served() -> None:
    async with scenario(unlisted=("PEPEUSDT", "LTCUSDT"), symbols_room=1) as world:
        told = Told(world)
        world.exchange.list_symbol("PEPEUSDT")
        world.exchange.list_symbol("LTCUSDT")
        await until(world, lambda: feed_of(world).universe.turned_away, 130.0)
        assert [reason for _, _, reason in told()] == ["added", "no room"]
        await world.sleep(60.0)
        (name,) = feed_of(world).universe.turned_away
        ready = await get(world, "/ready")
        assert ready["ready"]
        assert ready["markets"]["spot"]["symbols_without_room"] == [name]
        assert (await get(world, "/v1/symbols"))["markets"]["spot"]["without_room"] == [name]
        body = (await world.ask("/metrics"))[2].decode()
        assert 'kline_symbol_changes_total{market="spot",reason="no_room"} 1' in body
        assert 'kline_symbols{market="spot",state="without_room"} 1' in body


@simulated
async def test_a_blip_of_the_list_drops_nothing() -> None:
    async with scenario() as world:
        source = world.exchange.source
        symbols = dict(source.symbols)
        for kept in (0, 1, 2):
            source.symbols.clear()
            source.symbols.update(list(symbols.items())[:kept])
            await world.sleep(700.0)
            assert list(feed_of(world).statuses()) == list(symbols)
            source.symbols.clear()
            source.symbols.update(symbols)
            await world.sleep(130.0)
        assert set(feed_of(world).statuses().values()) == {"TRADING"}
        world.troubled(0.0)
        assert (await world.verdict()).ok


@simulated
async def test_a_symbol_that_falls_silent_is_looked_up_before_its_turn() -> None:
    async with scenario(symbols="BTCUSDT,LTCUSDT", universe_interval_s=7200.0) as world:
        await world.sleep(200.0)
        world.exchange.set_status("LTCUSDT", "HALT")
        await until(world, lambda: feed_of(world).statuses()["LTCUSDT"] == "HALT", 300.0)


@pytest.mark.parametrize("seed", range(4))
@simulated
async def test_whatever_comes_and_goes_in_whatever_order_the_rest_is_whole(seed: int) -> None:
    """Three hours of listings, delistings, halts, renames, hands, cuts and shutdowns."""
    late = ("SIM001USDT", "SIM002USDT", "SIM003USDT")
    async with scenario(
        count=10, unlisted=late, symbols_room=4, streams_per_connection_spot=12
    ) as world:
        draw = random.Random(seed)
        exchange, feed = world.exchange, feed_of(world)
        names = [name for name in world.source.symbols if name.endswith("USDT")]

        def listed() -> list[str]:
            return list(exchange.source.symbols)

        async def by_hand() -> None:
            held = list(feed.statuses())
            with contextlib.suppress(ValueError, FeedError):
                await feed.change_symbols(
                    [draw.choice(names)], draw.sample(held, draw.choice([0, 1]))
                )

        renames = itertools.count()
        for _ in range(60):
            one = draw.choice(listed())
            kind = draw.randrange(8)
            if kind == 0 and (missing := [n for n in names if n not in listed()]):
                exchange.list_symbol(draw.choice(missing))
            elif kind == 1 and len(listed()) > 7:
                exchange.delist(one)
            elif kind == 2:
                exchange.set_status(one, draw.choice(["HALT", "BREAK", "ODD"]))
            elif kind == 3:
                for name in list(exchange.source.statuses):
                    exchange.set_status(name, "TRADING")
            elif kind == 4 and len(listed()) > 7:
                exchange.rename(one, f"新{next(renames)}USDT")
            elif kind == 5:
                await by_hand()
            elif kind == 6:
                for end in world.network.clients:
                    end.sever(reset=draw.random() < 0.5)
            else:
                exchange.streams.announce_shutdown()
            await world.sleep(draw.uniform(5.0, 350.0))
        for name in list(exchange.source.statuses):
            exchange.set_status(name, "TRADING")
        await world.sleep(900.0)
        assert feed._failure is None
        # A stretch without klines shows when the one after it closes; two answers confirm it.
        await until(world, lambda: feed.ready, 180.0)
        await world.sleep(30.0)
        ready = await get(world, "/ready")
        assert ready["ready"], ready["reasons"]
        trading = [name for name, status in feed.statuses().items() if status == "TRADING"]
        assert trading
        assert set(trading) <= set(listed())
        assert set(feed.statuses()) == set(world._served().market.symbols)
        for name in trading:
            assert world._served().market[name, "1m"].holes() == []
            is_true(world, name)
            is_true(world, name, "5m")
        subscribed = set(exchange.streams.subscribers)
        wanted = {name for session in feed._connections for name in session.streams}
        assert subscribed == wanted
        assert len(wanted) % 5 == 0
        for counter in ("too_many_messages", "too_many_streams", "connects_refused"):
            assert exchange.counters[counter] == 0


@simulated
async def test_a_halt_longer_than_the_window_is_known_to_be_one() -> None:
    async with scenario(symbols="BTCUSDT,LTCUSDT") as world:
        world.exchange.set_status("LTCUSDT", "HALT")
        await world.sleep(130 * 60.0)
        world.exchange.set_status("LTCUSDT", "TRADING")
        await world.sleep(600.0)
        series = world._served().market["LTCUSDT", "1m"]
        ((first_ms, last_ms),) = series.absences()
        assert (last_ms - first_ms) / MINUTE_MS > series.capacity
        assert series.holes() == []
        assert feed_of(world).ready
