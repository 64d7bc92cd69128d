"""The end of a wait outlasts the server: what is kept, what is believed, when it is cleared."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import zlib
from typing import Any

import msgspec
import pytest
from crash_disk import CrashDisk
from simulation.clock import SimulatedClock
from simulation.loop import run

from server.feeds.budget import WAIT_MAX_S, WeightBudget
from server.feeds.rest import RestResponse
from server.feeds.venue_time import VenueTime
from server.feeds.waits import RETRY_S, WaitFile
from server.metrics import Registry

START_MS = 1_768_384_801_000
BASE = "https://api.example"
PATH = "data/spot.wait"


class Life:
    """One life of a server, as far as waits go; its wall clock is ``ahead_s`` of the loop's."""

    def __init__(self, disk: CrashDisk, *, base: str = BASE, ahead_s: float = 0.0) -> None:
        self.disk = disk
        self.clock = SimulatedClock(START_MS)
        self.clock.step(ahead_s * 1000)
        self.budget = WeightBudget(VenueTime(self.clock), limit=6000, share=0.5)
        self.metrics = Registry()
        self.file = WaitFile(
            "spot",
            self.budget,
            directory="data",
            base=base,
            disk=disk,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.keeping: asyncio.Task[None] | None = None

    async def start(self) -> Life:
        await self.file.load()
        self.keeping = asyncio.create_task(self.file.keep())
        await asyncio.sleep(0)
        return self

    async def end(self) -> None:
        assert self.keeping is not None
        self.keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.keeping

    async def refuse(self, status: int, retry_after: str) -> None:
        grant = await self.budget.acquire(1)
        self.budget.settle(grant, RestResponse(status, {"retry-after": retry_after}, b""))
        await asyncio.sleep(0.001)

    @property
    def left_s(self) -> float:
        return self.budget.blocked_s

    def errors(self, reason: str) -> float:
        line = f'kline_rest_wait_file_errors_total{{market="spot",reason="{reason}"}} '
        text = self.metrics.render().decode()
        return float(text.partition(line)[2].partition("\n")[0] or 0)


async def banned(wait_s: int = 600, *, status: int = 418) -> CrashDisk:
    """The disk of a server that was refused and killed."""
    life = await Life(CrashDisk()).start()
    await life.refuse(status, str(wait_s))
    await life.end()
    return life.disk.copy()


@pytest.mark.parametrize("status", [418, 429, 403, 451])
def test_a_restart_waits_for_what_is_left(status: int) -> None:
    async def scenario() -> None:
        disk = await banned(600, status=status)
        await asyncio.sleep(100.0)
        life = await Life(disk).start()
        assert life.left_s == pytest.approx(500.0, abs=0.1)
        assert f"({status})" in str(life.budget.blocked_reason)
        began_s = life.clock.monotonic()
        await life.budget.acquire(1)
        assert life.clock.monotonic() - began_s >= 499.9
        await life.end()

    run(scenario())


def test_it_is_kept_in_the_order_that_makes_it_safe_and_outlasts_a_loss_of_power() -> None:
    async def scenario() -> None:
        life = await Life(CrashDisk()).start()
        assert life.disk.steps == ["read"]
        await life.refuse(418, "600")
        assert life.disk.steps[1:] == [
            "claim", "create", "write", "sync", "close", "rename", "sync_directory",
        ]  # fmt: skip
        assert life.disk.synced[PATH].synced == life.disk.entries[PATH].written
        await life.end()

    run(scenario())


def test_it_is_removed_when_it_is_over_in_this_life_or_the_next() -> None:
    async def scenario() -> None:
        disk = await banned(600)
        life = await Life(disk).start()
        await asyncio.sleep(599.0)
        assert PATH in disk.entries
        await asyncio.sleep(2.0)
        assert disk.entries == {}
        await life.end()
        disk = await banned(600)
        await asyncio.sleep(601.0)
        life = await Life(disk).start()
        assert life.left_s == 0.0
        assert disk.entries == {}
        await life.end()

    run(scenario())


def test_a_wait_that_grows_is_kept_as_it_grows_and_never_shortened() -> None:
    async def scenario() -> None:
        life = await Life(CrashDisk()).start()
        grants = [await life.budget.acquire(1) for _ in range(3)]
        for grant, wait in zip(grants, ("600", "900", "5"), strict=True):
            life.budget.settle(grant, RestResponse(418, {"retry-after": wait}, b""))
            await asyncio.sleep(0.001)
        await life.end()
        assert life.disk.steps.count("rename") == 2
        again = await Life(life.disk.copy()).start()
        assert again.left_s == pytest.approx(900.0, abs=0.1)
        await again.end()

    run(scenario())


def test_the_last_wait_is_written_when_the_server_stops_before_it_could() -> None:
    async def scenario() -> None:
        life = await Life(CrashDisk()).start()
        await life.end()
        await life.refuse(418, "600")
        assert PATH not in life.disk.entries
        await life.file.stop()
        assert PATH in life.disk.entries

    run(scenario())


@pytest.mark.parametrize(
    ("ahead_s", "left_s"), [(-3600.0, 600.0), (-1.0, 600.0), (60.0, 540.0), (3600.0, 0.0)]
)
def test_a_clock_that_was_set_makes_no_wait_longer_than_it_was(
    ahead_s: float, left_s: float
) -> None:
    async def scenario() -> None:
        life = await Life(await banned(600), ahead_s=ahead_s).start()
        assert life.left_s == pytest.approx(left_s, abs=0.1)
        await life.end()

    run(scenario())


async def read(content: bytes) -> Life:
    life = await Life(CrashDisk({PATH: content})).start()
    await life.end()
    return life


def test_content_that_is_damaged_cut_or_anothers_is_ignored() -> None:
    async def scenario() -> None:
        good = (await banned(600)).entries[PATH].written
        assert (await read(good)).left_s > 0
        damaged = [good[:size] for size in range(len(good))]
        damaged += [
            good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :]
            for place in range(len(good))
            for bit in range(8)
        ]
        damaged += [b"\0" * 512, good + good, good + b"\n" * 5000, b"KLCWAIT1 00000000 \n"]
        for content in damaged:
            life = await read(content)
            assert life.left_s == 0.0
            assert life.errors("ignored") == 1
        other = await Life(CrashDisk({PATH: good}), base="https://testnet.example").start()
        assert other.left_s == 0.0
        assert other.disk.entries[PATH].written == good  # it is not ours to remove
        await other.end()

    run(scenario())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("until_ms", START_MS),  # no wait at all
        ("until_ms", START_MS - 1),
        ("until_ms", START_MS + int(WAIT_MAX_S * 1000) + 1),
        ("until_ms", 1 << 62),
        ("since_ms", -1),
        ("status", 200),
        ("status", -418),
        ("until_ms", "soon"),
        ("base", None),
    ],
)
def test_absurd_content_is_ignored_though_its_checksum_is_right(field: str, value: Any) -> None:
    async def scenario() -> None:
        wait = {"base": BASE, "status": 418, "since_ms": START_MS, "until_ms": START_MS + 60_000}
        for content, ignored in ((wait, 0), (wait | {field: value}, 1)):
            body = msgspec.json.encode(content)
            life = await read(b"KLCWAIT1 %08x %s\n" % (zlib.crc32(body), body))
            assert (life.left_s > 0.0) == (not ignored)
            assert life.errors("ignored") == ignored

    run(scenario())


@pytest.mark.parametrize("step", range(1, 8))
def test_a_disk_that_fails_is_tried_again_and_stops_nothing(step: int) -> None:
    async def scenario() -> None:
        disk = CrashDisk()
        disk.fail_at = {step: OSError(errno.ENOSPC, "No space left on device")}
        life = await Life(disk).start()
        await life.refuse(418, "600")
        assert life.errors("ENOSPC") == 1
        assert life.left_s > 0
        await asyncio.sleep(RETRY_S)
        assert disk.synced[PATH].synced is not None
        assert life.errors("ENOSPC") == 1
        await life.end()

    run(scenario())


def test_a_disk_that_cannot_be_read_is_no_wait() -> None:
    async def scenario() -> None:
        disk = await banned(600)
        disk.steps.clear()
        disk.fail_at = {0: OSError(errno.EIO, "I/O error")}
        life = await Life(disk).start()
        assert life.left_s == 0.0
        assert life.errors("EIO") == 1
        await life.end()

    run(scenario())
