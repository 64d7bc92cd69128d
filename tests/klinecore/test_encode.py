"""klinecore.encode: bodies byte for byte, in the original's and in Binance's shape."""

from __future__ import annotations

import json

import pytest
from reference.messages import dump
from reference.strategies import START_MS, plain_kline

import klinecore as kc

MINUTE_MS = 60_000


def row_at(place: int, *, closed: bool = True) -> kc.Kline:
    return plain_kline(START_MS + place * MINUTE_MS, 7, closed=closed)


def filled(count: int, capacity: int = 10, symbol: str = "BTCUSDT") -> kc.Market:
    market = kc.Market([symbol], ["1m"], capacity)
    for place in range(count):
        market.push(symbol, "1m", row_at(place))
    return market


def object_of(row: kc.Kline) -> dict[str, object]:
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


def test_a_body_is_compact_json_in_the_original_order() -> None:
    market = filled(2)
    assert market.klines_json("btcusdt", "1m", 10) == dump(
        {
            "symbol": "BTCUSDT",
            "interval": "1m",
            "klines": [object_of(row_at(0)), object_of(row_at(1))],
            "count": 2,
        }
    )


def test_an_array_body_is_binances_own() -> None:
    market = filled(2)
    assert market.klines_array_json("BTCUSDT", "1m", 10) == dump(
        [[*row_at(place)[:11], "0"] for place in range(2)]
    )


def test_an_empty_series_is_an_empty_answer() -> None:
    market = filled(0)
    assert json.loads(market.klines_json("BTCUSDT", "1m", 5))["count"] == 0
    assert market.klines_array_json("BTCUSDT", "1m", 5) == b"[]"


def test_the_forming_row_is_marked() -> None:
    market = filled(1)
    market.push("BTCUSDT", "1m", row_at(1, closed=False))
    assert [row["x"] for row in json.loads(market.klines_json("BTCUSDT", "1m", 5))["klines"]] == [
        True
    ]
    live = json.loads(market.klines_json("BTCUSDT", "1m", 5, forming=True))
    assert live["klines"] == [object_of(row_at(0)), object_of(row_at(1, closed=False))]
    assert live["count"] == 2


@pytest.mark.parametrize("symbol", ['A"B', "A\\B", "币安人生USDT", "Ä", "A\x01B", "A/B", "🚀"])
def test_any_symbol_makes_valid_json(symbol: str) -> None:
    market = filled(1, symbol=symbol)
    assert json.loads(market.klines_json(symbol, "1m", 1))["symbol"] == symbol


@pytest.mark.parametrize("limit", [0, -1, -(2**70)])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    market = filled(3)
    for body in (market.klines_json, market.klines_array_json):
        with pytest.raises(ValueError, match="limit must be at least 1, not -?[0-9]+"):
            body("BTCUSDT", "1m", limit)


@pytest.mark.parametrize("start_ms", [START_MS + 2 * MINUTE_MS + 1, START_MS + 10**9, 2**70])
def test_a_start_beyond_the_forming_row_leaves_it_out(start_ms: int) -> None:
    market = filled(2)
    market.push("BTCUSDT", "1m", row_at(2, closed=False))
    body = market.klines_array_json("BTCUSDT", "1m", 5, forming=True, start_ms=start_ms)
    assert body == b"[]"


def test_a_start_in_the_forming_row_gives_it_alone() -> None:
    market = filled(2)
    live = row_at(2, closed=False)
    market.push("BTCUSDT", "1m", live)
    body = market.klines_json("BTCUSDT", "1m", 5, forming=True, start_ms=live.open_time_ms)
    assert json.loads(body)["klines"] == [object_of(live)]


def test_the_longest_numbers_fit() -> None:
    """Every number at its longest: 20 digits and 15 printed zeros behind them."""
    market = kc.Market(["BTCUSDT"], ["1m"], 100)
    volume = "99999.999999999999999" + "0" * 15
    price = "0.999999999999999" + "0" * 15
    rows = [
        kc.Kline(
            START_MS + place * MINUTE_MS,
            *[price] * 4,
            volume,
            START_MS + place * MINUTE_MS + MINUTE_MS - 1,
            volume,
            2**53 - 1,
            volume,
            volume,
        )
        for place in range(100)
    ]
    for row in rows:
        assert market.push("BTCUSDT", "1m", row) == kc.MergeStatus.APPENDED
    body = json.loads(market.klines_json("BTCUSDT", "1m", 100))
    assert body["klines"] == [object_of(row) for row in rows]


def test_a_body_of_a_hundred_thousand_rows_is_whole() -> None:
    market = filled(100_000, capacity=100_000)
    body = json.loads(market.klines_array_json("BTCUSDT", "1m", 100_000))
    assert len(body) == 100_000
    assert body[::9999] == [[*row_at(place)[:11], "0"] for place in range(0, 100_000, 9999)]
    assert json.loads(market.klines_json("BTCUSDT", "1m", 1))["klines"] == [
        object_of(row_at(99_999))
    ]
