"""A simulated exchange in real time whose streams all speak as often as they may.

SYMBOLS NOTES [spread]

Every symbol is traded once a second, so that no update is left out as no news. All speak at one
moment, as the simulated exchange does; with ``spread`` each symbol at one of its own within the
period, which is what costs a receiver most. What was sent is noted each second, and when each close
was.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from server.clock import SystemClock
from server.exchange.app import Exchange
from server.exchange.generated import GeneratedMarket
from server.exchange.minutes import Minutes
from server.exchange.publisher import SPEEDS, Publisher, Speeds

DAY_MS, SECONDS, MINUTES = 86_400_000, 86_400, 1440
TICK_S = 0.001
NEVER = Speeds(kline=0, ticker=0, array=0, book=0)
SPOKEN = SPEEDS["spot"]


class BusyMarket(GeneratedMarket):
    """Each symbol is traded once in each second from today on; what was before is made quickly."""

    def __init__(self, seed: int, symbols: Sequence[str], today: int) -> None:
        super().__init__(seed, symbols)
        self._today = today
        self._days: dict[tuple[str, int], Minutes] = {}
        for symbol in symbols:
            self._day(symbol, today)

    def _draw(self, kind: Any, day: int) -> Any:
        name = kind.symbol.name
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode()), day, 2])
        walk = self._walk(kind, day, SECONDS, rng)
        calm = super()._draw(kind, day)
        return calm._replace(
            time_ms=np.arange(SECONDS) * 1000 + phase(name, 1000) + day * DAY_MS,
            price=walk,
            quantity=np.resize(calm.quantity, SECONDS),
            taker_buys=rng.random(SECONDS) < 0.5,
        )

    def _walk(self, kind: Any, day: int, steps: int, rng: np.random.Generator) -> Any:
        """Prices from the day's opening to the next one's."""
        walk = np.cumsum(rng.standard_normal(steps))
        share = np.arange(1, steps + 1) / steps
        bridge = (walk - share * walk[-1]) / np.sqrt(steps)
        start, end = self._anchor(kind, day), self._anchor(kind, day + 1)
        path = start * (end / start) ** share * np.exp(0.7 * kind.volatility * bridge)
        return np.maximum(np.rint(path * 10**kind.symbol.price_decimals).astype(np.int64), 1)

    def _day(self, symbol: str, day: int) -> Minutes:
        minutes = self._days.get((symbol, day))
        if minutes is None:
            kind = self._kinds[symbol]
            if day < self._today:
                minutes = self._history(kind, day)
            else:
                minutes = self._sum(symbol, day, self._trades(symbol, day), MINUTES)
            if day >= self._today - 1:  # tickers read these over and over
                self._days[symbol, day] = minutes
        return minutes

    def _history(self, kind: Any, day: int) -> Minutes:
        rng = np.random.default_rng([self.seed, zlib.crc32(kind.symbol.name.encode()), day, 3])
        ends = self._walk(kind, day, MINUTES, rng)
        opens = np.concatenate((ends[:1], ends[:-1]))
        trades = np.full(MINUTES, 60)
        steps = 60 * kind.quantity * 10**kind.symbol.volume_decimals
        volume = 2 + np.rint(steps * rng.exponential(1.0, MINUTES)).astype(np.int64)
        ids = day * 1_000_000 + 60 * np.arange(MINUTES)
        return Minutes(
            np.arange(MINUTES) * 60_000 + day * DAY_MS,
            opens, np.maximum(opens, ends), np.minimum(opens, ends), ends,
            volume, volume * ends, trades, volume // 2, volume // 2 * ends, ids, ids + 59,
        )  # fmt: skip


def phase(symbol: str, period_ms: int) -> int:
    return zlib.crc32(symbol.encode()) % period_ms


class SpreadPublisher(Publisher):
    """Each symbol has a moment of its own within the period of its klines, and of its ticker."""

    def publish(self, now_ms: int, speeds: Speeds) -> None:
        earlier_ms = self.published_ms
        super().publish(now_ms, NEVER)
        every = self._names
        klines = due(every, "kline", earlier_ms, now_ms, speeds.kline)
        tickers = due(every, "ticker", earlier_ms, now_ms, speeds.ticker)
        try:
            self._names = klines
            self._publish_forming(now_ms)
            self._names = tickers
            self._publish_tickers(now_ms, single=True, array=False, book=False)
        finally:
            self._names = every


def due(names: dict[str, Any], kind: str, earlier: int, now: int, period: int) -> dict[str, Any]:
    """The symbols whose moment lies in ``(earlier, now]``."""
    found = {}
    for symbol, streams in names.items():
        shift = phase(symbol + kind, period)
        if (earlier - shift) // period != (now - shift) // period:
            found[symbol] = streams
    return found


class NotingExchange(Exchange):
    """Notes what it sends; looks at its clock each millisecond."""

    def __init__(self, source: GeneratedMarket, notes: Path, *, spread: bool) -> None:
        super().__init__(source, SystemClock(), weight_limit=10_000_000, speeds=SPOKEN)
        if spread:
            self.publisher = SpreadPublisher(self.book, self.streams, self.faults)
        self._notes = notes
        self._sent: Counter[str] = Counter()
        self._closes: list[tuple[str, int, int]] = []
        self._publish = self.streams.publish
        self.streams.publish = self._noted  # type: ignore[method-assign]

    def _noted(self, stream: str, frame: bytes, *, closing: bool = False) -> None:
        self._publish(stream, frame, closing=closing)
        kind = stream.partition("@")[2]
        self._sent[f"{kind} close" if closing else kind] += 1
        self._sent["bytes"] += len(frame)
        if closing:
            self._closes.append((stream, self.now_ms // 60_000 * 60_000, time.monotonic_ns()))

    async def _run(self) -> None:
        written_s = 0
        while True:
            self.publisher.publish(self.now_ms, self._speeds)
            if (now_s := int(time.monotonic())) != written_s:
                written_s = now_s
                self._write()
            wait_ms = self.publisher.next_due_ms(self._speeds) - self.clock.time_ms()
            spread = isinstance(self.publisher, SpreadPublisher)
            await self.clock.sleep(TICK_S if spread else max(wait_ms / 1000, TICK_S))

    def _write(self) -> None:
        line = {"at_ns": time.monotonic_ns(), "sent": self._sent, "closes": self._closes}
        with self._notes.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._sent.clear()
        self._closes.clear()


async def main(symbols: int, notes: Path, *, spread: bool) -> None:
    names = [f"COIN{number}USDT" for number in range(symbols)]
    today = SystemClock().time_ms() // DAY_MS
    exchange = NotingExchange(BusyMarket(7, names, today), notes, spread=spread)
    await exchange.start("127.0.0.1", 0)
    print(json.dumps([exchange.rest_url, exchange.ws_url]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), spread=sys.argv[3:] == ["spread"]))
