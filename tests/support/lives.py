"""Processes that are forked to be killed, and what each tells of itself until then.

A fork of a process whose modules are loaded takes a millisecond, a start a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Life", "Tell", "WRONG", "end_lives", "first_round_s", "tell_wrong"]

#: ``tell(letter, number)``: which step begins, or what is done.
Tell = Callable[[str, int], None]

#: The letter of a life that has found something that must not be.
WRONG = "W"
_SAID = 9  # bytes: a letter and eight digits


class Life:
    """A process that does ``work(tell)`` until it is killed."""

    def __init__(self, work: Callable[[Tell], Coroutine[None, None, None]]) -> None:
        self._reader, pipe = os.pipe()
        self._heard = b""
        self._child = os.fork()
        if self._child == 0:
            os.close(self._reader)
            try:
                asyncio.run(work(lambda letter, number: _write(pipe, letter, number)))
            finally:
                os._exit(0)
        os.close(pipe)

    def wait_for(self, letter: str) -> None:
        """Until it says that, or ends."""
        while letter.encode() not in self._heard and (piece := os.read(self._reader, 65536)):
            self._heard += piece

    def kill(self) -> list[tuple[str, int]]:
        """End it; all it has told."""
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        while piece := os.read(self._reader, 65536):
            self._heard += piece
        os.close(self._reader)
        heard = self._heard.decode()
        return [
            (heard[place], int(heard[place + 1 : place + _SAID]))
            for place in range(0, len(heard), _SAID)
        ]


def _write(pipe: int, letter: str, number: int) -> None:
    os.write(pipe, f"{letter}{number:08d}".encode())


def tell_wrong(tell: Tell, faults: Sequence[str]) -> None:
    """To whoever kills, and the first of them to whoever reads its errors."""
    sys.stderr.write("\n".join(faults[:5]) + "\n")
    tell(WRONG, 0)


def first_round_s(
    work: Callable[[Tell], Coroutine[None, None, None]], done: str
) -> tuple[float, list[tuple[str, int]]]:
    """Seconds a life needs until it says ``done``, on this machine as busy as it is."""
    started = time.monotonic()
    life = Life(work)
    life.wait_for(done)
    passed = time.monotonic() - started
    return passed, life.kill()


def end_lives(script: str, folder: Path, *numbers: int) -> dict[str, Any]:
    """What a script beside this one says that forks and kills them; none found a thing wrong."""
    support = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(support / script), str(folder), *map(str, numbers)],
        env={**os.environ, "PYTHONPATH": str(support)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["wrong"] == [], done.stderr[-2000:]
    return result
