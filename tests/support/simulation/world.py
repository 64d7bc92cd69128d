"""One simulated world: an exchange, the network, the whole server, and the judge of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random as random_module
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crash_disk import CrashDisk

from klinecore.market import Market
from server.api.state import ServedMarket
from server.app import Server
from server.exchange.app import Exchange
from server.exchange.generated import GeneratedMarket
from server.exchange.minutes import Source
from server.feeds.base import Feed
from server.settings import Settings
from server.signals.channels import BARRIER
from server.signals.hub import Subscriber
from server.traders.model import Trader
from simulation.clock import SimulatedClock
from simulation.faults import FAULTS, Planned
from simulation.judge import Judge, Verdict
from simulation.loop import OWNER, VirtualLoop
from simulation.rest import Mishap, SimulatedRest
from simulation.signals import ToldSignals
from simulation.thinning import SETTINGS, SPEEDS
from simulation.trace import Trace
from simulation.trouble import HEAL_S, Trouble

__all__ = ["INTERVALS", "START_MS", "World", "symbol_names"]

#: 2026-01-14 22:41:07 UTC: a day begins soon after the start.
START_MS = 1_768_430_467_000

INTERVALS = ("1m", "5m", "15m", "1h")
CAPACITY = 120

#: Seconds the server has to be ready after its start, without a fault.
READY_S = 120.0

#: Seconds it has with faults: the exchange may refuse to answer for ten minutes, again and again.
RESTART_S = 7200.0

#: A close that is younger may still travel, ms; USD-M says nothing of a kline in which nothing was
#: traded, so that REST has to be asked.
_ON_ITS_WAY_MS = {"spot": 5_000, "um": 25_000}

#: The exchange's counters that must stay 0: its limits were not kept.
_LIMITS = (
    "too_many_messages",
    "too_many_streams",
    "too_long_messages",
    "connects_refused",
    "doors_refused",
    "refused_429",
    "refused_418",
    "slow_cut",
)


def symbol_names(count: int) -> tuple[str, ...]:
    """Names of so many generated symbols; the first few are quiet enough to miss minutes."""
    known = ("QTUMUSDT", "BTCUSDT", "FDUSDUSDT", "PEPEUSDT", "LTCUSDT", "DOGEUSDT")
    return (*known, *(f"SIM{index:03d}USDT" for index in range(max(0, count - len(known)))))[:count]


class World:
    """Built inside a ``VirtualLoop``; see the package for how to use it."""

    def __init__(
        self,
        seed: int,
        *,
        symbols: int = 50,
        spare: int = 0,
        hours: float = 24.0,
        market: str = "spot",
        intervals: tuple[str, ...] = INTERVALS,
        capacity: int = CAPACITY,
        source: Source | None = None,
        start_ms: int = START_MS,
        settings: dict[str, Any] | None = None,
        full_pace: bool = False,
        traders: Sequence[Trader] = (),
    ) -> None:
        """``spare`` symbols more are listed later, by ``listings``, and the server keeps whatever
        is listed. ``full_pace``: streams and limits of time as they are, nothing thinned.
        """
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.seed = seed
        self.intervals = intervals
        self.loop = loop
        self.random = random_module.Random(f"world {seed}")
        self.dice = random_module.Random(f"reads {seed}")
        self.trace = Trace(loop)
        self.network = loop.network
        self.network.trace = self.trace
        self.network.random.seed(f"network {seed}")
        names = symbol_names(symbols + spare)
        self.source = source or GeneratedMarket(seed, names, market=market)
        self.unlisted = list(names[symbols:])
        self.symbols_least = symbols // 2
        self.end_ms = start_ms + int(hours * 3_600_000)
        self.true_clock = SimulatedClock(start_ms, loop)
        self.clock = SimulatedClock(start_ms, loop)  # the server's: may be wrong
        self.exchange = Exchange(
            self.source,
            self.true_clock,
            speeds=None if full_pace else SPEEDS,
            unlisted=self.unlisted,
        )
        self.mishaps: deque[Mishap] = deque()
        self.trouble = Trouble(start_ms)
        self.judge = Judge(
            self.exchange.book,
            intervals,
            capacity,
            first_ms=start_ms,
            end_ms=self.end_ms + 3_600_000,
            trouble=self.trouble,
            note=self.trace.note,
        )
        self.lives = 0
        self.server: Server | None = None
        self.disk = CrashDisk()
        self.told = ToldSignals(traders, self.trace.note)
        self._values = {
            "symbols": "all:USDT" if spare else ",".join(self.source.symbols),
            "intervals": list(intervals),
            "capacity": capacity,
            "market": self.source.market,
            "subscriber_queue_max": 1 << 16,
            "data_dir": "/simulated",  # of ``disk``
            **({} if full_pace else SETTINGS),
            **(settings or {}),
        }
        self.injected: dict[str, int] = {}  # faults by name
        self._held: dict[tuple[int, str], tuple[object, list[object]]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._subscriber: Subscriber | None = None
        self._heard: dict[str, None] = {}  # symbols

    # --- time ----------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """The exchange's time, which is the true one."""
        return self.true_clock.time_ms()

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    async def sleep_until(self, time_ms: int) -> None:
        """Let virtual time pass up to a moment; nothing if it is over."""
        await asyncio.sleep(max(0, time_ms - self.now_ms) / 1000)

    # --- faults --------------------------------------------------------------------------------

    def troubled(self, seconds: float) -> None:
        """Until then, and ``HEAL_S`` more, rows may be missing."""
        now_ms = self.now_ms
        self.trouble.add(now_ms, now_ms + int(seconds * 1000))

    @contextlib.contextmanager
    def held(self, owner: object, name: str, value: object) -> Iterator[None]:
        """A switch that is set while in here."""
        # Two faults may hold the same switch: the first to end must not end the other.
        baseline, values = self._held.setdefault((id(owner), name), (getattr(owner, name), []))
        values.append(value)
        setattr(owner, name, value)
        try:
            yield
        finally:
            values.remove(value)
            setattr(owner, name, values[-1] if values else baseline)

    async def inject(self, name: str, draw: random_module.Random | None = None) -> None:
        """Let the fault of that name happen; returns when it is over."""
        self.trace.note("fault", name)
        self.injected[name] = self.injected.get(name, 0) + 1
        await FAULTS[name][0](self, draw or self.random)
        self.troubled(0.0)  # what it swallowed in its last moments has the usual time

    async def suffer(self, planned: list[Planned]) -> None:
        """Let all of them happen at their times; returns when the last is over."""
        async with asyncio.TaskGroup() as group:
            for fault in planned:
                await asyncio.sleep(max(0.0, fault.at_s - self.loop.time()))
                draw = random_module.Random(fault.dice)
                group.create_task(self.inject(fault.name, draw))

    # --- the server ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Start the exchange and the first server."""
        # Nobody reads the log of a simulation; building its lines would cost a tenth of the time.
        logging.disable(logging.CRITICAL)
        await self.exchange.start()
        await self.start_server()

    async def close(self) -> None:
        """End everything; nothing may be left running."""
        try:
            await self.stop_server()
            await self.exchange.stop()
        finally:
            logging.disable(logging.NOTSET)

    async def start_server(self) -> None:
        """One more life of the server, up to its readiness."""
        self.lives += 1
        name = self.source.market
        settings = Settings.load(
            {},
            overrides={f"{name}_rest": self.exchange.rest_url, f"{name}_ws": self.exchange.ws_url}
            | self._values,
        )
        owner = OWNER.set(f"life {self.lives}")
        self.server = Server(
            settings,
            clock=self.clock,
            random=random_module.Random(f"server {self.seed} {self.lives}"),
            open_rest=lambda market: SimulatedRest(
                self.exchange,
                self.network,
                self.mishaps,
                lambda mishap: self.troubled(mishap.trouble_s),
            ),
            disk=self.disk,
            sinks=self.told.sinks(),
        )
        self.trace.note("start", self.lives)
        self.judge.started_ms = self.now_ms
        await self.server.start()
        OWNER.reset(owner)

    async def until_ready(self, seconds: float = READY_S) -> None:
        """Return when the server says so, and hear its closes from then on. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not self._is_ready():
                await asyncio.sleep(0.5)
        self._listen()

    async def restart(self, seconds: float, *, how: str = "kill") -> None:
        """End the server (``stop``, ``kill`` or ``power``) and start it ``seconds`` later.

        Returns when it is ready.
        """
        if self.server is None or self._listening is None:
            return  # between two lives already
        self.troubled(seconds)
        if how == "stop":
            await self.stop_server()
        else:
            await self.kill_server(power_loss=how == "power")
        await asyncio.sleep(seconds)
        self.troubled(0.0)
        await self.start_server()
        await self.until_ready(RESTART_S)

    def _is_ready(self) -> bool:
        assert self.server is not None
        self.server.state.beat(0.0)
        return self.server.state.readiness().ready

    def _listen(self) -> None:
        """Hear every kline of every series from now on, as a client would."""
        assert self.server is not None
        self.judge.begin_life()
        self.judge.held = lambda: self.market.symbols if self.serving else ()
        self._heard.clear()
        barriers = self._served().channels.find(BARRIER)
        assert barriers is not None
        self._subscriber = self.server.state.hub.subscribe(barriers)
        self._listen_to_new()
        self._listening = asyncio.create_task(self._hear(self._subscriber))

    def _listen_to_new(self) -> None:
        """Hear symbols that have come since the last call."""
        served, subscriber = self._served(), self._subscriber
        for symbol in served.market.symbols:
            if symbol in self._heard or subscriber is None:
                continue
            self._heard[symbol] = None
            for interval in served.market.intervals:
                topic = served.channels.find(f"{symbol}@kline_{interval}")
                assert topic is not None
                subscriber.add(topic)
            self.judge.follow(symbol, self.now_ms)

    async def _hear(self, subscriber: Subscriber) -> None:
        while subscriber.ended is None:
            await subscriber.wait()
            while (payload := subscriber.take()) is not None:
                self.judge.hear(payload)

    async def stop_server(self) -> None:
        """End the server politely."""
        if self.server is not None:
            self.trace.note("stop", self.lives)
            server = self.server
            await self._leave()
            await server.stop()

    async def kill_server(self, *, power_loss: bool = False) -> None:
        """End the server without a word, in whatever it is doing.

        The next life sees the disk as this one left it; with ``power_loss`` as a disk may be
        that had no time to write everything.
        """
        self.trace.note("kill", self.lives)
        owner = f"life {self.lives}"
        self.disk = self.disk.after_loss(self.random) if power_loss else self.disk.copy()
        await self._leave()
        for end in self.network.clients:
            end.vanish()
        while tasks := list(self.loop.owned.get(owner, ())):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _leave(self) -> None:
        """Stop to listen to a server that is to end."""
        self.troubled(0.0)
        server, self.server = self.server, None
        if self._listening is not None and server is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            if self._subscriber is not None and self._subscriber.ended is not None:
                self.judge.fail("cut", f"the subscriber was ended: {self._subscriber.ended}")
            self.judge.end_life(self.now_ms)
        self._listening = self._subscriber = None

    @property
    def serving(self) -> bool:
        """True while a server is up whose market can be asked for."""
        return self.server is not None and self.source.market in self.server.state.markets

    @property
    def market(self) -> Market:
        """The market the server keeps."""
        return self._served().market

    @property
    def feed(self) -> Feed:
        """What keeps it current."""
        feed = self._served().feed
        assert isinstance(feed, Feed)
        return feed

    @property
    def live(self) -> bool:
        """True while every connection is open and subscribed."""
        return all(connection.state == "live" for connection in self.feed.status().connections)

    @property
    def connects(self) -> list[int]:
        """How often each connection has been made."""
        return [connection.connects for connection in self.feed.status().connections]

    async def until(self, holds: Callable[[], bool], within_s: float) -> float:
        """Seconds until something holds. Raises AssertionError: longer than ``within_s``."""
        begun_s = self.loop.time()
        while not holds():
            assert self.loop.time() - begun_s <= within_s, f"not within {within_s} s"
            await self.sleep(0.05)
        return self.loop.time() - begun_s

    # --- questions -----------------------------------------------------------------------------

    async def ask(self, target: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a GET, made as the HTTP server makes it."""
        path, _, query = target.partition("?")
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", "1"),
        }
        assert self.server is not None
        await self.server(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, sent[1]["body"]

    async def check(self, symbol: str, interval: str, *, final: bool = False) -> None:
        """Ask for a whole window and let the judge look at it."""
        target = f"/klines/{symbol}/{interval}?limit={self.judge.capacity}"
        status, _, body = await self.ask(target)
        if status != 200:
            self.judge.fail("lost", f"{target} answered {status}: {body[:200]!r}")
            return
        self.judge.check_body(symbol, interval, body, self.now_ms, final=final)

    def check_symbols(self) -> None:
        """Every symbol the exchange trades must be held, where all are wanted."""
        if self._values["symbols"] == "all:USDT":
            missing = self.exchange.source.symbols.keys() - set(self.market.symbols)
            if missing:
                self.judge.fail("not_held", " ".join(sorted(missing)))

    def check_ready(self) -> None:
        """``/ready`` must say so."""
        if not self._is_ready():
            reasons = self.server.state.readiness().reasons if self.server is not None else []
            self.judge.fail("not_ready", "; ".join(reasons))

    async def check_all(self, *, final: bool = False) -> None:
        """Every series."""
        market = self._served().market
        for symbol in market.symbols:
            for interval in market.intervals:
                await self.check(symbol, interval, final=final)

    async def watch(self) -> None:
        """Until cancelled: look at two series a minute, so that no row leaves a window unseen."""
        turn = 0
        while True:
            if self.serving:
                self._listen_to_new()
                market = self._served().market
                symbols, intervals = market.symbols, market.intervals
                turn += 1
                await self.check(symbols[turn % len(symbols)], intervals[0])
                await self.check(self.dice.choice(symbols), self.dice.choice(intervals))
            await self.sleep_until((self.now_ms // 60_000 + 1) * 60_000 + 30_000)

    async def heal(self) -> None:
        """Let pass what the server may take to be whole again after the last fault."""
        self.exchange.faults.drop_closes = 0  # what has not been dropped by now
        self.exchange.faults.truncate = 0
        self.mishaps.clear()
        await self.sleep_until(self.trouble.until_ms + int(HEAL_S * 1000) + 1)
        # Not within the moment in which a close is on its way.
        travels_ms = _ON_ITS_WAY_MS[self.source.market]
        if self.now_ms % 60_000 < travels_ms:
            await self.sleep_until(self.now_ms // 60_000 * 60_000 + travels_ms)

    async def verdict(self) -> Verdict:
        """Let everything heal, look at all of it, and judge."""
        await self.heal()
        await self.check_all(final=True)
        self.judge.end_life(self.now_ms)
        counters = self.exchange.counters
        return self.judge.verdict({name: counters[name] for name in _LIMITS})

    def _served(self) -> ServedMarket:
        assert self.server is not None
        return self._market_of(self.server)

    def _market_of(self, server: Server) -> ServedMarket:
        return server.state.markets[self.source.market]
