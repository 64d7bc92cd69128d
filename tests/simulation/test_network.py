"""The network in memory: order, latency, bandwidth, and every way in which a connection ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from simulation.loop import VirtualLoop, run
from simulation.network import End, Network


class Peer(asyncio.Protocol):
    """Notes what it is told, and when."""

    def __init__(self) -> None:
        self.told: list[tuple[float, object]] = []
        self.transport: End | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.note(data)

    def eof_received(self) -> None:
        self.note("eof")

    def connection_lost(self, error: Exception | None) -> None:
        self.note("lost" if error is None else type(error).__name__)

    def note(self, what: object) -> None:
        self.told.append((round(asyncio.get_running_loop().time(), 6), what))

    @property
    def facts(self) -> list[object]:
        return [what for _, what in self.told]


def connected(
    test: Callable[[Network, End, Peer, Peer], Coroutine[Any, Any, None]],
) -> Callable[[], None]:
    """Run a test with one connection of 20 ms latency, both ends of which are a ``Peer``."""

    def under_virtual_time() -> None:
        async def scenario() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.network.conditions.jitter_s = 0.0
            server = Peer()
            listener = await loop.create_server(lambda: server, "here")
            host, port = listener.getsockname()
            transport, client = await loop.create_connection(Peer, host, port)
            await test(loop.network, transport, client, server)

        run(scenario())

    under_virtual_time.__name__ = test.__name__
    under_virtual_time.__doc__ = test.__doc__
    return under_virtual_time


@connected
async def test_what_is_written_in_one_moment_arrives_together_and_in_order(
    network: Network, end: End, client: Peer, server: Peer
) -> None:
    end.write(b"one ")
    end.write(b"two ")
    end.writelines([b"three", b" four"])
    await asyncio.sleep(0.01)
    end.write(b"later")
    await asyncio.sleep(1)
    assert server.told == [(0.06, b"one two three four"), (0.07, b"later")]


@connected
async def test_bandwidth_delays_and_queues(
    network: Network, end: End, client: Peer, server: Peer
) -> None:
    network.conditions.bytes_per_s = 1000.0
    end.write(bytes(500))
    await asyncio.sleep(0)
    assert end.get_write_buffer_size() > 500
    await asyncio.sleep(0)
    end.write(bytes(1000))
    await asyncio.sleep(5)
    assert [(at, len(what)) for at, what in server.told] == [(0.56, 500), (1.56, 1000)]
    assert end.get_write_buffer_size() == 1  # never 0: picows would write to the socket itself


@connected
async def test_closing_delivers_first(
    network: Network, end: End, client: Peer, server: Peer
) -> None:
    end.write(b"last words")
    end.close()
    end.write(b"too late")
    await asyncio.sleep(1)
    assert server.facts == [b"last words", "eof", "lost"]
    assert client.facts == ["lost"]
    assert network.clients == []


@connected
async def test_aborting_resets(network: Network, end: End, client: Peer, server: Peer) -> None:
    end.write(b"never flushed")
    end.abort()
    await asyncio.sleep(1)
    assert server.facts == ["ConnectionResetError"]
    assert client.facts == ["lost"]


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_comes_after_the_byte_it_was_set_for(reset: bool) -> None:
    @connected
    async def scenario(network: Network, end: End, client: Peer, server: Peer) -> None:
        end.cut_after, end.cut_resets = 7, reset
        end.write(b"0123")
        await asyncio.sleep(0.5)
        end.write(b"456789")
        await asyncio.sleep(1)
        ends = ["ConnectionResetError"] if reset else ["eof", "lost"]
        assert server.facts == [b"0123", b"456", *ends]
        assert client.facts == ends

    scenario()


@connected
async def test_a_half_open_connection_tells_nobody(
    network: Network, end: End, client: Peer, server: Peer
) -> None:
    end.deaf = True
    end.write(b"into the void")
    end.close()
    await asyncio.sleep(3600)
    assert server.told == []  # half-open: not even the end arrives
    assert server.transport is not None
    server.transport.write(b"to nobody")
    await asyncio.sleep(1)
    assert client.facts == ["lost"]


@connected
async def test_a_paused_reader_misses_nothing(
    network: Network, end: End, client: Peer, server: Peer
) -> None:
    assert server.transport is not None
    server.transport.pause_reading()
    end.write(b"a")
    await asyncio.sleep(1)
    end.write(b"b")
    end.close()
    await asyncio.sleep(1)
    assert server.told == []
    server.transport.resume_reading()
    await asyncio.sleep(1)
    assert server.facts == [b"a", b"b", "eof", "lost"]


def test_connecting_fails_where_nobody_listens_or_the_network_refuses() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Peer, "here", 1)
        listener = await loop.create_server(Peer, "here", 1)
        with pytest.raises(OSError, match="in use"):
            await loop.create_server(Peer, "here", 1)
        await loop.create_connection(Peer, "here", 1)
        loop.network.conditions.blackhole = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1000):
                await loop.create_connection(Peer, "here", 1)
        loop.network.conditions.blackhole = False
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Peer, "here", 1)
        assert (loop.network.connects, loop.network.refused) == (4, 2)

    run(scenario())
