"""Barriers at every boundary, and every late close fetched once: whatever the clocks do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from closes_bench import Barriers, running
from hypothesis import given, settings
from hypothesis import strategies as st
from shelf import MINUTE_MS, START_MS, at
from simulation.loop import run

from klinecore.interval import INTERVALS, close_time_ms, next_open_ms, open_time_ms
from server.errors import RestError
from server.feeds.closes import CATCH_UP_MAX, newest_closed_open
from server.feeds.rest import RestResponse

# --- barriers ------------------------------------------------------------------------------------


def test_a_barrier_is_told_when_the_last_close_comes() -> None:
    async def scenario() -> None:
        async with running(9.5, symbols=("AUSDT", "BUSDT")) as bench:
            await bench.until(10.01)
            bench.stream(("AUSDT", "1m"))
            await bench.until(10.02)
            bench.stream(("BUSDT", "1m"))
            await bench.until(10.9)
            assert bench.barriers == [("1m", 9.0, pytest.approx(1.2), True, 0)]
            assert bench.shelf.asked == []

    run(scenario())


@pytest.mark.parametrize("deadline_s", [0.0, 1.5, 3.0, 8.0])
def test_a_barrier_that_is_not_complete_is_told_at_its_deadline(deadline_s: float) -> None:
    async def scenario() -> None:
        async with running(
            9.5, symbols=("AUSDT", "BUSDT"), barrier_deadline_s=deadline_s, close_wait_s=10.0
        ) as bench:
            if deadline_s:
                await bench.until(10.001)
                bench.stream(("AUSDT", "1m"))
            await bench.until(10.5)
            interval, minute, told_s, complete, missing = bench.barriers[0]
            assert (interval, minute, complete) == ("1m", 9.0, False)
            assert missing == (1 if deadline_s else 2)
            assert told_s == pytest.approx(deadline_s, abs=0.01)
            assert bench.barriers[-1][3:] == (True, 0), "REST brought the late ones"
            assert bench.closes_told() == [9, 9]

    run(scenario())


def test_barriers_of_a_common_boundary_begin_with_the_shortest_interval() -> None:
    async def scenario() -> None:
        async with running(59.5, intervals=("1h", "1m", "15m", "5m")) as bench:
            await bench.until(60.5)
            assert [barrier[0] for barrier in bench.barriers[:4]] == ["1m", "5m", "15m", "1h"]
            assert bench.market.coherent(["1m", "5m", "15m", "1h"], at(60))

    run(scenario())


def test_every_boundary_of_an_hour_has_one_barrier() -> None:
    async def scenario() -> None:
        async with running(0.5, intervals=("1m", "5m", "15m")) as bench:
            await bench.until(60.9)
            told = [(barrier[0], barrier[1]) for barrier in bench.barriers if not barrier[3]]
            assert sorted(told) == sorted(
                (f"{length}m", float(minute))
                for length in (1, 5, 15)
                for minute in range(0, 60, length)
            ), "each once: nothing came by the stream"
            assert len(bench.closes_told()) == len(set(bench.closes_told())) + 12 + 4

    run(scenario())


@pytest.mark.parametrize("slept", [1, 2, CATCH_UP_MAX, CATCH_UP_MAX + 7])
def test_a_loop_that_was_stalled_over_boundaries_catches_up(slept: int) -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            # Nothing runs meanwhile: time goes on at once, as after a long collection of garbage.
            loop = asyncio.get_running_loop()
            loop._now_s += slept * 60.0  # type: ignore[attr-defined]
            await bench.until(9.5 + slept + 0.2)
            firsts = [barrier[1] for barrier in bench.barriers if not barrier[3]]
            caught = min(slept, CATCH_UP_MAX)
            assert firsts == [float(minute) for minute in range(9 + slept - caught, 9 + slept)]
            assert bench.closes.skipped == slept - caught
            assert bench.held[-1] == 8 + slept
            assert bench.series.holes() == []

    run(scenario())


@pytest.mark.parametrize("step_ms", [-3_600_000, -70_000, 70_000, 3_600_000])
def test_a_step_of_the_wall_clock_changes_nothing(step_ms: int) -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            await bench.until(11.5)
            bench.clock.step(step_ms)
            await bench.until(14.9)
            told = [(barrier[1], round(barrier[2])) for barrier in bench.barriers if not barrier[3]]
            assert told == [(float(minute), 3) for minute in range(9, 14)]
            assert bench.closes_told() == list(range(9, 14))

    run(scenario())


def test_a_correction_of_the_exchanges_time_repeats_no_barrier() -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            await bench.until(11.2)
            now_s = bench.clock.monotonic()
            for _ in range(2):  # believed when a second reading agrees
                bench.api.time.note(now_s, now_s, bench.venue_clock.time_ms() - 90_000)
            assert bench.api.time.steps == 2
            await bench.until(12.9)
            bench.sync()
            bench.sync()
            await bench.until(15.9)
            firsts = [barrier[1] for barrier in bench.barriers if not barrier[3]]
            assert sorted(set(firsts)) == firsts
            assert firsts[-1] == 14.0
            assert bench.held[-1] == 14

    run(scenario())


@pytest.mark.parametrize("interval", ["1d", "3d", "1w", "1M"])
def test_long_intervals_close_by_the_calendar(interval: str) -> None:
    async def scenario() -> None:
        boundary_ms = next_open_ms(interval, open_time_ms(interval, START_MS))
        bench_minute = (boundary_ms - START_MS) / MINUTE_MS
        first_ms = START_MS - 400 * 86_400_000
        async with running(bench_minute - 2, intervals=(interval,), first_ms=first_ms) as bench:
            await bench.until(bench_minute + 1)
            assert bench.barriers[0][0] == interval
            assert bench.barriers[0][2] == pytest.approx(3.0, abs=0.01)
            assert bench.series.last_close_ms == boundary_ms - 1
            assert len(bench.closes_told()) == 1

    run(scenario())


@given(st.integers(0, 2), st.integers(0, 3 * 86_400_000))
def test_three_day_klines_close_where_the_exchange_has_them(day: int, after_ms: int) -> None:
    """It documents no anchor: what it sends counts."""
    length_ms = 3 * 86_400_000
    anchor_ms = day * 86_400_000
    now_ms = START_MS + after_ms
    open_ms = newest_closed_open("3d", now_ms, anchor_ms)
    assert open_ms % length_ms == anchor_ms
    assert open_ms + length_ms <= now_ms < open_ms + 2 * length_ms


def test_three_day_klines_are_waited_for_where_the_exchange_has_them() -> None:
    async def scenario() -> None:
        day_ms = 86_400_000
        shifted_ms = open_time_ms("3d", START_MS) - 2 * day_ms
        bench = Barriers(START_MS, intervals=("3d",))
        bench.stream(minute=(shifted_ms - START_MS) / MINUTE_MS)
        task = asyncio.ensure_future(bench.closes.run())
        await bench.until((shifted_ms + 6 * day_ms - START_MS) / MINUTE_MS + 0.2)
        assert [barrier[1] for barrier in bench.barriers] == [
            (shifted_ms + 3 * day_ms - START_MS) / MINUTE_MS
        ]
        task.cancel()

    run(scenario())


@given(st.sampled_from(INTERVALS), st.integers(1_400_000_000_000, 2_000_000_000_000))
@settings(max_examples=300)
def test_the_newest_closed_kline_is_the_one_before_the_forming_one(interval: str, now: int) -> None:
    open_ms = newest_closed_open(interval, now)
    assert close_time_ms(interval, open_ms) < now
    following = next_open_ms(interval, open_ms)
    assert following <= now <= close_time_ms(interval, following)


def test_symbols_that_come_and_go_are_waited_for_or_not() -> None:
    async def scenario() -> None:
        async with running(9.5, symbols=("AUSDT", "BUSDT")) as bench:
            bench.market.add_symbol("CUSDT")
            await bench.backfill.fill_symbol("CUSDT")
            await bench.until(10.01)
            for symbol in ("AUSDT", "BUSDT"):
                bench.stream((symbol, "1m"))
            await bench.until(10.2)
            assert bench.barriers[0][3:] == (False, 1)
            bench.market.remove_symbol("AUSDT")
            bench.backfill.forget_symbol("AUSDT")
            await bench.until(11.01)
            for symbol in ("BUSDT", "CUSDT"):
                bench.stream((symbol, "1m"))
            assert bench.barriers[-1][1:] == (10.0, pytest.approx(0.6), True, 0)
            await bench.until(11.9)
            assert [query["symbol"] for query in bench.shelf.asked if query["at"] > 60] == []

    run(scenario())


# --- late closes ---------------------------------------------------------------------------------


def test_a_late_close_is_asked_for_alone_and_told_once() -> None:
    async def scenario() -> None:
        async with running(9.5, symbols=("AUSDT", "BUSDT", "CUSDT")) as bench:
            await bench.until(10.01)
            for symbol in ("AUSDT", "CUSDT"):
                bench.stream((symbol, "1m"))
            await bench.until(10.4)
            (asked,) = bench.shelf.asked
            assert (asked["symbol"], asked["limit"], asked["startTime"]) == ("BUSDT", 2, at(9))
            assert asked["at"] == pytest.approx(33.0, abs=0.01), "three seconds after the close"
            bench.stream(("BUSDT", "1m"), minute=9)
            assert bench.closes_told() == [9, 9, 9]
            assert bench.closes.late == 0

    run(scenario())


@pytest.mark.parametrize("wait_s", [2.0, 5.0])
def test_how_long_a_close_is_waited_for_is_a_setting(wait_s: float) -> None:
    async def scenario() -> None:
        async with running(9.5, close_wait_s=wait_s) as bench:
            await bench.until(10.4)
            assert bench.shelf.asked[0]["at"] == pytest.approx(30 + wait_s, abs=0.01)

    run(scenario())


def test_newest_boundary_and_shortest_interval_come_first() -> None:
    async def scenario() -> None:
        async with running(
            59.5,
            symbols=("BUSDT", "AUSDT"),
            intervals=("1h", "5m", "1m"),
            first_ms=START_MS - 86_400_000,
            rest_concurrency=1,
        ) as bench:
            await bench.until(60.4)
            asked = [(query["interval"], query["symbol"]) for query in bench.shelf.asked]
            assert asked == [(i, s) for i in ("1m", "5m", "1h") for s in ("BUSDT", "AUSDT")]

    run(scenario())


def test_a_close_the_exchange_is_late_with_is_asked_for_with_growing_waits() -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            bench.shelf.lacking = {(bench.key, at(9))}
            await bench.until(10.9)
            times = [query["at"] for query in bench.shelf.asked]
            waits = [b - a for a, b in zip(times, times[1:], strict=False)]
            assert waits == pytest.approx([2.0, 4.0, 8.0, 16.0], abs=0.1)
            assert bench.closes.late == 1
            bench.shelf.lacking.clear()
            await bench.until(11.9)
            assert bench.closes_told() == [9, 10]
            assert bench.closes.late == 0

    run(scenario())


def test_a_series_nothing_comes_of_is_asked_for_about_once_a_minute() -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            bench.shelf.halted_ms["AUSDT"] = at(10)
            await bench.until(70.0)
            assert 50 <= len(bench.shelf.asked) <= 70
            assert bench.held[-1] == 9, "the last kline closed when two reads agreed"

    run(scenario())


def test_no_trade_minute_that_is_last_is_closed_by_two_reads() -> None:
    """USD-M pushes nothing for it, and REST has no later row yet."""

    async def scenario() -> None:
        async with running(9.5, venue="um", symbols=("AUSDT", "BUSDT")) as bench:
            bench.shelf.halted_ms["AUSDT"] = at(10)
            await bench.until(10.01)
            bench.stream(("BUSDT", "1m"))
            await bench.until(10.2)
            assert bench.held[-1] == 9
            asked = [(query["symbol"], query["limit"]) for query in bench.shelf.asked]
            assert asked == [("AUSDT", 2), ("BUSDT", 1), ("AUSDT", 2)], "between: is it up to date?"


def test_one_witness_serves_all_that_are_quiet() -> None:
    async def scenario() -> None:
        symbols = ("AUSDT", "BUSDT", "CUSDT", "DUSDT")
        async with running(9.5, venue="um", symbols=symbols) as bench:
            bench.shelf.halted_ms = dict.fromkeys(symbols[1:], at(10))
            await bench.until(10.01)
            bench.stream(("AUSDT", "1m"))
            await bench.until(10.2)
            assert [query["symbol"] for query in bench.shelf.asked].count("AUSDT") == 1
            assert bench.closes_told() == [9] * 4

    run(scenario())


def test_without_a_witness_a_quiet_series_closes_later() -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            bench.shelf.halted_ms["AUSDT"] = at(10)
            await bench.until(11.9)
            assert bench.held[-1] == 8
            await bench.until(14.0)
            assert bench.held[-1] == 9

    run(scenario())


def test_lost_answers_are_asked_for_again() -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            bench.shelf.failures = [RestError("no answer"), RestResponse(200, {}, b"<html>")]
            await bench.until(10.5)
            assert bench.closes_told() == [9]
            assert len(bench.shelf.asked) == 3

    run(scenario())


def test_nothing_is_asked_during_a_ban_and_everything_after_it() -> None:
    async def scenario() -> None:
        async with running(9.5, symbols=("AUSDT", "BUSDT"), rest_concurrency=1) as bench:
            bench.shelf.failures = [RestResponse(418, {"retry-after": "240"}, b"")]
            await bench.until(13.9)
            assert len(bench.shelf.asked) == 1
            await bench.until(15.5)
            for symbol in ("AUSDT", "BUSDT"):
                assert bench.market[symbol, "1m"].last_close_ms == at(15) - 1
                assert bench.market[symbol, "1m"].holes() == []

    run(scenario())


def test_a_connection_that_came_back_ends_the_waits() -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            bench.shelf.failures = [RestError("no answer")] * 6
            await bench.until(11.9)
            assert bench.closes_told() == []
            asked = len(bench.shelf.asked)
            bench.shelf.failures.clear()
            bench.closes.look_soon()
            await bench.clock.sleep(0.01)
            assert len(bench.shelf.asked) == asked + 1
            assert bench.closes_told() == [9, 10]

    run(scenario())


@pytest.mark.parametrize("away", [3, 9, 10, 500])
def test_an_outage_of_any_length_ends_in_a_whole_window(away: int) -> None:
    async def scenario() -> None:
        async with running(19.5) as bench:
            bench.shelf.failures = [RestError("no answer")] * 10_000
            await bench.until(19.5 + away)
            bench.shelf.failures.clear()
            await bench.until(21.5 + away)
            assert bench.held == list(range(11 + away, 21 + away))
            assert bench.series.gaps() == []

    run(scenario())


def test_a_series_whose_window_is_not_filled_yet_is_not_asked_for() -> None:
    async def scenario() -> None:
        bench = Barriers(at(9.5))
        task = asyncio.ensure_future(bench.closes.run())
        await bench.until(12.5)
        assert bench.shelf.asked == []
        task.cancel()

    run(scenario())


def test_rows_of_the_exchanges_future_are_refused() -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            bench.stream(minute=12, closed=False)
            assert bench.market.counters()["future"] == 1
            bench.stream(minute=10, closed=False)
            assert bench.market.counters()["future"] == 1

    run(scenario())


def test_no_row_is_refused_where_there_is_no_horizon() -> None:
    async def scenario() -> None:
        async with running(9.5, horizon_s=0.0) as bench:
            bench.stream(minute=500, closed=False)
            assert bench.market.counters()["future"] == 0

    run(scenario())


@given(st.data())
@settings(max_examples=40)
def test_every_close_is_told_once_and_every_boundary_has_one_barrier(data: Any) -> None:
    """Whatever the stream brings, when it brings it, and whatever REST does meanwhile."""

    async def scenario() -> None:
        symbols = ("AUSDT", "BUSDT", "CUSDT")
        async with running(9.5, symbols=symbols, sweeping=True) as bench:
            for minute in range(10, 16):
                bench.shelf.failures = [RestError("no answer")] * data.draw(st.integers(0, 4))
                bench.shelf.latency_s = data.draw(st.floats(0.0, 3.0))
                plan = sorted(
                    (data.draw(st.floats(0.0, 20.0)), symbol, data.draw(st.booleans()))
                    for symbol in symbols
                    if data.draw(st.booleans())
                )
                for after_s, symbol, twice in plan:
                    await bench.until(minute + after_s / 60)
                    for _ in range(1 + twice):
                        bench.stream((symbol, "1m"), minute=minute - 1)
            bench.shelf.failures.clear()
            await bench.until(17.9)
            told = sorted(
                (event.symbol, event.open_time_ms)
                for event in bench.told
                if event.kind.name in ("CLOSED", "FILLED")
            )
            assert told == [(s, at(minute)) for s in symbols for minute in range(9, 17)]
            barriers = [e.open_time_ms for e in bench.told if e.kind.name == "BARRIER"]
            assert barriers == [at(minute) for minute in range(9, 17)]
            assert all(not series.holes() for series in bench.market)

    run(scenario())
