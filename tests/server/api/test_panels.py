"""Columns of many symbols share one axis of time; what a symbol lacks there is null."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import klinecore as kc
from server.api.panels import Panel

UNICODE = "币安人生USDT"


def panel(server: Any, query: str) -> Panel:
    answer = server.get(f"/v1/panel?{query}")
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body, type=Panel)


def test_the_newest_closed_klines_of_every_symbol(server: Any) -> None:
    found = panel(server, "interval=1m&limit=3")
    series = server.market["BTCUSDT", "1m"]
    assert found.open_time_ms == series.open_time_ms[-3:].tolist()
    assert found.symbols["BTCUSDT"] == {"close": [27.5, 28.5, 29.5]}
    assert found.symbols["ETHUSDT"] == {"close": [None] * 3}
    assert set(found.symbols) == {"BTCUSDT", "ETHUSDT", UNICODE}


def test_fields_and_symbols_are_those_asked_for_each_once(server: Any) -> None:
    found = panel(server, "interval=1m&limit=2&fields=high,trades,high&symbols=btcusdt,BTCUSDT")
    assert found.fields == ["high", "trades"]
    assert found.symbols == {"BTCUSDT": {"high": [28.9, 29.9], "trades": [31.0, 32.0]}}


def test_a_market_without_klines_has_an_empty_axis(server: Any) -> None:
    found = panel(server, "interval=1h")
    assert found.open_time_ms == []
    assert found.symbols["BTCUSDT"] == {"close": []}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "missing_parameter"),
        ("interval=7m", 400, "invalid_interval"),
        ("interval=5m", 404, "interval_not_served"),
        ("interval=1m&fields=closes", 400, "unknown_field"),
        ("interval=1m&fields=", 400, "unknown_field"),
        ("interval=1m&fields=open_time_ms", 400, "unknown_field"),
        ("interval=1m&symbols=NOUSDT", 404, "unknown_symbol"),
        ("interval=1m&symbols=", 404, "unknown_symbol"),
        ("interval=1m&limit=21", 400, "invalid_limit"),
        ("interval=1m&market=um", 400, "invalid_market"),
    ],
)
def test_what_cannot_be_read_is_refused(server: Any, query: str, status: int, code: str) -> None:
    answer = server.get(f"/v1/panel?{query}")
    assert (answer.status, answer.code) == (status, code)


def test_more_than_may_be_read_is_refused(make_server: Callable[..., Any]) -> None:
    server = make_server(filter_rows_max=59, capacity=20).serve()
    assert server.get("/v1/panel?interval=1m&limit=20").code == "too_large"
    assert server.get("/v1/panel?interval=1m&limit=19").status == 200


class Shared:
    """One server for all examples: only rows differ, and each symbol's are new."""

    made: Any = None


@given(
    st.lists(st.sets(st.integers(0, 12)), min_size=3, max_size=3),
    st.integers(1, 15),
    st.sampled_from([1, 4096]),
)
def test_every_place_has_what_the_symbol_has_then(
    make_server: Callable[..., Any], held: list[set[int]], limit: int, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.api.panels.CELLS_CHUNK", chunk)
        server = Shared.made = Shared.made or make_server(capacity=20).serve()
        names = ["BTCUSDT", "ETHUSDT", UNICODE]
        server.served.market = kc.Market(names, ["1m"], capacity=20)
        expected: dict[str, dict[int, float]] = {}
        for name, indexes in zip(names, held, strict=True):
            rows = [server.row(index) for index in sorted(indexes)]
            for row in rows:
                server.served.market.push(name, "1m", row)
            expected[name] = {row.open_time_ms: float(row.close) for row in rows[-limit:]}
        found = panel(server, f"interval=1m&limit={limit}")
    times = sorted({time for rows in expected.values() for time in rows})[-limit:]
    assert found.open_time_ms == times
    for name, rows in expected.items():
        assert found.symbols[name] == {"close": [rows.get(time) for time in times]}
