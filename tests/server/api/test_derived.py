"""Klines made of shorter ones are the exchange's own to the byte, or are not made."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import klinecore as kc
from klinecore.interval import INTERVAL_MS, INTERVALS, open_time_ms
from server.api.binance_query import Range
from server.api.derived import DerivedWindow, InexactError, bases_of, derive_rows
from server.exchange.book import Book
from server.exchange.generated import GeneratedMarket

MINUTE = 60_000
DAY_MS = 86_400_000
NOW_MS = 1_772_409_600_000 + 754 * MINUTE + 34_567
FIRST_MS = NOW_MS // DAY_MS * DAY_MS - 70 * DAY_MS
#: QTUMUSDT has minutes without a trade.
SYMBOLS = ("BTCUSDT", "PEPEUSDT", "QTUMUSDT")
BOOKS = {
    market: Book(GeneratedMarket(11, SYMBOLS, market=market, first_ms=FIRST_MS))
    for market in ("spot", "um")
}


def texts(book: Book, symbol: str, interval: str, now_ms: int, **span: Any) -> list[bytes]:
    rows = book.rows(symbol, interval, now_ms, **span)
    return [book.rest_row(symbol, interval, row).encode() for row in rows]


pairs = [
    (interval, base)
    for interval in INTERVALS
    for base in bases_of(interval, INTERVALS)
    if base != "1s"
]


def test_an_interval_is_made_of_those_that_fill_it() -> None:
    assert bases_of("5m", INTERVALS) == ["1m", "1s"]
    assert bases_of("1h", ["1m", "5m", "15m", "4h"]) == ["15m", "5m", "1m"]
    assert bases_of("12h", ["8h", "1h"]) == ["1h"]
    assert bases_of("1w", ["3d", "1d", "1h"]) == ["1d", "1h"]
    # Where these begin, the exchange has to tell.
    assert bases_of("3d", INTERVALS) == bases_of("1M", INTERVALS) == []
    assert bases_of("1s", INTERVALS) == bases_of("1m", ["1m", "5m"]) == []


@given(
    st.sampled_from(("spot", "um")),
    st.sampled_from(SYMBOLS),
    st.sampled_from(pairs),
    st.integers(0, 3 * DAY_MS),
    st.integers(1, 120),
    st.none() | st.integers(0, 200),
    st.none() | st.integers(0, 200),
    st.integers(1, 60),
)
def test_rows_are_the_exchanges_own(
    market: str,
    symbol: str,
    pair: tuple[str, str],
    ago_ms: int,
    capacity: int,
    start: int | None,
    end: int | None,
    limit: int,
) -> None:
    interval, base = pair
    book, now_ms = BOOKS[market], NOW_MS - ago_ms
    held = kc.Market([symbol], [base], capacity)
    rows = texts(book, symbol, base, now_ms, limit=capacity + 1)
    held.apply_klines(symbol, base, b"[" + b",".join(rows) + b"]", closed_before_ms=now_ms)
    try:
        window = DerivedWindow(held[symbol, base], interval)
    except InexactError:
        last_ms = held[symbol, base].klines(1, forming=True)[-1].open_time_ms
        assert open_time_ms(interval, last_ms) < held[symbol, base].open_time_ms[0]
        return
    length = INTERVAL_MS[base]
    start_ms = None if start is None else window.first_ms + start * length // 2
    end_ms = None if end is None else window.first_ms + end * length // 2
    span = Range(limit, start_ms, end_ms)
    expected = texts(book, symbol, interval, now_ms, limit=limit, start_ms=start_ms, end_ms=end_ms)
    expected = [row for row in expected if int(row[1:].split(b",")[0]) >= window.first_ms]
    try:
        body = window.body(span)
    except InexactError:
        if symbol != "QTUMUSDT":
            raise
        return
    assert body == b"[" + b",".join(expected) + b"]"
    if start_ms is None:
        assert window.count(span) == len(expected)


def kline(index: int, trades: int = 3, **texts: str) -> kc.Kline:
    one = kc.Kline(
        index * MINUTE, "1.10", "1.90", "1.05", "1.10", "10.5", index * MINUTE + MINUTE - 1,
        "15.25", trades, "5.0", "7.50",
    )  # fmt: skip
    return one._replace(**texts)


def derive(*rows: kc.Kline) -> list[str]:
    (row,) = derive_rows(rows, "5m", "1m")
    return row.decode().replace('"', "")[1:-1].split(",")


def test_amounts_are_sums_and_prices_are_taken_over() -> None:
    got = derive(
        kline(0, open="1.20"),
        kline(1, high="10.00", volume="0.1"),
        kline(2, low="0.90", taker_buy_base="99999999999999999.5"),
        kline(3, close="1.30"),
    )
    assert got[:6] == ["0", "1.20", "10.00", "0.90", "1.30", "31.6"]
    assert got[6:] == ["299999", "61.00", "12", "100000000000000014.5", "30.00", "0"]


def test_minutes_without_a_trade_add_nothing() -> None:
    quiet = dict.fromkeys(("open", "high", "low", "close"), "1.10")
    quiet |= dict.fromkeys(("volume", "quote_volume", "taker_buy_base", "taker_buy_quote"), "0")
    got = derive(kline(0, 0, **quiet), kline(1), kline(2, 0, **quiet))
    assert got[1:6] == ["1.10", "1.90", "1.05", "1.10", "10.5"]
    assert derive(kline(0, 0, **quiet), kline(1, 0, **quiet))[1:9] == [
        "1.10", "1.10", "1.10", "1.10", "0", "299999", "0", "0",
    ]  # fmt: skip
    earlier = quiet | dict.fromkeys(("open", "high", "low", "close"), "1.00")
    for rows in (
        (kline(0, 0, **earlier), kline(1)),  # does the price before the first trade count?
        (kline(0), kline(1, 0, **earlier)),
    ):
        with pytest.raises(InexactError):
            derive(*rows)


@pytest.mark.parametrize(
    "other",
    [{"open": "1.1"}, {"volume": "10.50"}, {"quote_volume": "15"}, {"taker_buy_quote": "1.000"}],
)
def test_texts_of_several_scales_settle_nothing(other: dict[str, str]) -> None:
    with pytest.raises(InexactError):
        derive(kline(0), kline(1, **other))


def test_a_kline_that_is_missing_is_not_passed_over() -> None:
    with pytest.raises(InexactError):
        derive(kline(0), kline(2))


def test_what_the_newest_close_is_missing_of_is_not_told() -> None:
    held = kc.Market(["A"], ["1m"], 50)
    for index in range(8):
        held.push("A", "1m", kline(index))
    window = DerivedWindow(held["A", "1m"], "5m")
    assert len(window.body(Range(1, 0, None))) > 50
    for _ in range(3):  # also where the newest bucket is whole: what follows it is not known
        with pytest.raises(InexactError):
            window.body(Range(5, None, None))
        held.push("A", "1m", kline(len(held["A", "1m"])))
        window = DerivedWindow(held["A", "1m"], "5m")
    held.push("A", "1m", kline(11)._replace(closed=False))
    window = DerivedWindow(held["A", "1m"], "5m")
    assert window.body(Range(5, None, None)).count(b"],[") == 2
