"""One connection of the stream port: what it asks, and what is written to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from picows import WSCloseCode, WSMsgType, WSTransport

from server.api.leases import UNAUTHORIZED_CODE, Lease
from server.api.problems import ApiError
from server.api.state import ServedMarket
from server.api.subscriptions import Subscriptions
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
from server.streams.frames import Shape, shaped
from server.streams.messages import MessageListener
from server.streams.paths import StreamPath
from server.traders.streams import find_topics

if TYPE_CHECKING:
    from server.streams.port import StreamPort

__all__ = ["StreamClient"]

#: Bytes that may wait in a socket's buffer before its client counts as slow.
WRITE_BUFFER = 64 * 1024
#: Bytes a client may send in its first message, before it is known.
UNKNOWN_MESSAGE_MAX = 1024
#: Seconds a client has to say who it is.
AUTH_S = 5.0
#: Seconds a full socket has before what waits for it counts.
FULL_S = 1.0
#: Klines that one SUBSCRIBE may have sent first, of all its streams: some 4.5 MB, 6 ms of the loop.
SNAPSHOT_KLINES_MAX = 20_000


class StreamClient(MessageListener):
    """A subscriber: Binance's control messages in, messages of its streams out."""

    __slots__ = (
        "_allowance",
        "_allowance_at",
        "_lease",
        "_path",
        "_port",
        "_served",
        "_subscriptions",
        "_task",
        "_tcp",
        "address",
        "full_since",
        "heard",
        "pinged_at",
        "principal",
        "send",
        "shape",
        "topics",
        "write",
    )

    def __init__(
        self,
        port: StreamPort,
        served: ServedMarket,
        path: StreamPath,
        principal: Principal | None,
        address: str,
    ) -> None:
        """``principal`` None: it must say who it is in its first message."""
        settings = port.settings
        limit = settings.ws_message_max
        super().__init__(limit if principal is not None else min(limit, UNKNOWN_MESSAGE_MAX))
        self._port = port
        self._served = served
        self._path = path
        self._tcp: asyncio.Transport | None = None
        self._lease: Lease | None = None
        self._task: asyncio.Task[None] | None = None  # finds out who it is
        self._allowance = 2.0 * settings.ws_messages_per_s
        self._allowance_at = self.heard = port.now()
        self._subscriptions = Subscriptions(
            served.channels,
            self._find_signals,
            streams_max=settings.ws_subscriptions_max,
            combined=path.wrapped,
            silent=path.silent,
        )
        self.address = address
        self.principal = principal
        self.topics: frozenset[str] = frozenset()
        self.shape = Shape(path.wrapped, path.sequenced)
        self.write: Callable[[bytes], object] = _nowhere
        self.send: Callable[[bytes], object] = _nowhere
        self.full_since: float | None = None
        self.pinged_at: float | None = None  # and has not been heard of since

    # --- the connection ------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self._tcp = transport.underlying_transport
        self.write = self._tcp.write
        self.send = partial(transport.send, WSMsgType.TEXT)
        self._tcp.set_write_buffer_limits(high=WRITE_BUFFER)
        self._port.welcome(self)
        if self.principal is not None:
            self._enter(self.principal)
        else:
            asyncio.get_running_loop().call_later(AUTH_S, self._end_unknown)

    def on_closing(self) -> None:
        self._port.fanout.leave(self)

    def on_end(self) -> None:
        self._tcp = None
        self.write = self.send = _nowhere
        if self._lease is not None:
            self._lease.release()
        self._port.farewell(self)

    def on_frame(self) -> None:
        now = self._port.now()
        rate = self._port.settings.ws_messages_per_s
        earned = (now - self._allowance_at) * rate
        self._allowance = min(2.0 * rate, self._allowance + earned) - 1.0
        self._allowance_at = self.heard = now
        self.pinged_at = None
        if self._allowance < 0.0:
            self.end(WSCloseCode.POLICY_VIOLATION, f"at most {rate:g} messages a second")

    def end(self, code: WSCloseCode | int, reason: str) -> None:
        """Close the connection, and count why."""
        if not self.closing:
            number = code if isinstance(code, int) else code.value
            self._port.dropped.inc(str(number))
            self.close(code, reason)

    def _revoke(self, reason: str) -> None:
        self.end(UNAUTHORIZED_CODE, reason)

    def _find_signals(self, name: str) -> tuple[str, ...] | None:
        if self.principal is None:
            return None
        return find_topics(self._port.traders, self.principal, name)

    def leave_deleted(self) -> None:
        """End the streams of traders that are gone, or that the client may see no longer."""
        names, topics = self._subscriptions.leave_ended()
        if topics:
            self._listen(self.shape)
        for name in names:
            message = shaped(stream_ended(name), name, self._port.fanout.sequence, self.shape)
            self._port.fanout.tell(self, message)

    def _end_unknown(self) -> None:
        if self.principal is None:
            self.end(WSCloseCode.POLICY_VIOLATION, "no key: send AUTH first")

    # --- writing -------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Bytes in the socket's buffer."""
        return 0 if self._tcp is None else self._tcp.get_write_buffer_size()

    def pause_writing(self) -> None:
        self.full_since = self._port.now()
        self._port.fanout.fill(self)

    def resume_writing(self) -> None:
        self.full_since = self.pinged_at = None  # what it has taken may hide the ping
        if not self.closing:
            self._port.fanout.catch_up(self)

    def overflow(self, size: int) -> None:
        """End a client for which too much waits, once its socket has been full for a while."""
        since = self.full_since
        if since is not None and self._port.now() - since > FULL_S:
            self.end_if_behind(size)

    def end_if_behind(self, size: int) -> None:
        """End the client if ``size`` bytes and those in its socket are more than it may hold."""
        held = size + self.waiting
        if held > self._port.settings.stream_queue_bytes_max:
            self.end(WSCloseCode.TRY_AGAIN_LATER, f"too slow: {held} bytes were not taken")

    # --- what it asks --------------------------------------------------------------------------

    def on_message(self, text: str) -> None:
        if self.principal is not None:
            try:
                self._apply(parse_request(text))
            except ControlError as error:
                self._port.fanout.tell(self, error_reply(error))
        elif self._task is None or self._task.done():
            self._task = asyncio.create_task(self._authenticate(text))
        else:
            self.end(WSCloseCode.POLICY_VIOLATION, "wait for the answer to AUTH")

    async def _authenticate(self, text: str) -> None:
        try:
            principal, request_id = await self._port.authenticate(text, self.address)
        except ControlError as error:
            self._port.fanout.tell(self, error_reply(error))
            return
        except ApiError as error:
            self.end(WSCloseCode.POLICY_VIOLATION, error.detail)
            return
        if self.transport is None or self.closing:
            return
        self.principal = principal
        self._message_max = self._port.settings.ws_message_max
        self._port.fanout.tell(self, result_reply(request_id))
        self._enter(principal)

    def _enter(self, principal: Principal) -> None:
        """Subscribe what the path named; it was looked at before the handshake."""
        try:
            self._lease = self._port.lease(principal, self._revoke)
        except ApiError as error:
            self.end(WSCloseCode.POLICY_VIOLATION, error.detail)
            return
        if self._path.names:
            request = Request("SUBSCRIBE", self._path.names, None)
            try:
                self._subscriptions.apply(request)
            except ControlError as error:  # a symbol was dropped since
                self.end(WSCloseCode.POLICY_VIOLATION, str(error))
                return
        self._listen(self.shape)

    def _listen(self, shape: Shape) -> None:
        self._port.fanout.change(self, self._subscriptions.topics, shape)
        self._subscriptions.topics = self.topics  # the same set, not one of its own

    def _apply(self, request: Request) -> None:
        fanout = self._port.fanout
        if request.snapshot is not None or request.since is not None:
            self._apply_joined(request)
            return
        applied = self._subscriptions.apply(request)
        shape = self.shape._replace(wrapped=self._subscriptions.combined)
        if applied.added or applied.removed or shape != self.shape:
            self._listen(shape)
        fanout.tell(self, result_reply(request.id, applied.result))

    def _apply_joined(self, request: Request) -> None:
        """Subscribe so that what is sent first and the messages behind it meet exactly."""
        fanout, channels = self._port.fanout, self._served.channels
        # What the market holds by now is published, so that no message tells of it again.
        self._served.pass_on()
        topics = self._subscriptions.find(request)
        if request.snapshot is not None:
            self._check_snapshot(request, request.snapshot)
        if request.since is not None:
            missed = fanout.since(request.since, topics - self.topics)
            if missed is None:
                raise ControlError(
                    INVALID_REQUEST,
                    f"Invalid request: messages since {request.since} are not held any more; "
                    "ask for a snapshot",
                    request.id,
                )
            first = missed
        else:
            first = []
        self._subscriptions.apply(request)
        shape = Shape(self._subscriptions.combined, sequenced=True)
        self._listen(shape)
        fanout.tell(self, result_reply(request.id))
        for message in first:
            stream = self._port.name_of(message.topic)
            fanout.tell(self, shaped(message.payload, stream, message.sequence, shape))
        if request.snapshot is not None:
            for name in dict.fromkeys(request.params):
                payload = self._snapshot(name, request.snapshot)
                if payload is not None:
                    stream = channels.stream(channels.topic_of(name))
                    fanout.tell(self, shaped(payload, stream, fanout.sequence, shape))

    def _check_snapshot(self, request: Request, limit: int) -> None:
        """Raises ControlError: too many klines, or what was sent before waits."""
        kline_streams = sum("@kline_" in name for name in set(request.params))
        klines = kline_streams * min(limit, self._served.market.capacity)
        if klines > SNAPSHOT_KLINES_MAX:
            raise ControlError(
                INVALID_REQUEST,
                f"Invalid request: a snapshot of {klines} klines, at most {SNAPSHOT_KLINES_MAX} "
                "at once; ask for fewer, or for some streams after the others",
                request.id,
            )
        held = self._port.fanout.waiting(self) + self.waiting
        if held > self._port.settings.stream_queue_bytes_max:
            raise ControlError(
                INVALID_REQUEST,
                f"Invalid request: {held} bytes sent before are not taken yet; "
                "ask for a snapshot when they are",
                request.id,
            )

    def _snapshot(self, stream: str, limit: int) -> bytes | None:
        """The newest klines of a kline stream, the forming one behind them; of others nothing."""
        symbol, _, kind = stream.partition("@")
        if not kind.startswith("kline_"):
            return None
        market = self._served.market
        interval = kind.removeprefix("kline_")
        limit = min(limit, market.capacity)
        body = market.klines_json(symbol.upper(), interval, limit, forming=True)
        return b'{"e":"snapshot",' + body[1:]


def _nowhere(data: bytes) -> None:
    """What is sent to who is not there."""
