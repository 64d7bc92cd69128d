"""A sweep says what its parts would say, each stepped by itself."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import klinecore as kc
from klinecore.indicators import blocks

Values = NDArray[np.float64]

PARTS = [
    ("rsi", 5),
    ("bb", 4),
    ("macd", 3, 5, 2),
    ("sma", 3),
    ("atr", 4),
    ("stoch", 4, 2, 2),
    ("highest", 3),
    ("mfi", 3),
    ("doji",),
]


def made(names: list[int], lanes: int) -> list[kc.Lanes]:
    return [kc.Lanes(*PARTS[k], lanes=lanes) for k in names]  # type: ignore[arg-type]


def rows(random: np.random.Generator, inputs: tuple[str, ...], lanes: int) -> dict[str, Values]:
    columns = {name: 100.0 + random.normal(0, 1, lanes) for name in inputs}
    for column in columns.values():
        broken = random.random(lanes) < random.choice([0.0, 0.0, 0.1])
        column[broken] = random.choice([np.nan, np.inf, 1e6, 0.0])
    return columns


def flat(results: tuple[object, ...]) -> Values:
    """Outputs of all parts: output, lane."""
    return np.array(list(chain.from_iterable(r if isinstance(r, tuple) else (r,) for r in results)))


def inputs(part: kc.Lanes) -> tuple[str, ...]:
    return tuple(kc.CATALOG[part.kernel.name].inputs)


@given(
    names=st.lists(st.integers(0, len(PARTS) - 1), min_size=1, max_size=4),
    lanes=st.integers(1, 19),
    seed=st.integers(0, 2**32),
    using=st.sampled_from(blocks.INSTRUCTIONS),
)
def test_a_sweep_is_its_parts(names: list[int], lanes: int, seed: int, using: str) -> None:
    random = np.random.default_rng(seed)
    parts, alone = made(names, lanes), made(names, lanes)
    sweep = kc.Sweep(*parts)
    blocks.use_instructions(using)
    try:
        for _ in range(30):
            columns = rows(random, sweep.inputs, lanes)
            own = [tuple(columns[name] for name in inputs(part)) for part in alone]
            what = random.choice(["update", "preview", "tick", "some", "reset"])
            given_row = tuple(columns[name] for name in sweep.inputs)
            lane = int(random.integers(lanes))
            if what in ("update", "preview"):
                some = random.permutation(lanes)[: lanes // 3]
                where = some if random.random() < 0.5 else None
                ours = getattr(sweep, what)(*given_row, where=where)
                theirs = [
                    getattr(p, what)(*c, where=where) for p, c in zip(alone, own, strict=True)
                ]
                np.testing.assert_array_equal(flat(ours), flat(tuple(theirs)))
            elif what == "tick":
                theirs = [p.preview(*c, where=[lane]) for p, c in zip(alone, own, strict=True)]
                ours = sweep.tick(lane, [column[lane] for column in given_row])
                np.testing.assert_array_equal(ours, flat(tuple(theirs))[:, lane])
            elif what == "some":  # a part may still be stepped by itself
                some = random.permutation(lanes)[: lanes // 2]
                for p, a, c in zip(parts, alone, own, strict=True):
                    p.update(*c, where=some)
                    a.update(*c, where=some)
            else:
                for part in (*parts, *alone):
                    part.reset(lane)
            np.testing.assert_array_equal(
                flat(sweep.values), flat(tuple(part.values for part in alone))
            )
            live = [p.preview(*c, where=[]) for p, c in zip(parts, own, strict=True)]
            theirs = [p.preview(*c, where=[]) for p, c in zip(alone, own, strict=True)]
            np.testing.assert_array_equal(flat(tuple(live)), flat(tuple(theirs)))
    finally:
        blocks.use_instructions(blocks.INSTRUCTIONS[-1])


def test_many_lanes_are_stepped_alike() -> None:
    lanes = 10_003
    part, other = kc.Lanes("rsi", 3, lanes=lanes), kc.Lanes("rsi", 3, lanes=lanes)
    sweep, random = kc.Sweep(part), np.random.default_rng(0)
    for _ in range(6):
        close = random.random(lanes)
        (ours,) = sweep.update(close)
        np.testing.assert_array_equal(ours, other.update(close))


def test_each_column_is_named_once() -> None:
    sweep = kc.Sweep(*made([0, 4, 3, 5], 3))
    assert sweep.inputs == ("source", "high", "low", "close")
    assert (len(sweep), sweep.lanes) == (4, 3)
    assert repr(kc.Sweep(kc.Lanes("sma", 3, lanes=1))) == "Sweep(Lanes('sma', 3, lanes=1))"


def test_columns_may_be_scattered_or_lists() -> None:
    sweep, close = kc.Sweep(kc.Lanes("sma", 1, lanes=3)), np.arange(6.0)
    assert sweep.update(close[::2])[0].tolist() == [0.0, 2.0, 4.0]
    assert sweep.tick(1, 7) == (7.0,)
    assert sweep.tick(1, (8.0,)) == (8.0,)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "a sweep is of 1 to 64 Lanes"),
        ([3], "a sweep is of 1 to 64 Lanes"),
        ([kc.Lanes("sma", 1, lanes=1)] * 2, "a part is given twice"),
        ([kc.Lanes("sma", 1, lanes=1), kc.Lanes("sma", 1, lanes=2)], "parts have 1, 2 lanes"),
    ],
)
def test_what_a_sweep_refuses_to_be(parts: list[kc.Lanes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kc.Sweep(*parts)


def test_a_refused_row_steps_nothing() -> None:
    sweep = kc.Sweep(*made([3, 4], 2))
    good = np.ones(2)
    with pytest.raises(ValueError, match="a row of this sweep is source, high, low, close"):
        sweep.update(good)
    with pytest.raises(ValueError, match="close has 3 rows for 2 lanes"):
        sweep.update(good, good, good, np.ones(3))
    with pytest.raises(ValueError, match="must be a float64 array"):
        sweep.update(good, good, good, np.ones(2, dtype=np.int64))
    with pytest.raises(ValueError, match="where names a lane twice"):
        sweep.update(good, good, good, good, where=[0, 0])
    with pytest.raises(ValueError, match="a row of this sweep is"):
        sweep.tick(0, 1.0)
    with pytest.raises(IndexError, match="lane 2 of 2"):
        sweep.tick(2, (1.0, 1.0, 1.0, 1.0))
    with pytest.raises(TypeError):
        sweep.tick(0, ("a", "b", "c", "d"))  # type: ignore[arg-type]
    sweep.update(good, good, good, good)
    sweep.update(good, good, good, good)
    assert sweep.update(good, good, good, good)[0].tolist() == [1.0, 1.0]
