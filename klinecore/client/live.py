"""A local market that follows a server's: joined, kept in step, joined again after a cut."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable
from types import TracebackType
from typing import Any, Literal

from klinecore.client.link import Link
from klinecore.client.messages import Message, Row, chunks, rows_body
from klinecore.client.position import Position
from klinecore.errors import RefusedError
from klinecore.market import Event, Market

__all__ = ["Live", "connect"]

#: Klines asked for by one request: more would fill the queue a slow client has at the server.
ROWS_AT_ONCE = 5000
#: Klines the server sends of one series.
SNAPSHOT_MAX = 1000
#: Streams one request may name when nothing is sent first.
STREAMS_AT_ONCE = 1000
#: The longest wait before the next attempt, seconds.
RETRY_S_MAX = 30.0
#: Seconds a connection must last before waits begin anew.
HEALTHY_S = 10.0

#: Symbol, and interval; "" for the symbol's ticker.
_Stream = tuple[str, str]


def connect(
    url: str,
    *,
    symbols: Iterable[str],
    intervals: Iterable[str],
    capacity: int = 500,
    tickers: bool = False,
    key: str | None = None,
    market: Literal["spot", "um"] | None = None,
    timeout_s: float = 30.0,
    retry_s: float = 0.5,
) -> Live:
    """Follow a server's market: ``async with connect(..) as live``, or ``live = await connect(..)``
    where ``await live.close()`` comes later.

    Entering waits until every series holds its newest klines, as long as no ``timeout_s`` pass
    without one more (some 40 a second come, and at most 1,024 by one connection). From then on a
    connection that is lost is made again, after waits that double from ``retry_s`` to half a
    minute, and what was missed is brought by the server's log, or read anew.

    Parameters
    ----------
    url: the stream port, ``ws://127.0.0.1:8081``; ``wss://`` behind a proxy that has TLS.
    symbols, intervals: every symbol is held in every interval; the server must hold them, too.
    capacity: closed klines kept of each series, at most 1000. With more than the server keeps, the
        rows between are whatever has been seen since.
    tickers: follow the symbols' 24 h tickers, too.
    key: the server's, sent as a header.
    market: of a server that has several.

    Raises
    ------
    ValueError: no or duplicate symbols or intervals, an unknown interval, or another capacity.

    Entering raises RefusedError: a key or a name is wrong; OSError: not reached in time.
    """
    if not 1 <= capacity <= SNAPSHOT_MAX:
        raise ValueError(f"capacity must be 1..{SNAPSHOT_MAX}, not {capacity}")
    local = Market(symbols, intervals, capacity)
    query = "?seq=true" + (f"&market={market}" if market else "")
    return Live(f"{url.rstrip('/')}/ws/0{query}", local, tickers, key, timeout_s, retry_s)


class Live:
    """``market``, in step with the server's; iterate over what changes in it.

    ``market`` is a ``klinecore.Market``: its columns are read-only float64 views of live memory
    (``market["BTCUSDT", "1m"].close``, shape ``(n,)``, oldest first), no copies; they change while
    your coroutine awaits and at no other time. ``series.snapshot()`` copies what must stay.

    Iterating gives ``klinecore.Event``: CLOSED or FILLED once for each closed kline, REVISED for
    each correction, FORMING and TICKER conflated while nobody looks. The history of the start is
    told of by no event. The events are the market's own: do not ``drain`` it. While nobody
    iterates, thousands of them wait, and what is more is counted in ``market.counters()`` as
    ``events_lost``; rows are never lost by that.

    It belongs to one event loop. Made by ``connect``.
    """

    def __init__(
        self,
        url: str,
        market: Market,
        tickers: bool,
        key: str | None,
        timeout_s: float,
        retry_s: float,
    ) -> None:
        self.market = market
        self.connected = False
        self.connections = 0  # made and joined so far
        # Series read whole: at the start, and when the server's log was too short.
        self.snapshots = 0
        self.fault = "not connected yet"  # why there was no connection the last time
        self._url = url
        self._key = key
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._position = Position()
        self._names: dict[str, _Stream] = {
            f"{symbol.lower()}@kline_{interval}": (symbol, interval)
            for symbol in market.symbols
            for interval in market.intervals
        }
        self._tickers = [f"{symbol.lower()}@ticker" for symbol in market.symbols if tickers]
        self._known: set[_Stream] = set()  # series that have had their first snapshot
        self._awaited: set[_Stream] = set()  # snapshots on their way
        self._arrived: asyncio.Future[None] | None = None  # done when all of them have come
        self._ready = asyncio.Event()
        self._news = asyncio.Event()
        self._events: deque[Event] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __await__(self) -> Generator[Any, None, Live]:
        """Enter without a block, as in a notebook; ``close`` ends it."""
        return self.__aenter__().__await__()

    @property
    def following(self) -> bool:
        """True while it is connected or tries to be: until ``close``, or a server that says no."""
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        """Follow no longer; the market stays as it is."""
        await self._stop()

    async def __aenter__(self) -> Live:
        self._task = asyncio.create_task(self._keep())
        self._task.add_done_callback(self._wake)
        try:
            await self._start()
            if self._task.done():
                self._task.result()  # which raises: it ends in no other way
        except BaseException:
            await self._stop()
            raise
        return self

    def _wake(self, task: asyncio.Task[None]) -> None:
        """Let those who wait see that there will be no connection any more."""
        self._ready.set()
        self._news.set()

    async def _start(self) -> None:
        """Wait until every series has come, as long as some do. Raises ConnectionError."""
        while not self._ready.is_set():
            known = len(self._known)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._ready.wait()
            except TimeoutError:
                if len(self._known) == known:
                    passed = f"{self._timeout_s:g} s have passed"
                    raise ConnectionError(f"{passed}: {self.fault}") from None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        self._closed = True
        self._news.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self.fault = "closed here"

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises RefusedError: the server takes us no more."""
        while not self._events:
            if self.market.pending:
                self._events.extend(self.market.drain())
            elif self._closed:
                raise StopAsyncIteration
            elif self._task is not None and self._task.done():
                self._task.result()
            else:
                self._news.clear()
                await self._news.wait()
        return self._events.popleft()

    # --- the connection ------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Stay connected until the task is cancelled. Raises RefusedError."""
        loop = asyncio.get_running_loop()
        wait = self._retry_s
        while True:
            began = loop.time()
            link = Link(self._take)
            try:
                await link.open(self._url, self._key)
                await self._join(link)
                self.connected = True
                self.connections += 1
                self._ready.set()
                self.fault = await link.ended
            except OSError as error:  # TimeoutError is one
                self.fault = str(error) or "no answer in time"
            except RefusedError as error:
                self.fault = str(error)
                raise
            finally:
                self.connected = False
                link.close()
            wait = self._retry_s if loop.time() - began > HEALTHY_S else wait
            await asyncio.sleep(random.uniform(0.0, wait))
            wait = min(2 * wait, RETRY_S_MAX)

    async def _join(self, link: Link) -> None:
        """Subscribe everything: from the last message taken on, or from snapshots."""
        self._position.begin()
        since = self._position.since
        afresh = True
        for names in chunks([*self._names, *self._tickers], STREAMS_AT_ONCE):
            if since is not None and await link.subscribe(names, since=since) is None:
                afresh = False
            else:
                await self._join_afresh(link, names)
        self._position.join(afresh=afresh)

    async def _join_afresh(self, link: Link, names: list[str]) -> None:
        """Subscribe streams with the newest klines of each series first."""
        capacity = self.market.capacity
        for some in chunks(names, max(1, ROWS_AT_ONCE // capacity)):
            self._awaited = {self._names[name] for name in some if name in self._names}
            self._arrived = asyncio.get_running_loop().create_future()
            refused = await link.subscribe(some, snapshot=capacity)
            if refused is not None:
                raise RefusedError(refused)
            if self._awaited:
                await link.wait(self._arrived)

    # --- messages ------------------------------------------------------------------------------

    def _take(self, payload: bytes, message: Message) -> None:
        """Bring the market up to a message."""
        if message.e == "kline" and message.k is not None:
            stream = message.s, message.k.interval
            if self._position.take(stream, message.seq):
                if message.revised:  # it may have fewer trades than what it corrects
                    self._correct(stream, (message.k,))
                else:
                    self.market.apply(payload)
        elif message.e == "snapshot":
            self._take_snapshot(message)
        elif message.e == "24hrTicker" and self._position.take((message.s, ""), message.seq):
            self.market.apply(payload)
        if self.market.pending:
            self._news.set()

    def _take_snapshot(self, message: Message) -> None:
        stream = message.symbol, message.interval
        self._correct(stream, message.klines, notify=stream in self._known)
        self._known.add(stream)
        self._position.start(stream, message.seq)
        self.snapshots += 1
        self._awaited.discard(stream)
        if not self._awaited and self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _correct(self, stream: _Stream, rows: tuple[Row, ...], *, notify: bool = True) -> None:
        """Store rows, whatever is held in their place; a forming one is the last."""
        if rows:
            newest = rows[-1]
            self.market.apply_klines(
                *stream,
                rows_body(rows),
                closed_before_ms=newest.close_time_ms + 1 if newest.closed else newest.open_time_ms,
                notify=notify,
                correct=True,
            )
