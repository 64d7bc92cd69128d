"""What an answer proves: when a row is closed, when a stored one is wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelf import MINUTE_MS, Bench, at, frame
from simulation.loop import run

from klinecore.errors import ParseError, UnknownSeriesError
from server.feeds import answers
from server.feeds.answers import (
    ALONE_READ_MS,
    REREAD_AFTER_CLOSE_MS,
    REREAD_MS,
    REREADS_MAX,
    SECOND_READ_MS,
    count_rows,
)
from server.feeds.binance import Answer
from server.feeds.rest import RestResponse


async def read(bench: Bench, minute: float, limit: int = 6) -> None:
    """Read the newest rows at that minute, and see how far the exchange's database is."""
    await bench.until(minute)
    if len(bench.market.symbols) > 1:
        await bench.answers.fetch((bench.market.symbols[1], "1m"), 1)
    await bench.answers.fetch(bench.key, limit)
    bench.take()


#: The second one goes on while the first is quiet.
TWO = ("AUSDT", "BUSDT")


@pytest.mark.parametrize(
    ("after_close_s", "closed"), [(0.5, False), (1.9, False), (1.99, False), (2.01, True)]
)
def test_a_later_row_proves_a_close_once_grace_is_past(after_close_s: float, closed: bool) -> None:
    async def scenario() -> None:
        bench = Bench(at(3.5))
        await read(bench, 5 + after_close_s / 60)
        assert bench.held == [0, 1, 2, 3, *([4] if closed else [])]

    run(scenario())


def test_grace_counts_from_the_question_not_from_the_answer() -> None:
    """A slow answer shows the exchange as it was when it was asked."""

    async def scenario() -> None:
        bench = Bench(at(3.5))
        bench.shelf.latency_s = 30.0
        await read(bench, 5 + 1 / 60)
        assert bench.held == [0, 1, 2, 3]

    run(scenario())


def test_the_last_row_is_not_closed_by_our_clock_alone() -> None:
    async def scenario() -> None:
        bench = Bench(at(4.5), symbols=TWO)
        bench.shelf.halted_ms["AUSDT"] = at(5)
        await read(bench, 5.2)
        assert bench.held == [0, 1, 2, 3]
        bench.shelf.trades[bench.key, at(4)] = 9
        await read(bench, 5.3)
        assert bench.held == [0, 1, 2, 3], "two reads that do not agree"
        await read(bench, 5.4)
        assert bench.held == [0, 1, 2, 3, 4], "two reads that agree"
        assert bench.series.last is not None
        assert bench.series.last.trades == 9

    run(scenario())


@pytest.mark.parametrize(
    ("first", "second", "closed"),
    [
        (4.9, 5.2, False),  # a read from before the close proves nothing
        (5.01, 5.2, False),  # nor one within grace
        (5.2, 5.2 + (SECOND_READ_MS - 10) / MINUTE_MS, False),
        (5.2, 5.2 + SECOND_READ_MS / MINUTE_MS, True),
    ],
)
def test_two_reads_agree_only_after_the_close_and_some_time_apart(
    first: float, second: float, closed: bool
) -> None:
    async def scenario() -> None:
        bench = Bench(at(3.5), symbols=TWO)
        bench.shelf.halted_ms["AUSDT"] = at(5)
        bench.shelf.trades[bench.key, at(4)] = 7  # the forming row is the same
        await read(bench, first)
        await read(bench, second)
        assert bench.held == [0, 1, 2, 3, *([4] if closed else [])]

    run(scenario())


def test_one_answer_that_several_share_is_one_read() -> None:
    async def scenario() -> None:
        bench = Bench(at(5.2))
        bench.shelf.halted_ms["AUSDT"] = at(5)
        await asyncio.gather(*(bench.answers.fetch(bench.key, 6) for _ in range(3)))
        assert len(bench.shelf.asked) == 1
        assert bench.held == [0, 1, 2, 3]

    run(scenario())


@pytest.mark.parametrize(
    ("apart_ms", "closed"), [(ALONE_READ_MS - 10, False), (ALONE_READ_MS, True)]
)
def test_where_no_other_series_shows_that_time_has_passed_reads_must_be_far_apart(
    apart_ms: int, closed: bool
) -> None:
    async def scenario() -> None:
        bench = Bench(at(3.5))
        bench.shelf.halted_ms["AUSDT"] = at(5)
        await read(bench, 5.2)
        await read(bench, 5.2 + apart_ms / MINUTE_MS)
        assert bench.held == [0, 1, 2, 3, *([4] if closed else [])]

    run(scenario())


def test_a_database_that_is_behind_does_not_close_a_forming_row_by_telling_it_twice() -> None:
    async def scenario() -> None:
        bench = Bench(at(3.5), symbols=TWO)
        await read(bench, 3.6)
        bench.shelf.frozen_ms = at(4.5)
        for second in range(3, 59, 4):
            await read(bench, 5 + second / 60)
        assert bench.held == [0, 1, 2, 3]
        bench.shelf.frozen_ms = None
        await read(bench, 6.2)
        assert bench.held == [0, 1, 2, 3, 4, 5]

    run(scenario())


def test_a_close_is_told_once_whichever_source_comes_first() -> None:
    async def scenario() -> None:
        bench = Bench(at(3.5))
        await read(bench, 3.6)
        bench.told.clear()
        await read(bench, 5.1)  # minutes 3 and 4 by REST, then by the stream
        for minute in (3, 4):
            bench.stream(minute=minute)
        await bench.until(6.0)
        bench.stream(minute=5)  # minute 5 by the stream, then by REST
        await read(bench, 6.1)
        assert bench.closes_told() == [3, 4, 5]

    run(scenario())


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[[1,2]]", b'[["x"]]'])
def test_an_answer_of_another_shape_changes_nothing(body: bytes) -> None:
    async def scenario() -> None:
        bench = Bench(at(5.5))
        bench.shelf.failures = [RestResponse(200, {}, body)]
        with pytest.raises(ParseError):
            await bench.answers.fetch(bench.key, 6)
        assert bench.held == []

    run(scenario())


@pytest.mark.parametrize("open_ms", [10**14, 10**17])
def test_a_row_beyond_the_calendar_is_refused_like_any_other(open_ms: int) -> None:
    async def scenario() -> None:
        bench = Bench(at(3.5), intervals=("1M",))
        row = [open_ms, "1", "1", "1", "1", "1", open_ms + 5, "1", 1, "1", "1", "0"]
        counts = bench.answers.merge(bench.key, Answer(json.dumps([row]).encode(), at(3.5)))
        assert (counts.rows, counts.refused) == (1, 1)
        assert bench.held == []

    run(scenario())


def test_an_answer_for_a_symbol_that_was_removed_is_an_error() -> None:
    async def scenario() -> None:
        bench = Bench(at(5.5), symbols=("AUSDT", "BUSDT"))
        bench.shelf.latency_s = 1.0
        fetching = asyncio.ensure_future(bench.answers.fetch(bench.key, 6))
        await asyncio.sleep(0.5)
        bench.market.remove_symbol("AUSDT")
        with pytest.raises(UnknownSeriesError):
            await fetching

    run(scenario())


@given(st.data())
@settings(max_examples=60)
def test_no_row_is_closed_before_its_time_or_other_than_the_exchange_has_it(data: Any) -> None:
    """Reads at any moments, from a database that lags and may be incomplete."""

    async def scenario() -> None:
        bench = Bench(at(2.5))
        for _ in range(data.draw(st.integers(1, 12))):
            await bench.clock.sleep(data.draw(st.floats(0.1, 50.0)))
            now_ms = bench.venue_clock.time_ms()
            lag_ms = data.draw(st.integers(0, 1_900))  # within grace
            bench.shelf.frozen_ms = now_ms - lag_ms
            await bench.answers.fetch(bench.key, data.draw(st.integers(1, 8)))
            for row in bench.series.klines():
                assert row.close_time_ms < bench.venue_clock.time_ms()
                assert row.trades == 5

    run(scenario())


# --- disputed rows -------------------------------------------------------------------------------


async def disputed(bench: Bench) -> None:
    """The stream closed minute 4 with seven trades; REST has five."""
    await read(bench, 4.5)
    await bench.until(5.0)
    bench.market.apply(frame(bench.key, at(4), at(5), closed=True, trades=7))
    bench.take()
    await read(bench, 5.1)
    assert bench.answers.mismatches == 1


def trades(bench: Bench) -> int:
    assert bench.series.last is not None
    return next(row.trades for row in bench.series.klines() if row.open_time_ms == at(4))


def test_a_stored_close_is_corrected_by_two_reads_that_agree() -> None:
    async def scenario() -> None:
        bench = Bench(at(4.5))
        await disputed(bench)
        assert trades(bench) == 7
        asked = len(bench.shelf.asked)
        for second in range(10, 40, 2):
            await bench.sweep(5 + second / 60)
        assert trades(bench) == 5
        (reread,) = bench.shelf.asked[asked:]
        assert (reread["startTime"], reread["limit"]) == (at(4), 2)
        assert reread["at"] >= (at(5) - at(4.5) + REREAD_AFTER_CLOSE_MS) / 1000
        kinds = [event.kind.name for event in bench.told if event.open_time_ms == at(4)]
        assert kinds == ["FORMING", "CLOSED", "REVISED"]
        assert (bench.answers.mismatches, bench.answers.corrections) == (1, 1)

    run(scenario())


def test_a_second_read_counts_only_well_after_the_first() -> None:
    async def scenario() -> None:
        bench = Bench(at(4.5))
        await read(bench, 4.5)
        bench.market.apply(frame(bench.key, at(4), at(5), closed=True, trades=7))
        first = 7.1
        await read(bench, first)
        await read(bench, first + (REREAD_MS - 100) / MINUTE_MS)
        assert trades(bench) == 7
        await read(bench, first + (REREAD_MS + 100) / MINUTE_MS)
        assert trades(bench) == 5

    run(scenario())


def test_nothing_is_corrected_where_the_exchange_comes_round() -> None:
    async def scenario() -> None:
        bench = Bench(at(4.5))
        await disputed(bench)
        bench.shelf.trades[bench.key, at(4)] = 7
        for second in range(10, 59, 2):
            await bench.sweep(5 + second / 60)
        assert trades(bench) == 7
        assert bench.answers.due_rereads() == []
        assert (bench.answers.mismatches, bench.answers.corrections) == (1, 0)

    run(scenario())


def test_reads_that_differ_each_time_correct_nothing_and_end() -> None:
    async def scenario() -> None:
        bench = Bench(at(4.5), capacity=100)
        await disputed(bench)
        for step in range(60):
            bench.shelf.trades[bench.key, at(4)] = 1 + step % 5
            await bench.sweep(5.5 + step / 4)
        assert trades(bench) == 7
        assert bench.answers.corrections == 0
        assert bench.answers.disputes_dropped == 1
        assert bench.answers.due_rereads() == []

    run(scenario())


def test_a_reread_that_fails_is_tried_again() -> None:
    async def scenario() -> None:
        bench = Bench(at(4.5))
        await disputed(bench)
        bench.shelf.failures = [RestResponse(500, {}, b"")] * 2
        for second in range(30, 59, 5):
            await bench.sweep(5 + second / 60)
        assert trades(bench) == 5

    run(scenario())


@pytest.mark.parametrize("shown", [3.9, 4.5])
def test_a_reread_from_before_the_close_tells_nothing_of_the_row(shown: float) -> None:
    """The exchange's database is behind for a while: it lacks the row, or has it forming."""

    async def scenario() -> None:
        bench = Bench(at(4.5))
        await disputed(bench)
        bench.shelf.frozen_ms = at(shown)
        for second in range(10, 50, 2):
            await bench.sweep(5 + second / 60)
        assert trades(bench) == 7
        bench.shelf.frozen_ms = None
        for second in range(50, 70, 2):
            await bench.sweep(5 + second / 60)
        assert trades(bench) == 5

    run(scenario())


def test_rereads_that_lack_the_row_come_to_an_end() -> None:
    async def scenario() -> None:
        bench = Bench(at(4.5), capacity=100)
        await disputed(bench)
        bench.shelf.lacking.add((bench.key, at(4)))
        asked = len(bench.shelf.asked)
        for step in range(60):
            await bench.sweep(5.5 + step / 4)
        rereads = [query for query in bench.shelf.asked[asked:] if query["startTime"] == at(4)]
        assert len(rereads) == REREADS_MAX
        assert bench.answers.disputes_dropped == 1
        assert bench.answers.due_rereads() == []

    run(scenario())


def test_a_dispute_outlasts_a_reread_that_came_before_it_could_prove_anything() -> None:
    """The row is to be read again for two reasons, for one of them earlier."""

    async def scenario() -> None:
        bench = Bench(at(4.5), symbols=TWO)
        bench.shelf.halted_ms["AUSDT"] = at(5)
        await read(bench, 5.1)
        await read(bench, 5.2)  # two reads close minute 4, nothing proves it: again at 5.7
        bench.shelf.halted_ms.clear()
        bench.shelf.trades[bench.key, at(4)] = 4
        await read(bench, 5.65)  # another row, of lower rank: to be read again at 5.82
        for second in range(41, 59, 2):
            await bench.sweep(5 + second / 60)
        assert trades(bench) == 4

    run(scenario())


def test_a_disputed_row_is_found_in_whatever_answer_the_market_could_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exchange's last field, which nobody uses, holds half a surrogate."""

    async def scenario() -> None:
        bench = Bench(at(4.5))
        await read(bench, 4.5)
        bench.market.apply(frame(bench.key, at(4), at(5), closed=True, trades=7))
        told = bench.shelf.body
        monkeypatch.setattr(
            bench.shelf,
            "body",
            lambda query, now_ms: told(query, now_ms).replace(b'"0"]', b'"\\ud800"]'),
        )
        await read(bench, 7.1)
        await read(bench, 7.1 + (REREAD_MS + 100) / MINUTE_MS)
        assert trades(bench) == 5

    run(scenario())


def test_disputes_are_bounded_and_those_given_up_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(answers, "DISPUTES_MAX", 3)
        bench = Bench(at(9.5))
        await read(bench, 9.5, 10)
        for minute in range(9):
            bench.shelf.trades[bench.key, at(minute)] = 3
        await read(bench, 9.6, 10)
        assert bench.answers.mismatches == 9
        assert bench.answers.disputes_dropped == 6
        bench.answers.forget("AUSDT")
        await bench.until(12.0)
        assert bench.answers.due_rereads() == []

    run(scenario())


@pytest.mark.parametrize(
    ("interval", "first", "last", "count"),
    [("1m", 0, 0, 1), ("1m", 0, 59_999, 1), ("1m", 0, 60_000, 2), ("1m", 9, 0, 1), ("1M", 0, 0, 1)],
)
def test_rows_of_a_stretch_are_counted_generously(
    interval: str, first: int, last: int, count: int
) -> None:
    assert count_rows(interval, first, last) == count


# --- closes that only two reads told -------------------------------------------------------------


def test_a_frozen_database_that_told_a_forming_row_twice_is_found_out() -> None:
    """Both reads show minute 4 as it was in its middle; later the exchange shows its close."""

    async def scenario() -> None:
        bench = Bench(at(3.5), symbols=TWO)
        await read(bench, 3.6)
        await bench.until(5.08)
        await bench.answers.fetch(("BUSDT", "1m"), 1)  # another machine of theirs, up to date
        bench.shelf.frozen_ms = at(4.5)
        await read(bench, 5.1)
        await read(bench, 5.2)
        assert bench.held[-1] == 4
        assert trades(bench) == 1, "wrong, and so far nobody could know"
        bench.shelf.frozen_ms = None
        for second in range(20, 59, 5):
            await bench.sweep(5 + second / 60)
        assert trades(bench) == 5
        told = [(event.symbol, event.open_time_ms, event.kind.name) for event in bench.told]
        kinds = [kind for symbol, open_ms, kind in told if (symbol, open_ms) == ("AUSDT", at(4))]
        assert kinds[-2:] == ["CLOSED", "REVISED"]

    run(scenario())


def test_the_last_kline_before_a_halt_is_read_again_a_few_times_only() -> None:
    async def scenario() -> None:
        bench = Bench(at(4.5), symbols=TWO)
        bench.shelf.halted_ms["AUSDT"] = at(5)
        await read(bench, 5.1)
        await read(bench, 5.2)
        assert bench.held[-1] == 4
        bench.shelf.asked.clear()
        for minute in range(6, 240):
            await bench.sweep(minute + 0.5)
        times = [query["at"] for query in bench.shelf.asked]
        waits = [b - a for a, b in zip(times, times[1:], strict=False)]
        assert 4 <= len(times) <= 7
        assert all(2 * a - 61 <= b <= 2 * a + 61 for a, b in zip(waits, waits[1:], strict=False))

    run(scenario())


def test_a_close_with_a_later_row_behind_it_is_not_read_again() -> None:
    async def scenario() -> None:
        bench = Bench(at(3.5), capacity=100)
        await read(bench, 5.1)
        bench.shelf.asked.clear()
        await bench.until(30.5)
        assert bench.answers.due_rereads() == []

    run(scenario())
