"""Child processes of ``demo`` and ``replay``: started, watched, and gone when their parent is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import msgspec

from server.errors import ServerError

__all__ = ["Announcement", "Child", "Interrupted", "end_with_parent", "raise_on_signal"]

#: Seconds a child has to end after it was asked to; killed then.
STOP_S = 15.0

#: Lines of a child's output kept until they are asked for.
_LINES_MAX = 1000

#: Runs the command line of this very package. ``-m server`` would run whatever is called so in the
#: working directory, and that is a common name.
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from server.cli import main; main(prog_name='klineserver')"
)
_ROOT = str(Path(__file__).parents[2])

_PR_SET_PDEATHSIG = 1
_PARENT_VARIABLE = "KLINESERVER_PARENT"


class Interrupted(Exception):  # noqa: N818 - it is a wish, not a fault
    """The operator wants the command to end."""


def raise_on_signal() -> None:
    """Make SIGINT and SIGTERM raise ``Interrupted`` in the main thread; a second one is ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Interrupted

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


class Announcement(msgspec.Struct):
    """What a simulated exchange says when it listens: one line of JSON."""

    rest: str
    ws: str
    port: int
    market: str
    symbols: list[str]
    first_ms: int  # where its data begins
    start_ms: int  # where its time begins
    end_ms: int | None  # where its data ends
    environment: dict[str, str]  # what processes need that live in its time


class Child:
    """One ``klineserver`` command in a process of its own, which talks in JSON lines.

    It gets no Ctrl-C of the terminal: its parent tells it to end, in the right order. On Linux it
    ends with its parent even if that one is killed.
    """

    def __init__(
        self, arguments: list[str], environment: Mapping[str, str], *, talks: bool = False
    ) -> None:
        """``talks``: its standard output is JSON lines for ``read``, its input takes ``write``."""
        self.arguments = arguments
        self._lines: deque[dict[str, Any]] = deque(maxlen=_LINES_MAX)
        self._silent = False  # it closed its output: it ended, or is about to
        self._changed = threading.Condition()
        pipe = subprocess.PIPE if talks else None
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, _ROOT, *arguments],
            env={**environment, _PARENT_VARIABLE: str(os.getpid())},
            stdin=pipe if talks else subprocess.DEVNULL,
            stdout=pipe,
            start_new_session=True,
        )
        if talks:
            threading.Thread(target=self._collect, daemon=True).start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit status as soon as it has one; None if it still runs after so long."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def read(self, timeout_s: float) -> dict[str, Any]:
        """Its next line. Raises ServerError: it ended, or said nothing for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._silent, timeout_s)
            if self._lines:
                return self._lines.popleft()
        name = self.arguments[0]
        if self._silent:
            raise ServerError(f"{name} ended with status {self.wait(STOP_S)}")
        raise ServerError(f"{name} said nothing for {timeout_s:g} s")

    def write(self, line: str) -> None:
        """Tell it something."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """End it: asked first, killed after a while."""
        if self.status is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _collect(self) -> None:
        output = self._process.stdout
        assert output is not None
        with contextlib.suppress(ValueError, OSError):  # closed while reading: it was stopped
            for line in output:
                with contextlib.suppress(msgspec.DecodeError), self._changed:
                    self._lines.append(msgspec.json.decode(line, type=dict[str, Any]))
                    self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()


def end_with_parent() -> None:
    """In a child: end when the process that started it is gone, however it went."""
    parent = os.environ.pop(_PARENT_VARIABLE, None)
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it went away before we could ask to be told
        sys.exit(1)
