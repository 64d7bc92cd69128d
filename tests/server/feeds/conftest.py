"""A feed in its world: a simulated exchange, a market, and what it told, in virtual time."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from simulation.clock import SimulatedClock
from simulation.loop import VirtualLoop
from simulation.rest import SimulatedRest
from simulation.thinning import in_full, thinned

from klinecore import Market
from klinecore.market import Event
from server.exchange.app import Exchange
from server.exchange.generated import GeneratedMarket
from server.feeds.base import Feed, open_api
from server.feeds.universe import Selection
from server.metrics import Registry
from server.settings import Settings

#: 2026-01-14 09:59:40 UTC: the first hour ends soon after the start.
START_MS = 1_768_384_780_000

#: Virtual seconds any condition may take to come true, and between two looks at it.
PATIENCE_S = 3600.0
LOOK_S = 0.02

Row = list[Any]


class World:
    """Everything one scenario needs; times are those of ``clock``."""

    def __init__(
        self,
        exchange: Exchange,
        clock: SimulatedClock,
        settings: Settings,
        name: str,
        symbols: Sequence[str],
        unknown: tuple[str, ...] = (),
    ) -> None:
        self.exchange = exchange
        self.clock = clock
        self.settings = settings
        self.prefix = "/api/v3" if name == "spot" else "/fapi/v1"
        self.market = Market(symbols, settings.intervals, settings.capacity)
        self.metrics = Registry()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop), "worlds live in virtual time: simulation.loop.run"
        rest = SimulatedRest(exchange, loop.network, deque(), lambda mishap: None)
        self.api = open_api(settings, name, clock, rest)
        self.events: list[Event] = []
        self.progress: list[tuple[int, int]] = []
        self.feed = Feed(
            self.market,
            name,
            settings=settings,
            clock=clock,
            random=random.Random(7),
            metrics=self.metrics,
            api=self.api,
            on_change=lambda: self.events.extend(self.market.drain()),
            on_progress=lambda done, total: self.progress.append((done, total)),
            selection=Selection(tuple(symbols), unknown, dict.fromkeys(symbols, "TRADING")),
        )

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Return when ``condition`` holds; fail if it never does."""
        deadline = self.clock.monotonic() + PATIENCE_S
        while not condition():
            assert self.clock.monotonic() < deadline, f"never: {what}; {self.feed.status()}"
            await asyncio.sleep(LOOK_S)

    async def until_ready(self) -> None:
        await self.until(lambda: self.feed.ready and self.feed.phase == "live", "ready")

    def truth(self, symbol: str, interval: str, first_ms: int, last_ms: int) -> list[Row]:
        """The exchange's own rows that open in this range."""
        answer = self.exchange.rest.handle(
            f"{self.prefix}/klines?symbol={symbol}&interval={interval}&limit=1000"
            f"&startTime={first_ms}&endTime={last_ms}",
            self.exchange.now_ms,
            "127.0.0.9",
        )
        assert answer.status == 200, answer
        return [row[:11] for row in json.loads(answer.body)]

    def held(self, symbol: str, interval: str) -> list[Row]:
        """The market's closed rows, in the exchange's shape."""
        body = self.market.klines_array_json(symbol, interval, self.market.capacity)
        return [row[:11] for row in json.loads(body)]

    def assert_true_and_whole(self) -> None:
        """Every closed row held is the exchange's own, byte for byte, and none is missing."""
        for series in self.market:
            held = self.held(series.symbol, series.interval)
            assert held == self.truth(series.symbol, series.interval, held[0][0], held[-1][0])
            assert len(held) == min(self.market.capacity, series.closed_count)

    def closes(self) -> Counter[tuple[str, str, int]]:
        """How often each close was told, however it became known."""
        return Counter(
            (event.symbol, event.interval, event.open_time_ms)
            for event in self.events
            if event.kind.name in ("CLOSED", "FILLED")
        )


Opener = Callable[..., Any]


@pytest.fixture
def open_world() -> Iterator[Opener]:
    """``async with open_world(intervals=("1m",)) as world``; other names are settings.

    Within ``simulation.loop.run``: real server code over a network in memory, at the exchange's
    own pace.
    """

    @asynccontextmanager
    async def opened(
        *,
        name: str = "spot",
        symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT", "SOLUSDT"),
        start_ms: int = START_MS,
        exchange_options: dict[str, Any] | None = None,
        prepare: Callable[[Exchange], Awaitable[None] | None] = lambda exchange: None,
        start: bool = True,
        unknown: tuple[str, ...] = (),
        **settings: Any,
    ) -> AsyncIterator[World]:
        clock = SimulatedClock(start_ms)
        exchange = Exchange(
            GeneratedMarket(3, symbols, market=name), clock, **(exchange_options or {})
        )
        await exchange.start()
        prepare(exchange)
        defaults: dict[str, Any] = {
            "symbols": ",".join([*symbols, *unknown]),
            "intervals": ("1m", "5m"),
            "capacity": 100,
            "connect_interval_s": 0.5,
            "ack_timeout_s": 15.0,
            "backoff_max_s": 2.0,
            "stale_after_s": 60.0,
            "spot_rest": exchange.rest_url,
            "spot_ws": exchange.ws_url,
            "um_rest": exchange.rest_url,
            "um_ws": exchange.ws_url,
        }
        world = World(exchange, clock, Settings(**defaults | settings), name, symbols, unknown)
        try:
            if start:
                await world.feed.start()
            yield world
        finally:
            await world.feed.stop()
            await exchange.stop()

    with thinned(), in_full():
        yield opened
