"""What streams say as time passes, heard over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from klinecore.interval import open_time_ms
from server.clock import ScaledClock
from server.exchange.app import Exchange
from server.exchange.cursor import Cursor
from server.exchange.generated import GeneratedMarket
from server.exchange.minutes import aggregate
from server.exchange.recorded import RecordedMarket

MINUTE_MS = 60_000
INTERVALS = ("1m", "3m", "5m", "15m", "1h", "4h", "1d", "1w", "1M")


def rest_text(kline: dict[str, Any]) -> list[object]:
    """A stream's kline in the shape of a REST row."""
    return [kline[key] for key in "tohlcvTqnVQB"]


@pytest.mark.parametrize("market", ["spot", "um"])
def test_every_close_equals_its_rest_row_byte_for_byte(stepping: Any, market: str) -> None:
    """Streams add minute to minute, REST sums afresh: two ways to the same text."""

    async def run() -> None:
        source = GeneratedMarket(7, ("LTCUSDT", "QTUMUSDT"), market=market)
        path = "/stream" if market == "spot" else "/market/stream"
        names = [f"{s.lower()}@kline_{iv}" for s in source.symbols for iv in INTERVALS]
        # The last hours before a Sunday ends and, in between, a month: all intervals close.
        async with stepping(source, now_ms=1_772_323_200_000 - 90 * MINUTE_MS) as talk:
            async with talk.socket(f"{path}?streams={'/'.join(names)}") as client:
                task = asyncio.create_task(talk.step(200, tickers_every_ms=0))
                heard: dict[tuple[str, str, int], list[object]] = {}
                while not task.done() or talk.exchange.counters["frames"] > len(heard):
                    kline = json.loads(await asyncio.wait_for(client.recv(), 30))["data"]["k"]
                    assert kline["x"] is True
                    key = (kline["s"], kline["i"], kline["t"])
                    assert key not in heard
                    heard[key] = rest_text(kline)
                await task
            assert {interval for _, interval, _ in heard} >= set(INTERVALS) - {"1w"}
            now_ms = talk.exchange.now_ms
            for (symbol, interval, open_ms), text in heard.items():
                row = talk.exchange.book.row_at(symbol, interval, open_ms, now_ms)
                assert row is not None
                assert json.loads(talk.exchange.book.rest_row(symbol, interval, row)) == text
            if market == "spot":  # and none is missing
                minutes = [key for key in heard if key[1] == "1m"]
                assert len(minutes) == 2 * 200

    asyncio.run(run())


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_cursor_agrees_with_fresh_sums_wherever_it_starts_and_jumps(interval: str) -> None:
    source = GeneratedMarket(9, ("QTUMUSDT",))
    cursor = Cursor(source, "QTUMUSDT")
    begin = 1_772_323_200_000 - 20 * MINUTE_MS
    moments = [begin + m * MINUTE_MS for m in (*range(1, 30), 500, 501, 502, 1440, 40, 41)]
    for boundary in moments:
        closes = cursor.close_minute(boundary, [interval])
        ends = open_time_ms(interval, boundary) == boundary
        assert set(closes) == ({interval} if ends else set())
        for now_ms in (boundary, boundary + 12_345, boundary + 59_999):
            forming = cursor.forming(now_ms, [interval])[interval]
            opened = open_time_ms(interval, now_ms)
            fresh = aggregate(source.minutes("QTUMUSDT", opened, now_ms), interval, now_ms)
            assert forming == fresh[-1]
        if ends:
            opened = open_time_ms(interval, boundary - 1)
            minutes = source.minutes("QTUMUSDT", opened, boundary).between(opened, boundary)
            assert [closes[interval]] == aggregate(minutes, interval, boundary + 1)


def test_a_recorded_day_comes_over_the_socket_as_its_file_has_it(
    stepping: Any, data_dir: Path, tmp_path: Path
) -> None:
    source_path = data_dir / "klines/um/1m/2026-02/ALGOUSDT-1m-2026-02.csv.gz"
    lines = gzip.decompress(source_path.read_bytes()).decode().splitlines()[: 4 * 1440 + 1]
    path = tmp_path / "ALGOUSDT-1m-2026-02-01.csv"
    path.write_text("\n".join(lines) + "\n")
    market = RecordedMarket([path])

    async def run() -> None:
        heard = []
        async with (
            stepping(market, now_ms=market.first_ms) as talk,
            talk.socket("/market/ws/algousdt@kline_1m") as client,
        ):
            task = asyncio.create_task(talk.exchange.publish_until(market.end_ms))
            while len(heard) < 4 * 1440:
                heard.append(json.loads(await asyncio.wait_for(client.recv(), 30))["k"])
            await task
        assert all(kline["x"] for kline in heard)
        assert [",".join(map(str, rest_text(kline))) for kline in heard] == lines[1:]

    asyncio.run(run())


def test_forming_frames_come_between_closes_only_when_something_changed(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws/qtumusdt@kline_1m") as client:
            await talk.step(30, forming_every_ms=2000, tickers_every_ms=0)
            frames = talk.exchange.counters["frames"]
            heard = [json.loads(await client.recv()) for _ in range(frames)]
            closed = [message["k"]["t"] for message in heard if message["k"]["x"]]
            begin = talk.exchange.now_ms - 30 * MINUTE_MS
            assert closed == list(range(begin, begin + 30 * MINUTE_MS, MINUTE_MS))
            forming = [rest_text(m["k"]) for m in heard if not m["k"]["x"]]
            assert 10 < len(forming) < 30 * 30
            assert all(a != b for a, b in zip(forming, forming[1:], strict=False))
            opens = [message["k"]["t"] for message in heard]
            assert opens == sorted(opens)
            for message in heard:
                assert message["E"] >= message["k"]["t"]
                assert (message["E"] > message["k"]["T"]) == message["k"]["x"]

    asyncio.run(run())


def test_a_spot_minute_without_trades_is_sent_with_no_ids_and_eight_decimals(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws/qtumusdt@kline_1m") as client:
            await talk.step(60, tickers_every_ms=0)
            heard = [message["k"] for message in await talk.hear(client, "kline", 60)]
            quiet = [kline for kline in heard if not kline["n"]]
            assert quiet
            for kline in quiet:
                assert (kline["f"], kline["L"]) == (-1, -1)
                assert kline["o"] == kline["h"] == kline["l"] == kline["c"]
                assert kline["v"] == kline["q"] == kline["V"] == kline["Q"] == "0.00000000"

    asyncio.run(run())


def test_um_says_nothing_of_a_minute_without_trades_but_rest_has_it(stepping: Any) -> None:
    async def run() -> None:
        source = GeneratedMarket(7, ("QTUMUSDT",), market="um")
        async with stepping(source) as talk:
            async with talk.socket("/market/ws/qtumusdt@kline_1m") as client:
                await talk.step(60, tickers_every_ms=0)
                frames = talk.exchange.counters["frames"]
                heard = await talk.hear(client, "kline", frames)
            assert all(message["k"]["n"] for message in heard)
            now_ms = talk.exchange.now_ms
            rows = talk.exchange.book.rows("QTUMUSDT", "1m", now_ms - 1, limit=60)
            assert len(rows) == 60
            assert len([row for row in rows if row.trades]) == frames < 60

    asyncio.run(run())


SPOT_TICKER = list("eEspPwxcQbBaAohlvqOCFLn")


def test_tickers_have_the_fields_of_their_market_and_agree_with_rest(stepping: Any) -> None:
    async def run() -> None:
        names = "btcusdt@ticker/btcusdt@miniTicker/btcusdt@bookTicker/!miniTicker@arr"
        async with stepping() as talk, talk.socket(f"/stream?streams={names}") as client:
            await talk.step(1)
            heard = {}
            while len(heard) < 4:
                message = json.loads(await asyncio.wait_for(client.recv(), 30))
                heard[message["stream"]] = message["data"]
            ticker = heard["btcusdt@ticker"]
            assert list(ticker) == SPOT_TICKER
            assert list(heard["btcusdt@miniTicker"]) == [
                "e",
                "E",
                "s",
                "c",
                "o",
                "h",
                "l",
                "v",
                "q",
            ]
            assert list(heard["btcusdt@bookTicker"]) == ["u", "s", "b", "B", "a", "A"]
            assert [row["s"] for row in heard["!miniTicker@arr"]] == ["BTCUSDT", "QTUMUSDT"]
            assert heard["!miniTicker@arr"][0] == heard["btcusdt@miniTicker"]
            _, _, body = await talk.get("/api/v3/ticker/24hr?symbol=BTCUSDT")
            rest = json.loads(body)
            assert [rest["volume"], rest["lastPrice"], rest["prevClosePrice"], rest["count"]] == [
                ticker[key] for key in "vcxn"
            ]

    asyncio.run(run())


def test_um_tickers_lack_the_book_and_its_book_ticker_says_when(stepping: Any) -> None:
    async def run() -> None:
        source = GeneratedMarket(7, ("BTCUSDT",), market="um")
        async with (
            stepping(source) as talk,
            talk.socket("/market/ws/btcusdt@ticker/!ticker@arr") as client,
            talk.socket("/public/ws/btcusdt@bookTicker") as public,
        ):
            await talk.step(1)
            (ticker,) = await talk.hear(client, "24hrTicker")
            assert list(ticker) == [key for key in SPOT_TICKER if key not in "xbBaA"]
            (book,) = await talk.hear(public, "bookTicker")
            assert list(book) == ["e", "u", "s", "b", "B", "a", "A", "T", "E", "ps", "st"]

    asyncio.run(run())


def test_an_array_holds_only_what_changed(stepping: Any) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws/!miniTicker@arr") as client:
            await talk.step(20, tickers_every_ms=5000)
            heard = [
                [row["s"] for row in json.loads(await client.recv())]
                for _ in range(talk.exchange.counters["frames"])
            ]
            assert heard[0] == ["BTCUSDT", "QTUMUSDT"]
            assert ["BTCUSDT"] in heard

    asyncio.run(run())


def test_a_running_exchange_keeps_the_pace_of_its_clock(until: Any, monday_ms: int) -> None:
    """At 600 times real time three minutes close in about a third of a second; none is left out."""

    async def run() -> None:
        clock = ScaledClock(monday_ms + 1, 600.0)
        exchange = Exchange(GeneratedMarket(7, ("BTCUSDT",)), clock, ping_s=1e6)
        await exchange.start()
        async with connect(
            f"{exchange.ws_url}/ws/btcusdt@kline_1m", compression=None, proxy=None
        ) as client:
            closes, forming = [], 0
            while len(closes) < 3:
                kline = json.loads(await asyncio.wait_for(client.recv(), 30))["k"]
                if kline["x"]:
                    closes.append(kline["t"])
                forming += not kline["x"]
            assert [after - before for before, after in zip(closes, closes[1:], strict=False)] == [
                MINUTE_MS,
                MINUTE_MS,
            ]
            assert forming > 3
        await exchange.stop()

    asyncio.run(run())
