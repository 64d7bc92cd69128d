"""server.snapshots: what a start finds after any end, and that no disk stops the server."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pytest
from crash_disk import CrashDisk
from reference.strategies import START_MS
from snapshot_world import PATH, World, restarted, run

from server.clock import ScaledClock, SystemClock
from server.disk import SystemDisk, data_directory
from server.settings import Settings
from server.snapshots import find_contents


def test_a_restart_finds_the_rows_of_the_last_snapshot() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.apply(7)
    assert run(world.store.save())
    again = restarted(disk)
    assert again.check() == 7
    assert again.metric("restored_rows") == 14
    assert world.metric("bytes") == len(disk.entries[PATH].written)


def test_steps_come_in_the_order_that_makes_them_safe() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.apply()
    run(world.store.save())
    run(world.store.save())
    one = ["create", "write", "sync", "close", "rename", "rename", "sync_directory"]
    assert disk.steps == ["claim", *one, *one]
    assert sorted(disk.entries) == [PATH, f"{PATH}.previous"]


def test_nothing_to_load_is_no_fault() -> None:
    world = World(CrashDisk())
    assert run(world.store.load()) is None
    assert "kline_snapshot_errors_total{" not in world.metrics.render().decode()
    assert world.metric("age_seconds") != world.metric("age_seconds")  # not a number


def test_an_empty_market_does_not_replace_what_is_there() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.apply()
    run(world.store.save())
    assert not run(World(disk).store.save())
    assert restarted(disk).check() == 1


def test_the_age_is_that_of_the_rows_also_after_a_restart() -> None:
    clock = ScaledClock(START_MS, 1e-9)
    disk = CrashDisk()
    world = World(disk, clock=clock)
    world.apply()
    run(world.store.save())
    assert world.metric("age_seconds") == 0
    later = World(disk, clock=ScaledClock(START_MS + 90_000, 1e-9))
    run(later.store.load())
    assert later.metric("age_seconds") == 90


@pytest.mark.parametrize("damage", [b"", b"KLCSNAPS", b"\0" * 5000])
def test_a_damaged_file_is_passed_over_and_never_takes_the_place_of_the_good_one(
    damage: bytes,
) -> None:
    disk = CrashDisk()
    world = World(disk)
    for _ in range(2):
        world.apply(3)
        run(world.store.save())
    disk.entries[PATH].written = damage
    again = restarted(disk)
    assert again.check() == 3
    assert again.metric("errors_total") == 1
    again.apply(4)
    assert run(again.store.save())
    assert disk.entries[f"{PATH}.previous"].written != damage
    disk.entries[PATH].written = damage  # and once more
    assert restarted(disk).check() == 3


def test_rows_of_another_exchange_are_refused() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.apply()
    run(world.store.save())
    other = World(disk, source="https://testnet.example")
    assert run(other.store.load()) is None
    assert other.check() == 0


def test_what_a_snapshot_holds_is_told_before_there_is_a_market() -> None:
    def ask(disk: CrashDisk, source: str = "a") -> Any:
        return run(find_contents("spot", directory="data", source=source, disk=disk))

    disk = CrashDisk()
    assert ask(disk) is None
    world = World(disk)
    for _ in range(2):
        world.apply(3)
        run(world.store.save())
    found = ask(disk)
    assert (found.symbols, found.intervals, found.rows) == (world.market.symbols, ("1m",), 12)
    disk.entries[PATH].written = b"KLCSNAPS"
    assert ask(disk).rows == 6
    assert ask(disk, "https://testnet.example") is None
    disk.fail_at = {len(disk.steps): OSError(errno.EIO, "I/O error")}
    assert ask(disk).rows == 6
    disk.entries.clear()
    assert ask(disk) is None


def test_both_files_damaged_is_a_cold_start() -> None:
    disk = CrashDisk({PATH: b"x", f"{PATH}.previous": b"y"})
    world = restarted(disk)
    assert world.rows() == 0
    assert world.metric("errors_total") == 2
    world.apply()
    assert run(world.store.save())
    assert restarted(disk).check() == 1


# --- a disk that fails ---------------------------------------------------------------------------

CODES = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE)


@pytest.mark.parametrize("code", CODES)
def test_a_fault_at_any_step_leaves_the_old_rows_and_is_counted(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(step: int) -> tuple[CrashDisk, World]:
        disk = CrashDisk()
        world = World(disk)
        world.apply(3)
        run(world.store.save())
        disk.steps.clear()
        disk.fail_at = {step: OSError(code, os.strerror(code))}
        world.apply(2)
        return disk, world

    sound, world = broken(10**6)
    run(world.store.save())
    names = list(sound.steps)
    for step, name in enumerate(names):
        disk, world = broken(step)
        assert not run(world.store.save()), name
        assert world.metric("errors_total") == 1
        assert f"{PATH}.new" not in disk.entries
        # The name of the new file may be on disk already; then it is whole as well.
        assert restarted(disk).check() == (5 if name == "sync_directory" else 3)
        assert run(world.store.save()), name
        assert restarted(disk).check() == 5
    assert len(names) == 7


def test_a_fault_while_cleaning_up_is_the_same_fault() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.apply()
    fault = OSError(errno.ENOSPC, "No space left on device")
    disk.fail_at = {2: fault, 3: fault, 4: fault}  # write, close, remove
    assert not run(world.store.save())
    assert world.metric("errors_total") == 1
    assert disk.steps == ["claim", "create", "write", "close", "remove"]
    assert run(world.store.save())


@pytest.mark.parametrize("code", CODES)
def test_a_start_that_cannot_read_is_a_cold_one(code: int) -> None:
    disk = CrashDisk()
    world = World(disk)
    world.apply(3)
    run(world.store.save())
    run(world.store.save())
    disk.steps.clear()
    disk.fail_at = dict.fromkeys((0, 1), OSError(code, os.strerror(code)))
    again = restarted(disk)
    assert again.rows() == 0
    assert again.metric("errors_total") == 2


def test_the_same_fault_is_told_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    disk = CrashDisk()
    world = World(disk)
    world.apply()
    full = OSError(errno.ENOSPC, "No space left on device")
    disk.fail_at = {step: full for step in range(2, 40) if step != 9}
    disk.fail_at[0] = full
    with caplog.at_level(logging.INFO, "server.snapshots"):
        for _ in range(5):
            assert not run(world.store.save())
        disk.fail_at = {}
        for _ in range(3):
            assert run(world.store.save())
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2, lines
    assert "No space left" in lines[0]
    assert "written again" in lines[1]
    assert world.metric("errors_total") == 5


# --- the machine's disk --------------------------------------------------------------------------


def test_the_real_disk_keeps_two_files_that_only_the_owner_may_read(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "here"
    disk = SystemDisk()
    world = World(disk, directory=str(directory))
    for _ in range(3):
        world.apply(2)
        assert run(world.store.save())
    assert sorted(path.name for path in directory.iterdir()) == [
        "spot.snapshot",
        "spot.snapshot.previous",
    ]
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = World(SystemDisk(), directory=str(directory))
    run(again.store.load())
    assert again.check() == 6
    (directory / "spot.snapshot").write_bytes(b"")
    older = World(SystemDisk(), directory=str(directory))
    run(older.store.load())
    assert older.check() == 4
    disk.close()


def test_two_servers_do_not_share_a_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = SystemDisk(), SystemDisk()
    worlds = [World(disk, directory=str(tmp_path)) for disk in (first, second)]
    for world in worlds:
        world.apply()
    assert run(worlds[0].store.save())
    assert not run(worlds[1].store.save())
    assert "another server" in caplog.text
    first.close()
    assert run(worlds[1].store.save())
    second.close()


def test_two_markets_of_one_server_claim_their_directory_at_once(tmp_path: Path) -> None:
    """As at the end of a server that has not saved before: each claim in a thread of its own."""
    disk = SystemDisk()
    together = threading.Barrier(2)

    def claim_all() -> None:
        for index in range(300):
            together.wait()
            disk.claim(str(tmp_path / str(index)))

    with ThreadPoolExecutor(2) as pool:
        claims = [pool.submit(claim_all) for _ in range(2)]
        for done in as_completed(claims):
            if done.exception() is not None:
                together.abort()
    assert [done.exception() for done in claims] == [None, None]
    disk.close()


def test_a_directory_that_cannot_be_made_is_a_fault_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    world = World(SystemDisk(), directory=str(tmp_path / "file" / "below"))
    world.apply()
    assert run(world.store.load()) is None
    assert not run(world.store.save())
    assert world.metric("errors_total") >= 1


def test_blocking_work_runs_in_another_thread() -> None:
    async def scenario() -> None:
        assert await SystemDisk().call(threading.get_ident) != threading.get_ident()

    run(scenario())


def test_the_place_for_data_is_the_platforms_unless_it_is_set() -> None:
    settings = Settings.load({})
    assert data_directory(settings, {"XDG_DATA_HOME": "/x"}) == "/x/klinecore"
    home = os.path.expanduser("~")
    assert data_directory(settings, {}) == os.path.join(home, ".local", "share", "klinecore")
    assert data_directory(Settings.load({"KLINE_DATA_DIR": "/y"}), {}) == "/y"


LARGE = """
import asyncio, json, sys
import klinecore as kc
from klinecore.snapshot import encode
from server.clock import SystemClock
from server.disk import SystemDisk
from server.metrics import Registry
from server.snapshots import SnapshotStore

def open_store():
    market = kc.Market([f"COIN{i}USDT" for i in range(200)], ["1m"], 2000)
    return market, SnapshotStore(
        "spot", market, directory=sys.argv[1], source="a", interval_s=60.0, disk=SystemDisk(),
        clock=SystemClock(), metrics=Registry(),
    )

def peak_mb():
    text = open("/proc/self/status").read()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024

if sys.argv[2] == "write":
    market, store = open_store()
    rows = [
        [open_ms, *["1.5"] * 5, open_ms + 59999, "1.5", 1, "1", "1", "0"]
        for open_ms in range(0, 2000 * 60000, 60000)
    ]
    body = json.dumps(rows).encode()
    for symbol in market.symbols:
        market.apply_klines(symbol, "1m", body, closed_before_ms=1 << 60, notify=False)
    assert asyncio.run(store.save())
else:
    before = peak_mb()
    market, store = open_store()
    assert asyncio.run(store.load()).rows == 400_000
    assert len(market["COIN199USDT", "1m"].klines()) == 2000
    print(peak_mb() - before)
"""


def test_a_start_needs_the_memory_of_the_rows_once(tmp_path: Path) -> None:
    """36 MB of rows, as much of file: on a small machine both at once would be too much."""

    def run_large(what: str) -> str:
        command = [sys.executable, "-c", LARGE, str(tmp_path), what]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run_large("write")
    assert (tmp_path / "spot.snapshot").stat().st_size > 36e6
    assert 36 < float(run_large("read")) < 55


def test_the_real_disk_reads_what_is_there(tmp_path: Path) -> None:
    disk = SystemDisk()
    for size in (0, 1, 4095, 4096, 4097, 9 << 20):
        data = os.urandom(size)
        (tmp_path / "file").write_bytes(data)
        assert bytes(memoryview(disk.read(str(tmp_path / "file")))) == data
    with pytest.raises(FileNotFoundError):
        disk.read(str(tmp_path / "nothing"))


# --- the period, and the end ---------------------------------------------------------------------


def test_one_is_saved_every_period_and_one_at_the_end() -> None:
    async def scenario() -> None:
        disk = CrashDisk()
        world = World(disk, clock=ScaledClock(START_MS, 1000.0), interval_s=10.0)
        world.apply()
        world.store.start()
        while disk.steps.count("sync_directory") < 3:
            await asyncio.sleep(0.002)
        world.apply(5)
        await world.store.stop()
        fresh = World(disk)
        await fresh.store.load()
        assert fresh.check() == 6
        assert len(asyncio.all_tasks()) == 1

    run(scenario())


class StuckDisk(CrashDisk):
    """From a given moment on nothing comes back."""

    stuck = False

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.stuck:
            await asyncio.get_running_loop().create_future()
        return await super().call(function, *arguments)


@pytest.mark.parametrize("periodic", [True, False])
def test_a_disk_that_hangs_does_not_keep_the_server_from_ending(periodic: bool) -> None:
    async def scenario() -> None:
        disk = StuckDisk()
        clock = ScaledClock(START_MS, 100.0)
        world = World(disk, clock=clock, interval_s=5.0 if periodic else 1e6)
        world.apply()
        await world.store.save()
        disk.stuck = True
        world.store.start()
        await clock.sleep(10.0)
        before_s = clock.monotonic()
        await world.store.stop()
        assert clock.monotonic() - before_s < 60.0
        assert len(asyncio.all_tasks()) == 1
        fresh = World(disk.copy())
        await fresh.store.load()
        assert fresh.check() == 1

    run(scenario())


def test_a_stop_before_the_first_start_is_quiet() -> None:
    async def scenario() -> None:
        disk = CrashDisk()
        await World(disk, clock=SystemClock()).store.stop()
        assert disk.steps == []

    run(scenario())


def test_a_fault_of_our_own_is_told_and_the_last_snapshot_tried_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        disk = CrashDisk()
        clock = ScaledClock(START_MS, 1000.0)
        world = World(disk, clock=clock, interval_s=5.0)
        world.apply(3)
        disk.fail_at = {0: RuntimeError("a mistake")}
        world.store.start()
        await clock.sleep(20.0)
        await world.store.stop()
        assert [record.levelname for record in caplog.records] == ["CRITICAL"]
        fresh = World(disk)
        await fresh.store.load()
        assert fresh.check() == 3
        disk.fail_at = {len(disk.steps): RuntimeError("another")}
        await fresh.store.stop()
        assert len(caplog.records) == 2
        assert len(asyncio.all_tasks()) == 1

    run(scenario())
