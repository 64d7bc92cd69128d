"""klinecore.arena: the one block of memory, private or a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from reference.strategies import START_MS, plain_kline

import klinecore as kc
from klinecore.arena import Arena


def arena(path: Path | None = None) -> Arena:
    return Arena(
        capacity=10,
        slots=27,
        symbols_max=2,
        intervals=("1m", "5m", "1h"),
        ticker_stride=640,
        series_stride=4096,
        path=None if path is None else str(path),
    )


def test_a_new_arena_is_whole_and_its_pages_are_aligned() -> None:
    block = arena()
    assert block.verify()
    assert block.path is None
    assert block.size % 4096 == 0
    assert block.size >= 2 * 640 + 6 * 4096


def test_its_memory_is_readable_and_not_writable() -> None:
    view = memoryview(arena())
    assert view.readonly
    assert view[:8] == b"KLCARENA"
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 0


def test_a_damaged_header_is_noticed_and_what_changes_in_it_is_not_damage(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    block = arena(path)
    block.heartbeat_ms = START_MS
    block.set_symbol(1, "BTCUSDT")
    assert block.heartbeat_ms == START_MS
    assert block.verify()
    with path.open("r+b") as file:
        file.seek(24)
        file.write(b"\x0b")  # the capacity
    assert not block.verify()


def test_a_place_takes_a_name_of_at_most_64_bytes() -> None:
    block = arena()
    block.set_symbol(0, "币" * 21)
    block.set_symbol(0, None)
    for place, name in ((2, "BTCUSDT"), (-1, "BTCUSDT"), (0, ""), (0, "币" * 22)):
        with pytest.raises(ValueError, match="place|bytes"):
            block.set_symbol(place, name)


def test_an_arena_names_at_most_sixteen_short_intervals() -> None:
    for intervals in (("123456789",), ("1m",) * 17):
        with pytest.raises(ValueError, match="intervals"):
            Arena(
                capacity=10,
                slots=27,
                symbols_max=2,
                intervals=intervals,
                ticker_stride=640,
                series_stride=4096,
            )


def test_a_file_holds_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    block = arena(path)
    assert block.path == str(path)
    assert path.read_bytes() == bytes(memoryview(block))
    assert [entry.name for entry in tmp_path.iterdir()] == ["arena"]


def test_a_new_file_replaces_an_old_one_and_who_maps_the_old_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    old = kc.Market(["BTCUSDT"], ["1m"], 5, path=str(path))
    row = plain_kline(START_MS)
    old.push("BTCUSDT", "1m", row)
    inode = path.stat().st_ino
    new = kc.Market(["BTCUSDT"], ["1m"], 5, path=str(path))
    assert path.stat().st_ino != inode
    assert new["BTCUSDT", "1m"].klines() == []
    assert old["BTCUSDT", "1m"].klines() == [row]


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    keep = arena(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert keep.verify()


def test_a_path_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "arena").mkdir()
    with pytest.raises(OSError, match="directory"):
        arena(tmp_path / "arena")
    assert [entry.name for entry in tmp_path.iterdir()] == ["arena"]


def test_private_arenas_open_no_files() -> None:
    before = len(os.listdir("/proc/self/fd"))
    blocks = [arena() for _ in range(10)]
    assert len(os.listdir("/proc/self/fd")) == before
    del blocks
