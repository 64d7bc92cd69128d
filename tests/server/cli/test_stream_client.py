"""The client of ``watch`` before a terminal that is slower than the stream."""

from __future__ import annotations

import asyncio
import json

import pytest
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from server.cli import stream_client
from server.cli.stream_client import StreamClient


class Peer(WSListener):
    """Answers the first request, and tells ten messages and goes when it is told to."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.say({"id": 1, "result": None})

    def say(self, message: object) -> None:
        self.transport.send(WSMsgType.TEXT, json.dumps(message).encode())

    def finish(self) -> None:
        for number in range(10):
            self.say({"told": number})
        self.transport.send_close(WSCloseCode.GOING_AWAY, b"over")


def test_of_what_finds_no_room_the_newest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_client, "_QUEUE_MAX", 3)

    async def scenario() -> list[int]:
        peer = Peer()
        server = await ws_create_server(lambda request: peer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with StreamClient(f"ws://127.0.0.1:{port}/ws", None) as client:
            await client.subscribe(["btcusdt@ticker"])
            peer.finish()
            async with asyncio.timeout(60):
                while "over" not in client.reason:
                    await asyncio.sleep(0.01)
            told = [message["told"] async for message in client]
        server.close()
        await server.wait_closed()
        return told

    assert asyncio.run(scenario()) == [7, 8, 9]
