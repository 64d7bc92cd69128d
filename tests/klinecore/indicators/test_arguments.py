"""What a call refuses, and how it says what it wanted."""

from __future__ import annotations

import numpy as np
import pytest
from reference.faces import batch
from reference.prices import walk

import klinecore.indicators as ki
from klinecore.indicators import CATALOG
from klinecore.indicators.kernel import Kernel

CLOSE = walk(21, 50).close


@pytest.mark.parametrize(
    ("period", "shown"),
    [(0, "0"), (-3, "-3"), (100_001, "100001"), (2.5, "2.5"), ("14", "'14'"), (None, "None"),
     (True, "True"), (10**30, "1" + "0" * 30)],
)  # fmt: skip
def test_a_period_out_of_bounds(period: object, shown: str) -> None:
    expected = rf"rsi: period must be an integer from 1 to 100,000, not {shown}$"
    with pytest.raises(ValueError, match=expected):
        ki.rsi(CLOSE, period)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=expected):
        ki.Rsi(period)  # type: ignore[arg-type]


@pytest.mark.parametrize("deviations", [np.nan, np.inf, 1001, "2", True])
def test_a_number_out_of_bounds(deviations: object) -> None:
    with pytest.raises(ValueError, match=r"bb: deviations must be a number from -1,000\.0 to"):
        ki.bb(CLOSE, 20, deviations)  # type: ignore[arg-type]


def test_a_word_that_is_none_of_them() -> None:
    with pytest.raises(ValueError, match="compat must be one of 'talib', 'tradingview', not 'x'"):
        ki.rsi(CLOSE, compat="x")  # type: ignore[arg-type]


def test_numpy_integers_are_integers() -> None:
    np.testing.assert_array_equal(ki.rsi(CLOSE, np.int64(14)), ki.rsi(CLOSE, 14))


@pytest.mark.parametrize(
    ("close", "message"),
    [
        (CLOSE.astype(np.float32), "source must be a float64 array, not float32; convert"),
        (np.arange(50), "source must be a float64 array, not int64"),
        (["1", "2"], "source must be a float64 array"),
        (CLOSE.reshape(5, 10), r"source must have one dimension, not 2 \(shape \(5, 10\)\)"),
        (np.float64(1.5), "source must have one dimension, not 0"),
        (None, "source must be a float64 array, not object"),
    ],
)
def test_an_array_of_another_type_or_shape(close: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ki.rsi(close)  # type: ignore[arg-type]


def test_arrays_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="high has 50 rows, low has 49"):
        ki.atr(CLOSE, CLOSE[1:], CLOSE)


def test_scattered_and_read_only_arrays_are_read() -> None:
    wide = np.repeat(CLOSE, 3)
    wide.setflags(write=False)
    np.testing.assert_array_equal(ki.rsi(wide[::3]), ki.rsi(CLOSE))
    reverse = np.ascontiguousarray(CLOSE[::-1])[::-1]
    np.testing.assert_array_equal(ki.rsi(reverse), ki.rsi(CLOSE))


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows_or_none(name: str, rows: int) -> None:
    entry = CATALOG[name]
    demanded = {p.name: 3 for p in entry.parameters if p.default is None}
    parameters = entry.defaults(**demanded)
    klines = walk(22, 5).part(slice(0, rows))
    outputs = batch(entry, klines, parameters)
    assert [len(output) for output in outputs] == [rows] * len(entry.outputs)


def test_inputs_are_not_written_to_and_outputs_are_new() -> None:
    before = CLOSE.copy()
    outputs = ki.bb(CLOSE)
    np.testing.assert_array_equal(CLOSE, before)
    assert all(output.flags.owndata and output.flags.writeable for output in outputs)


@pytest.mark.parametrize("name", CATALOG)
def test_outputs_go_where_they_are_wanted(name: str) -> None:
    entry = CATALOG[name]
    given = {p.name: 3 for p in entry.parameters if p.default is None}
    klines = walk(24, 200)
    columns = klines.columns(entry.inputs)
    expected = batch(entry, klines, entry.defaults(**given))
    wanted = tuple(np.full(200, 7.0) for _ in entry.outputs)
    out = wanted if len(wanted) > 1 else wanted[0]
    made = getattr(ki, name)(*columns, **given, out=out)
    if len(wanted) > 1:
        assert all(a is b for a, b in zip(made, wanted, strict=True))
    else:
        assert made is out
    for a, b in zip(wanted, expected, strict=True):
        assert a.tobytes() == b.tobytes()


READ_ONLY = np.empty(50)
READ_ONLY.setflags(write=False)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty(49), r"rsi: out, value, must have shape \(50,\), not \(49,\)"),
        (np.empty((50, 1)), r"must have shape \(50,\), not \(50, 1\)"),
        (np.empty(50, dtype=np.float32), "rsi: out, value, must be a float64 array"),
        (np.empty(50, dtype=">f8"), "rsi: out, value, must be a float64 array"),
        ([0.0] * 50, "rsi: out, value, must be a float64 array"),
        (np.empty(100)[::2], "rsi: out, value, must be contiguous and writable"),
        (READ_ONLY, "rsi: out, value, must be contiguous and writable"),
        (CLOSE, "rsi: out must not be the memory of an input"),
    ],
)
def test_an_output_that_cannot_be_written_to(out: object, message: str) -> None:
    before = CLOSE.copy()
    with pytest.raises(ValueError, match=message):
        ki.rsi(CLOSE, out=out)  # type: ignore[arg-type]
    np.testing.assert_array_equal(CLOSE, before)


def test_several_outputs_are_as_many_arrays_apart_from_each_other() -> None:
    block = np.empty((3, 50))
    made = ki.macd(CLOSE, 3, 5, 2, out=tuple(block))
    np.testing.assert_array_equal(made, ki.macd(CLOSE, 3, 5, 2))
    assert made.hist.base is block
    for out in (block[0], block, tuple(block[:2]), (*block, block[0])):
        with pytest.raises(ValueError, match="macd: out must be 3 arrays: line, signal, hist"):
            ki.macd(CLOSE, out=out)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out, hist, must have shape"):
        ki.macd(CLOSE, out=(block[0], block[1], block[2, 1:]))
    with pytest.raises(ValueError, match="macd: out must be different memory for each output"):
        ki.macd(CLOSE, out=(block[0], block[1], block[0]))
    with pytest.raises(ValueError, match="macd: out must not be the memory of an input"):
        ki.macd(block[0], out=tuple(block))
    part = np.empty(60)
    with pytest.raises(ValueError, match="rsi: out must not be the memory of an input"):
        ki.rsi(part[:50], out=part[10:])


def test_an_anchor_needs_times() -> None:
    k = walk(23, 10)
    with pytest.raises(ValueError, match="vwap: an anchor needs open_time_ms, one per row"):
        ki.vwap(k.high, k.low, k.close, k.volume, anchor="day")
    times = k.open_time_ms.astype(np.int64)
    assert len(ki.vwap(k.high, k.low, k.close, k.volume, times, anchor="day").vwap) == 10


def test_kernels_are_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match="made by the library"):
        Kernel()
