"""Klines and results in pyarrow, polars and pandas: every bit, what is unknown, whose memory."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.strategies import START_MS, plain_kline

import klinecore as kc

MINUTE_MS = 60_000
NAMES = ["open_time", *kc.COLUMNS]


def push(market: kc.Market, symbol: str, place: int, price: str) -> None:
    row = plain_kline(START_MS + place * MINUTE_MS)
    market.push(symbol, "1m", row._replace(open=price, high=price, low=price, close=price))


def filled(count: int, *symbols: str, capacity: int = 50) -> kc.Market:
    """Prices rise from 1 on, a whole number a kline."""
    market = kc.Market(symbols or ("BTCUSDT",), ["1m"], capacity)
    for place in range(count):
        for symbol in market.symbols:
            push(market, symbol, place, f"{place + 1}.25")
    return market


def expected(series: kc.Series | kc.AttachedSeries) -> dict[str, bytes]:
    """Every column's bytes."""
    columns = {name: getattr(series, name) for name in kc.COLUMNS}
    columns["trades"] = columns["trades"].astype(np.int64)
    found = {"open_time": series.open_time_ms, **columns}
    return {name: array.tobytes() for name, array in found.items()}


def arrow_bytes(table: pa.Table) -> dict[str, bytes]:
    table = table.set_column(0, "open_time", table["open_time"].cast(pa.int64()))
    return {name: table[name].to_numpy().tobytes() for name in table.column_names}


def polars_bytes(table: pl.DataFrame) -> dict[str, bytes]:
    table = table.with_columns(pl.col("open_time").cast(pl.Int64))
    return {name: table[name].to_numpy().tobytes() for name in table.columns}


def pandas_bytes(table: pd.DataFrame) -> dict[str, bytes]:
    columns = {name: table[name].to_numpy().tobytes() for name in table.columns}
    return {"open_time": table.index.tz_localize(None).to_numpy().tobytes(), **columns}


@given(st.lists(st.decimals("0.00000001", "99999999", places=8), max_size=60), st.integers(1, 20))
@settings(max_examples=25)
def test_klines_arrive_bit_by_bit_in_each_library(prices: list[Any], capacity: int) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"], capacity)
    for place, price in enumerate(prices):
        push(market, "BTCUSDT", place, f"{price:f}")
    series = market["BTCUSDT", "1m"]
    table = series.to_arrow()
    table.validate(full=True)
    assert arrow_bytes(table) == expected(series)
    assert polars_bytes(series.to_polars()) == expected(series)
    assert pandas_bytes(series.to_pandas()) == expected(series)


@pytest.mark.parametrize("count", [0, 3])
def test_columns_and_types_are_the_documented_ones_with_and_without_rows(count: int) -> None:
    series = filled(count)["BTCUSDT", "1m"]
    arrow, polars, pandas = series.to_arrow(), series.to_polars(), series.to_pandas()
    numbers = [(name, pa.float64()) for name in kc.COLUMNS[:-1]]
    assert arrow.schema == pa.schema(
        [("open_time", pa.timestamp("ms", "UTC")), *numbers, ("trades", pa.int64())]
    )
    assert polars.schema["open_time"] == pl.Datetime("ms", "UTC")
    assert polars.dtypes[1:] == [pl.Float64] * 8 + [pl.Int64]
    assert (pandas.index.name, str(pandas.index.dtype)) == ("open_time", "datetime64[ms, UTC]")
    assert [str(dtype) for dtype in pandas.dtypes] == ["float64"] * 8 + ["int64"]
    assert arrow.num_rows == polars.height == len(pandas) == count
    assert arrow.column_names == polars.columns == ["open_time", *pandas.columns] == NAMES
    if count:
        assert pandas.index[0] == pd.Timestamp(START_MS, unit="ms", tz="UTC")


def test_libraries_take_the_object_itself() -> None:
    market = filled(3)
    series = market["BTCUSDT", "1m"]
    assert pa.table(series) == pa.Table.from_batches([pa.record_batch(series)]) == series.to_arrow()
    assert pa.schema(series) == series.to_arrow().schema
    assert pl.DataFrame(series).equals(series.to_polars())
    assert pd.DataFrame.from_arrow(series)["close"].tolist() == [1.25, 2.25, 3.25]
    fired = kc.replay(kc.compile("close > 2"), market, "1m", mode="level")
    assert pl.DataFrame(fired)["price"].to_list() == [2.25, 3.25]


def test_pyarrow_and_polars_read_the_frame_s_own_memory() -> None:
    frame = filled(20)["BTCUSDT", "1m"].frame()
    arrow, polars = frame.to_arrow(), frame.to_polars()
    for name in NAMES:
        address = frame[name].ctypes.data
        assert arrow[name].chunk(0).buffers()[1].address == address
        physical = polars[name].to_physical()
        assert physical.to_numpy(allow_copy=False).ctypes.data == address


def test_pandas_has_a_copy_to_write_to() -> None:
    frame = filled(5)["BTCUSDT", "1m"].frame()
    table = frame.to_pandas()
    table.loc[table.index[0], "close"] = -1.0
    table["open"] *= 2
    assert frame["close"][0] == frame["open"][0] == 1.25


def test_later_data_and_the_market_s_end_change_no_table() -> None:
    market = filled(50)
    series = market["BTCUSDT", "1m"]
    before = expected(series)
    frame, arrow, polars = series.frame(), series.to_arrow(), series.to_polars()
    pandas = series.to_pandas()
    for place in range(50, 200):  # rows leave the window, columns slide
        push(market, "BTCUSDT", place, "7")
    market.remove_symbol("BTCUSDT")
    assert series.to_arrow().num_rows == 0
    del market, series, frame
    gc.collect()
    assert arrow_bytes(arrow) == polars_bytes(polars) == pandas_bytes(pandas) == before


def test_an_attached_series_gives_the_rows_of_its_own(tmp_path: Path) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"], 50, path=str(tmp_path / "arena"))
    for place in range(5):
        push(market, "BTCUSDT", place, f"{place + 1}")
    attached = kc.attach(tmp_path / "arena")["BTCUSDT", "1m"]
    assert arrow_bytes(attached.to_arrow()) == expected(market["BTCUSDT", "1m"])


def test_what_is_unknown_is_null_and_says_why() -> None:
    market = filled(5, "BTCUSDT", "ETHUSDT")
    push(market, "ETHUSDT", 6, "9")  # one is missing
    found = kc.evaluate(kc.compile("close > sma(close, 4) and close > 0"), market, "1m")
    table = found.to_arrow()
    assert table["symbol"].to_pylist() == ["BTCUSDT", "ETHUSDT"]
    assert table["value"].to_pylist() == [1.0, None]
    assert table["reason"].to_pylist() == [None, "hole"]
    assert table["price"].to_pylist() == [5.25, 9.0]
    assert table["sma(close, 4)"].to_pylist() == [3.75, None]
    assert table["close > 0"].to_pylist() == [1.0, 1.0]
    assert found.to_polars()["value"].to_list() == [1.0, None]
    pandas = found.to_pandas()
    assert pandas.index.tolist() == ["BTCUSDT", "ETHUSDT"]
    assert pandas["value"].isna().tolist() == [False, True]


def test_a_symbol_without_klines_has_neither_time_nor_price() -> None:
    found = kc.evaluate(kc.compile("close > 0"), filled(0), "1m")
    table = found.to_arrow()
    assert table["open_time"].to_pylist() == table["price"].to_pylist() == [None]
    assert table["reason"].to_pylist() == ["no_rows"]
    assert found.to_pandas()["open_time"].isna().all()


def test_results_share_their_numbers_with_their_tables() -> None:
    market = filled(20)
    found = kc.evaluate(kc.compile("sma(close, 5) > 1"), market, "1m")
    parts = found.to_arrow()["sma(close, 5)"].chunk(0).buffers()[1].address
    assert parts == found.parts["sma(close, 5)"].ctypes.data
    fired = kc.replay(kc.compile("close > close[1]"), market, "1m", mode="level")
    assert fired.to_arrow()["price"].chunk(0).buffers()[1].address == fired.price.ctypes.data


def test_firings_are_rows_with_their_symbol() -> None:
    market = filled(4, "BTCUSDT", "ETHUSDT")
    table = kc.replay(kc.compile("close > 3"), market, "1m", mode="level").to_pandas()
    assert list(table.columns) == ["symbol", "price"]
    assert table["symbol"].tolist() == ["BTCUSDT", "ETHUSDT"] * 2
    assert table["price"].tolist() == [3.25, 3.25, 4.25, 4.25]
    assert table.index[0] == pd.Timestamp(START_MS + 2 * MINUTE_MS, unit="ms", tz="UTC")
    none = kc.replay(kc.compile("close > 99"), market, "1m").to_polars()
    assert (none.height, none.columns) == (0, ["open_time", "symbol", "price"])


def test_a_panel_is_a_table_with_nulls_where_a_symbol_has_no_kline() -> None:
    market = kc.Market(["BTCUSDT", "ETHUSDT"], ["1m"])
    push(market, "BTCUSDT", 0, "1")
    for symbol in market.symbols:
        push(market, symbol, 1, "2")
    panel = kc.panel(market, "1m")
    assert panel.to_polars()["ETHUSDT"].to_list() == [None, 2.0]
    assert panel.to_arrow()["ETHUSDT"].to_pylist() == [None, 2.0]
    assert panel.to_pandas()["BTCUSDT"].tolist() == [1.0, 2.0]
    assert panel.to_pandas().index.name == "open_time"


def test_no_part_of_a_filter_can_have_the_name_of_another_column() -> None:
    fixed = kc.evaluate(kc.compile("close > 0"), filled(0), "1m").frame().names[:5]
    assert fixed == ("symbol", "value", "reason", "open_time", "price")
    for name in fixed:
        try:
            assert kc.parse_expression(name).root.text != name
        except kc.FilterError:
            continue


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("take", [pa.table, pl.DataFrame, lambda x: x.__arrow_c_stream__()])
def test_thousands_of_tables_leave_nothing_behind(take: Any) -> None:
    series = filled(50)["BTCUSDT", "1m"]
    array = np.zeros(50)
    there, frame = weakref.ref(array), kc.Frame({"x": array, "s": ["text"] * 50})
    for _ in range(500):
        take(series)
    before = resident()
    for _ in range(4_000):  # 4 kB of rows and 2 kB of structs each
        take(series)
        take(frame)
    assert resident() - before < 4 << 20
    del array, frame
    gc.collect()
    assert there() is None


def test_threads_that_compute_on_tables_may_be_the_last_to_hold_them() -> None:
    market = filled(50)
    series = market["BTCUSDT", "1m"]
    sums: list[float] = []

    def work() -> None:
        for _ in range(50):
            tables = [series.to_polars().lazy() for _ in range(4)]
            sums.extend(t["close"].sum() for t in pl.collect_all(tables))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [sum(place + 1.25 for place in range(50))] * 600


@pytest.mark.parametrize("name", ["pandas", "polars", "pyarrow"])
def test_a_missing_library_is_named_with_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = "to_arrow" if name == "pyarrow" else f"to_{name}"
    monkeypatch.setitem(sys.modules, name, None)
    words = rf"{method} needs {name}: pip install 'klinecore\[frames\]'"
    with pytest.raises(ImportError, match=words) as caught:
        getattr(filled(1)["BTCUSDT", "1m"], method)()
    assert caught.value.name == name


def test_importing_the_library_imports_none_of_them() -> None:
    found = "sorted({'pandas', 'polars', 'pyarrow'} & set(sys.modules))"
    command = [sys.executable, "-c", f"import sys, klinecore; print({found})"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_pandas_needs_no_pyarrow() -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import klinecore as kc\n"
        "market = kc.Market(['BTCUSDT'], ['1m'])\n"
        "row = kc.Kline(1769904000000, '1', '1', '1', '1', '1', 1769904059999, '1', 1, '1', '1')\n"
        "market.push('BTCUSDT', '1m', row)\n"
        "print(market['BTCUSDT', '1m'].to_pandas().close.tolist())\n"
        "print(kc.evaluate(kc.compile('close > 0'), market, '1m').to_pandas().index.tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[1.0]\n['BTCUSDT']\n"
