"""klinecore.states: what is known of each row and of each stretch in which none is held."""

from __future__ import annotations

import numpy as np
import pytest
from reference.messages import kline_frame, rest_klines
from reference.strategies import START_MS, plain_kline

import klinecore as kc
from klinecore import Event, EventKind, RowState

MINUTE_MS = 60_000


def at(place: int) -> int:
    return START_MS + place * MINUTE_MS


def row_at(place: int, trades: int = 10, *, closed: bool = True) -> kc.Kline:
    return plain_kline(at(place), trades, closed=closed)


def market_of(*places: int, capacity: int = 10) -> tuple[kc.Market, kc.Series]:
    """A market whose only series holds these minutes."""
    market = kc.Market(["BTCUSDT"], ["1m"], capacity)
    for place in places:
        market.push("BTCUSDT", "1m", row_at(place))
    market.drain()
    return market, market["BTCUSDT", "1m"]


def confirm(market: kc.Market, first: int, last: int) -> bool:
    return market.confirm_absent("BTCUSDT", "1m", at(first), at(last))


def test_a_row_knows_how_its_close_became_known() -> None:
    market, series = market_of()
    market.apply(kline_frame(row_at(0)))
    body = rest_klines([row_at(1)])
    market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=at(2))
    market.push("BTCUSDT", "1m", row_at(2))
    market.apply(kline_frame(row_at(3, closed=False)))
    assert series.states.tolist() == [RowState.STREAM, RowState.REST, RowState.PUSHED]
    assert [series.state_at(at(place)) for place in range(-1, 5)] == [
        RowState.NONE,
        RowState.STREAM,
        RowState.REST,
        RowState.PUSHED,
        RowState.FORMING,
        RowState.NONE,
    ]


def test_states_are_a_new_array_of_bytes() -> None:
    _, series = market_of(0, 1)
    states = series.states
    assert states.dtype == np.uint8
    assert states.flags.owndata
    assert states.flags.writeable
    assert market_of()[1].states.shape == (0,)


def test_a_minute_without_trades_is_one_only_when_the_exchange_says_so() -> None:
    market, series = market_of()
    market.apply(kline_frame(row_at(0, 0)))
    market.apply_klines("BTCUSDT", "1m", rest_klines([row_at(1, 0)]), closed_before_ms=at(2))
    market.push("BTCUSDT", "1m", row_at(2, 0))
    assert series.states.tolist() == [RowState.NO_TRADES, RowState.NO_TRADES, RowState.PUSHED]


def test_the_stream_is_believed_first_whatever_came_first() -> None:
    market, series = market_of(0)
    revision = series.revision
    market.apply_klines("BTCUSDT", "1m", rest_klines([row_at(0)]), closed_before_ms=at(1))
    assert series.states.tolist() == [RowState.REST]
    market.apply(kline_frame(row_at(0)))
    assert series.states.tolist() == [RowState.STREAM]
    assert series.revision == revision + 2
    market.push("BTCUSDT", "1m", row_at(0))
    assert series.states.tolist() == [RowState.STREAM]
    assert series.revision == revision + 2
    assert market.drain() == []


def test_a_hole_is_explained_by_the_exchange_alone() -> None:
    market, series = market_of(0, 3)
    assert series.gaps() == series.holes() == [(at(1), at(2))]
    assert series.state_at(at(1)) == series.state_at(at(2)) == RowState.HOLE
    assert confirm(market, 1, 2)
    assert series.gaps() == series.absences() == [(at(1), at(2))]
    assert series.holes() == []
    assert series.state_at(at(1)) == series.state_at(at(2)) == RowState.ABSENT
    assert market.drain() == [Event(EventKind.ABSENT, "BTCUSDT", "1m", at(1))]


def test_only_the_whole_stretch_can_be_confirmed_and_only_once() -> None:
    market, series = market_of(0, 3, 4)
    for first, last in [(1, 1), (2, 2), (0, 2), (1, 3), (4, 4), (-5, -1), (5, 9), (2, 1)]:
        assert not confirm(market, first, last)
    assert confirm(market, 1, 2)
    revision = series.revision
    assert not confirm(market, 1, 2)
    assert series.revision == revision
    assert len(market.drain()) == 1


def test_nothing_can_be_confirmed_in_an_empty_series() -> None:
    market, _ = market_of()
    assert not confirm(market, 0, 5)
    market.push("BTCUSDT", "1m", row_at(3, closed=False))
    assert not confirm(market, 0, 2)


def test_a_confirmation_changes_what_caches_key_on() -> None:
    market, series = market_of(0, 3)
    before = (series.revision, series.sequence)
    confirm(market, 1, 2)
    assert (series.revision, series.sequence) == (before[0] + 1, before[1] + 2)


def test_a_row_that_comes_after_all_takes_its_place_and_both_sides_are_holes_again() -> None:
    market, series = market_of(0, 5)
    confirm(market, 1, 4)
    market.push("BTCUSDT", "1m", row_at(3))
    assert series.absences() == []
    assert series.holes() == [(at(1), at(2)), (at(4), at(4))]


def test_a_revised_row_keeps_what_is_known_of_the_stretch_before_it() -> None:
    market, series = market_of(0, 3)
    confirm(market, 1, 2)
    assert market.push("BTCUSDT", "1m", row_at(3, 11)) == kc.MergeStatus.REVISED
    assert series.absences() == [(at(1), at(2))]


def test_the_stretch_before_the_forming_row_stays_known_when_that_row_closes() -> None:
    market, series = market_of(0)
    market.push("BTCUSDT", "1m", row_at(3, closed=False))
    assert confirm(market, 1, 2)
    market.push("BTCUSDT", "1m", row_at(3, 11, closed=False))
    assert series.absences() == [(at(1), at(2))]
    market.push("BTCUSDT", "1m", row_at(3, 12))
    assert series.absences() == [(at(1), at(2))]


@pytest.mark.parametrize("closed", [False, True])
def test_a_forming_row_that_never_closed_leaves_a_longer_hole(closed: bool) -> None:
    market, series = market_of(0)
    market.push("BTCUSDT", "1m", row_at(3, closed=False))
    confirm(market, 1, 2)
    market.push("BTCUSDT", "1m", row_at(4, closed=closed))
    assert series.holes() == [(at(1), at(3))]
    assert series.absences() == []


def test_a_close_before_the_forming_row_cuts_its_stretch() -> None:
    market, series = market_of(0)
    market.push("BTCUSDT", "1m", row_at(4, closed=False))
    confirm(market, 1, 3)
    market.push("BTCUSDT", "1m", row_at(2))
    assert series.holes() == [(at(1), at(1)), (at(3), at(3))]


def test_an_absence_leaves_the_window_with_the_row_before_it() -> None:
    market, series = market_of(0, 3, 4, capacity=3)
    confirm(market, 1, 2)
    market.push("BTCUSDT", "1m", row_at(5))
    assert series.open_time_ms[0] == at(3)
    assert series.gaps() == []
    assert series.state_at(at(2)) == RowState.NONE


@pytest.mark.parametrize("time_ms", [-(2**80), -1, at(0) + 1, at(1) - 1, at(1) + 1, 2**62, 2**80])
def test_a_time_at_which_no_kline_opens_has_no_state(time_ms: int) -> None:
    market, series = market_of(0, 3)
    assert series.state_at(time_ms) == RowState.NONE
    confirm(market, 1, 2)
    assert series.state_at(time_ms) == RowState.NONE


def test_an_absence_of_months_is_found_by_the_calendar() -> None:
    market = kc.Market(["BTCUSDT"], ["1M"])
    series = market["BTCUSDT", "1M"]
    months = [1_767_225_600_000, 1_769_904_000_000, 1_772_323_200_000, 1_775_001_600_000]
    for open_ms in (months[0], months[3]):
        market.push("BTCUSDT", "1M", plain_kline(open_ms, interval="1M"))
    assert market.confirm_absent("BTCUSDT", "1M", months[1], months[2])
    assert [series.state_at(month) for month in months[1:3]] == [RowState.ABSENT] * 2
    assert series.state_at(months[1] + MINUTE_MS) == RowState.NONE
