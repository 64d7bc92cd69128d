"""The WebSocket callback in Python: the same behaviour as the compiled one, and its oracle.

It stands in where the compiled listener cannot be loaded: that one is bound to the memory layout
of one minor version of picows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from klinecore.market import Market
from klinecore.parsers.binance import FrameKind

__all__ = ["ChangeNotifier", "FeedListener"]

_CONTROLS = frozenset({FrameKind.REPLY, FrameKind.ERROR_REPLY, FrameKind.SHUTDOWN})


class ChangeNotifier:
    """Calls ``on_change`` once in the next pass of the event loop, however often it is told.

    What can wait is gathered for ``gather_s`` after a call.
    """

    def __init__(self, on_change: Callable[[], None], gather_s: float = 0.0) -> None:
        self.scheduled = False
        self._gathered = False
        self._gather_s = gather_s
        self._on_change = on_change
        self._pause: asyncio.TimerHandle | None = None

    def notify(self) -> None:
        """Something does not wait. Call within a running event loop."""
        if not self.scheduled:
            asyncio.get_running_loop().call_soon(self._run)
            self.scheduled = True

    def gather(self) -> None:
        """Likewise of something that can wait."""
        if self._pause is None:
            self.notify()
        else:
            self._gathered = True

    def stop(self) -> None:
        """Call nobody any more for what was gathered."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._gathered = False

    def _run(self) -> None:
        self.scheduled = self._gathered = False
        if self._gather_s > 0 and self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(self._gather_s, self._resume)
        self._on_change()

    def _resume(self) -> None:
        self._pause = None
        if self._gathered:
            self._run()


class FeedListener(WSListener):
    """Feeds one socket's messages to ``market``; nothing an exchange sends makes it raise."""

    def __init__(
        self,
        market: Market,
        changes: ChangeNotifier,
        on_control: Callable[[int, bytes], None],
        on_closed: Callable[[], None],
        message_max: int,
    ) -> None:
        self.frames = 0
        self.controls = 0
        self.size = 0
        self.pings = 0
        self.dropped = 0
        self.transport: WSTransport | None = None
        self.tap: Callable[[bytes], None] | None = None
        self._market = market
        self._changes = changes
        self._on_control = on_control
        self._on_closed = on_closed
        self._message_max = message_max
        self._pieces = bytearray()
        self._within = False
        self._closing = False

    def close(self, *, graceful: bool = True) -> None:
        """End the connection, also one that is still to come; messages are no longer taken."""
        self._closing = True
        if self.transport is not None:
            if graceful:
                self.transport.send_close(WSCloseCode.OK)
            self.transport.disconnect(graceful)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        if self._closing:
            transport.disconnect(False)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.transport = None
        self._on_closed()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._closing:
            return
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            # Extensions were not agreed on: whatever it is, it is no text to read as it stands.
            self._give_up()
        elif kind == WSMsgType.TEXT and frame.fin:
            self._take(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PING:
            self.pings += 1
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._piece(frame)
        elif kind == WSMsgType.CLOSE:
            # A close without a code must not be answered with the code 0.
            transport.send_close(frame.get_close_code() or WSCloseCode.OK)
            transport.disconnect()
        elif kind == WSMsgType.BINARY:
            self.dropped += 1

    def _piece(self, frame: WSFrame) -> None:
        """Put a message together that came in several frames."""
        if frame.msg_type == WSMsgType.TEXT:
            self._pieces.clear()
            self._within = True
        if not self._within:
            return  # the rest of a binary message, or of one given up
        if len(self._pieces) + frame.payload_size > self._message_max:
            self._give_up()
            return
        self._pieces += frame.get_payload_as_bytes()
        if frame.fin:
            message = bytes(self._pieces)
            self._within = False
            self._pieces.clear()
            self._take(message)

    def _give_up(self) -> None:
        """Drop a message; pieces of it that follow are dropped with it."""
        self.dropped += 1
        self._within = False
        self._pieces.clear()

    def _take(self, message: bytes) -> None:
        kind = self._market.apply(message)
        self.frames += 1
        self.size += len(message)
        if self._market.pending and not self._changes.scheduled:
            if self._market.urgent:
                self._changes.notify()
            else:
                self._changes.gather()
        if kind in _CONTROLS:
            self.controls += 1
            self._on_control(int(kind), message)
        elif self.tap is not None:
            self.tap(message)
