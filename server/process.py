"""What the server's process does about the machine and knows of itself: memory, version."""

from __future__ import annotations

import gc
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["memory_bytes", "program_version", "settle_memory"]


def settle_memory() -> None:
    """What lives now lives as long as the process: later collections need not look at it again."""
    gc.collect()
    gc.freeze()


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
    try:
        return version("klinecore")
    except PackageNotFoundError:
        return "0"
