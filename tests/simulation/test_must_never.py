"""What must never happen, item by item: each test is named after the thing it makes impossible.

Those of some items are elsewhere: docs/reliability.md names the tests of each.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from simulation.faults import REFUSALS
from simulation.records import MINUTE_MS, Record, next_minute_ms
from simulation.rest import Mishap
from simulation.scenario import scenario, simulated
from simulation.world import World

from klinecore.interval import next_open_ms
from klinecore.states import RowState


async def rows_of(world: World, target: str) -> list[dict[str, Any]]:
    status, _, body = await world.ask(target)
    assert status == 200, body
    rows: list[dict[str, Any]] = json.loads(body)["klines"]
    return rows


@simulated
async def test_must_never_01_a_frozen_forming_row_is_served_as_closed() -> None:
    """Must never 1: streams and REST freeze in the middle of a kline: for 10 minutes it stays
    x:false and no closed row follows the last true one; then REST closes it, told once."""
    async with scenario(symbols=2, intervals=("1m",)) as world:
        record = Record(world)
        opened_ms = next_minute_ms(world)
        await world.sleep_until(opened_ms + 30_000)
        row = world.exchange.book.row_at("BTCUSDT", "1m", opened_ms, world.now_ms)
        assert row is not None
        frame = world.exchange.book.kline_frame("BTCUSDT", "1m", row, world.now_ms)
        world.exchange.streams.send_to_all(frame)
        world.troubled(610.0)
        unreachable = OSError("unreachable")
        with (
            world.held(world.exchange.faults, "mute_all", True),
            world.held(world.network.conditions, "failure", unreachable),
        ):
            for _ in range(20):
                await world.sleep(30.0)
                rows = await rows_of(world, "/klines/BTCUSDT/1m?limit=2&forming=true")
                assert [(one["t"], one["x"]) for one in rows[-2:]] == [
                    (opened_ms - MINUTE_MS, True),
                    (opened_ms, False),
                ]
                assert rows[-1]["n"] == row.trades
                closed = await rows_of(world, "/klines/BTCUSDT/1m?limit=1")
                assert closed == rows[-2:-1]
                assert record.told("BTCUSDT", "1m", opened_ms) == []
            _, headers, _ = await world.ask("/klines/BTCUSDT/1m")
            assert headers["x-data-state"] == "stale"
        await world.sleep(90.0)
        assert len(record.told("BTCUSDT", "1m", opened_ms)) == 1


@simulated
async def test_must_never_02_a_missing_kline_goes_unnoticed() -> None:
    """Must never 2: each of 60 closes, of every interval, is dropped once: each is fetched within
    5 s, told once, and its source is named; none is left out."""
    async with scenario(symbols=2, intervals=("1m", "5m", "15m")) as world:
        record = Record(world)
        opened_ms = next_minute_ms(world)
        await world.sleep_until(opened_ms)
        world.troubled(3600.0)
        with world.held(world.exchange.faults, "drop_closes", 1 << 30):
            await world.sleep(3600.0 + 10.0)
        delays = record.delays_s("BTCUSDT")
        assert len(delays) >= 60
        assert max(delays) <= 5.0
        for series in world.market:
            assert series.gaps() == []
            states = [series.state_at(t) for t in series.open_time_ms.tolist() if t >= opened_ms]
            assert len(states) >= 3
            assert set(states) <= {RowState.REST, RowState.NO_TRADES}


@simulated
async def test_must_never_03_acknowledged_streams_that_bring_nothing_look_alive() -> None:
    """Must never 3: a new connection acknowledges and pings, and brings nothing: within 15 s no
    stream counts as delivering, every close comes by REST within 5 s; data again, all deliver."""
    async with scenario(symbols=2, intervals=("1m",), full_pace=True) as world:
        record = Record(world)
        await world.sleep(30.0)
        desired = world.feed.status().streams_desired
        world.troubled(240.0)
        with world.held(world.exchange.faults, "ack_only", True):
            world.network.clients[0].sever(reset=True)
            await world.sleep(15.0)
            for _ in range(225):
                status = world.feed.status()
                assert status.streams_delivering == 0
                await world.sleep(1.0)
        delays = record.delays_s("BTCUSDT")
        assert len(delays) in (4, 5)
        assert max(delays) <= 5.0
        await world.until(lambda: world.feed.status().streams_delivering == desired, 180.0)


@simulated
async def test_must_never_04_repeated_data_counts_as_fresh() -> None:
    """Must never 4: the same frames again and again for 5 minutes: called stale after 30 s, with
    their age, the connection replaced; fresh again only with new data."""
    async with scenario(symbols=2, intervals=("1m",), full_pace=True) as world:
        await world.sleep(20.0)
        book = world.exchange.book
        opened_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        frames = []
        for symbol in world.market.symbols:
            row = book.row_at(symbol, "1m", opened_ms, world.now_ms)
            assert row is not None
            frames.append(book.kline_frame(symbol, "1m", row, world.now_ms))
        world.troubled(300.0)
        frozen_s = world.loop.time()
        with world.held(world.exchange.faults, "mute_all", True):
            for _ in range(300):
                for frame in frames:
                    world.exchange.streams.send_to_all(frame)
                await world.sleep(1.0)
                age_s = world.loop.time() - frozen_s
                status, headers, _ = await world.ask("/klines/BTCUSDT/1m")
                assert status == 200
                print(
                    age_s, headers.get("x-data-state"), headers.get("x-data-age-ms"), world.connects
                )
                if age_s > 33.0:
                    assert headers.get("x-data-state") == "stale"
        assert world.connects[0] >= 3
        await world.until(lambda: not world.feed.status().reasons, 60.0)


@simulated
async def test_must_never_05_the_exchange_bans_the_server_behind_the_cache() -> None:
    """Must never 5: a cold start of 40 windows under a limit of 100 a minute, and 500 clients that
    ask for everything: never more than half of it in a minute, no refusal, not one request of
    clients passed on; a ban by the exchange stops all but the 4 requests that are under way."""
    async with scenario(symbols=10, capacity=60, ready=False) as world:
        world.exchange.rest.weight_limit = 100
        record = Record(world)
        await world.until_ready(300.0)
        weights: dict[int, int] = {}
        for one in record.asked():
            minute = int((one.at_s + world.now_ms / 1000 - world.loop.time()) // 60)
            cost = 20 if "exchangeInfo" in one.target else 1 if "/time" in one.target else 2
            weights[minute] = weights.get(minute, 0) + cost
        assert max(weights.values()) <= 50
        assert sum(weights.values()) >= 80
        asked = len(record.asked())
        for place in range(500):
            symbol = world.market.symbols[place % 10]
            assert (await world.ask(f"/klines/{symbol}/1m?limit=60&startTime={place}"))[0] == 200
        assert len(record.asked()) == asked
        counters = world.exchange.counters
        assert (counters["refused_429"], counters["refused_418"]) == (0, 0)
        # Banned: the next request learns of it, and no other is made before it is over.
        world.exchange.rest._ledgers["127.0.0.1"].banned_until_ms = world.now_ms + 600_000
        world.exchange.faults.drop_closes = 10
        world.troubled(660.0)
        await world.sleep(599.0)
        # Those that were under way together when the first was refused.
        assert 1 <= world.exchange.counters["refused_418"] <= 4
        world.exchange.rest.counters["refused_418"] = 0  # for the judge: it was our doing


@simulated
async def test_must_never_07_a_start_is_slow_or_says_nothing_of_its_progress() -> None:
    """Must never 7: 20 symbols in 4 intervals from nothing: one connection, all windows within
    20 s, shortest intervals first, /ready counts them while it answers 503."""
    async with scenario(symbols=20, ready=False) as world:
        record = Record(world)
        said = set()
        while not world._is_ready():
            _, _, body = await world.ask("/ready")
            said |= {reason for reason in json.loads(body)["reasons"] if "windows" in reason}
            await world.sleep(0.05)
            assert world.loop.time() < 20.0
        assert len(said) > 10
        assert "spot: backfill: 0 of 80 windows" in said
        assert len(record.connects()) == 1
        asked = [one.target.split("interval=")[1].split("&")[0] for one in record.asked("/klines")]
        assert asked == sorted(asked, key=["1m", "5m", "15m", "1h"].index)
        await world.until_ready()


@simulated
async def test_must_never_08_connections_come_back_as_a_storm() -> None:
    """Must never 8: 10 sockets killed at once: 10 connects, at least 1 s apart, each subscribed to
    exactly what it had; whole within 20 s."""
    async with scenario(symbols=4, settings={"streams_per_connection_spot": 2}) as world:
        record = Record(world)
        before = sorted(tuple(c.names) for c in world.exchange.streams.connections)
        assert len(before) == 10
        world.troubled(0.0)
        killed_s = world.loop.time()
        for end in world.network.clients:
            end.sever(reset=True)
        await world.sleep(20.0)
        connects = record.connects(killed_s)
        gaps = [after - earlier for earlier, after in zip(connects, connects[1:], strict=False)]
        assert len(connects) == 10
        assert min(gaps) >= 1.0
        assert sorted(tuple(c.names) for c in world.exchange.streams.connections) == before
        assert world.live


@simulated
async def test_must_never_09_only_some_streams_come_back_unnoticed() -> None:
    """Must never 9: after a reconnect the exchange has forgotten one busy stream it acknowledged:
    within 60 s it is found and subscribed again, and counts as not delivering until then."""
    async with scenario(symbols=2, intervals=("1m", "5m"), full_pace=True) as world:
        world.troubled(60.0)
        world.network.clients[0].sever(reset=True)
        await world.until(lambda: world.connects == [2] and world.live, 5.0)
        (connection,) = world.exchange.streams.connections
        name = "btcusdt@kline_1m"
        connection._unsubscribe([name])
        desired = world.feed.status().streams_desired
        await world.sleep(10.0)
        assert world.feed.status().streams_delivering < desired
        await world.until(lambda: name in world.exchange.streams.subscribers, 60.0)
        await world.until(lambda: world.feed.status().streams_delivering == desired, 60.0)


@simulated
async def test_must_never_10_a_blip_empties_the_cache() -> None:
    """Must never 10: cut off for 90 s: every row is served all the while, then only the missing
    ones are fetched: 3 rows of a series at most, in 1 request."""
    async with scenario(symbols=2, intervals=("1m",)) as world:
        await world.sleep(30.0)
        record = Record(world)
        held = await rows_of(world, "/klines/BTCUSDT/1m?limit=120")
        assert len(held) == 120
        world.troubled(90.0)
        with world.held(world.network.conditions, "refuse", True):
            for end in world.network.clients:
                end.sever(reset=True)
            for _ in range(90):
                await world.sleep(1.0)
                assert (await rows_of(world, "/klines/BTCUSDT/1m?limit=100")) == held[-100:]
        mended_s = world.loop.time()
        await world.sleep(45.0)
        asked = record.asked("symbol=BTCUSDT", mended_s)
        assert len(asked) == 1
        assert int(asked[0].target.split("limit=")[1].split("&")[0]) <= 3
        rows = await rows_of(world, "/klines/BTCUSDT/1m?limit=100")
        assert rows[:90] == held[-90:] or rows[0]["t"] > held[-100]["t"]
        assert world.market["BTCUSDT", "1m"].gaps() == []


@simulated
async def test_must_never_11_a_kline_is_invented_for_a_time_nothing_is_known_of() -> None:
    """Must never 11: traded, no trades and unknown are three states: while the exchange cannot be
    reached nothing is served for the time, and afterwards only what it says."""
    async with scenario(symbols=1, intervals=("1m",)) as world:
        series = world.market["QTUMUSDT", "1m"]
        opened_ms = next_minute_ms(world)
        await world.sleep_until(opened_ms - 500)
        world.troubled(630.0)
        with (
            world.held(world.exchange.faults, "drop_closes", 1 << 30),
            world.held(world.network.conditions, "failure", OSError("unreachable")),
        ):
            await world.sleep(600.0)
            rows = await rows_of(world, "/klines/QTUMUSDT/1m?limit=20")
            assert rows[-1]["t"] < opened_ms
            # The next kline shows that there is a hole; it is no row, and its state is unknown.
            frame_ms = world.now_ms // MINUTE_MS * MINUTE_MS
            row = world.exchange.book.row_at("QTUMUSDT", "1m", frame_ms, world.now_ms)
            assert row is not None
            frame = world.exchange.book.kline_frame("QTUMUSDT", "1m", row, world.now_ms)
            world.exchange.streams.send_to_all(frame)
            await world.sleep(1.0)
            assert series.state_at(opened_ms) == RowState.HOLE
            assert not world.feed.series_state("QTUMUSDT", "1m").ready
            rows = await rows_of(world, "/klines/QTUMUSDT/1m?limit=20")
            assert rows[-1]["t"] < opened_ms
        await world.sleep(90.0)
        states = {series.state_at(opened_ms + place * MINUTE_MS) for place in range(10)}
        assert states == {RowState.REST, RowState.NO_TRADES}


@simulated
async def test_must_never_12_a_hole_of_the_exchange_is_asked_for_for_ever() -> None:
    """Must never 12: two minutes the exchange has no klines of: two answers with later rows are the
    evidence; known as absent within 90 s, and in 6 hours not asked for again."""
    settings = {"sweep_interval_s": 5.0}
    async with scenario(symbols=2, intervals=("1m",), settings=settings, judged=False) as world:
        record = Record(world)
        series = world.market["BTCUSDT", "1m"]
        gone_ms = next_minute_ms(world)
        world.exchange.set_status("BTCUSDT", "BREAK")
        await world.sleep_until(gone_ms + 2 * MINUTE_MS + 500)
        world.exchange.set_status("BTCUSDT", "TRADING")
        await world.until(lambda: series.gaps() != [], 120.0)
        await world.until(lambda: series.absences() == [(gone_ms, gone_ms + MINUTE_MS)], 90.0)
        assert series.state_at(gone_ms) == RowState.ABSENT
        assert world.feed.series_state("BTCUSDT", "1m").ready
        known_s = world.loop.time() + 1.0
        await world.sleep(6 * 3600.0)
        assert record.asked("symbol=BTCUSDT", known_s) == []


@simulated
async def test_must_never_13_longer_klines_differ_from_the_minutes_they_are_made_of() -> None:
    """Must never 13: every 5m and 15m row served is the sum of the 1m rows served, by open time."""
    async with scenario(symbols=2) as world:
        await world.sleep(1800.0)
        for symbol in world.market.symbols:
            minutes = await rows_of(world, f"/klines/{symbol}/1m?limit=120")
            for interval, length in (("5m", 5), ("15m", 15)):
                longer = {
                    row["t"]: row for row in await rows_of(world, f"/klines/{symbol}/{interval}")
                }
                compared = 0
                for place in range(len(minutes) - length + 1):
                    part = minutes[place : place + length]
                    row = longer.get(part[0]["t"])
                    if part[0]["t"] % (length * MINUTE_MS) or row is None:
                        continue
                    compared += 1
                    assert (row["o"], row["c"]) == (part[0]["o"], part[-1]["c"])
                    assert Decimal(row["h"]) == max(Decimal(one["h"]) for one in part)
                    assert Decimal(row["l"]) == min(Decimal(one["l"]) for one in part)
                    for letter in "vqVQ":
                        assert Decimal(row[letter]) == sum(Decimal(one[letter]) for one in part)
                    assert row["n"] == sum(one["n"] for one in part)
                assert compared >= 110 // length - 1


@pytest.mark.parametrize(
    ("midnight_ms", "closing"),
    [
        (1_772_323_200_000, ("1h", "1d", "1M")),  # Sunday 2026-03-01
        (1_772_409_600_000, ("1h", "1d", "1w")),  # Monday 2026-03-02
        (1_780_272_000_000, ("1h", "1d", "1w", "1M")),  # Monday 2026-06-01
    ],
    ids=["Sunday the 1st", "Monday the 2nd", "Monday the 1st"],
)
@simulated
async def test_must_never_14_a_day_a_week_or_a_month_begins_at_the_wrong_moment(
    midnight_ms: int, closing: tuple[str, ...]
) -> None:
    """Must never 14: 1d closes at 00:00 UTC, 1w on Monday, 1M on the 1st: told once within 1 s, and
    no other interval is."""
    async with scenario(
        symbols=1,
        intervals=("1m", "1h", "1d", "1w", "1M"),
        capacity=3,
        start_ms=midnight_ms - 3 * MINUTE_MS,
    ) as world:
        record = Record(world)
        symbol = world.market.symbols[0]
        await world.sleep(600.0)
        for interval in world.market.intervals[1:]:
            told = record.told(symbol, interval)
            assert len(told) == (interval in closing)
            for one in told:
                assert next_open_ms(interval, one.open_ms) == midnight_ms
                assert 180.0 <= one.at_s <= 181.0
                opened = datetime.fromtimestamp(one.open_ms / 1000, UTC)
                assert opened.hour == (23 if interval == "1h" else 0)
                assert (opened.weekday() == 0) or interval != "1w"
                assert (opened.day == 1) or interval != "1M"


@simulated
async def test_must_never_15_closes_are_lost_where_a_reader_is_slow_or_queues_grow() -> None:
    """Must never 15: a reader that takes nothing for 2 minutes at full pace: one forming row a
    series waits, every close waits in order, nothing else grows."""
    async with scenario(symbols=3, intervals=("1m",), full_pace=True) as world:
        assert world.server is not None
        hub = world.server.state.hub
        channels = world.server.state.markets["spot"].channels
        topics = [channels.find(f"{s}@kline_1m") for s in world.market.symbols]
        slow = hub.subscribe(*[topic for topic in topics if topic is not None])
        await world.sleep_until(next_minute_ms(world) + 30_000)
        await world.sleep(120.0)
        payloads = []
        while (payload := slow.take()) is not None:
            payloads.append(json.loads(payload)["k"])
        closes = [k["t"] for k in payloads if k["x"] and k["s"] == "BTCUSDT"]
        assert closes == sorted(set(closes))
        assert len(closes) == 3
        forming = [k["s"] for k in payloads if not k["x"]]
        assert len(forming) == len(set(forming)) <= 3
        assert slow.ended is None


@simulated
async def test_must_never_16_one_slow_reader_delays_the_others() -> None:
    """Must never 16: one that never reads, with a queue of 5: it is ended with a reason within
    10 closes, and every close reaches the other reader within 0.1 s all the while."""
    settings = {"subscriber_queue_max": 5}
    async with scenario(symbols=2, intervals=("1m",)) as world:
        record = Record(world)
        assert world.server is not None
        hub = world.server.state.hub
        hub._queue_max = settings["subscriber_queue_max"]
        channels = world.server.state.markets["spot"].channels
        stalled = hub.subscribe(*filter(None, [channels.find("btcusdt@kline_1m")]))
        await world.sleep(1200.0)
        assert stalled.ended is not None
        assert hub.overflowed == 1
        assert max(record.delays_s("BTCUSDT")) < 0.1
        assert len(record.told("BTCUSDT", "1m")) == 20


@simulated
async def test_must_never_26_a_region_that_is_refused_is_refused_in_silence() -> None:
    """Must never 26: 451 at the start: /ready is 503 and says so in words, and what to do."""
    refusal = next(one for one in REFUSALS if one.status == 451)
    async with scenario(symbols=1, ready=False, judged=False) as world:
        world.mishaps.extend([refusal] * 3)
        await world.sleep(5.0)
        status, _, body = await world.ask("/ready")
        assert status == 503
        assert any("451" in reason for reason in json.loads(body)["reasons"])


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/klines/NOSUCHUSDT/1m", "symbol"),
        ("/klines/BTCUSDT/7m", "interval"),
        ("/ticker/NOSUCHUSDT", "symbol"),
    ],
)
@simulated
async def test_must_never_27_an_unknown_series_is_answered_with_nothing(
    target: str, field: str
) -> None:
    """Must never 27: an error that lists what exists, not an empty list."""
    async with scenario(symbols=2, judged=False) as world:
        status, _, body = await world.ask(target)
        assert status in (400, 404)
        known = world.market.symbols if field == "symbol" else world.market.intervals
        assert set(known) <= set(json.loads(body)["allowed"])


@simulated
async def test_must_never_28_an_update_writes_to_anything_outside_memory() -> None:
    """Must never 28: 10 minutes at full pace, thousands of frames: the disk is not touched once
    between two snapshots, and one snapshot is a few dozen steps whatever came since."""
    settings = {"snapshot_interval_s": 3600.0}
    async with scenario(symbols=3, full_pace=True, settings=settings) as world:
        await world.sleep(5.0)
        steps = len(world.disk.steps)
        frames = world.market.counters()["frames_kline"]
        await world.sleep(600.0)
        assert world.market.counters()["frames_kline"] - frames > 500
        assert len(world.disk.steps) == steps


def test_a_mishap_without_a_body_is_no_refusal() -> None:
    """The refusals these tests draw from are what they say they are."""
    assert Mishap().status == 200
    assert {one.status for one in REFUSALS} == {403, 418, 429, 451}
