"""Servers in trouble, as the runbook of docs/operations.md tells of: each is really provoked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from commands import Command, environment, fetch, free_port, until

from server.clock import ScaledClock, SystemClock
from server.exchange.app import Exchange
from server.exchange.faults import RestFault
from server.exchange.generated import GeneratedMarket

__all__ = ["SITUATIONS", "Entry", "entries", "forget_traders", "run"]

SYMBOLS = ("BTCUSDT", "ETHUSDT")
KEY = "change-me-0123456789"
_PATIENCE_S = 120


class Entry:
    """One part of the runbook: what is wrong, what is typed, what that prints."""

    def __init__(self, title: str, situation: str, command: str, printed: str) -> None:
        self.title = title
        self.situation = situation
        self.command = command
        self.printed = printed


def entries(page: str) -> list[Entry]:
    """The runbook's entries; ``<!-- provoked: name -->`` stands before a command."""
    found = []
    title = ""
    runbook = page[page.index("\n## Runbook") :]
    parts = re.compile(
        r"^### (?P<title>[^\n]*)$|^<!-- provoked: (?P<name>\w+) -->\n```sh\n(?P<command>.*?)^```\n+"
        r"```text\n(?P<printed>.*?)^```",
        re.M | re.S,
    )
    for part in parts.finditer(runbook):
        title = part["title"] or title
        if part["command"]:
            found.append(Entry(title, part["name"], part["command"], part["printed"]))
    return found


def run(command: str, values: dict[str, str]) -> str:
    """What a command of the page prints, with a server of our own for the one at 8080."""
    port = values.get("PORT", "8080")
    command = command.replace("\n", "\necho\n")  # many an answer ends without a line feed
    done = subprocess.run(
        ["bash", "-c", command.replace("127.0.0.1:8080", f"127.0.0.1:{port}")],
        env=environment(
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            COLUMNS="200",
            **values,
        ),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    return done.stdout + done.stderr


def forget_traders(values: dict[str, str]) -> None:
    """Remove what an entry has added, so that the next one may use the same server."""
    port = int(values["PORT"])
    for one in json.loads(fetch(port, "/v1/traders?limit=100")[1])["traders"]:
        if one["owner"] is not None:  # not one that comes with the program
            address = f"http://127.0.0.1:{port}/v1/traders/{one['id']}"
            request = urllib.request.Request(address, method="DELETE")
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert answer.status == 204


class Market:
    """A simulated exchange in a thread of its own, with switches for what may go wrong."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        system = SystemClock()
        clock = ScaledClock(system.time_ms() + ahead_ms, 1.0)
        self.exchange = Exchange(GeneratedMarket(1, SYMBOLS), clock)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        assert self._ready.wait(30)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.exchange.start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.exchange.stop())
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)


@contextlib.contextmanager
def served(
    folder: Path,
    *,
    ahead_ms: int = 0,
    prepare: Callable[[Any], None] = lambda faults: None,
    ready: bool = True,
    **extra: str,
) -> Iterator[tuple[dict[str, str], Any, Command]]:
    """A server of such an exchange: what its commands need to know, the switches, the process."""
    market = Market(ahead_ms)
    prepare(market.exchange.faults)
    port = free_port()
    values = {
        "PORT": str(port),
        "SYMBOLS": ",".join(SYMBOLS),
        "KLINE_INTERVALS": "1m,5m",
        "KLINE_CAPACITY": "60",
        "KLINE_DATA_DIR": str(folder),
        "KLINE_SPOT_REST": market.exchange.rest_url,
        "KLINE_SPOT_WS": market.exchange.ws_url,
        "KLINE_CONNECT_INTERVAL_S": "0",
        "KLINE_REST_WEIGHT_SHARE": "1",
    } | extra
    command = Command("serve", **values)
    try:
        if ready:
            until(lambda: fetch(port, "/ready")[0] == 200, lambda: command.stderr)
        else:
            until(lambda: fetch(port, "/health")[0] == 200, lambda: command.stderr)
        yield values, market.exchange.faults, command
    finally:
        command.end()
        market.close()


def _unready(values: dict[str, str], part: str) -> None:
    port = int(values["PORT"])

    def says() -> bool:
        status, body = fetch(port, "/ready")
        return status == 503 and part in body.decode()

    until(says, lambda: fetch(port, "/ready"))


@contextlib.contextmanager
def well(folder: Path) -> Iterator[dict[str, str]]:
    with served(folder) as (values, _, _):
        yield values


@contextlib.contextmanager
def no_exchange(folder: Path) -> Iterator[dict[str, str]]:
    nowhere = f"127.0.0.1:{free_port()}"
    where = {"KLINE_SPOT_REST": f"http://{nowhere}", "KLINE_SPOT_WS": f"ws://{nowhere}"}
    with served(folder, ready=False, **where) as (values, _, _):
        _unready(values, "asking again")
        yield values


def refused(status: int, retry_after: str | None) -> Callable[[Path], Any]:
    @contextlib.contextmanager
    def situation(folder: Path) -> Iterator[dict[str, str]]:
        def prepare(faults: Any) -> None:
            faults.rest.extend([RestFault(status, retry_after)] * 100)

        with served(folder, prepare=prepare, ready=False) as (values, _, _):
            _unready(values, str(status))
            yield values

    return situation


@contextlib.contextmanager
def silent(folder: Path) -> Iterator[dict[str, str]]:
    with served(folder, KLINE_STALE_AFTER_S="2", KLINE_PING_TIMEOUT_S="600") as (values, faults, _):
        faults.half_open = True
        _unready(values, "brings no new data")
        yield values
        faults.half_open = False


@contextlib.contextmanager
def unknown_symbol(folder: Path) -> Iterator[dict[str, str]]:
    with served(folder, SYMBOLS="BTCUSDT,MATICUSDT") as (values, _, _):
        yield values


@contextlib.contextmanager
def keyed(folder: Path) -> Iterator[dict[str, str]]:
    with served(folder, API_KEY=KEY) as (values, _, _):
        yield {name: value for name, value in values.items() if name != "API_KEY"}


@contextlib.contextmanager
def disk_full(folder: Path) -> Iterator[dict[str, str]]:
    with served(folder, KLINE_SNAPSHOT_INTERVAL_S="1") as (values, _, command):
        # What a full disk does, without one: no file may grow beyond this.
        resource.prlimit(command.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        port = int(values["PORT"])
        until(lambda: b"kline_snapshot_errors_total{" in fetch(port, "/metrics")[1])
        yield values
        limits = resource.RLIM_INFINITY, resource.RLIM_INFINITY
        resource.prlimit(command.pid, resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def clock_behind(folder: Path) -> Iterator[dict[str, str]]:
    with served(folder, ahead_ms=45_000) as (values, _, _):
        yield values


@contextlib.contextmanager
def port_taken(folder: Path) -> Iterator[dict[str, str]]:
    with served(folder) as (values, _, _):
        yield values


@contextlib.contextmanager
def nothing(folder: Path) -> Iterator[dict[str, str]]:
    yield {"KLINE_DATA_DIR": str(folder)}


@contextlib.contextmanager
def no_supabase(folder: Path) -> Iterator[dict[str, str]]:
    project = f"http://127.0.0.1:{free_port()}"
    with served(folder, SUPABASE_URL=project, SUPABASE_SECRET_KEY=KEY, API_KEY=KEY) as (
        values, _, _,
    ):  # fmt: skip
        port = int(values["PORT"])
        until(
            lambda: b"supabase_requests_total{" in fetch(port, "/metrics", **{"X-API-Key": KEY})[1]
        )
        yield values


#: What the page calls them.
SITUATIONS: dict[str, Callable[[Path], Any]] = {
    "well": well,
    "no_exchange": no_exchange,
    "region": refused(451, None),
    "banned": refused(418, "120"),
    "silent": silent,
    "unknown_symbol": unknown_symbol,
    "keyed": keyed,
    "disk_full": disk_full,
    "clock_behind": clock_behind,
    "nothing": nothing,
    "no_supabase": no_supabase,
}
