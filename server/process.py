"""What a worker process does about the machine and knows of itself: terminal, memory, version."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["leave_terminal", "memory_bytes", "program_version", "settle_memory"]

_PR_SET_PDEATHSIG = 1


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


def program_version() -> str:
    """Of the installed package; "0" of a source tree that was never installed."""
    try:
        return version("klinecore")
    except PackageNotFoundError:
        return "0"


def leave_terminal() -> None:
    """In the worker: Ctrl-C goes to the parent, which asks us to end; if it dies, so do we."""
    if multiprocessing.parent_process() is None:
        return
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
