"""GET requests to the exchange: http.client in a few threads, behind a seam for simulations."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
import urllib.parse
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from server.errors import RestError
from server.feeds.hosts import Hosts, host_of
from server.tls import client_context

__all__ = ["HttpRest", "Rest", "RestResponse"]


#: A whole answer may take this many times as long as one silence within it: a server that sends a
#: byte now and then must not hold a connection for ever.
_WHOLE_FACTOR = 6


class RestResponse(NamedTuple):
    """One answer; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Rest(Protocol):
    """What the feed needs of a REST client."""

    async def get(self, path: str, query: Mapping[str, str | int]) -> RestResponse:
        """Ask once. Raises RestError (status 0): no answer came."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class HttpRest:
    """Keep-alive connections to the base URL in use, one per thread.

    A request that gets no answer fails, and later ones go to the next host; any answer keeps it.
    Redirects are not followed, proxies of the environment not used: the exchange needs neither.
    """

    def __init__(self, hosts: Hosts, *, concurrency: int, timeout_s: float, body_max: int) -> None:
        """``hosts`` are base URLs."""
        self._hosts = hosts
        self._timeout_s = timeout_s
        self._body_max = body_max
        self._local = threading.local()
        self._open: set[http.client.HTTPConnection] = set()
        self._requests: set[_Request] = set()
        self._closed = False
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="rest")

    async def get(self, path: str, query: Mapping[str, str | int]) -> RestResponse:
        base = self._hosts.url
        target = urllib.parse.urlsplit(base).path.rstrip("/") + path
        if query:
            target += "?" + urllib.parse.urlencode(query)
        request = _Request(base, target)
        self._requests.add(request)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s * _WHOLE_FACTOR):
                return await loop.run_in_executor(self._pool, self._send, request)
        except TimeoutError:
            self._hosts.leave(base)
            raise RestError(f"no whole answer from {host_of(base)} in time") from None
        except RestError:
            if not self._closed:
                self._hosts.leave(base)
            raise
        finally:
            self._requests.discard(request)
            request.abort()

    async def close(self) -> None:
        self._closed = True
        for request in tuple(self._requests):
            request.abort()
        # Threads that were reading wake up at once; one that is still connecting, at its timeout.
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        for connection in tuple(self._open):
            connection.close()

    def _connection(self, base: str) -> tuple[http.client.HTTPConnection, bool]:
        """This thread's connection to ``base``, and whether it has been used before."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            if self._local.base == base:
                return connection, True
            self._drop()  # to a host that was left
        parts = urllib.parse.urlsplit(base)
        secure = parts.scheme == "https"
        host, port, timeout_s = parts.hostname or "", parts.port, self._timeout_s
        connection = (
            http.client.HTTPSConnection(host, port, timeout=timeout_s, context=client_context())
            if secure
            else http.client.HTTPConnection(host, port, timeout=timeout_s)
        )
        self._local.connection, self._local.base = connection, base
        self._open.add(connection)
        return connection, False

    def _drop(self) -> None:
        connection = self._local.connection
        self._local.connection = None
        self._open.discard(connection)
        connection.close()

    def _send(self, request: _Request) -> RestResponse:
        """Ask and read; runs in a thread of the pool."""
        while not self._closed:
            connection, used = self._connection(request.base)
            try:
                if connection.sock is None:
                    connection.connect()
                request.begin(connection.sock)
                connection.request("GET", request.target, headers={"accept": "application/json"})
                return self._read(connection, request.target)
            except (http.client.HTTPException, OSError, ValueError) as error:
                self._drop()
                # A kept connection may have been closed while it idled: that is no failure yet.
                if used and isinstance(
                    error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError
                ):
                    continue
                raise RestError(f"no answer from {host_of(request.base)}: {error!r}") from None
            except RestError:
                self._drop()
                raise
            finally:
                request.end()
        raise RestError("the REST client is closed")

    def _read(self, connection: http.client.HTTPConnection, target: str) -> RestResponse:
        with connection.getresponse() as answer:
            body = answer.read(self._body_max + 1)
        if len(body) > self._body_max:
            raise RestError(f"answer to {target} is longer than {self._body_max} bytes")
        if answer.length:
            raise RestError(f"answer to {target} was cut off")
        if answer.will_close:
            self._drop()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return RestResponse(answer.status, headers, body)


class _Request:
    """One request and the socket it is on at the moment, so that it can be given up.

    The socket itself: a connection forgets it at the head of an answer that is its last.
    """

    def __init__(self, base: str, target: str) -> None:
        self.base = base
        self.target = target
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._aborted = False

    def begin(self, used: socket.socket) -> None:
        """Raises OSError: given up already."""
        with self._lock:
            if self._aborted:
                raise OSError("given up")
            self._socket = used

    def end(self) -> None:
        with self._lock:
            self._socket = None

    def abort(self) -> None:
        """Wake the thread that waits for the answer, if there is one: closing would not."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
