"""A connection to the stream port until its handshake has been read: who comes, and what for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from picows import WSListener

from server.api.problems import ApiError, problem_response
from server.api.types import Response
from server.handshake import HEAD_SIZE_MAX, Head, hand_over, parse_head

__all__ = ["HANDSHAKES_MAX", "HEAD_S", "StreamDoor", "too_many"]

log = logging.getLogger(__name__)

#: Seconds a head may take.
HEAD_S = 5.0
#: Connections of which it is not known yet who comes. All that the kernel keeps for us at once, and
#: as many again while those are read; a connection that says nothing is the first to go.
HANDSHAKES_MAX = 2048
#: Bytes each connection reserves for reading; a message of a client is rarely longer.
READ_BUFFER = 1024

#: ``admit(head, address)``: a listener and the subprotocol chosen. Raises ApiError: it may not.
Admit = Callable[[Head, str], Awaitable[tuple[WSListener, str | None]]]


class StreamDoor(asyncio.Protocol):
    """Reads one request's head, then hands the connection over or refuses it with an answer."""

    __slots__ = (
        "_admit",
        "_buffer",
        "_frame_size_max",
        "_others",
        "_refused",
        "_task",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        admit: Admit,
        refused: Callable[[int], None],
        frame_size_max: int,
        others: dict[StreamDoor, None],
    ) -> None:
        """``others`` are the connections at this stage, in the order in which they came."""
        self._admit = admit
        self._others = others
        self._refused = refused
        self._frame_size_max = frame_size_max
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None  # held, or it might be collected
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self._too_slow)
        self._others[self] = None
        if len(self._others) > HANDSHAKES_MAX:
            next(iter(self._others)).turn_away("Too many connections have not said who comes.")

    def connection_lost(self, error: Exception | None) -> None:
        self._forget()

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        self._buffer += data
        if self._task is not None:
            if len(self._buffer) > HEAD_SIZE_MAX:
                transport.pause_reading()  # nothing more until it is known who comes
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 and len(self._buffer) <= HEAD_SIZE_MAX:
            return
        if end < 0 or end > HEAD_SIZE_MAX:
            self._refuse(ApiError(431, "head_too_large", f"At most {HEAD_SIZE_MAX} bytes."))
            return
        head = parse_head(self._buffer[:end])
        if isinstance(head, int):
            self._refuse(ApiError(head, "bad_request", "A GET that asks for a WebSocket is read."))
            return
        self._task = asyncio.create_task(self._decide(head))

    async def _decide(self, head: Head) -> None:
        """Admit or refuse; a token may have to be verified first."""
        if self._transport is None:  # gone before this began
            return
        peer = self._transport.get_extra_info("peername")
        try:
            listener, subprotocol = await self._admit(head, peer[0] if peer else "")
        except ApiError as error:
            self._refuse(error, head.target.decode("latin-1"))
            return
        except Exception:
            log.exception("a handshake failed")
            self._refuse(ApiError(500, "internal_error", "The server failed on this handshake."))
            return
        transport, buffered = self._transport, self._buffer
        self._forget()
        if transport is None:  # it has gone
            return
        try:
            hand_over(
                transport,
                buffered,
                listener,
                frame_size_max=self._frame_size_max,
                read_buffer=READ_BUFFER,
                subprotocol=subprotocol,
            )
        except Exception:  # reading had stopped: it would stay open, and nobody would know of it
            log.exception("a connection could not be handed over")
            transport.abort()

    def turn_away(self, why: str) -> None:
        """Answer that there is no room, now or any more."""
        self._refuse(too_many(why))

    def _too_slow(self) -> None:
        self._refuse(ApiError(408, "head_too_slow", f"A head has {HEAD_S:g} s to come."))

    def _refuse(self, error: ApiError, path: str = "") -> None:
        transport = self._transport
        self._forget()
        if transport is not None:
            self._refused(error.status)
            transport.write(_answer(problem_response(error, path)))
            transport.close()

    def _forget(self) -> None:
        self._transport = self._task = None
        self._buffer = b""
        self._others.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def too_many(text: str) -> ApiError:
    """There is no room for a connection now."""
    return ApiError(503, "too_many_clients", text, headers=[(b"retry-after", b"5")])


def _answer(response: Response) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (response.status, b"Refused")]
    lines += [b"%s: %s" % (name, value) for name, value in response.headers]
    return b"\r\n".join((*lines, b"connection: close", b"", response.body))
