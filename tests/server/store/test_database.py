"""server.store.database: nobody waits for the disk, and what was acknowledged is there."""

from __future__ import annotations

import asyncio
import math
import re
import sqlite3
import time
from pathlib import Path

import pytest
from shelves import BadDisk, execution, make, opened, settled, signal, trader

from server.errors import StoreError
from server.metrics import Registry
from server.store.base import Store
from server.store.signals import SignalQuery

ENDLESS = (
    "WITH RECURSIVE n(x) AS (SELECT count(*) FROM signals UNION ALL SELECT x + 1 FROM n)"
    " SELECT max(x) FROM n"
)


def value(metrics: Registry, name: str) -> float:
    """Of one line of the exposition."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", metrics.render().decode(), re.M)
    return float(found[1]) if found else 0.0


async def told(store: Store) -> int:
    """How many signals there are."""
    return await store.database.read(
        lambda connection: int(connection.execute("SELECT count(*) FROM signals").fetchone()[0])
    )


async def until(store: Store, fault: str | None) -> None:
    """Until the writer has noticed."""
    async with asyncio.timeout(30):
        while (store.database.fault or "").partition(":")[0] != (fault or ""):
            await asyncio.sleep(0.005)


# --- groups ------------------------------------------------------------------------------------


def test_what_comes_together_is_committed_together(tmp_path: Path) -> None:
    async def story() -> None:
        disk = BadDisk()
        async with opened(tmp_path, connect=disk.connect) as store:
            await store.retention.step()
            disk.commits = 0
            for number in range(400):
                store.signals.put([signal(number)])
            await settled(store)
            assert disk.commits <= 20
            for number in range(5000):
                store.signals.put([signal(number, symbol="BUSDT")])
            await settled(store)
            assert disk.commits <= 60
            assert await told(store) == 5400

    asyncio.run(story())


def test_whoever_waits_is_not_kept_waiting_for_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.writer.GROUP_S", 1.0)

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.retention.step()
            times = []
            for number in range(20):
                started = time.perf_counter()
                await store.traders.insert(trader(number), None)
                times.append(time.perf_counter() - started)
            assert min(times) < 0.5, times

    asyncio.run(story())


def test_one_piece_that_fails_takes_nobody_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM signals")
        connection.execute("INSERT INTO traders VALUES (1, 2, 3)")

    async def story() -> None:
        metrics = Registry()
        async with opened(tmp_path, metrics=metrics) as store:
            store.signals.put([signal(1)])
            store.database.post(broken)
            store.signals.put([signal(2)])
            await settled(store)
            assert await told(store) == 2
            assert value(metrics, 'store_errors_total{reason="refused"}') == 1
            with pytest.raises(sqlite3.OperationalError):
                await store.database.write(broken)
            with pytest.raises(ZeroDivisionError):
                await store.database.write(lambda connection: 1 // 0)
            assert await told(store) == 2

    asyncio.run(story())
    assert "could not be written" in caplog.text


def test_whoever_waits_may_go_away_meanwhile(tmp_path: Path) -> None:
    async def story() -> None:
        disk = BadDisk()
        async with opened(tmp_path, connect=disk.connect) as store:
            disk.delay_s = 0.1
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await store.traders.insert(trader(1), None)
            await store.traders.insert(trader(2), None)
            assert await store.traders.load() == [trader(1), trader(2)]

    asyncio.run(story())


def test_only_the_reader_s_connection_reads_and_it_cannot_write(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(StoreError, match="readonly"):
                await store.database.read(
                    lambda connection: connection.execute("DELETE FROM traders").rowcount
                )

    asyncio.run(story())


def test_a_reading_that_takes_too_long_is_ended_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.reader.READ_S_MAX", 0.1)

    async def story() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(StoreError, match=r"more than 0\.1 s"):
                await store.database.read(lambda connection: connection.execute(ENDLESS).fetchall())
            assert await told(store) == 0

    asyncio.run(story())


# --- a disk that fails -------------------------------------------------------------------------

FAULTS = {
    "full": (sqlite3.SQLITE_FULL, "database or disk is full"),
    "ioerr": (sqlite3.SQLITE_IOERR | (3 << 8), "disk I/O error"),
    "readonly": (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_while_the_disk_fails_nobody_waits_and_nothing_is_lost_up_to_the_bound(
    reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        disk, metrics = BadDisk(), Registry()
        async with opened(
            tmp_path, connect=disk.connect, metrics=metrics, store_queue_max=1000
        ) as store:
            await store.traders.insert(trader(1), None)
            disk.fail(*FAULTS[reason])
            store.signals.put([signal(number) for number in range(600)])
            await until(store, reason)
            async with asyncio.timeout(30):  # the disk fails until the test mends it
                with pytest.raises(StoreError):
                    await store.traders.insert(trader(2), None)
            # Executions may fill half of the room only: none fits any more, signals do.
            store.executions.put([execution(number) for number in range(100)])
            store.signals.put([signal(number) for number in range(600, 1000)])
            store.signals.put([signal(number) for number in range(1000, 1100)])
            assert value(metrics, "store_dropped_total") == 200
            assert value(metrics, "store_up") == 0
            assert await store.traders.load() == [trader(1)]
            disk.mend()
            await settled(store)
            assert await told(store) == 1000
            assert value(metrics, "store_up") == 1
            assert value(metrics, "store_queue") == 0
            await store.traders.insert(trader(2), None)

    asyncio.run(story())
    # Said once, however often it was tried, and once that it is over.
    assert caplog.text.count("cannot be written") == 1
    assert caplog.text.count("written again") <= 1


def test_however_much_comes_the_writer_rests_between_two_attempts(tmp_path: Path) -> None:
    async def story() -> None:
        disk = BadDisk()
        async with opened(tmp_path, connect=disk.connect) as store:
            disk.fail()
            store.signals.put([signal(number) for number in range(600)])  # more than a group
            await until(store, "full")
            disk.commits = 0
            started = time.perf_counter()
            for number in range(600, 1000):
                store.signals.put([signal(number)])
                await asyncio.sleep(0.001)
            # After 0.1, 0.3, 0.7 s and so on, however long this took.
            passed_s = time.perf_counter() - started
            assert disk.commits <= 1 + math.log2(1 + passed_s / 0.1)
            disk.mend()
            await settled(store)
            assert await told(store) == 1000

    asyncio.run(story())


def test_whoever_would_wait_for_a_disk_that_fails_is_refused_at_once_and_makes_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.writer.RETRY_S", 60.0)
    monkeypatch.setattr("server.store.writer.RETRY_MAX_S", 60.0)

    async def story() -> None:
        disk = BadDisk()
        async with opened(tmp_path, connect=disk.connect) as store:
            await store.retention.step()
            await settled(store)  # the store takes such a step itself at the start
            disk.fail()
            disk.commits = 0
            disk.delay_s = 0.05
            started = time.perf_counter()
            # The first one is found to fail, while the others come: nobody was told of it yet.
            first = asyncio.create_task(store.traders.insert(trader(1), None))
            while not disk.commits:
                await asyncio.sleep(0.001)
            others = [store.traders.insert(trader(number), None) for number in range(2, 5)]
            refused = await asyncio.gather(first, *others, return_exceptions=True)
            for number in range(5, 50):
                with pytest.raises(StoreError, match="full"):
                    await store.traders.insert(trader(number), None)
            assert time.perf_counter() - started < 40.0
            assert all(isinstance(one, StoreError) for one in refused), refused
            assert disk.commits == 1
            disk.mend()
            assert await store.traders.load() == []

    asyncio.run(story())


def test_a_disk_that_works_again_is_found_out_soon_with_nothing_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.writer.RETRY_S", 0.01)
    monkeypatch.setattr("server.store.writer.RETRY_MAX_S", 0.1)

    async def story() -> None:
        disk, metrics = BadDisk(), Registry()
        async with opened(tmp_path, connect=disk.connect, metrics=metrics) as store:
            disk.fail()
            with pytest.raises(StoreError, match="full"):
                await store.traders.insert(trader(1), None)
            await asyncio.sleep(0.4)
            assert store.database.fault is not None
            disk.mend()
            await until(store, None)
            assert value(metrics, "store_up") == 1
            await store.traders.insert(trader(1), None)

    asyncio.run(story())


def test_a_disk_that_hangs_holds_up_nobody_and_the_end_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("server.store.database.CLOSE_S", 0.2)

    async def story() -> None:
        disk = BadDisk()
        store = make(tmp_path, connect=disk.connect)
        await store.open()
        await store.retention.step()
        disk.hang()
        for number in range(500):
            store.signals.put([signal(number)])
        await store.close()
        disk.go_on()

    asyncio.run(story())
    assert "rows are lost" in caplog.text


def test_the_end_writes_what_waits(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            for number in range(3000):
                store.signals.put([signal(number)])
        assert not store.database.post(lambda connection: None)
        with pytest.raises(StoreError, match="closed"):
            await store.traders.insert(trader(1), None)
        with pytest.raises(StoreError, match="closed"):
            await store.traders.load()
        async with opened(tmp_path) as store:
            assert await told(store) == 3000
        assert not (tmp_path / "klinecore.sqlite-wal").exists()

    asyncio.run(story())


def test_the_end_leaves_no_log_whatever_is_being_read(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            store.signals.put([signal(1)])
            await settled(store)
            reading = asyncio.create_task(
                store.database.read(lambda connection: connection.execute(ENDLESS).fetchall())
            )
            await asyncio.sleep(0.05)
            started = time.perf_counter()
        assert not (tmp_path / "klinecore.sqlite-wal").exists()
        with pytest.raises(StoreError, match="closed"):
            await reading
        assert time.perf_counter() - started < 30.0

    asyncio.run(story())


def test_a_file_that_fills_up_for_real_takes_rows_again_when_there_is_room(tmp_path: Path) -> None:
    async def story() -> None:
        metrics = Registry()
        async with opened(tmp_path, metrics=metrics) as store:
            await store.database.write(
                lambda connection: connection.execute("PRAGMA max_page_count = 40").fetchall()
            )
            store.signals.put([signal(number) for number in range(4000)])
            await until(store, "full")  # the next connection has no such bound
            await settled(store)
            assert await told(store) == 4000
            assert value(metrics, 'store_errors_total{reason="full"}') >= 1

    asyncio.run(story())


def test_another_program_that_holds_the_file_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.database.BUSY_S", 0.05)

    async def story() -> None:
        async with opened(tmp_path) as store:
            other = sqlite3.connect(store.database.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            store.signals.put([signal(1)])
            await until(store, "busy")
            assert await told(store) == 0
            other.execute("COMMIT")
            other.close()
            await settled(store)
            assert await told(store) == 1

    asyncio.run(story())


# --- a start ---------------------------------------------------------------------------------


def test_a_server_whose_disk_does_not_let_it_starts_and_goes_on_when_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.traders.insert(trader(1), None)
        disk = BadDisk()
        disk.fail(sqlite3.SQLITE_CANTOPEN, "unable to open database file")
        async with opened(tmp_path, connect=disk.connect) as store:
            assert not store.database.opened.is_set()
            with pytest.raises(StoreError):
                await store.traders.load()
            with pytest.raises(StoreError):
                await store.traders.insert(trader(2), None)
            store.signals.put([signal(1)])
            disk.mend()
            await asyncio.wait_for(store.database.opened.wait(), 30)
            assert await store.traders.load() == [trader(1)]
            await settled(store)
            page = await store.signals.page(SignalQuery(trader_ids=None))
            assert [kept.signal for kept in page.signals] == [signal(1)]

    asyncio.run(story())
    assert "cannot be written" in caplog.text


def test_a_folder_another_server_keeps_is_left_alone_until_it_ends(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as first:
            await first.traders.insert(trader(1), None)
            second = make(tmp_path)
            await second.open()
            assert second.database.fault == "cannot_open: another server keeps its files there"
            with pytest.raises(StoreError, match="another server"):
                await second.traders.load()
        await asyncio.wait_for(second.database.opened.wait(), 30)
        assert await second.traders.load() == [trader(1)]
        await second.close()

    asyncio.run(story())


def test_others_cannot_read_the_file(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            store.signals.put([signal(1)])
            await settled(store)
            for path in tmp_path.iterdir():
                assert path.stat().st_mode & 0o077 == 0, path

    asyncio.run(story())
