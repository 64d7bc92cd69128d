"""The end of a server's parts: side by side, and never longer than there is time for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["LEAVE_S", "end_within"]

log = logging.getLogger(__name__)

#: Seconds that one which is told to leave off has for that.
LEAVE_S = 0.1


async def end_within(limit_s: float, *parts: Coroutine[Any, Any, None]) -> None:
    """Let parts end at once; after ``limit_s`` seconds those that have not are left as they are.

    Never raises what one of them fails with: whoever comes after it still has its turn.
    """
    tasks = [
        asyncio.create_task(part, name=getattr(part, "__qualname__", "a part")) for part in parts
    ]
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=limit_s)
    for task in late:
        log.error("%s takes more than %g s: it is left", task.get_name(), limit_s)
        task.cancel()
    await asyncio.wait(tasks, timeout=LEAVE_S)
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)
