"""A network in memory under the real protocols: latency, bandwidth, lost bytes, cuts, refusals.

Both ends of a connection are asyncio transports. What is written in one moment travels together
and arrives in order; TCP's own retransmissions show as latency.
"""

from __future__ import annotations

import asyncio
import random as random_module
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.trace import Trace

__all__ = ["Conditions", "End", "Network"]

_FIRST_PORT = 20_000


class Conditions:
    """What the network is like; held by the network, changed by faults."""

    def __init__(self) -> None:
        self.latency_s = 0.02
        self.jitter_s = 0.01  # up to so much is added
        self.bytes_per_s = 0.0  # 0: no bound
        self.refuse = False  # connecting fails at once
        self.blackhole = False  # connecting never ends
        self.failure: Exception | None = None  # connecting, and REST, fail with it: DNS, TLS


class Network:
    """Listeners by address, and every open connection, oldest first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.conditions = Conditions()
        self.random = random_module.Random(0)
        self.trace: Trace | None = None
        self.connects = 0  # attempts
        self.refused = 0
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._ends: dict[End, None] = {}  # the clients' ends
        self._port = _FIRST_PORT

    @property
    def clients(self) -> list[End]:
        """The clients' ends of open connections, oldest first."""
        return list(self._ends)

    def listen(self, factory: Callable[[], Any], host: str, port: int) -> Listener:
        """Raises OSError: the port is taken."""
        if not port:
            self._port += 1
            port = self._port
        if (host, port) in self._listeners:
            raise OSError(98, "address already in use")
        listener = self._listeners[host, port] = Listener(self, factory, host, port)
        return listener

    async def connect(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        """Raises OSError: nobody listens there, or the network refuses."""
        self.connects += 1
        self.note("connect", host, port)
        if self.conditions.blackhole:
            await asyncio.Event().wait()
        await asyncio.sleep(2 * self.delay_s())
        if self.conditions.failure is not None:
            raise self.conditions.failure
        listener = self._listeners.get((host, port))
        if listener is None or self.conditions.refuse:
            self.refused += 1
            raise ConnectionRefusedError(111, f"connection to {host}:{port} refused")
        self._port += 1
        client = End(self, ("127.0.0.1", self._port), (host, port))
        server = End(self, (host, port), ("127.0.0.1", self._port))
        client.peer, server.peer = server, client
        client.name, server.name = f"c{self.connects}", f"s{self.connects}"
        self._ends[client] = None
        server.attach(listener.factory())
        protocol = factory()
        client.attach(protocol)
        return client, protocol

    def delay_s(self) -> float:
        """Of one delivery."""
        conditions = self.conditions
        return conditions.latency_s + conditions.jitter_s * self.random.random()

    def note(self, kind: str, *facts: object) -> None:
        """Into the trace, if there is one."""
        if self.trace is not None:
            self.trace.note(kind, *facts)

    def forget(self, end: End) -> None:
        """A client's end is gone."""
        self._ends.pop(end, None)

    def close(self, listener: Listener) -> None:
        """Nobody listens there any more."""
        self._listeners.pop((listener.host, listener.port), None)


class Listener:
    """What ``create_server`` returns."""

    def __init__(self, network: Network, factory: Callable[[], Any], host: str, port: int) -> None:
        self.factory = factory
        self.host = host
        self.port = port
        self.sockets = [self]
        self._network = network

    def getsockname(self) -> tuple[str, int]:
        return self.host, self.port

    def close(self) -> None:
        self._network.close(self)

    async def wait_closed(self) -> None:
        return


class _Socket:
    """What picows asks of a socket: options, and a number that no native call can use."""

    def __init__(self) -> None:
        self.lingers = True

    def fileno(self) -> int:
        return -1

    def setsockopt(self, level: int, option: int, value: object) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.lingers = False

    def getsockopt(self, level: int, option: int) -> int:
        return 0


class End(asyncio.Transport):
    """One end of a connection.

    ``cut_after`` bytes more and the connection ends, with a reset if ``cut_resets``; while
    ``deaf``, bytes and the end that this end sends vanish.
    """

    def __init__(self, network: Network, here: tuple[str, int], there: tuple[str, int]) -> None:
        super().__init__()
        self.peer: End = self
        self.name = ""
        self.deaf = False
        self.cut_after: int | None = None
        self.cut_resets = False
        self.sent = 0  # bytes
        self._network = network
        self._loop = network.loop
        self._socket = _Socket()
        self._here, self._there = here, there
        self._protocol: Any = None
        self._out: list[bytes] = []  # written in this moment
        self._flushing = False
        self._arrives_s = 0.0  # when the last delivery does
        self._travelling = 0  # bytes that have not arrived
        self._held: deque[bytes] = deque()  # arrived while reading is paused
        self._eof_held = False
        self._paused = False
        self._closing = False
        self._lost = False

    # --- what protocols call -------------------------------------------------------------------

    def attach(self, protocol: Any) -> None:
        """The first protocol of this end."""
        self._protocol = protocol
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"socket": self._socket, "peername": self._there, "sockname": self._here}
        return known.get(name, default)

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def get_write_buffer_size(self) -> int:
        """Never 0: picows writes to the socket by itself when nothing waits."""
        return self._travelling + sum(map(len, self.peer._held)) + 1

    def write(self, data: Any) -> None:
        if self._closing:
            return
        self._out.append(bytes(data))
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        if self._held or self._eof_held:
            self._loop.call_soon(self._catch_up)

    def close(self) -> None:
        """What was written still arrives, then the end."""
        if self._closing:
            return
        self._closing = True
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def abort(self) -> None:
        """Reset the connection: what was not delivered is lost."""
        if self._lost:
            return
        self._closing = True
        self._out.clear()
        if not self.deaf:
            self._loop.call_later(self._network.delay_s(), self.peer._reset)
        self._loop.call_soon(self._lose, None)

    def vanish(self) -> None:
        """The process of this end is gone: its kernel resets the connection."""
        self.abort()
        self._reset()

    # --- the way -------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._flushing = False
        data = b"".join(self._out)
        self._out.clear()
        if data and not self._lost:
            self._travel(data)
        if self._closing and not self._lost:
            if not self.deaf:
                self._loop.call_at(self._arrival_s(0), self.peer._end)
            self._loop.call_soon(self._lose, None)

    def _travel(self, data: bytes) -> None:
        cut = self.cut_after is not None and len(data) >= self.cut_after
        if self.cut_after is not None:
            data, self.cut_after = data[: self.cut_after], self.cut_after - len(data)
        self.sent += len(data)
        self._network.note("sent", self.name, len(data))
        if not self.deaf:
            self._travelling += len(data)
            self._loop.call_at(self._arrival_s(len(data)), self._arrive, data)
        if cut:
            self.sever(reset=self.cut_resets)

    def _arrival_s(self, size: int) -> float:
        bytes_per_s = self._network.conditions.bytes_per_s
        arrives_s = self._loop.time() + self._network.delay_s()
        if bytes_per_s:
            arrives_s = max(arrives_s, self._arrives_s) + size / bytes_per_s
        self._arrives_s = max(arrives_s, self._arrives_s)
        return self._arrives_s

    def _arrive(self, data: bytes) -> None:
        self._travelling -= len(data)
        self.peer._take(data)

    def sever(self, *, reset: bool) -> None:
        """The way itself ends: both ends learn of it, behind what is on its way."""
        at_s = self._arrival_s(0)
        for end in (self, self.peer):
            self._loop.call_at(at_s, end._reset if reset else end._end)

    # --- what arrives --------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        if self._lost or self._closing:
            return
        if self._paused or self._held:
            self._held.append(data)
            return
        self._deliver(data)

    def _catch_up(self) -> None:
        while self._held and not self._paused:
            self._deliver(self._held.popleft())
        if self._eof_held and not self._held:
            self._end()

    def _deliver(self, data: bytes) -> None:
        protocol = self._protocol
        if not hasattr(protocol, "get_buffer"):
            protocol.data_received(data)
            return
        left = memoryview(data)
        while left and not self._lost:
            place = protocol.get_buffer(-1)
            size = min(len(place), len(left))
            place[:size] = left[:size]
            left = left[size:]
            protocol.buffer_updated(size)

    def _end(self) -> None:
        if self._held:
            self._eof_held = True
            return
        if not self._lost and not self._closing and not self._protocol.eof_received():
            self.close()

    def _reset(self) -> None:
        self._held.clear()
        self._closing = True
        self._lose(ConnectionResetError(104, "connection reset by peer"))

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._network.forget(self)
        self._network.note("lost", self.name, type(error).__name__)
        self._protocol.connection_lost(error)
