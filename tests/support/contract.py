"""Who may be asked for the functions, and as whom: the same words for the server and for Deno."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

#: A page of another site that may read answers.
ORIGIN = "https://app.example"


@dataclass(frozen=True)
class Answer:
    """One answer of a function."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> str:
        """The code of a refusal; asserts the form every one has."""
        assert self.status >= 400, self.text
        assert "no-store" in self.headers["cache-control"]
        body = self.body
        assert isinstance(body["error"], str)
        assert body["error"]
        return str(body["code"])


class Target(Protocol):
    """One way to the functions."""

    url: str  # what the functions' paths stand behind
    server: str  # the same of the kline server
    key: str  # the kline server's own

    def headers(self, caller: str) -> dict[str, str]:
        """What ``anybody``, ``free``, ``pro`` or ``operator`` shows of itself."""

    def owner(self, caller: str) -> str:
        """As whom a caller's traders are kept."""


def send(
    url: str,
    method: str,
    content: str | None,
    headers: Mapping[str, str],
    address: str = "127.0.0.1",
) -> Answer:
    """One request over a connection of its own, from a loopback address."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60, source_address=(address, 0))
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        body = None if content is None else content.encode()
        connection.request(method, target, body, dict(headers))
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, named, answer.read().decode())
    finally:
        connection.close()


def call(
    url: str,
    name: str,
    body: Any,
    headers: Mapping[str, str],
    *,
    method: str = "POST",
    address: str = "127.0.0.1",
) -> Answer:
    """Ask a function; text is sent as it is."""
    content = body if isinstance(body, str) else json.dumps(body)
    return send(
        f"{url}/functions/v1/{name}",
        method,
        content if method in ("POST", "PUT") else None,
        {"content-type": "application/json", **headers},
        address,
    )
