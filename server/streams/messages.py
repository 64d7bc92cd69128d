"""From a client's frames to whole messages: what picows leaves to be checked is checked here."""

from __future__ import annotations

import asyncio
import codecs
from typing import Any, cast

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

__all__ = ["MessageListener"]

#: Seconds a client has to answer a close; its connection is dropped then.
CLOSE_S = 1.0

#: Codes that stand for what happened, and are never in a frame (RFC 6455 7.4.1).
_NEVER_SENT = (0, 1004, 1005, 1006, 1015)


class MessageListener(WSListener):
    """Takes a connection's text messages, at most ``message_max`` bytes each.

    Subclasses say what to do in ``on_message``; a client that breaks the protocol is closed with
    the code that RFC 6455 has for it, and nothing more of it is read.
    """

    __slots__ = ("_decoder", "_message_max", "_pieces", "_size", "closing", "transport")

    #: Whether binary messages are anything but a mistake.
    TAKES_BINARY = False

    def __init__(self, message_max: int) -> None:
        self.transport: WSTransport | None = None
        self.closing = False  # a close frame was sent: nothing else follows it
        self._message_max = message_max
        self._decoder: codecs.IncrementalDecoder | None = None  # of a text message in pieces
        self._pieces: list[str] | list[bytes] | None = None  # within a message in pieces
        self._size = 0

    # --- for subclasses ------------------------------------------------------------------------

    def on_message(self, text: str) -> None:
        """Take one whole message."""
        raise NotImplementedError

    def on_binary(self, data: bytes) -> None:
        """Take one whole binary message, where ``TAKES_BINARY``."""

    def on_frame(self) -> None:
        """Count a frame of any kind; called before it is looked at, and may ``close``."""

    def on_ping(self, payload: bytes) -> None:
        """Answer a ping."""
        assert self.transport is not None
        self.transport.send_pong(payload)

    def on_closing(self) -> None:
        """A close frame is about to be sent: nothing may follow it."""

    def on_end(self) -> None:
        """The connection is gone."""

    # --- picows --------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.transport = None
        self.closing = True
        self.on_end()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.closing:
            if frame.msg_type == WSMsgType.CLOSE:
                self._closed_by_peer(frame)
            return
        self.on_frame()
        if self.closing:
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.close(WSCloseCode.PROTOCOL_ERROR, "no extension was agreed on")
            return
        kind = frame.msg_type
        if kind == WSMsgType.TEXT or kind == WSMsgType.BINARY:
            self._begin(frame, text=kind == WSMsgType.TEXT)
        elif kind == WSMsgType.CONTINUATION:
            self._continue(frame)
        elif kind == WSMsgType.PING:
            self.on_ping(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            self._closed_by_peer(frame)

    # --- parts ---------------------------------------------------------------------------------

    def _begin(self, frame: WSFrame, *, text: bool) -> None:
        if self._pieces is not None:
            self.close(WSCloseCode.PROTOCOL_ERROR, "a message within a message")
        elif not text and not self.TAKES_BINARY:
            self.close(WSCloseCode.UNSUPPORTED_DATA, "text messages only")
        elif frame.payload_size > self._message_max:
            self._too_big()
        elif not frame.fin:
            self._decoder = codecs.getincrementaldecoder("utf-8")() if text else None
            self._pieces = []
            self._size = 0
            self._take(frame)
        elif text:
            try:
                message = frame.get_payload_as_utf8_text()
            except UnicodeDecodeError:
                self.close(WSCloseCode.INVALID_TEXT, "not UTF-8")
                return
            self.on_message(message)
        else:
            self.on_binary(frame.get_payload_as_bytes())

    def _continue(self, frame: WSFrame) -> None:
        if self._pieces is None:
            self.close(WSCloseCode.PROTOCOL_ERROR, "a continuation of nothing")
        else:
            self._take(frame)

    def _take(self, frame: WSFrame) -> None:
        self._size += frame.payload_size
        if self._size > self._message_max:
            self._too_big()
            return
        pieces: list[Any] = cast(list[Any], self._pieces)
        piece: str | bytes = frame.get_payload_as_bytes()
        if self._decoder is not None:
            try:
                # Piece by piece: what cannot become UTF-8 any more is refused at once.
                piece = self._decoder.decode(frame.get_payload_as_bytes(), frame.fin)
            except UnicodeDecodeError:
                self.close(WSCloseCode.INVALID_TEXT, "not UTF-8")
                return
        if piece:  # empty frames, however many, take no memory
            pieces.append(piece)
        if frame.fin:
            is_text = self._decoder is not None
            self._decoder = self._pieces = None
            if is_text:
                self.on_message("".join(pieces))
            else:
                self.on_binary(b"".join(pieces))

    def _too_big(self) -> None:
        self.close(WSCloseCode.MESSAGE_TOO_BIG, f"at most {self._message_max} bytes a message")

    def _closed_by_peer(self, frame: WSFrame) -> None:
        transport = self.transport
        if transport is None:
            return
        if not self.closing:
            if frame.payload_size and frame.get_close_code().value in _NEVER_SENT:
                self.close(WSCloseCode.PROTOCOL_ERROR, "a close code that is never sent")
                return
            self._begin_closing()
            if frame.payload_size:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
            else:
                transport.send(WSMsgType.CLOSE, b"")
            # Who takes nothing would hold its place until the system gives up, which may be never.
            asyncio.get_running_loop().call_later(CLOSE_S, self.drop)
        transport.disconnect()

    def close(self, code: WSCloseCode | int, reason: str) -> None:
        """Say goodbye, and drop the connection if it is not answered; the first call counts."""
        transport = self.transport
        if transport is None or self.closing:
            return
        self._begin_closing()
        transport.send_close(cast(WSCloseCode, code), reason.encode()[:123])
        asyncio.get_running_loop().call_later(CLOSE_S, self.drop)

    def _begin_closing(self) -> None:
        self.on_closing()
        self.closing = True

    def drop(self) -> None:
        """Give the connection up, whatever still waits to be sent."""
        if self.transport is not None:
            self.transport.disconnect(graceful=False)
