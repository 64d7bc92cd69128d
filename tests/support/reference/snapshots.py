"""A snapshot taken apart and put together with checksums that fit: only its meaning is off."""

from __future__ import annotations

import struct
from collections.abc import Callable
from zlib import crc32

HEAD, SERIES, FORMATS, END = 1, 2, 3, 4
PREFIX_SIZE = 16
MARK = 0x43455253


def payloads(data: bytes) -> list[tuple[int, bytearray]]:
    """Kind and payload of each record."""
    found = []
    offset = PREFIX_SIZE
    while offset < len(data):
        mark, kind, size, number = struct.unpack_from("=IIQQ", data, offset)
        assert (mark, number) == (MARK, len(found))
        found.append((kind, bytearray(data[offset + 24 : offset + 24 + size])))
        offset += 24 + size + 8
    return found


def sealed(prefix: bytes, records: list[tuple[int, bytearray]]) -> bytes:
    """The records as a whole snapshot; the END record is made anew."""
    result = bytearray(prefix)
    chain = 0
    for number, (kind, payload) in enumerate(records):
        if kind == END:
            payload = struct.pack("=QQQ", number, len(result), chain)
        record = struct.pack("=IIQQ", MARK, kind, len(payload), number) + payload
        trailer = struct.pack("=Q", crc32(record))
        chain = crc32(trailer, chain)
        result += record + trailer
    return bytes(result)


def edited(data: bytes, kind: int, edit: Callable[[bytearray], None]) -> bytes:
    """``edit`` applied to the payload of every record of a kind, all checksums made to fit."""
    records = payloads(data)
    for found, payload in records:
        if found == kind:
            edit(payload)
    return sealed(data[:PREFIX_SIZE], records)
