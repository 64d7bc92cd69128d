"""People of a Supabase project and what reaches them: tables by PostgREST, signals by WebSocket."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import quote, urlencode

from commands import PATIENCE_S, until
from contract import Answer, call, send
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

__all__ = ["Listener", "Person"]

JSON = {"content-type": "application/json"}


class Person:
    """Somebody with a browser: the publishable key, and a token if they have signed in."""

    def __init__(self, stack: Any, user: Any = None) -> None:
        self.id: str | None = None if user is None else user.id
        self.token: str | None = None if user is None else user.token
        self._url = stack.url
        self._headers = {"apikey": stack.publishable_key}
        if user is not None:
            self._headers["authorization"] = f"Bearer {user.token}"

    def read(self, table: str, **filters: str) -> list[dict[str, Any]]:
        """The rows of a table that PostgREST lets this person see."""
        url = f"{self._url}/rest/v1/{table}?{urlencode(filters)}"
        answer = send(url, "GET", None, self._headers)
        assert answer.status in (200, 401, 403), answer.text
        return list(answer.body) if answer.status == 200 else []

    def insert(self, table: str, **row: Any) -> Answer:
        headers = {**self._headers, "prefer": "return=representation", **JSON}
        return send(f"{self._url}/rest/v1/{table}", "POST", json.dumps(row), headers)

    def call(self, name: str, body: Any) -> Answer:
        """An edge function, as supabase-js calls it."""
        return call(self._url, name, body, self._headers)


class Listener:
    """A page that listens to signals of the kline server with its user's token."""

    def __init__(self, port: int, token: str) -> None:
        offered = ["klinecore.v1", f"klinecore.key.{quote(token, safe='')}"]
        self._socket = connect(
            f"ws://127.0.0.1:{port}/ws", subprotocols=offered, proxy=None, open_timeout=PATIENCE_S
        )
        self.signals: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()
        request = {"method": "SUBSCRIBE", "params": ["signals"], "id": 1}
        self._socket.send(json.dumps(request))
        answer = until(lambda: self._answers, "no answer to SUBSCRIBE")[0]
        assert answer.get("result", "absent") is None, answer

    def _collect(self) -> None:
        try:
            for text in self._socket:
                message = json.loads(text)
                if message.get("type") == "signal":
                    self.signals.append(message["data"])
                elif message.get("id") == 1:
                    self._answers.append(message)
        except ConnectionClosed:
            pass

    def close(self) -> None:
        self._socket.close()
        self._thread.join(PATIENCE_S)
