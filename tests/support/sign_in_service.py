"""Stand-in for Supabase's auth service, on loopback: two users, password and refresh grants."""

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

__all__ = ["EMAIL", "OTHER_EMAIL", "PASSWORD", "SignInService", "USER", "sign_in_service"]

USER = "5f0e9a2c-1d3b-4c6e-8f7a-0b1c2d3e4f50"
EMAIL, PASSWORD = "ann@example.com", "correct horse"
OTHER_EMAIL = "bob@example.com"
#: Ids of users by their mail addresses; they have the same password.
USERS = {EMAIL: USER, OTHER_EMAIL: "7d2b4c1e-9a0f-4e8d-b6c5-a4b3c2d1e0f9"}


class SignInService:
    """What it was asked, and what it answers with."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.url = ""
        #: Of each token; below a minute the page renews it at once.
        self.expires_in = 3600
        #: Refresh tokens that are good, for one use each, and whose they are.
        self.refreshes: dict[str, str] = {}
        self.granted: list[str] = []  # kinds of grants
        self.signed_out = 0

    def grant(self, kind: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if kind == "refresh_token":
            email = self.refreshes.pop(body.get("refresh_token", ""), "")
            if not email:
                return 400, {"error_code": "refresh_token_not_found", "msg": "Invalid"}
        else:
            email = body.get("email", "")
            if email not in USERS or body.get("password") != PASSWORD:
                return 400, {"error_code": "invalid_credentials", "msg": "Invalid login"}
        self.granted.append(kind)
        refresh = uuid4().hex
        self.refreshes[refresh] = email
        return 200, {
            "access_token": self.tokens.user(self.url, USERS[email], email),
            "token_type": "bearer",
            "expires_in": self.expires_in,
            "refresh_token": refresh,
            "user": {"id": USERS[email], "email": email},
        }

    def end(self, email: str) -> None:
        """End what a user has, as its own page or somebody at the project would."""
        self.refreshes = {key: whose for key, whose in self.refreshes.items() if whose != email}


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
