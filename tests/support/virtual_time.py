"""A loop whose time jumps to the next timer, and a clock on it whose wall time can be set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualClock", "run"]

T = TypeVar("T")


class _Loop(asyncio.BaseEventLoop):
    """Needs no sockets: nothing but timers and what they wake."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector = self
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._now_s

    def select(self, timeout: float | None) -> list[Any]:
        assert timeout is not None, "nothing left to happen"
        if timeout > 0:
            self._now_s = self._scheduled[0]._when
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        return None

    def _write_to_self(self) -> None:
        return None


class VirtualClock:
    """Wall time is ``start_ms`` plus the loop's time plus ``skew_ms``; monotonic is the loop's."""

    def __init__(self, start_ms: int = 0) -> None:
        self.start_ms = start_ms
        self.skew_ms = 0
        self._loop = asyncio.get_running_loop()

    def time_ms(self) -> int:
        return self.true_ms() + self.skew_ms

    def true_ms(self) -> int:
        """What an exchange whose clock is right would say."""
        return self.start_ms + int(self._loop.time() * 1000 + 1e-4)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return self._loop.call_later(max(seconds, 0.0), callback)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in virtual time, to its end."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)
