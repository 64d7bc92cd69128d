"""Reads server-sent events: from the API called in process, as a browser's EventSource would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

DEADLINE_S = 30.0


class Event(NamedTuple):
    """One event: ``kind`` is "message" where the server names none."""

    kind: str
    id: str | None
    data: Any


class Parser:
    """The event stream format of the HTML standard, as far as the server uses it."""

    def __init__(self) -> None:
        self._rest = b""
        self.comments = 0
        self.retry_ms: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        blocks = (self._rest + data).split(b"\n\n")
        self._rest = blocks.pop()
        return [found for block in blocks if (found := self._read(block)) is not None]

    def _read(self, block: bytes) -> Event | None:
        fields: dict[str, str] = {}
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            else:
                self.comments += 1
        if "retry" in fields:
            self.retry_ms = int(fields["retry"])
        if "data" not in fields:
            return None
        return Event(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"]))


class Reader:
    """One request for events. ``async with`` it; leaving is the client going away."""

    def __init__(self, api: Any, scope: dict[str, Any]) -> None:
        self._api = api
        self._scope = scope
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._parser = Parser()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.takes = asyncio.Event()  # cleared: the client's socket is full
        self.takes.set()
        self._begun = asyncio.Event()

    async def __aenter__(self) -> Reader:
        self._inbox.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self.task = asyncio.create_task(self._api(self._scope, self._inbox.get, self._send))
        begun = asyncio.create_task(self._begun.wait())
        await asyncio.wait({self.task, begun}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Go away, as a closed tab does."""
        self._inbox.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(self.task, DEADLINE_S)

    async def _send(self, message: dict[str, Any]) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {n.decode(): v.decode() for n, v in message["headers"]}
            self._begun.set()
            return
        self.body += message.get("body", b"")
        for event in self._parser.feed(message.get("body", b"")):
            self._events.put_nowait(event)
        if not message.get("more_body", False):
            self._events.put_nowait(None)

    @property
    def comments(self) -> int:
        return self._parser.comments

    async def next(self) -> Event | None:
        """The next event; None: the server has ended the answer."""
        return await asyncio.wait_for(self._events.get(), DEADLINE_S)

    async def some(self, count: int) -> list[Event]:
        return [event for _ in range(count) if (event := await self.next()) is not None]

    async def silence(self) -> None:
        """Nothing comes now, however often the loop goes round."""
        for _ in range(20):
            await asyncio.sleep(0)
        assert self._events.empty(), self._events.get_nowait()


def read_events(server: Any, scope: dict[str, Any], last_id: str | None = None) -> Reader:
    """Ask an in-process server for events, with the id of the last one got before."""
    extra: Sequence[tuple[bytes, bytes]] = [(b"accept", b"text/event-stream")]
    if last_id is not None:
        extra = [*extra, (b"last-event-id", last_id.encode())]
    return Reader(server.api, scope | {"headers": [*scope["headers"], *extra]})
