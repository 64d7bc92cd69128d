"""A file that is foreign, newer or damaged: refused or set aside, never emptied."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from shelves import NOW_MS, BadDisk, make, opened, settled, signal, trader

from server.errors import SettingsError
from server.store.schema import APPLICATION_ID, VERSION

NAME = "klinecore.sqlite"


def filled(folder: Path, signals: int = 300) -> Path:
    """A file with two traders and some signals, as a server leaves it that ended in peace."""

    async def story() -> None:
        async with opened(folder) as store:
            for number in (1, 2):
                await store.traders.insert(trader(number), None)
            store.signals.put([signal(number) for number in range(signals)])

    asyncio.run(story())
    return folder / NAME


def refused(folder: Path) -> str:
    """Why a start is."""

    async def story() -> str:
        with pytest.raises(SettingsError) as caught:
            await make(folder).open()
        return str(caught.value)

    return asyncio.run(story())


def make_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
    connection.close()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"just a text file of somebody's\n" * 9, "not a file of this program"), (None, "another")],
)
def test_a_foreign_file_is_refused_and_left_as_it_is(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / NAME
    if content is None:
        make_foreign(path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    message = refused(tmp_path)
    assert says in message
    assert str(path) in message
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [NAME]


def test_a_newer_program_s_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = filled(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    assert f"its version is {VERSION + 1}, this program knows {VERSION}" in refused(tmp_path)
    assert path.read_bytes() == before


def test_a_new_file_is_known_as_ours(tmp_path: Path) -> None:
    connection = sqlite3.connect(filled(tmp_path))
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    tables = connection.execute("PRAGMA table_list").fetchall()
    assert all(strict for _, name, kind, _, _, strict in tables
               if kind == "table" and not name.startswith("sqlite_"))  # fmt: skip
    assert len(tables) > 8
    connection.close()


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    filled(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [NAME]


def started(folder: Path) -> tuple[list[str], str | None]:
    """Names of the traders a start finds, and where it put a damaged file."""

    async def story() -> tuple[list[str], str | None]:
        async with opened(folder) as store:
            await asyncio.wait_for(store.database.opened.wait(), 30)
            store.signals.put([signal(9999)])
            await settled(store)
            kept = await store.signals.get(signal(9999).id)
            assert kept is not None
            return [one.name for one in await store.traders.load()], store.database.damaged

    return asyncio.run(story())


def test_a_damaged_file_is_set_aside_whole_and_its_traders_are_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = filled(tmp_path, 3000)
    data = bytearray(path.read_bytes())
    data[-40_000:-20_000] = bytes(20_000)  # signals stand at the end
    path.write_bytes(data)
    names, place = started(tmp_path)
    assert names == ["trader 1", "trader 2"]
    assert place is not None
    assert Path(place).name.startswith(f"{NAME}.damaged-{NOW_MS}")
    assert Path(place).read_bytes() == data
    assert "is damaged" in caplog.text
    assert "2 traders were taken over" in caplog.text
    # The new file is whole.
    assert started(tmp_path) == (["trader 1", "trader 2"], None)


def test_damage_that_makes_its_text_none_is_damage_as_well(tmp_path: Path) -> None:
    """What SQLite says of it quotes it, and cannot be decoded."""
    path = filled(tmp_path)
    content = path.read_bytes()
    named, told = b"signals_time", b"CREATE INDEX signals_time"
    assert told in content
    path.write_bytes(
        content.replace(told, b"CREATE\xbd" + told[7:]).replace(named, b"signals_\xbdime")
    )

    _, place = started(tmp_path)
    assert place is not None
    assert Path(place).exists()


def test_damage_that_shows_while_the_server_runs_is_set_aside_by_the_next_start_only(
    tmp_path: Path,
) -> None:
    path = filled(tmp_path, 3000)

    async def story() -> None:
        disk = BadDisk()
        async with opened(tmp_path, connect=disk.connect) as store:
            disk.fail()
            store.signals.put([signal(9998)])
            while store.database.fault is None:
                await asyncio.sleep(0.001)
            data = bytearray(path.read_bytes())
            data[-40_000:-20_000] = bytes(20_000)
            path.write_bytes(data)
            disk.mend()  # the file is opened again
            while (store.database.fault or "").startswith("full"):
                await asyncio.sleep(0.001)
            assert store.database.damaged is None
            assert not list(tmp_path.glob("*.damaged-*"))

    asyncio.run(asyncio.wait_for(story(), 30))
    names, place = started(tmp_path)
    assert names == ["trader 1", "trader 2"]
    assert place is not None


@pytest.mark.parametrize("start", [0, 16, 68, 100])
def test_a_file_whose_first_page_is_damaged_is_set_aside_or_refused(
    start: int, tmp_path: Path
) -> None:
    path = filled(tmp_path)
    data = bytearray(path.read_bytes())
    data[start : start + 40] = bytes(b ^ 0x5A for b in data[start : start + 40])
    path.write_bytes(data)
    try:
        started(tmp_path)
    except SettingsError:
        assert path.read_bytes() == data
    else:
        assert any(one.read_bytes() == data for one in tmp_path.glob(f"{NAME}.damaged-*"))


def test_whatever_is_damaged_nothing_is_lost_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = random.Random(9)
    whole = filled(tmp_path / "whole", 500).read_bytes()
    fates = {"kept": 0, "aside": 0, "refused": 0}
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = bytearray(whole)
        match number % 3:
            case 0:  # cut off
                del data[noise.randrange(1, len(data)) :]
            case 1:  # a block of another file
                place = noise.randrange(0, len(data) - 512) // 512 * 512
                data[place : place + 512] = noise.randbytes(512)
            case 2:  # a bit
                data[noise.randrange(len(data))] ^= 1 << noise.randrange(8)
        path = folder / NAME
        path.write_bytes(data)
        caplog.clear()
        try:
            names, place_of = started(folder)
        except SettingsError:
            fates["refused"] += 1
            assert path.read_bytes() == data
            continue
        if place_of is not None:
            fates["aside"] += 1
            assert "is damaged" in caplog.text
            assert Path(place_of).read_bytes() == data
            continue
        # Nothing SQLite could notice: a bit in a value, or in space nothing stands in.
        fates["kept"] += 1
        assert len(names) == 2 or "cannot be read" in caplog.text
    assert fates["aside"] >= 10, fates


def test_a_write_ahead_log_cut_anywhere_leaves_a_prefix_of_what_was_written(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path / "live") as store:
            await store.traders.insert(trader(1), None)
            for number in range(40):
                store.signals.put([signal(number)])
                await settled(store)
            shutil.copytree(tmp_path / "live", tmp_path / "copy")
        log = tmp_path / "copy" / f"{NAME}-wal"
        data = log.read_bytes()
        assert len(data) > 40_000
        counts = []
        for cut in range(0, len(data) + 1, len(data) // 25):
            folder = tmp_path / f"cut{cut}"
            shutil.copytree(tmp_path / "copy", folder)
            (folder / f"{NAME}-shm").unlink(missing_ok=True)
            (folder / f"{NAME}-wal").write_bytes(data[:cut])
            async with opened(folder) as store:
                assert store.database.damaged is None
                times = await store.database.read(
                    lambda c: [t for (t,) in c.execute("SELECT open_time_ms FROM signals")]
                )
            assert times == [signal(number).open_time_ms for number in range(len(times))]
            counts.append(len(times))
        assert counts == sorted(counts)
        assert counts[-1] > counts[0]

    asyncio.run(story())
