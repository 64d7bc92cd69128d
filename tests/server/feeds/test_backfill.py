"""Rows from REST: whole windows within the weight limit, holes mended, the order of requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from shelf import MINUTE_MS, START_MS, Bench, at, frame
from simulation.loop import run

from server.errors import RestError
from server.exchange.faults import RestFault
from server.feeds.backfill import EVIDENCE_S, OLD_HOLES_MAX
from server.feeds.rest import RestResponse


@pytest.mark.parametrize(("name", "capacity"), [("spot", 1), ("spot", 2100), ("um", 500)])
def test_windows_of_any_size_are_filled_page_by_page(
    open_world: Any, name: str, capacity: int
) -> None:
    async def scenario() -> None:
        async with open_world(
            name=name, symbols=("BTCUSDT",), capacity=capacity, intervals=("1m", "5m")
        ) as world:
            await world.until_ready()
            for series in world.market:
                assert len(series) == capacity
                assert series.gaps() == []
                held = world.held(series.symbol, series.interval)
                tail = held[-min(capacity, 900) :]
                assert tail == world.truth("BTCUSDT", series.interval, tail[0][0], tail[-1][0])

    run(scenario())


def test_backfill_stays_below_its_share_of_the_weight_limit(open_world: Any) -> None:
    async def scenario() -> None:
        symbols = tuple(f"{chr(65 + index)}AAUSDT" for index in range(6))
        used: list[tuple[int, int]] = []
        async with open_world(
            symbols=symbols,
            rest_weight_share=0.25,
            stale_after_s=600.0,
            exchange_options={"weight_limit": 60},
            start=False,
        ) as world:
            world.api.budget.limit = 60
            handle = world.exchange.rest.handle

            def noted(target: str, now_ms: int, *rest: Any) -> Any:
                answer = handle(target, now_ms, *rest)
                used.append((now_ms // MINUTE_MS, int(answer.headers["X-MBX-USED-WEIGHT-1M"])))
                return answer

            world.exchange.rest.handle = noted
            await world.feed.start()
            await world.until(lambda: world.feed.phase == "live")
            assert max(weight for _, weight in used) <= 15
            assert len({minute for minute, _ in used}) >= 2
            assert world.exchange.rest.counters["refused_429"] == 0

    run(scenario())


@pytest.mark.parametrize("status", [429, 418, 403, 451])
def test_no_request_is_sent_while_the_exchange_refuses(open_world: Any, status: int) -> None:
    async def scenario() -> None:
        async with open_world(rest_concurrency=1, start=False) as world:
            exchange = world.exchange
            await world.feed.start()
            await world.until(lambda: exchange.rest.counters["requests"] >= 1)
            exchange.faults.rest.append(RestFault(status, "40"))
            await world.until(lambda: world.api.budget.blocked_s > 30, "refused")
            assert any(f"({status})" in reason for reason in world.feed.status().reasons)
            asked = exchange.rest.counters["requests"]
            frames = world.market.counters()["frames_kline"]
            await world.until(lambda: world.api.budget.blocked_s < 2.0)
            assert exchange.rest.counters["requests"] == asked
            assert world.market.counters()["frames_kline"] > frames, "streams go on"
            await world.until_ready()
            world.assert_true_and_whole()

    run(scenario())


@pytest.mark.parametrize(
    "fault",
    [
        RestFault(500, body=b""),
        RestFault(503, body=b"<html>busy</html>"),
        RestFault(200, body=b"<html>hello</html>"),
        RestFault(200, body=b"[[1,2"),
        RestFault(200, body=b"[[1,2,3]]"),
        RestFault(301, body=b""),
    ],
    ids=lambda fault: f"{fault.status} {fault.body!r}",
)
def test_answers_that_are_none_are_asked_for_again(open_world: Any, fault: RestFault) -> None:
    async def scenario() -> None:
        def spoil(exchange: Any) -> None:
            exchange.faults.rest.extend([fault] * 6)

        async with open_world(prepare=spoil) as world:
            await world.until_ready()
            assert not world.exchange.faults.rest
            world.assert_true_and_whole()

    run(scenario())


# --- against klines made up, in virtual time ----------------------------------------------------


def minutes_asked(bench: Bench) -> list[dict[str, Any]]:
    return [{k: v for k, v in query.items() if k != "at"} for query in bench.shelf.asked]


def test_rows_closed_before_the_start_are_filled_in_silence() -> None:
    async def scenario() -> None:
        bench = Bench(at(19.5))
        await bench.backfill.fill_all()
        assert bench.held == list(range(9, 19))
        assert bench.series.forming is not None
        assert bench.told == []
        assert minutes_asked(bench) == [{"symbol": "AUSDT", "interval": "1m", "limit": 11}]

    run(scenario())


def test_rows_closed_since_the_start_are_told() -> None:
    async def scenario() -> None:
        bench = Bench(at(19.5))
        bench.shelf.failures += [RestError("no answer")] * 8  # two minutes of waits
        await bench.backfill.fill_all()
        assert bench.held == list(range(11, 21))
        assert bench.closes_told() == [19, 20]
        assert bench.series.counters["duplicates"] == 0, "each row of the answer counts once"

    run(scenario())


def test_shortest_intervals_and_first_symbols_are_filled_first() -> None:
    async def scenario() -> None:
        bench = Bench(at(100), symbols=("BUSDT", "AUSDT"), intervals=("1h", "1m", "1d", "5m"))
        await bench.backfill.fill_all()
        asked = [(query["interval"], query["symbol"]) for query in bench.shelf.asked]
        assert asked == [(i, s) for i in ("1m", "5m", "1h", "1d") for s in ("BUSDT", "AUSDT")]

    run(scenario())


@pytest.mark.parametrize("venue", ["spot", "um"])
@pytest.mark.parametrize("count", [1, 2, 97, 98, 99, 398, 400])
def test_hole_is_asked_for_with_the_rows_it_needs(venue: str, count: int) -> None:
    async def scenario() -> None:
        bench = Bench(at(499.5), capacity=500, venue=venue)
        bench.shelf.lacking = {(bench.key, at(50 + place)) for place in range(count)}
        await bench.backfill.fill_all()
        bench.shelf.asked.clear()
        bench.shelf.lacking.clear()
        await bench.sweep()
        assert bench.held == list(range(499))
        (asked,) = bench.shelf.asked
        assert asked["limit"] == count + 1
        assert (asked["startTime"], asked["endTime"]) == (at(50), at(50 + count))
        assert bench.answers.repaired == count

    run(scenario())


def test_newest_holes_are_mended_first_and_old_ones_a_few_at_a_time() -> None:
    async def scenario() -> None:
        bench = Bench(at(499.5), capacity=500)
        await bench.backfill.fill_all()
        bench = Bench(at(499.5), capacity=500)
        places = list(range(10, 480, 20))
        bench.shelf.lacking = {(bench.key, at(place)) for place in [*places, 490]}
        await bench.backfill.fill_all()
        bench.shelf.asked.clear()
        bench.shelf.lacking.clear()
        await bench.sweep()
        starts = [(query["startTime"] - START_MS) // MINUTE_MS for query in bench.shelf.asked]
        assert starts[0] == 490
        assert starts[1:] == places[: -OLD_HOLES_MAX - 2 : -1][: len(starts) - 1]
        assert len(starts) <= OLD_HOLES_MAX + 2
        while bench.series.holes():
            await bench.sweep()
        assert bench.held == list(range(499))

    run(scenario())


@pytest.mark.parametrize("missed", [1, 8, 9, 10, 11, 5000])
def test_outage_of_any_length_ends_in_a_whole_window(missed: int) -> None:
    async def scenario() -> None:
        bench = Bench(at(19.5))
        await bench.backfill.fill_all()
        await bench.until(19.5 + missed)
        await bench.backfill.fetch_tail(bench.key)
        assert bench.held == list(range(9 + missed, 19 + missed))
        assert bench.series.gaps() == []

    run(scenario())


def test_venue_hole_is_confirmed_by_two_answers_and_asked_for_no_more() -> None:
    async def scenario() -> None:
        bench = Bench(at(11.2))
        bench.shelf.lacking = {(bench.key, at(minute)) for minute in (5, 6, 7)}
        await bench.backfill.fill_all()
        bench.take()
        assert bench.series.holes() == [(at(5), at(7))]
        bench.shelf.asked.clear()
        for _ in range(60):
            await bench.sweep()
            await bench.clock.sleep(0.5)
        first, second = [query["at"] for query in bench.shelf.asked]
        assert second - first >= EVIDENCE_S
        assert bench.series.holes() == []
        assert bench.series.absences() == [(at(5), at(7))]
        assert bench.backfill.absent == 1
        assert bench.backfill.holes == {}
        assert [event.kind.name for event in bench.told].count("ABSENT") == 1

    run(scenario())


def test_a_hole_of_which_a_part_comes_needs_new_evidence_for_the_rest() -> None:
    async def scenario() -> None:
        bench = Bench(at(11.2))
        bench.shelf.lacking = {(bench.key, at(minute)) for minute in (5, 6, 7)}
        await bench.backfill.fill_all()
        await bench.sweep()
        bench.shelf.lacking.discard((bench.key, at(6)))
        await bench.sweep(11.4)
        assert bench.series.holes() == [(at(5), at(5)), (at(7), at(7))]
        for second in range(60):
            await bench.sweep(11.5 + second / 60)
        assert bench.series.absences() == [(at(5), at(5)), (at(7), at(7))]
        assert bench.held == [0, 1, 2, 3, 4, 6, 8, 9, 10]

    run(scenario())


def test_answer_without_later_rows_is_no_evidence_and_not_asked_for_in_a_hurry() -> None:
    async def scenario() -> None:
        bench = Bench(at(11.2))
        bench.shelf.lacking = {(bench.key, at(minute)) for minute in (5, 6, 7)}
        await bench.backfill.fill_all()
        bench.shelf.asked.clear()
        empty = RestResponse(200, {}, b"[]")
        for _ in range(100):
            bench.shelf.failures = [empty] * 9
            await bench.sweep()
            await bench.clock.sleep(0.5)
        holes = [asked for asked in bench.shelf.asked if asked.get("startTime") == at(5)]
        assert 3 <= len(holes) <= 8, "waits double"
        assert bench.series.holes() == [(at(5), at(7))]
        bench.shelf.lacking.clear()
        bench.shelf.failures.clear()
        await bench.clock.sleep(60)
        await bench.sweep()
        assert bench.series.gaps()[:1] != [(at(5), at(7))]

    run(scenario())


def test_a_hole_that_comes_with_a_row_of_the_stream_is_seen_by_the_next_look() -> None:
    async def scenario() -> None:
        symbols = [f"S{number}USDT" for number in range(50)]
        bench = Bench(at(19.5), symbols=symbols)
        await bench.backfill.fill_all()
        for _ in range(20):
            await bench.sweep()
        key = ("S33USDT", "1m")
        await bench.until(22.0)
        bench.stream(key, minute=21)
        bench.shelf.asked.clear()
        await bench.sweep()
        assert [query["symbol"] for query in bench.shelf.asked] == ["S33USDT"]
        assert bench.market[key].holes() == []

    run(scenario())


def test_nothing_is_swept_before_its_window_was_filled() -> None:
    async def scenario() -> None:
        bench = Bench(at(11.9), held=[(("AUSDT", "1m"), at(0), at(3))])
        bench.stream(minute=8)
        await bench.sweep()
        assert bench.shelf.asked == []

    run(scenario())


def test_nothing_is_swept_during_a_ban() -> None:
    async def scenario() -> None:
        bench = Bench(at(11.9))
        await bench.backfill.fill_all()
        bench.shelf.failures = [RestResponse(418, {"retry-after": "300"}, b"")]
        with pytest.raises(RestError):
            await bench.api.klines("AUSDT", "1m", 1)
        await bench.until(14.0)
        bench.stream(minute=13)
        asked = len(bench.shelf.asked)
        await bench.sweep()
        assert len(bench.shelf.asked) == asked
        await bench.sweep(17.2)
        assert bench.series.holes() == []

    run(scenario())


def test_series_the_exchange_refuses_is_given_up_and_named() -> None:
    async def scenario() -> None:
        bench = Bench(at(0.5))
        body = b'{"code":-1121,"msg":"Invalid symbol."}'
        bench.shelf.failures = [RestResponse(400, {}, body)]
        await bench.backfill.fill_all()
        assert bench.backfill.done == 1
        assert bench.backfill.filled == set()
        assert "Invalid symbol" in bench.backfill.refused["AUSDT", "1m"]

    run(scenario())


def test_lost_answers_are_asked_for_with_growing_waits() -> None:
    async def scenario() -> None:
        bench = Bench(at(11.2))
        bench.shelf.failures = [RestError("no answer")] * 5
        await bench.backfill.fill_all()
        times = [query["at"] for query in bench.shelf.asked]
        waits = [b - a for a, b in zip(times, times[1:], strict=False)]
        assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0])

    run(scenario())


def test_a_symbol_that_is_added_is_filled_and_one_that_is_removed_forgotten() -> None:
    async def scenario() -> None:
        bench = Bench(at(11.9), intervals=("1m", "5m"))
        await bench.backfill.fill_all()
        bench.market.add_symbol("NEWUSDT")
        filling = asyncio.ensure_future(bench.backfill.fill_symbol("NEWUSDT"))
        await asyncio.sleep(0)
        assert (bench.backfill.done, bench.backfill.total) == (2, 4)
        await filling
        assert (bench.backfill.done, bench.backfill.total) == (4, 4)
        assert len(bench.market["NEWUSDT", "1m"]) == 10
        bench.market.remove_symbol("NEWUSDT")
        bench.backfill.forget_symbol("NEWUSDT")
        await bench.sweep()
        assert (bench.backfill.done, bench.backfill.total) == (2, 2)

    run(scenario())


def test_a_symbol_that_is_removed_while_it_is_fetched_is_no_failure() -> None:
    async def scenario() -> None:
        bench = Bench(at(11.9), symbols=("AUSDT", "BUSDT"))
        bench.shelf.latency_s = 1.0
        filling = asyncio.ensure_future(bench.backfill.fill_all())
        await asyncio.sleep(1.5)
        bench.market.remove_symbol("BUSDT")
        bench.backfill.forget_symbol("BUSDT")
        await filling
        assert bench.backfill.filled == {("AUSDT", "1m")}
        assert bench.backfill.total == 1

    run(scenario())


def test_a_symbol_that_is_removed_before_its_turn_leaves_nothing_to_fill() -> None:
    """Else old holes would wait for its windows for ever."""

    async def scenario() -> None:
        bench = Bench(at(11.9))
        await bench.backfill.fill_all()
        await bench.backfill.fill_symbol("NEWUSDT")
        assert (bench.backfill.done, bench.backfill.total) == (1, 1)

    run(scenario())


def test_a_refusal_that_comes_after_its_symbol_was_removed_is_nobodys() -> None:
    async def scenario() -> None:
        bench = Bench(at(11.9), symbols=("AUSDT", "BUSDT"))
        bench.shelf.latency_s = 1.0
        filling = asyncio.ensure_future(bench.backfill.fill_all())
        await asyncio.sleep(1.5)
        bench.shelf.failures = [RestResponse(400, {}, b"{}")]
        bench.market.remove_symbol("BUSDT")
        bench.backfill.forget_symbol("BUSDT")
        await filling
        assert bench.backfill.refused == {}
        assert (bench.backfill.done, bench.backfill.total) == (1, 1)

    run(scenario())


def test_rows_of_a_symbol_that_is_gone_are_not_read_again() -> None:
    """Each question would be refused, and be asked again at the next look."""

    async def scenario() -> None:
        bench = Bench(at(4.5), symbols=("AUSDT", "BUSDT"))
        await bench.backfill.fill_all()
        bench.market.apply(frame(bench.key, at(4), at(5), closed=True, trades=7))
        await bench.until(5.1)
        await bench.answers.fetch(bench.key, 6)
        assert bench.answers.mismatches == 1
        bench.shelf.asked.clear()
        bench.backfill.gone = frozenset({"AUSDT"})
        for second in range(10, 59, 5):
            await bench.sweep(5 + second / 60)
        assert bench.shelf.asked == []
        bench.backfill.gone = frozenset()
        await bench.sweep()
        assert len(bench.shelf.asked) == 1

    run(scenario())


def test_older_rows_that_were_not_had_are_asked_for_again() -> None:
    """A window that is short for no reason would look whole for ever."""

    async def scenario() -> None:
        key = ("AUSDT", "1m")
        bench = Bench(at(30.5), capacity=10, held=[(key, at(26), at(29))])
        bench.shelf.failures = [
            RestResponse(502, {}, b""),
            RestError("none"),
            RestResponse(200, {}, b"<"),
        ]
        await bench.backfill.fill_all()
        assert bench.held == list(range(20, 30))
        times = [query["at"] for query in bench.shelf.asked]
        assert [round(b - a, 1) for a, b in zip(times, times[1:], strict=False)] == [0.5, 1.0, 2.0]

    run(scenario())


def test_older_rows_the_exchange_refuses_are_given_up() -> None:
    async def scenario() -> None:
        key = ("AUSDT", "1m")
        bench = Bench(at(30.5), capacity=10, held=[(key, at(26), at(29))])
        bench.shelf.failures = [RestResponse(400, {}, b"{}")]
        await bench.backfill.fill_all()
        assert bench.held == list(range(26, 30))
        assert len(bench.shelf.asked) == 1

    run(scenario())
