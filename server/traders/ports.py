"""What traders need of others: somebody who keeps them, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from server.signals.model import Signal
from server.traders.model import Execution, Trader, TraderError

__all__ = ["ErrorSink", "ExecutionSink", "ToldSignals", "TraderKeeper"]


class TraderKeeper(Protocol):
    """Keeps traders beyond the life of the process; built-in ones are not its concern."""

    async def load(self) -> Sequence[Trader]:
        """All that were kept."""

    async def insert(self, trader: Trader, quota: int | None) -> None:
        """Keep a new one. Raises QuotaError: its owner has ``quota`` enabled ones already."""

    async def update(self, trader: Trader, quota: int | None) -> None:
        """Keep it as it is now. Raises QuotaError: it was enabled beyond the quota."""

    async def delete(self, trader_id: str) -> None:
        """Keep it no longer, and nothing of it."""


class ToldSignals(Protocol):
    """What lives that ended told, as it was told last."""

    async def provisional(self, market: str, limit: int) -> Sequence[Signal]:
        """A market's newest that are neither confirmed nor retracted. Raises StoreError."""


class ExecutionSink(Protocol):
    """Where the history of evaluations goes. Never waits."""

    def put(self, executions: Sequence[Execution]) -> None:
        """Take some; one per trader, interval, kline and source is kept."""


class ErrorSink(Protocol):
    """Where what is wrong with traders goes. Never waits."""

    def put(self, errors: Sequence[TraderError]) -> None:
        """Take their newest state: first and last time, and the count so far."""

    def clear(self, trader_id: str) -> None:
        """Nothing is wrong with a trader any more."""
