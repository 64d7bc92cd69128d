"""The stream side of the simulated exchange: connections, subscriptions, limits, publishing."""

from __future__ import annotations

import re
import socket
import struct
import urllib.parse
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from server.clock import Clock
from server.exchange.control import Refusal, Request, read_request, refuse, reply
from server.exchange.faults import Faults

__all__ = ["WRITE_BUFFER_MAX", "Connection", "Streams", "category_of", "read_path", "wrap"]

#: A longer control message is never answered.
_CONTROL_SIZE_MAX = 4096

#: Bytes that may wait for a slow reader before it is cut.
WRITE_BUFFER_MAX = 16 << 20

#: What a stream's name may look like: symbols may be of any script.
_STREAM = re.compile(r"[\w!.\-]+(@[\w:+\-@]+)?")

#: Streams of USD-M that live below /public; all others below /market.
_PUBLIC = ("bookTicker", "depth", "rpiDepth", "trade")


class Streams:
    """Every open connection and who listens to which stream."""

    def __init__(self, clock: Clock, faults: Faults, *, market: str) -> None:
        self.clock = clock
        self.faults = faults
        self.market = market
        self.connections: dict[Connection, None] = {}  # in order of their coming
        #: Streams with no subscriber are not kept; those of a stream are in order of their coming.
        self.subscribers: dict[str, dict[Connection, None]] = {}
        self.joined: dict[str, int] = {}  # stream -> number of its newest subscription
        self.streams_max = 1024
        self.messages_per_s = 5 if market == "spot" else 10
        self.write_buffer_max = WRITE_BUFFER_MAX
        self.counters = dict.fromkeys(
            (
                "connections",
                "frames",
                "slow_cut",
                "too_many_messages",
                "too_many_streams",
                "too_long_messages",
                "life_over",
                "pong_missing",
            ),
            0,
        )
        self._subscriptions = 0

    def subscribe(self, stream: str, connection: Connection) -> None:
        """Let a connection hear a stream."""
        self.subscribers.setdefault(stream, {})[connection] = None
        self._subscriptions += 1
        self.joined[stream] = self._subscriptions

    def unsubscribe(self, stream: str, connection: Connection) -> None:
        """Undo ``subscribe``; nothing if it was not."""
        listeners = self.subscribers.get(stream)
        if listeners is not None:
            listeners.pop(connection, None)
            if not listeners:
                del self.subscribers[stream], self.joined[stream]

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
            if connection.combined and wrapped is None:
                wrapped = wrap(stream, raw)
            message = wrapped if connection.combined and wrapped is not None else raw
            for _ in range(1 + faults.duplicates):
                if faults.malformed:
                    connection.send(faults.malformed.popleft())
                if faults.truncate:
                    faults.truncate -= 1
                    connection.send(message[: len(message) // 2])
                else:
                    connection.send(message)
                self.counters["frames"] += 1

    def send_to_all(self, message: bytes) -> None:
        """Send these very bytes as a text message to every connection."""
        for connection in tuple(self.connections):
            connection.send(message)

    def announce_shutdown(self, now_ms: int | None = None) -> None:
        """Tell every connection that it will be closed."""
        raw = b'{"e":"serverShutdown","E":%d}' % (now_ms or self.clock.time_ms())
        wrapped = wrap("!serverShutdown", raw)
        for connection in tuple(self.connections):
            connection.send(wrapped if connection.combined else raw)

    def cut_all(self, *, reset: bool = False) -> None:
        """End every connection: with a reset, or politely."""
        for connection in tuple(self.connections):
            connection.cut(None if reset else WSCloseCode.GOING_AWAY)

    def cut_stalled(self, limit: int) -> None:
        """Reset connections with more than ``limit`` bytes to take."""
        for connection in tuple(self.connections):
            if connection.waiting > limit:
                self.counters["slow_cut"] += 1
                connection.cut(None)

    def cut_mid_frame(self, message: bytes) -> None:
        """End every connection in the middle of a frame that carries ``message`` (< 64 KiB)."""
        for connection in tuple(self.connections):
            connection.cut_mid_frame(message)

    def keep_alive(self, *, ping_s: float, pong_s: float, life_s: float) -> None:
        """Ping who is due, cut who did not answer or is too old; called about once a second."""
        now = self.clock.monotonic()
        if self.faults.half_open:
            return
        for connection in tuple(self.connections):
            if now - connection.opened > life_s:
                self.counters["life_over"] += 1
                connection.cut(WSCloseCode.POLICY_VIOLATION)
            elif connection.pinged and now - connection.pinged > pong_s:
                self.counters["pong_missing"] += 1
                connection.cut(WSCloseCode.POLICY_VIOLATION)
            elif now - connection.last_ping >= ping_s:
                connection.ping(now)

    @property
    def waiting(self) -> int:
        """Bytes the fullest connection has not taken yet."""
        return max((connection.waiting for connection in self.connections), default=0)


class Connection(WSListener):
    """One client. It hears the streams of its ``category``: all, market, public or none."""

    def __init__(
        self, streams: Streams, names: list[str], *, combined: bool, category: str
    ) -> None:
        self.combined = combined
        self.category = category
        self.names: dict[str, None] = {}
        self.opened = streams.clock.monotonic()
        self.last_ping = self.opened
        self.pinged = 0.0  # when the oldest ping not yet answered was sent
        self._ping_payload = b""
        self._streams = streams
        self._first = names
        self._transport: WSTransport | None = None
        self._second = (-1, 0)  # messages received in the present second
        self._fragments = b""  # of a message in several frames

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._streams.connections[self] = None
        self._streams.counters["connections"] += 1
        self._subscribe(self._first)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        self._streams.connections.pop(self, None)
        for name in self.names:
            self._streams.unsubscribe(name, self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._streams.faults.half_open or transport.is_close_frame_sent:
            return
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
            return
        second = int(self._streams.clock.monotonic())
        count = self._second[1] + 1 if self._second[0] == second else 1
        self._second = (second, count)
        if count > self._streams.messages_per_s:
            self._streams.counters["too_many_messages"] += 1
            self.cut(WSCloseCode.POLICY_VIOLATION)
            return
        payload = frame.get_payload_as_bytes()
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(payload)
        elif frame.msg_type == WSMsgType.PONG:
            # An unsolicited pong does not keep the connection alive.
            if self.pinged and payload == self._ping_payload:
                self.pinged = 0.0
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            message = self._fragments + payload
            self._fragments = b"" if frame.fin else message[: _CONTROL_SIZE_MAX + 1]
            if frame.fin and len(message) <= _CONTROL_SIZE_MAX:
                self._control(message)
            elif frame.fin:
                self._streams.counters["too_long_messages"] += 1

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
        if self.waiting > self._streams.write_buffer_max:
            self._streams.counters["slow_cut"] += 1
            self.cut(None)
            return
        self._transport.send(WSMsgType.TEXT, message)

    def ping(self, now: float) -> None:
        """Send a ping; its payload must come back."""
        self.last_ping = now
        if not self.pinged:
            self.pinged = now
            self._ping_payload = b"%d" % self._streams.clock.time_ms()
        if self._transport is not None:
            self._transport.send_ping(self._ping_payload)

    def cut(self, code: WSCloseCode | None) -> None:
        """End the connection; None resets it without a word."""
        if self._transport is None:
            return
        if code is None:
            transport = self._transport.underlying_transport
            # Closing with no time to linger makes the kernel send RST instead of FIN.
            socket_ = transport.get_extra_info("socket")
            socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            self._transport.send_close(code)
            self._transport.disconnect()

    def cut_mid_frame(self, message: bytes) -> None:
        """Send half of a frame, then end the connection."""
        if self._transport is None:
            return
        size = len(message)
        header = bytes((0x81, size)) if size < 126 else b"\x81\x7e" + struct.pack("!H", size)
        transport = self._transport.underlying_transport
        transport.write(header + message[: size // 2])
        transport.close()

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
        if not all(isinstance(name, str) and _STREAM.fullmatch(name) for name in request.params):
            raise Refusal(2, "Invalid request: invalid stream", request.id)
        if request.method == "SUBSCRIBE":
            self._subscribe(request.params)
        else:
            self._unsubscribe(request.params)
        return reply(None, request.id)

    def _subscribe(self, names: list[str]) -> None:
        if self._streams.faults.ack_only:
            return
        for name in names:
            if len(self.names) >= self._streams.streams_max and name not in self.names:
                self._streams.counters["too_many_streams"] += 1
                self.cut(WSCloseCode.POLICY_VIOLATION)
                return
            self.names[name] = None
            # What a category does not carry is acknowledged and stays silent.
            if self.category in ("all", category_of(name)):
                self._streams.subscribe(name, self)

    def _unsubscribe(self, names: list[str]) -> None:
        for name in names:
            self.names.pop(name, None)
            self._streams.unsubscribe(name, self)


def _check_property(request: Request) -> None:
    if not request.params or not isinstance(request.params[0], str):
        raise Refusal(2, "Invalid request: property name must be a string", request.id)
    if request.params[0] != "combined":
        raise Refusal(0, "Unknown property", request.id)


def wrap(stream: str, raw: bytes) -> bytes:
    """A message of a combined stream."""
    return b'{"stream":"%b","data":%b}' % (stream.encode(), raw)


def category_of(stream: str) -> str:
    """Which of USD-M's paths carries a stream."""
    symbol, _, kind = stream.partition("@")
    kind = symbol.removeprefix("!") if symbol.startswith("!") else kind
    return "public" if kind.startswith(_PUBLIC) else "market"


def read_path(target: str, market: str) -> dict[str, Any] | None:
    """What a socket's path asks for: arguments of ``Connection``; None if there is no such path."""
    path, _, query = target.partition("?")
    path = urllib.parse.unquote(path)
    category = "all"
    if market == "um":
        head, _, rest = path.lstrip("/").partition("/")
        # Without a category, and on /private, everything is acknowledged and nothing comes.
        category = head if head in ("market", "public") else "none"
        if head in ("market", "public", "private"):
            path = f"/{rest}"
    if path == "/stream":
        names = urllib.parse.parse_qs(query).get("streams", [""])[0]
        return {"names": _split(names), "combined": True, "category": category}
    if path == "/ws" or path.startswith("/ws/"):
        return {"names": _split(path[4:]), "combined": False, "category": category}
    return None


def _split(names: str) -> list[str]:
    return [name for name in names.split("/") if name]
