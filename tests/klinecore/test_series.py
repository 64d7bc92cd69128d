"""klinecore.series: what a reader gets, how long it stays true, and what it may do with it."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.series import NUMBERS
from reference.strategies import START_MS, opens, plain_kline

import klinecore as kc

MINUTE_MS = 60_000


def row_at(place: int, **changes: Any) -> kc.Kline:
    return plain_kline(START_MS + place * MINUTE_MS)._replace(**changes)


def filled(count: int, capacity: int = 500) -> tuple[kc.Market, kc.Series]:
    market = kc.Market(["BTCUSDT"], ["1m"], capacity)
    for place in range(count):
        market.push("BTCUSDT", "1m", row_at(place))
    return market, market["BTCUSDT", "1m"]


def columns_of(series: kc.Series) -> dict[str, np.ndarray[Any, Any]]:
    return {name: getattr(series, name) for name in ("open_time_ms", *kc.COLUMNS)}


def test_columns_are_named_in_the_order_they_are_stored() -> None:
    assert (*NUMBERS, "trades") == kc.COLUMNS


def test_an_empty_series_says_so_in_every_way() -> None:
    _, series = filled(0)
    assert len(series) == 0
    assert series.last is None
    assert series.forming is None
    assert (series.last_close_ms, series.closed_count, series.last_event_ms) == (0, 0, 0)
    assert series.klines() == series.klines(forming=True) == series.gaps() == []
    assert all(column.shape == (0,) for column in columns_of(series).values())
    assert series.columns().shape == (9, 0)
    assert series.index_range(None, None) == (0, 0)


@pytest.mark.parametrize("count", [1, 499, 500, 501, 531, 532, 533, 1500])
def test_columns_are_one_contiguous_read_only_slice_whatever_slid(count: int) -> None:
    _, series = filled(count)
    held = min(count, 500)
    for name, column in columns_of(series).items():
        assert column.shape == (held,)
        assert column.dtype == (np.int64 if name == "open_time_ms" else np.float64)
        assert column.flags.c_contiguous
        assert column.flags.aligned
        assert not column.flags.writeable
        assert not column.flags.owndata
    assert series.open_time_ms.tolist() == [
        START_MS + place * MINUTE_MS for place in range(count - held, count)
    ]


def test_a_view_cannot_be_made_writeable() -> None:
    _, series = filled(3)
    with pytest.raises(ValueError, match="read-only"):
        series.close[0] = 1.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        series.close.flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        series.columns().flags.writeable = True


def test_the_block_of_columns_holds_the_same_memory() -> None:
    _, series = filled(7)
    block = series.columns()
    assert block.shape == (9, 7)
    assert not block.flags.writeable
    for place, name in enumerate(kc.COLUMNS):
        assert np.shares_memory(block[place], getattr(series, name))
        np.testing.assert_array_equal(block[place], getattr(series, name))


def test_columns_leave_the_forming_row_out() -> None:
    market, series = filled(2)
    market.push("BTCUSDT", "1m", row_at(2, closed=False, close="77777"))
    assert len(series) == 2
    assert series.close.shape == (2,)
    assert 77777.0 not in series.close


def test_a_view_is_live_memory_and_shows_a_revision() -> None:
    market, series = filled(3)
    view = series.close
    market.push("BTCUSDT", "1m", row_at(1, trades=99, close="123.5"))
    assert view[1] == 123.5


def test_a_snapshot_is_a_copy_that_stays() -> None:
    market, series = filled(5, capacity=5)
    snapshot = series.snapshot()
    assert list(snapshot) == ["open_time_ms", *kc.COLUMNS]
    expected = {name: column.tolist() for name, column in columns_of(series).items()}
    for name, column in snapshot.items():
        assert column.flags.c_contiguous
        assert not np.shares_memory(column, getattr(series, name))
    for place in range(5, 50):
        market.push("BTCUSDT", "1m", row_at(place))
    assert {name: column.tolist() for name, column in snapshot.items()} == expected


def test_views_and_series_outlive_their_market() -> None:
    market, series = filled(5)
    view, times = series.close, series.open_time_ms
    expected = view.tolist()
    rows = series.klines()
    del market
    gc.collect()
    assert series.klines() == rows
    del series
    gc.collect()
    assert view.tolist() == expected
    assert times[0] == START_MS


def test_a_series_is_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match=r"market\[symbol, interval\]"):
        kc.Series()


@pytest.mark.parametrize("name", [*kc.COLUMNS, "open_time_ms", "symbol", "sequence", "last"])
def test_nothing_of_a_series_can_be_set(name: str) -> None:
    _, series = filled(1)
    with pytest.raises(AttributeError):
        setattr(series, name, None)


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (3, 3), (5, 5), (6, 5), (2**70, 5)])
def test_a_limit_takes_the_newest_rows(limit: int, count: int) -> None:
    _, series = filled(9, capacity=5)
    assert series.klines(limit) == [row_at(place) for place in range(9 - count, 9)]


@pytest.mark.parametrize("limit", [0, -1, -(2**70)])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    _, series = filled(3)
    with pytest.raises(ValueError, match="limit must be at least 1"):
        series.klines(limit)


def test_the_forming_row_comes_on_request_only_and_beyond_the_limit() -> None:
    market, series = filled(3)
    live = row_at(3, closed=False)
    market.push("BTCUSDT", "1m", live)
    assert series.forming == live
    assert series.last == row_at(2)
    assert series.last_close_ms == row_at(2).close_time_ms
    assert series.klines(2) == [row_at(1), row_at(2)]
    assert series.klines(2, forming=True) == [row_at(1), row_at(2), live]


def test_closed_count_counts_rows_that_left_too() -> None:
    _, series = filled(1234, capacity=10)
    assert (len(series), series.closed_count) == (10, 1234)


@given(interval=st.sampled_from(kc.INTERVALS), held=st.sets(st.integers(0, 30), min_size=1))
def test_gaps_name_every_missing_stretch_and_nothing_else(interval: str, held: set[int]) -> None:
    times = opens(interval, 32)
    market = kc.Market(["BTCUSDT"], [interval], 50)
    for place in sorted(held):
        market.push("BTCUSDT", interval, plain_kline(times[place], interval=interval))
    gaps = market["BTCUSDT", interval].gaps()
    named = {
        place for first, last in gaps for place in range(times.index(first), times.index(last) + 1)
    }
    assert named == set(range(min(held), max(held) + 1)) - held
    edges = [edge for gap in gaps for edge in gap]
    assert edges == sorted(edges)


def test_a_gap_of_years_is_named_at_once() -> None:
    market, series = filled(1)
    market.push("BTCUSDT", "1m", row_at(5_000_000))
    assert series.gaps() == [(START_MS + MINUTE_MS, START_MS + 4_999_999 * MINUTE_MS)]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, (0, 5)),
        (0, None, (0, 5)),
        (None, 0, (0, 1)),
        (1, 3, (1, 4)),
        (3, 1, (3, 3)),
        (5, None, (5, 5)),
        (None, -1, (0, 0)),
        (-(2**70), 2**70, (0, 5)),
    ],
)
def test_an_index_range_is_of_rows_by_open_time(
    start: int | None, end: int | None, expected: tuple[int, int]
) -> None:
    _, series = filled(9, capacity=5)
    first_ms = int(series.open_time_ms[0])

    def at(place: int | None) -> int | None:
        if place is None or abs(place) > 2**60:
            return place
        return first_ms + place * MINUTE_MS

    assert series.index_range(at(start), at(end)) == expected


def test_an_index_range_between_rows_includes_no_neighbour() -> None:
    _, series = filled(5)
    assert series.index_range(START_MS + 1, START_MS + 2 * MINUTE_MS - 1) == (1, 2)
    assert series.index_range(START_MS + 1, START_MS + 2) == (1, 1)


def test_it_says_what_it_is() -> None:
    _, series = filled(3, capacity=4)
    assert repr(series) == "<Series BTCUSDT 1m: 3 of 4 klines>"
