"""The nginx configuration that is shipped: a real nginx before a real server."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from commands import Command, Demo, fetch, free_port, until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from server.api.auth import FAILURES_MAX

pytestmark = pytest.mark.slow

KEY = "only-for-this-test"
NAME, STREAMS = "klines.example", "streams.klines.example"
MAIN = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {shipped}
}}
"""


class Ports(NamedTuple):
    """Where an nginx listens, and by whose word its certificate is good."""

    plain: int
    secure: int
    authority: Path


@pytest.fixture(scope="module")
def ports(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """An nginx before both ports of a demo that asks for a key."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    streams, port, secure = free_port(), free_port(), free_port()
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME, STREAMS, "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "pem"))
    authority.cert_pem.write_to_path(str(folder / "authority"))
    demo = Demo("--stream-port", str(streams), API_KEY=KEY, KLINE_TRUSTED_PROXIES="127.0.0.1")
    try:
        shipped = (root / "deploy" / "nginx.conf").read_text(encoding="utf-8")
        shipped = re.sub(r"(ssl_certificate\S*) .*;", rf"\1 {folder}/pem;", shipped)
        shipped = shipped.replace(
            "listen 443 ssl;", f"listen 127.0.0.1:{port}; listen 127.0.0.1:{secure} ssl;"
        )
        shipped = shipped.replace("127.0.0.1:8080", f"127.0.0.1:{demo.port}")
        shipped = shipped.replace("127.0.0.1:8081", f"127.0.0.1:{streams}")
        main = folder / "nginx.conf"
        main.write_text(MAIN.format(folder=folder, shipped=shipped))
        log = folder / "log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [nginx, "-p", str(folder), "-c", str(main)], stdout=output, stderr=output
            )
        try:
            until(
                lambda: fetch(port, "/health", Host=NAME)[0] == 200 or server.poll() is not None,
                log.read_text,
            )
            assert server.poll() is None, log.read_text()
            yield Ports(port, secure, folder / "authority")
        finally:
            server.terminate()
            server.wait(30)
    finally:
        demo.command.end()


@pytest.fixture
def proxy(ports: Ports) -> int:
    """Its port without TLS."""
    return ports.plain


def test_over_tls_a_command_asks_and_watches(ports: Ports) -> None:
    """As docs/deployment.md says after a deployment."""
    where = ("--url", f"https://localhost:{ports.secure}")
    trusted = {"API_KEY": KEY, "SSL_CERT_FILE": str(ports.authority)}
    for asked in (("query", "BTCUSDT", "1m", "--limit", "1"), ("watch", "BTCUSDT", "--once")):
        command = Command(*asked, *where, **trusted)
        until(lambda command=command: command.status is not None)  # type: ignore[misc]
        assert command.end() == 0, command.stderr
        assert command.stdout
    distrusting = Command("query", "BTCUSDT", "1m", *where, API_KEY=KEY)
    until(lambda: distrusting.status is not None)
    assert distrusting.end() != 0
    assert "certificate" in "".join(distrusting.stderr).lower()


def test_routes_are_passed_on_and_metrics_are_not(proxy: int) -> None:
    key = {"Host": NAME, "X-API-Key": KEY}
    assert fetch(proxy, "/klines/BTCUSDT/1m?limit=1", **key)[0] == 200
    assert fetch(proxy, "/klines/BTCUSDT/1m?limit=1", Host=NAME)[0] == 401
    assert fetch(proxy, "/metrics", **key)[0] == 404


def joined(
    proxy: int, name: str, *, key: str = KEY, source: str = "127.0.0.1", **options: Any
) -> ClientConnection:
    """A socket to ``/ws`` of one of the names, with a key, from an address of this machine."""
    return connect(
        f"ws://{name}:{proxy}/ws",
        sock=socket.create_connection(("127.0.0.1", proxy), 30, (source, 0)),
        subprotocols=[Subprotocol("klinecore.v1"), Subprotocol(f"klinecore.key.{key}")],
        open_timeout=30,
        **options,
    )


@pytest.mark.parametrize("name", [NAME, STREAMS])
def test_sockets_of_both_ports_are_passed_on(proxy: int, name: str) -> None:
    with joined(proxy, name) as client:
        client.send(json.dumps({"id": 7, "method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"]}))
        while json.loads(client.recv(30)).get("id") != 7:
            pass


def test_a_page_of_ours_is_told_from_others(proxy: int) -> None:
    with joined(proxy, NAME, origin=f"https://{NAME}:{proxy}") as client:
        client.ping()
    with (
        pytest.raises(InvalidStatus) as refused,
        joined(proxy, NAME, origin=f"https://elsewhere.example:{proxy}"),
    ):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(("name", "guesser"), [(NAME, "127.0.0.2"), (STREAMS, "127.0.0.3")])
def test_who_guesses_keys_shuts_out_nobody_else(proxy: int, name: str, guesser: str) -> None:
    """Whatever address it says it has: nginx tells the one that it sees."""

    def status(key: str, source: str, said: str) -> int:
        headers = {"X-Forwarded-For": said}
        try:
            with joined(proxy, name, key=key, source=source, additional_headers=headers):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    guesses = [status(f"wrong-{n}", guesser, f"192.0.2.{n}") for n in range(FAILURES_MAX)]
    assert guesses == [401] * FAILURES_MAX
    assert status(KEY, guesser, "192.0.2.99") == 429
    assert status(KEY, "127.0.0.1", guesser) == 101


def test_events_come_as_they_happen(proxy: int) -> None:
    asked = http.client.HTTPConnection("127.0.0.1", proxy, timeout=30)
    asked.request("GET", "/events?streams=btcusdt@ticker", headers={"Host": NAME, "X-API-Key": KEY})
    answer = asked.getresponse()
    assert answer.status == 200
    while not answer.readline().startswith(b"data:"):
        pass
    asked.close()
