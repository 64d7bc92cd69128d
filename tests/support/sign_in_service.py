"""Stand-in for Supabase's auth service, on loopback: one user, password and refresh grants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from stack.tokens import Tokens

__all__ = ["EMAIL", "PASSWORD", "SignInService", "USER", "sign_in_service"]

USER = "5f0e9a2c-1d3b-4c6e-8f7a-0b1c2d3e4f50"
EMAIL, PASSWORD = "ann@example.com", "correct horse"


class SignInService:
    """What it was asked, and what it answers with."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.url = ""
        #: Of each token; below a minute the page renews it at once.
        self.expires_in = 3600
        self.refreshes: set[str] = set()  # refresh tokens that are good, for one use each
        self.granted: list[str] = []  # kinds of grants
        self.signed_out = 0

    def grant(self, kind: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if kind == "password" and (body.get("email"), body.get("password")) != (EMAIL, PASSWORD):
            return 400, {"error_code": "invalid_credentials", "msg": "Invalid login credentials"}
        if kind == "refresh_token":
            if body.get("refresh_token") not in self.refreshes:
                return 400, {"error_code": "refresh_token_not_found", "msg": "Invalid"}
            self.refreshes.discard(body["refresh_token"])
        self.granted.append(kind)
        refresh = uuid4().hex
        self.refreshes.add(refresh)
        return 200, {
            "access_token": self.tokens.user(self.url, USER, EMAIL),
            "token_type": "bearer",
            "expires_in": self.expires_in,
            "refresh_token": refresh,
            "user": {"id": USER, "email": EMAIL},
        }


@contextmanager
def sign_in_service() -> Iterator[SignInService]:
    """It runs until the end."""
    service = SignInService()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self, status: int, body: Any = None) -> None:
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "apikey, authorization, content-type")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_OPTIONS(self) -> None:
            self._answer(200)

        def do_GET(self) -> None:
            self._answer(200, service.tokens.jwks())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = urlsplit(self.path)
            if self.headers.get("apikey") != service.tokens.publishable_key:
                self._answer(401, {"msg": "No API key found in request"})
            elif asked.path == "/auth/v1/logout":
                service.signed_out += 1
                self._answer(204)
            else:
                kind = parse_qs(asked.query)["grant_type"][0]
                self._answer(*service.grant(kind, json.loads(body)))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
