"""The head of a WebSocket's handshake, read before picows gets the connection.

picows would ask for a listener knowing neither the peer's address nor whether it may connect.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import NamedTuple

from picows import (
    WSAutoPingStrategy,
    WSListener,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]

__all__ = ["HEAD_SIZE_MAX", "Head", "hand_over", "parse_head"]

#: Bytes of a request's line and headers.
HEAD_SIZE_MAX = 16 * 1024

#: Seconds picows may take for a head that is there already.
_HANDSHAKE_S = 5.0

#: Names of headers, and what stands in no header (RFC 9110 5.1, 5.5).
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")

_log = logging.getLogger(__name__)
_log.setLevel(logging.CRITICAL)  # picows tells of every connection, and of clients' mistakes


class Head(NamedTuple):
    """A GET's target and its headers, in order, names in lower case."""

    target: bytes
    headers: list[tuple[bytes, bytes]]
    version: str  # "1.1"


def parse_head(data: bytes) -> Head | int:
    """Read what stands before the empty line; the status that refuses it if it is no plain GET."""
    if _CONTROLS.search(data.replace(b"\r\n", b"")):
        return 400  # among them line ends that others might take for some
    lines = data.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or parts[2] not in _VERSIONS:
        return 400
    if parts[0] != b"GET":
        return 405
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            return 400
        headers.append((name.lower(), value.strip(b" \t")))
        if name.lower() == b"transfer-encoding":
            return 400
        if name.lower() == b"content-length" and value.strip().strip(b"0"):
            return 400
    return Head(parts[1], headers, parts[2][5:].decode("latin-1"))


def hand_over(
    transport: asyncio.Transport,
    data: bytes,
    listener: WSListener,
    *,
    frame_size_max: int,
    read_buffer: int,
    subprotocol: str | None = None,
) -> None:
    """Make a connection a WebSocket: picows reads the request in ``data`` and what follows it.

    ``frame_size_max`` bounds a frame's payload, ``read_buffer`` is what each connection reserves.
    ``subprotocol`` is the one chosen of those the client offers.
    """

    def factory(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        if subprotocol is None:
            return listener
        chosen = {"Sec-WebSocket-Protocol": subprotocol}
        response = WSUpgradeResponse.create_101_response(chosen)
        return WSUpgradeResponseWithListener(response, listener)

    protocol = WSProtocol(
        None,
        None,
        False,
        factory,
        _log,
        True,
        _HANDSHAKE_S,
        False,
        20.0,
        20.0,
        WSAutoPingStrategy.PING_WHEN_IDLE,
        False,
        frame_size_max,
        None,
        read_buffer,
    )
    # Reading stops meanwhile: uvloop chooses how to read when it starts to.
    transport.pause_reading()
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    rest = memoryview(data)
    while rest:
        place = protocol.get_buffer(-1)
        size = min(len(place), len(rest))
        place[:size] = rest[:size]
        rest = rest[size:]
        protocol.buffer_updated(size)
    if not transport.is_closing():
        transport.resume_reading()
