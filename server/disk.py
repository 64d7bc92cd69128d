"""The disk as the server uses it, behind a seam for simulations, and where its files are."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from server.settings import Settings

__all__ = ["Disk", "DiskFile", "LastTwo", "SystemDisk", "data_directory", "write_new"]

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
    """Files of one directory. Everything may raise OSError."""

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

    def sizes(self, directory: str) -> dict[str, int]:
        """Bytes of each of its files by name, those that were written first coming first."""
        ...

    async def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Do blocking work where it holds up nobody. It goes on if the caller is cancelled."""
        ...


class SystemDisk:
    """The machine's. Its claims last until ``close``, or until the process ends, however."""

    def __init__(self) -> None:
        self._claims: dict[str, int] = {}  # descriptors
        self._claiming = threading.Lock()  # a second claim of ours would find the first one's lock

    def close(self) -> None:
        while self._claims:
            os.close(self._claims.popitem()[1])

    def claim(self, directory: str) -> None:
        with self._claiming:
            if directory not in self._claims:
                self._claims[directory] = self._lock(directory)

    @staticmethod
    def _lock(directory: str) -> int:
        """A descriptor that keeps the directory for as long as it is open."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            text = "another server keeps its files there"
            raise BlockingIOError(error.errno, text, directory) from None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

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

    def sizes(self, directory: str) -> dict[str, int]:
        with os.scandir(directory) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
        found.sort(key=lambda one: one[1].st_mtime_ns)
        return {name: status.st_size for name, status in found}

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


async def write_new(disk: Disk, path: str, chunks: Iterable[bytes]) -> str:
    """Write and sync them beside ``path``; the name that has, to be renamed. Raises OSError."""
    new = f"{path}.new"
    file = await disk.call(disk.create, new)
    # Not `finally`: after a cancellation a thread may still be writing to the descriptor.
    try:
        for chunk in chunks:
            await disk.call(file.write, chunk)
        await disk.call(file.sync)
    except Exception:  # of the disk, or of who makes the chunks
        with contextlib.suppress(OSError):
            await disk.call(file.close)
        raise
    await disk.call(file.close)
    return new


class LastTwo:
    """A file and the one before it, for a start that finds the newer one torn."""

    def __init__(self, disk: Disk, directory: str, name: str) -> None:
        self._disk = disk
        self._directory = directory
        self.path = os.path.join(directory, name)
        #: Both, the newer one first.
        self.paths = (self.path, f"{self.path}.previous")
        #: Only a whole file may take the place of the previous one.
        self.is_whole = True

    async def write(self, chunks: Iterable[bytes]) -> int:
        """Let this be the newest one; its size, once it is durable. Raises OSError."""
        size = await self.prepare(chunks)
        await self.commit()
        return size

    async def prepare(self, chunks: Iterable[bytes]) -> int:
        """Write what is to be the newest one beside it, durably; its size.

        Raises OSError, and what ``chunks`` raises.
        """
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                size += len(chunk)
                yield chunk

        try:
            await write_new(self._disk, self.path, counted())
        except Exception:
            await self.leave()
            raise
        return size

    async def leave(self) -> None:
        """Drop what was prepared."""
        with contextlib.suppress(OSError):
            await self._disk.call(self._disk.remove, f"{self.path}.new")

    async def commit(self) -> None:
        """Let what was prepared be the newest one, durably. Raises OSError."""
        disk, new = self._disk, f"{self.path}.new"
        try:
            if self.is_whole:
                with contextlib.suppress(FileNotFoundError):
                    await disk.call(disk.rename, self.path, self.paths[1])
            await disk.call(disk.rename, new, self.path)
            self.is_whole = True
            await disk.call(disk.sync_directory, self._directory)
        except OSError:
            await self.leave()
            raise


def data_directory(settings: Settings, environ: Mapping[str, str]) -> str:
    """Where this server keeps its files: ``data_dir``, or the platform's place for it."""
    if settings.data_dir:
        return settings.data_dir
    base = environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    return os.path.join(base, "klinecore")
