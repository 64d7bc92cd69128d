"""What happened in a simulation, in order: a hash of all of it and the last lines as text."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque

__all__ = ["Trace"]

#: Lines kept for a report.
LINES_KEPT = 400


class Trace:
    """Lines of virtual time, kind and facts. Two runs of one seed must write the same."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._hash = hashlib.sha256()
        self._pending: list[str] = []
        self.count = 0
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.everything: list[str] | None = None  # a list, to keep every line

    def note(self, kind: str, *facts: object) -> None:
        """Facts must not depend on addresses in memory, hash seeds or real time."""
        line = f"{self._loop.time():.6f} {kind} {' '.join(map(str, facts))}"
        self.count += 1
        self.lines.append(line)
        self._pending.append(line)
        if self.everything is not None:
            self.everything.append(line)
        if len(self._pending) >= 1000:
            self._settle()

    def hexdigest(self) -> str:
        """SHA-256 of every line so far."""
        self._settle()
        return self._hash.hexdigest()

    def _settle(self) -> None:
        self._hash.update("\n".join(self._pending).encode())
        self._pending.clear()
