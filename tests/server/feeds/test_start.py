"""What a start costs: cold within half of the weight limit, warm only the rows that are missing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from shelf import MINUTE_MS, START_MS, Bench, at
from simulation.loop import run

from server.feeds.binance import VENUES
from server.feeds.budget import Priority


def minutes_asked(bench: Bench) -> list[dict[str, Any]]:
    return [{k: v for k, v in query.items() if k != "at"} for query in bench.shelf.asked]


@pytest.mark.parametrize("missing", [1, 3, 9])
def test_warm_start_asks_only_for_what_is_missing(missing: int) -> None:
    async def scenario() -> None:
        bench = Bench(at(50.5), held=[(("AUSDT", "1m"), at(0), at(49 - missing))])
        assert bench.backfill.planned()[Priority.START] == 0
        await bench.backfill.fill_all()
        assert minutes_asked(bench) == [
            {
                "symbol": "AUSDT",
                "interval": "1m",
                "limit": missing + 1,
                "startTime": at(50 - missing),
            }
        ]
        assert bench.held == list(range(40, 50))
        assert bench.told == []
        assert bench.answers.rows_requested == bench.answers.rows_received == missing + 1

    run(scenario())


def test_warm_start_asks_nothing_of_a_series_that_lacks_no_close() -> None:
    async def scenario() -> None:
        bench = Bench(at(50.5), held=[(("AUSDT", "1m"), at(0), at(49))])
        await bench.backfill.fill_all()
        assert bench.shelf.asked == []
        assert bench.backfill.done == 1

    run(scenario())


def test_warm_start_asks_nothing_when_the_stream_has_brought_what_was_missing() -> None:
    async def scenario() -> None:
        bench = Bench(at(50.5), held=[(("AUSDT", "1m"), at(0), at(48))])
        bench.stream(minute=49)
        await bench.backfill.fill_all()
        assert bench.shelf.asked == []
        assert bench.held == list(range(40, 50))

    run(scenario())


def test_warm_start_after_more_than_a_window_asks_for_all_of_it() -> None:
    async def scenario() -> None:
        bench = Bench(at(50.5), held=[(("AUSDT", "1m"), at(0), at(38))])
        await bench.backfill.fill_all()
        assert [query["limit"] for query in bench.shelf.asked] == [11]
        assert bench.held == list(range(40, 50))

    run(scenario())


def test_warm_start_asks_once_for_older_rows_a_window_lacks_and_last_of_all() -> None:
    async def scenario() -> None:
        held = [((symbol, "1m"), at(45), at(48)) for symbol in ("AUSDT", "BUSDT")]
        bench = Bench(at(50.5), symbols=("AUSDT", "BUSDT"), held=held)
        await bench.backfill.fill_all()
        assert [query["limit"] for query in bench.shelf.asked] == [2, 2, 5, 5]
        assert bench.held == list(range(40, 50))
        assert bench.told == []

    run(scenario())


def test_warm_start_of_a_young_symbol_does_not_ask_for_what_never_was() -> None:
    async def scenario() -> None:
        held = [(("AUSDT", "1m"), at(45), at(48))]
        bench = Bench(at(50.5), first_ms=at(45), held=held)
        await bench.backfill.fill_all()
        for minute in range(51, 60):
            await bench.sweep(minute + 0.5)
        assert [query["limit"] for query in bench.shelf.asked] == [2, 5]

    run(scenario())


def test_streams_that_are_ahead_of_a_warm_start_leave_no_hole() -> None:
    async def scenario() -> None:
        bench = Bench(at(50.5), held=[(("AUSDT", "1m"), at(0), at(46))])
        bench.stream(minute=49)
        await bench.backfill.fill_all()
        assert [query["limit"] for query in bench.shelf.asked] == [4]
        assert bench.held == list(range(40, 50))
        assert bench.series.holes() == []

    run(scenario())


def test_after_ten_minutes_down_only_the_missing_rows_are_asked_for() -> None:
    """Of every interval: ten rows of 1m, two of 5m, none of the longer ones."""

    async def scenario() -> None:
        intervals = ("1m", "5m", "15m", "1h")
        symbols = [f"S{number}USDT" for number in range(20)]
        down_ms, up_ms = at(6003.2), at(6013.2)
        held = [
            ((symbol, interval), START_MS - 86_400_000 * 30, down_ms - length * MINUTE_MS)
            for symbol in symbols
            for interval, length in zip(intervals, (1, 5, 15, 60), strict=True)
        ]
        bench = Bench(
            up_ms,
            first_ms=START_MS - 86_400_000,
            symbols=symbols,
            intervals=intervals,
            capacity=100,
            held=held,
            rest_concurrency=4,
        )
        await bench.backfill.fill_all()
        per_symbol = {
            interval: sum(q["limit"] for q in bench.shelf.asked if q["interval"] == interval) / 20
            for interval in intervals
        }
        # Closed since, and the forming one; nothing where no kline has closed.
        assert per_symbol == {"1m": 11, "5m": 3, "15m": 0, "1h": 0}
        assert bench.answers.rows_requested == bench.answers.rows_received == 20 * 14
        assert all(not series.holes() and len(series) == 100 for series in bench.market)

    run(scenario())


@pytest.mark.parametrize("capacity", [1500, 4000])
def test_a_warm_start_of_many_rows_is_asked_for_page_by_page(capacity: int) -> None:
    async def scenario() -> None:
        held = [(("AUSDT", "1m"), at(0), at(capacity))]
        bench = Bench(at(2 * capacity - 10.5), capacity=capacity, held=held)
        await bench.backfill.fill_all()
        assert bench.series.holes() == []
        assert len(bench.series) == capacity
        assert sum(q["limit"] for q in bench.shelf.asked) <= capacity + 4

    run(scenario())


def test_forecast_counts_the_windows_nobody_has_begun() -> None:
    async def scenario() -> None:
        symbols = [f"S{number}USDT" for number in range(100)]
        bench = Bench(at(50.5), symbols=symbols, venue="um", capacity=500)
        bench.shelf.latency_s = 1.0
        filling = asyncio.ensure_future(bench.backfill.fill_all())
        await asyncio.sleep(0.5)
        forecast = bench.api.budget.forecast(bench.backfill.planned())
        assert forecast.queued["start"] == 99 * 3
        filling.cancel()

    run(scenario())


@pytest.mark.parametrize("name", ["spot", "um"])
def test_cold_start_of_2000_series_stays_within_half_of_the_minutes_weight(name: str) -> None:
    """The real budget and backfill; a made-up answer, the same for all symbols of an interval."""

    async def scenario() -> None:
        intervals = ("1m", "5m", "15m", "1h")
        symbols = [f"S{number:03d}USDT" for number in range(500)]
        bench = Bench(
            at(0.2),
            first_ms=START_MS - 86_400_000 * 30,
            symbols=symbols,
            intervals=intervals,
            capacity=500,
            venue=name,
            share=0.5,
            rest_concurrency=4,
        )
        shelf, venue = bench.shelf, VENUES[name]
        shelf.latency_s = 0.1
        shelf.weight_of = lambda limit: next(w for rows, w in venue.kline_weights if limit <= rows)
        bodies: dict[tuple[Any, ...], bytes] = {}
        make = shelf.body

        def body(query: Any, now_ms: int) -> bytes:
            known = (query["interval"], query["limit"], query.get("endTime"), now_ms // MINUTE_MS)
            if known not in bodies:
                bodies[known] = make(query, now_ms)
            return bodies[known]

        shelf.body = body  # type: ignore[method-assign]
        await bench.backfill.fill_all()
        # A close that was too young when its window came is fetched later, as any late one.
        assert all(len(series) >= 499 for series in bench.market)
        assert max(shelf.used.values()) <= venue.weight_limit / 2
        minutes = bench.clock.monotonic() / 60
        print(f"{name}: {minutes:.1f} min, {sum(shelf.used.values())} weight, {shelf.used}")
        assert minutes <= {"spot": 2.0, "um": 6.0}[name]

    run(scenario())
