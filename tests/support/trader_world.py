"""A desk over one market that is fed by hand, and whatever it passes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid5

import klinecore as kc
from klinecore.interval import INTERVAL_MS, open_time_ms
from server.identity import Principal, Scope, Tier
from server.metrics import Registry
from server.settings import Settings
from server.signals.hub import Hub
from server.signals.model import Signal, SignalStatus
from server.traders.desk import open_desk
from server.traders.engine import TraderEngine
from server.traders.keeping import MemoryKeeper, Sinks
from server.traders.model import Execution, Trader, TraderError

__all__ = ["ADMIN", "START_MS", "TraderWorld", "person", "trader"]

Result = TypeVar("Result")

#: 2026-01-14 10:00:00 UTC: an hour begins.
START_MS = 1_768_384_800_000

ADMIN = Principal(owner="operator", tier=Tier.ELITE, scope=Scope.ADMIN)


def person(name: str, tier: Tier = Tier.PRO) -> Principal:
    """Somebody who may have traders."""
    return Principal(owner=name, tier=tier, scope=Scope.TRADE)


def trader(name: str = "one", **changed: Any) -> Trader:
    """A trader of ``ada``; its id depends on its name."""
    values: dict[str, Any] = {
        "id": str(uuid5(UUID(int=7), name)),
        "owner": "ada",
        "name": name,
        "filter": "close > 50",
        "interval": "1m",
        "created_ms": START_MS,
        "updated_ms": START_MS,
    }
    return Trader(**values | changed)


class ListSink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.before: list[Signal] = []  # what earlier lives told
        self.cleared: list[str] = []

    def put(self, some: Sequence[Any]) -> None:
        self.taken += some

    def clear(self, trader_id: str) -> None:
        self.cleared.append(trader_id)

    async def provisional(self, market: str, limit: int) -> Sequence[Signal]:
        newest = {one.id: one for one in self.before if one.market == market}
        return [one for one in newest.values() if one.status is SignalStatus.PROVISIONAL][-limit:]


class HandClock:
    """Time that passes when it is told to."""

    def __init__(self, time_ms: int) -> None:
        self.now_ms = time_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        await asyncio.sleep(0)


class TraderWorld:
    """Closes are pushed at the end of each minute; barriers are told as the feed tells them."""

    def __init__(
        self,
        symbols: Sequence[str] = ("AAAUSDT", "BBBUSDT"),
        intervals: Sequence[str] = ("1m", "5m"),
        *,
        keeper: MemoryKeeper | None = None,
        market: kc.Market | None = None,
        **settings: Any,
    ) -> None:
        settings = {"capacity": 50, "intervals": list(intervals)} | settings
        self.settings = Settings.load({}, overrides=settings)
        self.market = market or kc.Market(symbols, intervals, self.settings.capacity, room=4)
        self.clock = HandClock(START_MS)
        self.hub = Hub(10_000)
        self.metrics = Registry()
        self.signal_sink, self.execution_sink, self.error_sink = ListSink(), ListSink(), ListSink()
        self.desk = open_desk(
            self.settings,
            Sinks(
                keeper or MemoryKeeper(),
                self.signal_sink,
                self.execution_sink,
                self.error_sink,
                self.signal_sink,
            ),
            hub=self.hub,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.wait(self.desk.load())

    @property
    def signals(self) -> list[Signal]:
        """All that went to the sink."""
        return self.signal_sink.taken

    @property
    def executions(self) -> list[Execution]:
        return self.execution_sink.taken

    @property
    def errors(self) -> list[TraderError]:
        return self.error_sink.taken

    def wait(self, work: Awaitable[Result]) -> Result:
        async def done() -> Result:
            return await work

        return asyncio.run(done())

    def engine(self, **limits: int) -> TraderEngine:
        """One that is not attached yet."""
        values = {"state_bytes_max": 1 << 26, "traders_max": 100} | limits
        return TraderEngine("spot", self.market, **values)

    def attach(self, engine: TraderEngine | None = None) -> TraderEngine:
        """The market is up."""
        engine = self.engine() if engine is None else engine
        self.wait(self.desk.attach(engine))
        return engine

    def push(
        self, symbol: str, price: str, open_ms: int, interval: str = "1m", *, closed: bool = True
    ) -> None:
        """One row, which nobody is told of before ``drain``."""
        length = INTERVAL_MS[interval]
        self.market.push(
            symbol,
            interval,
            kc.Kline(
                open_ms, price, price, price, price, "5", open_ms + length - 1, "500", 10, "2",
                "250", closed,
            ),
        )  # fmt: skip

    def drain(self) -> None:
        self.desk.pump("spot", self.market.drain())
        while self.desk.settle("spot"):
            pass

    def close(self, *, barrier: bool = True, late_ms: int = 0, **prices: str) -> None:
        """A minute ends: these symbols close at these prices, in every interval that ends.

        ``late_ms`` after the boundary it is told.
        """
        now_ms = self.clock.now_ms = open_time_ms("1m", self.clock.now_ms) + 60_000
        ended = [
            (interval, open_time_ms(interval, now_ms - 1))
            for interval in self.market.intervals
            if open_time_ms(interval, now_ms) == now_ms
        ]
        for interval, open_ms in ended:
            self.market.begin_barrier(interval, open_ms)
            for symbol, price in prices.items():
                self.push(f"{symbol}USDT", price, open_ms, interval)
        self.clock.now_ms += late_ms
        self.drain()
        if barrier:
            for interval, _ in ended:
                self.market.end_barrier(interval)
            self.drain()
