"""``/ws``: the market's messages to a bounded number of clients; a slow one hurts only itself.

granian answers a client's pings; ASGI gives no way to send one. A peer that vanished without a word
is noticed when its socket accepts nothing more: a send blocks, and the sweep ends the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from server.api.auth import SUBPROTOCOL
from server.api.door import Door
from server.api.leases import UNAUTHORIZED_CODE, Lease
from server.api.parameters import MARKET
from server.api.problems import ApiError, problem_response
from server.api.router import parse_query
from server.api.state import ServedMarket, ServerState
from server.api.subscriptions import Subscriptions
from server.api.types import Receive, Response, Scope, Send
from server.identity import Principal
from server.signals.control import (
    INVALID_REQUEST,
    ControlError,
    Request,
    error_reply,
    parse_request,
    result_reply,
)
from server.signals.topics import stream_ended
from server.traders.streams import find_topics

__all__ = ["StreamServer"]

log = logging.getLogger(__name__)

#: Seconds between two looks for clients that take nothing.
SWEEP_S = 1.0
#: Seconds a closing message may take; the socket is given up then.
CLOSE_S = 1.0

_GOING_AWAY = 1001
_POLICY = 1008
_TOO_BIG = 1009
_TRY_LATER = 1013

_PARAMETERS = frozenset({MARKET.name})


class _Client:
    """One connection: a reader and a writer task that never wait for each other."""

    def __init__(
        self, server: StreamServer, served: ServedMarket, principal: Principal, send: Send
    ) -> None:
        state = server.state
        self.principal = principal
        self._server = server
        self._settings = state.settings
        self._clock = state.clock
        self._send = send
        traders = state.desk.book
        self._subscriptions = Subscriptions(
            served.channels,
            lambda name: find_topics(traders, principal, name),
            streams_max=state.settings.ws_subscriptions_max,
            silent=True,
        )
        self.subscriber = state.hub.subscribe(*self._subscriptions.topics)
        self._window_start = 0.0
        self._window_count = 0
        self._stopped: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self.blocked_since: float | None = None  # a send has not returned since

    def stop(self, code: int, reason: str) -> None:
        """End the connection with this close code; the first one counts."""
        if not self._stopped.done():
            self._stopped.set_result((code, reason))

    async def run(self, receive: Receive) -> None:
        """Serve until the client goes or is stopped."""
        reader = asyncio.create_task(self._read(receive))
        writer = asyncio.create_task(self._write())
        try:
            await asyncio.wait((reader, writer, self._stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # After a disconnect granian's send neither raises nor waits, it queues in memory:
            # the writer must not run on.
            reader.cancel()
            writer.cancel()
            results = await asyncio.gather(reader, writer, return_exceptions=True)
            self.subscriber.end("closed")
        for result in results:
            if isinstance(result, Exception):
                log.error("a /ws client failed", exc_info=result)
                self.stop(1011, "internal error")
        if self._stopped.done():
            await self._close(*self._stopped.result())

    async def _close(self, code: int, reason: str) -> None:
        self._server.dropped.inc(str(code))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _write(self) -> None:
        subscriber, send, monotonic = self.subscriber, self._send, self._clock.monotonic
        server = self._server
        while subscriber.ended is None:
            payload = subscriber.take()
            if payload is None:
                await subscriber.wait()
                continue
            self.blocked_since = monotonic()
            await send({"type": "websocket.send", "text": payload.decode()})
            self.blocked_since = None
            server.messages_sent += 1
            server.bytes_sent += len(payload)
        self.stop(_TRY_LATER, subscriber.ended)

    async def _read(self, receive: Receive) -> None:
        settings = self._settings
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                text = message.get("bytes") or b""
            if len(text) > settings.ws_message_max:
                self.stop(_TOO_BIG, f"at most {settings.ws_message_max} bytes a message")
                return
            if self._too_fast():
                self.stop(_POLICY, f"at most {settings.ws_messages_per_s:g} messages a second")
                return
            self._answer(text)

    def _too_fast(self) -> bool:
        """Counts messages within windows of a second, each allowing twice the sustained rate."""
        now = self._clock.monotonic()
        if now - self._window_start >= 2.0:
            self._window_start = now
            self._window_count = 0
        self._window_count += 1
        return self._window_count > 2.0 * self._settings.ws_messages_per_s

    def _answer(self, text: str | bytes) -> None:
        try:
            request = parse_request(text)
            reply = result_reply(request.id, self._apply(request))
        except ControlError as error:
            reply = error_reply(error)
        self.subscriber.put(reply)

    def _apply(self, request: Request) -> list[str] | bool | None:
        """Do what was asked; what the reply is to say."""
        if request.value or request.snapshot is not None or request.since is not None:
            raise ControlError(
                INVALID_REQUEST,
                "Invalid request: combined, snapshot and since are known on the stream port only",
                request.id,
            )
        applied = self._subscriptions.apply(request)
        for topic in applied.removed:
            self.subscriber.discard(topic)
        for topic in applied.added:
            self.subscriber.add(topic)
        if self._subscriptions.has_signals:
            # All symbols may fire at one close, and none of those signals may be dropped.
            self.subscriber.allowance = self._settings.signals_queue_max
        return applied.result

    def leave_deleted(self) -> None:
        """End the streams of traders that are gone, or that the client may see no longer."""
        names, topics = self._subscriptions.leave_ended()
        for topic in topics:
            self.subscriber.discard(topic)
        for name in names:
            self.subscriber.put(stream_ended(name))


class StreamServer:
    """Admits clients to ``/ws`` before the handshake, and ends those that do not keep up."""

    def __init__(self, state: ServerState, door: Door) -> None:
        self.state = state
        self._door = door
        self._clients: set[_Client] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self.messages_sent = 0
        self.bytes_sent = 0
        metrics = state.metrics
        self._refused = metrics.counter(
            "ws_refused_total", "Connections refused before the handshake, by status.", ["code"]
        )
        self.dropped = metrics.counter(
            "ws_clients_dropped_total", "Connections ended by the server, by close code.", ["code"]
        )
        metrics.before_render(self._collect)

    def __len__(self) -> int:
        """Clients connected."""
        return len(self._clients)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        await receive()  # websocket.connect
        try:
            served, principal = await self._admit(scope, headers)
            client = _Client(self, served, principal, send)
            lease = self._lease(client)
        except ApiError as error:
            self._refused.inc(str(error.status))
            path = scope["raw_path"].decode("latin-1")
            await _refuse(scope, send, problem_response(error, path))
            return
        self._clients.add(client)
        self._schedule_sweep()
        try:
            offered = scope.get("subprotocols", ())
            chosen = SUBPROTOCOL if SUBPROTOCOL in offered else None
            await send({"type": "websocket.accept", "subprotocol": chosen})
            await client.run(receive)
        finally:
            lease.release()
            client.subscriber.end("closed")
            self._clients.discard(client)

    def _lease(self, client: _Client) -> Lease:
        """The client's entry with those that end with their key. Raises ApiError: one too many."""
        try:
            return self.state.gate.leases.take(
                client.principal, lambda reason: client.stop(UNAUTHORIZED_CODE, reason)
            )
        except ApiError:
            client.subscriber.end("refused")
            raise

    def close_all(self) -> None:
        """Tell every client that the server goes away."""
        for client in self._clients:
            client.stop(_GOING_AWAY, "the server is shutting down")

    async def _admit(
        self, scope: Scope, headers: dict[bytes, bytes]
    ) -> tuple[ServedMarket, Principal]:
        """The client's market, and who it is. Raises ApiError: it may not connect."""
        state = self.state
        self._door.check(scope, headers)
        if scope["raw_path"] != b"/ws":
            raise ApiError(404, "unknown_path", "WebSockets are at /ws.")
        gate = state.gate
        who = gate.check(scope["headers"], scope["client"][0], scope.get("subprotocols", ()))
        principal = who if isinstance(who, Principal) else await who
        gate.limit(principal, "/ws")
        self._door.check_origin(headers)
        served = state.served(parse_query(scope["query_string"], _PARAMETERS).get("market"))
        if len(self._clients) >= state.settings.ws_clients_max:
            raise ApiError(
                503,
                "too_many_clients",
                f"All {state.settings.ws_clients_max} connections are taken.",
                headers=[(b"retry-after", b"5")],
            )
        return served, principal

    def _schedule_sweep(self) -> None:
        if self._sweep is None:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(SWEEP_S, self._end_stalled)

    def _end_stalled(self) -> None:
        """Stop clients whose queue overflowed or whose socket takes nothing any more."""
        self._sweep = None
        now = self.state.clock.monotonic()
        for client in self._clients:
            since = client.blocked_since
            client.leave_deleted()
            if client.subscriber.ended is not None:
                client.stop(_TRY_LATER, client.subscriber.ended)
            elif since is not None and now - since > self.state.settings.subscriber_stall_s:
                client.stop(_TRY_LATER, f"too slow: nothing taken for {now - since:.0f} s")
        if self._clients:
            self._schedule_sweep()

    def _collect(self) -> None:
        gauge, hub = self.state.metrics.gauge, self.state.hub
        for name, text, value in (
            ("ws_clients", "Clients connected.", len(self._clients)),
            ("ws_subscriptions", "Streams, summed over clients.", hub.subscriptions),
            ("ws_messages_sent", "Messages handed to a socket.", self.messages_sent),
            ("ws_bytes_sent", "Bytes of those.", self.bytes_sent),
            ("ws_messages_waiting", "Messages in clients' queues.", hub.waiting),
            ("ws_messages_conflated", "Messages replaced by a newer one.", hub.conflated),
            ("ws_queues_overflowed", "Clients that fell too far behind.", hub.overflowed),
        ):
            gauge(name, text).set(value)


async def _refuse(scope: Scope, send: Send, response: Response) -> None:
    """Answer the handshake with an HTTP error, as the server's extension allows."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": _POLICY})
        return
    await send(
        {
            "type": "websocket.http.response.start",
            "status": response.status,
            "headers": response.headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": response.body})
