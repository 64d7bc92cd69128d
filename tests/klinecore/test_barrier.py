"""klinecore.barrier, through a market: one event per boundary, and what it says is missing."""

from __future__ import annotations

import pytest
from reference.messages import kline_frame, rest_klines
from reference.strategies import START_MS, plain_kline

import klinecore as kc
from klinecore import Barrier, Event, EventKind

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
NAMES = ["A", "B", "C"]


def market_of(*intervals: str, room: int = 0) -> kc.Market:
    return kc.Market(NAMES, intervals or ["1m"], 10, room=room)


def close(market: kc.Market, *symbols: str, place: int = 0, interval: str = "1m") -> None:
    open_ms = START_MS + place * kc.INTERVAL_MS[interval]
    for symbol in symbols:
        row = plain_kline(open_ms, interval=interval)
        market.apply(kline_frame(row, symbol, interval))


def told(market: kc.Market) -> list[Event]:
    kinds = (EventKind.BARRIER, EventKind.BARRIER_REVISED)
    return [event for event in market.drain() if event.kind in kinds]


def barrier_event(kind: EventKind = EventKind.BARRIER, place: int = 0) -> Event:
    return Event(kind, "", "1m", START_MS + place * MINUTE_MS)


REVISED = barrier_event(EventKind.BARRIER_REVISED)


def test_there_is_no_barrier_before_the_first() -> None:
    market = market_of()
    assert market.barrier("1m") is None
    market.end_barrier("1m")
    assert told(market) == []


def test_the_last_expected_close_ends_the_barrier_once() -> None:
    market = market_of()
    assert market.begin_barrier("1m", START_MS)
    close(market, "A", "B")
    assert told(market) == []
    assert market.barrier("1m") == Barrier(
        interval="1m",
        open_time_ms=START_MS,
        close_time_ms=START_MS + MINUTE_MS - 1,
        expected=3,
        closed=2,
        late=0,
        complete=False,
        ended=False,
        missing=("C",),
    )
    close(market, "C")
    assert told(market) == [barrier_event()]
    close(market, "A", "B", "C")
    market.end_barrier("1m")
    assert not market.begin_barrier("1m", START_MS)
    assert told(market) == []


def test_the_event_of_a_barrier_follows_that_of_its_last_close() -> None:
    market = market_of()
    market.begin_barrier("1m", START_MS)
    close(market, *NAMES)
    kinds = [event.kind for event in market.drain()]
    assert kinds == [EventKind.CLOSED] * 3 + [EventKind.BARRIER]


def test_closes_that_came_before_the_barrier_count() -> None:
    market = market_of()
    close(market, *NAMES)
    assert told(market) == []
    market.begin_barrier("1m", START_MS)
    assert market.pending
    assert told(market) == [barrier_event()]


def test_at_the_deadline_what_is_missing_is_named_and_comes_late() -> None:
    market = market_of()
    market.begin_barrier("1m", START_MS)
    close(market, "B")
    market.end_barrier("1m")
    assert told(market) == [barrier_event()]
    barrier = market.barrier("1m")
    assert barrier is not None
    assert (barrier.ended, barrier.complete, barrier.missing) == (True, False, ("A", "C"))
    close(market, "C", "A")
    assert told(market) == [REVISED]
    barrier = market.barrier("1m")
    assert barrier is not None
    assert (barrier.complete, barrier.closed, barrier.late, barrier.missing) == (True, 3, 2, ())


def test_history_merged_in_silence_counts_and_the_barrier_is_told() -> None:
    market = market_of()
    market.begin_barrier("1m", START_MS)
    body = rest_klines([plain_kline(START_MS)])
    for symbol in NAMES:
        market.apply_klines(symbol, "1m", body, closed_before_ms=2**60, notify=False)
    assert market.drain() == [barrier_event()]


def test_a_forming_row_is_no_close() -> None:
    market = market_of()
    market.begin_barrier("1m", START_MS)
    for symbol in NAMES:
        market.push(symbol, "1m", plain_kline(START_MS, closed=False))
    assert told(market) == []
    barrier = market.barrier("1m")
    assert barrier is not None
    assert barrier.closed == 0


def test_closes_of_other_times_and_intervals_do_not_count() -> None:
    market = market_of("1m", "1h")
    market.begin_barrier("1m", START_MS + 59 * MINUTE_MS)
    close(market, *NAMES, place=58)
    close(market, *NAMES, interval="1h")
    assert told(market) == []


def test_a_newer_barrier_ends_an_older_one_first() -> None:
    market = market_of()
    market.begin_barrier("1m", START_MS)
    assert market.begin_barrier("1m", START_MS + MINUTE_MS)
    close(market, *NAMES, place=1)
    assert told(market) == [barrier_event(), barrier_event(place=1)]
    assert not market.begin_barrier("1m", START_MS)
    assert told(market) == []


def test_a_time_before_1970_begins_nothing() -> None:
    with pytest.raises(ValueError, match="since 1970, received -1"):
        market_of().begin_barrier("1m", -1)


def test_nobody_waits_for_a_halted_symbol() -> None:
    market = market_of()
    market.set_expected("B", False)
    market.begin_barrier("1m", START_MS)
    assert market.missing_closes("1m", START_MS) == ["A", "C"]
    close(market, "A", "C")
    assert told(market) == [barrier_event()]
    barrier = market.barrier("1m")
    assert barrier is not None
    assert (barrier.expected, barrier.closed, barrier.complete) == (2, 2, True)
    close(market, "B")
    market.set_expected("B", True)
    assert told(market) == []


def test_a_symbol_that_is_halted_meanwhile_ends_the_wait() -> None:
    market = market_of()
    market.begin_barrier("1m", START_MS)
    close(market, "A", "B")
    market.set_expected("C", False)
    assert told(market) == [barrier_event()]


def test_a_symbol_that_is_removed_meanwhile_ends_the_wait() -> None:
    market = market_of()
    market.begin_barrier("1m", START_MS)
    close(market, "A", "B")
    market.remove_symbol("C")
    assert told(market) == [barrier_event()]


def test_a_symbol_that_is_added_meanwhile_is_waited_for() -> None:
    market = market_of(room=1)
    market.begin_barrier("1m", START_MS)
    market.add_symbol("D")
    close(market, *NAMES)
    assert told(market) == []
    close(market, "D")
    assert told(market) == [barrier_event()]


def test_a_symbol_added_after_the_event_takes_nothing_back() -> None:
    market = market_of(room=1)
    market.begin_barrier("1m", START_MS)
    close(market, *NAMES)
    market.add_symbol("D")
    barrier = market.barrier("1m")
    assert barrier is not None
    assert (barrier.expected, barrier.complete) == (3, True)
    close(market, "D")
    assert told(market) == [barrier_event()]


def test_a_missing_symbol_that_is_removed_afterwards_is_a_revision() -> None:
    market = market_of()
    market.begin_barrier("1m", START_MS)
    close(market, "A", "B")
    market.end_barrier("1m")
    market.remove_symbol("C")
    assert told(market) == [barrier_event(), REVISED]
    barrier = market.barrier("1m")
    assert barrier is not None
    assert (barrier.expected, barrier.complete, barrier.missing) == (2, True, ())


def test_a_symbol_that_closed_and_left_after_the_event_still_counts() -> None:
    market = market_of()
    market.begin_barrier("1m", START_MS)
    close(market, *NAMES)
    before = market.barrier("1m")
    market.remove_symbol("C")
    market.set_expected("B", False)
    assert market.barrier("1m") == before
    assert told(market) == [barrier_event()]


def test_a_market_in_which_nobody_is_expected_is_complete_at_once() -> None:
    market = market_of()
    for symbol in NAMES:
        market.set_expected(symbol, False)
    market.begin_barrier("1m", START_MS)
    assert told(market) == [barrier_event()]


def test_intervals_that_close_together_are_coherent_when_each_has_told() -> None:
    market = market_of("1m", "5m", "1h")
    noon = START_MS + 12 * HOUR_MS
    last = {name: noon - kc.INTERVAL_MS[name] for name in market.intervals}
    assert not market.coherent(["1m"], noon)
    for name in ("1m", "5m"):
        market.begin_barrier(name, last[name])
        assert not market.coherent([name], noon)
        market.end_barrier(name)
    assert market.coherent(["1m", "5m"], noon)
    assert not market.coherent(["1m", "5m", "1h"], noon)
    market.begin_barrier("1h", last["1h"])
    market.end_barrier("1h")
    assert market.coherent(market.intervals, noon)
    # A minute later only the 1m closes; its barrier is not told yet.
    assert not market.coherent(market.intervals, noon + MINUTE_MS)
    market.begin_barrier("1m", noon)
    market.end_barrier("1m")
    assert market.coherent(market.intervals, noon + MINUTE_MS)
    assert market.coherent(market.intervals, noon)


def test_an_unknown_interval_is_refused_at_every_door() -> None:
    market = market_of()
    for call in (
        lambda: market.barrier("2h"),
        lambda: market.begin_barrier("2h", START_MS),
        lambda: market.end_barrier("2h"),
        lambda: market.missing_closes("2h", START_MS),
        lambda: market.coherent(["2h"], START_MS),
    ):
        with pytest.raises(kc.UnknownSeriesError, match="unknown interval '2h'"):
            call()
    with pytest.raises(kc.UnknownSeriesError, match="unknown symbol 'X'"):
        market.set_expected("X", False)
