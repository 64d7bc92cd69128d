"""A subscriber of the stream port: what it asks, and what is written to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from picows import WSCloseCode, WSMsgType, WSTransport

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
from server.streams.connection import Connection
from server.streams.frames import Shape, shaped
from server.streams.paths import StreamPath
from server.traders.streams import find_topics

if TYPE_CHECKING:
    from server.streams.port import StreamPort

__all__ = ["StreamClient"]

#: Seconds a full socket has before what waits for it counts.
FULL_S = 1.0
#: Klines that one SUBSCRIBE may have sent first, of all its streams: some 4.5 MB, 6 ms of the loop.
SNAPSHOT_KLINES_MAX = 20_000


class StreamClient(Connection):
    """A subscriber: Binance's control messages in, messages of its streams out."""

    __slots__ = ("_path", "_served", "_subscriptions", "send", "shape", "topics", "write")

    def __init__(
        self,
        port: StreamPort,
        served: ServedMarket,
        path: StreamPath,
        principal: Principal | None,
        address: str,
    ) -> None:
        """``principal`` None: it must say who it is in its first message."""
        super().__init__(port, principal, address)
        self._served = served
        self._path = path
        self._subscriptions = Subscriptions(
            served.channels,
            self._find_signals,
            streams_max=port.settings.ws_subscriptions_max,
            combined=path.wrapped,
            silent=path.silent,
        )
        self.topics: frozenset[str] = frozenset()
        self.shape = Shape(path.wrapped, path.sequenced)
        self.write: Callable[[bytes], object] = _nowhere
        self.send: Callable[[bytes], object] = _nowhere

    # --- the connection ------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.write = transport.underlying_transport.write
        self.send = partial(transport.send, WSMsgType.TEXT)
        super().on_ws_connected(transport)

    def begin(self) -> None:
        """Subscribe what the path named; it was looked at before the handshake."""
        if self._path.names:
            request = Request("SUBSCRIBE", self._path.names, None)
            try:
                self._subscriptions.apply(request)
            except ControlError as error:  # a symbol was dropped since
                self.end(WSCloseCode.POLICY_VIOLATION, str(error))
                return
        self._listen(self.shape)

    def on_closing(self) -> None:
        self._port.fanout.leave(self)

    def on_end(self) -> None:
        self.write = self.send = _nowhere
        self._port.fanout.leave(self)
        super().on_end()

    def acknowledge(self, request_id: int | str | None) -> None:
        self._port.fanout.tell(self, result_reply(request_id))

    def refuse(self, error: ControlError) -> None:
        self._port.fanout.tell(self, error_reply(error))

    def say_goodbye(self, now_ms: int) -> None:
        notice = b'{"e":"serverShutdown","E":%d}' % now_ms
        if self.shape.wrapped:
            notice = b'{"stream":"!serverShutdown","data":%s}' % notice
        self._port.fanout.tell(self, notice)

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

    # --- writing -------------------------------------------------------------------------------

    def on_full(self) -> None:
        self._port.fanout.fill(self)

    def on_room(self) -> None:
        self._port.fanout.catch_up(self)

    def overflow(self, size: int) -> None:
        """End a client for which too much waits, once its socket has been full for a while."""
        since = self.full_since
        if since is not None and self._port.now() - since > FULL_S:
            self._end_if_holding(size)

    def end_if_behind(self) -> None:
        self._end_if_holding(self._port.fanout.waiting(self))

    def _end_if_holding(self, size: int) -> None:
        """End the client if ``size`` bytes and those in its socket are more than it may hold."""
        held = size + self.waiting
        if held > self._port.settings.stream_queue_bytes_max:
            self.end(WSCloseCode.TRY_AGAIN_LATER, f"too slow: {held} bytes were not taken")

    # --- what it asks --------------------------------------------------------------------------

    def on_request(self, text: str) -> None:
        try:
            self._apply(parse_request(text))
        except ControlError as error:
            self.refuse(error)

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
