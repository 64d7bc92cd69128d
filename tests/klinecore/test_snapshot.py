"""klinecore.snapshot: what is taken, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference import snapshots
from reference.strategies import START_MS, opens, plain_kline

import klinecore as kc
from klinecore.snapshot import (
    CHUNK_SIZE_MAX,
    SnapshotContents,
    SnapshotCounts,
    encode,
    read_contents,
    restore,
)

SYMBOLS = ("BTCUSDT", "币安人生USDT")
INTERVALS = ("1m", "1M")


def filled(
    symbols: tuple[str, ...] = SYMBOLS,
    intervals: tuple[str, ...] = INTERVALS,
    *,
    rows: int = 4,
    capacity: int = 10,
) -> kc.Market:
    market = kc.Market(symbols, intervals, capacity)
    for symbol in symbols:
        for interval in intervals:
            for open_ms in opens(interval, rows):
                market.push(symbol, interval, plain_kline(open_ms, interval=interval))
    market.drain()
    return market


def taken(market: kc.Market, **options: Any) -> bytes:
    return b"".join(encode(market, **options))


def contents(market: kc.Market) -> dict[tuple[str, str], list[kc.Kline]]:
    return {(series.symbol, series.interval): series.klines() for series in market}


def test_a_restored_market_holds_the_same_rows_as_text_and_as_numbers() -> None:
    market = filled()
    data = taken(market, time_ms=START_MS, label="spot")
    again = kc.Market(SYMBOLS, INTERVALS, 10)
    assert restore(again, data, label="spot") == SnapshotCounts(4, 16, 0, START_MS)
    assert contents(again) == contents(market)
    for series, other in zip(market, again, strict=True):
        for name, column in series.snapshot().items():
            np.testing.assert_array_equal(other.snapshot()[name], column)
    assert taken(again, time_ms=START_MS, label="spot") == data


def test_a_restore_tells_nobody() -> None:
    again = kc.Market(SYMBOLS, INTERVALS, 10)
    restore(again, taken(filled()))
    assert not again.pending
    assert again.drain() == []


def test_the_forming_row_is_not_kept() -> None:
    market = filled(("BTCUSDT",), ("1m",))
    forming = plain_kline(opens("1m", 5)[-1], closed=False)
    market.push("BTCUSDT", "1m", forming)
    again = kc.Market(["BTCUSDT"], ["1m"], 10)
    restore(again, taken(market))
    assert again["BTCUSDT", "1m"].forming is None
    assert again["BTCUSDT", "1m"].klines() == market["BTCUSDT", "1m"].klines()


def test_a_restored_series_goes_on_as_the_original_would() -> None:
    times = opens("1m", 40)
    market = filled(("BTCUSDT",), ("1m",), rows=12)
    again = kc.Market(["BTCUSDT"], ["1m"], 10)
    restore(again, taken(market))
    # The format a series saw last is remembered: all zeros is one too, and another than none.
    plain = plain_kline(times[12])._replace(
        **dict.fromkeys(("open", "high", "low", "close", "volume", "quote_volume"), "7"),
        taker_buy_base="0",
        taker_buy_quote="0",
    )
    for row in (plain, *map(plain_kline, times[14:]), plain_kline(times[13], 3)):
        assert again.push("BTCUSDT", "1m", row) == market.push("BTCUSDT", "1m", row)
        assert contents(again) == contents(market)


def test_counts_only_grow() -> None:
    market = filled(("BTCUSDT",), ("1m",), rows=30)
    again = kc.Market(["BTCUSDT"], ["1m"], 10)
    series = again["BTCUSDT", "1m"]
    restore(again, taken(market))
    assert series.closed_count == 30  # also those that left the window before
    assert series.revision > 0
    assert series.sequence == 2


def test_what_fits_is_taken_and_the_rest_is_counted() -> None:
    data = taken(filled(rows=8))
    again = kc.Market(["ETHUSDT", "BTCUSDT"], ["5m", "1m"], 3)
    assert restore(again, data) == SnapshotCounts(1, 3, 29, 0)
    newest = [plain_kline(open_ms) for open_ms in opens("1m", 8)[-3:]]
    assert again["BTCUSDT", "1m"].klines() == newest
    assert again["ETHUSDT", "1m"].klines() == again["BTCUSDT", "5m"].klines() == []


def test_a_series_that_holds_rows_keeps_them() -> None:
    data = taken(filled(("BTCUSDT",), ("1m", "1M")))
    again = kc.Market(["BTCUSDT"], ["1m", "1M"], 10)
    own = plain_kline(START_MS, 999)
    again.push("BTCUSDT", "1m", own)
    again.push("BTCUSDT", "1M", plain_kline(START_MS, interval="1M", closed=False))
    assert restore(again, data) == SnapshotCounts(0, 0, 8, 0)
    assert again["BTCUSDT", "1m"].klines() == [own]
    assert restore(again, data).rows == 0


def test_rows_beyond_the_horizon_are_left() -> None:
    """A clock that was ahead wrote them, or one that is behind reads them."""
    times = opens("1m", 5)
    again = kc.Market(SYMBOLS, INTERVALS, 3)
    again.horizon_ms = times[4] - 1  # the end of the fourth
    assert restore(again, taken(filled(("BTCUSDT",), ("1m",), rows=5))).rows == 3
    assert again["BTCUSDT", "1m"].klines() == [plain_kline(open_ms) for open_ms in times[1:4]]
    again = kc.Market(SYMBOLS, INTERVALS, 3)
    again.horizon_ms = 1
    assert restore(again, taken(filled())).skipped == 16
    assert len(again["BTCUSDT", "1m"]) == again["BTCUSDT", "1m"].sequence == 0


def test_what_is_known_of_each_row_and_of_each_gap_comes_back() -> None:
    times = opens("1m", 9)
    market = kc.Market(["BTCUSDT"], ["1m"], 10)
    for number in (0, 3, 4, 6, 8):
        market.push("BTCUSDT", "1m", plain_kline(times[number], 0 if number == 4 else 7))
    assert market.confirm_absent("BTCUSDT", "1m", times[1], times[2])
    again = kc.Market(["BTCUSDT"], ["1m"], 10)
    restore(again, taken(market))
    series, other = market["BTCUSDT", "1m"], again["BTCUSDT", "1m"]
    assert other.states.tolist() == series.states.tolist()
    assert other.absences() == series.absences() == [(times[1], times[2])]
    assert other.holes() == series.holes() == [(times[5], times[5]), (times[7], times[7])]


def test_an_empty_market_makes_a_snapshot_of_nothing() -> None:
    data = taken(kc.Market(SYMBOLS, INTERVALS, 10))
    again = kc.Market(SYMBOLS, INTERVALS, 10)
    assert restore(again, data) == SnapshotCounts(0, 0, 0, 0)


@pytest.mark.parametrize(
    "shape", [bytes, bytearray, memoryview, lambda data: np.array([*data], "B")]
)
def test_any_buffer_will_do(shape: Callable[[bytes], Any]) -> None:
    again = kc.Market(SYMBOLS, INTERVALS, 10)
    assert restore(again, shape(taken(filled()))).rows == 16


def test_a_buffer_at_an_odd_address_will_do() -> None:
    again = kc.Market(SYMBOLS, INTERVALS, 10)
    assert restore(again, memoryview(b"x" + taken(filled()))[1:]).rows == 16


def test_chunks_are_bounded_whatever_a_series_holds() -> None:
    market = filled(("BTCUSDT", "ETHUSDT", "BNBUSDT"), ("1m",), rows=9000, capacity=9000)
    chunks = list(encode(market))
    assert max(map(len, chunks)) <= CHUNK_SIZE_MAX
    assert len(chunks) >= 3 * 9000 * 90 // CHUNK_SIZE_MAX
    again = kc.Market(("BTCUSDT", "ETHUSDT", "BNBUSDT"), ("1m",), 9000)
    assert restore(again, b"".join(chunks)).rows == 27000


def test_rows_applied_between_two_chunks_leave_the_snapshot_whole() -> None:
    """Also such that bring formats nobody had seen when it began."""
    symbols = tuple(f"S{i}USDT" for i in range(40))
    market = filled(symbols, ("1m",), rows=100, capacity=100)
    chunks, seen = [], {symbol: [contents(market)[symbol, "1m"]] for symbol in symbols}
    for step, chunk in enumerate(encode(market)):
        chunks.append(chunk)
        row = plain_kline(opens("1m", 200)[100 + step], price=f"10.{'0' * (step % 14 + 1)}")
        for symbol in symbols:
            market.push(symbol, "1m", row)
            seen[symbol].append(market[symbol, "1m"].klines())
    assert len(chunks) > 1
    again = kc.Market(symbols, ["1m"], 100)
    restore(again, b"".join(chunks))
    for symbol in symbols:
        assert again[symbol, "1m"].klines() in seen[symbol]


def test_symbols_may_come_and_go_between_two_chunks() -> None:
    symbols = tuple(f"S{i}USDT" for i in range(40))
    market = filled(symbols, ("1m",), rows=100, capacity=100)
    chunks = []
    for chunk in encode(market):
        chunks.append(chunk)
        if len(chunks) == 1:
            for symbol in (symbols[0], symbols[38], symbols[39]):
                market.remove_symbol(symbol)
            market.add_symbol("NEWUSDT")
            market.add_symbol(symbols[38])  # back, and empty
    assert len(chunks) > 1
    again = kc.Market([*symbols, "NEWUSDT"], ["1m"], 100)
    assert restore(again, b"".join(chunks)).series == 38
    rows = [plain_kline(open_ms) for open_ms in opens("1m", 100)]
    for symbol in symbols:
        assert again[symbol, "1m"].klines() == ([] if symbol in symbols[38:] else rows)


# --- what is refused -----------------------------------------------------------------------------


def refused(data: Any, **options: Any) -> str:
    """The reason; the market must be as new."""
    again = kc.Market(SYMBOLS, INTERVALS, 10)
    with pytest.raises(kc.SnapshotError) as caught:
        restore(again, data, **options)
    assert all(len(series) == series.sequence == 0 for series in again)
    with pytest.raises(kc.SnapshotError) as unread:
        read_contents(data, **options)
    assert str(unread.value) == str(caught.value)
    return str(caught.value)


def test_a_snapshot_cut_anywhere_is_refused() -> None:
    data = taken(filled(), label="spot")
    for size in range(len(data)):
        refused(data[:size])


def test_a_snapshot_with_any_byte_flipped_is_refused() -> None:
    data = bytearray(taken(filled(rows=3), label="spot"))
    for offset in range(len(data)):
        for flip in (0xFF, *(1 << bit for bit in range(8))):
            data[offset] ^= flip
            refused(data)
            data[offset] ^= flip
    assert restore(kc.Market(SYMBOLS, INTERVALS, 10), data).rows == 12


def test_bytes_behind_the_end_are_refused() -> None:
    data = taken(filled())
    for more in (b"\0", b"\0" * 32, data):
        refused(data + more)


def test_whole_records_left_out_doubled_or_swapped_are_refused() -> None:
    data = taken(filled())
    spans = []
    offset = 16
    while offset < len(data):
        (size,) = struct.unpack_from("=Q", data, offset + 8)
        spans.append(data[offset : offset + size + 32])
        offset += size + 32
    for i in range(len(spans)):
        refused(data[:16] + b"".join(spans[:i] + spans[i + 1 :]))
        refused(data[:16] + b"".join(spans[: i + 1] + spans[i:]))
        if i:
            refused(
                data[:16] + b"".join([*spans[: i - 1], spans[i], spans[i - 1], *spans[i + 1 :]])
            )


def test_no_other_bytes_are_a_snapshot() -> None:
    noise = random.Random(1)
    assert "not a snapshot" in refused(b"")
    for size in (1, 15, 16, 17, 48, 1000):
        refused(noise.randbytes(size))
        refused(taken(filled())[:16] + noise.randbytes(size))


def test_another_label_is_refused() -> None:
    data = taken(filled(), label="spot api.binance.com")
    assert "expected 'um'" in refused(data, label="um")
    assert restore(kc.Market(SYMBOLS, INTERVALS, 10), data).rows == 16
    with pytest.raises(ValueError, match="label"):
        taken(filled(), label="x" * 1025)


def test_contents_are_told_without_a_market() -> None:
    market = kc.Market(["BTCUSDT", "EMPTYUSDT", "币安人生USDT"], ["1m", "5m"], 10)
    for open_ms in opens("1m", 12):
        market.push("币安人生USDT", "1m", plain_kline(open_ms))
    for open_ms in opens("5m", 3):
        market.push("BTCUSDT", "5m", plain_kline(open_ms, interval="5m"))
    data = taken(market, time_ms=START_MS, label="spot")
    expected = SnapshotContents(
        ("BTCUSDT", "币安人生USDT"),
        ("5m", "1m"),
        {("BTCUSDT", "5m"): opens("5m", 3)[-1], ("币安人生USDT", "1m"): opens("1m", 12)[-1]},
        13,
        START_MS,
    )
    for copy in (data, bytearray(data), memoryview(b"x" + data)[1:]):
        assert read_contents(copy, label="spot") == expected
    assert read_contents(taken(kc.Market(["A"], ["1m"], 3))) == SnapshotContents((), (), {}, 0, 0)


def test_records_are_as_documented() -> None:
    """And what the following test edits is what it means to edit."""
    data = taken(filled(), time_ms=5, label="spot")
    assert data[:8] == b"KLCSNAPS"
    records = snapshots.payloads(data)
    kinds = [kind for kind, _ in records]
    assert kinds == [snapshots.HEAD, *[snapshots.SERIES] * 4, snapshots.FORMATS, snapshots.END]
    assert struct.unpack_from("=qII4s", records[0][1]) == (5, 10, 4, b"spot")
    assert struct.unpack_from("=QIIII", records[1][1]) == (4, 4, 7, 2, 0)
    assert snapshots.sealed(data[:16], records) == data


#: Offsets inside the first series' payload: head 24, names 8 + 8, then columns of four rows.
TIMES = 40
VALUES = TIMES + 4 * 8
RESIDUALS = VALUES + 9 * 4 * 8
TAGS = RESIDUALS + 4 * 4 * 2


@pytest.mark.parametrize(
    ("layout", "offset", "value"),
    [
        ("=q", TIMES, -60_000),  # times
        ("=q", TIMES + 8, START_MS),
        ("=q", TIMES + 24, 1 << 62),
        ("=d", VALUES, float("nan")),  # numbers
        ("=d", VALUES, float("inf")),
        ("=d", VALUES, -1.0),
        ("=d", VALUES + 7 * 32 + 24, 1e23),
        ("=d", VALUES + 8 * 32, 0.5),  # trades
        ("=d", VALUES + 8 * 32, -1.0),
        ("=d", VALUES + 8 * 32, 2.0**53),
        ("=h", RESIDUALS, -1),  # a number this small has none
        ("=H", TAGS, 0x1FFF),  # a format that is not in the table
        ("=H", TAGS, 0x6000),  # a source that does not exist
        ("=I", 8, 5),  # counts and sizes
        ("=I", 8, 0),
        ("=I", 8, 0xFFFFFFFF),
        ("=I", 12, 0),
        ("=I", 12, 65),
        ("=I", 16, 9),
        ("=I", 16, 0xFFFFFFF0),
        ("=B", 24, 0xFF),  # no UTF-8
    ],
)
def test_rows_that_no_merge_could_have_stored_are_refused(
    layout: str, offset: int, value: float
) -> None:
    data = taken(filled(("BTCUSDT",), ("1m",)))
    refused(
        snapshots.edited(
            data, snapshots.SERIES, lambda payload: struct.pack_into(layout, payload, offset, value)
        )
    )


def test_formats_and_labels_that_do_not_fit_are_refused() -> None:
    data = taken(filled(("BTCUSDT",), ("1m",)), label="spot")
    refused(snapshots.edited(data, snapshots.FORMATS, lambda payload: payload.clear()))
    refused(snapshots.edited(data, snapshots.FORMATS, lambda p: p.extend(b"\0" * 8 * 8192)))
    refused(snapshots.edited(data, snapshots.HEAD, lambda payload: payload.clear()))
    refused(
        snapshots.edited(data, snapshots.HEAD, lambda p: struct.pack_into("=I", p, 12, 0xFFFFFFFF))
    )


def test_a_confirmed_absence_is_kept_but_not_out_of_the_window() -> None:
    """Bit 15 of a tag, whatever else the tag says, speaks of the stretch before its row."""

    def confirm(payload: bytearray) -> None:
        for row in range(4):
            (tag,) = struct.unpack_from("=H", payload, TAGS + 2 * row)
            struct.pack_into("=H", payload, TAGS + 2 * row, tag | 0x8000)

    data = snapshots.edited(taken(filled(("BTCUSDT",), ("1m",))), snapshots.SERIES, confirm)
    again = kc.Market(["BTCUSDT"], ["1m"], 10)
    assert restore(again, data).rows == 4
    assert again["BTCUSDT", "1m"].klines() == filled()["BTCUSDT", "1m"].klines()
    tags = struct.unpack_from("=4H", snapshots.payloads(taken(again))[1][1], TAGS)
    assert [tag >> 15 for tag in tags] == [0, 1, 1, 1]


def test_a_series_that_stands_twice_is_refused() -> None:
    data = taken(filled(("BTCUSDT",), ("1m",)))
    records = snapshots.payloads(data)
    assert "twice" in refused(snapshots.sealed(data[:16], [*records[:2], *records[1:]]))
