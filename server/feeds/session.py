"""Streams of one connection, kept subscribed: connect, watch, replace, connect again."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from klinecore.market import Market
from server.clock import Clock, wait_event
from server.errors import FeedError
from server.feeds.hosts import Hosts, host_of
from server.feeds.link import Link
from server.feeds.listener import ChangeNotifier
from server.feeds.liveness import Liveness
from server.metrics import Counter
from server.settings import Settings

__all__ = ["ConnectLimiter", "Session"]

log = logging.getLogger(__name__)

#: Update periods a successor has for each stream the old connection brought meanwhile.
_PERIODS_TO_FOLLOW = 2

#: Successors that bring some streams and not all before one of them has to do.
_PARTIAL_MAX = 3

#: Connects over all sessions within so many seconds; the exchange allows 300, restarts included.
CONNECTS_MAX = 280
CONNECTS_S = 300.0

#: Connections are replaced at ages that lie within this share below the setting, apart by the
#: golden section.
_ROTATE_SPREAD = 0.1
_GOLDEN = 0.618033988749895

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
        self._recent: deque[float] = deque(maxlen=CONNECTS_MAX)
        self.attempts = 0

    async def wait(self) -> None:
        """Return when the next attempt may be made."""
        async with self._lock:
            next_s = self._next
            if len(self._recent) == CONNECTS_MAX:
                next_s = max(next_s, self._recent[0] + CONNECTS_S)
            wait_s = next_s - self._clock.monotonic()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            now = self._clock.monotonic()
            self._recent.append(now)
            self._next = now + self._interval_s
            self.attempts += 1


class Ending(NamedTuple):
    """Why a connection has to end."""

    reason: str  # of few words, for a metric
    detail: str
    announced: bool = False  # it may still deliver, so its successor comes first


class Received(NamedTuple):
    """What all connections of a session have received."""

    size: int  # bytes of messages
    dropped: int  # messages


class Session:
    """Keeps ``streams`` subscribed on one connection at a time until it is stopped.

    Streams come and go while it runs; what an open connection is subscribed to follows.

    A connection that ends, falls silent or does not acknowledge is replaced after growing random
    waits; one that the exchange is about to close, only after its successor delivers. Every attempt
    after one that failed goes to the next host.
    """

    def __init__(
        self,
        index: int,
        hosts: Hosts,
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
        liveness: Liveness,
        period_s: float,
        phase: float,
        on_connected: Callable[[], None],
    ) -> None:
        """``period_s``: between two updates of a kline stream; ``phase`` (0..1), the same for
        all sessions of a start, says when they rotate."""
        self.index = index
        self.streams = dict.fromkeys(streams)
        self.state = "connecting"  # then live, waiting for the next attempt, or idle
        self.reason = "not connected yet"  # why it is not live, or is not to be for long
        self.connects = 0
        self.link: Link | None = None
        self.subscribed = asyncio.Event()  # set for good when the first connection is subscribed
        self.hosts = hosts
        self._market = market
        self._settings = settings
        self._ping_timeout_s = ping_timeout_s
        self._dataless_max_s = max(settings.ping_timeout_s, 2 * settings.stale_after_s)
        self._clock = clock
        self._random = random
        self._limiter = limiter
        self._reconnects = reconnects
        self._changes = changes
        self._on_connected = on_connected
        self._liveness = liveness
        self._follow_s = _PERIODS_TO_FOLLOW * period_s
        # Connections of one start never rotate together: the golden section keeps any number of
        # them apart.
        share = (index * _GOLDEN + phase) % 1.0
        self._rotate_s = settings.rotate_after_s * (1.0 - _ROTATE_SPREAD * share)
        self._failures = 0
        self._again: dict[str, None] = {}  # streams to subscribe anew
        self._changed = False  # the streams are not those of the connection
        self._wanted = asyncio.Event()
        self._replace = ""  # why the connection is to be replaced though it works
        self._links: dict[Link, None] = {}
        liveness.assign(streams, index)
        self._received = Received(0, 0)  # on connections that are gone

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._idle()
                link = await self._open_surely()
                await self._serve(link)
                await self._back_off()
        finally:
            self._end()
            for link in self._links:
                link.close()
            await asyncio.gather(*(link.wait_closed() for link in self._links))

    async def _idle(self) -> None:
        """Return when there is something to subscribe to."""
        while not self.streams:
            self.state = "idle"
            self._wanted.clear()
            await self._wanted.wait()
            self.state = "connecting"

    @property
    def connected(self) -> bool:
        """True while the present connection is open and subscribed."""
        return self.link is not None and not self.link.closed.is_set()

    @property
    def host(self) -> str:
        """The one connected to, or to be tried next."""
        link = self.link
        return host_of(link.url if link is not None and self.connected else self.hosts.url)

    @property
    def age_ms(self) -> int | None:
        """Since the last new data; None while not connected."""
        return int(self.link.dataless_s * 1000) if self.link and self.connected else None

    @property
    def talks(self) -> bool:
        """True if its silence would be odd: not all its symbols are halted, say."""
        return self._liveness.talks(self.index)

    @property
    def received(self) -> Received:
        """Counted over all connections so far."""
        listeners = [link.listener for link in self._links]
        return Received(
            self._received.size + sum(listener.size for listener in listeners),
            self._received.dropped + sum(listener.dropped for listener in listeners),
        )

    # --- what others ask of it ------------------------------------------------------------------

    def add(self, streams: Iterable[str]) -> None:
        """Subscribe to these as well."""
        names = tuple(streams)
        self.streams.update(dict.fromkeys(names))
        self._liveness.assign(names, self.index)
        self._change()

    def remove(self, streams: Iterable[str]) -> None:
        """Subscribe to these no more; unknown ones do not matter."""
        for name in streams:
            self.streams.pop(name, None)
            self._liveness.release(name)
        self._change()

    def resubscribe(self, streams: Iterable[str]) -> None:
        """Unsubscribe and subscribe these, so that the exchange begins them anew."""
        self._again.update(dict.fromkeys(streams))
        self._change()

    def reconnect(self, reason: str) -> None:
        """Replace the connection; it goes on until its successor delivers."""
        self._replace = reason
        self._change()

    def _change(self) -> None:
        self._changed = True
        self._wanted.set()
        if self.link is not None:
            self.link.stirred.set()

    async def _follow(self, link: Link) -> None:
        """Subscribe an open connection to what is wanted now. Raises FeedError."""
        self._changed = False
        again = [name for name in self._again if name in self.streams and name in link.names]
        self._again.clear()
        surplus = [name for name in link.names if name not in self.streams]
        missing = [name for name in self.streams if name not in link.names]
        if again or surplus or missing:
            await link.change([*again, *missing], [*surplus, *again])
            present = [name for name in (*again, *missing) if name in self.streams]
            self._liveness.subscribed(present)

    def _link_closed(self, link: Link) -> None:
        if link is self.link:
            self._liveness.closed(self.index)

    def _end(self) -> None:
        """The present connection is given up: its streams are not heard any more."""
        self.link = None
        self._liveness.closed(self.index)

    # --- one connection after the other --------------------------------------------------------

    async def _serve(self, link: Link) -> None:
        """Watch connections until one ends without a successor."""
        self._adopt(link, succeeds=False)
        while True:
            ending = await self._watch(link)
            self._reconnects.inc(ending.reason)
            if self._clock.monotonic() - link.opened_s > self._settings.healthy_after_s:
                self._failures = 0
            self.reason = f"{host_of(link.url)}: {ending.detail}"
            if not ending.announced:
                break
            log.info("connection %d: %s; its successor comes first", self.index, ending.detail)
            successor = await self._succeed(link)
            old, link = link, successor
            self._adopt(link, succeeds=not old.closed.is_set())
            self._drop(old)
        self._end()
        self.state = "waiting"
        idle = ending.reason == "idle"
        # Accepted, acknowledged, and never brought anything; cut once is forgiven.
        cut_once = ending.reason == "closed" and not self._failures
        if not (link.data_count or idle or cut_once):
            self.hosts.leave(link.url)
        level = logging.INFO if idle else logging.WARNING
        log.log(level, "connection %d ended: %s", self.index, self.reason)
        self._drop(link)

    def _adopt(self, link: Link, *, succeeds: bool) -> None:
        begin = self._liveness.succeeded if succeeds else self._liveness.opened
        begin(self.index, link.opened_s, link.base)
        link.listen_no_more()
        self.link = link
        self._replace = ""
        self._changed = True  # streams may have come while it was opened
        self.state = "live"
        self.reason = ""
        self.connects += 1
        self.subscribed.set()
        self._on_connected()

    def _drop(self, link: Link) -> None:
        link.close()
        self._forget([other for other in self._links if other.closed.is_set()])

    def _forget(self, links: Sequence[Link]) -> None:
        for link in links:
            self._links.pop(link, None)
        self._received = Received(
            self._received.size + sum(link.listener.size for link in links),
            self._received.dropped + sum(link.listener.dropped for link in links),
        )

    async def _watch(self, link: Link) -> Ending:
        """Return when this connection has to end."""
        pause_s = min(_WATCH_S, self._ping_timeout_s / 4)
        while True:
            await wait_event(link.stirred, self._clock, pause_s)
            link.stirred.clear()
            link.look()
            if not self.streams:
                return Ending("idle", "nothing to subscribe to")
            if self._changed and not link.closed.is_set():
                try:
                    await self._follow(link)
                except FeedError as error:
                    if not (link.closed.is_set() or link.overdue):
                        return Ending("refused", str(error))
            if link.closed.is_set():
                return Ending("closed", "the exchange closed the connection")
            if link.shutdown:
                return Ending("shutdown", "the exchange announced a shutdown", announced=True)
            if link.silent_s > (
                self._settings.ack_timeout_s if link.overdue else self._ping_timeout_s
            ):
                return Ending("silent", f"no sign of life for {link.silent_s:.0f} s")
            if link.overdue:
                detail = "a change of subscriptions was not acknowledged"
                return Ending("unanswered", detail, announced=True)
            if link.refused:
                return Ending("refused", "the exchange refused to change subscriptions")
            if link.lost:
                return Ending("lost", f"{len(link.lost)} subscriptions are gone")
            if link.dataless_s > self._dataless_max_s and self.talks:
                return Ending("dataless", f"signs of life, no new data for {link.dataless_s:.0f} s")
            if self._replace:
                return Ending("stale", self._replace, announced=True)
            if self._clock.monotonic() - link.opened_s > self._rotate_s:
                return Ending("rotation", "the connection is a day old", announced=True)

    async def _succeed(self, old: Link) -> Link:
        """Open the next connection while the old one goes on, or after it has ended meanwhile."""
        partial = 0
        while True:
            link = await self._open_surely(listen=True)
            missing = await self._compare(old, link)
            heard = bool(link.brought)
            partial += heard
            if not link.closed.is_set() and (not missing or (heard and partial >= _PARTIAL_MAX)):
                return link
            log.warning("connection %d: the successor lacks %d streams", self.index, len(missing))
            self.hosts.leave(link.url)
            self._drop(link)
            await self._back_off()

    async def _compare(self, old: Link, link: Link) -> list[str]:
        """What the old connection brings and its successor does not, once that can be told.

        Silence proves nothing where the old connection is silent as well.
        """
        old.listen()
        begun_s = self._clock.monotonic()
        while not (old.closed.is_set() or link.closed.is_set()):
            now_s = self._clock.monotonic()
            waiting = [name for name in old.brought if name not in link.brought]
            missing = [n for n in waiting if now_s - old.brought[n] >= self._follow_s]
            every = len(link.brought) >= len(link.names)
            settled = now_s - begun_s >= self._follow_s and not waiting
            if every or settled or missing or now_s - begun_s >= 2 * self._follow_s:
                old.listen_no_more()
                return missing
            await wait_event(old.closed, self._clock, self._follow_s / 8)
        return []

    # --- attempts ------------------------------------------------------------------------------

    async def _open_surely(self, *, listen: bool = False) -> Link:
        """Connect and subscribe; try until it succeeds."""
        while True:
            try:
                return await self._open(listen=listen)
            except FeedError as error:
                self._reconnects.inc("connect")
                log.warning("connection %d: %s", self.index, error)
                if not self.connected:
                    self.state = "waiting"
                    self.reason = str(error)
                await self._back_off()

    async def _open(self, *, listen: bool) -> Link:
        """Connect and subscribe to everything once. Raises FeedError."""
        await self._limiter.wait()
        url = self.hosts.url
        link = Link(
            self._market,
            self._changes,
            settings=self._settings,
            clock=self._clock,
            watermark=lambda: self._liveness.newest_ms(self.index),
            base=self._liveness.base(),
            on_closed=self._link_closed,
        )
        self._links[link] = None
        if listen:
            link.listen()
        try:
            await link.connect(url)
            await link.subscribe(tuple(self.streams))
        except FeedError as error:
            link.close(graceful=False)
            self._forget([link])
            self.hosts.leave(url)
            if url in str(error):
                raise
            raise FeedError(f"{host_of(url)}: {error}") from None
        return link

    async def _back_off(self) -> None:
        """Full jitter: any wait up to the bound, so that many do not come back together."""
        settings = self._settings
        bound_s = min(settings.backoff_max_s, settings.backoff_min_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, _DOUBLINGS_MAX)
        await self._clock.sleep(self._random.uniform(0.0, bound_s))
        if not self.connected:
            self.state = "connecting"
