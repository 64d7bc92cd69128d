"""What two readers might understand differently is refused by both ports, and nothing of it runs.

Each probe hides a request behind another one. It must never be answered or counted; requests over
other connections must be answered as before.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from api_target import Target, until

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
ROUTE = "/v1/status"  # asked by nobody else here
HIDDEN = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIZE = b"%d" % len(HIDDEN)
GET = b"GET /health HTTP/1.1\r\n" + HOST
POST = b"POST /v1/filters/check HTTP/1.1\r\n" + HOST + JSON
UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
BODY = b'{"filter":"rsi(14) < 30","interval":"1m"}'
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"


def chunk(size: bytes, data: bytes = BODY, end: bytes = b"\r\n") -> bytes:
    return POST + CHUNKED + b"\r\n" + size + b"\r\n" + data + end + LAST + HIDDEN


EXACT = b"%x" % len(BODY)

#: Refused, or answered as what stands first; then the connection ends.
ENDS = {
    "length, then chunked": POST + b"Content-Length: %d\r\n" % (len(HIDDEN) + 5) + CHUNKED
    + b"\r\n" + LAST + HIDDEN,
    "chunked, then length": POST + CHUNKED + b"Content-Length: 4\r\n\r\n"
    + b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n" + LAST,
    "length and chunked of a GET": GET + b"Content-Length: %d\r\n" % (len(HIDDEN) + 5) + CHUNKED
    + b"\r\n" + LAST + HIDDEN,
    "chunked over HTTP/1.0": b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n" + CHUNKED
    + b"\r\n" + LAST + HIDDEN,
    "two lengths, the first none": POST + b"Content-Length: 0\r\nContent-Length: " + SIZE
    + b"\r\n\r\n" + HIDDEN,
    "two lengths, the second none": POST + b"Content-Length: " + SIZE
    + b"\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a list of lengths": GET + b"Content-Length: 0, " + SIZE + b"\r\n\r\n" + HIDDEN,
    "a length with a sign": GET + b"Content-Length: +" + SIZE + b"\r\n\r\n" + HIDDEN,
    "a negative length": GET + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "a length in hex": GET + b"Content-Length: 0x0\r\n\r\n" + HIDDEN,
    "a length of 2^64": GET + b"Content-Length: 18446744073709551616\r\n\r\n" + HIDDEN,
    "a space before the colon": GET + b"Content-Length : " + SIZE + b"\r\n\r\n" + HIDDEN,
    "a folded header": GET + b"A: b\r\n Content-Length: " + SIZE + b"\r\n\r\n" + HIDDEN,
    "a folded first header": b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n" + HIDDEN,
    "a folded coding": GET + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + LAST + HIDDEN,
    "a coding with a tab of the wrong kind": GET + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + LAST
    + HIDDEN,
    "a space after the coding's name": GET + b"Transfer-Encoding : chunked\r\n\r\n" + LAST + HIDDEN,
    "an unknown coding": GET + b"Transfer-Encoding: xchunked\r\n\r\n" + LAST + HIDDEN,
    "no coding": GET + b"Transfer-Encoding: identity\r\n\r\n" + HIDDEN,
    "chunked, but not last": GET + b"Transfer-Encoding: chunked, identity\r\n\r\n" + LAST + HIDDEN,
    "chunked after another coding": GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + LAST
    + HIDDEN,
    "chunked twice": GET + CHUNKED + CHUNKED + b"\r\n" + LAST + HIDDEN,
    "chunked and none": GET + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + LAST + HIDDEN,
    "a carriage return in a header": GET + b"A: b\rContent-Length: " + SIZE + b"\r\n\r\n" + HIDDEN,
    "a NUL in a header's name": GET + b"A\x00: b\r\n\r\n" + HIDDEN,
    "tabs in the request line": b"GET\t/health\tHTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "two spaces in the request line": b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "a space in the path": b"GET /health x HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN,
    "a version of its own": b"GET /health HTTP/1.10\r\n" + HOST + b"\r\n" + HIDDEN,
    "chunks ended by bare line feeds": POST + CHUNKED + b"\r\n" + EXACT + b"\n" + BODY
    + b"\n0\n\n" + HIDDEN,
    "a line feed in a chunk's extension": chunk(EXACT + b";a\nb"),
    "a chunk's size with a prefix": chunk(b"0x" + EXACT),
    "a chunk's size with a sign": chunk(b"+" + EXACT),
    "a negative chunk": chunk(b"-1"),
    "a chunk's size beyond 64 bits": chunk(b"10000000000000000" + EXACT),
    "a chunk that is longer than it says": chunk(b"%x" % (len(BODY) - 3)),
    "a chunk without its line end": chunk(EXACT, end=b""),
}  # fmt: skip

#: The hidden request is the body of the one before it, and is read as that or not at all.
BODIES = {
    "of an unknown path": b"POST /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: ",
    "of a method that is not possible": b"DELETE /health HTTP/1.1\r\n" + HOST + b"Content-Length: ",
    "of another type": b"POST /v1/filters/check HTTP/1.1\r\n" + HOST + b"Content-Length: ",
    "that is awaited": POST + b"Expect: 100-continue\r\nContent-Length: ",
    "of a GET": GET + b"Content-Length: ",
    "of a socket that is refused": b"GET /elsewhere HTTP/1.1\r\n" + HOST + UPGRADE
    + b"Content-Length: ",
    "of a socket that is not": b"GET /ws HTTP/1.1\r\n" + HOST + UPGRADE + b"Content-Length: ",
    "of a longer length": GET + b"Content-Length: 1",
}  # fmt: skip


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    running = Target(streams=True, settings={"capacity": 50})
    yield running
    running.stop()


class Talk(NamedTuple):
    statuses: list[int]
    ended: bool
    received: bytes


def talk(port: int, data: bytes, *, wait_s: float = 0.3, cut: bool = False) -> Talk:
    """Send bytes; what came back until the end, or until nothing came for a while."""
    received, ended = b"", True
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as raw:
        try:
            raw.sendall(data)
            if cut:
                raw.shutdown(socket.SHUT_WR)
            while part := raw.recv(65536):
                received += part
        except TimeoutError:
            ended = False
        except ConnectionError:
            pass
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", received)]
    return Talk(statuses, ended, received)


def executed(target: Target, route: str = ROUTE) -> float:
    return target.count("http_requests_total", route=route)


def still_answers(target: Target) -> None:
    assert json.loads(target.get("/health"))["status"] == "healthy"
    upgrade = b"GET /ws/0 HTTP/1.1\r\n" + HOST + UPGRADE + b"\r\n"
    assert talk(target.stream_port, upgrade, wait_s=0.05).statuses == [101]


@pytest.mark.parametrize("name", ENDS)
def test_an_ambiguous_request_ends_its_connection_and_hides_none(target: Target, name: str) -> None:
    before = executed(target)
    found = talk(target.port, ENDS[name], wait_s=3.0)
    assert found.ended
    assert found.statuses in ([400], [501], [200] if "of a GET" in name else [400]), name
    refused = talk(target.stream_port, ENDS[name], wait_s=3.0)
    assert refused.ended
    assert refused.statuses in ([400], [405])
    for answer in (found, refused):
        assert b"Traceback" not in answer.received
    assert executed(target) == before
    still_answers(target)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_never_taken_for_a_request(target: Target, name: str) -> None:
    before = executed(target)
    data = BODIES[name] + SIZE + b"\r\n\r\n" + HIDDEN
    found = talk(target.port, data)
    assert len([status for status in found.statuses if status != 100]) <= 1
    refused = talk(target.stream_port, data)
    assert refused.ended
    assert refused.statuses in ([400], [405])
    assert executed(target) == before
    still_answers(target)


def test_a_request_behind_another_is_counted_where_nothing_is_hidden(target: Target) -> None:
    """Or the tests above would hold of a server that answers one request a connection."""
    before = executed(target)
    assert talk(target.port, GET + b"\r\n" + HIDDEN).statuses == [200, 200]
    assert executed(target) == before + 1


@pytest.mark.parametrize(
    "lines",
    [
        GET + b"A: b\nContent-Length: 0\r\n\r\n",
        (GET + UPGRADE + b"\r\n").replace(b"\r\n", b"\n"),
        b"GET /ws/0 HTTP/1.1\r\n" + HOST + UPGRADE + b"A: b\nB: c\r\n\r\n",
        b"GET /ws/0 HTTP/1.1\r\n" + HOST + UPGRADE + b"A: b\rB: c\r\n\r\n",
        b"GET /ws/0 HTTP/1.1\r\n" + HOST + UPGRADE + b"A: b\x00\r\n\r\n",
        b"GET /ws/0\x7f HTTP/1.1\r\n" + HOST + UPGRADE + b"\r\n",
        b"GET /ws/0 HTTP/1.1\r\n" + HOST + UPGRADE + b"A(b): c\r\n\r\n",
        b"GET /ws/0 HTTP/1.7\r\n" + HOST + UPGRADE + b"\r\n",
    ],
)
def test_the_stream_port_takes_no_line_end_but_its_own(target: Target, lines: bytes) -> None:
    """Of bare line feeds the port of HTTP makes line ends, as RFC 9112 2.2 allows."""
    found = talk(target.stream_port, lines + HIDDEN, wait_s=6.0, cut=True)
    assert found.ended
    assert found.statuses in ([400], [])
    still_answers(target)


# --- what never comes whole ----------------------------------------------------------------------

TRUNCATED = {
    "in the request line": b"GET /v1/sta",
    "in a header": b"GET /v1/status HTTP/1.1\r\nHost: local",
    "before the empty line": b"GET /v1/status HTTP/1.1\r\n" + HOST,
    "in a body": POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:-1],
    "before a chunk": POST + CHUNKED + b"\r\n",
    "in a chunk": POST + CHUNKED + b"\r\n" + EXACT + b"\r\n" + BODY[:-1],
    "before the last chunk": POST + CHUNKED + b"\r\n" + EXACT + b"\r\n" + BODY + b"\r\n",
    "in a handshake": b"GET /ws HTTP/1.1\r\n" + HOST + UPGRADE[:-9],
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_what_ends_too_early_does_nothing(target: Target, name: str) -> None:
    routes = ("/v1/status", "/ws")
    before = [executed(target, route) for route in routes]
    compiled = target.count("filters_compiled_total") + target.count("filters_refused_total")
    for port in (target.port, target.stream_port):
        with contextlib.suppress(ConnectionError):
            found = talk(port, TRUNCATED[name], wait_s=3.0, cut=True)
            assert found.ended
            assert all(400 <= status < 500 for status in found.statuses)
    assert [executed(target, route) for route in routes] == before
    now = target.count("filters_compiled_total") + target.count("filters_refused_total")
    assert now == compiled
    still_answers(target)


OVERSIZE = {
    "a header": GET + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
    "a header's name": GET + b"A" * 100_000 + b": b\r\n\r\n",
    "many headers": GET + b"A: b\r\n" * 4000 + b"\r\n",
    "a path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method": b"G" * 100_000 + b" / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a line that never ends": b"G" * 100_000,
}


@pytest.mark.parametrize("name", OVERSIZE)
def test_what_is_too_large_is_refused_before_it_is_whole(target: Target, name: str) -> None:
    before = executed(target)
    for port in (target.port, target.stream_port):
        found = talk(port, OVERSIZE[name] + HIDDEN, wait_s=3.0)
        assert found.ended
        assert found.statuses in ([], [400], [405], [414], [431])
    assert executed(target) == before
    still_answers(target)


@pytest.mark.slow
def test_a_head_that_comes_byte_by_byte_is_cut(target: Target) -> None:
    """Five seconds, however alive its sender is; it comes a byte every tenth of a second."""
    lasted: dict[int, float] = {}

    def drip(port: int) -> None:
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), timeout=0.1) as raw:
            raw.sendall(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nA: ")
            while time.monotonic() < started + 15:
                try:
                    raw.sendall(b"b")
                    if not raw.recv(1024):
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
        lasted[port] = time.monotonic() - started

    before = executed(target)
    ports = (target.port, target.stream_port)
    dripping = [threading.Thread(target=drip, args=(port,)) for port in ports for _ in range(5)]
    for one in dripping:
        one.start()
    still_answers(target)
    for one in dripping:
        one.join(20)
    assert all(4.0 < lasted[port] < 8.0 for port in ports), lasted
    assert executed(target) == before
    until(lambda: target.count("stream_refused_total", code="408") >= 5)
    still_answers(target)
