"""The exchange's port: plain HTTP GETs with keep-alive, and upgrades handed over to picows.

picows can answer a GET by itself, but only at once, with the connection closed after it, and
without the peer's address. Latency, cut answers and limits per address need a door of our own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, cast

from picows import WSListener

from server.handshake import HEAD_SIZE_MAX, hand_over, parse_head

__all__ = ["Door", "HttpAnswer"]

#: A connection that has sent no whole request for this long is closed, s.
IDLE_S = 60.0

_FRAME_SIZE_MAX = 64 * 1024
_READ_BUFFER = 4096

_log = logging.getLogger(__name__)


class HttpAnswer(NamedTuple):
    """One answer, and what is wrong with its delivery."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay_s: float = 0.0
    cut: bool = False  # half of the body, then the end


#: ``answer(target, address)`` of a GET.
Answerer = Callable[[str, str], HttpAnswer]
#: ``upgrade(target, address)``: a listener, or why not.
Upgrader = Callable[[str, str], WSListener | HttpAnswer]


class Door(asyncio.Protocol):
    """One accepted connection until it is closed or has become a WebSocket."""

    def __init__(
        self, answer: Answerer, upgrade: Upgrader, doors: dict[Door, None], *, welcome: bool = True
    ) -> None:
        self._answer = answer
        self._upgrade = upgrade
        self._doors = doors
        self._welcome = welcome  # otherwise the connection is ended as soon as it is made
        self._buffer = b""
        self._busy = False
        self._address = ""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._welcome:
            self.close()
            return
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if peer else ""
        self._doors[self] = None
        self._wait()

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._read()
        elif len(self._buffer) > HEAD_SIZE_MAX and self._transport is not None:
            self._transport.pause_reading()

    def close(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _leave(self) -> None:
        self._doors.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    def _read(self) -> None:
        if self._transport is None or self._busy:
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > HEAD_SIZE_MAX:
            if len(self._buffer) > HEAD_SIZE_MAX:
                self._refuse(431)
            return
        head, rest = self._buffer[:end], self._buffer[end + 4 :]
        request = parse_head(head)
        if isinstance(request, int):
            self._refuse(request)
            return
        target = request.target.decode("utf-8", "replace")
        headers = dict(request.headers)
        if headers.get(b"upgrade", b"").lower() == b"websocket":
            self._hand_over(target)
            return
        self._buffer = rest
        self._busy = True
        keep = headers.get(b"connection", b"").lower() != b"close"
        answer = self._safely(target)
        if answer.delay_s:
            loop = asyncio.get_running_loop()
            loop.call_later(answer.delay_s, self._write, answer, keep)
        else:
            self._write(answer, keep)

    def _safely(self, target: str) -> HttpAnswer:
        try:
            return self._answer(target, self._address)
        except Exception:
            _log.exception("a request failed")
            return HttpAnswer(500, {}, b'{"code":-1000,"msg":"An unknown error occurred."}')

    def _refuse(self, status: int) -> None:
        self._write(HttpAnswer(status, {}, b""), keep=False)

    def _write(self, answer: HttpAnswer, keep: bool) -> None:
        if self._transport is None:
            return
        keep = keep and not answer.cut
        try:
            phrase = HTTPStatus(answer.status).phrase
        except ValueError:
            phrase = "Unknown"
        headers = {"Content-Type": "application/json;charset=UTF-8"} | dict(answer.headers)
        headers["Content-Length"] = str(len(answer.body))
        headers["Connection"] = "keep-alive" if keep else "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body = answer.body[: len(answer.body) // 2] if answer.cut else answer.body
        head = f"HTTP/1.1 {answer.status} {phrase}\r\n{lines}\r\n".encode("latin-1")
        self._transport.write(head + body)
        if not keep:
            self._transport.close()
            return
        self._busy = False
        self._wait()
        self._transport.resume_reading()
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._read)

    def _hand_over(self, target: str) -> None:
        """Become a WebSocket: picows reads the request again and everything after it."""
        try:
            found = self._upgrade(target, self._address)
        except Exception:
            _log.exception("an upgrade failed")
            found = HttpAnswer(500, {}, b"")
        if isinstance(found, HttpAnswer):
            self._write(found, keep=False)
            return
        transport, data = self._transport, self._buffer
        self._leave()
        self._transport = None
        self._buffer = b""
        if transport is not None:
            hand_over(
                transport, data, found, frame_size_max=_FRAME_SIZE_MAX, read_buffer=_READ_BUFFER
            )
