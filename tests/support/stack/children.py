"""Programs of the stack as child processes: started, awaited, and ended by their recorded pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: Real seconds a program may take to answer, or to end, on a slow machine.
PATIENCE_S = 60.0


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens on a port of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """One program, its output in a file."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        user: str | None = None,
        folder: Path | None = None,
    ) -> None:
        self.log = log
        self.name = Path(command[0]).name
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(environment),
                cwd=folder,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Return once it is ready; RuntimeError with its output if it ends or takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                end = "is not ready" if ended is None else f"ended with {ended}"
                self.stop()
                raise RuntimeError(f"{self.name} {end}:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it without asking."""
        self.stop(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait until it is gone."""
        if self._process.poll() is not None:
            return
        os.kill(self._process.pid, how)
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
