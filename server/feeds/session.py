"""Streams of one connection, kept subscribed: connect, watch, replace, connect again."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import Callable, Sequence
from typing import NamedTuple

from klinecore.market import Market
from server.clock import Clock, wait_event
from server.errors import FeedError
from server.feeds.arrivals import Arrivals
from server.feeds.link import Link
from server.feeds.listener import ChangeNotifier
from server.metrics import Counter
from server.settings import Settings

__all__ = ["ConnectLimiter", "Session"]

log = logging.getLogger(__name__)

#: A new connection runs beside the old one this long, s: two updates of the slowest stream.
_OVERLAP_S = 4.0

#: Seconds between two looks at a connection.
_WATCH_S = 1.0

#: The bound of the back-off doubles at most this often; then the setting bounds it.
_DOUBLINGS_MAX = 30


class ConnectLimiter:
    """Spaces connection attempts of all sessions: the exchange counts them per address."""

    def __init__(self, clock: Clock, interval_s: float) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._lock = asyncio.Lock()
        self._next = clock.monotonic()
        self.attempts = 0

    async def wait(self) -> None:
        """Return when the next attempt may be made."""
        async with self._lock:
            wait_s = self._next - self._clock.monotonic()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            self._next = self._clock.monotonic() + self._interval_s
            self.attempts += 1


class Ending(NamedTuple):
    """Why a connection has to end."""

    reason: str  # of few words, for a metric
    detail: str
    announced: bool = False  # it still delivers, so its successor comes first


class Received(NamedTuple):
    """What all connections of a session have received."""

    size: int  # bytes of messages
    dropped: int  # messages


class Session:
    """Keeps ``streams`` subscribed on one connection at a time until it is stopped.

    A connection that ends, falls silent or does not acknowledge is replaced after growing random
    waits; one that the exchange is about to close, only after its successor delivers.
    """

    def __init__(
        self,
        index: int,
        url: str,
        streams: Sequence[str],
        market: Market,
        *,
        settings: Settings,
        ping_timeout_s: float,
        clock: Clock,
        random: random_module.Random,
        limiter: ConnectLimiter,
        reconnects: Counter,
        changes: ChangeNotifier,
        arrivals: Arrivals,
        now_ms: Callable[[], int],
        on_connected: Callable[[], None],
    ) -> None:
        self.index = index
        self.streams = tuple(streams)
        self.arrivals = arrivals
        self.state = "connecting"  # then live, or waiting for the next attempt
        self.reason = "not connected yet"  # why it is not live, or is not to be for long
        self.connects = 0
        self.link: Link | None = None
        self.subscribed = asyncio.Event()  # set for good when the first connection is subscribed
        self._url = url
        self._market = market
        self._settings = settings
        self._ping_timeout_s = ping_timeout_s
        self._dataless_max_s = max(settings.ping_timeout_s, 2 * settings.stale_after_s)
        self._clock = clock
        self._random = random
        self._limiter = limiter
        self._reconnects = reconnects
        self._changes = changes
        self._now_ms = now_ms
        self._on_connected = on_connected
        self._failures = 0
        self._links: set[Link] = set()
        self._received = Received(0, 0)  # on connections that are gone

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                link = await self._open_surely()
                await self._serve(link)
                await self._back_off()
        finally:
            for link in self._links:
                link.close()
            await asyncio.gather(*(link.wait_closed() for link in self._links))

    @property
    def connected(self) -> bool:
        """True while the present connection is open and subscribed."""
        return self.link is not None and not self.link.closed.is_set()

    @property
    def age_ms(self) -> int | None:
        """Since the last new data, as of the last look; None while not connected."""
        return int(self.link.dataless_s * 1000) if self.link and self.connected else None

    @property
    def received(self) -> Received:
        """Counted over all connections so far."""
        listeners = [link.listener for link in self._links]
        return Received(
            self._received.size + sum(listener.size for listener in listeners),
            self._received.dropped + sum(listener.dropped for listener in listeners),
        )

    # --- one connection after the other --------------------------------------------------------

    async def _serve(self, link: Link) -> None:
        """Watch connections until one ends without a successor."""
        while True:
            self._adopt(link)
            ending = await self._watch(link)
            self._reconnects.inc(ending.reason)
            if self._clock.monotonic() - link.opened_s > self._settings.healthy_after_s:
                self._failures = 0
            if not ending.announced:
                break
            self.reason = ending.detail
            log.info("connection %d: %s; its successor comes first", self.index, ending.detail)
            successor = await self._succeed(link)
            self._drop(link)
            link = successor
        self.link = None
        self.state = "waiting"
        self.reason = ending.detail
        log.warning("connection %d ended: %s", self.index, ending.detail)
        self._drop(link)

    def _adopt(self, link: Link) -> None:
        self.link = link
        self.state = "live"
        self.reason = ""
        self.connects += 1
        self.subscribed.set()
        self._on_connected()

    def _drop(self, link: Link) -> None:
        link.close()
        self._forget({other for other in self._links if other.closed.is_set()})

    def _forget(self, links: set[Link]) -> None:
        self._links -= links
        self._received = Received(
            self._received.size + sum(link.listener.size for link in links),
            self._received.dropped + sum(link.listener.dropped for link in links),
        )

    async def _watch(self, link: Link) -> Ending:
        """Return when this connection has to end."""
        # A tenth earlier at random, so that connections of one start do not rotate together.
        rotate_s = self._settings.rotate_after_s * self._random.uniform(0.9, 1.0)
        pause_s = min(_WATCH_S, self._ping_timeout_s / 4)
        while True:
            await wait_event(link.stirred, self._clock, pause_s)
            link.stirred.clear()
            link.look()
            if link.closed.is_set():
                return Ending("closed", "the exchange closed the connection")
            if link.shutdown:
                return Ending("shutdown", "the exchange announced a shutdown", announced=True)
            if link.overdue or link.silent_s > self._ping_timeout_s:
                return Ending("silent", f"no sign of life for {link.silent_s:.0f} s")
            if link.lost:
                return Ending("lost", f"{len(link.lost)} subscriptions are gone")
            if link.dataless_s > self._dataless_max_s:
                return Ending("dataless", f"signs of life, no new data for {link.dataless_s:.0f} s")
            if self._clock.monotonic() - link.opened_s > rotate_s:
                return Ending("rotation", "the connection is a day old", announced=True)

    async def _succeed(self, old: Link) -> Link:
        """Open the next connection while the old one goes on, or after it has ended meanwhile."""
        while True:
            link = await self._open_surely()
            before = old.data_count
            await wait_event(old.closed, self._clock, _OVERLAP_S)
            # Silence proves nothing if the old connection was silent as well.
            delivers = link.data_count or old.data_count == before or old.closed.is_set()
            if delivers and not link.closed.is_set():
                return link
            log.warning("connection %d: the successor brings nothing", self.index)
            self._drop(link)
            await self._back_off()

    # --- attempts ------------------------------------------------------------------------------

    async def _open_surely(self) -> Link:
        """Connect and subscribe; try until it succeeds."""
        while True:
            try:
                return await self._open()
            except FeedError as error:
                self._reconnects.inc("connect")
                log.warning("connection %d: %s", self.index, error)
                if not self.connected:
                    self.state = "waiting"
                    self.reason = str(error)
                await self._back_off()

    async def _open(self) -> Link:
        """Connect and subscribe to everything once. Raises FeedError."""
        await self._limiter.wait()
        link = Link(
            self._market,
            self._changes,
            settings=self._settings,
            clock=self._clock,
            watermark=self.arrivals.newest_ms,
            now_ms=self._now_ms,
        )
        self._links.add(link)
        try:
            await link.connect(self._url)
            await link.subscribe(self.streams)
        except FeedError:
            link.close(graceful=False)
            self._forget({link})
            raise
        return link

    async def _back_off(self) -> None:
        """Full jitter: any wait up to the bound, so that many do not come back together."""
        settings = self._settings
        bound_s = min(settings.backoff_max_s, settings.backoff_min_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, _DOUBLINGS_MAX)
        await self._clock.sleep(self._random.uniform(0.0, bound_s))
        if not self.connected:
            self.state = "connecting"
