"""One body: batch, updates and previews agree bit for bit, and nothing poisons what follows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.faces import batch, stream
from reference.prices import Klines, hostile, seeded, walk

import klinecore.indicators as ki
from klinecore.indicators import CATALOG

SERIES = seeded(300) | hostile(300)
ODD = (np.nan, np.inf, -np.inf, 1e101, -1e300)

prices = st.floats(1e-9, 1e9) | st.sampled_from([1.0, 1.0, 0.1, 100.0, 1e-12, 1e15])


@st.composite
def klines(draw: st.DrawFn) -> Klines:
    count = draw(st.integers(0, 40))
    column = st.lists(prices, min_size=count, max_size=count)
    opened, high, low, close, volume = (np.array(draw(column), dtype=float) for _ in range(5))
    top = np.maximum(np.maximum(opened, high), close)
    return Klines(opened, top, np.minimum(np.minimum(opened, low), close), close, volume)


def some_parameters(name: str, period: int, word: int) -> tuple[object, ...]:
    entry = CATALOG[name]
    given: dict[str, object] = {}
    for parameter in entry.parameters:
        if parameter.kind == "period":
            given[parameter.name] = min(max(period, int(parameter.low)), int(parameter.high))
        elif parameter.kind == "choice":
            given[parameter.name] = parameter.choices[word % len(parameter.choices)]
    return entry.defaults(**given)


def rows_of(name: str, klines: Klines) -> list[tuple[float, ...]]:
    return [
        tuple(map(float, row)) for row in zip(*klines.columns(CATALOG[name].inputs), strict=True)
    ]


def as_tuple(output: object) -> tuple[float, ...]:
    return tuple(output) if isinstance(output, tuple) else (output,)  # type: ignore[return-value]


@pytest.mark.parametrize("name", CATALOG)
@settings(max_examples=20)
@given(klines=klines(), period=st.integers(1, 9), word=st.integers(0, 2))
def test_must_never_18_streaming_differs_from_batch_in_a_bit(
    name: str, klines: Klines, period: int, word: int
) -> None:
    parameters = some_parameters(name, period, word)
    fed = stream(CATALOG[name], parameters)
    outputs = []
    for row in rows_of(name, klines):
        before = fed.value
        previewed = fed.preview(*row)
        np.testing.assert_equal(
            fed.preview(*(2 * x for x in row)), fed.preview(*(2 * x for x in row))
        )
        np.testing.assert_equal(fed.value, before)
        updated = fed.update(*row)
        np.testing.assert_equal(updated, previewed)
        np.testing.assert_equal(fed.value, updated)
        outputs.append(as_tuple(updated))
    whole = batch(CATALOG[name], klines, parameters)
    for column, together in zip(zip(*outputs, strict=True), whole, strict=False):
        assert np.array(column).tobytes() == together.tobytes()


@pytest.mark.parametrize("prices", SERIES)
@pytest.mark.parametrize("name", CATALOG)
def test_batch_is_updates_on_long_series(name: str, prices: str) -> None:
    entry = CATALOG[name]
    parameters = some_parameters(name, 14, 0)
    fed = stream(entry, parameters)
    rows = rows_of(name, SERIES[prices])
    outputs = []
    for number, row in enumerate(rows):
        if number % 7 == 0:  # a preview in between leaves no trace, whatever it was of
            fed.preview(*rows[number // 2])
            fed.preview(*(x * 1e6 for x in row))
        outputs.append(as_tuple(fed.update(*row)))
    for column, whole in zip(
        zip(*outputs, strict=True), batch(entry, SERIES[prices], parameters), strict=True
    ):
        assert np.array(column).tobytes() == whole.tobytes()


@pytest.mark.parametrize("word", [0, 1, 2])
@pytest.mark.parametrize("name", CATALOG)
def test_an_odd_row_is_left_out_and_poisons_nothing(name: str, word: int) -> None:
    entry = CATALOG[name]
    parameters = some_parameters(name, 5, word)
    klines = walk(11, 120)
    sound = rows_of(name, klines)
    expected, disturbed = stream(entry, parameters), stream(entry, parameters)
    random = np.random.default_rng(3)
    for row in sound:
        while random.random() < 0.3:
            broken = list(row)
            broken[random.integers(len(broken))] = ODD[random.integers(len(ODD))]
            before, count = disturbed.value, disturbed.count
            assert np.isnan(as_tuple(disturbed.preview(*broken))).all()
            assert np.isnan(as_tuple(disturbed.update(*broken))).all()
            np.testing.assert_equal((disturbed.value, disturbed.count), (before, count))
        np.testing.assert_equal(disturbed.update(*row), expected.update(*row))


@pytest.mark.parametrize("name", CATALOG)
def test_odd_rows_in_a_batch_are_nan_there_and_nowhere_else(name: str) -> None:
    entry = CATALOG[name]
    parameters = some_parameters(name, 5, 0)
    klines = walk(12, 90)
    odd = np.zeros(90, dtype=bool)
    odd[[0, 1, 20, 21, 22, 60]] = True
    holed = Klines(*(np.where(odd, np.nan, c) for c in (
        klines.open, klines.high, klines.low, klines.close, klines.volume
    )))  # fmt: skip
    if name == "vwap":
        parameters = entry.defaults()
    whole = batch(entry, klines.part(~odd), parameters)
    for with_holes, without in zip(batch(entry, holed, parameters), whole, strict=True):
        assert np.isnan(with_holes[odd]).all()
        np.testing.assert_array_equal(with_holes[~odd], without)


@pytest.mark.parametrize("name", CATALOG)
def test_a_stream_is_warm_when_it_has_every_output(name: str) -> None:
    entry = CATALOG[name]
    for word in (0, 1):
        fed = stream(entry, some_parameters(name, 5, word))
        for row in rows_of(name, walk(13, 120)):
            assert not fed.warm or entry.sparse or not np.isnan(as_tuple(fed.value)).any()
            output = as_tuple(fed.update(*row))
            assert fed.warm == (fed.count > fed.lookback)
            assert fed.warm == (not np.isnan(output).any()) or (fed.warm and entry.sparse)
        assert fed.warm


def test_a_large_number_within_bounds_leaves_no_trace_behind() -> None:
    values = walk(14, 400).close
    struck = values.copy()
    struck[100] = 9e99
    for name, output in (("sma", 0), ("bb", 0), ("wma", 0), ("highest", 0), ("hma", 0)):
        entry = CATALOG[name]
        parameters = entry.defaults(period=20)
        function = getattr(ki, name)
        made = [function(v, 20) for v in (values, struck)]
        plain, after = (m[output] if isinstance(m, tuple) else m for m in made)
        rows = 100 + 3 * entry.lookback(*parameters)
        np.testing.assert_allclose(after[rows:], plain[rows:], rtol=1e-12)


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("word", [0, 1, 2])
def test_what_is_far_out_but_finite_poisons_nothing(name: str, word: int) -> None:
    fed = stream(CATALOG[name], some_parameters(name, 5, word))
    random = np.random.default_rng(7)
    ordinary = rows_of(name, walk(15, 400))
    for row in ordinary[:100]:
        fed.update(*row)
        power = float(random.choice([-310, -300, -100, 50, 99, 100]))
        fed.update(*(random.choice([-1.0, 1.0]) * 10.0**power for _ in row))
        fed.update(*(0.0 for _ in row))
    for number, row in enumerate(ordinary[100:]):
        output = as_tuple(fed.update(*row))
        assert number < 10 or np.isfinite(output).all() or CATALOG[name].sparse


def test_rows_that_are_no_klines_count_for_no_volume_node() -> None:
    k = walk(16, 60)
    upside_down = k.part(slice(0, 60))
    upside_down.high[30], upside_down.low[30] = k.low[30] - 50, k.high[30]
    without = Klines(k.open, k.high, k.low, k.close, np.where(np.arange(60) == 30, 0, k.volume))
    nodes = [ki.volume_nodes(x.high, x.low, x.close, x.volume, 40, 10) for x in (
        upside_down, without,
    )]  # fmt: skip
    np.testing.assert_allclose(nodes[0].nearby[50:], nodes[1].nearby[50:])


def test_what_a_stream_shows() -> None:
    fed = ki.Macd(3, 6, 4)
    assert repr(fed) == "Macd(3, 6, 4, 'talib')"
    assert (fed.lookback, fed.count, fed.warm) == (8, 0, False)
    assert np.isnan(fed.value).all()
    for price in range(20):
        output = fed.update(float(price))
    assert output == fed.value
    assert output.hist == output.line - output.signal
    assert isinstance(output, ki.MacdResult)
    assert type(fed.value._asdict()["line"]) is float


def test_a_stream_refuses_what_is_no_number() -> None:
    with pytest.raises(TypeError):
        ki.Rsi(14).update("1.5")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ki.Atr(14).update(1.0)  # type: ignore[call-arg]


def test_a_stream_that_was_never_initialised_says_so() -> None:
    with pytest.raises(TypeError, match="__init__"):
        ki.Rsi.__new__(ki.Rsi).update(1.0)
