"""What klines requests weigh, learned from headers among strangers' requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.feeds.weights import LIMITS_MAX, READS, LearnedWeights

TABLE = ((99, 1), (499, 2), (1000, 5), (1500, 10))


def learned(*reads: tuple[int, int]) -> LearnedWeights:
    """A table after each ``(limit, weight)`` was read often enough."""
    weights = LearnedWeights("um", TABLE)
    for limit, weight in reads:
        for _ in range(READS):
            weights.note(limit, weight)
    return weights


@pytest.mark.parametrize(
    ("reads", "table"),
    [
        ([(499, 2), (99, 1)], TABLE),
        ([(499, 5)], ((99, 1), (499, 5), (1000, 5), (1500, 10))),
        ([(300, 5)], ((99, 1), (499, 5), (1000, 5), (1500, 10))),
        ([(300, 1)], TABLE),
        ([(150, 2), (499, 5)], ((99, 1), (499, 5), (1000, 5), (1500, 10))),
        ([(1000, 2)], ((99, 1), (499, 2), (1000, 2), (1500, 10))),
        ([(499, 5), (499, 2)], TABLE),
        ([(300, 5), (300, 2)], TABLE),
        ([(2000, 1)], TABLE),
        ([(499, 0)], ((99, 1), (499, 1), (1000, 5), (1500, 10))),
    ],
)
def test_a_step_weighs_what_its_dearest_limit_did(
    reads: list[tuple[int, int]], table: tuple[tuple[int, int], ...]
) -> None:
    assert learned(*reads).steps == table


def test_fewer_reads_teach_nothing() -> None:
    weights = LearnedWeights("um", TABLE)
    assert [weights.note(499, 5) for _ in range(READS)] == [False] * (READS - 1) + [True]
    assert weights.corrections == 1


@given(
    st.lists(st.tuples(st.sampled_from([99, 499, 1000, 1500]), st.integers(0, 30)), max_size=200)
)
def test_strangers_alone_never_make_a_request_cheaper(reads: list[tuple[int, int]]) -> None:
    weights = LearnedWeights("um", TABLE)
    for limit, strangers in reads:
        weights.note(limit, dict(TABLE)[limit] + strangers)
        assert all(a >= b for (_, a), (_, b) in zip(weights.steps, TABLE, strict=True))


def test_the_limits_remembered_are_bounded() -> None:
    weights = LearnedWeights("um", TABLE)
    for limit in range(1, 500):
        weights.note(limit, 1)
    assert len(weights._seen) == LIMITS_MAX
