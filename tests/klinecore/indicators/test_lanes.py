"""The third face: what lanes give is what each lane's own stream gives, bit for bit."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.faces import stream
from reference.prices import Values, hostile, seeded

import klinecore as kc
from klinecore.indicators import CATALOG, blocks
from klinecore.indicators.kernel import Stream

ODD = (np.nan, np.inf, -np.inf, 1e200, -1e101)
SERIES = list((seeded(400) | hostile(400)).values())


def some_parameters(name: str, period: int, word: int) -> tuple[object, ...]:
    entry = CATALOG[name]
    given: dict[str, object] = {}
    for number, parameter in enumerate(entry.parameters):
        if parameter.kind == "period":
            given[parameter.name] = max(period + 2 * number, int(parameter.low))
        elif parameter.kind == "choice":
            given[parameter.name] = parameter.choices[word % len(parameter.choices)]
    return entry.defaults(**given)


def as_tuple(output: object) -> tuple[object, ...]:
    return tuple(output) if isinstance(output, tuple) else (output,)


class Model:
    """A stream per lane, and what the outputs of each must be."""

    def __init__(self, name: str, parameters: tuple[object, ...], lanes: int) -> None:
        self.entry, self.parameters = CATALOG[name], parameters
        self.streams = [self.fresh() for _ in range(lanes)]
        self.closed = np.full((len(self.entry.outputs), lanes), np.nan)
        self.live = self.closed.copy()

    def fresh(self) -> Stream:
        return stream(self.entry, self.parameters)

    def update(self, lane: int, row: tuple[float, ...]) -> None:
        self.closed[:, lane] = self.live[:, lane] = as_tuple(self.streams[lane].update(*row))

    def preview(self, lane: int, row: tuple[float, ...]) -> None:
        self.live[:, lane] = as_tuple(self.streams[lane].preview(*row))

    def reset(self, lane: int) -> None:
        self.streams[lane] = self.fresh()
        self.closed[:, lane] = self.live[:, lane] = np.nan


class Market:
    """Rows for lanes: each lane walks through a series of its own, with odd numbers in between."""

    def __init__(self, name: str, lanes: int, random: np.random.Generator, odd: float) -> None:
        self.random, self.odd = random, odd
        walked = [SERIES[k % len(SERIES)].columns(CATALOG[name].inputs) for k in range(lanes)]
        self.columns = [np.stack(column) for column in zip(*walked, strict=True)]
        self.lanes, self.at = np.arange(lanes), random.integers(0, 200, lanes)

    def rows(self) -> list[Values]:
        """The next row of every lane, as columns by lane."""
        self.at += 1
        made = [column[self.lanes, self.at % 400] for column in self.columns]
        for column in made:
            broken = self.random.random(len(column)) < self.odd
            column[broken] = self.random.choice(ODD, np.count_nonzero(broken))
        return made


def by_lane(columns: list[Values]) -> list[tuple[float, ...]]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


def same(given: object, expected: Values, using: str = "") -> None:
    """Bit for bit, but that any NaN is as good as another."""
    np.testing.assert_array_equal(np.array(as_tuple(given)), expected, err_msg=using)


@contextmanager
def instructions(name: str) -> Iterator[None]:
    blocks.use_instructions(name)
    try:
        yield
    finally:
        blocks.use_instructions(blocks.INSTRUCTIONS[-1])


def played(
    name: str, parameters: tuple[object, ...], lanes: int, rows: int, seed: int, odd: float
) -> None:
    """Random calls on lanes and model; both must say the same after each."""
    random = np.random.default_rng(seed)
    made = kc.Lanes(name, *parameters, lanes=lanes)
    model = Model(name, parameters, lanes)
    market = Market(name, lanes, random, odd)
    for _ in range(rows):
        columns = market.rows()
        size = random.choice([0, 1, lanes // 2, lanes])
        some = np.sort(random.permutation(lanes)[:size])
        if random.random() < 0.3:
            random.shuffle(some)
        where = None if size == lanes else some
        if size and random.random() < 0.3:
            where = np.isin(np.arange(lanes), some)
        values = by_lane(columns)
        for lane in some:
            model.preview(lane, values[lane])
        same(made.preview(*columns, where=where), model.live)
        same(made.values, model.closed)
        if random.random() < 0.9:
            for lane in some:
                model.update(lane, values[lane])
            same(made.update(*columns, where=where), model.closed)
            same(made.preview(*columns, where=[]), model.live)
        if random.random() < 0.05:
            lane = int(random.integers(lanes))
            model.reset(lane)
            made.reset(lane)
            same(made.values, model.closed)


@pytest.mark.parametrize("name", CATALOG)
@settings(max_examples=8)
@given(
    lanes=st.integers(1, 20),
    period=st.integers(1, 9),
    word=st.integers(0, 2),
    seed=st.integers(0, 2**32),
    odd=st.sampled_from([0.0, 0.02, 0.3]),
    using=st.sampled_from(blocks.INSTRUCTIONS),
)
def test_each_lane_is_a_stream(
    name: str, lanes: int, period: int, word: int, seed: int, odd: float, using: str
) -> None:
    with instructions(using):
        played(name, some_parameters(name, period, word), lanes, 40, seed, odd)


@pytest.mark.parametrize("short", range(3))
@pytest.mark.parametrize("name", CATALOG)
def test_each_lane_is_a_stream_where_a_period_is_one(name: str, short: int) -> None:
    """What is fed with another window's values counts nothing of its own then."""
    periods = [p for p in CATALOG[name].parameters if p.kind == "period"]
    if short < len(periods):
        for others in (1, 3):
            given = {p.name: max(others, int(p.low)) for p in periods}
            given[periods[short].name] = int(periods[short].low)
            played(name, CATALOG[name].defaults(**given), 11, 40, 3, 0.02)


@pytest.mark.parametrize("odd", [0.0, 0.01])
@pytest.mark.parametrize("name", CATALOG)
def test_each_lane_is_a_stream_for_long(name: str, odd: float) -> None:
    """Most lanes are warm most of the time, in step where nothing is odd, else out of step.

    Lanes for each set of instructions walk beside one model, which takes most of the time.
    """
    random = np.random.default_rng(7)
    for period in (5, 21):
        parameters = some_parameters(name, period, 0)
        made = {using: kc.Lanes(name, *parameters, lanes=21) for using in blocks.INSTRUCTIONS}
        model, market = Model(name, parameters, 21), Market(name, 21, random, odd)
        for number in range(150):
            columns = market.rows()
            values = by_lane(columns)
            for lane, row in enumerate(values):
                model.preview(lane, row)
            live = model.live.copy()
            for lane, row in enumerate(values):
                model.update(lane, row)
            for using, lanes in made.items():
                with instructions(using):
                    same(lanes.preview(*columns), live, using)
                    same(lanes.update(*columns), model.closed, using)
            if odd and number % 40 == 39:
                for resettable in (model, *made.values()):
                    resettable.reset(number % 21)


def test_other_instructions_are_refused() -> None:
    with pytest.raises(ValueError, match="instructions must be one of"):
        blocks.use_instructions("avx1024")


def packed(listing: str, register: str) -> int:
    """Multiplications, additions and divisions of whole vectors of doubles."""
    pattern = rf"\bv?(?:mul|add|sub|div)pd\s[^\n]*{register}"
    return len(re.findall(pattern, listing))


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is in binutils")
def test_loops_are_made_of_vector_instructions() -> None:
    if "avx2" not in blocks.INSTRUCTIONS:
        pytest.skip("knows the instructions of x86 alone")
    file = blocks.__file__
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", file], capture_output=True, text=True, check=True
    ).stdout
    # Eleven loops, each for updates and previews, have some two hundred of each.
    assert packed(listing, "%ymm") > 150
    assert packed(listing.replace("%ymm", ""), "%xmm") > 150


@pytest.mark.parametrize("name", CATALOG)
@settings(max_examples=8)
@given(
    before=st.integers(0, 60),
    period=st.integers(1, 9),
    word=st.integers(0, 2),
    lane=st.integers(0, 10),
    seed=st.integers(0, 2**32),
)
def test_a_saved_lane_goes_on_in_another_place(
    name: str, before: int, period: int, word: int, lane: int, seed: int
) -> None:
    parameters = some_parameters(name, period, word)
    random = np.random.default_rng(seed)
    market = Market(name, 11, random, 0.02)
    first, other = kc.Lanes(name, *parameters, lanes=11), kc.Lanes(name, *parameters, lanes=3)
    for _ in range(before):
        first.update(*market.rows(), where=random.random(11) < 0.8)
        other.update(*(column[:3] for column in market.rows()))
    here, closed = int(random.integers(3)), np.array(as_tuple(first.values))[:, lane]
    image = first.save(lane)
    other.load(here, image)
    same(tuple(np.array(as_tuple(other.values))[:, here]), closed)
    first.load(0, image)  # onto lanes of another age, in the same memory
    for _ in range(30):
        columns = market.rows()
        for column in columns:
            column[:] = column[lane]
        short = [column[:3] for column in columns]
        for face in ("preview", "update"):
            expected = np.array(as_tuple(getattr(first, face)(*columns)))
            there = np.array(as_tuple(getattr(other, face)(*short)))
            np.testing.assert_array_equal(there[:, here], expected[:, lane])
            np.testing.assert_array_equal(expected[:, 0], expected[:, lane])


@pytest.mark.parametrize("using", blocks.INSTRUCTIONS)
@pytest.mark.parametrize("name", ["ema", "sma", "wma", "bb", "highest", "lowest", "stoch"])
def test_a_lane_leaves_those_it_walked_with(name: str, using: str) -> None:
    """Rows of all lanes together, for more than a turn of any ring; then one goes its own way."""
    lanes, parameters = 19, some_parameters(name, 4, 0)
    with instructions(using):
        for way in ("save", "load", "reset", "some", "odd", "rare"):
            random = np.random.default_rng(7)
            made, model = kc.Lanes(name, *parameters, lanes=lanes), Model(name, parameters, lanes)
            market = Market(name, lanes, random, 0.0)
            alone = 17 if way == "odd" else 9
            for at in range(48):
                columns = market.rows()
                if at % 16 == 15 and way in ("odd", "rare"):
                    columns[-1][alone] = np.nan if way == "odd" else 1e9
                some = [k for k in range(lanes) if way != "some" or at % 16 != 15 or k != alone]
                for lane in some:
                    model.update(lane, tuple(column[lane] for column in columns))
                where = None if len(some) == lanes else some
                same(made.update(*columns, where=where), model.closed)
                if at % 16 != 15:
                    continue
                if way == "save":
                    image = made.save(alone)
                    made.reset(alone)
                    made.load(alone, image)
                elif way == "load":
                    made.load(alone, kc.Lanes(name, *parameters, lanes=1).save(0))
                elif way == "reset":
                    made.reset(alone)
                if way in ("load", "reset"):
                    model.reset(alone)


def test_an_image_of_other_lanes_is_refused_and_changes_nothing() -> None:
    lanes = kc.Lanes("sma", 3, lanes=2)
    for price in (1.0, 2.0, 3.0):
        lanes.update(np.array([price, 2 * price]))
    images = [
        kc.Lanes("sma", 4, lanes=2).save(0),
        kc.Lanes("wma", 3, lanes=2).save(0),
        kc.Lanes("ema", 3, lanes=2).save(0),
        lanes.save(0)[:-1],
        lanes.save(0) + b"\0",
        bytes(len(lanes.save(0))),
        b"",
    ]
    for image in images:
        with pytest.raises(ValueError, match="not an image of a lane of Lanes"):
            lanes.load(1, image)
    assert lanes.update(np.array([4.0, 8.0])).tolist() == [3.0, 6.0]


def test_words_are_part_of_the_image() -> None:
    first = kc.Lanes("ema", 3, seed="first", lanes=1)
    with pytest.raises(ValueError, match="not an image"):
        kc.Lanes("ema", 3, lanes=1).load(0, first.save(0))
    kc.Lanes("ema", 3, lanes=1, seed="first").load(0, first.save(0))


def test_outputs_are_read_only_views_that_stay() -> None:
    lanes = kc.Lanes("bb", 2, lanes=3)
    result = lanes.update(np.ones(3))
    kept = result.middle
    assert type(result) is kc.BbResult
    assert kept.shape == (3,)
    assert not kept.flags.writeable
    lanes.update(np.full(3, 3.0))
    assert kept.tolist() == [2.0, 2.0, 2.0]
    assert lanes.preview(np.full(3, 5.0)).middle.tolist() == [4.0, 4.0, 4.0]
    assert kept.tolist() == [2.0, 2.0, 2.0]
    del lanes, result
    assert kept.tolist() == [2.0, 2.0, 2.0]


def test_memory_is_told() -> None:
    few, many = kc.Lanes("sma", 200, lanes=8), kc.Lanes("sma", 200, lanes=808)
    assert 800 * 8 * 200 < many.nbytes - few.nbytes < 800 * 8 * 230


def test_times_may_be_left_out_where_nothing_is_anchored() -> None:
    columns = [np.array([value]) for value in (3.0, 1.0, 2.0, 5.0)]
    assert kc.Lanes("vwap", lanes=1).update(*columns).vwap.tolist() == [2.0]
    with pytest.raises(ValueError, match="an anchor needs open_time_ms"):
        kc.Lanes("vwap", "day", lanes=1).update(*columns)
    day = kc.Lanes("vwap", "day", lanes=1)
    assert day.update(*columns, np.array([86_400_000])).vwap.tolist() == [2.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kc.Lanes("rsy", lanes=1), "there is no indicator 'rsy'"),
        (lambda: kc.Lanes("sma", lanes=1), r"missing \['period'\]"),
        (lambda: kc.Lanes("sma", 3, 4, lanes=1), "its parameters are"),
        (lambda: kc.Lanes("sma", 3, period=4, lanes=1), "its parameters are"),
        (lambda: kc.Lanes("sma", 3, compat="talib", lanes=1), "unknown"),
        (lambda: kc.Lanes("sma", 0, lanes=1), "period must be an integer from 1 to 100,000"),
        (lambda: kc.Lanes("sma", 3, lanes=0), "lanes must be from 1 to 1,000,000, not 0"),
        (lambda: kc.Lanes("sma", 3, lanes=1_000_001), "lanes must be from 1 to 1,000,000"),
        (lambda: kc.Lanes("sma", 3, lanes="2"), "lanes must be an integer"),  # type: ignore
        (lambda: kc.Lanes("sma", 3, lanes=True), "lanes must be an integer"),
    ],
)
def test_what_lanes_refuse_to_be(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([0, 0], "where names a lane twice"),
        ([3], "where names lanes other than 0 to 2"),
        ([-1], "where names lanes other than 0 to 2"),
        ([True, False], r"where has shape \(2,\) for 3 lanes"),
        ([0.0], "where must be lanes by number"),
        ([[0]], "where must be lanes by number"),
        (np.array([0, 3]), "where names lanes other than 0 to 2"),
        (np.array([0, 1, 2, 0]), "where names 4 lanes of 3"),
    ],
)
def test_lanes_that_are_not_there_are_refused(where: object, message: str) -> None:
    lanes = kc.Lanes("sma", 1, lanes=3)
    with pytest.raises(ValueError, match=message):
        lanes.update(np.ones(3), where=where)  # type: ignore[arg-type]
    assert np.isnan(lanes.values).all()


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, list])
def test_lanes_are_named_by_any_integers(kind: type) -> None:
    lanes = kc.Lanes("sma", 1, lanes=5)
    where = [3, 0] if kind is list else np.array([3, 0], dtype=kind)
    np.testing.assert_array_equal(
        lanes.update(np.arange(5.0), where=where), [0.0, np.nan, np.nan, 3.0, np.nan]
    )
    scattered = np.array([1, 9, 2, 9])[::2]
    made = lanes.update(np.arange(5.0), where=scattered)
    np.testing.assert_array_equal(made, [0.0, 1.0, 2.0, 3.0, np.nan])


def test_columns_are_one_number_per_lane() -> None:
    lanes = kc.Lanes("hl2", lanes=3)
    with pytest.raises(ValueError, match="its inputs are high, low"):
        lanes.update(np.ones(3))
    with pytest.raises(ValueError, match="low has 2 rows for 3 lanes"):
        lanes.update(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="float64"):
        lanes.update(np.ones(3), np.ones(3, dtype=int))
    assert lanes.update(np.ones(6)[::2], np.zeros(3)).tolist() == [0.5, 0.5, 0.5]
    assert len(lanes) == lanes.lanes == 3


def test_a_lane_that_is_not_there_is_refused() -> None:
    lanes = kc.Lanes("sma", 1, lanes=3)
    for call in (lanes.reset, lanes.save, lambda lane: lanes.load(lane, b"")):
        for lane in (-1, 3, True):
            with pytest.raises(IndexError):
                call(lane)
    with pytest.raises(TypeError, match="lanes are made once"):
        lanes.__init__("sma", 1, lanes=3)  # type: ignore[misc]


def test_lanes_know_their_lookback() -> None:
    assert kc.Lanes("macd", lanes=1).lookback == 33
    assert repr(kc.Lanes("rsi", lanes=2)) == "Lanes('rsi', 14, 'talib', lanes=2)"
