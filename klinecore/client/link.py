"""One WebSocket to the stream port, from its handshake to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

import msgspec
from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from klinecore.client.messages import Message, ask_for, read_message
from klinecore.errors import ParseError, RefusedError

__all__ = ["Link"]

#: Seconds a handshake may take, and a reply.
ANSWER_S = 10.0
#: Seconds of silence before a ping is sent, and for its answer.
IDLE_S = 15.0
#: Bytes of one message; a snapshot of 1,000 klines has some 200,000.
MESSAGE_SIZE_MAX = 16 << 20
#: Requests a second, and so many at once: the server ends who sends more than 5, or 10.
RATE = 4.0
BURST = 6

_Answer = TypeVar("_Answer")

#: Answers to a handshake that the next attempt would get again.
_FINAL = (400, 401, 403, 404, 426)


class Link(WSListener):
    """Hands every message but replies to ``take``, in order.

    ``ended`` is done when the connection is gone; its result says why. One that brings what
    cannot be read is ended.
    """

    def __init__(self, take: Callable[[bytes, Message], None]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._transport: WSTransport | None = None
        self._reason = "the connection was lost"
        self._pieces = bytearray()  # of a message in several frames
        self._numbers = count(1)
        self._replies: dict[int, asyncio.Future[Message]] = {}
        self._due = self._loop.time() - BURST / RATE  # when the next request may be sent
        self.ended: asyncio.Future[str] = self._loop.create_future()

    async def open(self, url: str, key: str | None) -> None:
        """Connect. Raises RefusedError; OSError: not reached, or not now."""
        try:
            await ws_connect(
                lambda: self,
                url,
                websocket_handshake_timeout=ANSWER_S,
                enable_auto_ping=True,
                auto_ping_idle_timeout=IDLE_S,
                auto_ping_reply_timeout=IDLE_S,
                max_frame_size=MESSAGE_SIZE_MAX,
                extra_headers={"X-API-Key": key} if key else {},
                max_redirects=0,
            )
        except WSHandshakeError as error:
            status = int(error.response.status) if error.response else 0
            if status in _FINAL:
                hint = "the key is missing or wrong" if status == 401 else "is it the stream port?"
                raise RefusedError(f"{url} answers {status}: {hint}", status) from None
            raise ConnectionError(f"{url} answers {status or error}") from None
        except WSError as error:
            raise ConnectionError(f"{url}: {error}") from None

    def close(self) -> None:
        """Say goodbye, if it is still there."""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()

    async def subscribe(self, streams: Sequence[str], **joined: int) -> str | None:
        """Ask for streams, not sooner than the server allows; what it objects, or None.

        Raises OSError: the connection ended, or no reply came in time.
        """
        now = self._loop.time()
        self._due = max(self._due, now - BURST / RATE) + 1 / RATE
        if self._due > now:
            await asyncio.sleep(self._due - now)
        number = next(self._numbers)
        reply = self._replies[number] = self._loop.create_future()
        self._send(ask_for(streams, number, **joined))
        message = await self.wait(reply)
        return message.error.msg if message.error is not None else None

    async def wait(self, answer: asyncio.Future[_Answer]) -> _Answer:
        """What is answered. Raises OSError: the connection ends before, or it takes too long."""
        async with asyncio.timeout(ANSWER_S):
            await asyncio.wait((answer, self.ended), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ConnectionError(self.ended.result())
        return answer.result()

    def _send(self, data: bytes) -> None:
        if self._transport is None:
            raise ConnectionError(self._reason)
        self._transport.send(WSMsgType.TEXT, data)

    # --- picows --------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        if not self.ended.done():
            self.ended.set_result(self._reason)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.ended.done():
            return
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            text = (frame.get_close_message() or b"").decode("utf-8", "replace")
            self._end(f"closed with {frame.get_close_code().value} {text}".rstrip())
        elif kind == WSMsgType.TEXT or kind == WSMsgType.CONTINUATION:
            if frame.fin and not self._pieces:
                self._read(frame.get_payload_as_bytes())
                return
            self._pieces += frame.get_payload_as_memoryview()
            if len(self._pieces) > MESSAGE_SIZE_MAX:
                self._end(f"a message of more than {MESSAGE_SIZE_MAX} bytes")
            elif frame.fin:
                whole = bytes(self._pieces)
                self._pieces.clear()
                self._read(whole)

    def _read(self, payload: bytes) -> None:
        try:
            message = read_message(payload)
            if message.id is None and message.error is None:
                self._take(payload, message)
                return
        except (msgspec.MsgspecError, ParseError) as error:
            self._end(f"a message that cannot be read: {error}")
            return
        reply = self._replies.pop(message.id, None) if isinstance(message.id, int) else None
        if reply is not None and not reply.done():
            reply.set_result(message)

    def _end(self, reason: str) -> None:
        self._reason = reason
        if not self.ended.done():
            self.ended.set_result(reason)
        self.close()
