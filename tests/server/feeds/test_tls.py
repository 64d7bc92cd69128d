"""Connections over real TLS: certificates that must not be trusted end them, by name."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from klinecore.market import Market
from server.clock import SystemClock
from server.errors import FeedError, RestError
from server.feeds.hosts import Hosts
from server.feeds.link import Link
from server.feeds.listener import ChangeNotifier
from server.feeds.liveness import Base
from server.feeds.rest import HttpRest
from server.settings import Settings
from server.tls import client_context

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")

ANSWER = b'HTTP/1.1 503 x\r\ncontent-length: 16\r\nconnection: close\r\n\r\n{"serverTime":1}'


@pytest.fixture(autouse=True)
def fresh_authorities() -> Iterator[None]:
    """They are read once in a process: here they are others in each test."""
    client_context.cache_clear()
    yield
    client_context.cache_clear()


def certificate(folder: Path, name: str, days: int) -> tuple[str, str]:
    """A certificate that signs itself, and its key: paths."""
    key, request, made, extensions = (
        str(folder / end) for end in ("key.pem", "request.pem", "made.pem", "extensions")
    )
    Path(extensions).write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:TRUE\n")
    for arguments in (
        ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request]
        + ["-subj", f"/CN={name}"],
        ["x509", "-req", "-in", request, "-signkey", key, "-out", made, "-days", str(days)]
        + ["-extfile", extensions],
    ):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    return made, key


@asynccontextmanager
async def serving(made: str, key: str) -> AsyncIterator[int]:
    """A port that answers any request over TLS with ``ANSWER``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def stream_failure(port: int) -> str:
    link = Link(
        Market(["BTCUSDT"], ["1m"], 10),
        ChangeNotifier(lambda: None),
        settings=Settings(),
        clock=SystemClock(),
        watermark=lambda: 0,
        base=Base(("BTCUSDT",), np.zeros((1, 2), np.int64)),
    )
    with pytest.raises(FeedError) as caught:
        await link.connect(f"wss://localhost:{port}/ws")
    return str(caught.value)


async def rest_failure(port: int) -> str:
    """Why no answer came; empty if one did."""
    hosts = Hosts([f"https://localhost:{port}"])
    rest = HttpRest(hosts, concurrency=1, timeout_s=5.0, body_max=1 << 20)
    try:
        response = await rest.get("/api/v3/time", {})
    except RestError as error:
        return str(error)
    finally:
        await rest.close()
    assert response.body == b'{"serverTime":1}'
    return ""


@pytest.mark.parametrize(
    ("name", "days", "trusted", "says"),
    [
        ("localhost", 1, True, ""),  # nothing wrong with it
        ("localhost", 1, False, "self-signed certificate"),
        ("localhost", -1, True, "certificate has expired"),
        ("elsewhere.test", 1, True, "hostname mismatch"),
    ],
    ids=["good", "self-signed", "expired", "another name"],
)
def test_fault_14_a_certificate_that_must_not_be_trusted_is_refused_and_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    days: int,
    trusted: bool,
    says: str,
) -> None:
    """Fault 14: expired, self-signed or another's certificate, of streams and of REST."""
    made, key = certificate(tmp_path, name, days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", made)

    async def scenario() -> tuple[str, str]:
        async with serving(made, key) as port:
            return await stream_failure(port), await rest_failure(port)

    of_stream, of_rest = asyncio.run(scenario())
    if not says:
        assert "refused the connection with HTTP 503" in of_stream
        assert of_rest == ""
    else:
        assert says in of_stream.lower()
        assert says in of_rest.lower()
