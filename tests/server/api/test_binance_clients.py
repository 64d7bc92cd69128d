"""Unmodified clients of Binance that only changed a URL, on a demo of the server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Demo

pytestmark = [
    pytest.mark.slow,
    # Of the clients' own making.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    demo = Demo()
    yield demo
    demo.command.end()


def rows(demo: Demo, count: int) -> list[list[Any]]:
    """Closed rows as the exchange behind the demo gives them, the newest but one the last."""
    url = next(filter(None, map(exchange_of, demo.command.descendants())))
    target = f"{url}/api/v3/klines?symbol=BTCUSDT&interval=1m&limit={count + 2}"
    with urllib.request.urlopen(target, timeout=5) as answer:
        return [row[:6] for row in json.load(answer)[:count]]


def exchange_of(pid: int) -> str | None:
    """Where a process of the demo reads klines, if it was told."""
    for setting in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        name, _, value = setting.partition(b"=")
        if name == b"KLINE_SPOT_REST":
            return value.decode().partition(",")[0]
    return None


def test_python_binance_reads_history_and_tickers(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    binance = pytest.importorskip("binance.client")
    monkeypatch.setattr(binance.Client, "API_URL", f"{demo.url}/api")
    client = binance.Client()
    try:
        assert {one["symbol"] for one in client.get_exchange_info()["symbols"]} == {
            "BTCUSDT", "ETHUSDT",
        }  # fmt: skip
        known = rows(demo, 50)
        found = client.get_klines(symbol="BTCUSDT", interval="1m", startTime=known[0][0], limit=50)
        assert [row[:6] for row in found] == known
        history = client.get_historical_klines("BTCUSDT", "1m", known[0][0])
        assert [row[:6] for row in history[:50]] == known
        assert client.get_klines(symbol="BTCUSDT", interval="1m", limit=2)[-1][0] >= known[-1][0]
        assert client.get_ticker(symbol="BTCUSDT")["symbol"] == "BTCUSDT"
        assert {one["symbol"] for one in client.get_all_tickers()} == {"BTCUSDT", "ETHUSDT"}
    finally:
        client.close_connection()


def test_ccxt_loads_markets_and_reads_klines_and_tickers(demo: Demo) -> None:
    ccxt = pytest.importorskip("ccxt")
    exchange = ccxt.binance({"enableRateLimit": False})
    exchange.session.trust_env = False
    for name, path in (
        ("public", "/api/v3"), ("fapiPublic", "/fapi/v1"),
        ("dapiPublic", "/dapi/v1"), ("sapi", "/sapi/v1"),
    ):  # fmt: skip
        exchange.urls["api"][name] = demo.url + path
    markets = exchange.load_markets()
    assert set(markets) == {"BTC/USDT", "ETH/USDT"}
    known = rows(demo, 50)
    numbers = [[row[0], *map(float, row[1:])] for row in known]
    assert exchange.fetch_ohlcv("BTC/USDT", "1m", since=known[0][0], limit=50) == numbers
    assert exchange.fetch_ohlcv("BTC/USDT", "1m", limit=5)[-1][0] >= known[-1][0]
    assert exchange.fetch_ticker("BTC/USDT")["symbol"] == "BTC/USDT"
    assert set(exchange.fetch_tickers(["BTC/USDT", "ETH/USDT"])) == {"BTC/USDT", "ETH/USDT"}
    assert exchange.fetch_status()["status"] == "ok"
