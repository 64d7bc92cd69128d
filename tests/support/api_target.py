"""The API under granian in a process of its own, for tests that need real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

import server

DEADLINE_S = 30.0
TICKER_BYTES = 100_000


class Target:
    """``granian_target.py`` in a process of its own."""

    def __init__(self, **options: Any) -> None:
        self.port, self.stream_port = _free_port(), 0
        if options.get("streams"):
            self.stream_port = _free_port()
            options["settings"] = {**options.get("settings", {}), "stream_port": self.stream_port}
        script = Path(server.__file__).parents[1] / "tests/server/api/granian_target.py"
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(self.port), json.dumps(options)],
            env=os.environ | {"PYTHONPATH": str(Path(server.__file__).parents[1])},
        )
        until(self._answers)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.worker = int(children.read_text().split()[0])

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the target ended"
        with contextlib.suppress(OSError):
            self.get("/health")
            return True
        return False

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def rss_bytes(self) -> int:
        pages = Path(f"/proc/{self.worker}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            body: bytes = answer.read()
            return body

    def metric(self, name: str, **labels: str) -> float:
        for family in text_string_to_metric_families(self.get("/metrics").decode()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return 0.0

    def count(self, name: str, **labels: str) -> float:
        """Sum over all labels that are not given."""
        families = text_string_to_metric_families(self.get("/metrics").decode())
        samples = (sample for family in families for sample in family.samples)
        return sum(
            one.value
            for one in samples
            if one.name == name and labels.items() <= one.labels.items()
        )

    def dial(self, receive_buffer: int = 0) -> socket.socket:
        """A WebSocket by hand, whose owner decides whether it reads."""
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(DEADLINE_S)
        raw.connect(("127.0.0.1", self.port))
        raw.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        return raw

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(DEADLINE_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.02)


def busy_target() -> Target:
    """10 MB of tickers and 100 closes a second; a blocked send may last 1.5 s."""
    return Target(
        tickers_per_s=100,
        ticker_bytes=TICKER_BYTES,
        closes_per_s=100,
        settings={"subscriber_stall_s": 1.5, "subscriber_queue_max": 32, "capacity": 500},
    )
