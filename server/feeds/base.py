"""One market's feed: its connections, its backfill, and what it knows of itself."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from klinecore.errors import ParseError
from klinecore.market import Market
from server.clock import Clock, wait_event
from server.errors import FeedError
from server.feeds.answers import Answers
from server.feeds.backfill import Backfill
from server.feeds.binance import VENUES, Api, stream_names
from server.feeds.budget import Forecast, WeightBudget
from server.feeds.closes import Closes
from server.feeds.connections import Connections
from server.feeds.gauges import register
from server.feeds.hosts import Hosts
from server.feeds.listener import ChangeNotifier
from server.feeds.liveness import Liveness, update_periods_s
from server.feeds.rest import HttpRest, Rest
from server.feeds.session import ConnectLimiter
from server.feeds.universe import GONE, Selection, SymbolChange, Universe
from server.feeds.venue_time import VenueTime
from server.metrics import Registry
from server.settings import Settings

__all__ = ["Feed", "FeedStatus", "SeriesState", "open_api"]

log = logging.getLogger(__name__)

#: Seconds between two measurements of the exchange's clock.
_SYNC_S = 300.0

#: Seconds between two looks at our own clock, and how far it must jump to count as set.
_TIME_LOOK_S = 5.0
_STEP_MS = 500

#: Seconds between two looks at the streams.
_LOOK_S = 1.0

#: Share of windows that may lack their first filling once the start is over: of new symbols.
_UNFILLED_SHARE_MAX = 0.1

#: Share of streams that may be stale before the feed is not ready.
_STALE_SHARE_MAX = 0.01

#: Share of series with unexplained holes, s after they were seen, from which the feed is not ready.
_HOLES_SHARE_MAX = 0.01
_HOLES_AFTER_S = 10.0

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
    delivering: int = 0  # streams that have brought something on this connection, not stale
    host: str = ""  # it is connected to, or tried next


class Progress(msgspec.Struct):
    """Windows filled at the start."""

    done: int
    total: int


class SeriesState(msgspec.Struct):
    """Whether a window is whole, and where its rows come from at the moment."""

    ready: bool
    source: str  # stream, rest or none
    stale: bool = False  # its stream is not connected, or lacks what the exchange has sent
    blind_ms: int = 0  # since its stream was last heard, while it is stale; exchange time
    blind_total_ms: int = 0  # of earlier such stretches together


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
    lag_ms: int = 0  # since the newest event, by the exchange's clock, of the slowest connection
    closes_late: int = 0  # series whose newest close is late, halted symbols not counted
    rest: Forecast = msgspec.field(default_factory=Forecast)
    streams_stale: int = 0
    blind_s: float = 0.0  # of all series together
    symbols_without_room: list[str] = []


def open_api(settings: Settings, market_name: str, clock: Clock, rest: Rest | None = None) -> Api:
    """The exchange's REST face for one market, with a budget of its own."""
    venue = VENUES[market_name]
    hosts = Hosts(settings.bases(f"{market_name}_rest"))
    rest = rest or HttpRest(
        hosts,
        concurrency=settings.rest_concurrency,
        timeout_s=settings.rest_timeout_s,
        body_max=settings.rest_body_max,
    )
    budget = WeightBudget(
        VenueTime(clock),
        limit=venue.weight_limit,
        share=settings.rest_weight_share,
        in_flight_max=settings.rest_concurrency,
        client_share=settings.client_weight_share,
    )
    return Api(venue, rest, budget, clock, hosts)


class Feed:
    """Keeps one market current from ``start`` to ``stop``.

    ``on_change`` is called, at most once per pass of the event loop, after the market has events;
    forming rows and tickers are gathered for ``settings.gather_s`` before it.
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
        on_symbol: Callable[[SymbolChange], None] = lambda change: None,
        selection: Selection | None = None,
        limiter: ConnectLimiter | None = None,
    ) -> None:
        """``selection`` is what ``market`` was made from; ``on_symbol`` hears what happens to
        symbols. ``limiter`` is for several feeds at one address: the exchange counts all connects.
        """
        self.market = market
        self.name = market_name
        self.phase = "starting"
        self._settings = settings
        self._clock = clock
        self._api = api
        self._time = api.time
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order of their start
        self._failure: str | None = None  # a task of ours ended by mistake
        self._time_known = asyncio.Event()
        changes = self._changes = ChangeNotifier(on_change, settings.gather_s)
        self._answers = Answers(market, api, settings=settings, on_change=changes.notify)
        self._backfill = Backfill(
            market, self._answers, settings=settings, clock=clock, on_progress=on_progress
        )
        self._closes = Closes(
            market,
            self._answers,
            self._backfill,
            settings=settings,
            clock=clock,
            on_change=changes.notify,
        )
        periods_s = update_periods_s(
            market_name,
            market.intervals,
            kline_s=settings.kline_update_s,
            ticker_s=settings.ticker_update_s,
        )
        self._liveness = Liveness(market, periods_s, clock=clock, now_ms=self._time.now_ms)
        self._connections = Connections(
            market,
            api.venue,
            self._liveness,
            period_s=max(periods_s[1:]),
            settings=settings,
            clock=clock,
            random=random,
            metrics=metrics,
            changes=changes,
            limiter=limiter or ConnectLimiter(clock, settings.connect_interval_s),
            on_connected=self._look_soon,
        )
        selection = selection or Selection(market.symbols, (), {})
        self._symbols_max = len(market.symbols) + settings.symbols_room + selection.room
        self.universe = Universe(
            selection,
            api,
            self,
            settings=settings,
            clock=clock,
            on_change=on_symbol,
        )
        self._wake = asyncio.Event()
        register(metrics, self, self._answers, self._closes, self._connections)

    def _look_soon(self) -> None:
        """A connection came (back): look for what was missed meanwhile at once."""
        self._wake.set()
        self._closes.look_soon()

    async def start(self) -> None:
        """Begin; returns at once, ``status`` tells how far it is."""
        self._connections.start(self._spawn)
        self._spawn(self._keep_time())
        self._spawn(self._fill())
        self._spawn(self._sweep())
        self._spawn(self._watch_streams())
        self._spawn(self._keep_closes())
        self._spawn(self.universe.run())

    async def stop(self) -> None:
        """End every task and connection."""
        self.phase = "stopped"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._changes.stop()
        await self._api.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks_done)

    def _tasks_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = f"a task of the feed failed: {type(error).__name__}"
            log.error("a task of the %s feed failed", self.name, exc_info=error)

    async def _keep_time(self) -> None:
        """Measure the exchange's time now and then, and when ours was set."""
        clock = self._clock
        while True:
            try:
                sure = await self._api.sync_time()
            except FeedError as error:
                log.warning("exchange time not read: %s", error)
                sure = False
            if not sure:
                await clock.sleep(_TIME_LOOK_S)
            if self._time.known and not self._time_known.is_set():
                self._time_known.set()
                if abs(self._time.offset_ms) > 1000:
                    log.warning(
                        "this machine's clock is %d ms off the exchange's", -self._time.offset_ms
                    )
            if not sure:
                continue
            synced_s = clock.monotonic()
            base_ms = clock.time_ms() - synced_s * 1000
            while clock.monotonic() - synced_s < _SYNC_S:
                await clock.sleep(_TIME_LOOK_S)
                if abs(clock.time_ms() - clock.monotonic() * 1000 - base_ms) > _STEP_MS:
                    # If it was asleep meanwhile, the monotonic clock was too.
                    log.warning("this machine's clock was set; the exchange's is read again")
                    break

    async def _fill(self) -> None:
        """Bring every window in, streams first; holes are looked for beside it."""
        await self._connections.wait_subscribed(_STREAMS_FIRST_S)
        # Without the exchange's time nothing can be told closed.
        await self._time_known.wait()
        self.phase = "backfilling"
        await self._fill_tickers()
        await self._backfill.fill_all()
        self.phase = "live"

    async def _keep_closes(self) -> None:
        """Barriers and late closes, once it is known what time it is."""
        await self._time_known.wait()
        await self._closes.run()

    async def _sweep(self) -> None:
        while True:
            self._wake.clear()
            words = self.universe.statuses.items()
            self._backfill.gone = frozenset(symbol for symbol, word in words if word == GONE)
            await self._backfill.sweep()
            await wait_event(self._wake, self._clock, self._settings.sweep_interval_s)

    async def _watch_streams(self) -> None:
        """Judge every stream once a second, and heal those that are stale."""
        while True:
            await self._clock.sleep(_LOOK_S)
            healing = self._liveness.look()
            self._connections.heal(healing)
            if healing.silent:
                self.universe.poll_soon()  # halted, perhaps, or gone

    def statuses(self) -> dict[str, str]:
        """The exchange's word for each symbol held."""
        return self.universe.statuses

    def details(self) -> Mapping[str, bytes]:
        """What the exchange last said of symbols held, as JSON; not of those added since."""
        return self.universe.details

    async def change_symbols(self, add: Sequence[str], remove: Sequence[str]) -> None:
        """See ``Universe.change``."""
        await self.universe.change(add, remove)

    # --- symbols that come and go: what the universe asks of its holder ------------------------

    @property
    def room(self) -> int:
        """How many more symbols fit."""
        return max(0, self._symbols_max - len(self.market.symbols))

    def hold(self, symbol: str) -> None:
        """Hold one more symbol: memory, streams, windows. Raises ValueError: it cannot be held."""
        self.market.add_symbol(symbol)
        self._liveness.refresh()
        self.listen(symbol, True)
        self._spawn(self._fill_symbol(symbol))

    def drop(self, symbol: str) -> None:
        """Hold a symbol no longer."""
        self.listen(symbol, False)
        self.market.remove_symbol(symbol)
        self._liveness.refresh()
        self._backfill.forget_symbol(symbol)

    def listen(self, symbol: str, listening: bool) -> None:
        """Subscribe or unsubscribe the streams of a symbol; its rows stay."""
        streams = stream_names([symbol], self.market.intervals)
        if listening:
            self._connections.add(streams)
        else:
            self._connections.remove(streams)

    def expect(self, symbol: str, expected: bool) -> None:
        """Whether klines of a symbol are to be expected: a halted one is not waited for."""
        self.market.set_expected(symbol, expected)
        self._liveness.expect(symbol, expected)
        if expected:
            self._look_soon()

    async def _fill_symbol(self, symbol: str) -> None:
        await self._time_known.wait()
        await self._backfill.fill_symbol(symbol)

    async def _fill_tickers(self) -> None:
        """Tickers of all symbols in one request, so that quiet ones have one too."""
        try:
            body = await self._api.tickers(self.market.symbols)
            self.market.apply_tickers(body)
            self._liveness.note_rest_tickers()
        except (FeedError, ParseError) as error:
            log.warning("24 h tickers not read, the streams will bring them: %s", error)

    # --- what it knows of itself ---------------------------------------------------------------

    @property
    def repaired(self) -> int:
        """Closed rows that came by REST because the streams had not brought them."""
        return self._answers.repaired

    @property
    def ready(self) -> bool:
        """True while nothing speaks against relying on the data."""
        return not self._reasons()

    def incomplete(self) -> frozenset[tuple[str, str]]:
        """Series that are not ``ready``: some part of their window is still to come."""
        filled = self._backfill.filled
        return frozenset(
            (series.symbol, series.interval)
            for series in self.market
            if series.holes() or (series.symbol, series.interval) not in filled
        )

    def series_state(self, symbol: str, interval: str) -> SeriesState:
        """Of one series; the window is whole when it was filled and no hole is unexplained."""
        key = (symbol, interval)
        series = self.market[key]
        filled = key in self._backfill.filled
        source = "stream" if series.last_event_ms else "rest" if filled else "none"
        blind = self._liveness.blindness(symbol, interval)
        return SeriesState(
            ready=filled and not series.holes(),
            source=source,
            stale=self._liveness.is_stale(symbol, interval),
            blind_ms=blind.current_ms,
            blind_total_ms=blind.total_ms,
        )

    def status(self) -> FeedStatus:
        """Of the whole feed."""
        delivering = self._delivering()
        refused = {symbol: None for symbol, _ in self._backfill.refused}
        return FeedStatus(
            market=self.name,
            phase=self.phase,
            connections=[
                ConnectionStatus(
                    id=session.index,
                    state=session.state,
                    streams=len(session.streams),
                    age_ms=self._connections.age_of(session),
                    connects=session.connects,
                    reason="" if session.connected else session.reason,
                    delivering=count,
                    host=session.host,
                )
                for session, count in zip(self._connections, delivering, strict=True)
            ],
            streams_desired=self._connections.desired,
            streams_delivering=sum(delivering),
            backfill=Progress(self._backfill.done, self._backfill.total),
            unknown_symbols=list(dict.fromkeys((*self.universe.unknown, *refused))),
            last_message_age_ms=self._connections.age_ms,
            lag_ms=self._connections.lag_ms,
            used_weight=self._api.budget.used,
            weight_limit=self._api.budget.limit,
            server_offset_ms=self._time.offset_ms,
            gaps_repaired=self._answers.repaired,
            gaps_absent=self._backfill.absent,
            reasons=self._reasons(),
            closes_late=self._closes.late,
            rest=self._api.budget.forecast(self._backfill.planned()),
            streams_stale=self._liveness.stale(),
            blind_s=self.blind_s,
            symbols_without_room=list(self.universe.turned_away),
        )

    @property
    def blind_s(self) -> float:
        """Seconds of the exchange in which a series was not heard, summed over all series."""
        return self._liveness.blind_s

    def _reasons(self) -> list[str]:
        reasons = [] if self._failure is None else [self._failure]
        if self.phase == "stopped":
            reasons.append("the feed is stopped")
        if self.universe.assumed:
            reasons.append(f"symbols are those of the snapshot: {self.universe.assumed}")
        reasons += self._connections.reasons()
        stale = self._liveness.stale()
        desired = self._connections.desired
        if stale > _STALE_SHARE_MAX * desired:
            reasons.append(f"{stale} of {desired} streams are stale")
        backfill = self._backfill
        # A few symbols that came later are no reason to send everybody away.
        share = 1.0 - (_UNFILLED_SHARE_MAX if self.phase == "live" else 0.0)
        if backfill.done < share * backfill.total:
            reasons.append(f"backfill: {backfill.done} of {backfill.total} windows")
        since_s = self._clock.monotonic() - _HOLES_AFTER_S
        holes = [key for key, seen_s in backfill.holes.items() if seen_s < since_s]
        if len(holes) > _HOLES_SHARE_MAX * backfill.total:
            reasons.append(
                f"holes in {len(holes)} of {backfill.total} series, first {' '.join(holes[0])}"
            )
        blocked = self._api.budget.blocked_reason
        if blocked and reasons:
            reasons.append(blocked)
        return reasons

    def _delivering(self) -> list[int]:
        """Streams that have brought something on the present connection, by session."""
        return [self._liveness.delivering(session.index) for session in self._connections]
