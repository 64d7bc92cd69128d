"""The clock of a simulated machine: the loop's time, and a wall clock that can be wrong."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

__all__ = ["SimulatedClock"]


class SimulatedClock:
    """Wall time is ``start_ms`` plus the loop's time plus ``skew_ms``, which may be set and drift.

    Monotonic time is the loop's: nothing moves it but the loop.
    """

    def __init__(self, start_ms: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._start_ms = start_ms
        self._loop = loop or asyncio.get_running_loop()
        self._skew_ms = 0.0
        self._drift = 0.0  # ms a second
        self._since_s = self._loop.time()

    def time_ms(self) -> int:
        now_s = self._loop.time()
        skew_ms = self._skew_ms + self._drift * (now_s - self._since_s)
        # A timer for a whole millisecond may come an ulp early.
        return self._start_ms + math.floor(now_s * 1000 + skew_ms + 1e-4)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return self._loop.call_later(max(seconds, 0.0), callback)

    @property
    def skew_ms(self) -> float:
        """How far the wall clock is ahead at the moment."""
        return self._skew_ms + self._drift * (self._loop.time() - self._since_s)

    def step(self, milliseconds: float) -> None:
        """Set the wall clock forward, or back."""
        self._settle(self.skew_ms + milliseconds, self._drift)

    def slew(self, ms_per_s: float) -> None:
        """Let the wall clock run faster or slower from now on; 0 ends it."""
        self._settle(self.skew_ms, ms_per_s)

    def mend(self) -> None:
        """Right again."""
        self._settle(0.0, 0.0)

    def _settle(self, skew_ms: float, drift: float) -> None:
        self._skew_ms, self._drift, self._since_s = skew_ms, drift, self._loop.time()
