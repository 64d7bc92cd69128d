"""An exchange's klines made up on demand, and the parts of a feed around it, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from simulation.clock import SimulatedClock

from klinecore import Market
from klinecore.interval import close_time_ms, next_open_ms, open_time_ms
from klinecore.market import Event
from server.feeds.answers import Answers
from server.feeds.backfill import Backfill
from server.feeds.binance import VENUES, Api
from server.feeds.budget import WeightBudget
from server.feeds.closes import Closes
from server.feeds.rest import RestResponse
from server.feeds.venue_time import VenueTime
from server.settings import Settings

__all__ = ["MINUTE_MS", "START_MS", "Bench", "Shelf", "at", "frame"]

MINUTE_MS = 60_000
START_MS = 1_768_384_800_000  # 2026-01-14 10:00:00 UTC

Key = tuple[str, str]


def at(minute: float) -> int:
    """So many minutes after START_MS."""
    return START_MS + round(minute * MINUTE_MS)


def row(interval: str, open_ms: int, trades: int) -> list[Any]:
    return [
        open_ms, "1.0", "2.0", "0.5", "1.5", f"{trades}.0", close_time_ms(interval, open_ms),
        "15.0", trades, "5.0", "7.5", "0",
    ]  # fmt: skip


def frame(
    key: Key, open_ms: int, event_ms: int, *, closed: bool, trades: int | None = None
) -> bytes:
    """A kline frame of the stream that agrees with the shelf."""
    trades = (5 if closed else 1) if trades is None else trades
    t, o, h, low, c, v, close_ms, q, n, tb, tq, _ = row(key[1], open_ms, trades)
    kline = {
        "t": t, "T": close_ms, "s": key[0], "i": key[1], "f": 1, "L": 9, "o": o, "c": c, "h": h,
        "l": low, "v": v, "n": n, "x": closed, "q": q, "V": tb, "Q": tq, "B": "0",
    }  # fmt: skip
    return json.dumps({"e": "kline", "E": event_ms, "s": key[0], "k": kline}).encode()


class Shelf:
    """Every kline from ``first_ms`` to now; the forming one has one trade, the others five.

    ``asked`` are the klines queries, with the second each came in as ``"at"``.
    """

    def __init__(self, clock: SimulatedClock, first_ms: int, weight_of: Any = None) -> None:
        self.clock = clock
        self.first_ms = first_ms
        self.lacking: set[tuple[Key, int]] = set()  # rows the exchange does not have
        self.trades: dict[tuple[Key, int], int] = {}  # rows that are otherwise
        self.halted_ms: dict[str, int] = {}  # no kline of the symbol opens from then on
        self.latency_s = 0.0
        self.frozen_ms: int | None = None  # the database lags: it shows this moment
        self.failures: list[Exception | RestResponse] = []  # the next answers
        self.asked: list[dict[str, Any]] = []
        self.used: dict[int, int] = {}  # weight by minute of the exchange
        self.weight_of = weight_of or (lambda limit: 2)

    def opens(self, key: Key, start_ms: int, end_ms: int) -> list[int]:
        found = []
        open_ms = open_time_ms(key[1], max(self.first_ms, start_ms))
        end_ms = min(end_ms, self.halted_ms.get(key[0], end_ms + 1) - 1)
        while open_ms <= end_ms:
            if (key, open_ms) not in self.lacking:
                found.append(open_ms)
            open_ms = next_open_ms(key[1], open_ms)
        return found

    def body(self, query: Mapping[str, Any], now_ms: int) -> bytes:
        key = (query["symbol"], query["interval"])
        start = query.get("startTime")
        end_ms = min(now_ms, query.get("endTime", now_ms))
        found = [t for t in self.opens(key, start or 0, end_ms) if start is None or t >= start]
        limit = query["limit"]
        found = found[:limit] if start is not None else found[-limit:]
        rows = []
        for open_ms in found:
            closed = close_time_ms(key[1], open_ms) < now_ms
            trades = self.trades.get((key, open_ms), 5 if closed else 1)
            rows.append(row(key[1], open_ms, trades))
        return json.dumps(rows).encode()

    async def get(self, path: str, query: Mapping[str, Any]) -> RestResponse:
        now_ms = self.clock.time_ms()
        self.asked.append({**query, "at": self.clock.monotonic()})
        minute = now_ms // MINUTE_MS
        self.used[minute] = self.used.get(minute, 0) + self.weight_of(query["limit"])
        headers = {"x-mbx-used-weight-1m": str(self.used[minute])}
        await asyncio.sleep(self.latency_s)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        shown_ms = now_ms if self.frozen_ms is None else self.frozen_ms
        return RestResponse(200, headers, self.body(query, shown_ms))

    async def close(self) -> None:
        return None


class Bench:
    """A market, its answers, backfill and closes over a shelf. Built within a virtual loop."""

    def __init__(
        self,
        now_ms: int,
        *,
        first_ms: int = START_MS,
        symbols: Sequence[str] = ("AUSDT",),
        intervals: Sequence[str] = ("1m",),
        capacity: int = 10,
        venue: str = "spot",
        share: float = 1.0,
        held: Iterable[tuple[Key, int, int]] = (),
        **settings: Any,
    ) -> None:
        """``held``: rows from ``first`` to ``last`` of a series that are there from the start."""
        self.clock = SimulatedClock(now_ms)  # ours
        self.venue_clock = SimulatedClock(now_ms)
        self.market = Market(symbols, intervals, capacity, room=4)
        self.key = (symbols[0], intervals[0])
        self.series = self.market[self.key]
        self.told: list[Event] = []
        self.settings = Settings(**{"rest_concurrency": 1, **settings})
        time = VenueTime(self.clock)
        limit = VENUES[venue].weight_limit
        budget = WeightBudget(
            time, limit=limit, share=share, in_flight_max=self.settings.rest_concurrency
        )
        self.shelf = Shelf(self.venue_clock, first_ms)
        self.api = Api(VENUES[venue], self.shelf, budget, self.clock)
        for key, first, last in held:
            self.hold(key, first, last)
        self.answers = Answers(self.market, self.api, settings=self.settings, on_change=self.take)
        self.backfill = Backfill(
            self.market,
            self.answers,
            settings=self.settings,
            clock=self.clock,
            on_progress=lambda done, total: None,
        )
        self.closes = Closes(
            self.market,
            self.answers,
            self.backfill,
            settings=self.settings,
            clock=self.clock,
            on_change=self.take,
        )
        self.sync()

    def sync(self) -> None:
        """Measure the exchange's time."""
        now_s = self.clock.monotonic()
        self.api.time.note(now_s, now_s, self.venue_clock.time_ms())

    def take(self) -> None:
        """Note what the market tells."""
        self.told += self.market.drain()

    def hold(self, key: Key, first_ms: int, last_ms: int) -> None:
        """Rows of a snapshot: closed, and told to nobody."""
        query = {"symbol": key[0], "interval": key[1], "startTime": first_ms, "endTime": last_ms}
        body = self.shelf.body({**query, "limit": 10_000}, last_ms + (1 << 40))
        self.market.apply_klines(*key, body, closed_before_ms=1 << 60, notify=False)

    def stream(self, *keys: Key, minute: float | None = None, closed: bool = True) -> None:
        """Frames of klines that close now, or, ``closed=False``, have just begun."""
        now_ms = self.venue_clock.time_ms()
        for key in keys or (self.key,):
            open_ms = open_time_ms(key[1], now_ms) if minute is None else at(minute)
            if closed and minute is None:
                open_ms = open_time_ms(key[1], open_ms - 1)
            self.market.apply(frame(key, open_ms, now_ms, closed=closed))
        self.take()

    async def until(self, minute: float) -> None:
        """Sleep until so many minutes after START_MS."""
        await asyncio.sleep((at(minute) - self.venue_clock.time_ms()) / 1000)

    async def sweep(self, minute: float | None = None) -> None:
        """Look for holes, at that minute."""
        if minute is not None:
            await self.until(minute)
        await self.backfill.sweep()
        self.take()

    @property
    def held(self) -> list[int]:
        """Closed minutes held, counted from START_MS."""
        return [int(t - START_MS) // MINUTE_MS for t in self.series.open_time_ms]

    def closes_told(self) -> list[int]:
        """Minutes whose close was told, in order, of whatever series."""
        return [
            (event.open_time_ms - START_MS) // MINUTE_MS
            for event in self.told
            if event.kind.name in ("CLOSED", "FILLED")
        ]
