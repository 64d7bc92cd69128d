"""A market of rows that follow from their open times, and its snapshots on some disk."""

from __future__ import annotations

import asyncio
from typing import Any

from reference.strategies import START_MS, plain_kline

import klinecore as kc
from server.clock import Clock, ScaledClock
from server.disk import Disk
from server.metrics import Registry
from server.snapshots import SnapshotStore

MINUTE = 60_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
PATH = "data/spot.snapshot"


class World:
    """A market of rows that follow from their open times, and its snapshots on some disk."""

    def __init__(self, disk: Disk, *, clock: Clock | None = None, **options: Any) -> None:
        self.market = kc.Market(SYMBOLS, ["1m"], 20)
        self.metrics = Registry()
        values: dict[str, Any] = {"directory": "data", "source": "a", "interval_s": 60.0}
        self.store = SnapshotStore(
            "spot",
            self.market,
            disk=disk,
            clock=clock or ScaledClock(START_MS + 100 * MINUTE),
            metrics=self.metrics,
            **values | options,
        )

    def rows(self) -> int:
        """Minutes whose klines all symbols hold: the newest one's number."""
        times = [int(series.open_time_ms[-1]) if len(series) else -MINUTE for series in self.market]
        return (min(times) - START_MS) // MINUTE + 1 if min(times) > 0 else 0

    def apply(self, count: int = 1) -> None:
        """The next minutes' rows, for every symbol."""
        for minute in range(self.rows(), self.rows() + count):
            for symbol in SYMBOLS:
                self.market.push(symbol, "1m", plain_kline(START_MS + minute * MINUTE))

    def check(self) -> int:
        """Every row is as it was made, and none is missing; returns ``rows``."""
        for series in self.market:
            times = series.open_time_ms.tolist()
            assert times == list(range(times[0], times[-1] + 1, MINUTE)) if times else True
            assert series.klines() == [plain_kline(open_ms) for open_ms in times]
        return self.rows()

    def metric(self, name: str) -> float:
        for line in self.metrics.render().decode().splitlines():
            if line.startswith(f"kline_snapshot_{name}{{"):
                return float(line.rpartition(" ")[2])
        return 0.0


def run(scenario: Any) -> Any:
    return asyncio.run(scenario)


def restarted(disk: Disk) -> World:
    world = World(disk)
    run(world.store.load())
    return world
