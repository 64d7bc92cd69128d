"""One market's feed: its connections, its backfill, and what it knows of itself."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from klinecore.errors import ParseError
from klinecore.market import Market
from server.clock import Clock
from server.errors import FeedError
from server.feeds.backfill import Backfill
from server.feeds.binance import VENUES, Api, split_streams, stream_names
from server.feeds.budget import WeightBudget
from server.feeds.rest import HttpRest, Rest
from server.feeds.session import ConnectLimiter, Session
from server.metrics import Registry
from server.settings import Settings

__all__ = ["Feed", "FeedStatus", "SeriesState", "open_api"]

log = logging.getLogger(__name__)

#: Seconds between two measurements of the exchange's clock.
_SYNC_S = 300.0

#: How long the backfill waits for the streams, s; then it goes ahead, and sweeps close the seam.
_STREAMS_FIRST_S = 15.0


class ConnectionStatus(msgspec.Struct):
    """One stream connection."""

    id: int
    state: str  # connecting, live or waiting
    streams: int
    age_ms: int | None  # since its last data
    connects: int
    reason: str  # why it is not live; empty when it is


class Progress(msgspec.Struct):
    """Windows filled at the start."""

    done: int
    total: int


class SeriesState(msgspec.Struct):
    """Whether a window is whole, and where its rows come from at the moment."""

    ready: bool
    source: str  # stream, rest or none


class FeedStatus(msgspec.Struct):
    """What a feed knows of itself; ``reasons`` is empty when its data can be relied on."""

    market: str
    phase: str  # starting, backfilling, live or stopped
    connections: list[ConnectionStatus]
    streams_desired: int
    streams_delivering: int
    backfill: Progress
    unknown_symbols: list[str]
    last_message_age_ms: int | None
    used_weight: int
    weight_limit: int
    server_offset_ms: int
    gaps_repaired: int
    gaps_absent: int  # stretches the exchange has no rows for
    reasons: list[str]


def open_api(settings: Settings, market_name: str, clock: Clock, rest: Rest | None = None) -> Api:
    """The exchange's REST face for one market, with a budget of its own."""
    venue = VENUES[market_name]
    base = settings.um_rest if market_name == "um" else settings.spot_rest
    rest = rest or HttpRest(
        base,
        concurrency=settings.rest_concurrency,
        timeout_s=settings.rest_timeout_s,
        body_max=settings.rest_body_max,
    )
    budget = WeightBudget(clock, limit=venue.weight_limit, share=settings.rest_weight_share)
    return Api(venue, rest, budget, clock)


class Feed:
    """Keeps one market current from ``start`` to ``stop``.

    ``on_change`` is called, at most once per pass of the event loop, after the market has events.
    """

    def __init__(
        self,
        market: Market,
        market_name: str,
        *,
        settings: Settings,
        clock: Clock,
        random: random_module.Random,
        metrics: Registry,
        api: Api,
        on_change: Callable[[], None],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        unknown_symbols: tuple[str, ...] = (),
    ) -> None:
        self.market = market
        self.name = market_name
        self.phase = "starting"
        self._settings = settings
        self._clock = clock
        self._api = api
        self._unknown = unknown_symbols
        self._tasks: set[asyncio.Task[None]] = set()
        self._backfill = Backfill(
            market,
            api,
            settings=settings,
            clock=clock,
            on_progress=on_progress,
            on_change=on_change,
        )
        self._streams = stream_names(market.symbols, market.intervals)
        self._sessions = self._make_sessions(random, metrics, on_change)
        self._wake = asyncio.Event()
        self._cached: tuple[float, int] = (-1.0, 0)
        _register(metrics, self)

    def _make_sessions(
        self, random: random_module.Random, metrics: Registry, on_change: Callable[[], None]
    ) -> list[Session]:
        settings, venue = self._settings, self._api.venue
        base = settings.um_ws if self.name == "um" else settings.spot_ws
        limit = (
            settings.streams_per_connection_um
            if self.name == "um"
            else settings.streams_per_connection_spot
        )
        limiter = ConnectLimiter(self._clock, settings.connect_interval_s)
        reconnects = metrics.counter(
            "kline_feed_reconnects_total", "Connections that ended, by reason.", ["reason"]
        )
        return [
            Session(
                index,
                base.rstrip("/") + venue.socket_path,
                streams,
                self.market,
                settings=settings,
                ping_timeout_s=settings.ping_timeout_s * venue.ping_timeout_factor,
                clock=self._clock,
                random=random,
                limiter=limiter,
                reconnects=reconnects,
                on_change=on_change,
                on_connected=self._look_soon,
            )
            for index, streams in enumerate(split_streams(self._streams, limit))
        ]

    def _look_soon(self) -> None:
        """A connection came (back): look for what was missed meanwhile at once."""
        self._wake.set()

    async def start(self) -> None:
        """Begin; returns at once, ``status`` tells how far it is."""
        for session in self._sessions:
            self._spawn(session.run())
        self._spawn(self._keep_time())
        self._spawn(self._fill_and_sweep())

    async def stop(self) -> None:
        """End every task and connection."""
        self.phase = "stopped"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._api.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks_done)

    def _tasks_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the %s feed failed", self.name, exc_info=task.exception())

    async def _keep_time(self) -> None:
        while True:
            try:
                offset_ms = await self._api.sync_time()
                if abs(offset_ms) > 1000:
                    log.warning("this machine's clock is %d ms off the exchange's", -offset_ms)
                await self._clock.sleep(_SYNC_S)
            except FeedError as error:
                log.warning("exchange time not read: %s", error)
                await self._clock.sleep(5.0)

    async def _fill_and_sweep(self) -> None:
        deadline = self._clock.monotonic() + _STREAMS_FIRST_S
        while self._clock.monotonic() < deadline:
            if all(session.subscribed.is_set() for session in self._sessions):
                break
            await self._clock.sleep(0.05)
        self.phase = "backfilling"
        await self._fill_tickers()
        await self._backfill.fill_all()
        self.phase = "live"
        while True:
            await self._backfill.sweep()
            self._wake.clear()
            pause = asyncio.ensure_future(self._clock.sleep(self._settings.sweep_interval_s))
            wake = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait({pause, wake}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                pause.cancel()
                wake.cancel()

    async def _fill_tickers(self) -> None:
        """Tickers of all symbols in one request, so that quiet ones have one too."""
        try:
            self.market.apply_tickers(await self._api.tickers())
        except (FeedError, ParseError) as error:
            log.warning("24 h tickers not read, the streams will bring them: %s", error)

    # --- what it knows of itself ---------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """True while nothing speaks against relying on the data."""
        return not self._reasons()

    def series_state(self, symbol: str, interval: str) -> SeriesState:
        """Of one series; the window is whole when it was filled and no hole is unexplained."""
        key = (symbol, interval)
        series = self.market[key]
        filled = key in self._backfill.filled
        whole = filled and all(self._backfill.is_absent(key, hole) for hole in series.gaps())
        source = "stream" if series.last_event_ms else "rest" if filled else "none"
        return SeriesState(ready=whole, source=source)

    def status(self) -> FeedStatus:
        """Of the whole feed."""
        return FeedStatus(
            market=self.name,
            phase=self.phase,
            connections=[
                ConnectionStatus(
                    id=session.index,
                    state=session.state,
                    streams=len(session.streams),
                    age_ms=session.age_ms,
                    connects=session.connects,
                    reason="" if session.state == "live" else session.reason,
                )
                for session in self._sessions
            ],
            streams_desired=len(self._streams),
            streams_delivering=self._delivering(),
            backfill=Progress(self._backfill.done, self._backfill.total),
            unknown_symbols=list(self._unknown),
            last_message_age_ms=self._age_ms(),
            used_weight=self._api.budget.used,
            weight_limit=self._api.budget.limit,
            server_offset_ms=self._api.budget.offset_ms,
            gaps_repaired=self._backfill.repaired,
            gaps_absent=sum(
                self._backfill.is_absent((key[0], key[1]), (key[2], key[3]))
                for key in self._backfill.absent
            ),
            reasons=self._reasons(),
        )

    def _age_ms(self) -> int | None:
        """Of the connection that has been without data longest; None if one is not connected."""
        ages = [session.age_ms for session in self._sessions]
        known = [age for age in ages if age is not None]
        return max(known) if known and len(known) == len(ages) else None

    def _reasons(self) -> list[str]:
        reasons = []
        if self.phase == "stopped":
            reasons.append("the feed is stopped")
        for session in self._sessions:
            if session.link is None:
                reasons.append(f"connection {session.index} is down: {session.reason}")
            elif session.link.dataless_s > self._settings.stale_after_s:
                reasons.append(
                    f"connection {session.index} brings no data for {session.link.dataless_s:.0f} s"
                )
        if self._backfill.done < self._backfill.total:
            reasons.append(f"backfill: {self._backfill.done} of {self._backfill.total} windows")
        blocked = self._api.budget.blocked_reason
        if blocked and self._backfill.done < self._backfill.total:
            reasons.append(blocked)
        return reasons

    def _delivering(self) -> int:
        """Streams that have brought something on the present connections; counted once a second."""
        now = self._clock.monotonic()
        if now - self._cached[0] < 1.0:
            return self._cached[1]
        since_ms = {
            stream: session.link.opened_ms + self._api.budget.offset_ms
            for session in self._sessions
            if session.link is not None
            for stream in session.streams
        }
        count = 0
        for symbol in self.market.symbols:
            lower = symbol.lower()
            opened_ms = since_ms.get(f"{lower}@ticker")
            ticker = self.market.ticker(symbol) if opened_ms is not None else None
            count += ticker is not None and int(ticker["E"]) >= (opened_ms or 0)
            for interval in self.market.intervals:
                opened_ms = since_ms.get(f"{lower}@kline_{interval}")
                event_ms = self.market[symbol, interval].last_event_ms
                count += opened_ms is not None and event_ms >= opened_ms
        self._cached = (now, count)
        return count


def _register(metrics: Registry, feed: Feed) -> None:
    """Show what the feed, its market and its budget count; read at each scrape."""
    name = feed.name
    messages = metrics.gauge(
        "kline_feed_messages",
        "Stream messages by what they were, since the start.",
        ["market", "type"],
    )
    refused = metrics.gauge(
        "kline_rows_refused",
        "Rows and messages that were not stored, by reason.",
        ["market", "reason"],
    )
    gauges: dict[str, tuple[str, Callable[[FeedStatus], float]]] = {
        "kline_streams_desired": ("Streams subscribed.", lambda s: s.streams_desired),
        "kline_streams_delivering": ("Streams that deliver.", lambda s: s.streams_delivering),
        "kline_backfill_windows": ("Windows to fill at the start.", lambda s: s.backfill.total),
        "kline_backfill_windows_done": ("Windows filled.", lambda s: s.backfill.done),
        "kline_gaps_repaired": ("Klines that filled a hole.", lambda s: s.gaps_repaired),
        "kline_rest_used_weight": ("Request weight used.", lambda s: s.used_weight),
        "kline_rest_weight_limit": ("Request weight a minute.", lambda s: s.weight_limit),
        "kline_feed_offset_seconds": (
            "Exchange clock minus ours.",
            lambda s: s.server_offset_ms / 1000,
        ),
        "kline_feed_data_age_seconds": (
            "Since the last message; -1 while not connected.",
            lambda s: -1 if s.last_message_age_ms is None else s.last_message_age_ms / 1000,
        ),
    }
    made = [(metrics.gauge(key, text, ["market"]), read) for key, (text, read) in gauges.items()]

    def collect() -> None:
        status = feed.status()
        for gauge, read in made:
            gauge.set(read(status), name)
        for key, count in feed.market.counters().items():
            if key.startswith("frames_"):
                messages.set(count, name, key.removeprefix("frames_"))
            else:
                refused.set(count, name, key)

    metrics.before_render(collect)
