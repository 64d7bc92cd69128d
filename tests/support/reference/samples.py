"""One message of each kind, with the fields the exchange sends today (spot and USD-M)."""

from __future__ import annotations

from typing import Any

from reference.messages import kline_message
from reference.strategies import START_MS, plain_kline

ROW = plain_kline(START_MS, 17)._replace(
    open="0.00002369",
    high="0.00002400",
    low="0.00002301",
    close="0.00002310",
    volume="999999999999.99999999",
    quote_volume="100000000000000.00000000",
    taker_buy_base="0.00000000",
    taker_buy_quote="0",
)
KLINE: dict[str, Any] = kline_message(ROW, "BTCUSDT", "1m")

TICKER: dict[str, Any] = {
    "e": "24hrTicker",
    "E": 1769904000123,
    "s": "BTCUSDT",
    "p": "-120.50000000",
    "P": "-0.201",
    "w": "59712.33000000",
    "x": "59900.00000000",
    "c": "59779.50000000",
    "Q": "0.00120000",
    "b": "59779.40000000",
    "B": "3.10000000",
    "a": "59779.50000000",
    "A": "1.00000000",
    "o": "59900.00000000",
    "h": "60100.00000000",
    "l": "59000.00000000",
    "v": "12345.67890000",
    "q": "737123456789.12345678",
    "O": 1769817600123,
    "C": 1769904000122,
    "F": 3000000000,
    "L": 3000900000,
    "n": 900001,
}
#: USD-M has no x b B a A, and fields of its own.
TICKER_UM: dict[str, Any] = {
    **{key: value for key, value in TICKER.items() if key not in "xbBaA"},
    "st": 1,
    "ps": "BTCUSDT",
}
MINI_TICKER: dict[str, Any] = {
    "e": "24hrMiniTicker",
    "E": 1769904001123,
    "s": "BTCUSDT",
    "c": "59800.00000000",
    "o": "59900.00000000",
    "h": "60100.00000000",
    "l": "59000.00000000",
    "v": "12345.70000000",
    "q": "737124456789.12345678",
}
BOOK_TICKER: dict[str, Any] = {
    "u": 400900217,
    "s": "BTCUSDT",
    "b": "59779.41000000",
    "B": "31.21000000",
    "a": "59779.49000000",
    "A": "40.66000000",
}
BOOK_TICKER_UM: dict[str, Any] = {
    "e": "bookTicker",
    **BOOK_TICKER,
    "T": 1769904000500,
    "E": 1769904000501,
    "ps": "BTCUSDT",
    "st": 1,
}
SHUTDOWN: dict[str, Any] = {"e": "serverShutdown", "E": 1769904000000}

#: One FULL element of a REST ``ticker/24hr`` answer, spot.
REST_TICKER: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "priceChange": "-94.99999800",
    "priceChangePercent": "-95.960",
    "weightedAvgPrice": "0.29628482",
    "prevClosePrice": "0.10002000",
    "lastPrice": "4.00000200",
    "lastQty": "200.00000000",
    "bidPrice": "4.00000000",
    "bidQty": "100.00000000",
    "askPrice": "4.00000200",
    "askQty": "100.00000000",
    "openPrice": "99.00000000",
    "highPrice": "100.00000000",
    "lowPrice": "0.10000000",
    "volume": "8913.30000000",
    "quoteVolume": "15.30000000",
    "openTime": START_MS - 86_400_000,
    "closeTime": START_MS,
    "firstId": 28385,
    "lastId": 28460,
    "count": 76,
}

#: Name, kind, stream name, message.
MESSAGES: list[tuple[str, str, str, Any]] = [
    ("kline", "KLINE", "btcusdt@kline_1m", KLINE),
    ("ticker", "TICKER", "btcusdt@ticker", TICKER),
    ("ticker_um", "TICKER", "btcusdt@ticker", TICKER_UM),
    ("mini_ticker", "MINI_TICKER", "btcusdt@miniTicker", MINI_TICKER),
    ("book_ticker", "BOOK_TICKER", "btcusdt@bookTicker", BOOK_TICKER),
    ("book_ticker_um", "BOOK_TICKER", "btcusdt@bookTicker", BOOK_TICKER_UM),
    ("tickers", "TICKER_ARRAY", "!ticker@arr", [TICKER, {**TICKER_UM, "s": "ETHUSDT"}]),
    ("mini_tickers", "TICKER_ARRAY", "!miniTicker@arr", [MINI_TICKER, MINI_TICKER]),
    ("no_tickers", "TICKER_ARRAY", "!miniTicker@arr", []),
    ("shutdown", "SHUTDOWN", "!serverShutdown", SHUTDOWN),
    (
        "agg_trade",
        "OTHER",
        "btcusdt@aggTrade",
        {"e": "aggTrade", "E": 1, "s": "BTCUSDT", "a": 1, "p": "0.1", "q": "1", "m": True},
    ),
    (
        "depth_update",
        "OTHER",
        "btcusdt@depth",
        {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2, "b": [["1", "2"]], "a": []},
    ),
    ("partial_depth", "OTHER", "btcusdt@depth5", {"lastUpdateId": 1, "bids": [], "asks": []}),
    ("rolling", "OTHER", "btcusdt@ticker_1h", {**TICKER, "e": "1hTicker"}),
    ("shifted_kline", "OTHER", "btcusdt@kline_1d@+08:00", KLINE),
]
REPLIES: list[tuple[str, str, Any]] = [
    ("subscribed", "REPLY", {"result": None, "id": 1}),
    ("subscriptions", "REPLY", {"result": ["btcusdt@kline_1m"], "id": "a1"}),
    ("error", "ERROR_REPLY", {"error": {"code": 2, "msg": "Invalid request"}, "id": 1}),
    ("flat_error", "ERROR_REPLY", {"code": 3, "msg": "Invalid JSON", "id": 1}),
]
