"""RFC 6455 where picows leaves it to us: each mistake has its close code."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
import uvloop
from stream_port import Running, running
from ws_frames import CLOSE, CONTINUATION, LIST, MISTAKES, PING, PONG, TEXT, frame

UPGRADE = (
    b"GET /ws/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def talk(server: Running, sent: bytes) -> tuple[list[tuple[int, bytes]], int | None]:
    """Frames that came back, and the close code if there was one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.streams.port)
    writer.write(UPGRADE + sent)
    await reader.readuntil(b"\r\n\r\n")
    frames: list[tuple[int, bytes]] = []
    try:
        async with asyncio.timeout(30):
            while True:
                first, size = await reader.readexactly(2)
                if size == 126:
                    size = int.from_bytes(await reader.readexactly(2))
                payload = await reader.readexactly(size)
                opcode = first & 0xF
                if opcode == CLOSE:
                    return frames, int.from_bytes(payload[:2]) if payload else 1005
                frames.append((opcode, payload))
                if len(frames) == 1 and opcode in (TEXT, PONG):
                    return frames, None
    except asyncio.IncompleteReadError:
        return frames, None
    finally:
        writer.close()


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_closed_with_its_code(name: str) -> None:
    sent, code = MISTAKES[name]

    async def story() -> None:
        async with running() as server:
            frames, found = await talk(server, sent)
            # A flood's first pings were answered before it was one.
            if name == "a flood of pings" and found is None:
                assert frames[0][0] == PONG
                found = await code_of_flood(server, sent)
            assert found == code

    uvloop.run(story())


async def code_of_flood(server: Running, sent: bytes) -> int:
    async with asyncio.timeout(30):
        while server.streams.dropped.value("1008") == 0:
            await asyncio.sleep(0.01)
    return 1008


def test_a_message_may_come_in_pieces_with_pings_between() -> None:
    async def story() -> None:
        async with running() as server:
            pieces = (
                frame(TEXT, LIST[:5], fin=False)
                + frame(CONTINUATION, LIST[5:9], fin=False)
                + frame(CONTINUATION, LIST[9:])
            )
            frames, _ = await talk(server, pieces)
            assert frames == [(TEXT, b'{"result":[],"id":1}')]
            frames, _ = await talk(server, frame(PING, b"payload"))
            assert frames == [(PONG, b"payload")]

    uvloop.run(story())


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8bye", b"\x0f\xa0"])
def test_a_close_is_answered_with_its_own_code(payload: bytes) -> None:
    async def story() -> None:
        async with running() as server:
            _, code = await talk(server, frame(CLOSE, payload))
            assert code == (int.from_bytes(payload[:2]) if payload else 1005)

    uvloop.run(story())


def test_bytes_without_sense_end_connections_and_nothing_else() -> None:
    random = Random(7)

    async def story() -> None:
        async with running() as server:
            for _ in range(300):
                _, writer = await asyncio.open_connection("127.0.0.1", server.streams.port)
                writer.write(UPGRADE + random.randbytes(random.randrange(200)))
                writer.write_eof()
                writer.close()
            frames, _ = await talk(server, frame(TEXT, LIST))
            assert frames == [(TEXT, b'{"result":[],"id":1}')]

    uvloop.run(story())
