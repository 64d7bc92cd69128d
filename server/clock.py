"""The only reader of time; everything else is given a ``Clock``.

``time_ms`` is wall time and may step; timeouts use ``monotonic``, which may not.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "ScaledClock", "SystemClock", "wait_event"]


class Clock(Protocol):
    """Wall time, monotonic time and waiting, from one source."""

    def time_ms(self) -> int:
        """Wall time, ms since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many of this clock's seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ScaledClock:
    """Starts at ``start_ms`` and runs ``rate`` times as fast as real time.

    Raises ValueError: ``rate`` not above 0.
    """

    def __init__(self, start_ms: int, rate: float = 1.0) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be above 0, not {rate}")
        self.rate = rate
        self._start_ms = start_ms
        self._origin = time.monotonic()

    def time_ms(self) -> int:
        return self._start_ms + int(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return (time.monotonic() - self._origin) * self.rate

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0) / self.rate)


async def wait_event(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Return when ``event`` is set or ``seconds`` have passed; True if it is set."""
    if event.is_set():
        return True
    waiter = asyncio.ensure_future(event.wait())
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({waiter, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        timer.cancel()
    return event.is_set()
