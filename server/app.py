"""The one place that knows how the parts are connected; the rest know only what they are given.

``serving`` gives what ``create`` makes to granian, in the same process: settings come from the
environment. HTTP answers at once, while symbols are resolved and windows are filled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random as random_module
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from klinecore.market import Event, Market
from server import logs
from server.api.application import create_api
from server.api.state import ServedMarket, ServerState
from server.api.types import Receive, Scope, Send
from server.clock import PACE_VARIABLE, Clock, SystemClock, read_pace
from server.disk import Disk, SystemDisk, data_directory
from server.ending import end_within
from server.errors import FeedError, SettingsError
from server.feeds.base import Feed, open_api
from server.feeds.binance import Api
from server.feeds.budget import REFUSALS
from server.feeds.for_clients import ForClients
from server.feeds.rest import Rest
from server.feeds.session import ConnectLimiter
from server.feeds.universe import Selection, assume_symbols, resolve_symbols
from server.feeds.waits import WaitFile
from server.metrics import Registry
from server.process import settle_memory
from server.settings import Settings
from server.signals.channels import Channels
from server.signals.hub import Hub
from server.signals.latency import CloseLatency
from server.snapshots import SnapshotStore, find_contents
from server.store.base import Store
from server.streams.port import StreamPort
from server.sync.base import Sync
from server.traders.builtins import builtin_traders
from server.traders.engine import TraderEngine
from server.traders.fitting import keep_fitting
from server.traders.images import ImageFile, begin, go_on
from server.traders.keeping import Sinks

__all__ = ["Server", "create"]

log = logging.getLogger(__name__)

#: Seconds between two beats: each looks at every market and measures the loop's delay.
BEAT_S = 1.0

#: Seconds the exchange has to list its symbols before those of the snapshot have to do.
FIRST_ANSWER_S = 10.0

#: Seconds clients have to take their goodbye.
DRAIN_S = 2.0
_DRAIN_LOOK_S = 0.02

#: Seconds that parts have to end, one group after the other. They and ``DRAIN_S`` are less than
#: ``serving.SHUTDOWN_S``, so that the store always has its turn.
FEEDS_END_S = 0.5
PARTS_END_S = 4.5
STORE_END_S = 2.3


class Server:
    """Feeds, markets, hub and API of one process, as an ASGI application with a life span."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        market_clock: Clock | None = None,
        random: random_module.Random,
        show_progress: Callable[[str, int, int], None] | None = None,
        open_rest: Callable[[str], Rest] | None = None,
        on_ready: Callable[[], None] | None = None,
        disk: Disk | None = None,
        has_store: bool = False,
        sinks: Sinks | None = None,
        opens_streams: bool = False,
    ) -> None:
        """``show_progress(market, done, total)`` is told of each window the backfill has filled.

        ``open_rest(market)`` gives another REST client than the one over HTTP; ``on_ready`` is
        called when the server is ready for the first time. Without a ``disk`` no snapshots are
        kept, and none is read at the start. ``has_store``: traders and what they tell are kept in a
        file beside them, or in ``sinks``; otherwise traders live as long as the process.
        ``opens_streams`` listens on the stream port as well.
        """
        self._settings = settings
        self._clock = clock
        self._market_clock = market_clock or clock
        self._random = random
        # The exchange counts connects per address, whatever market they are for.
        self._limiter = ConnectLimiter(self._market_clock, settings.connect_interval_s)
        self._show_progress = show_progress or (lambda name, done, total: None)
        self._open_rest = open_rest
        self._on_ready = on_ready
        self._metrics = Registry()
        self._hub = Hub(settings.subscriber_queue_max)
        self._disk = disk
        self._store: Store | None = None
        if has_store and disk is not None:
            self._store = Store(
                settings,
                directory=self._directory,
                disk=disk,
                clock=self._market_clock,
                metrics=self._metrics,
                with_outbox=settings.supabase_secret_key is not None,
            )
        self.state = ServerState(
            settings,
            clock,
            self._metrics,
            self._hub,
            market_clock=self._market_clock,
            store=self._store,
            sinks=sinks,
        )
        replace = self.state.desk.replace
        self._sync = Sync(settings, self._store, replace, clock, random, self._metrics)
        if self.state.gate.tokens is not None:
            self.state.gate.tokens.tier_of = self._sync.tier_of
        self._traders_loaded = asyncio.Event()
        self.api = create_api(self.state)
        self._streams = (
            StreamPort(self.state, self.api.door, self.api.binance) if opens_streams else None
        )
        self._waiting: dict[str, str] = {}
        self._takes_snapshots = disk is not None and settings.snapshot_interval_s > 0
        self._feeds: list[Feed] = []
        self._for_clients = ForClients(
            settings, self._directory, disk, self._market_clock, self._metrics
        )
        self._snapshots: list[SnapshotStore] = []
        self._waits: list[WaitFile] = []
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order of their start
        self._was_ready = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        return self.api(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except SettingsError as error:
            log.critical("%s", error)
            await send({"type": "lifespan.startup.failed"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def start(self) -> None:
        """Begin to bring every market up; returns at once.

        Raises SettingsError: the store's file is another program's, or a newer one's.
        """
        if self._store is not None:
            await self._store.open()
        if self.state.alerts is not None:
            self.state.alerts.open()
        self.state.waiting_for.clear()
        self._spawn(self._beat())
        if self._streams is not None:
            await self._streams.start()
            self._spawn(self._streams.sweep())
        for job in self.state.gate.jobs():
            self._spawn(job)
        self._spawn(self._load_traders())
        self._spawn(self._fit_traders())
        for name in self._settings.markets:
            self._wait_for(name, "asking the exchange for its symbols")
            self._spawn(self._bring_up(name))

    def leave(self, end: Callable[[], None]) -> None:
        """Say goodbye to clients, then ``end``, which cuts their sockets; asked again, at once."""
        if self.state.draining:
            end()
        else:
            self._spawn(self._drain(end))

    async def _drain(self, end: Callable[[], None]) -> None:
        self._say_goodbye()
        deadline = self._clock.monotonic() + DRAIN_S
        while self._clients and self._clock.monotonic() < deadline:
            await self._clock.sleep(_DRAIN_LOOK_S)
        end()

    def _say_goodbye(self) -> None:
        self.state.draining = True
        self.api.close_all()
        if self._streams is not None:
            self._streams.close_all()

    @property
    def _clients(self) -> int:
        streams = 0 if self._streams is None else len(self._streams)
        return self.api.clients + streams

    async def stop(self) -> None:
        """Say goodbye to clients, then end feeds and tasks."""
        self._say_goodbye()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        ports = [] if self._streams is None else [self._streams.stop()]
        await end_within(
            FEEDS_END_S, *ports, self._for_clients.close(), *(feed.stop() for feed in self._feeds)
        )
        alerts = self.state.alerts
        await end_within(
            PARTS_END_S,
            self._sync.stop(),
            *(waits.stop() for waits in self._waits),
            *(snapshots.stop() for snapshots in self._snapshots),
            *([] if alerts is None else [alerts.close()]),
        )
        if self._store is not None:  # the last one: the others write into it
            await end_within(STORE_END_S, self._store.close())
        log.info("stopped")

    # --- one market ----------------------------------------------------------------------------

    async def _bring_up(self, name: str) -> None:
        settings = self._settings
        rest = self._open_rest(name) if self._open_rest is not None else None
        api = open_api(settings, name, self._market_clock, rest)
        await self._keep_waits(name, api)
        selection = await self._resolve(name, api)
        if selection.unknown:
            log.warning("the %s exchange does not trade %s", name, ", ".join(selection.unknown))
        market = Market(
            selection.symbols,
            settings.intervals,
            settings.capacity,
            room=settings.symbols_room + selection.room,
            path=settings.arena_of(name),
        )
        traders, images = self._open_traders(name, market)
        snapshots = self._open_snapshots(name, market, images)
        await self._fill(name, traders, images, snapshots)
        channels = Channels(name, market, self._hub, self._market_clock)
        latency = CloseLatency(name, api.time.now_ms, self._metrics)

        def pass_on() -> None:
            latency.note(self._pass_on(name, market, channels))

        feed = Feed(
            market,
            name,
            settings=settings,
            clock=self._market_clock,
            random=self._random,
            metrics=self._metrics,
            api=api,
            on_change=pass_on,
            on_progress=lambda done, total: self._show_progress(name, done, total),
            on_symbol=channels.publish_symbol,
            selection=selection,
            limiter=self._limiter,
        )
        self._feeds.append(feed)
        await feed.start()
        if snapshots is not None:
            self._snapshots.append(snapshots)
            snapshots.start()
        epoch = self._clock.time_ms()
        served = ServedMarket(name, market, feed, channels, epoch=epoch, pass_on=pass_on)
        served.history, served.forwards = self._for_clients.open(api)
        served.check(self._market_clock, settings.stale_after_s)
        self.state.markets[name] = served
        self._wait_for(name, None)
        log.info(
            "serving %d symbols x %d intervals of %s, %.1f MB",
            len(market.symbols),
            len(market.intervals),
            name,
            market.size / 1e6,
        )

    def _pass_on(self, name: str, market: Market, channels: Channels) -> list[Event]:
        """What a market tells of, once for all who want to know: clients first, then traders."""
        events = market.drain()
        channels.publish(events)
        if self.state.desk.pump(name, events):
            asyncio.get_running_loop().call_soon(self._settle, name)
        return events

    def _settle(self, name: str) -> None:
        """A part of what can wait, between whatever else the loop has to do."""
        if self.state.desk.settle(name):
            asyncio.get_running_loop().call_soon(self._settle, name)

    async def _load_traders(self) -> None:
        settings = self._settings
        builtins = builtin_traders(settings.markets[0]) if settings.builtin_traders else ()
        desk, store = self.state.desk, self._store
        if store is not None:
            await store.load(desk, builtins, self._traders_loaded.set)
            await self._sync.start()
        else:
            await desk.load(builtins)
        self._traders_loaded.set()

    def _open_traders(self, name: str, market: Market) -> tuple[TraderEngine, ImageFile | None]:
        """The engine of a market, and where its images are, if there are any."""
        settings = self._settings
        engine = TraderEngine(
            name,
            market,
            state_bytes_max=settings.trader_state_bytes_max,
            traders_max=max(1, settings.traders_max),
        )
        if self._disk is None or not self._takes_snapshots:
            return engine, None
        images = ImageFile(
            name,
            directory=self._directory,
            source=self._base(name),
            disk=self._disk,
            metrics=self._metrics,
        )
        return engine, images

    async def _fill(
        self,
        name: str,
        engine: TraderEngine,
        images: ImageFile | None,
        snapshots: SnapshotStore | None,
    ) -> None:
        """Put back the rows of a market and what its traders remembered of them.

        Filters are cheap while there are no rows, so they come first. The feed fetches the rest.
        """
        desk = self.state.desk
        image = await images.load() if images is not None else None
        await self._traders_loaded.wait()
        if image is not None and not begin(engine, image, desk.book.limits):
            image = None
        if image is None:
            await desk.attach(engine)
        if snapshots is not None:
            await snapshots.load()
        go_on(engine, image, self._market_clock.time_ms())
        await desk.recall(engine)
        if image is not None:
            await desk.attach(engine)
        # What comes from here on is new, also what closed while no server ran.
        desk.catch_up(engine)
        if images is not None:
            images.current = lambda: desk.engines.get(name)

    async def _resolve(self, name: str, api: Api) -> Selection:
        """The symbols to keep: those of the exchange's list, which is asked for until it comes.

        If the first answer is none, or nothing may be asked, and there is a snapshot with symbols
        that the settings ask for: those, for now.
        """
        settings = self._settings
        wait_s = settings.backoff_min_s
        budget = api.budget
        # Since before this start; without the seconds, which would stand still.
        fault = REFUSALS[budget.blocked_status] if budget.blocked_s else None
        limit_s = FIRST_ANSWER_S if self._takes_snapshots else None
        first = True
        while True:
            if fault is None or not first:
                try:
                    async with asyncio.timeout(limit_s):
                        return await resolve_symbols(settings, api)
                except FeedError as error:
                    fault = str(error)
                except TimeoutError:
                    fault = f"the exchange has not listed its symbols within {FIRST_ANSWER_S:g} s"
            if first and (selection := await self._assume(name, fault)) is not None:
                return selection
            first, limit_s = False, None
            self._wait_for(name, f"{fault}; asking again")
            log.warning("symbols of %s: %s; asking again in %.1f s", name, fault, wait_s)
            await self._market_clock.sleep(wait_s * self._random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s + 0.1, settings.backoff_max_s)

    async def _assume(self, name: str, fault: str) -> Selection | None:
        """The symbols of the snapshot that the settings ask for; None if there are none."""
        if self._disk is None or not self._takes_snapshots:
            return None
        contents = await find_contents(
            name, directory=self._directory, source=self._base(name), disk=self._disk
        )
        if contents is None:
            return None
        intervals = self._settings.intervals
        # Only those of which there are rows that can be served.
        symbols = dict.fromkeys(s for s, interval in contents.newest if interval in intervals)
        selection = assume_symbols(self._settings, tuple(symbols), fault)
        if selection is not None:
            log.warning(
                "symbols of %s: %s; %d of the snapshot for now", name, fault, len(selection.symbols)
            )
        return selection

    async def _keep_waits(self, name: str, api: Api) -> None:
        """Wait out what a refusal asked of an earlier life, and remember those of this one."""
        if self._disk is None:
            return
        waits = WaitFile(
            name,
            api.budget,
            directory=self._directory,
            base=self._base(name),
            disk=self._disk,
            clock=self._market_clock,
            metrics=self._metrics,
        )
        await waits.load()
        self._waits.append(waits)
        self._spawn(waits.keep())

    @property
    def _directory(self) -> str:
        return data_directory(self._settings, os.environ)

    def _base(self, name: str) -> str:
        """Preferred URL of the exchange's REST face for a market: the others are the same."""
        return self._settings.bases(f"{name}_rest")[0]

    def _open_snapshots(
        self, name: str, market: Market, images: ImageFile | None
    ) -> SnapshotStore | None:
        if self._disk is None or not self._takes_snapshots:
            return None
        return SnapshotStore(
            name,
            market,
            directory=self._directory,
            source=self._base(name),
            interval_s=self._settings.snapshot_interval_s,
            disk=self._disk,
            clock=self._clock,
            metrics=self._metrics,
            companion=images,
        )

    def _wait_for(self, name: str, reason: str | None) -> None:
        """Note what a market still waits for; None when it is served."""
        self._waiting.pop(name, None)
        if reason is not None:
            self._waiting[name] = f"{name}: {reason}"
        self.state.waiting_for[:] = self._waiting.values()

    # --- tasks ---------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(BEAT_S)
            self.state.beat(max(0.0, self._clock.monotonic() - before - BEAT_S))
            for served in self.state.markets.values():
                served.market.heartbeat_ms = self._clock.time_ms()
                served.channels.publish_arrays()
            if not self._was_ready and self.state.readiness().ready:
                self._was_ready = True
                if self._on_ready is not None:
                    self._on_ready()
                log.info("ready after %.1f s", self._clock.monotonic() - self.state.started_s)

    async def _fit_traders(self) -> None:
        await self._traders_loaded.wait()
        await keep_fitting(self.state.desk, self.state.gate.tier_of, self._clock)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a part of the server failed", exc_info=error)
            self._wait_for("server", f"failed: {type(error).__name__}: {error}")


# --- the process ---------------------------------------------------------------------------------


def create() -> Server:
    """The server of this process; settings come from the environment. Raises SettingsError."""
    settings = Settings.load(os.environ)
    logs.configure(settings.log_level, settings.log_format)
    clock = SystemClock()
    pace = os.environ.get(PACE_VARIABLE)
    on_terminal = sys.stderr.isatty() and settings.log_format == "text"
    return Server(
        settings,
        clock=clock,
        market_clock=read_pace(pace, clock) if pace else None,
        random=random_module.Random(),
        show_progress=logs.ProgressBar() if on_terminal else None,
        on_ready=settle_memory,
        disk=SystemDisk(),
        has_store=True,
        opens_streams=True,
    )
