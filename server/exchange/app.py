"""The simulated exchange as a server: one port, REST and WebSocket, on a clock of its own."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence

from server.clock import Clock, ScaledClock
from server.exchange.book import Book
from server.exchange.door import Door, HttpAnswer
from server.exchange.faults import Faults
from server.exchange.listings import Listings
from server.exchange.minutes import MINUTE_MS, Source
from server.exchange.publisher import SPEEDS, Publisher, Speeds
from server.exchange.rest import RestFace
from server.exchange.sockets import Connection, Streams, read_path

__all__ = ["Exchange", "serve_forever"]

_TARGET_SIZE_MAX = 8004  # characters; longer URLs are rejected
_CONNECTS_MAX = 300  # attempts of one address within _CONNECTS_S
_CONNECTS_S = 300.0
_ADDRESSES_MAX = 1000  # whose attempts are remembered; the oldest are forgotten
_DOORS_MAX = 1000  # open connections that are no WebSocket; beyond it new ones are reset

#: When stepping, wait while a client has more than this many bytes to take.
_STEP_BUFFER_MAX = 1 << 20
#: A client that takes nothing for so long while stepping is cut, real seconds.
_STEP_STALL_S = 30.0
_STEP_PAUSE_S = 0.0005

_KEEP_ALIVE_S = 1.0  # seconds of the exchange between two looks at who is alive
_TICK_MIN_S = 0.01  # real seconds between two looks at the clock, however fast it is


class Exchange:
    """Serves ``source`` as Binance would, at the pace of ``clock``.

    Started with ``stepping=True`` it publishes only when told to (``publish_until``), each close in
    order and no faster than its clients read: a recorded month passes as fast as they can take it.
    ``faults`` are switches for what may go wrong; ``counters`` tell what happened.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        *,
        stepping: bool = False,
        ping_s: float | None = None,
        pong_s: float | None = None,
        life_s: float = 86_400.0,
        weight_limit: int | None = None,
        speeds: Speeds | None = None,
        unlisted: Sequence[str] = (),
    ) -> None:
        """``unlisted``: symbols of ``source`` that ``list_symbol`` brings in later.

        ``speeds`` thins out (or not) what is sent; the default is the exchange's own.
        """
        spot = source.market == "spot"
        self.clock = clock
        self.faults = Faults()
        self.book = Book(Listings(source, unlisted=unlisted))
        self.source = self.book.source
        self.rest = RestFace(self.book, self.faults, weight_limit=weight_limit)
        self.streams = Streams(clock, self.faults, market=source.market)
        self.publisher = Publisher(self.book, self.streams, self.faults)
        self.host = ""
        self.port = 0
        self._speeds = speeds or SPEEDS[source.market]
        self._stepping = stepping
        self._now_ms = 0  # of a stepping exchange: how far it has published
        self._keep_alive = {
            "ping_s": ping_s if ping_s is not None else 20.0 if spot else 180.0,
            "pong_s": pong_s if pong_s is not None else 60.0 if spot else 600.0,
            "life_s": life_s,
        }
        self._own_counters = {"connects_refused": 0, "doors_refused": 0}
        self._connects: dict[str, deque[float]] = {}
        self._doors: dict[Door, None] = {}
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def rest_url(self) -> str:
        """Base URL of REST, without a path."""
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """Base URL of streams, without a path."""
        return f"ws://{self.host}:{self.port}"

    @property
    def now_ms(self) -> int:
        """The exchange's time: its clock's, or of a stepping one how far it has published."""
        now_ms = self._now_ms if self._stepping else self.clock.time_ms()
        return now_ms if self.source.end_ms is None else min(now_ms, self.source.end_ms)

    @property
    def counters(self) -> dict[str, int]:
        """Everything counted, by name; REST's and the streams' too."""
        parts = (self.rest.counters, self.streams.counters, self.publisher.counters)
        return {
            name: count for part in (*parts, self._own_counters) for name, count in part.items()
        }

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, now_ms: int = 0) -> None:
        """Listen; ``now_ms`` is where a stepping exchange begins. Raises OSError: port in use."""
        self._now_ms = now_ms
        self.publisher.published_ms = self.now_ms
        self.host, self.port = host, port
        await self.listen()
        self._tasks.append(asyncio.create_task(self._run_keep_alive()))
        if not self._stepping:
            self._tasks.append(asyncio.create_task(self._run()))

    async def stop(self) -> None:
        """Close every connection and the port."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.streams.cut_all()
        await self.refuse()

    async def listen(self) -> None:
        """Accept connections, after ``refuse`` on the same port again."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._open_door, self.host, self.port)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def refuse(self) -> None:
        """Stop listening, so that connecting fails; open streams stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for door in tuple(self._doors):
            door.close()
        await asyncio.sleep(0)

    # --- symbols -------------------------------------------------------------------------------

    def list_symbol(self, name: str) -> None:
        """From now on ``name`` exists. Raises ValueError: it does already, or no source has it."""
        self.source.list_symbol(name, self.now_ms)
        self.publisher.renew(name)

    def delist(self, name: str) -> None:
        """From now on there is no ``name``. Raises KeyError: there was none."""
        self.source.delist(name, self.now_ms)
        self.publisher.renew(name)

    def rename(self, old: str, new: str) -> None:
        """``old`` goes, ``new`` comes in its place, without its history."""
        self.source.rename(old, new, self.now_ms)
        self.publisher.renew(old)
        self.publisher.renew(new)

    def set_status(self, name: str, status: str) -> None:
        """Any status but ``TRADING`` ends its trades. Raises KeyError: no such symbol."""
        self.source.set_status(name, status, self.now_ms)
        self.publisher.renew(name)

    # --- requests ------------------------------------------------------------------------------

    def _open_door(self) -> Door:
        welcome = len(self._doors) < _DOORS_MAX
        self._own_counters["doors_refused"] += not welcome
        return Door(self._answer, self._upgrade, self._doors, welcome=welcome)

    def _upgrade(self, target: str, address: str) -> Connection | HttpAnswer:
        if len(target) > _TARGET_SIZE_MAX:
            return HttpAnswer(414, {}, b"")
        if self.faults.refuse_connects:
            return HttpAnswer(503, {}, b"")
        if not self._may_connect(address):
            self._own_counters["connects_refused"] += 1
            return HttpAnswer(429, {"Retry-After": "60"}, b"")
        asked = read_path(target, self.source.market)
        return HttpAnswer(404, {}, b"") if asked is None else Connection(self.streams, **asked)

    def _may_connect(self, address: str) -> bool:
        now = self.clock.monotonic()
        if address not in self._connects and len(self._connects) >= _ADDRESSES_MAX:
            del self._connects[next(iter(self._connects))]
        attempts = self._connects.setdefault(address, deque(maxlen=_CONNECTS_MAX + 1))
        while attempts and attempts[0] < now - _CONNECTS_S:
            attempts.popleft()
        attempts.append(now)
        return len(attempts) <= _CONNECTS_MAX

    def _answer(self, target: str, address: str) -> HttpAnswer:
        answer = self.rest.handle(target, self.now_ms, address)
        cut = self.faults.rest_cut > 0
        self.faults.rest_cut -= cut
        return HttpAnswer(*answer, delay_s=self.faults.rest_delay_s, cut=cut)

    # --- publishing ----------------------------------------------------------------------------

    async def _run(self) -> None:
        rate = self.clock.rate if isinstance(self.clock, ScaledClock) else 1.0
        # However fast the clock, no more looks at it than the machine has time for.
        tick_min_s = _TICK_MIN_S * rate
        while True:
            self.publisher.publish(self.now_ms, self._speeds)
            wait_ms = self.publisher.next_due_ms(self._speeds) - self.clock.time_ms()
            await self.clock.sleep(max(wait_ms / 1000, tick_min_s))

    async def _run_keep_alive(self) -> None:
        tick_s = min(_KEEP_ALIVE_S, *self._keep_alive.values())
        while True:
            await self.clock.sleep(tick_s)
            self.streams.keep_alive(**self._keep_alive)

    async def publish_until(
        self, end_ms: int, *, forming_every_ms: int = 0, tickers_every_ms: int = MINUTE_MS
    ) -> None:
        """Step to ``end_ms``: every close on the way, in order, as fast as clients read.

        Forming rows and tickers are sent at whole multiples of their periods; 0 leaves them out.
        """
        speeds = Speeds(forming_every_ms, tickers_every_ms, tickers_every_ms, tickers_every_ms)
        step_ms = min((ms for ms in (forming_every_ms, tickers_every_ms) if ms), default=MINUTE_MS)
        step_ms = min(step_ms, MINUTE_MS)
        while self.publisher.published_ms < end_ms:
            following = (self.publisher.published_ms // step_ms + 1) * step_ms
            minute = (self.publisher.published_ms // MINUTE_MS + 1) * MINUTE_MS
            self._now_ms = min(following, minute, end_ms)
            self.publisher.publish(self._now_ms, speeds)
            await self._drain()

    async def _drain(self) -> None:
        """Let clients read; wait for those that are far behind, and cut those that stopped."""
        await asyncio.sleep(0)
        limit_s = self.clock.monotonic() + _STEP_STALL_S
        while self.streams.waiting > _STEP_BUFFER_MAX:
            await asyncio.sleep(_STEP_PAUSE_S)
            if self.clock.monotonic() > limit_s:
                self.streams.cut_stalled(_STEP_BUFFER_MAX)


async def serve_forever(
    exchange: Exchange,
    host: str,
    port: int,
    *,
    parent_pid: int | None = None,
    on_start: Callable[[Exchange], None] | None = None,
) -> None:
    """Run until cancelled, or until the process ``parent_pid`` that started this one is gone.

    ``on_start`` is called once the port is open: the place to print its URL.
    """
    await exchange.start(host, port)
    if on_start is not None:
        on_start(exchange)
    try:
        while parent_pid is None or os.getppid() == parent_pid:
            await asyncio.sleep(0.5)
    finally:
        await exchange.stop()
