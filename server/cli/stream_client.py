"""A WebSocket client of a running server, as ``watch`` needs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any

from picows import (
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from server.errors import ServerError

__all__ = ["StreamClient"]

#: Messages read and not printed yet; a terminal that is slower loses the oldest.
_QUEUE_MAX = 10_000

_CONNECT_S = 10.0


class _Listener(WSListener):
    def __init__(self) -> None:
        self.messages: asyncio.Queue[str | None] = asyncio.Queue()
        self.reason = "the connection was lost"

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            if self.messages.qsize() == _QUEUE_MAX:
                self.messages.get_nowait()
            self.messages.put_nowait(frame.get_payload_as_utf8_text())
        elif frame.msg_type == WSMsgType.CLOSE:
            text = (frame.get_close_message() or b"").decode("utf-8", "replace")
            self.reason = f"closed with {frame.get_close_code().value} {text}".rstrip()
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.messages.put_nowait(None)


class StreamClient:
    """One connection; iterate over its messages until it ends, ``reason`` says why.

    Raises OSError on entry: not reached. ServerError: refused.
    """

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url
        self._headers = {"X-API-Key": key} if key else {}
        self._listener = _Listener()
        self._transport: WSTransport | None = None

    @property
    def reason(self) -> str:
        """Why the connection ended."""
        return self._listener.reason

    async def __aenter__(self) -> StreamClient:
        try:
            self._transport, _ = await ws_connect(
                lambda: self._listener,
                self._url,
                websocket_handshake_timeout=_CONNECT_S,
                extra_headers=self._headers,
                max_redirects=0,
            )
        except WSHandshakeError as error:
            status = error.response.status if error.response else 0
            hint = "; is API_KEY set to the server's key?" if int(status) == 401 else ""
            raise ServerError(f"{self._url} refused with {int(status)}{hint}") from None
        except WSError as error:
            raise OSError(str(error)) from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._transport is not None:
            self._transport.disconnect()

    async def subscribe(self, streams: Sequence[str]) -> None:
        """Raises ServerError: the server knows no such stream."""
        assert self._transport is not None
        request = {"method": "SUBSCRIBE", "params": list(streams), "id": 1}
        self._transport.send(WSMsgType.TEXT, json.dumps(request, ensure_ascii=False).encode())
        while (text := await self._listener.messages.get()) is not None:
            reply = json.loads(text)
            if "error" in reply:
                raise ServerError(reply["error"]["msg"])
            if reply.get("id") == 1:
                return
        raise OSError(self.reason)

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while (text := await self._listener.messages.get()) is not None:
            yield json.loads(text)
