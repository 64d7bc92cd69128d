"""Request and reply: 500 klines over ``/ws-api/v3`` beside nginx, which sends the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import klinecore

HERE = Path(__file__).parent
REQUESTS = 2_000
ROUNDS = 5
RETRIES = 6
RATIO_SETTLED = 1.5
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is what replies are held against; install it"),
    pytest.mark.skipif(
        not Path("/proc/self/schedstat").exists(), reason="CPU time is read from /proc"
    ),
]

CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 100000000;
    open_file_cache max=16 inactive=600s;
    open_file_cache_valid 600s;
    default_type application/json;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/root;
    }}
}}
"""
UPGRADE = (
    b"GET /ws-api/v3 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PARAMS = '"symbol":"BTCUSDT","interval":"1m","limit":500'
#: Opening time of the oldest row.
FIRST_MS = 1_764_000_000_000
GET = b"GET /reply.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def frame(more: str = "") -> bytes:
    """A request for all rows; a mask of zeros leaves its text as it is."""
    text = f'{{"id":1,"method":"klines","params":{{{PARAMS}{more}}}}}'.encode()
    assert len(text) < 126
    return bytes((0x81, 0x80 | len(text))) + b"\0\0\0\0" + text


class Peer:
    """One connection to a server in processes of its own; each answer has the same size."""

    def __init__(self, process: subprocess.Popen[Any], port: int, request: bytes) -> None:
        self.process = process
        self.request = request
        self.answer = b""
        self._raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._place = memoryview(bytearray(1 << 20))

    def upgrade(self) -> None:
        self._raw.sendall(UPGRADE)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._raw.recv(1)
        assert b" 101 " in answer

    def first(self) -> bytes:
        """The whole answer to the first request: what comes until nothing does any more."""
        self._raw.sendall(self.request)
        self._raw.settimeout(0.5)
        try:
            while chunk := self._raw.recv(1 << 20):
                self.answer += chunk
        except TimeoutError:
            pass
        self._raw.settimeout(10)
        return self.answer

    def cpu_ns(self) -> int:
        """Of all its processes and their threads."""
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return sum(
            int(task.joinpath("schedstat").read_text().split()[0])
            for pid in (parent, *map(int, children))
            for task in Path(f"/proc/{pid}/task").iterdir()
        )

    def cost_us(self, requests: Sequence[bytes] = ()) -> float:
        """CPU of one answer, asked for one after the other: to these requests, or to its own."""
        requests = requests or [self.request] * REQUESTS
        raw, place, size = self._raw, self._place, len(self.answer)
        before = self.cpu_ns()
        for request in requests:
            raw.sendall(request)
            left = size
            while left:
                got = raw.recv_into(place, left)
                assert got, "the connection ended"
                left -= got
        return (self.cpu_ns() - before) / len(requests) / 1e3

    def end(self) -> None:
        self._raw.close()


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def ours() -> Iterator[Peer]:
    path = os.pathsep.join((str(Path(klinecore.__file__).parents[1]), str(HERE)))
    command = [sys.executable, str(HERE / "_replies.py")]
    environment = {**os.environ, "PYTHONPATH": path}
    with started(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        peer = Peer(process, int(process.stdout.readline()), frame())
        peer.upgrade()
        yield peer
        peer.end()


@contextmanager
def nginx(folder: Path, body: bytes) -> Iterator[Peer]:
    """nginx with a file in memory's cache, as quick as it is known to be set up."""
    assert NGINX is not None
    folder.joinpath("root").mkdir()
    folder.joinpath("root/reply.json").write_bytes(body)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    config = folder / "nginx.conf"
    user = "" if os.geteuid() else "user root;"  # others may not look into the folder
    config.write_text(CONFIG.format(folder=folder, port=port, user=user))
    with started([NGINX, "-p", str(folder), "-c", str(config), "-e", "stderr"]) as process:
        peer = _connect(process, port)
        yield peer
        peer.end()


def _connect(process: subprocess.Popen[Any], port: int) -> Peer:
    deadline = time.monotonic() + 10
    while True:
        try:
            return Peer(process, port, GET)
        except OSError:
            assert process.poll() is None, "nginx has ended"
            assert time.monotonic() < deadline, "nginx does not answer"
            time.sleep(0.05)


@contextmanager
def one_cpu() -> Iterator[None]:
    """Client and servers take turns on one CPU: waking another one costs either server as much as
    the reply itself, or nothing, as the scheduler places them."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def bench_klines_beside_nginx(bench: Any, tmp_path: Path) -> None:
    """CPU of a reply of 500 rows, and of nginx for a file of the same bytes, in turns."""
    with one_cpu(), ours() as api:
        reply = api.first()[10:]  # behind the frame's head
        assert len(json.loads(reply)["result"]) == 500
        with nginx(tmp_path, reply) as peer:
            assert peer.first().endswith(reply)

            def measure() -> tuple[float, float]:
                return api.cost_us(), peer.cost_us()

            # The same rows, asked for in other words each time: nothing is known of them yet.
            anew = [frame(f',"startTime":{FIRST_MS - n}') for n in range(REQUESTS)]
            built_us = api.cost_us(anew)
            pairs = bench.once(lambda: [measure() for _ in range(ROUNDS)])
            for _ in range(RETRIES):  # a neighbour may have disturbed these: minima stay minima
                ours_us, nginx_us = (min(column) for column in zip(*pairs, strict=True))
                if ours_us <= RATIO_SETTLED * nginx_us:
                    break
                pairs.append(measure())
    bench.quantity("reply, us CPU", ours_us)
    bench.quantity("reply that is built anew, us CPU", built_us)
    bench.quantity("nginx, us CPU", nginx_us)
    bench.quantity("reply / nginx", ours_us / nginx_us)
    bench.quantity("kB a reply", len(reply) / 1e3)
