"""The exchange's own recordings: every row of every file leaves as it came, every frame is known.

Klines: USD-M futures, 1m, February 2026, as data.binance.vision publishes them. Frames: combined
streams of Binance, Binance US, Binance TR (spot, 2021 and 2023) and USD-M (2021).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from reference.messages import dump, kline_frame, slow_parse
from reference.series import NUMBERS

import klinecore as kc
from klinecore.snapshot import encode, restore

MONTH = "klines/um/1m/2026-02"
SYMBOLS = ["ALGOUSDT", "AVAXUSDT", "DOTUSDT", "FILUSDT", "LINKUSDT", "LTCUSDT", "NEARUSDT"]
ROWS = 28 * 24 * 60
RECORDINGS = ["binance", "binance_futures", "binance_tr", "binance_us"]
FAR_MS = 1 << 60
LINE = re.compile(rb"\d+\.\d+: (.*)")
# Recorded streams this library classifies and does not store.
NOT_STORED = {"aggTrade", "depthUpdate"}


def month(data_dir: Path, symbol: str) -> list[list[str]]:
    """The file's rows, every field as its text."""
    packed = (data_dir / MONTH / f"{symbol}-1m-2026-02.csv.gz").read_bytes()
    rows = list(csv.reader(io.StringIO(gzip.decompress(packed).decode())))
    assert rows[0][0] == "open_time"
    assert len(rows) == ROWS + 1
    return rows[1:]


def kline(row: list[str]) -> kc.Kline:
    return kc.Kline(int(row[0]), *row[1:6], int(row[6]), row[7], int(row[8]), row[9], row[10])


def rest_body(rows: list[list[str]]) -> bytes:
    integers = {0, 6, 8}
    return dump(
        [[int(text) if place in integers else text for place, text in enumerate(row)]
         for row in rows]
    )  # fmt: skip


def frames(data_dir: Path, name: str) -> list[bytes]:
    """Messages of a recording; its other lines name the connection's URL."""
    found = []
    for line in gzip.decompress((data_dir / "ws" / f"{name}.txt.gz").read_bytes()).splitlines():
        match = LINE.fullmatch(line)
        if match:
            found.append(match.group(1))
        else:
            assert not line or line.startswith(b"wss://"), line
    assert len(found) > 10
    return found


def test_the_recorded_month_is_all_here(data_dir: Path) -> None:
    files = sorted(path.name.split("-")[0] for path in (data_dir / MONTH).glob("*.csv.gz"))
    assert files == SYMBOLS


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_row_of_a_month_leaves_as_it_came_on_every_road(data_dir: Path, symbol: str) -> None:
    texts = month(data_dir, symbol)
    rows = [kline(row) for row in texts]
    body = rest_body(texts)
    roads = {}
    for road in ("push", "rest", "frames"):
        market = kc.Market([symbol], ["1m"], capacity=ROWS)
        if road == "push":
            assert {market.push(symbol, "1m", row) for row in rows} == {kc.MergeStatus.APPENDED}
        elif road == "rest":
            counts = market.apply_klines(symbol, "1m", body, closed_before_ms=FAR_MS)
            first, last = rows[0].open_time_ms, rows[-1].open_time_ms
            assert counts == kc.RowCounts(ROWS, ROWS, 0, first, last)
        else:
            for row in rows:
                assert market.apply(kline_frame(row, symbol)) == kc.FrameKind.KLINE
        roads[road] = market

    exact = {name: [float(getattr(row, name)) for row in rows] for name in NUMBERS}
    for market in roads.values():
        series = market[symbol, "1m"]
        assert market.klines_array_json(symbol, "1m", ROWS) == body
        assert series.klines() == rows
        assert series.gaps() == []
        assert series.open_time_ms.tolist() == [row.open_time_ms for row in rows]
        for name in NUMBERS:
            np.testing.assert_array_equal(getattr(series, name), exact[name])

    # All three have answered with the same array, so one object answer stands for them.
    answer = json.loads(roads["frames"].klines_json(symbol, "1m", ROWS))
    assert answer["count"] == ROWS
    assert all(row["x"] for row in answer["klines"])
    served = [[str(row[letter]) for letter in "tohlcvTqnVQ"] for row in answer["klines"]]
    assert served == [row[:11] for row in texts]
    assert kc.parse_klines(body) == rows


def test_a_window_of_a_real_month_is_its_newest_rows(data_dir: Path) -> None:
    texts = month(data_dir, "LTCUSDT")
    market = kc.Market(["LTCUSDT"], ["1m"], capacity=500)
    for row in texts:
        market.push("LTCUSDT", "1m", kline(row))
    assert market["LTCUSDT", "1m"].klines() == [kline(row) for row in texts[-500:]]
    assert market["LTCUSDT", "1m"].closed_count == ROWS


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_frame_is_what_a_slow_parser_says(data_dir: Path, name: str) -> None:
    seen: Counter[str] = Counter()
    for frame in frames(data_dir, name):
        parsed = kc.parse_frame(frame)
        kind, expected = slow_parse(frame)
        assert parsed.kind.name == kind
        event = json.loads(frame)["data"].get("e")
        if kind == "OTHER":
            assert event in NOT_STORED
        if expected is not None:
            assert (
                parsed.symbol,
                parsed.interval,
                parsed.event_time_ms,
                parsed.kline,
            ) == expected
        seen[kind] += 1
    assert seen["KLINE"] > 0
    assert seen["BOOK_TICKER"] > 0
    assert set(seen) <= {"KLINE", "BOOK_TICKER", "OTHER"}


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_recorded_frame_is_lost_silently(data_dir: Path, name: str) -> None:
    messages = frames(data_dir, name)
    parsed = [kc.parse_frame(message) for message in messages]
    symbols = sorted({frame.symbol for frame in parsed if frame.symbol})
    market = kc.Market(symbols, ["1m"])
    for message in messages:
        market.apply(message)

    counters = market.counters()
    kinds = Counter(frame.kind for frame in parsed)
    for kind in kc.FrameKind:
        assert counters[f"frames_{kind.name.lower()}"] == kinds[kind]
    assert sum(kinds.values()) == len(messages)
    for refused in ("unknown_symbol", "unknown_interval", "bad_time", "unrepresentable"):
        assert counters[refused] == 0

    newest: dict[tuple[str, int], kc.Kline] = {}
    for frame in parsed:
        if frame.kline is not None and frame.symbol is not None:
            newest[frame.symbol, frame.kline.open_time_ms] = frame.kline
    for symbol in symbols:
        sent = [row for (name_, _), row in newest.items() if name_ == symbol]
        held = market[symbol, "1m"].klines(forming=True)
        assert held == [
            row for row in sent if row.closed or row.open_time_ms == sent[-1].open_time_ms
        ]


def test_a_snapshot_gives_the_month_back(data_dir: Path) -> None:
    market = kc.Market(SYMBOLS[:3], ["1m"], ROWS)
    for symbol in market.symbols:
        body = rest_body(month(data_dir, symbol))
        market.apply_klines(symbol, "1m", body, closed_before_ms=FAR_MS, notify=False)
    again = kc.Market(SYMBOLS[:3], ["1m"], ROWS)
    assert restore(again, b"".join(encode(market))).rows == 3 * ROWS
    for symbol in market.symbols:
        assert again[symbol, "1m"].klines() == market[symbol, "1m"].klines()
