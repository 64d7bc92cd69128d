"""An event loop whose time is made up: it jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from simulation.network import Network

__all__ = ["OWNER", "StuckError", "VirtualLoop", "run"]

T = TypeVar("T")

#: What an executor's work takes, s: it is done at once and told after so long.
EXECUTOR_S = 0.001


#: Whose tasks those are that are made from here on, and by them in turn: what a kill ends.
OWNER: contextvars.ContextVar[str] = contextvars.ContextVar("owner", default="")


class StuckError(RuntimeError):
    """Nothing is scheduled and nothing is ready: in real time this would hang for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in order of their virtual time; connections go through ``network``."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(self)
        self._now_s = 0.0
        self._selector = self  # BaseEventLoop asks it how long to wait
        self._clock_resolution = 1e-9
        #: Unfinished tasks of each owner, in the order of their start; see ``OWNER``.
        self.owned: dict[str, dict[asyncio.Task[Any], None]] = {}
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    def select(self, timeout: float | None) -> list[Any]:
        """Jump to the next timer. Raises StuckError: there is none."""
        if timeout is None:
            raise StuckError("nothing left to happen")
        if timeout > 0:
            # Not now + timeout: that would miss the timer by a rounding error.
            self._now_s = self._scheduled[0]._when
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """Nobody else's thread wakes this loop."""

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], Any], host: str, port: int, **options: Any
    ) -> tuple[Any, Any]:
        """Raises OSError: refused or unreachable, as the network has it at the moment."""
        return await self.network.connect(factory, host, port)

    async def create_server(  # type: ignore[override]
        self, factory: Callable[[], Any], host: str, port: int = 0, **options: Any
    ) -> Any:
        """Accept connections to ``host`` and ``port`` (0: a free one) from now on."""
        return self.network.listen(factory, host, port)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do it now, in this thread, and tell a little later."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            self.call_later(EXECUTOR_S, _fail, future, error)
        else:
            self.call_later(EXECUTOR_S, _finish, future, result)
        return future


def _make_task(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    owner = OWNER.get()
    if owner:
        tasks = loop.owned.setdefault(owner, {})
        tasks[task] = None
        task.add_done_callback(lambda done: tasks.pop(done, None))
    return task


def _finish(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in a loop of its own, from virtual time 0 to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
