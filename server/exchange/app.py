"""The simulated exchange as a server: one port, REST and WebSocket, on a clock of its own."""

from __future__ import annotations

import asyncio
import os
from collections import deque

import msgspec
from picows import (
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from server.clock import Clock
from server.exchange.book import SERVED_INTERVALS, Book
from server.exchange.faults import Faults
from server.exchange.minutes import MINUTE_MS, Source
from server.exchange.rest import RestFace
from server.exchange.sockets import Connection, Streams, read_path

__all__ = ["Exchange", "serve_forever"]

_TARGET_SIZE_MAX = 8004  # longer URLs are rejected
_CONNECTS_MAX = 300  # attempts of one address within _CONNECTS_MS
_CONNECTS_MS = 300_000

#: When stepping, wait while a client has more than this many bytes to take.
_STEP_BUFFER_MAX = 1 << 20

_KLINE_MS = 2000  # between two updates of a forming kline
_TICKER_MS = 1000
_TICK_S = 0.25  # real seconds between two looks at the clock at most


class Exchange:
    """Serves ``source`` as Binance would, at the pace of ``clock``.

    Started with ``stepping=True`` it publishes only when told to (``publish_until``), each close in
    order and no faster than its clients read: a recorded month passes as fast as they can take it.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        *,
        stepping: bool = False,
        ping_s: float = 20.0,
        pong_s: float = 60.0,
        life_s: float = 86_400.0,
        weight_limit: int | None = None,
    ) -> None:
        self.source = source
        self.clock = clock
        self.faults = Faults()
        self.book = Book(source)
        self.rest = RestFace(self.book, self.faults, weight_limit=weight_limit)
        self.streams = Streams(clock, self.faults, market=source.market)
        self.counters = {"connects_refused": 0}
        self._stepping = stepping
        self._now_ms = 0  # of a stepping exchange: how far it has published
        self._keep_alive = {"ping_s": ping_s, "pong_s": pong_s, "life_s": life_s}
        self._connects: deque[int] = deque()
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._published_ms = 0
        self._due = {"kline": 0, "ticker": 0}
        self._late: deque[tuple[int, str, bytes]] = deque()
        self.host = ""
        self.port = 0

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

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, now_ms: int = 0) -> None:
        """Listen; ``now_ms`` is where a stepping exchange begins. Raises OSError: port in use."""
        self._now_ms = now_ms
        self._published_ms = self.now_ms
        self._server = await ws_create_server(
            self._accept,
            host,
            port,
            enable_auto_pong=False,
            max_frame_size=1 << 20,
            read_buffer_init_size=4096,
        )
        self.host, self.port = self._server.sockets[0].getsockname()[:2]
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
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    # --- requests ------------------------------------------------------------------------------

    def _accept(
        self, request: WSUpgradeRequest
    ) -> Connection | WSUpgradeResponseWithListener | None:
        target = request.path.decode("latin-1")
        if request.headers.get("upgrade", "").lower() != "websocket":
            return self._answer(target)
        if len(target) > _TARGET_SIZE_MAX:
            return _http(414, {}, b"")
        if self.faults.refuse_connects:
            return _http(503, {}, b"")
        if not self._may_connect():
            self.counters["connects_refused"] += 1
            return _http(429, {"Retry-After": "60"}, b"")
        asked = read_path(target, self.source.market)
        return None if asked is None else Connection(self.streams, **asked)

    def _may_connect(self) -> bool:
        now_ms = self.clock.time_ms()
        while self._connects and self._connects[0] < now_ms - _CONNECTS_MS:
            self._connects.popleft()
        self._connects.append(now_ms)
        return len(self._connects) <= _CONNECTS_MAX

    def _answer(self, target: str) -> WSUpgradeResponseWithListener:
        answer = self.rest.handle(target, self.now_ms)
        return _http(answer.status, answer.headers, answer.body)

    # --- publishing ----------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._publish(self.now_ms)
            await asyncio.sleep(_TICK_S / max(1.0, getattr(self.clock, "rate", 1.0)))

    async def _run_keep_alive(self) -> None:
        while True:
            await self.clock.sleep(1.0)
            self.streams.keep_alive(**self._keep_alive)

    async def publish_until(self, end_ms: int) -> None:
        """Step to ``end_ms``: every close on the way, minute by minute, as fast as clients read."""
        while self._published_ms < end_ms:
            following = (self._published_ms // MINUTE_MS + 1) * MINUTE_MS
            self._now_ms = min(following, end_ms)
            self._publish(self._now_ms)
            while self.streams.waiting > _STEP_BUFFER_MAX:
                await asyncio.sleep(0.0005)
            await asyncio.sleep(0)

    def _publish(self, now_ms: int) -> None:
        """Send what is due: the closes since the last call, in order, then forming updates."""
        boundary = (self._published_ms // MINUTE_MS + 1) * MINUTE_MS
        while boundary <= now_ms:
            self._publish_closes(boundary)
            boundary += MINUTE_MS
        self._published_ms = now_ms
        while self._late and self._late[0][0] <= now_ms:
            _, stream, message = self._late.popleft()
            self.streams.publish(stream, message, closing=True)
        if now_ms >= self._due["kline"]:
            self._due["kline"] = now_ms + _KLINE_MS
            self._publish_forming(now_ms)
        if now_ms >= self._due["ticker"]:
            self._due["ticker"] = now_ms + _TICKER_MS
            self._publish_tickers(now_ms)

    def _publish_closes(self, boundary_ms: int) -> None:
        messages = []
        for interval in self.book.closes_at(boundary_ms):
            for symbol in self.source.symbols:
                stream = f"{symbol.lower()}@kline_{interval}"
                if not self.streams.subscribers.get(stream):
                    continue
                open_ms = self.book.previous_open(interval, boundary_ms)
                row = self.book.row_at(symbol, interval, open_ms, boundary_ms)
                if row is not None:
                    frame = self.book.kline_frame(symbol, interval, row, boundary_ms)
                    messages.append((stream, frame))
        if self.faults.reorder:
            messages.reverse()
        for stream, frame in messages:
            if self.faults.late_close_ms:
                self._late.append((boundary_ms + self.faults.late_close_ms, stream, frame))
            else:
                self.streams.publish(stream, frame, closing=True)

    def _publish_forming(self, now_ms: int) -> None:
        for symbol in self.source.symbols:
            for interval in SERVED_INTERVALS:
                stream = f"{symbol.lower()}@kline_{interval}"
                if not self.streams.subscribers.get(stream):
                    continue
                rows = self.book.rows(symbol, interval, now_ms, limit=1)
                if rows and not rows[0].closed:
                    frame = self.book.kline_frame(symbol, interval, rows[0], now_ms)
                    self.streams.publish(stream, frame)

    def _publish_tickers(self, now_ms: int) -> None:
        minis, fulls = [], []
        subscribers = self.streams.subscribers
        everyone = bool(subscribers.get("!miniTicker@arr") or subscribers.get("!ticker@arr"))
        for symbol in self.source.symbols:
            names = {
                kind: f"{symbol.lower()}@{kind}" for kind in ("ticker", "miniTicker", "bookTicker")
            }
            if not everyone and not any(subscribers.get(name) for name in names.values()):
                continue
            values = self.book.ticker(symbol, now_ms)
            if values is None:
                continue
            full = msgspec.json.encode({"e": "24hrTicker"} | values)
            mini = msgspec.json.encode(
                {"e": "24hrMiniTicker"} | {key: values[key] for key in "Escohlvq"}
            )
            minis.append(mini)
            fulls.append(full)
            self.streams.publish(names["ticker"], full)
            self.streams.publish(names["miniTicker"], mini)
            self.streams.publish(names["bookTicker"], self._book_frame(symbol, values, now_ms))
        if minis:
            self.streams.publish("!miniTicker@arr", b"[" + b",".join(minis) + b"]")
            if self.source.market == "um":
                self.streams.publish("!ticker@arr", b"[" + b",".join(fulls) + b"]")

    def _book_frame(self, symbol: str, values: dict[str, str | int], now_ms: int) -> bytes:
        last, quantity = values["c"], values["Q"]
        frame: dict[str, str | int] = {"u": now_ms, "s": symbol}
        for key, stand_in in (("b", last), ("B", quantity), ("a", last), ("A", quantity)):
            frame[key] = values.get(key, stand_in)
        if self.source.market == "um":
            frame = {"e": "bookTicker"} | frame | {"T": now_ms, "E": now_ms}
        return msgspec.json.encode(frame)


def _http(status: int, headers: dict[str, str], body: bytes) -> WSUpgradeResponseWithListener:
    headers = {"Content-Type": "application/json;charset=UTF-8"} | headers
    if status < 400:
        response = WSUpgradeResponse.create_ok_response(body, headers)
    else:
        response = WSUpgradeResponse.create_error_response(status, body, headers)
    return WSUpgradeResponseWithListener(response, None)


async def serve_forever(
    exchange: Exchange, host: str, port: int, *, parent_pid: int | None = None
) -> None:
    """Run until cancelled, or until the process ``parent_pid`` that started this one is gone."""
    await exchange.start(host, port)
    try:
        while parent_pid is None or os.getppid() == parent_pid:
            await asyncio.sleep(0.5)
    finally:
        await exchange.stop()
