"""What the server's process does about its memory, and knows of itself: memory, version."""

from __future__ import annotations

import ctypes
import gc
from functools import cache
from pathlib import Path

__all__ = ["bound_memory", "memory_bytes", "program_version", "settle_memory"]

# Options of glibc's mallopt, and what they are set to.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 1 << 20
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 512 << 10
_M_ARENA_MAX, _ARENAS = -8, 2


def bound_memory() -> None:
    """Before anything is allocated: give back what was freed, however large it was.

    By itself glibc keeps as much as the largest block it ever freed, 32 MiB and twice that, and has
    an arena for each thread that allocates. Elsewhere than with glibc this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)


def settle_memory() -> None:
    """What lives now lives as long as the process: later collections need not look at it again.

    What the start has left unused goes back to the machine.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def memory_bytes() -> tuple[int | None, int | None]:
    """Resident memory, and proportionally: pages shared with others in part. None: not told."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # not on Linux, or not allowed
        return None, None
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (s.partition(":") for s in lines)}
    return kilobytes["Rss"] * 1024, kilobytes["Pss"] * 1024


@cache
def program_version() -> str:
    """Of the installed package; "0" of a source tree that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("klinecore")
    except PackageNotFoundError:
        return "0"
