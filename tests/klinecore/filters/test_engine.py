"""Filters live: what fires when, what is counted, what is given back."""

from __future__ import annotations

import json

import pytest
from filter_desk import ABOVE, HIGH, LOW, MINUTE, START, Desk, kline

from klinecore import Market, UnknownSeriesError
from klinecore.errors import FiltersFullError
from klinecore.filters import Engine, Filter, Firing, Reason, compile, parse_expression


def test_an_edge_fires_when_it_becomes_true_and_not_at_the_first_known_value() -> None:
    desk = Desk()
    desk.engine.add(compile(ABOVE), "1m")
    assert desk.run(HIGH, LOW, HIGH, HIGH, LOW, HIGH) == [2, 5]


def test_a_level_fires_at_every_close_where_it_is_true() -> None:
    desk = Desk()
    desk.engine.add(compile(ABOVE), "1m", mode="level")
    assert desk.run(HIGH, LOW, HIGH, HIGH) == [0, 2, 3]


def test_a_cooldown_silences_the_klines_behind_a_firing() -> None:
    desk = Desk()
    desk.engine.add(compile(ABOVE), "1m", mode="level", cooldown=2)
    assert desk.run(*[HIGH] * 7) == [0, 3, 6]


def test_a_firing_says_what_fired_where_at_which_price() -> None:
    desk = Desk()
    number = desk.engine.add(compile(ABOVE), "1m", mode="level")
    desk.close(3, HIGH)
    assert desk.pump() == [
        Firing(number, "A", "1m", START + 3 * MINUTE, HIGH, revision=False, complete=True)
    ]
    assert desk.engine.counters()["fired"] == 1


def test_an_unknown_value_neither_fires_nor_lets_an_edge_fire_twice() -> None:
    desk = Desk()
    number = desk.engine.add(compile("close > 100 and 1 / (close - 110.5) < 9"), "1m")
    assert desk.run(LOW, 120.0, 110.5, 120.0) == [1]
    assert desk.engine.unknown(number)[Reason.UNDEFINED] == 1
    assert desk.engine.unknown() == desk.engine.unknown(number)


def test_what_is_not_warm_is_counted_as_that() -> None:
    desk = Desk()
    desk.engine.add(compile("close > sma(3)"), "1m")
    desk.run(LOW, LOW, LOW)
    assert desk.engine.unknown()[Reason.NOT_WARM] == 2


def test_what_another_interval_is_not_warm_for_is_counted_as_that() -> None:
    desk = Desk("1m", "5m")
    desk.engine.add(compile('(close > sma(2)) @ "5m"'), "1m")
    for minute in (4, 9):
        desk.close(minute, HIGH, interval="5m")
        desk.close(minute, LOW)
        desk.pump()
        desk.market.confirm_absent("A", "1m", START + 5 * MINUTE, START + 8 * MINUTE)
    assert desk.engine.unknown()[Reason.NOT_WARM] == 1
    assert sum(desk.engine.unknown().values()) == 1


def test_a_hole_is_counted_until_the_window_is_past_it_and_ends_recursive_values() -> None:
    desk = Desk()
    window = desk.engine.add(compile("close > sma(2)"), "1m")
    recursive = desk.engine.add(compile("close > ema(2)"), "1m")
    desk.run(LOW, HIGH, LOW)
    desk.run(HIGH, LOW, HIGH, first=4)
    assert desk.engine.unknown(window)[Reason.HOLE] == 1
    assert desk.engine.unknown(recursive)[Reason.HOLE] == 3
    assert desk.engine.value(window, "A") is True
    assert desk.engine.value(recursive, "A") is None


def test_a_hole_that_is_filled_is_told_as_revisions() -> None:
    desk = Desk()
    number = desk.engine.add(compile("close > ema(2)"), "1m")
    assert desk.run(LOW, LOW, LOW, LOW) == []
    assert desk.run(LOW, HIGH, LOW, first=5) == []
    desk.close(4, LOW)
    assert desk.minutes(desk.pump()) == [(6, True, False)]
    assert desk.engine.value(number, "A") is False
    assert desk.engine.counters()["revised"] == 1
    assert desk.engine.counters()["started_anew"] == 1


def test_a_hole_that_left_the_memory_no_longer_hides_anything() -> None:
    desk = Desk(capacity=4)
    number = desk.engine.add(compile("close > ema(2)"), "1m")
    desk.run(LOW, HIGH)
    desk.run(LOW, HIGH, LOW, first=3)
    assert desk.engine.value(number, "A") is None
    desk.run(HIGH, first=6)
    assert desk.engine.value(number, "A") is True
    assert desk.engine.anchor(number, "A") == START + 3 * MINUTE


def test_a_confirmed_absence_makes_rows_adjacent() -> None:
    desk = Desk()
    number = desk.engine.add(compile("close > close[1]"), "1m")
    desk.run(LOW)
    desk.run(HIGH, first=3)
    assert desk.engine.value(number, "A") is None
    assert desk.market.confirm_absent("A", "1m", START + MINUTE, START + 2 * MINUTE)
    assert desk.pump() == []
    assert desk.engine.value(number, "A") is True


def test_a_correction_takes_back_what_was_told() -> None:
    desk = Desk()
    desk.engine.add(compile(ABOVE), "1m")
    assert desk.run(LOW, HIGH, LOW) == [1]
    desk.close(1, LOW, trades=2)
    assert desk.minutes(desk.pump()) == [(1, True, True)]
    assert desk.engine.counters()["retracted"] == 1
    desk.close(2, HIGH, trades=2)
    assert desk.minutes(desk.pump()) == [(2, True, False)]


def test_what_is_too_old_to_be_remembered_is_not_corrected() -> None:
    desk = Desk(capacity=100)
    desk.engine.add(compile(ABOVE), "1m", mode="level")
    desk.run(*[HIGH] * 70)
    assert desk.engine.counters()["forgotten"] == 6
    desk.close(2, LOW, trades=2)
    assert desk.pump() == []
    desk.close(6, LOW, trades=2)
    assert desk.minutes(desk.pump()) == [(6, True, True)]


def test_rows_from_before_a_filter_are_computed_but_not_told() -> None:
    desk = Desk()
    desk.run(LOW, HIGH, LOW)
    number = desk.engine.add(compile(ABOVE), "1m")
    assert desk.engine.value(number, "A") is False
    assert desk.engine.history(number, "A") == START + 2 * MINUTE
    assert desk.engine.anchor(number, "A") == START
    assert desk.run(HIGH, first=3) == [3]
    desk.close(1, HIGH + 1, trades=2)
    assert desk.pump() == []


def history(*minutes: int) -> bytes:
    rows = [
        [
            START + m * MINUTE, "110.0", "110.0", "110.0", "110.0", "1.0",
            START + (m + 1) * MINUTE - 1, "1.0", 1, "1.0", "1.0", "0",
        ]
        for m in minutes
    ]  # fmt: skip
    return json.dumps(rows).encode()


def test_rows_that_no_event_told_of_are_found_with_the_next_event() -> None:
    desk = Desk()
    number = desk.engine.add(compile("close > 100"), "1m", mode="level")
    assert desk.engine.history(number, "A") is None
    desk.market.apply_klines("A", "1m", history(0, 2), closed_before_ms=1 << 60, notify=False)
    desk.close(3, HIGH)
    assert desk.minutes(desk.pump()) == [(3, False, False)]
    assert desk.engine.history(number, "A") == START + 3 * MINUTE - 1
    desk.close(4, LOW)
    desk.pump()
    desk.market.apply_klines("A", "1m", history(1), closed_before_ms=1 << 60, notify=False)
    desk.close(5, LOW)
    assert desk.pump() == []
    assert desk.engine.counters()["started_anew"] == 1


def test_events_that_were_lost_are_made_up_for() -> None:
    desk = Desk("1s", capacity=9_000)
    number = desk.engine.add(compile("close > close[1]"), "1s")
    for second in range(8_300):
        desk.market.push("A", "1s", kline("1s", START + 1_000 * second, HIGH))
    desk.market.push("A", "1s", kline("1s", START + 1_000 * 8_299, HIGH + 1, trades=2))
    assert desk.market.counters()["events_lost"] > 0
    desk.pump()
    assert desk.engine.value(number, "A") is True


def test_another_interval_is_waited_for_and_read_as_of_the_close() -> None:
    desk = Desk("1m", "5m")
    desk.engine.add(compile('close > 100 and (close @ "5m") > 100'), "1m", mode="level")
    for minute in range(5):
        desk.close(minute, HIGH)
    assert desk.pump() == []
    desk.close(0, HIGH, interval="5m")
    firings = desk.pump()
    assert desk.minutes(firings) == [(4, False, False)]
    assert firings[0].complete
    assert desk.run(HIGH, first=5) == [5]


def test_at_the_deadline_what_is_missing_is_unknown_and_told_when_it_comes() -> None:
    desk = Desk("1m", "5m")
    number = desk.engine.add(compile('close > 100 or (close @ "5m") > 100'), "1m", mode="level")
    desk.close(4, HIGH)
    assert desk.pump() == []
    assert desk.engine.deadline("1m", START + 4 * MINUTE) == []
    assert desk.engine.unknown(number)[Reason.MISSING_CLOSE] == 1
    desk.close(0, HIGH, interval="5m")
    assert desk.minutes(desk.pump()) == [(4, True, False)]


def test_symbols_are_compared_when_the_barrier_was_told() -> None:
    desk = Desk(symbols="AB")
    desk.engine.add(compile("top(close, 1)"), "1m", mode="level")
    desk.market.begin_barrier("1m", START)
    desk.close(0, HIGH)
    assert desk.pump() == []
    desk.close(0, LOW, symbol="B")
    assert [one.symbol for one in desk.pump()] == ["A"]


def test_symbols_are_compared_at_the_deadline_without_the_missing_ones() -> None:
    desk = Desk(symbols="AB")
    desk.engine.add(compile("top(close, 1)"), "1m", mode="level")
    desk.close(0, LOW)
    assert desk.pump() == []
    firings = desk.engine.deadline("1m", START)
    assert [(one.symbol, one.complete) for one in firings] == [("A", False)]
    assert desk.engine.counters()["incomplete"] == 1
    desk.close(0, HIGH, symbol="B")
    told = [(one.symbol, one.revision, one.retracted) for one in desk.pump()]
    assert told == [("A", True, True), ("B", False, False)]


def test_a_late_close_is_compared_with_the_others_of_its_boundary_once_more() -> None:
    desk = Desk(symbols="ABC")
    number = desk.engine.add(compile("rank(close) > 1"), "1m")
    for minute, closes in enumerate([{"A": 3.0, "B": 2.0}, {"A": 1.0}]):
        for symbol, price in closes.items():
            desk.close(minute, price, symbol=symbol)
        desk.pump()
        desk.engine.deadline("1m", START + minute * MINUTE)
    assert desk.engine.value(number, "A") is False
    desk.close(1, 9.0, symbol="B")
    told = [(one.symbol, one.revision) for one in desk.pump()]
    assert told == [("A", True)]
    desk.close(1, 10.0, symbol="C")
    assert desk.engine.value(number, "B") is False
    assert desk.pump() == []  # B was true a minute before as well
    assert desk.engine.value(number, "B") is True
    assert desk.engine.counters()["compared_anew"] == 0


def test_a_late_row_starts_other_symbols_anew_only_where_they_are_compared() -> None:
    desk = Desk("1m", "5m", symbols="ABC")
    desk.engine.add(compile(ABOVE), "1m")
    compared = desk.engine.add(compile("rank(close) == 1"), "5m", mode="level")
    for minute in (4, 9, 14):
        for place, symbol in enumerate("ABC"):
            for interval in ("1m", "5m"):
                desk.close(minute, LOW - place, symbol=symbol, interval=interval)
        desk.pump()
        desk.engine.deadline("5m", START + (minute - 4) * MINUTE)
    desk.close(8, HIGH, symbol="B")
    desk.pump()
    assert desk.engine.counters()["started_anew"] == 1
    assert desk.engine.counters()["compared_anew"] == 0
    desk.close(9, HIGH, symbol="B", interval="5m", trades=2)
    told = [(one.filter_id, one.symbol, one.retracted) for one in desk.pump()]
    assert told == [(compared, "A", True), (compared, "B", False)]
    assert desk.engine.counters()["started_anew"] == 1
    assert desk.engine.counters()["compared_anew"] == 3


def test_what_is_corrected_is_told_before_what_is_new() -> None:
    desk = Desk(symbols="AB")
    fired = desk.engine.add(compile(ABOVE), "1m", mode="level")
    compared = desk.engine.add(compile("rank(close) == 1"), "1m", mode="level")
    for symbol in "AB":
        desk.close(0, LOW, symbol=symbol)
        desk.close(1, LOW, symbol=symbol)
    desk.pump()
    desk.engine.deadline("1m", START + MINUTE)
    desk.close(0, HIGH, symbol="B", trades=2)
    desk.close(2, HIGH, symbol="B")
    told = [(one.filter_id, one.symbol, one.revision) for one in desk.pump()]
    assert told == [
        (fired, "B", True), (compared, "A", True), (compared, "B", True), (fired, "B", False),
    ]  # fmt: skip


def test_comparisons_begun_later_take_the_rows_in_memory_for_history() -> None:
    desk = Desk(symbols="AB")
    for minute in range(3):
        desk.close(minute, HIGH)
        desk.close(minute, LOW, symbol="B")
    number = desk.engine.add(compile("rank(close) > 1"), "1m")
    assert desk.engine.anchor(number, "B") == START
    assert desk.engine.value(number, "B") is True
    assert desk.engine.history(number, "B") == START + MINUTE
    assert desk.engine.deadline("1m", START + 2 * MINUTE) == []
    assert desk.engine.counters()["compared_anew"] == 0


def test_comparisons_start_anew_once_for_what_was_merged_and_tell_nothing_of_it() -> None:
    desk = Desk(symbols="ABC")
    desk.engine.add(compile("rank(close) > 1"), "1m")
    desk.engine.add(compile(ABOVE), "1m", mode="level")
    desk.close(3, HIGH)
    desk.pump()
    past = history(0, 1, 2)
    for symbol in "ABC":
        desk.market.apply_klines(symbol, "1m", past, closed_before_ms=1 << 60, notify=False)
    told = []
    for symbol in "ABC":
        desk.close(4, HIGH, symbol=symbol)
        told += [(one.symbol, one.open_time_ms) for one in desk.pump()]
    assert told == [(symbol, START + 4 * MINUTE) for symbol in "ABC"]
    assert desk.engine.counters()["started_anew"] == 1  # it had been evaluated already
    assert desk.engine.counters()["compared_anew"] == 3  # each symbol once


def test_a_ticker_is_the_newest_one_and_has_no_past() -> None:
    desk = Desk()
    desk.engine.add(compile("ticker.last > 100"), "1m", mode="level")
    assert desk.run(LOW) == []
    assert desk.engine.unknown()[Reason.NO_TICKER] == 1
    ticker = {"e": "24hrMiniTicker", "E": START, "s": "A", "c": "105.0"}
    ticker |= {letter: "100.0" for letter in "ohlvq"}
    desk.market.apply(json.dumps(ticker).encode())
    assert desk.run(LOW, first=1) == [1]


def test_equal_parts_are_computed_once_and_given_back_with_the_last_filter() -> None:
    desk = Desk()
    empty = desk.engine.state_bytes
    first = desk.engine.add(compile("rsi(14) < 30 and close > 100"), "1m")
    steps, size = desk.engine.step_count, desk.engine.state_bytes
    second = desk.engine.add(compile("rsi(14) < 30 or close > 100"), "1m", mode="level")
    assert desk.engine.step_count == steps + 1
    desk.engine.remove(second)
    assert (desk.engine.step_count, desk.engine.state_bytes) == (steps, size)
    desk.engine.remove(first)
    assert (desk.engine.step_count, desk.engine.state_bytes) == (0, empty)
    assert len(desk.engine) == 0
    assert desk.run(LOW, HIGH) == []


def test_filters_that_began_together_share_when_they_began() -> None:
    """Two times a symbol, 16 bytes: the same for all traders that are there at the start."""
    desk = Desk()
    first = desk.engine.add(compile(ABOVE), "1m")
    size = desk.engine.state_bytes
    desk.engine.add(compile(ABOVE), "1m", mode="level")
    places = 64  # of a market with one symbol
    assert desk.engine.state_bytes - size < 8 * places
    desk.run(LOW, HIGH)
    late = desk.engine.add(compile(ABOVE), "1m")
    assert (desk.engine.history(first, "A") or 0) < START
    assert desk.engine.history(late, "A") == START + MINUTE
    assert desk.engine.anchor(first, "A") == desk.engine.anchor(late, "A") == START


def test_a_removed_filter_is_not_told_and_its_number_is_not_given_again() -> None:
    desk = Desk()
    first = desk.engine.add(compile(ABOVE), "1m", mode="level")
    desk.engine.remove(first)
    second = desk.engine.add(compile(ABOVE), "1m", mode="level")
    assert second != first
    desk.close(0, HIGH)
    assert [one.filter_id for one in desk.pump()] == [second]


def test_memory_is_bounded_and_the_refusal_says_by_how_much() -> None:
    market = Market(["A"], ["1m"], 50)
    engine = Engine(market, state_bytes_max=200_000)
    engine.add(compile(ABOVE), "1m")
    held = engine.state_bytes
    with pytest.raises(
        FiltersFullError, match=r"state_bytes_max is 200,000, needed [\d,]+"
    ) as full:
        engine.add(compile("close > sma(500)"), "1m")
    assert full.value.needed > full.value.allowed == 200_000
    assert engine.counters()["refused"] == 1
    assert engine.state_bytes == held
    assert len(engine) == 1


def test_checkpoints_are_left_out_where_there_is_no_room_for_them() -> None:
    market = Market(["A"], ["1m"], 50)
    roomy = Engine(market)
    roomy.add(compile(ABOVE), "1m")
    tight = Engine(market, state_bytes_max=roomy.state_bytes)
    tight.add(compile(ABOVE), "1m")
    market.push("A", "1m", kline("1m", START, HIGH))
    events = market.drain()
    before = roomy.state_bytes
    roomy.pump(events)
    tight.pump(events)
    assert roomy.state_bytes > before == tight.state_bytes
    assert roomy.counters()["checkpoints_left_out"] == 0
    assert tight.counters()["checkpoints_left_out"] == 1


def test_filters_are_counted_and_no_more_taken_than_allowed() -> None:
    engine = Engine(Market(["A"], ["1m"], 50), filters_max=1)
    engine.add(compile(ABOVE), "1m")
    with pytest.raises(FiltersFullError, match="filters_max is 1, needed 2"):
        engine.add(compile(ABOVE), "1m")
    assert engine.counters()["refused"] == 1


def test_a_symbol_that_comes_back_begins_anew() -> None:
    desk = Desk(symbols="AB")
    number = desk.engine.add(compile("close > ema(2)"), "1m", mode="level")
    desk.run(LOW, HIGH, HIGH)
    desk.market.remove_symbol("A")
    desk.market.add_symbol("C")
    desk.market.add_symbol("A")
    desk.pump()
    assert desk.engine.value(number, "A") is None
    assert desk.engine.anchor(number, "A") is None
    assert desk.run(LOW, HIGH, first=3) == [4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "often"}, "mode must be 'edge' or 'level', not 'often'"),
        ({"when": "always"}, "when must be 'closed' or 'forming', not 'always'"),
        ({"cooldown": -1}, "cooldown must be 0..100000 klines, not -1"),
    ],
)
def test_a_wrong_call_says_what_is_allowed(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Desk().engine.add(compile(ABOVE), "1m", **arguments)  # type: ignore[arg-type]


def test_what_is_no_condition_or_of_no_series_is_refused() -> None:
    desk = Desk()
    with pytest.raises(ValueError, match="a filter must be a condition, not a number: close"):
        desk.engine.add(parse_expression("close"), "1m")
    with pytest.raises(UnknownSeriesError, match="1h"):
        desk.engine.add(compile('(close @ "1h") > 1'), "1m")
    with pytest.raises(UnknownSeriesError, match="5m"):
        desk.engine.add(compile(ABOVE), "5m")
    with pytest.raises(ValueError, match="there is no filter 7"):
        desk.engine.remove(7)
    with pytest.raises(ValueError, match="limits must be at least 1"):
        Engine(desk.market, state_bytes_max=0)
    assert len(desk.engine) == 0


@pytest.mark.parametrize("text", ["close > vwap(anchor='day').vwap", "crosses_above(close, 100)"])
def test_times_and_crossings_are_read_as_in_a_batch(text: str) -> None:
    desk = Desk()
    asked: Filter = compile(text)
    number = desk.engine.add(asked, "1m")
    desk.run(LOW, HIGH)
    assert desk.engine.value(number, "A") is True


def test_a_late_row_takes_back_no_firing_that_needs_rows_which_are_gone() -> None:
    desk = Desk(capacity=12)
    edge = desk.engine.add(compile("close > highest(high, 5)[1]"), "1m")
    prices = [LOW] * 8 + [HIGH] + [LOW] * 3
    assert desk.run(*prices) == [8]
    desk.run(*[LOW] * 7, first=12)  # the firing is the fourth row in memory now: it is not warm
    desk.close(20, LOW)  # a hole
    desk.pump()
    desk.close(19, LOW)  # and the late row that fills it
    assert desk.pump() == []
    assert desk.engine.counters()["retracted"] == 0
    assert desk.engine.value(edge, "A") is False


def test_a_cooldown_outlasts_the_row_that_began_it() -> None:
    desk = Desk(capacity=12)
    desk.engine.add(compile(ABOVE), "1m", mode="level", cooldown=30)
    assert desk.run(HIGH, *[HIGH] * 19) == [0]
    desk.close(21, HIGH)
    desk.pump()
    desk.close(20, HIGH)  # begins anew behind the firing
    assert desk.pump() == []
    assert desk.run(*[HIGH] * 12, first=22) == [31]


def test_a_correction_before_a_hole_takes_back_the_firing_behind_it() -> None:
    desk = Desk(capacity=4)
    desk.engine.add(compile(ABOVE), "1m")
    assert desk.run(LOW, LOW, LOW, LOW) == []
    assert desk.run(HIGH, HIGH, HIGH, first=5) == [5]
    desk.close(3, HIGH, trades=9)  # the oldest row in memory; the fourth is missing
    assert desk.minutes(desk.pump()) == [(5, True, True)]
