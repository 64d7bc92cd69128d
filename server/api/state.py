"""What the API knows of the running server: its markets, how fresh they are, and why it waits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import numpy as np

from klinecore.interval import INTERVAL_MS
from klinecore.market import Market
from server.alerts.office import AlertOffice
from server.alerts.opening import open_office
from server.api.auth import open_gate
from server.api.problems import ApiError
from server.api.types import Headers, MarketReadiness, Readiness, SeriesCounts
from server.clock import Clock
from server.feeds.base import FeedStatus, SeriesState
from server.feeds.forwards import Forwards
from server.feeds.history import History
from server.feeds.universe import TRADING
from server.metrics import Registry
from server.settings import Settings
from server.signals.channels import Channels
from server.signals.hub import Hub
from server.signals.topics import EachSink
from server.store.base import Store
from server.traders.desk import open_desk
from server.traders.keeping import Sinks
from server.traders.model import Trader

__all__ = ["STALE_SHARE_MAX", "FeedView", "ServedMarket", "ServerState"]

#: Share of series whose next close may be overdue before the data counts as wrong. A halted symbol
#: gets no klines for hours; it must not take hundreds of live ones out of service.
STALE_SHARE_MAX = 0.01

_MONTH_MS = 31 * 86_400_000  # the longest a ``1M`` kline lasts


class FeedView(Protocol):
    """What the API needs of a feed."""

    def status(self) -> FeedStatus:
        """Of the whole feed."""
        ...

    def series_state(self, symbol: str, interval: str) -> SeriesState:
        """Of one series."""
        ...

    def incomplete(self) -> frozenset[tuple[str, str]]:
        """Symbol and interval of every series that is not ready."""
        ...

    def statuses(self) -> dict[str, str]:
        """The exchange's word for each symbol held."""
        ...

    def details(self) -> Mapping[str, bytes]:
        """What the exchange last said of symbols held, as JSON; not of those added since."""
        ...

    @property
    def room(self) -> int:
        """How many more symbols fit."""
        ...

    async def change_symbols(self, add: Sequence[str], remove: Sequence[str]) -> None:
        """See ``Universe.change``."""
        ...


class ServedMarket:
    """One market as the API shows it. ``check`` refreshes what depends on the time."""

    def __init__(
        self,
        name: str,
        market: Market,
        feed: FeedView,
        channels: Channels,
        *,
        epoch: int,
        pass_on: Callable[[], None] | None = None,
    ) -> None:
        """``epoch`` tells this run's revisions from another's, in ETags.

        ``pass_on()`` tells whoever listens of what the market has been told since it was last
        called; without one, its streams.
        """
        self.name = name
        self.market = market
        self.feed = feed
        self.channels = channels
        self.epoch = epoch
        #: The rows from before its windows, and what else the exchange answers; None: not here.
        self.history: History | None = None
        self.forwards: Forwards | None = None
        self.pass_on = pass_on or (lambda: channels.publish(market.drain()))
        #: Headers for every answer while the exchange is silent; empty in normal operation.
        self.warnings: Headers = []
        #: Series whose window is not whole yet; empty in normal operation.
        self.incomplete: frozenset[tuple[str, str]] = frozenset()
        self.reasons: list[str] = []
        self._lengths_ms = np.array([INTERVAL_MS[i] or _MONTH_MS for i in market.intervals])
        self.readiness = MarketReadiness(
            "starting", False, None, True, 0, 0, 0, 0, [], SeriesCounts(total=0)
        )

    def check(self, clock: Clock, stale_after_s: float) -> None:
        """Look at the feed and at every series' last close."""
        status = self.feed.status()
        idle = {symbol for symbol, word in self.feed.statuses().items() if word != TRADING}
        stale_after_ms = int(stale_after_s * 1000)
        age_ms = status.last_message_age_ms
        self.warnings = []
        silent = age_ms is None or age_ms > stale_after_ms
        if silent:
            self.warnings.append((b"x-data-state", b"stale"))
        if silent and age_ms is not None:
            self.warnings.append((b"x-data-age-ms", b"%d" % age_ms))
        deadline_ms = clock.time_ms() + status.server_offset_ms - stale_after_ms
        counts = self._count(deadline_ms, idle)
        self.reasons = list(status.reasons)
        if counts.stale > STALE_SHARE_MAX * counts.total:
            self.reasons.append(
                f"{counts.stale} of {counts.total} series: the next close is overdue"
            )
        self.readiness = MarketReadiness(
            phase=status.phase,
            ready=not self.reasons,
            data_age_ms=age_ms,
            stale=silent,
            backfill_done=status.backfill.done,
            backfill_total=status.backfill.total,
            streams_desired=status.streams_desired,
            streams_delivering=status.streams_delivering,
            unknown_symbols=list(status.unknown_symbols),
            series=counts,
            symbols_not_trading=sorted(idle),
            symbols_without_room=status.symbols_without_room,
        )

    def _count(self, deadline_ms: int, idle: Collection[str]) -> SeriesCounts:
        """``deadline_ms``: a close that was due before and is not here makes its series stale,
        unless its symbol is ``idle``."""
        symbols, opens = self.market.symbols, self.market.last_open_times()
        trading = np.array([symbol not in idle for symbol in symbols])
        # A close is as long after its opening as the next one is after it.
        overdue = (opens > 0) & (opens + 2 * self._lengths_ms - 1 < deadline_ms)
        stale = 0
        for row, column in np.argwhere(overdue & trading[:, None]).tolist():
            # After a halt the next close is the forming kline's, however long the halt was.
            forming = self.market[symbols[row], self.market.intervals[column]].forming
            stale += forming is None or forming.close_time_ms < deadline_ms
        self.incomplete = self.feed.incomplete()
        return SeriesCounts(
            total=opens.size,
            complete=opens.size - len(self.incomplete),
            stale=stale,
            empty=int((opens == 0).sum()),
        )


class ServerState:
    """Shared by the application, which fills it, and the API, which shows it."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Registry,
        hub: Hub,
        *,
        market_clock: Clock | None = None,
        store: Store | None = None,
        sinks: Sinks | None = None,
    ) -> None:
        """``market_clock`` is the one the exchange runs by, where that is not ``clock``: a
        simulated exchange may be faster. Clients and timeouts always live by ``clock``. ``store``
        keeps what outlasts the process; without it traders live as long as it does. ``sinks`` are
        others than the store's.

        Raises SettingsError: see ``open_gate``.
        """
        self.settings = settings
        self.clock = clock
        self.market_clock = market_clock or clock
        self.metrics = metrics
        self.hub = hub
        #: Who asks; whatever stays open is entered in its ``leases``.
        self.gate = open_gate(settings, clock, metrics)
        self.store = store
        if sinks is None:
            sinks = Sinks.memory() if store is None else store.sinks
        #: None: there is nothing to keep them in until they are delivered.
        self.alerts: AlertOffice | None = None
        if store is not None:
            self.alerts = open_office(
                settings, store.database, trader_of=self._trader, clock=clock, metrics=metrics
            )
            sinks = sinks._replace(signals=EachSink((sinks.signals, self.alerts)))
        self.desk = open_desk(settings, sinks, hub=hub, clock=self.market_clock, metrics=metrics)
        self.started_s = clock.monotonic()
        self.markets: dict[str, ServedMarket] = {}
        #: What the start still waits for; with no market served yet every data route answers 503.
        self.waiting_for: list[str] = ["the server has just started"]
        self.draining = False
        self.loop_lag_s = 0.0
        self.heartbeat_s = self.started_s

        #: Markets this server serves, also those that are still starting.
        self.market_names = settings.markets

    def _trader(self, trader_id: str) -> Trader | None:
        entry = self.desk.book.get(trader_id)
        return None if entry is None else entry.trader

    def served(self, name: str | None) -> ServedMarket:
        """The market of that name; of the first name when none is given.

        Raises ApiError: 400, no such market here; 503, not there yet.
        """
        name = name or self.market_names[0]
        served = self.markets.get(name)
        if served is not None:
            return served
        if name not in self.market_names:
            raise ApiError(
                400,
                "invalid_market",
                f"Market {name[:40]!r} is not served here.",
                allowed=self.market_names,
            )
        raise ApiError(
            503,
            "starting",
            "The server is still starting; see /ready.",
            reasons=list(self.waiting_for),
            headers=[(b"retry-after", b"2")],
        )

    def beat(self, lag_s: float) -> None:
        """Once a second: note that the loop runs, and look at every market."""
        self.loop_lag_s = lag_s
        self.heartbeat_s = self.clock.monotonic()
        for served in self.markets.values():
            served.check(self.market_clock, self.settings.stale_after_s)

    def readiness(self) -> Readiness:
        """As of the last beat."""
        reasons = list(self.waiting_for)
        if self.draining:
            reasons.append("the server is shutting down")
        for served in self.markets.values():
            reasons += [f"{served.name}: {reason}" for reason in served.reasons]
        return Readiness(
            ready=not reasons,
            reasons=reasons,
            markets={name: served.readiness for name, served in self.markets.items()},
        )
