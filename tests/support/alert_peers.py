"""Whoever alerts are sent to: servers on this machine with certificates of a CA of our own."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import trustme

CA = trustme.CA()


def believing() -> ssl.SSLContext:
    """A client's side: our CA is believed, and no other."""
    context = ssl.create_default_context()
    context.load_default_certs = lambda *_: None  # type: ignore[method-assign]
    CA.configure_trust(context)
    return context


def serving(*names: str) -> ssl.SSLContext:
    """A server's side, with a certificate for ``names``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert(*names).configure_cert(context)
    return context


class Got(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    sni: str | None

    def json(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    """What comes back; ``wait_s`` before it, ``drip_s`` between its bytes."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b"thank you"
    wait_s: float = 0.0
    drip_s: float = 0.0


class Peer:
    """An HTTP(S) server. ``answer(got)`` says what comes back; ``got`` is what was asked."""

    def __init__(
        self,
        answer: Callable[[Got], Answer] = lambda got: Answer(),
        *names: str,
        secure: bool = True,
    ) -> None:
        self.answer = answer
        self.got: list[Got] = []
        self.under_way = 0
        self.under_way_max = 0
        self._lock = threading.Lock()
        self._sni = threading.local()
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                peer._handle(self)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if secure:
            context = serving(*(names or ("localhost",)))
            context.sni_callback = self._note_name
            self._server.context = context
        self.port: int = self._server.server_address[1]
        self.base = f"{'https' if secure else 'http'}://localhost:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def _note_name(self, sock: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self._sni.name = name

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length", 0))
        headers = {name.lower(): value for name, value in request.headers.items()}
        got = Got(
            request.path, headers, request.rfile.read(length), getattr(self._sni, "name", None)
        )
        with self._lock:
            self.got.append(got)
            self.under_way += 1
            self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            self._answer(request, self.answer(got))
        except OSError:
            pass  # the client has gone
        finally:
            with self._lock:
                self.under_way -= 1

    def _answer(self, request: BaseHTTPRequestHandler, answer: Answer) -> None:
        time.sleep(answer.wait_s)
        request.send_response(answer.status)
        for name, value in {"content-length": str(len(answer.body)), **answer.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if not answer.drip_s:
            request.wfile.write(answer.body)
            return
        for byte in answer.body:
            request.wfile.write(bytes([byte]))
            request.wfile.flush()
            time.sleep(answer.drip_s)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Quiet(ThreadingHTTPServer):
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The handshake in the thread of the connection: one that never ends stops nobody else.
        if self.context is not None:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
        super().finish_request(request, client_address)
        if self.context is not None:
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def unused_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
