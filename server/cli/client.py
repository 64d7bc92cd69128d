"""A client of a running server, as ``query``, ``replay`` and ``doctor`` need it: plain HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from threading import Event
from typing import Any

from server.clock import SystemClock
from server.errors import ServerError

__all__ = ["AnswerError", "ServerClient"]

_TIMEOUT_S = 30.0
_POLL_S = 0.1
#: The rows have settled when nothing was added for so long.
_SETTLED_S = 1.0


class AnswerError(ServerError):
    """The server refused; the message is its own."""


class ServerClient:
    """Asks the server at ``base`` with ``key``; blocking, one request at a time."""

    def __init__(self, base: str, key: str | None) -> None:
        if not base.startswith(("http://", "https://")):
            raise ServerError(f"the server's URL must begin with http:// or https://, not {base!r}")
        self.base = base.rstrip("/")
        self._headers = {"X-API-Key": key} if key else {}
        # No proxy of the environment: the server is near, and the key is not for others.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._clock = SystemClock()
        self._never = Event()  # to pause on

    def get(self, path: str) -> bytes:
        """The body. Raises AnswerError: refused; ServerError: not reached."""
        return self._ask(urllib.request.Request(self.base + path, headers=self._headers))

    def post(self, path: str, message: object, *, method: str = "POST") -> Any:
        """The JSON answer to a message. Raises as ``json``."""
        headers = {**self._headers, "Content-Type": "application/json"}
        body = json.dumps(message).encode()
        request = urllib.request.Request(self.base + path, body, headers, method=method)
        return self._parse(self._ask(request))

    def delete(self, path: str) -> None:
        """Have something deleted. Raises as ``get``."""
        request = urllib.request.Request(self.base + path, headers=self._headers, method="DELETE")
        self._ask(request)

    def _ask(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            raise AnswerError(_explain(error)) from None
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise ServerError(f"no answer from {self.base}: {reason}") from None

    def json(self, path: str) -> Any:
        """The answer's JSON. Raises as ``get``, and ServerError: it is none."""
        return self._parse(self.get(path))

    def _parse(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError:
            raise ServerError(f"{self.base} does not answer like a klineserver") from None

    def wait_ready(self, timeout_s: float, failed: Callable[[], bool]) -> None:
        """Return when the server is ready. Raises ServerError: it ended, or took too long."""
        deadline = self._clock.monotonic() + timeout_s
        reason = ""
        while not failed():
            try:
                self.get("/ready")
            except ServerError as error:
                reason = str(error)
            else:
                return
            if self._clock.monotonic() > deadline:
                raise ServerError(f"the server is not ready after {timeout_s:g} s: {reason}")
            self._never.wait(_POLL_S)
        raise ServerError("the server ended before it was ready")

    def wait_settled(self, timeout_s: float, failed: Callable[[], bool]) -> int:
        """Return when every window is whole and none gains rows: klines closed, over all series.

        Raises ServerError: the server ended, or this never came about.
        """
        deadline = self._clock.monotonic() + timeout_s
        count, since = -1, 0.0
        while not failed() and self._clock.monotonic() < deadline:
            status = self.json("/v1/status")
            now = self._clock.monotonic()
            rows = [row for market in status["markets"].values() for row in market["series"]]
            closed = sum(row["closed_count"] for row in rows)
            if closed != count or not all(row["feed"]["ready"] for row in rows):
                count, since = closed, now
            elif now - since >= _SETTLED_S:
                return count
            self._never.wait(_POLL_S)
        raise ServerError("the server ended, or never came to rest")


def _explain(error: urllib.error.HTTPError) -> str:
    """A problem document in one line."""
    try:
        problem = json.loads(error.read())
        text = f"{problem['status']} {problem['code']}: {problem['detail']}"
        for name in ("allowed", "reasons"):
            if problem.get(name):
                text += f" [{', '.join(problem[name][:10])}]"
        if "column" in problem:
            text += f" (column {problem['column']})"
        if problem.get("hint"):
            text += f"; {problem['hint']}"
    except (ValueError, KeyError, TypeError):
        if error.code == 503:
            return "503: not ready"
        return f"{error.code} {error.reason}"
    return text
