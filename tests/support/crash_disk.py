"""A disk in memory that fails or loses power at a given step, and forgets what was never synced."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from typing import Any

#: What a device writes at once: content that was never synced is lost or kept by such blocks.
BLOCK = 512


class PowerLossError(BaseException):
    """Nothing of the program runs any more; no handler of OSError must see it."""


class Inode:
    """A file's content: what was written, and what of it is on the platter for sure."""

    def __init__(self) -> None:
        self.written = b""
        self.synced: bytes | None = None

    def after_loss(self, noise: random.Random) -> bytes:
        """One of the contents a file can have after a loss of power."""
        if self.written == self.synced:
            return self.synced
        kept = self.synced or b""
        fate = noise.choice(("nothing", "all", "prefix", "blocks", "length"))
        if fate == "nothing":
            return kept
        if fate == "all":
            return self.written
        if fate == "prefix":
            return self.written[: noise.randint(len(kept), len(self.written))]
        if fate == "length":  # the size reached the platter, the rest of the content did not
            return kept + bytes(len(self.written) - len(kept))
        result = bytearray(kept + bytes(len(self.written) - len(kept)))
        for start in range(len(kept), len(self.written), BLOCK):
            if noise.random() < 0.5:
                result[start : start + BLOCK] = self.written[start : start + BLOCK]
        return bytes(result)


#: One change of the directory: names taken away, and names that now lead to an inode.
Change = tuple[list[tuple[str, Inode]], list[tuple[str, Inode]]]


class CrashDisk:
    """One directory. ``steps`` counts what was asked of it; ``fail_at`` says what goes wrong when.

    The file interface is ``server.disk.Disk``.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.entries: dict[str, Inode] = {}
        self.synced: dict[str, Inode] = {}
        self.changes: list[Change] = []
        self.steps: list[str] = []
        self.fail_at: dict[int, BaseException] = {}
        self.before_step: Callable[[], None] = lambda: None
        for path, content in (files or {}).items():
            inode = self.entries[path] = self.synced[path] = Inode()
            inode.written = inode.synced = content

    def _step(self, name: str) -> None:
        self.before_step()
        number = len(self.steps)
        self.steps.append(name)
        if number in self.fail_at:
            raise self.fail_at[number]

    def _find(self, path: str) -> Inode:
        if path not in self.entries:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.entries[path]

    def _change(self, gone: list[tuple[str, Inode]], new: list[tuple[str, Inode]]) -> None:
        self.changes.append((gone, new))
        _apply(self.entries, (gone, new))

    def claim(self, directory: str) -> None:
        self._step("claim")

    def read(self, path: str) -> bytes:
        self._step("read")
        return self._find(path).written

    def create(self, path: str) -> CrashFile:
        self._step("create")
        if path in self.entries:
            self._change([(path, self.entries[path])], [])
        inode = Inode()
        self._change([], [(path, inode)])
        return CrashFile(self, inode)

    def rename(self, source: str, target: str) -> None:
        self._step("rename")
        inode = self._find(source)
        self._change([(source, inode)], [(target, inode)])

    def remove(self, path: str) -> None:
        self._step("remove")
        self._change([(path, self._find(path))], [])

    def sync_directory(self, directory: str) -> None:
        self._step("sync_directory")
        self.synced = dict(self.entries)
        self.changes.clear()

    def sizes(self, directory: str) -> dict[str, int]:
        self._step("sizes")
        names = ((path.rpartition("/"), inode) for path, inode in self.entries.items())
        return {name[2]: len(inode.written) for name, inode in names if name[0] == directory}

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def copy(self) -> CrashDisk:
        """What a program sees that looks now."""
        return CrashDisk({path: inode.written for path, inode in self.entries.items()})

    def after_loss(self, noise: random.Random) -> CrashDisk:
        """One of the disks a loss of power can leave: changes since the last sync of the
        directory, each kept or not, in any combination."""
        entries = dict(self.synced)
        for change in self.changes:
            if noise.random() < 0.5:
                _apply(entries, change)
        return CrashDisk({path: inode.after_loss(noise) for path, inode in entries.items()})


class CrashFile:
    def __init__(self, disk: CrashDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def write(self, data: bytes) -> None:
        self._disk._step("write")
        self._inode.written += data

    def sync(self) -> None:
        self._disk._step("sync")
        self._inode.synced = self._inode.written

    def close(self) -> None:
        self._disk._step("close")


def _apply(entries: dict[str, Inode], change: Change) -> None:
    for path, inode in change[0]:
        if entries.get(path) is inode:
            del entries[path]
    entries.update(change[1])
