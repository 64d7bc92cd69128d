"""Echoes WebSocket messages for the Autobahn suite, over one of our ports: PORT KIND."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop
from granian import Granian
from granian.constants import Interfaces, Loops, RuntimeModes
from granian.log import LogLevels
from picows import WSListener, WSMsgType

from server.handshake import Head
from server.streams.door import StreamDoor
from server.streams.messages import MessageListener

#: The suite sends messages of 16 MiB.
SIZE_MAX = 1 << 26


class Echo(MessageListener):
    """What the stream port makes of frames, sent back."""

    TAKES_BINARY = True

    def on_message(self, text: str) -> None:
        assert self.transport is not None
        self.transport.send(WSMsgType.TEXT, text.encode())

    def on_binary(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.send(WSMsgType.BINARY, data)


async def admit(head: Head, address: str) -> tuple[WSListener, None]:
    return Echo(SIZE_MAX), None


async def serve_streams(port: int) -> None:
    def door() -> StreamDoor:
        return StreamDoor(admit, lambda status: None, SIZE_MAX, {})

    server = await asyncio.get_running_loop().create_server(door, "127.0.0.1", port)
    await server.serve_forever()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The same as an ASGI application."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        body = {"text": text} if text is not None else {"bytes": message.get("bytes") or b""}
        await send({"type": "websocket.send", **body})


def load() -> Any:
    return echo


def main(port: int, kind: str) -> None:
    if kind == "streams":
        uvloop.run(serve_streams(port))
        return
    server = Granian(
        "autobahn_echo:echo",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        workers=1,
        runtime_mode=RuntimeModes.st,
        loop=Loops.uvloop,
        log_level=LogLevels.error,
        log_access=False,
    )
    server.serve(target_loader=load, wrap_loader=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
