"""``klineserver`` commands in processes of their own, for tests that run what users run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: Real seconds any condition may take to come true on a slow machine.
PATIENCE_S = 60.0


def environment(**extra: str) -> dict[str, str]:
    """This process's, without settings of whoever runs the tests."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KLINE", "SUPABASE_"))
        and name not in ("API_KEY", "SYMBOLS", "PORT")
    }
    return clean | {"KLINE_STREAM_PORT": "0"} | extra


class Command:
    """``klineserver ...`` in a process of its own."""

    def __init__(self, *arguments: str, **extra: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "server", *arguments],
            env=environment(**extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._threads = [
            threading.Thread(target=self._collect, args=pipe, daemon=True)
            for pipe in (
                (self._process.stdout, self.stdout),
                (self._process.stderr, self.stderr),
            )
        ]
        for thread in self._threads:
            thread.start()

    def _collect(self, pipe: Any, lines: list[str]) -> None:
        lines.extend(iter(pipe.readline, ""))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def descendants(self) -> list[int]:
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                children = [int(child) for child in text.split()]
                found += children
                waiting += children
        return found

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal; the exit status."""
        if self.status is None:
            self._process.send_signal(number)
        status = self._process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return status


def until(condition: Callable[[], Any], what: object = "") -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.05)
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fetch(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


class Demo:
    """A running demo of two symbols, ready to be asked."""

    def __init__(self, *arguments: str, **extra: str) -> None:
        self.port = free_port()
        self.command = Command(
            "demo", "--port", str(self.port), "--symbols", "BTCUSDT,ETHUSDT", *arguments, **extra
        )
        self.url = f"http://127.0.0.1:{self.port}"
        until(
            lambda: fetch(self.port, "/ready")[0] == 200 or self.command.status is not None,
            lambda: self.command.stderr,
        )
        assert self.command.status is None, self.command.stderr


@contextlib.contextmanager
def simulated_exchange(speed: int, market: str = "spot", **extra: str) -> Iterator[dict[str, Any]]:
    """Of two symbols, so many times as fast as real time: what it says of itself.

    With the ``environment`` of another one it has the same time.
    """
    command = Command(
        "exchange", "--symbols", "BTCUSDT,ETHUSDT", "--speed", str(speed), "--market", market,
        **extra,
    )  # fmt: skip
    try:
        until(lambda: command.stdout, lambda: command.stderr)
        yield json.loads(command.stdout[0])
    finally:
        command.end()


def serve(
    exchange: dict[str, Any],
    folder: Path,
    intervals: str,
    *,
    port: int | None = None,
    **extra: str,
) -> tuple[Command, int]:
    """A server of a simulated exchange that keeps what it has in ``folder``; and its port."""
    if port is None:
        port = free_port()
    command = Command(
        "serve",
        "--port",
        str(port),
        "--symbols",
        "BTCUSDT,ETHUSDT",
        "--intervals",
        intervals,
        KLINE_DATA_DIR=str(folder),
        KLINE_SPOT_REST=exchange["rest"],
        KLINE_SPOT_WS=exchange["ws"],
        KLINE_CONNECT_INTERVAL_S="0",
        KLINE_SNAPSHOT_INTERVAL_S="1",
        **exchange["environment"],
        **extra,
    )
    until(
        lambda: fetch(port, "/ready")[0] == 200 or command.status is not None,
        lambda: command.stderr,
    )
    assert command.status is None, command.stderr
    return command, port


@contextlib.contextmanager
def both_markets(
    speed: int, folder: Path, intervals: str, **extra: str
) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    """The port of one server of spot and USD-M futures, and its two simulated exchanges."""
    with (
        simulated_exchange(speed) as spot,
        simulated_exchange(speed, "um", **spot["environment"]) as futures,
    ):
        addresses = {"KLINE_UM_REST": futures["rest"], "KLINE_UM_WS": futures["ws"]}
        server, port = serve(spot, folder, intervals, KLINE_MARKET="both", **addresses, **extra)
        try:
            yield port, spot, futures
        finally:
            server.end()
