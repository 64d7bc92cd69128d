"""klinecore.attached: another process's market, and nothing of it that is half written."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hammer import MINUTE
from reference.strategies import START_MS, opens, plain_kline

import klinecore as kc
from klinecore.attached import ATTEMPTS_MAX, AttachedSeries

SYMBOLS = ("BTCUSDT", "币安人生USDT")
#: Where an arena's header says where its series begin, and what stands behind its checksum: first
#: the sequence of the directory.
SERIES_OFFSET_AT = 72
CHECKSUM_END = 224


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "arena")


def written(path: str, *, rows: int = 5, room: int = 0) -> kc.Market:
    market = kc.Market(SYMBOLS, ["1m", "1M"], 10, path=path, room=room)
    for symbol in SYMBOLS:
        for interval in ("1m", "1M"):
            for open_ms in opens(interval, rows):
                market.push(symbol, interval, plain_kline(open_ms, interval=interval))
    return market


def test_it_reads_what_the_writer_wrote(path: str) -> None:
    market = written(path)
    forming = plain_kline(opens("1m", 6)[-1], closed=False)
    market.push("BTCUSDT", "1m", forming)
    attached = kc.attach(path)
    assert attached.symbols == SYMBOLS
    assert attached.intervals == ("1m", "1M")
    assert (attached.capacity, len(attached), attached.path) == (10, 4, path)
    for series in attached:
        original = market[series.symbol, series.interval]
        assert series.klines(forming=True) == original.klines(forming=True)
        assert len(series) == len(original)
        for name in ("last", "forming", "last_close_ms", "closed_count", "revision", "sequence"):
            assert getattr(series, name) == getattr(original, name)
        for name in ("open_time_ms", *kc.COLUMNS):
            np.testing.assert_array_equal(getattr(series, name), getattr(original, name))
        np.testing.assert_array_equal(series.columns(), original.columns())
        assert series.snapshot().keys() == original.snapshot().keys()
        assert series.read().gaps() == original.gaps()
    assert attached.retries == 0


def test_a_read_stays_as_it_is_and_the_next_one_is_new(path: str) -> None:
    market = written(path, rows=10)
    series = kc.attach(path)["BTCUSDT", "1m"]
    closes, times, whole = series.close, series.open_time_ms, series.read()
    kept = closes.copy()
    assert series.read() is whole  # nothing was written: nothing is copied
    market.push("BTCUSDT", "1m", plain_kline(opens("1m", 11)[-1], price="77.00"))
    np.testing.assert_array_equal(closes, kept)
    assert series.open[-1] == 77.0
    assert times[-1] + MINUTE == series.open_time_ms[-1]
    for array in (closes, times, series.columns()):
        assert not array.flags.writeable
    del series, whole
    np.testing.assert_array_equal(closes, kept)  # it keeps its memory alive


def test_copies_outlive_the_market_and_the_file(path: str) -> None:
    market = written(path)
    attached = kc.attach(path)
    rows = attached["BTCUSDT", "1m"].read()
    expected = market["BTCUSDT", "1m"].klines()
    del market, attached
    os.unlink(path)
    assert rows.klines() == expected


def test_unknown_names_are_named(path: str) -> None:
    keep = written(path)
    attached = kc.attach(path)
    assert attached["btcusdt", "1m"].symbol == "BTCUSDT"
    assert ("btcusdt", "1m") in attached
    assert ("BTCUSDT", "5m") not in attached
    assert "BTCUSDT" not in attached
    with pytest.raises(kc.UnknownSeriesError, match="unknown symbol 'X'; this market holds: BTC"):
        attached["X", "1m"]
    with pytest.raises(kc.UnknownSeriesError, match="unknown interval '5m'"):
        attached["BTCUSDT", "5m"]
    with pytest.raises(TypeError, match="belongs to a market"):
        AttachedSeries()
    assert keep.symbols == SYMBOLS


# --- symbols that come and go --------------------------------------------------------------------


def test_a_place_given_to_another_symbol_does_not_show_its_rows(path: str) -> None:
    market = written(path)
    attached = kc.attach(path)
    series, unread = attached["BTCUSDT", "1m"], attached["BTCUSDT", "1M"]
    assert len(series) == 5
    market.remove_symbol("BTCUSDT")
    assert attached.symbols == SYMBOLS[1:]
    market.add_symbol("ETHUSDT")
    market.push("ETHUSDT", "1m", plain_kline(START_MS, 3))
    for gone in (series, unread):
        for read in (lambda s: s.close, lambda s: s.sequence, len, lambda s: s.klines()):
            with pytest.raises(kc.UnknownSeriesError, match="BTCUSDT"):
                read(gone)
    assert set(attached.symbols) == {"ETHUSDT", SYMBOLS[1]}
    assert attached["ETHUSDT", "1m"].klines() == [plain_kline(START_MS, 3)]
    assert len(attached["ETHUSDT", "1M"]) == 0


def test_a_symbol_that_came_back_is_another_series(path: str) -> None:
    market = written(path)
    attached = kc.attach(path)
    series = attached["BTCUSDT", "1m"]
    market.remove_symbol("BTCUSDT")
    market.add_symbol("BTCUSDT")
    with pytest.raises(kc.UnknownSeriesError):
        series.read()
    assert len(attached["BTCUSDT", "1m"]) == 0


def test_a_symbol_added_later_is_found(path: str) -> None:
    market = written(path, room=1)
    attached = kc.attach(path)
    assert ("ETHUSDT", "1m") not in attached
    market.add_symbol("ETHUSDT")
    assert ("ETHUSDT", "1m") in attached
    assert len(attached) == 6


def ticker_frame(symbol: str, price: str) -> bytes:
    return (
        f'{{"e":"24hrMiniTicker","E":{START_MS},"s":"{symbol}","c":"{price}","o":"1.00",'
        f'"h":"9.00","l":"1.00","v":"10","q":"20"}}'
    ).encode()


def test_tickers_are_read_too(path: str) -> None:
    market = written(path)
    attached = kc.attach(path)
    assert attached.ticker("BTCUSDT") is None
    market.apply(ticker_frame("BTCUSDT", "2.00"))
    assert attached.ticker("btcusdt") == market.ticker("BTCUSDT")
    with pytest.raises(kc.UnknownSeriesError, match="unknown symbol 'X'"):
        attached.ticker("X")
    market.remove_symbol("BTCUSDT")
    market.add_symbol("ETHUSDT")
    with pytest.raises(kc.UnknownSeriesError, match="BTCUSDT"):
        attached.ticker("BTCUSDT")
    assert attached.ticker("ETHUSDT") is None


def test_a_ticker_whose_writer_died_or_that_is_damaged_is_refused(path: str) -> None:
    market = written(path)
    market.apply(ticker_frame("BTCUSDT", "2.00"))
    (offset,) = struct.unpack_from("=Q", Path(path).read_bytes(), SERIES_OFFSET_AT - 16)
    for place, value, error in ((0, b"\3", kc.TornReadError), (80, b"\x20", kc.ArenaError)):
        with open(path, "r+b") as file:
            file.seek(offset + place)
            sound = file.read(1)
            file.seek(offset + place)
            file.write(value)
        with pytest.raises(error, match="the ticker of BTCUSDT"):
            kc.attach(path).ticker("BTCUSDT")
        with open(path, "r+b") as file:
            file.seek(offset + place)
            file.write(sound)
    assert kc.attach(path).ticker("BTCUSDT") == market.ticker("BTCUSDT")


# --- a writer that lives, ends, starts anew ------------------------------------------------------


def test_the_heartbeat_is_the_writers(path: str) -> None:
    market = written(path)
    attached = kc.attach(path)
    assert attached.heartbeat_ms == 0
    market.heartbeat_ms = START_MS
    assert attached.heartbeat_ms == START_MS


def test_a_restarted_writer_is_noticed_and_the_old_rows_can_still_be_read(path: str) -> None:
    market = written(path)
    attached = kc.attach(path)
    assert not attached.replaced
    again = written(path, rows=2)
    assert attached.replaced
    assert len(attached["BTCUSDT", "1m"]) == 5
    attached = kc.attach(path)
    assert not attached.replaced
    assert len(attached["BTCUSDT", "1m"]) == 2
    os.unlink(path)
    assert attached.replaced
    assert market.symbols == again.symbols


def test_a_writer_that_died_inside_a_write_is_an_error_and_no_hang(path: str) -> None:
    market = written(path)
    attached = kc.attach(path)
    series = attached["BTCUSDT", "1m"]
    kept = series.read().klines()
    (offset,) = struct.unpack_from("=Q", Path(path).read_bytes(), SERIES_OFFSET_AT)
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(struct.pack("=Q", market["BTCUSDT", "1m"].sequence + 1))
    before_s = time.monotonic()
    with pytest.raises(kc.TornReadError, match="stays inside a write") as caught:
        series.read()
    assert time.monotonic() - before_s < 30.0
    assert caught.value.writing
    assert caught.value.attempts == ATTEMPTS_MAX == attached.retries
    assert attached[SYMBOLS[1], "1m"].klines() == kept


def test_a_writer_that_died_while_a_symbol_moved_is_an_error_too(path: str) -> None:
    keep = written(path)
    (sequence,) = struct.unpack_from("=Q", Path(path).read_bytes(), CHECKSUM_END)
    assert sequence == 2 * len(SYMBOLS)
    with open(path, "r+b") as file:
        file.seek(CHECKSUM_END)
        file.write(struct.pack("=Q", sequence + 1))
    with pytest.raises(kc.TornReadError, match="the symbols"):
        _ = kc.attach(path).symbols
    assert keep.symbols == SYMBOLS


# --- files that are no arena ---------------------------------------------------------------------


def test_a_file_that_is_not_there_is_an_os_error(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        kc.attach(path)


@pytest.mark.parametrize("data", [b"", b"x", b"KLCARENA", b"KLCARENA" + bytes(5000)])
def test_other_files_are_refused(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)
    with pytest.raises(kc.ArenaError, match=r"cannot attach to .*arena: ") as caught:
        kc.attach(path)
    assert caught.value.path == path


def test_every_byte_of_the_header_counts(path: str, tmp_path: Path) -> None:
    keep = written(path)
    data = bytearray(Path(path).read_bytes())
    other = tmp_path / "other"
    for offset in range(CHECKSUM_END):
        data[offset] ^= 0xFF
        other.write_bytes(data)
        with pytest.raises(kc.ArenaError):
            kc.attach(other)
        data[offset] ^= 0xFF
    other.write_bytes(data)
    assert kc.attach(other).symbols == keep.symbols


def test_an_arena_of_another_length_is_refused(path: str, tmp_path: Path) -> None:
    keep = written(path)
    data = Path(path).read_bytes()
    for changed in (data[:-4096], data[:5000], data + bytes(4096)):
        (tmp_path / "other").write_bytes(changed)
        with pytest.raises(kc.ArenaError, match="bytes, it has"):
            kc.attach(tmp_path / "other")
    assert keep.symbols == SYMBOLS


def test_another_version_and_byte_order_are_named(path: str, tmp_path: Path) -> None:
    keep = written(path)
    data = Path(path).read_bytes()
    for layout, offset, value, words in (
        ("=I", 8, 1, "version 1, this library reads version 2"),
        (">I", 12, struct.unpack("<I", data[12:16])[0], "another byte order"),
    ):
        changed = bytearray(data)
        struct.pack_into(layout, changed, offset, value)
        (tmp_path / "other").write_bytes(changed)
        with pytest.raises(kc.ArenaError, match=words):
            kc.attach(tmp_path / "other")
    assert keep.symbols == SYMBOLS


def test_a_damaged_series_is_refused_before_it_is_read(path: str) -> None:
    keep = written(path)
    (offset,) = struct.unpack_from("=Q", Path(path).read_bytes(), SERIES_OFFSET_AT)
    for place, value in ((28, 11), (24, 0xFFFFFFF0), (32, 7)):  # count, start, has_forming
        with open(path, "r+b") as file:
            file.seek(offset + place)
            sound = file.read(4)
            file.seek(offset + place)
            file.write(struct.pack("=I", value))
        with pytest.raises(kc.ArenaError, match="damaged"):
            kc.attach(path)["BTCUSDT", "1m"].read()
        with open(path, "r+b") as file:
            file.seek(offset + place)
            file.write(sound)
    assert kc.attach(path)["BTCUSDT", "1m"].klines() == keep["BTCUSDT", "1m"].klines()


# --- a writer that hammers -----------------------------------------------------------------------

CAPACITY = 500
#: Seconds until a busy machine has let both run at once often enough.
PATIENCE_S = 60.0


@contextlib.contextmanager
def hammering(path: str, root: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(root / "tests" / "support" / "hammer.py"), path, str(CAPACITY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            yield writer
        finally:
            writer.kill()


def whole(times: Any, columns: Any) -> bool:
    """True if rows and their numbers fit each other as ``hammer`` makes them."""
    trades = columns[8]
    versions = trades - 2 * (times // MINUTE)
    return bool(
        (np.diff(times) == MINUTE).all()
        and ((versions == 0) | (versions == 1)).all()
        and np.count_nonzero(np.diff(versions)) <= 1
        and all(np.abs(columns[i] - trades - i / 10).max() < 1e-3 for i in range(8))
    )


def unchecked(path: str) -> Iterator[bool]:
    """What a reader sees that does not look at the sequence: the same memory, copied as it is."""
    data = np.memmap(path, np.uint8, "r")
    offset, stride = struct.unpack_from("=QQ", data[:CHECKSUM_END].tobytes(), SERIES_OFFSET_AT)
    slots = struct.unpack_from("=I", data[28:32].tobytes())[0]
    block = data[offset : offset + stride]
    while True:
        copy = block.copy()
        start, count = copy[24:32].view(np.uint32)
        times = copy[128 : 128 + 8 * slots].view(np.int64)
        columns = copy[128 + 8 * slots : 128 + 80 * slots].view(np.float64).reshape(9, slots)
        yield whole(times[start : start + count], columns[:, start : start + count])


def hammer_and_read(path: str, root: Path, seconds: float) -> tuple[int, int, int, int]:
    """Checked reads that were wrong, unchecked ones that were, all checked ones, retries."""
    torn = torn_unchecked = reads = 0
    with hammering(path, root):
        attached = kc.attach(path)
        series = attached["BTCUSDT", "1m"]
        careless = unchecked(path)
        start_s = time.monotonic()
        sequence = -1
        while (passed_s := time.monotonic() - start_s) < seconds or (
            passed_s < PATIENCE_S and (torn_unchecked < 3 or reads < 1000)
        ):
            for _ in range(50):
                with contextlib.suppress(kc.TornReadError):
                    rows = series.read()
                    assert rows.sequence >= sequence
                    sequence = rows.sequence
                    reads += 1
                    torn += not whole(rows.open_time_ms, rows.columns())
                torn_unchecked += not next(careless)
        assert attached.heartbeat_ms > 0
    return torn, torn_unchecked, reads, attached.retries


def test_no_read_under_a_hammering_writer_is_torn_and_without_the_check_some_are(
    path: str, root: Path
) -> None:
    torn, torn_unchecked, reads, retries = hammer_and_read(path, root, 3.0)
    assert torn == 0
    assert torn_unchecked >= 3
    assert reads >= 1000
    assert retries > 0


@pytest.mark.slow
def test_no_read_is_torn_in_half_a_minute(path: str, root: Path) -> None:
    torn, torn_unchecked, reads, _ = hammer_and_read(path, root, 30.0)
    assert torn == 0
    assert torn_unchecked >= 3
    assert reads > 10_000


def test_a_writer_killed_at_any_moment_leaves_whole_rows_or_a_named_error(
    tmp_path: Path, root: Path
) -> None:
    for number in range(5):
        path = str(tmp_path / f"arena{number}")
        with hammering(path, root) as writer:
            series = kc.attach(path)["BTCUSDT", "1m"]
            time.sleep(0.05)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            with contextlib.suppress(kc.TornReadError):
                rows = series.read()
                assert whole(rows.open_time_ms, rows.columns())
