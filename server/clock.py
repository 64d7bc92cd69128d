"""The only reader of time; everything else is given a ``Clock``.

``time_ms`` is wall time and may step; timeouts use ``monotonic``, which may not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from server.errors import SettingsError

__all__ = [
    "PACE_VARIABLE",
    "Clock",
    "ScaledClock",
    "SystemClock",
    "pace_text",
    "read_pace",
    "wait_event",
]

#: Environment variable by which a simulation tells its processes how fast its time runs:
#: ``<simulated ms>:<real ms of the same moment>:<rate>``. Not a setting: only ``demo`` and
#: ``replay`` write it.
PACE_VARIABLE = "KLINESERVER_PACE"


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

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call ``callback`` after that many of this clock's seconds, in the running loop."""
        ...


class SystemClock:
    """The machine's clock."""

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)


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

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        real_s = max(seconds, 0.0) / self.rate
        return asyncio.get_running_loop().call_later(real_s, callback)


async def wait_event(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Return when ``event`` is set or ``seconds`` have passed; True if it is set."""
    if event.is_set():
        return True
    # One future and one timer. Everything waits so once a second, and a simulation of a day does
    # little else: two tasks for each wait, or a cancellation, cost several times as much.
    waiter = asyncio.get_running_loop().create_future()

    def expire() -> None:
        if not waiter.done():
            waiter.set_result(False)

    timer = clock.call_later(seconds, expire)
    event._waiters.append(waiter)  # as Event.wait does itself
    try:
        await waiter
    finally:
        timer.cancel()
        event._waiters.remove(waiter)
    return event.is_set()


def pace_text(simulated_ms: int, rate: float, clock: Clock) -> str:
    """The value of ``PACE_VARIABLE`` for a simulation that is at ``simulated_ms`` now."""
    return f"{simulated_ms}:{clock.time_ms()}:{rate!r}"


def read_pace(text: str, clock: Clock) -> ScaledClock:
    """The simulation's clock, the same in every process that was given ``text``.

    Raises SettingsError: not such a text.
    """
    try:
        simulated_ms, real_ms, rate = text.split(":")
        passed_ms = clock.time_ms() - int(real_ms)
        return ScaledClock(int(simulated_ms) + int(passed_ms * float(rate)), float(rate))
    except ValueError:
        raise SettingsError(f"{PACE_VARIABLE} is malformed: {text[:60]!r}") from None
