"""Slots by name: so many may be at something at once, and the others wait for their turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

__all__ = ["Slots"]


class Slots:
    """Names are held while somebody has or wants a slot of theirs."""

    def __init__(self) -> None:
        self._free: dict[str, asyncio.Semaphore] = {}
        self._users: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._free)

    @contextlib.asynccontextmanager
    async def of(self, name: str, most: int) -> AsyncIterator[None]:
        """One of the ``most`` slots of a name."""
        free = self._free.setdefault(name, asyncio.Semaphore(most))
        self._users[name] = self._users.get(name, 0) + 1
        try:
            async with free:
                yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._free[name]
