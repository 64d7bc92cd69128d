"""GET requests to the exchange: http.client in a few threads, behind a seam for simulations."""

from __future__ import annotations

import asyncio
import http.client
import threading
import urllib.parse
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from server.errors import RestError

__all__ = ["HttpRest", "Rest", "RestResponse"]


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
    """Keep-alive connections to one base URL, one per thread.

    Redirects are not followed, proxies of the environment not used: the exchange needs neither.
    """

    def __init__(self, base_url: str, *, concurrency: int, timeout_s: float, body_max: int) -> None:
        parts = urllib.parse.urlsplit(base_url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._body_max = body_max
        self._local = threading.local()
        self._open: set[http.client.HTTPConnection] = set()
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="rest")

    async def get(self, path: str, query: Mapping[str, str | int]) -> RestResponse:
        target = self._prefix + path
        if query:
            target += "?" + urllib.parse.urlencode(query)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._request, target)

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in tuple(self._open):
            connection.close()

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """This thread's connection, and whether it has been used before."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            return connection, True
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout_s)
        self._local.connection = connection
        self._open.add(connection)
        return connection, False

    def _drop(self) -> None:
        connection = self._local.connection
        self._local.connection = None
        self._open.discard(connection)
        connection.close()

    def _request(self, target: str) -> RestResponse:
        while True:
            connection, used = self._connection()
            try:
                connection.request("GET", target, headers={"accept": "application/json"})
                answer = connection.getresponse()
                body = answer.read(self._body_max + 1)
                if len(body) > self._body_max:
                    raise RestError(f"answer to {target} is longer than {self._body_max} bytes")
                if answer.will_close:
                    self._drop()
                headers = {name.lower(): value for name, value in answer.getheaders()}
                return RestResponse(answer.status, headers, body)
            except (http.client.HTTPException, OSError) as error:
                self._drop()
                # A kept connection may have been closed while it idled: that is no failure yet.
                if used and isinstance(
                    error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError
                ):
                    continue
                raise RestError(f"no answer from {self._host}: {error!r}") from None
            except RestError:
                self._drop()
                raise
