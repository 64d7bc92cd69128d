"""What JSON bodies cost: writing an answer of 500 rows, keeping it, and reading the exchange's."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

import klinecore as kc
from server.api.cache import BodyCache
from server.api.types import Response

MINUTE = 60_000
ROWS = 500
FIELDS = "tohlcvTqnVQx"


def rows(count: int = ROWS) -> list[kc.Kline]:
    """A random walk printed as spot prints it: eight decimals everywhere."""
    chance = random.Random(20_260_201)
    price, klines = 57_432.15, []
    for number in range(count):
        open_ms = 1_633_998_480_000 + number * MINUTE
        path = [price := price * chance.uniform(0.999, 1.001) for _ in range(4)]
        volume = chance.uniform(1, 200)
        texts = [f"{value:.8f}" for value in (path[0], max(path), min(path), path[3], volume)]
        quote, base, taker = (f"{volume * part:.8f}" for part in (price, 0.4, 0.4 * price))
        trades = chance.randrange(100, 5000)
        klines.append(kc.Kline(open_ms, *texts, open_ms + MINUTE - 1, quote, trades, base, taker))
    return klines


def filled(klines: list[kc.Kline]) -> kc.Market:
    market = kc.Market(["BTCUSDT"], ["1m"], ROWS)
    for row in klines:
        assert market.push("BTCUSDT", "1m", row) == kc.MergeStatus.APPENDED
    return market


def bench_body_of_500_rows(bench: Any) -> None:
    """``/klines`` answered from memory, nothing cached.

    The peers are given the rows as Python objects already: they write, and look nothing up.
    """
    klines = rows()
    market = filled(klines)
    body = bench(market.klines_json, "BTCUSDT", "1m", ROWS)

    answer = {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "klines": [dict(zip(FIELDS, row, strict=True)) for row in klines],
        "count": ROWS,
    }
    orjson = pytest.importorskip("orjson", reason="orjson is in the bench extra")
    assert bench.peer("orjson", orjson.dumps, answer) == body
    assert bench.peer("msgspec", msgspec.json.encode, answer) == body
    compact = json.JSONEncoder(separators=(",", ":"))
    assert bench.peer("json", compact.encode, answer).encode() == body


def bench_rest_body_of_500_rows(bench: Any) -> None:
    """The same rows as the exchange's REST array."""
    klines = rows()
    body = bench(filled(klines).klines_array_json, "BTCUSDT", "1m", ROWS)
    assert json.loads(body) == [[*row[:11], "0"] for row in klines]


def bench_cached_body(bench: Any) -> None:
    """An answer found in the server's cache: no row is read, no byte written."""
    market = filled(rows())
    series = market["BTCUSDT", "1m"]
    body = market.klines_json("BTCUSDT", "1m", ROWS)
    cache = BodyCache(1 << 20)
    key = ("spot", "BTCUSDT", "1m", (ROWS, False, None, None))
    cache.put(key, series.revision, Response(body))

    answer = bench(lambda: cache.get(key, series.revision))
    assert answer.body is body
    assert bench.peer("memcpy of the body", bytes, bytearray(body)) == body


def bench_merge_rest_answer_of_500_rows(bench: Any) -> None:
    """A backfill's answer, per row: read once to check all of it, once more to merge it.

    Each round fills a new market, whose making is measured too, so that every row is stored.
    """
    klines = rows()
    body = json.dumps([[*row[:11], "0"] for row in klines], separators=(",", ":")).encode()
    stored = []

    def merge() -> kc.RowCounts:
        market = kc.Market(["BTCUSDT"], ["1m"], ROWS)
        counts = market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=1 << 60)
        stored[:] = [market]
        return counts

    assert bench(merge, items=ROWS).changed == ROWS
    assert stored[0]["BTCUSDT", "1m"].klines() == klines
