"""One stream connection for its whole life: connect, subscribe, watch, replace, connect again."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import msgspec
from picows import WSError, WSMsgType, ws_connect

from klinecore.market import Market
from klinecore.parsers.binance import FrameKind
from server.clock import Clock
from server.errors import FeedError
from server.feeds._listener import FeedListener
from server.metrics import Counter
from server.settings import Settings

__all__ = ["ConnectLimiter", "Session"]

log = logging.getLogger(__name__)

#: Longer SUBSCRIBE messages are never answered; the exchange cuts at 4,096 bytes on the wire.
SUBSCRIBE_SIZE_MAX = 3900

#: Data must have come this many seconds after the last ACK before a new socket replaces an old.
_OVERLAP_S = 4.0

#: Seconds between two looks at a connection.
_WATCH_S = 1.0


class ConnectLimiter:
    """Spaces connection attempts of all sessions: the exchange counts them per address."""

    def __init__(self, clock: Clock, interval_s: float) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._lock = asyncio.Lock()
        self._next = 0.0
        self.attempts = 0

    async def wait(self) -> None:
        """Return when the next attempt may be made."""
        async with self._lock:
            wait_s = self._next - self._clock.monotonic()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            self._next = self._clock.monotonic() + self._interval_s
            self.attempts += 1


class _Link:
    """One socket: its listener, and what the exchange has not acknowledged yet."""

    def __init__(self, market: Market, clock: Clock, on_change: Callable[[], None]) -> None:
        self.listener = FeedListener(
            market, asyncio.get_running_loop(), on_change, self._on_control, self._on_closed
        )
        self.closed = asyncio.Event()
        self.shutdown = False  # the exchange said that it will close
        self.opened_s = clock.monotonic()
        self.opened_ms = clock.time_ms()
        self.waiting: dict[int, float] = {}  # SUBSCRIBE id -> when it was sent
        self.refusal: str | None = None
        self._clock = clock
        self._seen = (0, 0)
        self._heard_s = self.opened_s
        self._data_s = self.opened_s

    def _on_closed(self) -> None:
        self.closed.set()

    def _on_control(self, kind: int, message: bytes) -> None:
        if kind == FrameKind.SHUTDOWN:
            self.shutdown = True
            return
        try:
            reply = msgspec.json.decode(message)
        except msgspec.DecodeError:
            return
        request = reply.get("id") if isinstance(reply, dict) else None
        if isinstance(request, int):
            self.waiting.pop(request, None)
        if kind == FrameKind.ERROR_REPLY:
            self.refusal = message[:200].decode(errors="replace")

    def send(self, message: bytes) -> None:
        transport = self.listener.transport
        if transport is not None:
            transport.send(WSMsgType.TEXT, message)

    def look(self) -> None:
        """Note whether anything came since the last look."""
        now = self._clock.monotonic()
        frames, pings = self.listener.frames, self.listener.pings
        if frames != self._seen[0]:
            self._data_s = self._heard_s = now
        elif pings != self._seen[1]:
            self._heard_s = now
        self._seen = (frames, pings)

    @property
    def silent_s(self) -> float:
        """Seconds without data or ping, as of the last look."""
        return self._clock.monotonic() - self._heard_s

    @property
    def dataless_s(self) -> float:
        """Seconds without data, pings aside."""
        return self._clock.monotonic() - self._data_s

    def close(self) -> None:
        transport = self.listener.transport
        if transport is not None:
            transport.send_close()
            transport.disconnect()


class Session:
    """Keeps ``streams`` subscribed on one connection at a time until it is stopped.

    A connection that ends, falls silent or does not acknowledge is replaced with growing random
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
        on_change: Callable[[], None],
        on_connected: Callable[[], None],
    ) -> None:
        self.index = index
        self.streams = tuple(streams)
        self.state = "connecting"
        self.reason = "not connected yet"  # why it is not, or why the last connection ended
        self.connects = 0
        self.link: _Link | None = None
        self.subscribed = asyncio.Event()
        self._url = url
        self._market = market
        self._settings = settings
        self._ping_timeout_s = ping_timeout_s
        self._clock = clock
        self._random = random
        self._limiter = limiter
        self._reconnects = reconnects
        self._on_change = on_change
        self._on_connected = on_connected
        self._failures = 0
        self._next_id = 1

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    link = await self._open()
                except FeedError as error:
                    self._ended("connect", str(error))
                    await self._back_off()
                    continue
                await self._live(link)
                await self._back_off()
        finally:
            if self.link is not None:
                self.link.close()

    @property
    def age_ms(self) -> int | None:
        """Since the last data, as of the last look; None while not connected."""
        return None if self.link is None else int(self.link.dataless_s * 1000)

    async def _live(self, link: _Link) -> None:
        """Watch connections until one ends without a successor."""
        while True:
            self.link = link
            self.state = "live"
            self.connects += 1
            self.subscribed.set()
            self._on_connected()
            ending, detail = await self._watch(link)
            if link.opened_s + self._settings.healthy_after_s < self._clock.monotonic():
                self._failures = 0
            self._reconnects.inc(ending)
            if ending in ("rotation", "shutdown"):
                log.info("connection %d: %s, opening its successor first", self.index, detail)
                successor = await self._succeed(link)
                if successor is not None:
                    link.close()
                    link = successor
                    continue
            link.close()
            self._ended(ending, detail)
            return

    def _ended(self, ending: str, detail: str) -> None:
        self.link = None
        self.state = "waiting"
        self.reason = detail
        log.warning("connection %d ended (%s): %s", self.index, ending, detail)

    async def _back_off(self) -> None:
        """Full jitter: any wait up to the bound, so that many do not come back together."""
        settings = self._settings
        bound = min(settings.backoff_max_s, settings.backoff_min_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        await self._clock.sleep(self._random.uniform(0.0, bound))
        self.state = "connecting"

    async def _open(self) -> _Link:
        """Connect and subscribe to everything. Raises FeedError."""
        await self._limiter.wait()
        link = _Link(self._market, self._clock, self._on_change)
        try:
            await ws_connect(
                lambda: link.listener,  # type: ignore[arg-type]
                self._url,
                websocket_handshake_timeout=self._settings.connect_timeout_s,
                max_frame_size=self._settings.frame_size_max,
                enable_auto_pong=False,  # the listener answers, and so knows of pings
                max_redirects=0,
            )
        except (WSError, OSError, TimeoutError) as error:
            raise FeedError(f"cannot connect to {self._url}: {error!r}") from None
        try:
            await self._subscribe(link)
        except BaseException:
            link.close()
            raise
        return link

    async def _subscribe(self, link: _Link) -> None:
        """Send every SUBSCRIBE at the allowed rate, then wait for the last ACK."""
        for request, message in self._subscriptions():
            if link.closed.is_set():
                raise FeedError("closed while subscribing")
            link.waiting[request] = self._clock.monotonic()
            link.send(message)
            await self._clock.sleep(1.0 / self._settings.subscribe_rate_per_s)
        deadline = self._clock.monotonic() + self._settings.ack_timeout_s
        while link.waiting:
            if link.closed.is_set():
                raise FeedError("closed before the subscriptions were acknowledged")
            if link.refusal is not None:
                raise FeedError(f"the exchange refused to subscribe: {link.refusal}")
            if self._clock.monotonic() > deadline:
                raise FeedError(
                    f"{len(link.waiting)} subscriptions not acknowledged within "
                    f"{self._settings.ack_timeout_s:g} s"
                )
            await self._clock.sleep(0.02)

    def _subscriptions(self) -> Iterator[tuple[int, bytes]]:
        """Messages of at most ``SUBSCRIBE_SIZE_MAX`` bytes that name every stream once."""
        waiting = deque(self.streams)
        while waiting:
            names: list[str] = []
            size = 60
            while waiting and size + len(waiting[0].encode()) + 3 <= SUBSCRIBE_SIZE_MAX:
                size += len(waiting[0].encode()) + 3
                names.append(waiting.popleft())
            request = self._next_id
            self._next_id += 1
            yield (
                request,
                msgspec.json.encode({"method": "SUBSCRIBE", "params": names, "id": request}),
            )

    async def _watch(self, link: _Link) -> tuple[str, str]:
        """Why this connection has to end."""
        settings = self._settings
        # A tenth earlier at random, so that connections of one start do not rotate together.
        rotate_s = settings.rotate_after_s * self._random.uniform(0.9, 1.0)
        pause_s = min(_WATCH_S, self._ping_timeout_s / 4)
        while True:
            await self._clock.sleep(pause_s)
            link.look()
            if link.closed.is_set():
                return "closed", "the exchange closed the connection"
            if link.shutdown:
                return "shutdown", "the exchange announced a shutdown"
            if link.silent_s > self._ping_timeout_s:
                return "silent", f"neither data nor ping for {link.silent_s:.0f} s"
            if link.dataless_s > max(self._ping_timeout_s, settings.stale_after_s):
                return "dataless", f"pings, but no data for {link.dataless_s:.0f} s"
            if self._clock.monotonic() - link.opened_s > rotate_s:
                return "rotation", "the connection is a day old"

    async def _succeed(self, old: _Link) -> _Link | None:
        """Open the next connection while the old one goes on; None if the old one ended first."""
        while not old.closed.is_set():
            try:
                link = await self._open()
            except FeedError as error:
                log.warning("connection %d: no successor yet: %s", self.index, error)
                await self._back_off()
                self.state = "live"
                continue
            frames = link.listener.frames
            deadline = self._clock.monotonic() + _OVERLAP_S
            while self._clock.monotonic() < deadline and not link.closed.is_set():
                await self._clock.sleep(min(0.1, _OVERLAP_S / 10))
            if link.closed.is_set() or link.listener.frames == frames:
                link.close()
                continue
            return link
        return None
