"""Fault matrix, what happens to rows and to REST: rows 6 to 8, 11 and 12."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from simulation.faults import REFUSALS, USELESS
from simulation.records import MINUTE_MS, Record, next_minute_ms
from simulation.rest import Mishap
from simulation.scenario import scenario, simulated

from klinecore.states import RowState
from server.exchange.generated import GeneratedMarket

# --- 6: gaps ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "missed", [1, 2, 499, 500, 501, pytest.param(5000, marks=pytest.mark.slow)]
)
@simulated
async def test_fault_06_a_gap_of_any_length_is_filled_up_to_the_window_and_flagged_until_then(
    missed: int,
) -> None:
    """Fault 6: cut off for so many klines, 500 kept: whole within 15 s of the connection by at most
    two requests for no more rows than are missing; called stale, and a hole one, until then."""
    # Closes that have left the window cannot be told any more: the judge would miss them.
    judged = missed <= 500
    async with scenario(
        symbols=1, intervals=("1m",), capacity=500, hours=90.0, judged=judged
    ) as world:
        record = Record(world)
        symbol = world.market.symbols[0]
        series = world.market[symbol, "1m"]
        await world.sleep_until(next_minute_ms(world) + 10_000)
        world.troubled(missed * 60.0 + 30.0)
        with world.held(world.network.conditions, "refuse", True):
            world.network.clients[0].sever(reset=True)
            await world.sleep(missed * 60.0)
            _, headers, _ = await world.ask(f"/klines/{symbol}/1m")
            assert headers["x-data-state"] == "stale"
            closed_count, last_ms = series.closed_count, series.last_close_ms
        reachable_s = world.loop.time()
        await world.until(lambda: world.live, 32.0)
        asked_s = world.loop.time()
        while world.loop.time() < asked_s + 15.0:
            ready = world.feed.series_state(symbol, "1m").ready
            assert ready == (series.holes() == [])
            await world.sleep(0.05)
        assert series.gaps() == []
        assert len(series) == 500
        assert series.last_close_ms >= last_ms + missed * MINUTE_MS
        assert series.closed_count - closed_count in (min(missed, 500), min(missed, 500) + 1)
        asked = record.asked("/klines", reachable_s)
        limits = [
            int(found[1]) for one in asked if (found := re.search(r"limit=(\d+)", one.target))
        ]
        assert 1 <= len(limits) <= 2
        assert sum(limits) <= min(missed, 500) + 4
        await world.sleep(60.0)  # the connection has brought something new
        assert world._is_ready()
        await world.check(symbol, "1m", final=True)
        assert world.judge.faults == []


# --- 7: closes that are missing or late ------------------------------------------------------


@simulated
async def test_fault_07_a_close_that_never_comes_is_brought_by_rest_and_told_once() -> None:
    """Fault 7: x=true missing: closed by REST within 4 s of its time, told exactly once, and the
    row says where it came from."""
    async with scenario(symbols=2) as world:
        record = Record(world)
        opened_ms = next_minute_ms(world)
        await world.sleep_until(opened_ms + MINUTE_MS - 1000)
        world.exchange.faults.drop_closes = 2  # one of each symbol
        world.troubled(0.0)
        await world.sleep(5.0)
        for symbol in world.market.symbols:
            series = world.market[symbol, "1m"]
            assert series.state_at(opened_ms) in (RowState.REST, RowState.NO_TRADES)
            assert len(record.told(symbol, "1m", opened_ms)) == 1
        await world.sleep(120.0)
        assert [len(record.told(s, "1m", opened_ms)) for s in world.market.symbols] == [1, 1]
        await world.check_all(final=True)


@pytest.mark.parametrize("late_ms", [1000, 2500, 20_000])
@simulated
async def test_fault_07_a_late_close_is_told_once_whoever_brings_it(late_ms: int) -> None:
    """Fault 7: x=true up to 20 s late, after the next kline began: one close of each kline; REST is
    not asked for those that come within 3 s."""
    async with scenario(symbols=2, intervals=("1m",)) as world:
        record = Record(world)
        opened_ms = next_minute_ms(world)
        await world.sleep_until(opened_ms)
        world.troubled(300.0)
        with world.held(world.exchange.faults, "late_close_ms", late_ms):
            await world.sleep(300.0)
        await world.sleep(30.0)
        for symbol in world.market.symbols:
            told = [one.open_ms for one in record.told(symbol, "1m")]
            assert told == [opened_ms + place * MINUTE_MS for place in range(-1, 5)]
            assert not any(one.revised for one in record.told(symbol, "1m"))
        assert (record.asked("/klines") == []) == (late_ms < 3000)


# --- 8: what does not exist ------------------------------------------------------------------


@pytest.mark.parametrize("market", ["spot", "um"])
@simulated
async def test_fault_08_a_minute_without_trades_is_one_only_by_the_exchanges_word(
    market: str,
) -> None:
    """Fault 8: a quiet symbol for an hour: 60 rows, those without trades marked so, none a hole;
    USD-M says nothing of them by stream, so REST does."""
    async with scenario(symbols=2, market=market, intervals=("1m",)) as world:
        opened_ms = next_minute_ms(world)
        await world.sleep_until(opened_ms + 61 * MINUTE_MS + 30_000)
        series = world.market["QTUMUSDT", "1m"]
        rows = {row.open_time_ms: row for row in series.klines()}
        states = []
        for place in range(60):
            row = rows[opened_ms + place * MINUTE_MS]
            states.append(series.state_at(row.open_time_ms))
            assert (states[-1] == RowState.NO_TRADES) == (row.trades == 0)
        assert states.count(RowState.NO_TRADES) > 10
        assert series.gaps() == []


@simulated
async def test_fault_08_a_halt_is_recorded_and_not_asked_for_again_and_again() -> None:
    """Fault 8: halted for 30 minutes, then traded again: no row invented, the stretch is no hole;
    at most a request a minute, none in the hour after it is known; the other symbol misses none."""
    async with scenario(symbols=2, intervals=("1m",), judged=False) as world:
        record = Record(world)
        exchange, series = world.exchange, world.market["BTCUSDT", "1m"]
        await world.sleep_until(next_minute_ms(world) + 5000)
        halted_ms = next_minute_ms(world)
        exchange.set_status("BTCUSDT", "HALT")
        await world.sleep_until(halted_ms + 30 * MINUTE_MS + 1000)
        assert series.last_close_ms == halted_ms - 1
        exchange.set_status("BTCUSDT", "TRADING")
        resumed_ms = halted_ms + 30 * MINUTE_MS
        await world.sleep(600.0)
        assert series.holes() == []
        assert series.gaps() == [(halted_ms, resumed_ms - MINUTE_MS)] == series.absences()
        assert world.feed.series_state("BTCUSDT", "1m").ready
        asked = record.asked("symbol=BTCUSDT")
        assert 1 <= len(asked) <= 40
        known_s = world.loop.time()
        await world.sleep(3600.0)
        assert record.asked("symbol=BTCUSDT", known_s) == []
        assert record.asked("symbol=QTUMUSDT") == []
        world.judge.truths.clear()  # written before the halt
        await world.check_all(final=True)
        assert world.judge.faults == []


# --- 11: REST that refuses or fails ----------------------------------------------------------


def body_of(symbol: str, open_ms: int) -> str:
    return f"symbol={symbol}&interval=1m&limit=2&startTime={open_ms}"


#: Refusals, and for how long nothing may be asked, s.
BANS = {
    **{
        f"{one.status} {dict(one.headers).get('retry-after', 'without')}"[:12]: (one, one.trouble_s)
        for one in REFUSALS
    },
    "418 3 d": (Mishap(418, (("retry-after", "259200"),), b"{}", trouble_s=259_200.0), 259_200.0),
}


@pytest.mark.parametrize(
    "name", [*list(BANS)[:-1], pytest.param("418 3 d", marks=pytest.mark.slow)]
)
@simulated
async def test_fault_11_nothing_is_asked_while_refused_and_streams_go_on(name: str) -> None:
    """Fault 11: 429, 418, 403, 451: not one request until it is due; every minute's close is told
    by the stream within 1 s meanwhile; the row that was missing comes within 60 s afterwards."""
    mishap, wait_s = BANS[name]
    async with scenario(symbols=2, intervals=("1m",), hours=80.0, capacity=5000) as world:
        record = Record(world)
        series = world.market["BTCUSDT", "1m"]
        await world.sleep_until(next_minute_ms(world) - 1000)
        missing_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        world.exchange.faults.drop_closes = 2
        world.mishaps.append(mishap)
        world.troubled(wait_s + 60.0)
        await world.until(lambda: not world.mishaps, 30.0)
        refused_s = record.asked()[-1].at_s
        due_s = refused_s + wait_s - 1.1  # a date has whole seconds
        await world.sleep(wait_s - 1.1)
        too_early = [one for one in record.asked("", refused_s + 0.001) if one.at_s < due_s]
        assert too_early == []
        closes = record.told("BTCUSDT", "1m")[1:]  # without the one that was dropped
        assert len(closes) >= (wait_s - 90.0) / 60.0
        for told in closes:
            late_s = told.at_s - (told.open_ms + MINUTE_MS - world.true_clock.time_ms()) / 1000
            assert late_s - world.loop.time() < 1.0
        assert world.live
        await world.sleep(1.1 + 60.0)
        assert record.asked("", refused_s + 0.001)[0].at_s >= due_s
        assert series.state_at(missing_ms) in (RowState.REST, RowState.NO_TRADES)
        assert series.holes() == []


FAILURES = {
    **{f"{place} {one.status}": one for place, one in enumerate(USELESS)},
    "gzip": Mishap(200, (("content-encoding", "gzip"),), gzip.compress(b" " * (10 << 20))),
    "redirect": Mishap(302, (("location", "http://127.0.0.1:9/"),), b""),
    "another's rows": Mishap(200, body=b'[[1,"1","1","1","1","1",2,"1",1,"1","1","0"]]'),
    "-1003 with 200": Mishap(200, body=b'{"code":-1003,"msg":"Too many requests."}'),
}


@pytest.mark.parametrize("name", FAILURES)
@simulated
async def test_fault_11_an_answer_that_is_none_is_asked_for_again_in_growing_waits(
    name: str,
) -> None:
    """Fault 11: errors, HTML, cut, silent, compressed or foreign answers for 2 minutes: nothing
    stored of them, at most 12 requests; 70 s later the row is there, told once."""
    async with scenario(symbols=1, intervals=("1m",), capacity=20) as world:
        record = Record(world)
        symbol = world.market.symbols[0]
        series = world.market[symbol, "1m"]
        await world.sleep_until(next_minute_ms(world) - 1000)
        missing_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        world.exchange.faults.drop_closes = 1
        world.mishaps.extend([FAILURES[name]] * 1000)
        world.troubled(120.0)
        await world.sleep(60.0)
        await world.check(symbol, "1m")
        await world.sleep(60.0)
        assert len(record.asked("/klines")) <= 12
        world.mishaps.clear()
        await world.sleep(70.0)
        assert series.holes() == []
        assert len(record.told(symbol, "1m", missing_ms)) == 1


# --- 12: REST and streams disagree -----------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("klines_lag_ms", 1500),
        ("klines_lag_ms", 61_000),
        ("klines_lack_last", True),
    ],
)
@simulated
async def test_fault_12_a_database_that_is_behind_closes_no_kline_too_early(
    switch: str, value: object
) -> None:
    """Fault 12: REST is 1.5 s or a minute old, or lacks its last row, just when closes are asked
    for: no row that never was; whole within 120 s of its recovery."""
    async with scenario(symbols=3) as world:
        await world.sleep_until(next_minute_ms(world) - 1000)
        world.troubled(300.0)
        with world.held(world.exchange.faults, switch, value):
            for _ in range(5):
                world.exchange.faults.drop_closes = 3
                await world.sleep(60.0)
                await world.check_all()
        await world.sleep(120.0)
        await world.check_all(final=True)


@simulated
async def test_fault_12_a_row_the_stream_closed_is_not_replaced_by_a_rest_read() -> None:
    """Fault 12: REST is asked for a missing row and shows the next one, which the stream has
    closed, with fewer trades: the stream's stays, as it was told."""
    async with scenario(symbols=2, intervals=("1m",)) as world:
        symbol = "BTCUSDT"
        series = world.market[symbol, "1m"]
        opened_ms = next_minute_ms(world)
        await world.sleep_until(opened_ms + MINUTE_MS - 1000)
        world.exchange.faults.drop_closes = 2
        rest = world.exchange.rest
        world.troubled(180.0)
        # Nothing is asked until the row after the missing one has been closed by the stream.
        with world.held(world.network.conditions, "failure", OSError("unreachable")):
            await world.sleep(64.0)
        before = series.klines()[-1]
        assert before.open_time_ms == opened_ms + MINUTE_MS
        target = f"{rest.prefix}/klines?symbol={symbol}&interval=1m&limit=2&startTime={opened_ms}"
        rows = json.loads(rest.handle(target, world.now_ms).body)
        rows[1][8] -= 1
        rows[1][4] = rows[1][1]
        counts = world.market.apply_klines(
            symbol, "1m", json.dumps(rows).encode(), closed_before_ms=world.now_ms - 2000
        )
        assert counts.disputed == (opened_ms + MINUTE_MS,)
        assert series.klines()[-1] == before
        await world.check(symbol, "1m", final=True)


def test_the_generated_market_has_minutes_without_trades() -> None:
    minutes = GeneratedMarket(1, ["QTUMUSDT"]).minutes(
        "QTUMUSDT", 1_768_430_400_000, 1_768_434_000_000
    )
    assert 10 < int((minutes.trades == 0).sum()) < 50
