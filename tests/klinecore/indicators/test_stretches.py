"""Kernels over ragged columns: each stretch is what the function gives for it alone."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.prices import walk

from klinecore.indicators import CATALOG
from klinecore.indicators.kernels import kernel_of

ROWS = 120
SERIES = walk(0, ROWS)


@pytest.mark.parametrize("name", CATALOG)
@settings(max_examples=10)
@given(cuts=st.sets(st.integers(1, ROWS - 1), max_size=6))
def test_each_stretch_is_what_the_function_gives_for_it_alone(name: str, cuts: set[int]) -> None:
    entry = CATALOG[name]
    parameters = entry.defaults(**{p.name: 5 for p in entry.parameters if p.default is None})
    columns = tuple(np.ascontiguousarray(c, dtype=float) for c in SERIES.columns(entry.inputs))
    starts = np.array([0, *sorted(cuts)])
    made = kernel_of(name).stretches(columns, starts, parameters)
    assert len(made) == len(entry.outputs)
    for first, end in zip(starts, [*starts[1:], ROWS], strict=True):
        part = tuple(column[first:end] for column in columns)
        alone = kernel_of(name).batch(part, parameters)
        for ours, theirs in zip(made, alone if len(made) > 1 else [alone], strict=True):
            assert ours[first:end].tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([], "the first stretch must start at row 0"),
        ([1], "the first stretch must start at row 0"),
        ([0, 2, 2], "starts[2] is 2"),
        ([0, -1], "starts[1] is -1"),
        ([0, 3], "starts must ascend within 3 rows; starts[1] is 3"),
    ],
)
def test_starts_ascend_from_the_first_row_within_the_rows(starts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        kernel_of("sma").stretches((np.ones(3),), np.array(starts, dtype=np.int64), (2,))


def test_no_rows_have_no_stretches() -> None:
    (made,) = kernel_of("sma").stretches((np.empty(0),), np.empty(0, dtype=np.int64), (2,))
    assert made.shape == (0,)


def test_columns_are_one_per_input_and_equally_long() -> None:
    starts = np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="correl: takes 2 columns, not 1"):
        kernel_of("correl").stretches((np.ones(3),), starts, (2,))
    with pytest.raises(ValueError, match="inputs must be equally long"):
        kernel_of("correl").stretches((np.ones(3), np.ones(4)), starts, (2,))
    with pytest.raises(ValueError, match="period must be an integer"):
        kernel_of("correl").stretches((np.ones(3), np.ones(3)), starts, (1,))
