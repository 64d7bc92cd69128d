"""Blocks of old klines on disk: one file each, bounded in bytes, the least recently used go first.

A file is written aside and renamed into place; one that is damaged is removed, and its block
fetched again. Whatever the disk does, the server goes on: it only saves requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections import OrderedDict
from hashlib import blake2b

from klinecore.errors import SnapshotError
from server.disk import Disk, write_new
from server.feeds.blocks import Block, Stretch, decode_block, encode_block
from server.metrics import Registry

__all__ = ["BlockFiles"]

log = logging.getLogger(__name__)

_SUFFIX = ".klines"

#: Blocks on their way to the disk; beyond it they are not kept, and fetched again when asked for.
WRITES_MAX = 32


class BlockFiles:
    """The blocks of all markets in one directory, which it makes when the first is written."""

    def __init__(self, directory: str, *, bytes_max: int, disk: Disk, metrics: Registry) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._disk = disk
        self._sizes: OrderedDict[str, int] | None = None  # by name, least recently used first
        self._bytes = 0
        self._writing = 0
        self._lock = asyncio.Lock()
        self._fault: str | None = None
        self._errors = metrics.counter(
            "kline_history_file_errors_total",
            "Blocks of old klines that could not be written or read, by reason.",
            ("reason",),
        )
        self._evictions = metrics.counter(
            "kline_history_evictions_total", "Blocks that made room for others on disk."
        )
        for key, text, read in (
            ("bytes", "Bytes of old klines on disk.", lambda: float(self._bytes)),
            ("files", "Blocks of old klines on disk.", lambda: float(len(self._sizes or ()))),
        ):
            metrics.gauge(f"kline_history_{key}", text).read(read)

    async def load(self, stretch: Stretch, label: str) -> Block | None:
        """A block; None if there is none that is whole. Never raises OSError."""
        sizes = await self._look()
        name = _name(label)
        if name not in sizes:
            return None
        sizes.move_to_end(name)
        try:
            return await self._disk.call(self._read, name, stretch, label)
        except (OSError, SnapshotError) as error:
            if not isinstance(error, FileNotFoundError):  # it made room meanwhile
                self._failed(f"cannot use {name}", error)
            await self._drop(name)
            return None

    def _read(self, name: str, stretch: Stretch, label: str) -> Block:
        data = self._disk.read(os.path.join(self._directory, name))
        return decode_block(bytes(data), stretch, label)

    async def save(self, block: Block, label: str) -> bool:
        """Keep a whole block; True once it is on disk. Never raises OSError."""
        if self._writing >= WRITES_MAX:
            self._errors.inc("busy")
            return False
        self._writing += 1
        try:
            return await self._write(block, label)
        except OSError as error:
            self._failed("cannot keep old klines", error)
            with contextlib.suppress(OSError):
                path = os.path.join(self._directory, f"{_name(label)}.new")
                await self._disk.call(self._disk.remove, path)
            return False
        finally:
            self._writing -= 1

    async def _write(self, block: Block, label: str) -> bool:
        disk, name = self._disk, _name(label)
        sizes = await self._look()
        data = await disk.call(encode_block, block, label)
        if len(data) > self._bytes_max:
            return False
        path = os.path.join(self._directory, name)
        async with self._lock:
            await self._make_room(len(data))
            await disk.call(disk.claim, self._directory)
            new = await write_new(disk, path, [data])
            await disk.call(disk.rename, new, path)
            self._bytes += len(data) - sizes.pop(name, 0)
            sizes[name] = len(data)
        self._fault = None
        return True

    async def _look(self) -> OrderedDict[str, int]:
        """What is on disk, looked up once."""
        if self._sizes is not None:
            return self._sizes
        async with self._lock:
            if self._sizes is None:
                try:
                    found = await self._disk.call(self._disk.sizes, self._directory)
                except OSError as error:
                    if not isinstance(error, FileNotFoundError):
                        self._failed("cannot list old klines", error)
                    found = {}
                kept = {name: size for name, size in found.items() if name.endswith(_SUFFIX)}
                self._sizes = OrderedDict(kept)
                self._bytes = sum(kept.values())
                for name in found.keys() - kept.keys():
                    if name.endswith(f"{_SUFFIX}.new"):  # of a write that was cut short
                        await self._remove(name)
                await self._make_room(0)
        return self._sizes

    async def _make_room(self, size: int) -> None:
        """Remove the least recently used ones until ``size`` more bytes fit."""
        sizes = self._sizes
        while sizes and self._bytes + size > self._bytes_max:
            name, gone = sizes.popitem(last=False)
            self._bytes -= gone
            self._evictions.inc()
            await self._remove(name)

    async def _drop(self, name: str) -> None:
        async with self._lock:
            if self._sizes is not None and name in self._sizes:
                self._bytes -= self._sizes.pop(name)
                await self._remove(name)

    async def _remove(self, name: str) -> None:
        try:
            await self._disk.call(self._disk.remove, os.path.join(self._directory, name))
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._failed(f"cannot remove {name}", error)

    def _failed(self, what: str, error: Exception) -> None:
        """Count it; tell of it when it is another fault than the last one."""
        reason = "damaged"
        if isinstance(error, OSError):
            reason = errno.errorcode.get(error.errno or 0, "EIO")
        self._errors.inc(reason)
        fault = f"{what}: {error}"
        if fault != self._fault:
            log.warning("%s; the exchange is asked instead", fault)
            self._fault = fault


def _name(label: str) -> str:
    """Symbols are any text: a digest of the label is a name that every file system takes."""
    return blake2b(label.encode(), digest_size=16).hexdigest() + _SUFFIX
