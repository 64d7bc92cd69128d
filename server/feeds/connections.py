"""All stream connections of one market: which carries what, and how stale streams are healed."""

from __future__ import annotations

import logging
import random as random_module
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from klinecore.market import Market
from server.clock import Clock, wait_event
from server.feeds.binance import Venue, split_streams, stream_names
from server.feeds.hosts import Hosts
from server.feeds.listener import ChangeNotifier
from server.feeds.liveness import Healing, Liveness
from server.feeds.session import ConnectLimiter, Session
from server.metrics import Registry
from server.settings import Settings

__all__ = ["Connections"]

log = logging.getLogger(__name__)


class Connections:
    """The sessions of one market; iterating gives them in the order they were opened.

    ``on_connected`` is called whenever a connection has come (back).
    """

    def __init__(
        self,
        market: Market,
        venue: Venue,
        liveness: Liveness,
        *,
        period_s: float,
        settings: Settings,
        clock: Clock,
        random: random_module.Random,
        metrics: Registry,
        changes: ChangeNotifier,
        limiter: ConnectLimiter,
        on_connected: Callable[[], None],
    ) -> None:
        """``period_s``: between two updates of a kline stream."""
        self.healings = metrics.counter(
            "kline_stream_healings_total",
            "Streams found stale, by what was done: subscribed anew, connected anew, left to REST.",
            ["step"],
        )
        self._reconnects = metrics.counter(
            "kline_feed_reconnects_total", "Connections that ended, by reason.", ["reason"]
        )
        um = venue.name == "um"
        bases = settings.bases(f"{venue.name}_ws")
        self._urls = [base.rstrip("/") + venue.socket_path for base in bases]
        self._streams_max = (
            settings.streams_per_connection_um if um else settings.streams_per_connection_spot
        )
        self._ping_timeout_s = settings.ping_timeout_s * venue.ping_timeout_factor
        self._market = market
        self._liveness = liveness
        self._period_s = period_s
        self._settings = settings
        self._clock = clock
        self._random = random
        self._changes = changes
        self._limiter = limiter
        self._on_connected = on_connected
        self._phase = random.random()
        self._spawn: Callable[[Coroutine[Any, Any, None]], None] | None = None
        self._sessions: list[Session] = []
        for streams in split_streams(
            stream_names(market.symbols, market.intervals), self._streams_max
        ):
            self._open(streams)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def _open(self, streams: Sequence[str]) -> Session:
        session = Session(
            len(self._sessions),
            Hosts(self._urls),
            streams,
            self._market,
            settings=self._settings,
            ping_timeout_s=self._ping_timeout_s,
            clock=self._clock,
            random=self._random,
            limiter=self._limiter,
            reconnects=self._reconnects,
            changes=self._changes,
            liveness=self._liveness,
            period_s=self._period_s,
            phase=self._phase,
            on_connected=self._on_connected,
        )
        self._sessions.append(session)
        if self._spawn is not None:
            self._spawn(session.run())
        return session

    def start(self, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """Connect; ``spawn`` runs a session for as long as the feed lives."""
        self._spawn = spawn
        for session in self._sessions:
            spawn(session.run())

    async def wait_subscribed(self, seconds: float) -> None:
        """Return when every connection was subscribed once, or that time is over."""
        deadline = self._clock.monotonic() + seconds
        for session in self._sessions:
            left_s = deadline - self._clock.monotonic()
            await wait_event(session.subscribed, self._clock, max(left_s, 0.0))

    # --- streams that come and go --------------------------------------------------------------

    def add(self, streams: Sequence[str]) -> None:
        """Subscribe to these, of one symbol, together: where there is room, or on a new connection.

        Only streams that fit on no single connection are divided.
        """
        waiting = [name for name in streams if not self._carries(name)]
        for start in range(0, len(waiting), self._streams_max):
            part = waiting[start : start + self._streams_max]
            for session in self._sessions:
                if len(session.streams) + len(part) <= self._streams_max:
                    session.add(part)
                    break
            else:
                self._open(part)

    def remove(self, streams: Sequence[str]) -> None:
        """Subscribe to these no more; a connection left without any ends until it gets some."""
        for session in self._sessions:
            mine = [name for name in streams if name in session.streams]
            if mine:
                session.remove(mine)

    def _carries(self, name: str) -> bool:
        return any(name in session.streams for session in self._sessions)

    def heal(self, healing: Healing) -> None:
        """Do what is to be done about stale streams."""
        for index, streams in healing.resubscribe.items():
            self.healings.inc("resubscribe", by=len(streams))
            self._sessions[index].resubscribe(streams)
        for index in healing.reconnect:
            self.healings.inc("reconnect")
            count = self._liveness.stale(index)
            self._sessions[index].reconnect(f"{count} of its streams are stale")
        if healing.left:
            self.healings.inc("rest", by=len(healing.left))
            log.warning(
                "%d streams stay silent, REST brings their closes; first %s",
                len(healing.left),
                healing.left[0],
            )

    # --- what they are like --------------------------------------------------------------------

    @property
    def active(self) -> list[Session]:
        """Those that have something to subscribe to."""
        return [session for session in self._sessions if session.streams]

    @property
    def desired(self) -> int:
        """Streams wanted."""
        return sum(len(session.streams) for session in self._sessions)

    @property
    def age_ms(self) -> int | None:
        """Of the connection whose data is oldest; None if one is not connected.

        Those whose silence is no wonder do not count.
        """
        ages = {session.index: self.age_of(session) for session in self.active}
        known = [age for age in ages.values() if age is not None]
        if not known or len(known) < len(ages):
            return None
        return max((ages[s.index] or 0 for s in self.active if s.talks), default=0)

    def age_of(self, session: Session) -> int | None:
        """How old the newest data of a connection is, ms; None while it is not connected.

        Data can be older than the silence since it came: on a slow line, and on a new connection
        that has brought nothing new yet.
        """
        age_ms = session.age_ms
        return None if age_ms is None else max(age_ms, self._liveness.lag_ms(session.index))

    @property
    def lag_ms(self) -> int:
        """Since the newest event of the slowest connection, by the exchange's clock."""
        talking = [session.index for session in self.active if session.talks]
        return max((self._liveness.lag_ms(index) for index in talking), default=0)

    def reasons(self) -> list[str]:
        """Why a connection does not bring what it should."""
        reasons = []
        for session in self.active:
            if session.link is None or not session.connected:
                reasons.append(f"connection {session.index} is down: {session.reason}")
                continue
            age_s = (self.age_of(session) or 0) / 1000
            if age_s > self._settings.stale_after_s and session.talks:
                reasons.append(f"connection {session.index} brings no new data for {age_s:.0f} s")
        return reasons
