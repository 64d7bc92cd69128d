"""Symbols that come, go, stop and resume: REST, streams and klines tell the same story."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klinecore.interval import next_open_ms
from server.exchange.book import Book
from server.exchange.faults import Faults
from server.exchange.generated import GeneratedMarket
from server.exchange.listings import Listings
from server.exchange.rest import RestFace

MINUTE_MS = 60_000
T0 = 1_768_384_800_000  # 2026-01-14 10:00:00 UTC
SOURCE = GeneratedMarket(6, ("BTCUSDT", "ETHUSDT", "QTUMUSDT"))


def opens(book: Book, symbol: str, interval: str, now_ms: int, **asked: int) -> list[int]:
    rows = book.rows(symbol, interval, now_ms, **{"limit": 1000} | asked)
    return [row.open_ms for row in rows]


def names(book: Book, now_ms: int) -> dict[str, str]:
    answer = RestFace(book, Faults()).handle("/api/v3/exchangeInfo", now_ms)
    return {one["symbol"]: one["status"] for one in json.loads(answer.body)["symbols"]}


@given(st.integers(0, 3 * 60), st.integers(0, 3 * 60), st.sampled_from(["1m", "5m", "15m"]))
def test_klines_wholly_in_a_halt_do_not_exist_and_others_are_made_of_the_rest(
    begin_s: int, length_s: int, interval: str
) -> None:
    begin_ms, end_ms = T0 + begin_s * 10_000, T0 + (begin_s + length_s) * 10_000
    listings = Listings(SOURCE)
    listings.set_status("BTCUSDT", "HALT", begin_ms)
    listings.set_status("BTCUSDT", "TRADING", end_ms)
    book, whole = Book(listings), Book(SOURCE)
    now_ms = T0 + 7_200_000
    first_ms, last_ms = -(-begin_ms // MINUTE_MS) * MINUTE_MS, end_ms // MINUTE_MS * MINUTE_MS
    asked = {"start_ms": T0, "end_ms": now_ms}
    expected = [
        open_ms
        for open_ms in opens(whole, "BTCUSDT", interval, now_ms, **asked)
        if not first_ms <= open_ms < next_open_ms(interval, open_ms) <= last_ms
    ]
    assert opens(book, "BTCUSDT", interval, now_ms, **asked) == expected
    assert opens(book, "ETHUSDT", interval, now_ms, **asked) == opens(
        whole, "ETHUSDT", interval, now_ms, **asked
    )


def test_while_halted_nothing_is_forming_and_the_last_minute_is_whole() -> None:
    listings = Listings(SOURCE)
    listings.set_status("BTCUSDT", "BREAK", T0 + 30_000)
    book = Book(listings)
    assert names(book, T0 + 31_000)["BTCUSDT"] == "BREAK"
    assert opens(book, "BTCUSDT", "1m", T0 + 600_000, limit=2) == [T0 - MINUTE_MS, T0]
    row = book.row_at("BTCUSDT", "1m", T0, T0 + 600_000)
    assert row == Book(SOURCE).row_at("BTCUSDT", "1m", T0, T0 + 600_000)


@pytest.mark.parametrize("status", ["HALT", "END_OF_DAY", "CANCEL_ONLY", "MOON"])
def test_a_status_is_told_as_it_is(status: str) -> None:
    book = Book(SOURCE)
    book.source.set_status("ETHUSDT", status, T0)
    assert names(book, T0) == {"BTCUSDT": "TRADING", "ETHUSDT": status, "QTUMUSDT": "TRADING"}
    book.source.set_status("ETHUSDT", "TRADING", T0 + 1)
    assert names(book, T0)["ETHUSDT"] == "TRADING"


def test_a_symbol_not_listed_yet_is_unknown_and_begins_without_history() -> None:
    book = Book(Listings(SOURCE, unlisted=["ETHUSDT"]))
    rest = RestFace(book, Faults())
    assert "ETHUSDT" not in names(book, T0)
    target = "/api/v3/klines?symbol=ETHUSDT&interval=1m"
    assert rest.handle(target, T0).status == 400
    book.source.list_symbol("ETHUSDT", T0 + 90_000)
    assert [row[0] for row in json.loads(rest.handle(target, T0 + 200_000).body)] == [
        T0 + MINUTE_MS,
        T0 + 2 * MINUTE_MS,
        T0 + 3 * MINUTE_MS,
    ]
    oldest = rest.handle(target + "&startTime=0&limit=1", T0 + 200_000)
    assert json.loads(oldest.body)[0][0] == T0 + MINUTE_MS
    assert rest.handle("/api/v3/ticker/24hr?symbol=ETHUSDT", T0 + 200_000).status == 200
    with pytest.raises(ValueError, match="listed already"):
        book.source.list_symbol("ETHUSDT", T0)


def test_a_rename_is_one_symbol_gone_and_one_new() -> None:
    book = Book(SOURCE)
    book.source.rename("QTUMUSDT", "币安人生USDT", T0)
    assert list(names(book, T0)) == ["BTCUSDT", "ETHUSDT", "币安人生USDT"]
    now_ms = T0 + 3 * MINUTE_MS - 1
    rows = book.rows("币安人生USDT", "1m", now_ms, limit=10)
    assert [row.open_ms for row in rows] == [T0, T0 + MINUTE_MS, T0 + 2 * MINUTE_MS]
    assert rows == Book(SOURCE).rows("QTUMUSDT", "1m", now_ms, limit=3)
    assert book.rest_row("币安人生USDT", "1m", rows[0]).startswith(f'[{T0},"')


def test_a_symbol_stopped_for_longer_than_a_day_is_left_out_of_the_tickers() -> None:
    book = Book(SOURCE)
    book.source.set_status("QTUMUSDT", "BREAK", T0)
    answer = RestFace(book, Faults()).handle("/api/v3/ticker/24hr", T0 + 2 * 86_400_000)
    assert [one["symbol"] for one in json.loads(answer.body)] == ["BTCUSDT", "ETHUSDT"]


def test_streams_stop_and_resume_with_the_symbol(stepping: Any, until: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws/btcusdt@kline_1m") as client:
            exchange = talk.exchange
            heard: list[Any] = []

            async def listen() -> None:
                while True:
                    heard.append(json.loads(await client.recv()))

            listener = asyncio.create_task(listen())
            await talk.step(2, tickers_every_ms=0)
            exchange.set_status("BTCUSDT", "HALT")
            halted_ms = exchange.now_ms
            await talk.step(5, tickers_every_ms=0)
            exchange.set_status("BTCUSDT", "TRADING")
            resumed_ms = exchange.now_ms
            await talk.step(2, tickers_every_ms=0)
            await until(lambda: len(heard) == exchange.counters["frames"])
            listener.cancel()
            closes = [one["k"]["t"] for one in heard if one["k"]["x"]]
            truth = exchange.book.rows(
                "BTCUSDT", "1m", exchange.now_ms, limit=9, start_ms=closes[0]
            )
            assert closes == [row.open_ms for row in truth if row.closed]
            assert not [t for t in closes if halted_ms + MINUTE_MS <= t < resumed_ms - MINUTE_MS]
            assert len(closes) >= 4

    asyncio.run(run())


def test_a_delisted_symbol_ends_its_minute_and_is_never_heard_again(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws/btcusdt@kline_1m/btcusdt@ticker"):
            await talk.step(1)
            talk.exchange.delist("BTCUSDT")
            await talk.step(1)
            frames = talk.exchange.counters["frames"]
            await talk.step(5)
            assert talk.exchange.counters["frames"] == frames
            talk.exchange.list_symbol("BTCUSDT")
            await talk.step(2)
            assert talk.exchange.counters["frames"] > frames

    asyncio.run(run())
