"""Old klines on disk: whole or not at all, bounded, and never in the way."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random

import pytest
from crash_disk import CrashDisk, PowerLossError
from hypothesis import given
from hypothesis import strategies as st

from klinecore.interval import next_open_ms, open_time_ms
from server.disk import SystemDisk
from server.feeds.block_files import BlockFiles
from server.feeds.blocks import Block, Stretch, encode_block, stretch_at
from server.metrics import Registry

MINUTE = 60_000


def block(number: int, count: int = 40) -> Block:
    stretch = stretch_at("币安人生USDT", "1m", number * 960 * MINUTE, 960)
    opens_ms = [stretch.first_ms + index * MINUTE for index in range(count)]
    rows = [b'[%d,"%d.10","2","1","1","%d",%d]' % (ms, ms, ms % 977, ms) for ms in opens_ms]
    return Block(stretch, opens_ms, rows, stretch.end_ms)


def label(one: Block) -> str:
    return f"spot simulated {one.stretch}"


def open_files(disk: CrashDisk | SystemDisk, bytes_max: int = 1 << 30, at: str = "d") -> BlockFiles:
    return BlockFiles(at, bytes_max=bytes_max, disk=disk, metrics=Registry())


async def load(files: BlockFiles, one: Block) -> Block | None:
    return await files.load(one.stretch, label(one))


def test_a_block_comes_back_as_it_was() -> None:
    async def story() -> None:
        disk = CrashDisk()
        for count in (0, 1, 960):
            one = block(5 + count, count)
            assert await open_files(disk).save(one, label(one))
            assert await load(open_files(disk), one) == one
        assert await load(open_files(disk), block(99)) is None

    asyncio.run(story())


@given(st.integers(0, 1 << 20), st.integers(1, 255))
def test_a_damaged_file_is_dropped_and_not_believed(place: int, change: int) -> None:
    one = block(5)
    data = bytearray(encode_block(one, label(one)))
    data[place % len(data)] ^= change

    async def story() -> None:
        disk = CrashDisk()
        await open_files(disk).save(one, label(one))
        (path,) = disk.entries
        disk.entries[path].written = bytes(data)
        files = open_files(disk)
        assert await load(files, one) is None
        assert not disk.entries, "removed"
        assert await files.save(one, label(one))
        assert await load(files, one) == one

    asyncio.run(story())


def test_another_exchanges_block_is_not_believed() -> None:
    async def story() -> None:
        disk, one = CrashDisk(), block(5)
        await open_files(disk).save(one, label(one))
        (path,) = disk.entries
        disk.entries[path].written = encode_block(one, "spot elsewhere")
        assert await load(open_files(disk), one) is None

    asyncio.run(story())


def test_the_least_recently_used_make_room() -> None:
    async def story() -> None:
        disk = CrashDisk()
        size = len(encode_block(block(1), label(block(1))))
        files = open_files(disk, bytes_max=3 * size + size // 2)
        for number in (1, 2, 3):
            await files.save(block(number), label(block(number)))
        assert await load(files, block(1)) is not None
        await files.save(block(4), label(block(4)))
        held = [n for n in (1, 2, 3, 4) if await load(files, block(n)) is not None]
        assert held == [1, 3, 4]
        assert sum(len(inode.written) for inode in disk.entries.values()) <= 3 * size + size // 2
        # A smaller bound holds from the next start on, also for what is there.
        fewer = open_files(disk, bytes_max=size + size // 2)
        await load(fewer, block(9))
        assert len(disk.entries) == 1

    asyncio.run(story())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_whatever_the_disk_does_the_server_goes_on(code: int) -> None:
    async def story() -> None:
        one = block(5)
        steps = 0
        while True:
            disk = CrashDisk()
            disk.fail_at[steps] = OSError(code, "no")
            files = open_files(disk)
            saved = await files.save(one, label(one))
            found = await load(open_files(disk.copy()), one)
            assert found == (one if saved else None)
            if len(disk.steps) <= steps:
                break
            steps += 1
        assert steps > 5

    asyncio.run(story())


def test_a_loss_of_power_leaves_a_whole_block_or_none() -> None:
    async def story() -> None:
        one = block(5)
        noise = random.Random(4)
        for step in range(8):
            disk = CrashDisk()
            disk.fail_at[step] = PowerLossError()
            with contextlib.suppress(PowerLossError):
                await open_files(disk).save(one, label(one))
            for _ in range(20):
                left = disk.after_loss(noise)
                assert await load(open_files(left), one) in (one, None)

    asyncio.run(story())


def test_the_machines_disk_keeps_them_over_a_restart(tmp_path: object) -> None:
    async def story() -> None:
        at = f"{tmp_path}/history"
        disk = SystemDisk()
        for number in (3, 1, 2):
            assert await open_files(disk, at=at).save(block(number), label(block(number)))
        size = len(encode_block(block(1), label(block(1))))
        files = open_files(disk, bytes_max=2 * size + size // 2, at=at)
        held = [n for n in (1, 2, 3) if await load(files, block(n)) is not None]
        assert held == [1, 2], "the oldest goes first"
        disk.close()

    asyncio.run(story())


@given(
    st.sampled_from(("1s", "1m", "3m", "4h", "1d", "3d", "1w", "1M")),
    st.integers(0, 4_000_000_000_000),
    st.sampled_from((480, 960)),
)
def test_stretches_follow_each_other_and_fit_into_a_request(
    interval: str, time_ms: int, rows: int
) -> None:
    one = stretch_at("A", interval, time_ms, rows)
    opened_ms = open_time_ms(interval, time_ms)
    assert opened_ms < one.end_ms
    assert one.first_ms <= opened_ms or opened_ms < 0 or one.first_ms < 1_000_000_000
    after = stretch_at("A", interval, one.end_ms, rows)
    assert after.first_ms == one.end_ms
    assert open_time_ms(interval, one.end_ms) == one.end_ms
    count, open_ms = 0, one.first_ms
    while open_ms < one.end_ms:
        open_ms, count = next_open_ms(interval, open_ms), count + 1
    assert rows * 0.9 <= count + 1 <= (1000 if rows == 960 else 499)
    assert isinstance(one, Stretch)
