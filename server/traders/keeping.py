"""Traders of a server that has no data directory: they live as long as the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.errors import QuotaError
from server.traders.model import Trader

__all__ = ["MemoryKeeper", "Nowhere"]


class MemoryKeeper:
    """A ``TraderKeeper`` without a disk."""

    def __init__(self) -> None:
        self._traders: dict[str, Trader] = {}

    async def load(self) -> Sequence[Trader]:
        """All that were kept."""
        return tuple(self._traders.values())

    async def insert(self, trader: Trader, quota: int | None) -> None:
        """Keep a new one. Raises QuotaError."""
        self._check(trader, quota)
        self.keep(trader)

    def keep(self, trader: Trader) -> None:
        """Keep one that was kept elsewhere before."""
        self._traders[trader.id] = trader

    async def update(self, trader: Trader, quota: int | None) -> None:
        """Keep it as it is now. Raises QuotaError."""
        self._check(trader, quota)
        self._traders[trader.id] = trader

    async def delete(self, trader_id: str) -> None:
        """Keep it no longer."""
        self._traders.pop(trader_id, None)

    def _check(self, trader: Trader, quota: int | None) -> None:
        if quota is None or not trader.enabled:
            return
        others = sum(
            one.owner == trader.owner and one.enabled and one.id != trader.id
            for one in self._traders.values()
        )
        if others >= quota:
            raise QuotaError(quota)


class Nowhere:
    """A sink of whatever nobody keeps: what is told to subscribers is all there is."""

    def put(self, some: Sequence[Any]) -> None:
        """Forget them."""

    def clear(self, trader_id: str) -> None:
        """Nothing was kept."""
