"""What reading a series costs in the process that holds it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import klinecore as kc

MINUTE = 60_000
ROWS = 500
Columns = tuple[NDArray[np.float64], ...]


def full_series() -> kc.Series:
    """A window that has slid: 700 rows went in, the newest 500 are held."""
    market = kc.Market(["BTCUSDT"], ["1m"], ROWS)
    for number in range(700):
        open_ms = number * MINUTE
        row = kc.Kline(
            open_ms, f"{number}.10", f"{number}.40", f"{number}.05", f"{number}.25", "9.98730000",
            open_ms + MINUTE - 1, "573588.12345678", 214, "4.24300000", "243588.12345678",
        )  # fmt: skip
        assert market.push("BTCUSDT", "1m", row) == kc.MergeStatus.APPENDED
    return market["BTCUSDT", "1m"]


def views(series: kc.Series) -> Columns:
    return series.open, series.high, series.low, series.close, series.volume


def copies(series: kc.Series) -> Columns:
    return tuple(column.copy() for column in views(series))


def check(columns: Columns) -> None:
    assert [column.shape for column in columns] == [(ROWS,)] * 5
    assert columns[3].tolist() == [number + 0.25 for number in range(200, 700)]


def bench_views_of_five_columns(bench: Any) -> None:
    """Open, high, low, close and volume of 500 rows, as views of the live memory."""
    columns = bench(views, full_series())
    check(columns)
    assert not any(column.flags.writeable or column.flags.owndata for column in columns)


def bench_copy_of_five_columns(bench: Any) -> None:
    """The same as copies, which stay as they are."""
    columns = bench(copies, full_series())
    check(columns)
    assert all(column.flags.owndata for column in columns)
