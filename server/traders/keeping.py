"""Where traders and what they tell are kept; without a data directory as long as the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from server.errors import QuotaError
from server.signals.model import Signal
from server.signals.topics import SignalSink
from server.traders.model import Trader
from server.traders.ports import ErrorSink, ExecutionSink, ToldSignals, TraderKeeper

__all__ = ["MemoryKeeper", "Nowhere", "Sinks"]


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

    async def provisional(self, market: str, limit: int) -> Sequence[Signal]:
        """Nothing was."""
        return ()


class Sinks(NamedTuple):
    """Where things go that outlast the process, and come from; without a store nowhere."""

    keeper: TraderKeeper
    signals: SignalSink
    executions: ExecutionSink
    errors: ErrorSink
    told: ToldSignals

    @classmethod
    def memory(cls) -> Sinks:
        """Of a server that keeps nothing."""
        return cls(MemoryKeeper(), Nowhere(), Nowhere(), Nowhere(), Nowhere())
