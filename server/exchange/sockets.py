"""The stream side of the simulated exchange: connections, subscriptions, limits, publishing."""

from __future__ import annotations

import urllib.parse
from collections import defaultdict
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from server.clock import Clock
from server.exchange.control import Refusal, Request, read_request, refuse, reply
from server.exchange.faults import Faults

__all__ = ["Connection", "Streams", "read_path"]

#: A longer control message is never answered.
_CONTROL_SIZE_MAX = 4096

#: Bytes that may wait for a slow reader before it is cut.
_WRITE_BUFFER_MAX = 16 << 20


class Streams:
    """Every open connection and who listens to which stream."""

    def __init__(self, clock: Clock, faults: Faults, *, market: str) -> None:
        self.clock = clock
        self.faults = faults
        self.market = market
        self.connections: set[Connection] = set()
        self.subscribers: defaultdict[str, set[Connection]] = defaultdict(set)
        self.streams_max = 1024
        self.messages_per_s = 5 if market == "spot" else 10
        self.counters = dict.fromkeys(
            ("connections", "frames", "slow_cut", "too_many_messages", "life_over", "pong_missing"),
            0,
        )

    def publish(self, stream: str, raw: bytes, *, closing: bool = False) -> None:
        """Send a raw message to a stream's subscribers; wrapped for those who want that."""
        faults = self.faults
        if faults.mute_all or faults.half_open or stream in faults.mute_streams:
            return
        if closing and faults.drop_closes:
            faults.drop_closes -= 1
            return
        wrapped: bytes | None = None
        for connection in tuple(self.subscribers.get(stream, ())):
            if not connection.delivers:
                continue
            if connection.combined and wrapped is None:
                wrapped = b'{"stream":"%b","data":%b}' % (stream.encode(), raw)
            message = wrapped if connection.combined and wrapped is not None else raw
            for _ in range(1 + faults.duplicates):
                if faults.malformed:
                    connection.send(faults.malformed.popleft())
                connection.send(message)
                self.counters["frames"] += 1

    def announce_shutdown(self) -> None:
        """Tell every connection that it will be closed."""
        raw = b'{"e":"serverShutdown","E":%d}' % self.clock.time_ms()
        wrapped = b'{"stream":"!serverShutdown","data":%b}' % raw
        for connection in tuple(self.connections):
            connection.send(wrapped if connection.combined else raw)

    def cut_all(self, *, reset: bool = False) -> None:
        """End every connection: with a reset, or politely."""
        for connection in tuple(self.connections):
            connection.cut(None if reset else WSCloseCode.GOING_AWAY)

    def keep_alive(self, *, ping_s: float, pong_s: float, life_s: float) -> None:
        """Ping who is due, cut who did not answer or is too old; called about once a second."""
        now = self.clock.monotonic()
        for connection in tuple(self.connections):
            if now - connection.opened > life_s:
                self.counters["life_over"] += 1
                connection.cut(WSCloseCode.POLICY_VIOLATION)
            elif connection.pinged and now - connection.pinged > pong_s:
                self.counters["pong_missing"] += 1
                connection.cut(WSCloseCode.POLICY_VIOLATION)
            elif now - connection.last_ping >= ping_s and not self.faults.half_open:
                connection.ping(now)

    @property
    def waiting(self) -> int:
        """Bytes the fullest connection has not taken yet."""
        return max((connection.waiting for connection in self.connections), default=0)


class Connection(WSListener):
    """One client. ``delivers`` is False on paths that acknowledge and stay silent."""

    def __init__(
        self, streams: Streams, names: list[str], *, combined: bool, delivers: bool
    ) -> None:
        self.combined = combined
        self.delivers = delivers
        self.names: dict[str, None] = {}
        self.opened = streams.clock.monotonic()
        self.last_ping = self.opened
        self.pinged = 0.0  # when the ping not yet answered was sent
        self._streams = streams
        self._first = names
        self._transport: WSTransport | None = None
        self._second = (-1, 0)  # messages received in the present second

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._streams.connections.add(self)
        self._streams.counters["connections"] += 1
        self._subscribe(self._first)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        self._streams.connections.discard(self)
        for name in self.names:
            self._streams.subscribers[name].discard(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
            return
        if frame.msg_type == WSMsgType.PONG:
            self.pinged = 0.0
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        second = int(self._streams.clock.monotonic())
        count = self._second[1] + 1 if self._second[0] == second else 1
        self._second = (second, count)
        if count > self._streams.messages_per_s:
            self._streams.counters["too_many_messages"] += 1
            self.cut(WSCloseCode.POLICY_VIOLATION)
        elif frame.msg_type == WSMsgType.TEXT and frame.payload_size <= _CONTROL_SIZE_MAX:
            self._control(frame.get_payload_as_bytes())

    @property
    def waiting(self) -> int:
        """Bytes in the write buffer."""
        if self._transport is None:
            return 0
        return self._transport.underlying_transport.get_write_buffer_size()

    def send(self, message: bytes) -> None:
        """Queue a message; a reader that is too far behind is cut."""
        if self._transport is None or self._streams.faults.half_open:
            return
        if self.waiting > _WRITE_BUFFER_MAX:
            self._streams.counters["slow_cut"] += 1
            self.cut(None)
            return
        self._transport.send(WSMsgType.TEXT, message)

    def ping(self, now: float) -> None:
        self.last_ping = now
        self.pinged = self.pinged or now
        if self._transport is not None:
            self._transport.send_ping(b"%d" % self._streams.clock.time_ms())

    def cut(self, code: WSCloseCode | None) -> None:
        """End the connection; None resets it without a word."""
        if self._transport is None:
            return
        if code is None:
            self._transport.underlying_transport.abort()
        else:
            self._transport.send_close(code)
            self._transport.disconnect()

    # --- control messages ----------------------------------------------------------------------

    def _control(self, text: bytes) -> None:
        try:
            answer = self._answer(read_request(text))
        except Refusal as refusal:
            answer = refuse(refusal)
        if not self._streams.faults.no_ack:
            self.send(answer)

    def _answer(self, request: Request) -> bytes:
        if request.method == "LIST_SUBSCRIPTIONS":
            return reply(list(self.names), request.id)
        if request.method == "GET_PROPERTY":
            _check_property(request)
            return reply(self.combined, request.id)
        if request.method == "SET_PROPERTY":
            _check_property(request)
            if len(request.params) < 2 or not isinstance(request.params[1], bool):
                raise Refusal(1, "Invalid value type: expected Boolean", request.id)
            self.combined = request.params[1]
            return reply(None, request.id)
        if not all(isinstance(name, str) for name in request.params):
            raise Refusal(2, "Invalid request: invalid type: expected a string", request.id)
        if request.method == "SUBSCRIBE":
            self._subscribe(request.params)
        else:
            self._unsubscribe(request.params)
        return reply(None, request.id)

    def _subscribe(self, names: list[str]) -> None:
        for name in names:
            self.names[name] = None
            self._streams.subscribers[name].add(self)
        if len(self.names) > self._streams.streams_max:
            self.cut(WSCloseCode.POLICY_VIOLATION)

    def _unsubscribe(self, names: list[str]) -> None:
        for name in names:
            self.names.pop(name, None)
            self._streams.subscribers[name].discard(self)


def _check_property(request: Request) -> None:
    if not request.params or not isinstance(request.params[0], str):
        raise Refusal(2, "Invalid request: property name must be a string", request.id)
    if request.params[0] != "combined":
        raise Refusal(0, "Unknown property", request.id)


def read_path(target: str, market: str) -> dict[str, Any] | None:
    """What a socket's path asks for: arguments of ``Connection``; None if there is no such path."""
    path, _, query = target.partition("?")
    path = urllib.parse.unquote(path)
    delivers = True
    if market == "um":
        category, _, rest = path.lstrip("/").partition("/")
        if category in ("market", "public", "private"):
            path = f"/{rest}"
            delivers = category != "private"
        else:
            delivers = False  # acknowledged and silent, as since the split of the hosts
    if path == "/stream":
        names = urllib.parse.parse_qs(query).get("streams", [""])[0]
        return {"names": _split(names), "combined": True, "delivers": delivers}
    if path == "/ws" or path.startswith("/ws/"):
        return {"names": _split(path[4:]), "combined": False, "delivers": delivers}
    return None


def _split(names: str) -> list[str]:
    return [name for name in names.split("/") if name]
