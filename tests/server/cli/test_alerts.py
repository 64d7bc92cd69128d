"""A running server tells of signals in every way it has, and a kill in between loses none."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alert_peers import Answer, Got, Peer
from commands import fetch, serve, simulated_exchange, until
from event_reader import Event, Parser

SETTINGS = {"KLINE_BUILTIN_TRADERS": "false", "KLINE_ALERT_LOOPBACK": "true"}


@pytest.fixture
def exchange() -> Iterator[dict[str, Any]]:
    """A simulated exchange of two symbols, at sixty times real time."""
    with simulated_exchange(speed=60) as said:
        yield said


def post(port: int, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


class Stream:
    """``/v1/signals`` as events, by hand; ``last`` is where to go on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.last: str | None = None

    def read(self, port: int, count: int) -> None:
        """So many more events, by a connection of its own."""
        parser, wanted = Parser(), len(self.events) + count
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            more = f"Last-Event-ID: {self.last}\r\n" if self.last is not None else ""
            raw.sendall(
                "GET /v1/signals HTTP/1.1\r\nHost: localhost\r\n"
                f"Accept: text/event-stream\r\n{more}\r\n".encode()
            )
            received = b""
            while b"\r\n\r\n" not in received:
                received += raw.recv(65536)
            chunks = received.partition(b"\r\n\r\n")[2]
            while len(self.events) < wanted:
                while (match := re.match(rb"([0-9a-fA-F]+)\r\n", chunks)) is not None:
                    size, start = int(match[1], 16), match.end()
                    if len(chunks) < start + size + 2:
                        break
                    for event in parser.feed(chunks[start : start + size]):
                        if len(self.events) < wanted:
                            assert event.kind == "message"
                            self.events.append(event)
                            self.last = event.id
                    chunks = chunks[start + size + 2 :]
                if len(self.events) < wanted:
                    chunks += raw.recv(65536)


def every_signal(port: int) -> dict[tuple[str, int], Any]:
    found: dict[tuple[str, int], Any] = {}
    target: str | None = "/v1/signals?limit=7"
    while target is not None:
        answer = json.loads(fetch(port, target)[1])
        found |= {(one["id"], one["revision"]): one for one in answer["signals"]}
        target = answer["next"]
    return found


@pytest.mark.slow
def test_a_kill_loses_no_alert_and_no_event(
    exchange: dict[str, Any], tmp_path: Path, run: Callable[..., Any]
) -> None:
    is_up = False
    accepted: list[str] = []

    def answer(got: Got) -> Answer:
        if not is_up:
            return Answer(503)
        accepted.append(got.headers["webhook-id"])
        return Answer(204, body=b"")

    with Peer(answer, secure=False) as peer:
        command, port = serve(exchange, tmp_path, "1m", **SETTINGS)
        draft = {"kind": "webhook", "name": "bot", "address": peer.base + "/hook"}
        post(port, "/v1/alerts", draft)
        start = json.loads(fetch(port, "/v1/signals")[1])
        assert start["signals"] == []
        stream = Stream()
        stream.last = str(start["since"])
        always = {"name": "always", "filter": "close > 0", "interval": "1m", "mode": "level"}
        post(port, "/v1/traders", always)
        stream.read(port, 4)
        url = f"http://127.0.0.1:{port}"
        watched = run("watch", "signals", "--once", "--url", url)
        assert watched.exit_code == 0, watched.output
        assert " fired " in watched.output
        until(lambda: peer.got)
        command.end(signal.SIGKILL)
        is_up = True

        command, port = serve(exchange, tmp_path, "1m", **SETTINGS)
        stream.read(port, 6)
        told = [(one.data["data"]["id"], one.data["data"]["revision"]) for one in stream.events]
        assert len(told) == len(set(told)) == 10
        kept = every_signal(port)
        assert set(told) <= kept.keys()
        # In the order of their klines: nothing between the first and the last is missing.
        times = [one.data["data"]["open_time_ms"] for one in stream.events]
        assert len(set(times)) == 5
        until(lambda: {f"{id}.{revision}" for id, revision in kept} <= set(accepted))
        assert max(Counter(accepted).values()) == 1
        assert "503" not in "".join(command.stderr)
        command.end()
