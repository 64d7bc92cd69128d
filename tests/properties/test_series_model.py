"""A series holds what a dict of rows by open time holds, whatever came in whatever order."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference.messages import kline_frame, rest_klines
from reference.series import NUMBERS, SeriesModel
from reference.strategies import START_MS, klines, opens, plain_kline, plain_klines

import klinecore as kc
from klinecore import RowState

SYMBOL = "BTCUSDT"
capacities = st.one_of(st.integers(1, 12), st.just(500))
intervals = st.sampled_from(["1s", "1m", "15m", "1d", "3d", "1w", "1M"])


def market_of(interval: str, capacity: int) -> tuple[kc.Market, kc.Series]:
    market = kc.Market([SYMBOL], [interval], capacity=capacity)
    return market, market[SYMBOL, interval]


def random_rows(seed: int, count: int, interval: str = "1m") -> list[kc.Kline]:
    """A feed on a bad day: mostly onwards, with holes, repeats, late rows, revisions."""
    rng = random.Random(seed)
    times = opens(interval, 2 * count + 2)
    place = 0
    rows = []
    for _ in range(count):
        if rng.random() < 0.7:
            place = min(place + rng.choice([1, 1, 1, 1, 1, 1, 2, 5]), len(times) - 1)
        back = rng.choice([0, 0, 0, 0, 0, 1, 1, 2, 7, 30])
        rows.append(
            plain_kline(
                times[max(place - back, 0)],
                rng.choice([9, 10, 10, 11]),
                interval=interval,
                closed=rng.random() < 0.8,
                price=rng.choice(["10.00", "10.00", "10.00", "10.0", "10.01"]),
            )
        )
    return rows


def assert_holds(series: kc.Series, model: SeriesModel) -> None:
    rows = model.rows()
    assert series.klines() == rows
    assert series.forming == model.forming
    assert series.klines(forming=True) == model.rows(forming=True)
    assert series.last == (rows[-1] if rows else None)
    assert series.last_close_ms == (rows[-1].close_time_ms if rows else 0)
    assert len(series) == len(rows)
    assert series.closed_count == model.closed_count
    assert series.gaps() == model.gaps()
    assert series.holes() == model.holes()
    assert series.absences() == model.absences()
    assert series.states.tolist() == model.states()
    assert series.states.dtype == np.uint8
    counters = series.counters
    assert {name: counters[name] for name in model.counters} == model.counters
    assert series.open_time_ms.tolist() == [row.open_time_ms for row in rows]
    assert series.trades.tolist() == [row.trades for row in rows]
    for name in NUMBERS:
        column = getattr(series, name)
        assert column.flags.c_contiguous
        assert column.tolist() == [float(getattr(row, name)) for row in rows]


@given(data=st.data(), interval=intervals, capacity=st.integers(1, 12))
def test_series_equals_a_dict_of_rows(data: st.DataObject, interval: str, capacity: int) -> None:
    market, series = market_of(interval, capacity)
    model = SeriesModel(interval, capacity)
    for row in data.draw(st.lists(klines(interval), max_size=30)):
        before = series.klines()
        revision, sequence = series.revision, series.sequence
        assert market.push(SYMBOL, interval, row).name == model.push(row)
        assert (series.revision != revision) == (series.klines() != before)
        assert series.sequence - sequence == 2
        assert series.forming == model.forming
    assert_holds(series, model)


@given(seed=st.integers(0, 2**32), capacity=capacities, interval=st.sampled_from(["1m", "1M"]))
def test_long_runs_slide_the_window_many_times(seed: int, capacity: int, interval: str) -> None:
    market, series = market_of(interval, capacity)
    model = SeriesModel(interval, capacity)
    for index, row in enumerate(random_rows(seed, 300, interval)):
        assert market.push(SYMBOL, interval, row).name == model.push(row)
        if index % 75 == 0:
            assert_holds(series, model)
    assert_holds(series, model)


def test_a_full_window_of_500_rows_slides_and_heals() -> None:
    market, series = market_of("1m", 500)
    model = SeriesModel("1m", 500)
    for row in random_rows(7, 4000):
        assert market.push(SYMBOL, "1m", row).name == model.push(row)
    assert len(series) == 500
    assert_holds(series, model)


def state(series: kc.Series) -> tuple[Any, ...]:
    return (
        series.klines(),
        series.forming,
        series.states.tobytes(),
        series.holes(),
        series.absences(),
        series.open_time_ms.tobytes(),
        np.ascontiguousarray(series.columns()).tobytes(),
        series.last_event_ms,
    )


def state_after(frames: Sequence[bytes], interval: str, capacity: int) -> tuple[Any, ...]:
    market, series = market_of(interval, capacity)
    for frame in frames:
        assert market.apply(frame) == kc.FrameKind.KLINE
    return state(series)


@given(data=st.data(), interval=intervals, capacity=st.integers(1, 8))
def test_every_order_and_repetition_of_frames_gives_one_state(
    data: st.DataObject, interval: str, capacity: int
) -> None:
    rows = data.draw(st.lists(klines(interval, slots=10), min_size=1, max_size=12))
    frames = [kline_frame(row, interval=interval) for row in rows]
    again = data.draw(st.lists(st.sampled_from(frames), max_size=8))
    shuffled = data.draw(st.permutations(frames + again))
    assert state_after(shuffled, interval, capacity) == state_after(frames, interval, capacity)


@given(seed=st.integers(0, 2**32), capacity=capacities)
def test_order_and_repetition_do_not_matter_in_long_runs(seed: int, capacity: int) -> None:
    frames = [kline_frame(row) for row in random_rows(seed, 120)]
    shuffled = frames + frames[::3]
    random.Random(seed).shuffle(shuffled)
    assert state_after(shuffled, "1m", capacity) == state_after(frames, "1m", capacity)


@given(data=st.data(), capacity=st.integers(1, 8))
def test_stream_rest_and_push_leave_the_same_rows(data: st.DataObject, capacity: int) -> None:
    rows = data.draw(st.lists(klines(closed=st.just(True)), min_size=1, max_size=12))
    ways: list[kc.Series] = []
    for way in range(3):
        market, series = market_of("1m", capacity)
        ways.append(series)
        for row in rows:
            if way == 0:
                market.apply(kline_frame(row))
            elif way == 1:
                market.apply_klines(SYMBOL, "1m", rest_klines([row]), closed_before_ms=2**60)
            else:
                market.push(SYMBOL, "1m", row)
    assert ways[0].klines() == ways[1].klines() == ways[2].klines()
    assert ways[0].revision == ways[1].revision == ways[2].revision


WAYS = (RowState.STREAM, RowState.REST, RowState.PUSHED)
ways = st.sampled_from(WAYS)


def deliver(
    market: kc.Market, interval: str, row: kc.Kline, way: RowState, *, correct: bool = False
) -> None:
    """Bring a row into a market by stream, REST or hand."""
    if way == RowState.STREAM:
        market.apply(kline_frame(row, interval=interval))
    elif way == RowState.REST:
        market.apply_klines(
            SYMBOL,
            interval,
            rest_klines([row]),
            closed_before_ms=row.close_time_ms + row.closed,
            correct=correct,
        )
    else:
        market.push(SYMBOL, interval, row)


def stretch_near(data: st.DataObject, series: kc.Series) -> tuple[int, int]:
    """A gap, mostly a whole one, or something that is none."""
    gaps = series.gaps()
    if not gaps:
        return START_MS, START_MS
    first, last = data.draw(st.sampled_from(gaps))
    off = data.draw(st.sampled_from([(0, 0), (0, 0), (0, 0), (1, 0), (0, -1), (60_000, 0)]))
    return first + off[0], last + off[1]


@given(data=st.data(), interval=intervals, capacity=st.integers(1, 12))
def test_what_is_known_of_each_place_equals_a_dict_of_pairs(
    data: st.DataObject, interval: str, capacity: int
) -> None:
    market, series = market_of(interval, capacity)
    model = SeriesModel(interval, capacity)
    places = opens(interval, 18)
    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["row", "row", "row", "confirm"]))
        revision, known = series.revision, (series.klines(), series.states.tolist())
        if action == "row":
            row, way = data.draw(plain_klines(interval, slots=16)), data.draw(ways)
            correct = way == RowState.REST and row.closed and data.draw(st.booleans())
            deliver(market, interval, row, way, correct=correct)
            model.push(row, way, correct=correct)
            moved = series.revision != revision
            assert moved >= (known != (series.klines(), series.states.tolist()))
        else:
            stretch = stretch_near(data, series)
            confirmed = market.confirm_absent(SYMBOL, interval, *stretch)
            assert confirmed == model.confirm_absent(*stretch)
            assert (series.revision != revision) == confirmed
        assert series.sequence % 2 == 0
        assert series.holes() == model.holes()
        assert series.absences() == model.absences()
        assert series.states.tolist() == model.states()
    assert_holds(series, model)
    assert [series.state_at(place) for place in places] == list(map(model.state_at, places))
    assert [series.state_at(place + 1) for place in places] == [RowState.NONE] * len(places)


@given(seed=st.integers(0, 2**32), capacity=capacities, interval=st.sampled_from(["1m", "1M"]))
def test_absences_move_with_their_rows_through_long_runs(
    seed: int, capacity: int, interval: str
) -> None:
    market, series = market_of(interval, capacity)
    model = SeriesModel(interval, capacity)
    rng = random.Random(seed)
    for row in random_rows(seed, 300, interval):
        way = rng.choice(WAYS)
        deliver(market, interval, row, way)
        model.push(row, way)
        holes = series.holes()
        if holes and rng.random() < 0.4:
            stretch = rng.choice(holes)
            assert market.confirm_absent(SYMBOL, interval, *stretch)
            assert model.confirm_absent(*stretch)
        assert series.absences() == model.absences()
    assert_holds(series, model)


@given(data=st.data(), interval=intervals, capacity=st.integers(1, 8))
def test_every_order_of_rows_from_all_sides_gives_one_state(
    data: st.DataObject, interval: str, capacity: int
) -> None:
    """Also what is known of each row; and then the same stretches can be confirmed."""
    sent = data.draw(st.lists(st.tuples(klines(interval, slots=10), ways), min_size=1, max_size=12))
    again = data.draw(st.lists(st.sampled_from(sent), max_size=8))
    states = []
    for order in (sent, data.draw(st.permutations(sent + again))):
        market, series = market_of(interval, capacity)
        for row, way in order:
            deliver(market, interval, row, way)
        holes = series.holes()
        assert all(market.confirm_absent(SYMBOL, interval, *hole) for hole in holes)
        assert series.holes() == []
        assert series.absences() == holes == series.gaps()
        states.append((state(series)[:-1], holes))
    assert states[0] == states[1]


def as_object(row: kc.Kline) -> dict[str, Any]:
    return {
        "t": row.open_time_ms,
        "o": row.open,
        "h": row.high,
        "l": row.low,
        "c": row.close,
        "v": row.volume,
        "T": row.close_time_ms,
        "q": row.quote_volume,
        "n": row.trades,
        "V": row.taker_buy_base,
        "Q": row.taker_buy_quote,
        "x": row.closed,
    }


@given(data=st.data(), interval=intervals, capacity=st.integers(1, 12), forming=st.booleans())
def test_json_bodies_hold_the_texts_of_the_range(
    data: st.DataObject, interval: str, capacity: int, forming: bool
) -> None:
    market, series = market_of(interval, capacity)
    model = SeriesModel(interval, capacity)
    for row in data.draw(st.lists(klines(interval), max_size=16)):
        market.push(SYMBOL, interval, row)
        model.push(row)
    held = [row.open_time_ms for row in model.rows(forming=True)] or [0]
    near = st.builds(lambda t, d: t + d, st.sampled_from(held), st.sampled_from([-1, 0, 1]))
    bounds = st.one_of(st.none(), near, st.sampled_from([-5, 0, 2**62, 2**80]))
    limit = data.draw(st.sampled_from([1, 2, 3, capacity, capacity + 1, 10**9]))
    start_ms, end_ms = data.draw(bounds), data.draw(bounds)
    expected = model.rows(limit, start_ms=start_ms, end_ms=end_ms, forming=forming)

    body = market.klines_json(
        SYMBOL, interval, limit, forming=forming, start_ms=start_ms, end_ms=end_ms
    )
    assert json.loads(body) == {
        "symbol": SYMBOL,
        "interval": interval,
        "klines": [as_object(row) for row in expected],
        "count": len(expected),
    }
    tuples = market.klines_array_json(
        SYMBOL, interval, limit, forming=forming, start_ms=start_ms, end_ms=end_ms
    )
    assert json.loads(tuples) == [[*row[:11], "0"] for row in expected]
    if start_ms is None and end_ms is None:
        assert series.klines(limit, forming=forming) == expected
    first, last = series.index_range(start_ms, end_ms)
    assert series.klines()[first:last] == model.rows(start_ms=start_ms, end_ms=end_ms)
