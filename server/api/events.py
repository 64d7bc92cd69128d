"""Server-sent events to a bounded number of clients; a slow one hurts only itself.

After a client has gone, granian's ``send`` neither raises nor waits, it queues in memory: each
connection therefore has a reader, which notices, beside its writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from server.api.problems import ApiError
from server.api.state import ServerState
from server.api.types import LiveResponse, Message, Receive, Send
from server.identity import Principal

__all__ = ["EventServer", "EventSource", "event", "told"]

log = logging.getLogger(__name__)

#: Seconds between two looks for clients that take nothing, and for those that were told nothing.
SWEEP_S = 1.0
#: Seconds of silence after which a comment is sent: proxies cut what is silent for a minute.
HEARTBEAT_S = 15.0
#: Seconds that the last words to a client may take.
CLOSE_S = 1.0
#: Bytes of events that are sent at once.
CHUNK_BYTES = 16_384
#: Milliseconds after which a browser connects again.
RETRY_MS = 2000

HEARTBEAT = b":\n\n"
_HEADERS = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


class EventSource(Protocol):
    """What one client is told."""

    @property
    def ended(self) -> str | None:
        """Why nothing comes any more; None while something may."""
        ...

    async def fetch(self) -> bytes | None:
        """The next event as it is sent, or None: nothing is there now."""
        ...

    async def wait(self) -> None:
        """Return when something may be there, or it has ended, or ``rouse`` was called."""
        ...

    def rouse(self) -> None:
        """Let ``wait`` return."""
        ...

    def close(self) -> None:
        """Nobody listens any more."""
        ...


def event(data: bytes, id: str | None = None) -> bytes:
    """One event; ``data`` is JSON, which has no line breaks."""
    if id is None:
        return b"data: %b\n\n" % data
    return b"id: %b\ndata: %b\n\n" % (id.encode(), data)


def told(kind: str, reason: str) -> bytes:
    """An event of the stream itself: ``reset``, something may be missing; ``end``."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"reason": reason}))


class _Connection:
    """One client: a reader and a writer task that never wait for each other."""

    def __init__(self, server: EventServer, source: EventSource) -> None:
        self._server = server
        self.source = source
        self._monotonic = server.state.clock.monotonic
        self._stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.blocked_since: float | None = None  # a send has not returned since
        self.sent_s = self._monotonic()
        self.release: Callable[[], object] = lambda: None

    def stop(self, kind: str, reason: str) -> None:
        """End the connection; of which ``kind`` that is counts. The first reason stays."""
        if not self._stopped.done():
            self._server.dropped.inc(kind)
            self._stopped.set_result(reason)

    async def run(self, start: Message, receive: Receive, send: Send) -> None:
        """See ``Conversation``."""
        reader = asyncio.create_task(self._read(receive))
        writer = asyncio.create_task(self._write(start, send))
        try:
            await asyncio.wait((reader, writer, self._stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone = reader.done()
            reader.cancel()
            writer.cancel()
            results = await asyncio.gather(reader, writer, return_exceptions=True)
            self.source.close()
            self.release()
            self._server.forget(self)
        for result in results:
            if isinstance(result, Exception):
                log.error("a reader of events failed", exc_info=result)
                self.stop("failed", "internal error")
        if not gone and self._stopped.done():
            await self._close(send, self._stopped.result())

    async def _close(self, send: Send, reason: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await send(_part(told("end", reason)))
                await send({"type": "http.response.body", "body": b""})

    async def _read(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _write(self, start: Message, send: Send) -> None:
        source = self.source
        await self._send(send, start)
        await self._send(send, _part(b"retry: %d\n\n" % RETRY_MS))
        while True:
            chunk = await self._chunk()
            if chunk:
                self._server.bytes_sent += len(chunk)
                await self._send(send, _part(chunk))
            elif source.ended is not None:
                break
            elif self._monotonic() - self.sent_s >= HEARTBEAT_S:
                await self._send(send, _part(HEARTBEAT))
            else:
                await source.wait()
        self.stop("ended", source.ended)

    async def _send(self, send: Send, message: Message) -> None:
        self.blocked_since = self._monotonic()
        await send(message)
        self.blocked_since = None
        self.sent_s = self._monotonic()

    async def _chunk(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while size < CHUNK_BYTES and (part := await self.source.fetch()) is not None:
            parts.append(part)
            size += len(part)
            self._server.events_sent += 1
        return b"".join(parts)

    def look(self, now: float, stall_s: float) -> None:
        """Notice that a client takes nothing, or has not been told anything for long."""
        if self.blocked_since is not None:
            if now - self.blocked_since > stall_s:
                reason = f"too slow: nothing taken for {now - self.blocked_since:.0f} s"
                self.stop("slow", reason)
        elif now - self.sent_s >= HEARTBEAT_S:
            self.source.rouse()


class EventServer:
    """Everybody who reads server-sent events, and what ends them."""

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self._open: dict[_Connection, None] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self.events_sent = 0
        self.bytes_sent = 0
        metrics = state.metrics
        self.dropped = metrics.counter(
            "sse_clients_dropped_total", "Event streams ended by the server, by cause.", ["reason"]
        )
        metrics.gauge("sse_clients", "Event streams open.").read(lambda: len(self._open))
        metrics.counter("sse_events_sent_total", "Events handed to a socket.").read(
            lambda: self.events_sent
        )
        metrics.counter("sse_bytes_sent_total", "Bytes of those.").read(lambda: self.bytes_sent)

    def __len__(self) -> int:
        return len(self._open)

    def answer(self, principal: Principal, open_source: Callable[[], EventSource]) -> LiveResponse:
        """The answer that tells somebody what ``open_source`` gives, which may raise ApiError."""
        return LiveResponse(
            lambda: self._connect(principal, open_source),
            content_type=b"text/event-stream; charset=utf-8",
            headers=_HEADERS,
        )

    def _connect(self, principal: Principal, open_source: Callable[[], EventSource]) -> _Connection:
        most = self.state.settings.sse_clients_max
        if self.state.draining or len(self._open) >= most:
            raise ApiError(
                503,
                "too_many_clients",
                f"All {most} event streams are taken, or the server is shutting down.",
                headers=[(b"retry-after", b"5")],
            )
        source = open_source()
        connection = _Connection(self, source)
        try:
            lease = self.state.gate.leases.take(
                principal, lambda reason: connection.stop("unauthorized", reason)
            )
        except ApiError:
            source.close()
            raise
        connection.release = lease.release
        self._open[connection] = None
        self._schedule_sweep()
        return connection

    def forget(self, connection: _Connection) -> None:
        """It is closed."""
        self._open.pop(connection, None)

    def close_all(self) -> None:
        """Tell every client that the server goes away."""
        for connection in self._open:
            connection.stop("shutdown", "the server is shutting down")

    def _schedule_sweep(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._look)

    def _look(self) -> None:
        self._sweep = None
        now = self.state.clock.monotonic()
        for connection in self._open:
            connection.look(now, self.state.settings.subscriber_stall_s)
        if self._open:
            self._schedule_sweep()


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
