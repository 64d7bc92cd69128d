"""What all symbols cost at a close and at a tick, beside TA-Lib's handles, NumPy and others."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import klinecore as kc

talib = pytest.importorskip("talib", reason="TA-Lib is in the bench extra")
stream = talib.stream

SYMBOLS = 500
WARM = 300  # rows before anything is measured
ROWS = 200  # rows of one round: ten turns of the longest ring but SMA's, one of that
Values = NDArray[np.float64]


def walks(inputs: int = 1) -> Values:
    """Random walks, one per symbol: row, input, symbol."""
    random = np.random.default_rng(0)
    close = 100.0 * np.exp(np.cumsum(random.normal(0, 1e-3, (WARM + ROWS, SYMBOLS)), axis=0))
    if inputs == 1:
        return close[:, None, :].copy()
    spread = np.abs(random.normal(0, 1e-3, (2, WARM + ROWS, SYMBOLS)))
    return np.stack([close * (1 + spread[0]), close * (1 - spread[1]), close], axis=1)


def closes() -> list[Values]:
    return [row[0].copy() for row in walks()]


def warmed(name: str, *parameters: object, rows: Values) -> kc.Lanes:
    lanes = kc.Lanes(name, *parameters, lanes=SYMBOLS)
    for row in rows[:WARM]:
        lanes.update(*row)
    return lanes


# -- four indicators of all symbols at one close, through Python ----------------------------------


class Four:
    """RSI14, EMA50, MACD and BB20 of all symbols."""

    def __init__(self, rows: Values) -> None:
        self.rsi = warmed("rsi", 14, rows=rows)
        self.ema = warmed("ema", 50, rows=rows)
        self.macd = warmed("macd", rows=rows)
        self.bb = warmed("bb", 20, rows=rows)
        self.sweep = kc.Sweep(self.rsi, self.ema, self.macd, self.bb)

    def update(self, close: Values) -> tuple[Values, ...]:
        rsi, ema, macd, bands = self.sweep.update(close)
        return (rsi, ema, *macd, *bands[:3])


class Vectors:
    """The same in NumPy, over symbols: state kept, arrays reused, no copy that can be spared.

    The averages of the close stand in one array, so that three calls move five of them. It does
    less: no row may lack, no lane may be behind, nothing is previewed, and bands are made of
    running sums, which is fast and loses digits.
    """

    def __init__(self, rows: list[Values]) -> None:
        past = np.array(rows)
        self.previous = past[-1].copy()
        change = np.diff(past, axis=0)
        gain, loss = (
            self.seeded(np.maximum(side * change, 0.0), 14, 1 / 14) for side in (1.0, -1.0)
        )
        recent = past[26 - 12 :]
        lines = [
            self.seeded(recent[:k], 12, 2 / 13) - self.seeded(past[: k + 14], 26, 2 / 27)
            for k in range(12, len(recent) + 1)
        ]
        ema, slow = self.seeded(past, 50, 2 / 51), self.seeded(past, 26, 2 / 27)
        self.averages = np.array([gain, loss, ema, self.seeded(recent, 12, 2 / 13), slow])
        self.alphas = np.array([1 / 14, 1 / 14, 2 / 51, 2 / 13, 2 / 27])[:, None]
        self.values, self.moves = np.empty((5, SYMBOLS)), np.empty((5, SYMBOLS))
        self.up, self.down, self.closes = self.values[0], self.values[1], self.values[2:]
        self.gain, self.loss, self.ema, self.fast, self.slow = self.averages
        self.signal = self.seeded(np.array(lines), 9, 2 / 10)
        self.ring, self.slot = past[-20:].copy(), 0
        self.base = past[-1].copy()  # keeps some of the digits that squares lose
        self.ring -= self.base
        self.sum, self.squares = self.ring.sum(axis=0), (self.ring**2).sum(axis=0)
        self.a, self.b, self.c = (np.empty(SYMBOLS) for _ in range(3))
        self.rsi, self.line, self.hist = (np.empty(SYMBOLS) for _ in range(3))
        self.bands = tuple(np.empty(SYMBOLS) for _ in range(3))
        self.outputs = (self.rsi, self.ema, self.line, self.signal, self.hist, *self.bands)

    @staticmethod
    def seeded(rows: Values, period: int, alpha: float) -> Values:
        average: Values = rows[:period].mean(axis=0)
        for row in rows[period:]:
            average += (row - average) * alpha
        return average

    def update(self, close: Values) -> tuple[Values, ...]:
        a, b, c = self.a, self.b, self.c
        np.subtract(close, self.previous, a)
        np.copyto(self.previous, close)
        np.maximum(a, 0.0, out=self.up)
        np.subtract(self.up, a, self.down)
        np.copyto(self.closes, close)
        np.subtract(self.values, self.averages, self.moves)
        np.multiply(self.moves, self.alphas, self.moves)
        np.add(self.averages, self.moves, self.averages)
        np.add(self.gain, self.loss, a)
        np.divide(self.gain, a, self.rsi)
        np.multiply(self.rsi, 100.0, self.rsi)
        np.subtract(self.fast, self.slow, self.line)
        np.subtract(self.line, self.signal, a)
        np.multiply(a, 2 / 10, a)
        np.add(self.signal, a, self.signal)
        np.subtract(self.line, self.signal, self.hist)
        self.update_bands(close, a, b, c)
        return self.outputs

    def update_bands(self, close: Values, a: Values, b: Values, c: Values) -> None:
        upper, middle, lower = self.bands
        gone = self.ring[self.slot]
        np.subtract(close, self.base, a)
        np.subtract(a, gone, b)
        np.add(self.sum, b, self.sum)
        np.add(a, gone, c)
        np.multiply(c, b, c)
        np.add(self.squares, c, self.squares)
        np.copyto(gone, a)
        self.slot = (self.slot + 1) % 20
        np.multiply(self.sum, 1 / 20, a)
        np.multiply(a, a, b)
        np.multiply(self.squares, 1 / 20, c)
        np.subtract(c, b, b)
        np.maximum(b, 0.0, out=b)
        np.sqrt(b, b)
        np.multiply(b, 2.0, b)
        np.add(a, self.base, middle)
        np.add(middle, b, upper)
        np.subtract(middle, b, lower)


class ArrayEach(Vectors):
    """The same with an array per average, as one writes it at first."""

    def smooth(self, average: Values, value: Values, alpha: float) -> None:
        np.subtract(value, average, self.c)
        np.multiply(self.c, alpha, self.c)
        np.add(average, self.c, average)

    def update(self, close: Values) -> tuple[Values, ...]:
        a, b = self.a, self.b
        np.subtract(close, self.previous, a)
        np.copyto(self.previous, close)
        np.maximum(a, 0.0, out=b)
        np.subtract(b, a, a)
        self.smooth(self.gain, b, 1 / 14)
        self.smooth(self.loss, a, 1 / 14)
        np.add(self.gain, self.loss, a)
        np.divide(self.gain, a, self.rsi)
        np.multiply(self.rsi, 100.0, self.rsi)
        self.smooth(self.ema, close, 2 / 51)
        self.smooth(self.fast, close, 2 / 13)
        self.smooth(self.slow, close, 2 / 27)
        np.subtract(self.fast, self.slow, self.line)
        self.smooth(self.signal, self.line, 2 / 10)
        np.subtract(self.line, self.signal, self.hist)
        self.update_bands(close, a, b, self.c)
        return self.outputs


def through(update: Callable[[Any], Any], rows: list[Any]) -> Callable[[], Any]:
    def run() -> Any:
        for row in rows:
            made = update(row)
        return made

    return run


def by_symbol(handles: list[Any], update: str, bound: int) -> Callable[[list[float]], None]:
    """One call per symbol and indicator, as fast as a loop in Python can be."""
    calls = [tuple(getattr(handle, update) for handle in four) for four in handles]
    assert all(len(four) == bound for four in calls)

    def run(prices: list[float]) -> None:
        for (rsi, ema, macd, bb), price in zip(calls, prices, strict=True):
            rsi(price)
            ema(price)
            macd(price)
            bb(price)

    return run


def opened(rows: list[Values]) -> list[Any]:
    """TA-Lib's handles, four for each symbol."""
    past = np.array(rows).T.copy()
    return [
        (
            stream.RSI(one, 14),
            stream.EMA(one, 50),
            stream.MACD(one),
            stream.BBANDS(one, 20, 2.0, 2.0),
        )
        for one in past
    ]


def others(name: str, rows: list[Values]) -> list[Any]:
    """Another library's objects, fed with the same rows."""
    if name == "ferro_ta":
        ferro = pytest.importorskip("ferro_ta.streaming", reason="ferro-ta is in the bench extra")
        kinds = (ferro.StreamingRSI, ferro.StreamingEMA, ferro.StreamingMACD, ferro.StreamingBBands)
    else:
        talipp = pytest.importorskip("talipp.indicators", reason="talipp is in the bench extra")
        kinds = (talipp.RSI, talipp.EMA, talipp.MACD, talipp.BB)
    made = [
        (kinds[0](14), kinds[1](50), kinds[2](12, 26, 9), kinds[3](20, 2.0)) for _ in range(SYMBOLS)
    ]
    feed = by_symbol(made, "add" if name == "talipp" else "update", 4)
    for row in rows:
        feed(row.tolist())
    return made


def bench_close_of_four_indicators(bench: Any) -> None:
    """RSI14, EMA50, MACD and BB20 of 500 symbols at one close."""
    rows = closes()
    past, coming = rows[:WARM], rows[WARM:]
    four, vectors, handles = Four(walks()), Vectors(past), opened(past)
    ours, plain = four.update(coming[0]), ArrayEach(past)
    for mine, *theirs in zip(ours, vectors.update(coming[0]), plain.update(coming[0]), strict=True):
        for one in theirs:
            np.testing.assert_allclose(mine, one, rtol=1e-6, atol=1e-6)
    update = by_symbol(handles, "update", 4)
    update(coming[0].tolist())
    theirs = [(h[0].value, h[1].value, *h[2].value, *h[3].value) for h in handles]
    np.testing.assert_allclose(np.array(ours), np.array(theirs).T, rtol=1e-9, atol=1e-9)
    bench(through(four.sweep.update, coming), items=ROWS)
    bench.peer("NumPy", through(vectors.update, coming), items=ROWS)
    bench.peer("NumPy, an array per average", through(plain.update, coming), items=ROWS)
    lists = [row.tolist() for row in coming[:10]]
    bench.peer("TA-Lib handles", through(update, lists), items=len(lists))
    for name, call in (("ferro_ta", "update"), ("talipp", "add")):
        made = others(name, past[-100:])
        bench.peer(name, through(by_symbol(made, call, 4), lists), items=len(lists))


def bench_close_of_four_indicators_in_c(bench: Any, sweeps: Any) -> None:
    """The same without Python's calls, as an engine in C steps them."""
    rows, past, coming = walks(), closes()[:WARM], closes()[WARM:]
    four, vectors = Four(rows), Vectors(past)
    bench(sweeps.sweep_four, four.rsi, four.ema, four.macd, four.bb, rows[WARM:].copy(), items=ROWS)
    bench.peer("NumPy", through(vectors.update, coming), items=ROWS)
    lists = [row.tolist() for row in coming[:10]]
    update = by_symbol(opened(past), "update", 4)
    bench.peer("TA-Lib handles", through(update, lists), items=len(lists))


# -- one indicator in C, beside TA-Lib's C --------------------------------------------------------


def library() -> ctypes.CDLL:
    """TA-Lib's C library, as its wheel brings it."""
    folder = Path(talib.__file__).parents[1] / "ta_lib.libs"
    found = sorted(folder.glob("libta-lib*.so*"))
    if not found:
        pytest.skip("this build of TA-Lib keeps its C functions to itself")
    return ctypes.CDLL(str(found[0]))


def in_c(
    bench: Any, sweeps: Any, name: str, theirs: str, *parameters: float, commit: bool = True
) -> None:
    """ns per symbol and row: lanes, and TA-Lib's update or peek, each in a loop in C."""
    entry = kc.CATALOG[name]
    rows = walks(len(entry.inputs))
    coming = rows[WARM:]
    lanes = warmed(name, *parameters[:1], rows=rows)
    bench(sweeps.sweep, lanes, coming, commit, items=ROWS * SYMBOLS)
    talib_c = library()
    arguments = [
        ctypes.c_double(p) if isinstance(p, float) else ctypes.c_int(p) for p in parameters
    ]
    outputs = {"MACD": 3, "BBANDS": 3, "STOCH": 2}.get(theirs, 1)
    results = [ctypes.byref(ctypes.c_double()) for _ in range(outputs)]
    handles = []
    for symbol in range(SYMBOLS):
        handle = ctypes.c_void_p()
        columns = [np.ascontiguousarray(column) for column in rows[:WARM, :, symbol].T]
        pointers = [column.ctypes.data_as(ctypes.c_void_p) for column in columns]
        code = getattr(talib_c, f"TA_{theirs}_Open")(
            ctypes.byref(handle), *pointers, ctypes.c_int(WARM), *arguments, *results
        )
        assert code == 0
        handles.append(handle.value)
    call = getattr(talib_c, f"TA_{theirs}_{'Update' if commit else 'Peek'}")
    address = ctypes.cast(call, ctypes.c_void_p).value
    addresses = np.array(handles, dtype=np.uintp)
    bench.peer(
        "TA-Lib's C", sweeps.handles, address, addresses, coming, outputs, items=ROWS * SYMBOLS
    )
    for handle in handles:
        getattr(talib_c, f"TA_{theirs}_Close")(ctypes.c_void_p(handle))


def bench_sma_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "sma", "SMA", 200)


def bench_ema_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "ema", "EMA", 50)


def bench_rsi_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "rsi", "RSI", 14)


def bench_macd_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "macd", "MACD", 12, 26, 9)


def bench_bb_in_c(bench: Any, sweeps: Any) -> None:
    """Four outputs to TA-Lib's three."""
    in_c(bench, sweeps, "bb", "BBANDS", 20, 2.0, 2.0, 0)


def bench_atr_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "atr", "ATR", 14)


def bench_adx_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "adx", "ADX", 14)


def bench_stoch_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "stoch", "STOCH", 14, 3, 0, 3, 0)


def bench_wma_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "wma", "WMA", 20)


def bench_highest_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "highest", "MAX", 14)


def bench_bb_preview_in_c(bench: Any, sweeps: Any) -> None:
    in_c(bench, sweeps, "bb", "BBANDS", 20, 2.0, 2.0, 0, commit=False)


def bench_sma_in_c_out_of_step(bench: Any, sweeps: Any) -> None:
    """Every lane missed rows of its own: no two neighbours are at the same slot."""
    out_of_step(bench, sweeps, "sma", 200)


def bench_bb_in_c_out_of_step(bench: Any, sweeps: Any) -> None:
    """Every lane missed rows of its own: no two neighbours are at the same slot."""
    out_of_step(bench, sweeps, "bb", 20)


def out_of_step(bench: Any, sweeps: Any, name: str, period: int) -> None:
    rows = walks()
    lanes = warmed(name, period, rows=rows)
    for k in range(7):
        lanes.update(*rows[WARM], where=np.arange(SYMBOLS) % 8 > k)
    bench(sweeps.sweep, lanes, rows[WARM:], True, items=ROWS * SYMBOLS)


# -- ticks of forming klines ----------------------------------------------------------------------


def ticks(bench: Any, sweeps: Any, batch: int, symbols: int = SYMBOLS) -> None:
    """Four indicators' previews per tick, ``batch`` ticks at a time, for symbols in any order."""
    rows = walks()
    if symbols > SYMBOLS:
        rows = np.tile(rows, symbols // SYMBOLS)
    four = []
    for name, *parameters in (("rsi", 14), ("ema", 50), ("macd",), ("bb", 20)):
        lanes = kc.Lanes(str(name), *parameters, lanes=symbols)
        for row in rows[:WARM]:
            lanes.update(*row)
        four.append(lanes)
    order = np.random.default_rng(1).permutation(symbols).astype(np.int32)
    prices = rows[WARM, 0]
    bench(sweeps.ticks, *four, prices, order, batch, items=symbols)
    expected = [lanes.preview(prices) for lanes in four]
    handle = opened(list(rows[:WARM, 0]))[7]
    assert abs(handle[0].peek(prices[7]) - expected[0][7]) < 1e-9
    peeks = by_symbol([handle], "peek", 4)
    bench.peer("TA-Lib peeks", peeks, [float(prices[7])])


def bench_ticks_one_by_one(bench: Any, sweeps: Any) -> None:
    ticks(bench, sweeps, 1)


def bench_ticks_by_ten(bench: Any, sweeps: Any) -> None:
    ticks(bench, sweeps, 10)


def bench_ticks_by_a_hundred(bench: Any, sweeps: Any) -> None:
    ticks(bench, sweeps, 100)


def bench_ticks_by_two_thousand(bench: Any, sweeps: Any) -> None:
    ticks(bench, sweeps, 2000, 2000)


def bench_tick_of_a_sweep(bench: Any) -> None:
    """One call with the forming price of one symbol; nine numbers come back."""
    four, rows = Four(walks()), closes()
    price = float(rows[WARM][7])
    handle = opened(rows[:WARM])[7]
    peeks = by_symbol([handle], "peek", 4)
    rsi, ema, *rest = four.sweep.tick(7, price)
    theirs = (handle[0].peek(price), handle[1].peek(price), *handle[2].peek(price))
    np.testing.assert_allclose((rsi, ema, *rest[:3]), theirs, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rest[3:6], handle[3].peek(price), rtol=1e-9)
    bench(four.sweep.tick, 7, price)
    bench.peer("TA-Lib peeks", peeks, [price])


def bench_ticks_of_a_sweep(bench: Any) -> None:
    """One call with the forming prices of ten symbols, as many as came meanwhile."""
    four, rows = Four(walks()), closes()
    where, price = np.random.default_rng(1).permutation(SYMBOLS)[:10], rows[WARM]
    bench(lambda: four.sweep.preview(price, where=where), items=len(where))
    peeks = by_symbol(opened(rows[:WARM])[7:8], "peek", 4)
    bench.peer("TA-Lib peeks", peeks, [float(price[7])])


def bench_tick_through_python(bench: Any) -> None:
    """Four calls of ``preview`` with one lane each: a call costs more than what it does."""
    four, rows = Four(walks()), closes()
    where, price = np.array([7]), rows[WARM]

    def tick() -> None:
        four.rsi.preview(price, where=where)
        four.ema.preview(price, where=where)
        four.macd.preview(price, where=where)
        four.bb.preview(price, where=where)

    bench(tick)
    peeks = by_symbol(opened(rows[:WARM])[7:8], "peek", 4)
    bench.peer("TA-Lib peeks", peeks, [float(price[7])])
