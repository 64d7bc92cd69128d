"""One POST over HTTPS, to addresses that were checked: http.client in a few threads.

No redirect is followed and no proxy of the environment used; both would lead elsewhere. An answer's
body is read only where a service tells in it how long to wait, and is never shown to anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from server.alerts.addresses import Place, RefusedError, Rules
from server.tls import client_context

__all__ = ["Answer", "HttpClient", "UnreachableError"]

#: Seconds a whole request may take, looking up the name included.
TIMEOUT_S = 5.0
#: Bytes of an answer that are read.
ANSWER_BYTES_MAX = 65_536
#: Bytes that are sent.
BODY_BYTES_MAX = 65_536
#: Addresses of one name that are tried.
TRIES_MAX = 3
#: Requests under way at once, to all hosts together.
THREADS = 8

_AGENT = "klineserver-alerts"


class UnreachableError(Exception):
    """No answer came; it may next time."""


class Answer(NamedTuple):
    """What came back; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpClient:
    """Sends; keeps nothing open."""

    def __init__(
        self, rules: Rules, *, context: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        """``context`` says whose certificates are believed; the default is the system's."""
        self.rules = rules
        self._context = context
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="alerts")

    async def post(self, place: Place, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send ``body`` once. Raises RefusedError, UnreachableError."""
        if len(body) > BODY_BYTES_MAX:
            raise RefusedError(f"an alert has at most {BODY_BYTES_MAX} bytes")
        request = _Request(place, body, headers)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await loop.run_in_executor(self._pool, self._send, request)
        except TimeoutError:
            raise UnreachableError(f"no whole answer within {self._timeout_s:g} s") from None
        finally:
            request.abort()

    async def close(self) -> None:
        """Wait for what is under way, which the timeout bounds."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _send(self, request: _Request) -> Answer:
        """In a thread: look up, connect, send, read."""
        place = request.place
        try:
            addresses = self.rules.addresses(place)
        except OSError:
            raise UnreachableError("the host's name is not known now") from None
        fault = "no connection"
        for address in addresses[:TRIES_MAX]:
            if request.aborted:
                break
            connection = _Connection(place, address, self._context, self._timeout_s)
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                fault = f"no connection: {_name(error)}"
                continue
            try:
                return request.run(connection)
            except (http.client.HTTPException, OSError, ValueError) as error:
                raise UnreachableError(f"no answer: {_name(error)}") from None
            finally:
                connection.close()
        raise UnreachableError(fault)


class _Connection(http.client.HTTPConnection):
    """To one address that was checked, in the name of the host it belongs to."""

    def __init__(
        self, place: Place, address: str, context: ssl.SSLContext | None, timeout_s: float
    ) -> None:
        super().__init__(place.host, place.port, timeout=timeout_s)
        self._place = place
        self._address = address
        self._context = context
        # http.client lets go of its socket while an answer is still being read from it.
        self.held: socket.socket | None = None

    def connect(self) -> None:
        self._open()
        self.held = self.sock

    def shut(self) -> None:
        """Wake a thread that reads: closing alone would not."""
        if self.held is not None:
            with contextlib.suppress(OSError):
                self.held.shutdown(socket.SHUT_RDWR)

    def _open(self) -> None:
        raw = socket.create_connection((self._address, self._place.port), self.timeout)
        if not self._place.secure:
            self.sock = raw
            return
        try:
            context = self._context or client_context()
            self.sock = context.wrap_socket(raw, server_hostname=self._place.host)
        except BaseException:
            raw.close()
            raise


class _Request:
    """One request and the connection it is on, so that it can be given up."""

    def __init__(self, place: Place, body: bytes, headers: Mapping[str, str]) -> None:
        self.place = place
        self._body = body
        self._headers = {
            "host": place.authority,
            "user-agent": _AGENT,
            "connection": "close",
            "accept-encoding": "identity",
            **headers,
        }
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self.aborted = False  # nobody waits any more

    def run(self, connection: _Connection) -> Answer:
        """Send and read. Raises OSError: given up; HTTPException: no HTTP came back."""
        with self._lock:
            if self.aborted:
                raise OSError("given up")
            self._connection = connection
        try:
            connection.request("POST", self.place.path, self._body, self._headers)
            answer = connection.getresponse()
            body = answer.read(ANSWER_BYTES_MAX)
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, body)
        finally:
            with self._lock:
                self._connection = None

    def abort(self) -> None:
        """Wake the thread that waits for the answer, if there is one."""
        with self._lock:
            self.aborted = True
            if self._connection is not None:
                self._connection.shut()


def _name(error: Exception) -> str:
    """What is wrong, without anything that the other side has said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "timed out"
    return type(error).__name__
