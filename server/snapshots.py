"""Snapshots of a market on disk: written aside, synced, renamed into place, the one before kept.

A start takes the newest file that is whole. Whatever the disk does, the server goes on without: a
snapshot saves a restart the time of the backfill, and nothing else hangs on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import math
import mmap
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from klinecore.errors import SnapshotError
from klinecore.market import Market
from klinecore.snapshot import SnapshotCounts, encode, restore
from server.clock import Clock, wait_event
from server.metrics import Registry
from server.settings import Settings

__all__ = ["Disk", "DiskFile", "SnapshotStore", "SystemDisk", "data_directory"]

log = logging.getLogger(__name__)

#: Seconds the last snapshot may take when the server stops.
LAST_S = 5.0
#: Bytes given back at once while a snapshot is read: whole pages.
GIVE_BACK_SIZE = 4 << 20

Result = TypeVar("Result")


class DiskFile(Protocol):
    """A file being written. Everything may raise OSError."""

    def write(self, data: bytes) -> None:
        """Append all of ``data``."""
        ...

    def sync(self) -> None:
        """Return once the content outlasts a loss of power."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """The disk as snapshots use it. Everything may raise OSError."""

    def claim(self, directory: str) -> None:
        """Make the directory, and keep it for this process: BlockingIOError if another has it."""
        ...

    def read(self, path: str) -> bytes | mmap.mmap:
        """The whole content; of a map, pages that are given back are not read again."""
        ...

    def create(self, path: str) -> DiskFile:
        """A new file; one of that name is gone, also for whoever still writes to it."""
        ...

    def rename(self, source: str, target: str) -> None: ...

    def remove(self, path: str) -> None: ...

    def sync_directory(self, directory: str) -> None:
        """Return once its renames outlast a loss of power."""
        ...

    async def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Do blocking work where it holds up nobody. It goes on if the caller is cancelled."""
        ...


class SystemDisk:
    """The machine's. Its claims last until ``close``, or until the process ends, however."""

    def __init__(self) -> None:
        self._claims: dict[str, int] = {}  # descriptors

    def close(self) -> None:
        while self._claims:
            os.close(self._claims.popitem()[1])

    def claim(self, directory: str) -> None:
        if directory in self._claims:
            return
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            text = "another server keeps its snapshots there"
            raise BlockingIOError(error.errno, text, directory) from None
        except OSError:
            os.close(descriptor)
            raise
        self._claims[directory] = descriptor

    def read(self, path: str) -> bytes | mmap.mmap:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            # Memory that can be given back page by page. Not a map of the file itself: there an
            # I/O error would end the process.
            data = mmap.mmap(-1, max(size, 1))
            rest = memoryview(data)[:size]
            while rest and (count := file.readinto(rest)):
                rest = rest[count:]
            return data if size and not rest else data[: size - len(rest)]

    def create(self, path: str) -> DiskFile:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return _SystemFile(path)

    def rename(self, source: str, target: str) -> None:
        os.replace(source, target)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def sync_directory(self, directory: str) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    async def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


class _SystemFile:
    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def data_directory(settings: Settings, environ: Mapping[str, str]) -> str:
    """Where this server keeps its files: ``data_dir``, or the platform's place for it."""
    if settings.data_dir:
        return settings.data_dir
    base = environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    return os.path.join(base, "klinecore")


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
    ) -> None:
        """``source`` says whose klines these are; a snapshot of another's is refused."""
        self._market = market
        self._name = name
        self._label = f"{name} {source}"
        self._directory = directory
        self._path = os.path.join(directory, f"{name}.snapshot")
        self._interval_s = interval_s
        self._disk = disk
        self._clock = clock
        self._claimed = False
        # Only a whole file may take the place of the previous one.
        self._whole = True
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
        for path in (self._path, f"{self._path}.previous"):
            try:
                counts = await self._disk.call(self._restore, path)
            except FileNotFoundError:
                continue
            except (OSError, SnapshotError) as error:
                self._whole = False
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
            try:
                size = await self._write(time_ms)
                await self._publish()
            except OSError as error:
                self._failed(f"cannot write {self._path}", error)
                with contextlib.suppress(OSError):
                    await self._disk.call(self._disk.remove, f"{self._path}.new")
                return False
            self._saved_ms = time_ms
            self._size = size
            self._duration_s = self._clock.monotonic() - started_s
            if self._fault is not None:
                log.info("snapshots of %s are written again", self._name)
                self._fault = None
            return True

    async def _write(self, time_ms: int) -> int:
        """Write and sync the new file beside the old ones; its size."""
        disk = self._disk
        if not self._claimed:
            await disk.call(disk.claim, self._directory)
            self._claimed = True
        size = 0
        file = await disk.call(disk.create, f"{self._path}.new")
        # Not `finally`: after a cancellation a thread may still be writing to the descriptor.
        try:
            for chunk in encode(self._market, time_ms=time_ms, label=self._label):
                await disk.call(file.write, chunk)
                size += len(chunk)
            await disk.call(file.sync)
        except OSError:
            with contextlib.suppress(OSError):
                await disk.call(file.close)
            raise
        await disk.call(file.close)
        return size

    async def _publish(self) -> None:
        disk = self._disk
        if self._whole:
            with contextlib.suppress(FileNotFoundError):
                await disk.call(disk.rename, self._path, f"{self._path}.previous")
        await disk.call(disk.rename, f"{self._path}.new", self._path)
        self._whole = True
        await disk.call(disk.sync_directory, self._directory)

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
