"""One thread beside the event loop, for what takes longer than other requests may wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from server.api.problems import ApiError

__all__ = ["Worker"]

Read = TypeVar("Read")
Result = TypeVar("Result")


class Worker:
    """Does one piece of work after another; more than ``jobs_max`` at a time are refused.

    Work is reading, on the event loop, and computing, in the thread: only the loop's thread may
    touch a market. What is read is read when its turn has come, so one copy exists at a time.
    """

    def __init__(self, jobs_max: int) -> None:
        """The thread starts with the first piece of work."""
        self._jobs_max = jobs_max
        self._thread = ThreadPoolExecutor(1, "filters")
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        #: Pieces of work that were refused.
        self.refused = 0

    @property
    def jobs(self) -> int:
        """Pieces of work that are done or wait."""
        return len(self._tasks)

    async def run(
        self, read: Callable[[], Awaitable[Read]], compute: Callable[[Read], Result]
    ) -> Result:
        """What ``compute`` makes of what ``read`` gives; raises what they raise.

        A caller that is cancelled does not end the work: until it is done it counts.

        Raises ApiError 503: too many wait.
        """
        if self.jobs >= self._jobs_max:
            self.refused += 1
            raise ApiError(
                503,
                "busy",
                f"{self.jobs} computations are under way or wait; ask again soon.",
                headers=[(b"retry-after", b"1")],
            )
        task = asyncio.create_task(self._do(read, compute))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _do(
        self, read: Callable[[], Awaitable[Read]], compute: Callable[[Read], Result]
    ) -> Result:
        async with self._turn:
            rows = await read()
            return await asyncio.get_running_loop().run_in_executor(self._thread, compute, rows)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also if nobody waits any more
