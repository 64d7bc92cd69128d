"""The wait after a refusal, kept on disk: a server that restarts meanwhile must not ask before.

Requests during a ban lengthen it. The file is small, written whole or not at all, and believed
only if it is sound, of the same exchange, and no longer than a wait can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import os
import zlib

import msgspec

from server.clock import Clock, wait_event
from server.disk import Disk, write_new
from server.feeds.budget import REFUSALS, WAIT_MAX_S, WeightBudget
from server.metrics import Registry

__all__ = ["WaitFile"]

log = logging.getLogger(__name__)

_MAGIC = b"KLCWAIT1"

#: A longer file is none of ours.
_SIZE_MAX = 4096

#: Seconds between attempts to write a wait that the disk has refused.
RETRY_S = 10.0

#: Seconds the disk may take when the server stops.
_LAST_S = 2.0


class _Wait(msgspec.Struct, frozen=True):
    """What is kept; times by the machine's wall clock."""

    base: str  # URL of the exchange that has refused
    status: int
    since_ms: int
    until_ms: int


class WaitFile:
    """Of one base URL. ``load`` before the first request, ``keep`` beside it, then ``stop``."""

    def __init__(
        self,
        name: str,
        budget: WeightBudget,
        *,
        directory: str,
        base: str,
        disk: Disk,
        clock: Clock,
        metrics: Registry,
    ) -> None:
        """``name`` is the market's; ``base`` the URL whose requests ``budget`` grants."""
        self._name = name
        self._budget = budget
        self._directory = directory
        self._path = os.path.join(directory, f"{name}.wait")
        self._base = base
        self._disk = disk
        self._clock = clock
        self._kept_until = 0.0  # as the budget has it: this much is on disk
        self._on_disk = False
        self._changed = asyncio.Event()
        self._errors = metrics.counter(
            "kline_rest_wait_file_errors_total",
            "Waits after refusals that could not be kept on disk or read, by reason.",
            ("market", "reason"),
        )
        budget.on_block = self._changed.set

    async def load(self) -> None:
        """Block the budget for what is left of the wait on disk, if there is one."""
        try:
            data = await self._disk.call(self._disk.read, self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._failed("cannot read", error)
            return
        wait = _decode(bytes(data[: _SIZE_MAX + 1]))
        if wait is None or wait.base != self._base:
            log.warning("%s is not used: damaged, or of another exchange", self._path)
            self._errors.inc(self._name, "ignored")
            return
        self._on_disk = True
        # Where the clock was set back, the whole wait and no more.
        left_ms = min(wait.until_ms - self._clock.time_ms(), wait.until_ms - wait.since_ms)
        if left_ms > 0:
            log.warning(
                "%s, before the last end; %.0f s left", REFUSALS[wait.status], left_ms / 1e3
            )
            self._budget.block(wait.status, left_ms / 1000)
            self._kept_until = self._budget.blocked_until

    async def keep(self) -> None:
        """Until cancelled: write each wait down as it begins or grows, remove it afterwards."""
        while True:
            self._changed.clear()
            pause_s = await self._settle()
            if pause_s < math.inf:
                await wait_event(self._changed, self._clock, pause_s)
            else:
                await self._changed.wait()

    async def stop(self) -> None:
        """Write what is not on disk yet; call it when ``keep`` has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self._settle()

    async def _settle(self) -> float:
        """Make the disk say what the budget does; seconds until it is to be looked at again."""
        left_s = self._budget.blocked_s
        until = self._budget.blocked_until
        if left_s and until != self._kept_until:
            try:
                await self._write(left_s)
            except OSError as error:
                self._failed("cannot write", error)
                return min(left_s, RETRY_S)
            self._on_disk = True
            self._kept_until = until
        elif not left_s and self._on_disk:
            self._on_disk = False
            try:
                await self._disk.call(self._disk.claim, self._directory)
                await self._disk.call(self._disk.remove, self._path)
            except OSError as error:  # it is over all the same
                self._failed("cannot remove", error)
        return left_s or math.inf

    async def _write(self, left_s: float) -> None:
        disk = self._disk
        now_ms = self._clock.time_ms()
        wait = _Wait(
            self._base, self._budget.blocked_status, now_ms, now_ms + math.ceil(left_s * 1e3)
        )
        await disk.call(disk.claim, self._directory)
        new = await write_new(disk, self._path, [_encode(wait)])
        await disk.call(disk.rename, new, self._path)
        await disk.call(disk.sync_directory, self._directory)

    def _failed(self, what: str, error: OSError) -> None:
        self._errors.inc(self._name, errno.errorcode.get(error.errno or 0, "EIO"))
        log.warning("%s %s: %s; the server goes on without", what, self._path, error)


def _encode(wait: _Wait) -> bytes:
    """One line: magic, CRC-32 of the rest, the rest as JSON."""
    body = msgspec.json.encode(wait)
    return b"%s %08x %s\n" % (_MAGIC, zlib.crc32(body), body)


def _decode(data: bytes) -> _Wait | None:
    """The wait; None if this is none that can have been written here."""
    magic, _, rest = data.partition(b" ")
    check, _, body = rest.partition(b" ")
    body = body.removesuffix(b"\n")
    if magic != _MAGIC or len(data) > _SIZE_MAX or check != b"%08x" % zlib.crc32(body):
        return None
    try:
        wait = msgspec.json.decode(body, type=_Wait)
    except msgspec.DecodeError:
        return None
    length_ms = wait.until_ms - wait.since_ms
    sound = wait.status in REFUSALS and wait.since_ms >= 0 and 0 < length_ms <= WAIT_MAX_S * 1000
    return wait if sound and data == _encode(wait) else None
