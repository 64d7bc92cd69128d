"""What a worker process does about the machine: its terminal and its memory."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys

__all__ = ["leave_terminal", "settle_memory"]

_PR_SET_PDEATHSIG = 1


def settle_memory() -> None:
    """What lives now lives as long as the process: later collections need not look at it again."""
    gc.collect()
    gc.freeze()


def leave_terminal() -> None:
    """In the worker: Ctrl-C goes to the parent, which asks us to end; if it dies, so do we."""
    if multiprocessing.parent_process() is None:
        return
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
