"""Compiled loops over rows, beside what Python says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klinecore.filters.loops import latest, logarithm, places, silences, spaced

ascending = st.lists(st.integers(0, 50), max_size=12).map(sorted)


@given(st.lists(st.floats(allow_nan=False, min_value=1e-300, max_value=1e300), max_size=40))
def test_logarithms_are_the_c_librarys(values: list[float]) -> None:
    assert logarithm(np.array(values)).tolist() == [math.log(value) for value in values]


@given(st.lists(st.tuples(ascending, ascending), max_size=4))
def test_the_latest_row_is_the_last_that_is_not_later(
    symbols: list[tuple[list[int], list[int]]],
) -> None:
    expected = []
    before = 0
    for own, other in symbols:
        for time in own:
            not_later = [i for i, t in enumerate(other) if t <= time]
            expected.append(before + not_later[-1] if not_later else -1)
        before += len(other)
    flat = [np.array([t for pair in symbols for t in pair[i]], dtype=np.int64) for i in (0, 1)]
    bounds = [np.cumsum([0, *(len(pair[i]) for pair in symbols)]) for i in (0, 1)]
    assert latest(flat[0], bounds[0], flat[1], bounds[1]).tolist() == expected


def test_offsets_must_bound_the_rows() -> None:
    times, one, two = np.arange(2), np.array([0, 2]), np.array([0, 1])
    for own, other in ((one, two), (two, one), (one, np.array([0, 1, 2]))):
        with pytest.raises(ValueError, match="offsets must bound the rows"):
            latest(times, own, times, other)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2), st.booleans()), max_size=60))
def test_places_count_the_larger_ones_and_the_equal_ones_before(
    rows: list[tuple[int, int, bool]],
) -> None:
    values, moments, unknown = (list(column) for column in zip(*rows, strict=True)) if rows else (
        [], [], [])  # fmt: skip
    found = places(
        np.array(values, dtype=float),
        np.array(moments, dtype=np.int64),
        np.array(unknown, dtype=np.uint8),
    )
    for i, (value, moment, gone) in enumerate(rows):
        if gone:
            assert math.isnan(found[i])
            continue
        others = [(v, j) for j, (v, m, g) in enumerate(rows) if m == moment and not g]
        assert found[i] == 1 + sum(v > value or (v == value and j < i) for v, j in others)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=30), st.integers(0, 6))
def test_taken_rows_of_a_symbol_are_far_enough_apart(
    steps: list[tuple[int, int]], apart: int
) -> None:
    symbols = np.array(sorted(symbol for symbol, _ in steps), dtype=np.int32)
    rows = np.cumsum([step for _, step in steps], dtype=np.int64)
    taken = spaced(rows, symbols, apart)
    last: dict[int, int] = {}
    for symbol, row, took in zip(symbols.tolist(), rows.tolist(), taken.tolist(), strict=True):
        assert took == (symbol not in last or row - last[symbol] > apart)
        if took:
            last[symbol] = row


def test_an_indicator_is_silent_until_it_is_warm_and_where_its_result_is_not_finite() -> None:
    values = np.array([np.nan, 1, np.inf, np.nan, np.nan, 2, 3, np.nan])
    fed = np.array([0, 0, 0, 5, 0, 0, 0, 0], dtype=np.uint8)
    cold = np.array([1, 1, 1, 1, 4, 4, 4, 4], dtype=np.uint8)
    starts = np.array([0, 4])
    reasons = silences(values, fed, starts, cold, 1, False)
    assert reasons.tolist() == [1, 0, 2, 5, 4, 0, 0, 2]
    assert np.array_equal(values, [np.nan, 1, *[np.nan] * 3, 2, 3, np.nan], equal_nan=True)
    assert silences(values, fed, starts, cold, 1, True).tolist() == [1, 0, 2, 5, 4, 4, 4, 4]
    assert np.isnan(values[4:]).all()


def test_columns_that_do_not_belong_together_are_refused() -> None:
    two, row, byte = np.arange(2), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.uint8)
    with pytest.raises(ValueError, match="equally long"):
        spaced(two, np.zeros(1, dtype=np.int32), 1)
    with pytest.raises(ValueError, match="equally long"):
        places(np.zeros(2), row, byte)
    with pytest.raises(ValueError, match="count from 0"):
        places(np.zeros(1), row - 1, byte)
    for values, starts in ((np.zeros(2), row), (np.zeros(1), row + 1)):
        with pytest.raises(ValueError, match="starts within them"):
            silences(values, byte, starts, byte, 1, False)
