"""Snapshots of a market on disk: written aside, synced, renamed into place, the one before kept.

A start takes the newest file that is whole. Whatever the disk does, the server goes on without: a
snapshot saves a restart the time of the backfill, and nothing else hangs on it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import mmap
from collections.abc import Callable
from typing import Protocol

from klinecore.errors import SnapshotError
from klinecore.market import Market
from klinecore.snapshot import SnapshotContents, SnapshotCounts, encode, read_contents, restore
from server.clock import Clock, wait_event
from server.disk import Disk, LastTwo
from server.metrics import Registry

__all__ = ["Companion", "SnapshotStore", "find_contents"]

log = logging.getLogger(__name__)

#: Seconds the last snapshot may take when the server stops.
LAST_S = 4.0
#: Bytes given back at once while a snapshot is read: whole pages.
GIVE_BACK_SIZE = 4 << 20


class Companion(Protocol):
    """What is kept beside a snapshot and must not be newer than its rows."""

    async def prepare(self, time_ms: int) -> bool:
        """Write it aside, before the snapshot's first row is read; False: there is nothing.

        Never raises OSError.
        """

    async def commit(self) -> bool:
        """Keep what was prepared, now that the snapshot is whole. Never raises OSError."""

    async def leave(self) -> None:
        """Drop what was prepared: there is no snapshot."""


async def find_contents(
    name: str, *, directory: str, source: str, disk: Disk
) -> SnapshotContents | None:
    """What the newest whole snapshot of a market holds; None if there is none.

    ``source`` as for ``SnapshotStore``; what is wrong with a file is counted when it is loaded.
    """
    for path in _files(disk, directory, name).paths:
        try:
            return await disk.call(_read_contents, disk, path, _label(name, source))
        except (OSError, SnapshotError) as error:
            log.debug("%s tells nothing: %s", path, error)
    return None


def _read_contents(disk: Disk, path: str, label: str) -> SnapshotContents:
    return read_contents(memoryview(disk.read(path)), label=label)


def _label(name: str, source: str) -> str:
    return f"{name} {source}"


def _files(disk: Disk, directory: str, name: str) -> LastTwo:
    return LastTwo(disk, directory, f"{name}.snapshot")


class SnapshotStore:
    """The snapshots of one market. ``load`` before its feed starts, ``start``, then ``stop``."""

    def __init__(
        self,
        name: str,
        market: Market,
        *,
        directory: str,
        source: str,
        interval_s: float,
        disk: Disk,
        clock: Clock,
        metrics: Registry,
        companion: Companion | None = None,
    ) -> None:
        """``source`` says whose klines these are; a snapshot of another's is refused."""
        self._market = market
        self._name = name
        self._label = _label(name, source)
        self._directory = directory
        self._files = _files(disk, directory, name)
        self._interval_s = interval_s
        self._disk = disk
        self._clock = clock
        self._companion = companion
        self._claimed = False
        self._fault: str | None = None
        self._saved_ms: int | None = None
        self._size = 0
        self._duration_s = 0.0
        self._restored_rows = 0
        self._stopping = asyncio.Event()
        self._saving = asyncio.Lock()
        self._periodic: asyncio.Task[None] | None = None
        self._measure(metrics)

    def _measure(self, metrics: Registry) -> None:
        self._errors = metrics.counter(
            "kline_snapshot_errors_total",
            "Snapshots that could not be written or read, by reason.",
            ("market", "reason"),
        )
        for key, text, read in (
            ("age_seconds", "Age of the newest whole snapshot.", self._age_s),
            ("duration_seconds", "Time the last one took to write.", lambda: self._duration_s),
            ("bytes", "Size of the last one.", lambda: float(self._size)),
            ("restored_rows", "Rows the start took from one.", lambda: float(self._restored_rows)),
        ):
            metrics.gauge(f"kline_snapshot_{key}", text, ("market",)).read(read, self._name)

    def _age_s(self) -> float:
        if self._saved_ms is None:
            return math.nan
        return max(0, self._clock.time_ms() - self._saved_ms) / 1000

    # --- reading -------------------------------------------------------------------------------

    async def load(self) -> SnapshotCounts | None:
        """Fill the market from the newest whole snapshot; None if there is none."""
        for path in self._files.paths:
            try:
                counts = await self._disk.call(self._restore, path)
            except FileNotFoundError:
                continue
            except (OSError, SnapshotError) as error:
                self._files.is_whole = False
                self._failed(f"cannot use {path}", error)
                continue
            self._saved_ms = counts.time_ms
            self._restored_rows = counts.rows
            log.info(
                "took %d rows of %s from the snapshot of %.0f s ago, left %d",
                counts.rows,
                self._name,
                self._age_s(),
                counts.skipped,
            )
            return counts
        return None

    def _restore(self, path: str) -> SnapshotCounts:
        data = self._disk.read(path)
        release = _giver(data)
        return restore(self._market, memoryview(data), label=self._label, release=release)

    # --- writing -------------------------------------------------------------------------------

    def start(self) -> None:
        """Save one every ``interval_s`` from now on."""
        self._periodic = asyncio.create_task(self._run())
        self._periodic.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("no more snapshots of %s", self._name, exc_info=error)

    async def _run(self) -> None:
        while not await wait_event(self._stopping, self._clock, self._interval_s):
            await self.save()

    async def stop(self) -> None:
        """Save the last one, unless that takes more than ``LAST_S`` seconds."""
        self._stopping.set()
        done = asyncio.Event()
        last = asyncio.create_task(self._finish(done))
        last.add_done_callback(self._ended)
        if not await wait_event(done, self._clock, LAST_S):
            log.warning("the last snapshot of %s takes more than %g s", self._name, LAST_S)
            for task in filter(None, (last, self._periodic)):
                task.cancel()
        await asyncio.gather(last, self._periodic or last, return_exceptions=True)

    async def _finish(self, done: asyncio.Event) -> None:
        try:
            if self._periodic is not None:
                await asyncio.wait([self._periodic])
            await self.save()
        finally:
            done.set()

    async def save(self) -> bool:
        """Write one, if the market holds rows; True once it is durable. Never raises OSError."""
        if not any(len(series) for series in self._market):
            return False  # an older one is worth more
        async with self._saving:
            started_s = self._clock.monotonic()
            time_ms = self._clock.time_ms()
            companion = self._companion
            try:
                await self._claim()
                if companion is not None and not await companion.prepare(time_ms):
                    companion = None
                size = await self._files.write(
                    encode(self._market, time_ms=time_ms, label=self._label)
                )
            except OSError as error:
                self._failed(f"cannot write {self._files.path}", error)
                if companion is not None:
                    await companion.leave()
                return False
            self._saved_ms = time_ms
            self._size = size
            if companion is not None:
                await companion.commit()
            self._duration_s = self._clock.monotonic() - started_s
            if self._fault is not None:
                log.info("snapshots of %s are written again", self._name)
                self._fault = None
            return True

    async def _claim(self) -> None:
        if not self._claimed:
            await self._disk.call(self._disk.claim, self._directory)
            self._claimed = True

    def _failed(self, what: str, error: Exception) -> None:
        """Count it; tell of it when it is another fault than the last one."""
        reason = "refused"
        if isinstance(error, OSError):
            reason = errno.errorcode.get(error.errno or 0, "EIO")
        self._errors.inc(self._name, reason)
        fault = f"{what}: {error}"
        if fault != self._fault:
            log.warning("%s; the server goes on without", fault)
            self._fault = fault


def _giver(data: bytes | mmap.mmap) -> Callable[[int], None] | None:
    """A function that gives back the memory of ``data`` up to a byte, in larger pieces."""
    if not isinstance(data, mmap.mmap):
        return None
    given = 0

    def give(end: int) -> None:
        nonlocal given
        end -= end % GIVE_BACK_SIZE
        if end > given:
            data.madvise(mmap.MADV_DONTNEED, given, end - given)
            given = end

    return give
