"""A market with a live engine beside it, fed minute by minute."""

from __future__ import annotations

from klinecore import Kline, Market
from klinecore.filters import Engine, Firing
from klinecore.interval import next_open_ms, open_time_ms

MINUTE = 60_000
START = 1_700_000_100_000 // 300_000 * 300_000
HIGH, LOW = 110.0, 90.0
ABOVE = "close > 100"


def kline(interval: str, time: int, price: float, *, trades: int = 1, closed: bool = True) -> Kline:
    text = f"{price:.2f}"
    end = next_open_ms(interval, time) - 1
    return Kline(time, text, text, text, text, "1.0", end, "1.0", trades, "1.0", "1.0", closed)


class Desk:
    """A market with an engine, fed by minutes since the start."""

    def __init__(self, *intervals: str, symbols: str = "A", capacity: int = 50) -> None:
        self.market = Market(list(symbols), intervals or ("1m",), capacity, room=1)
        self.engine = Engine(self.market)

    def close(
        self, minute: int, price: float, *, symbol: str = "A", interval: str = "1m", trades: int = 1
    ) -> None:
        time = open_time_ms(interval, START + minute * MINUTE)
        self.market.push(symbol, interval, kline(interval, time, price, trades=trades))

    def pump(self) -> list[Firing]:
        return self.engine.pump(self.market.drain())

    def minutes(self, firings: list[Firing]) -> list[tuple[int, bool, bool]]:
        """Of each firing: minute, revision, retracted."""
        return [
            ((one.open_time_ms - START) // MINUTE, one.revision, one.retracted) for one in firings
        ]

    def run(self, *prices: float, first: int = 0) -> list[int]:
        """Close minute after minute; those that fired."""
        fired = []
        for minute, price in enumerate(prices, first):
            self.close(minute, price)
            fired += [minute for minute, _, _ in self.minutes(self.pump())]
        return fired
