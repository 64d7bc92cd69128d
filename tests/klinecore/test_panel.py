"""klinecore.panel: a column of many symbols side by side, in step with their own series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.strategies import START_MS, plain_kline

import klinecore as kc

MINUTE_MS = 60_000


def filled(held: dict[str, set[int]], path: Path | None = None) -> kc.Market:
    """A market whose symbols hold the klines of those minutes, at prices of their own."""
    market = kc.Market(held, ["1m"], 50, path=str(path) if path else None)
    for i, (symbol, places) in enumerate(held.items()):
        for place in sorted(places):
            price = f"{100 * i + place}.5"
            row = plain_kline(START_MS + place * MINUTE_MS)
            market.push(symbol, "1m", row._replace(close=price, high=price))
    return market


minutes = st.sets(st.integers(0, 40))


@given(st.dictionaries(st.sampled_from(["A", "B", "C", "D"]), minutes, min_size=1))
def test_each_value_stands_at_its_time_and_nothing_else_does(held: dict[str, set[int]]) -> None:
    market = filled(held)
    panel = kc.panel(market, "1m")
    times = panel["open_time"].astype(np.int64).tolist()
    assert times == sorted(START_MS + place * MINUTE_MS for place in set().union(*held.values()))
    assert panel.names == ("open_time", *market.symbols)
    for symbol in market.symbols:
        series = market[symbol, "1m"]
        there = ~np.isnan(panel[symbol])
        assert np.array(times)[there].tolist() == series.open_time_ms.tolist()
        assert panel[symbol][there].tobytes() == series.close.tobytes()


def test_columns_and_symbols_are_chosen() -> None:
    market = filled({"A": {0}, "B": {0}, "C": {0}})
    panel = kc.panel(market, "1m", "trades", ["c", "A"])
    assert panel.names == ("open_time", "C", "A")
    assert panel["C"].dtype == np.float64
    assert panel["C"].tolist() == market["C", "1m"].trades.tolist()
    assert kc.panel(market, "1m", symbols=[]).names == ("open_time",)


def test_an_attached_market_has_panels_too(tmp_path: Path) -> None:
    market = filled({"A": {0, 2}, "B": {1}}, tmp_path / "arena")
    panel, attached = kc.panel(market, "1m"), kc.panel(kc.attach(tmp_path / "arena"), "1m")
    assert attached.names == panel.names
    for name in panel.names:
        assert attached[name].tobytes() == panel[name].tobytes()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"column": "vwap"}, ValueError, "column must be one of open, high, .*not 'vwap'"),
        ({"symbols": ["A", "a"]}, ValueError, "a symbol is asked for twice"),
        ({"symbols": ["X"]}, kc.UnknownSeriesError, "X"),
        ({"interval": "5m"}, kc.UnknownSeriesError, "5m"),
    ],
)
def test_what_there_is_not_is_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        kc.panel(filled({"A": {0}}), **{"interval": "1m", **given})
