"""One message to many WebSockets: beside the ``websockets`` library, beside picows, and in bulk."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SYMBOLS = 500
CLIENTS = 1_000
MANY_CLIENTS = 10_000
RETRIES = 6
BURSTS = 40
#: Clients that want all 500 streams, and read them or do not; and bursts till long after the last
#: one that does not was ended.
HUNGRY = 50
HUNGRY_BURSTS = 30
HUNGRY_TURNS = 3

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)


class Fleet:
    """A server and its clients, in processes of their own."""

    def __init__(self, target: str, clients: int, each: int) -> None:
        self._server = _start("stream_servers.py", target, clients, each)
        self._port = port = self._hear(self._server)["port"]
        self._wanted = clients * each
        self.idle_bytes = self.rss_bytes
        self._clients = _start("stream_clients.py", port, clients, each if target == "ours" else 0)
        assert self._hear(self._server)["clients"] == clients

    @property
    def rss_bytes(self) -> int:
        """Of the server."""
        lines = Path(f"/proc/{self._server.pid}/status").read_text().splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("VmRSS"))
        return int(kilobytes) * 1024

    def cost_us(self, kind: str, messages: int, rounds: int) -> float:
        """CPU of one delivered message, in the cheapest round."""
        answer = self._ask(kind, messages, rounds)
        return float(min(answer["cpu_s"]) * 1e6 / answer["delivered"])

    def burst_ms(self, messages: int, kind: str = "burst") -> tuple[float, float]:
        """Until half of the clients, and 99 of 100, had all of a burst."""
        started = self._ask(kind, messages, 1)["started"]
        report = self._hear(self._clients)
        return (report["p50"] - started) * 1e3, (report["p99"] - started) * 1e3

    @contextmanager
    def beside(self, clients: int, *hearing: str) -> Iterator[None]:
        """With more clients, which want every stream; ``deaf`` ones never read."""
        more = _start("stream_clients.py", self._port, clients, SYMBOLS, *hearing)
        try:
            self._ask("meet", 0, self._wanted + clients * SYMBOLS)
            yield
            if hearing:
                self._ask("meet", 0, self._wanted)  # the server has ended them
        finally:
            _end(more)
        self._ask("meet", 0, self._wanted)

    def _ask(self, kind: str, messages: int, rounds: int) -> Any:
        assert self._server.stdin is not None
        self._server.stdin.write(f"{kind} {messages} {rounds}\n")
        self._server.stdin.flush()
        return self._hear(self._server)

    def _hear(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the process ended"
        return json.loads(line)

    def end(self) -> None:
        _end(self._server)
        _end(self._clients)


def _start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@contextmanager
def fleet(target: str, clients: int, each: int = SYMBOLS) -> Iterator[Fleet]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < clients + 200:
        pytest.skip(f"{clients} connections need more than {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    running = Fleet(target, clients, each)
    try:
        yield running
    finally:
        running.end()


def bench_bursts_and_lone_messages(bench: Any) -> None:
    """500 messages within a pass to 1,000 clients that want all; and one message at a time."""
    with (
        fleet("ours", CLIENTS) as ours,
        fleet("websockets", CLIENTS) as peer,
        fleet("picows", CLIENTS) as floor,
    ):

        def measure() -> tuple[float, float, float, float]:
            return (
                ours.cost_us("burst", SYMBOLS, 3),
                peer.cost_us("burst", 50, 2),
                ours.cost_us("lone", 50, 5),
                floor.cost_us("lone", 50, 5),
            )

        ours_us, peer_us, lone_us, floor_us = bench.once(measure)
        for _ in range(RETRIES):  # a neighbour may have disturbed a round: minima stay minima
            again = measure()
            ours_us, peer_us = min(ours_us, again[0]), min(peer_us, again[1])
            lone_us, floor_us = min(lone_us, again[2]), min(floor_us, again[3])
    bench.quantity("burst, us CPU a message", ours_us)
    bench.quantity("websockets.broadcast, us CPU a message", peer_us)
    bench.quantity("burst / websockets.broadcast", ours_us / peer_us)
    bench.quantity("lone, us CPU a message", lone_us)
    bench.quantity("picows' send, us CPU a message", floor_us)
    bench.quantity("lone / picows' send", lone_us / floor_us)


def bench_delivery_of_a_close_burst(bench: Any) -> None:
    """500 symbols close at once; 1,000 clients watch 50 of them."""
    with fleet("ours", CLIENTS, 50) as ours:
        ours.burst_ms(SYMBOLS)
        times = bench.once(lambda: [ours.burst_ms(SYMBOLS) for _ in range(BURSTS)])
    best = min(times, key=lambda pair: pair[1])
    bench.quantity("p50, ms", best[0])
    bench.quantity("p99, ms", best[1])


def bench_clients_that_never_read(bench: Any) -> None:
    """The same burst beside 50 more clients that read all they want, and 50 that never read."""
    with fleet("ours", CLIENTS, 50) as ours:

        def p99_ms(*hearing: str) -> float:
            with ours.beside(HUNGRY, *hearing):
                times = [ours.burst_ms(SYMBOLS, "throw")[1] for _ in range(HUNGRY_BURSTS)]
            return statistics.median(times)

        ours.burst_ms(SYMBOLS)
        turns = bench.once(lambda: [(p99_ms(), p99_ms("deaf")) for _ in range(HUNGRY_TURNS)])
    # A neighbour on this machine slows whole turns: the quietest of each are compared.
    quick, deaf = (min(times) for times in zip(*turns, strict=True))
    bench.quantity("p99 beside who read, ms", quick)
    bench.quantity("p99 beside who never read, ms", deaf)
    bench.quantity("never read / read", deaf / quick)


def bench_memory_of_ten_thousand_clients(bench: Any) -> None:
    """10,000 clients with 20 streams each that have had a burst."""
    with fleet("ours", MANY_CLIENTS, 20) as ours:
        bench.once(ours.cost_us, "burst", SYMBOLS, 2)
        bench.quantity("RSS, MB", ours.rss_bytes / 1e6)
        bench.quantity("kB a client", (ours.rss_bytes - ours.idle_bytes) / MANY_CLIENTS / 1e3)
