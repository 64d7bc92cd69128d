"""Blocks of old klines: which stretch of a series each one is, its rows, and its form on disk.

A series is cut into stretches of equally many opening times, whatever anybody asks for: so that
requests that overlap need the same blocks, and a block that is over never changes.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

from klinecore.errors import ParseError, SnapshotError
from klinecore.interval import INTERVAL_MS, next_open_ms, open_time_ms
from klinecore.parsers.rest import parse_klines

__all__ = ["Block", "Stretch", "decode_block", "encode_block", "read_rows", "stretch_at"]

_MAGIC: Final = b"KLBLOCK\0"
_VERSION: Final = 1
_HEAD: Final = Struct("<8sI16sI")  # magic, version, digest of the rest, size of the label

#: The longest a ``1M`` kline lasts: blocks of months have a few rows more than others.
_MONTH_MS: Final = 31 * INTERVAL_MS["1d"]

#: Bytes of a block's rows; none is longer, whatever a file says.
_BYTES_MAX: Final = 1 << 20


class Stretch(NamedTuple):
    """Opening times ``first_ms <= open < end_ms`` of a series."""

    symbol: str
    interval: str
    first_ms: int
    end_ms: int


class Block(NamedTuple):
    """Rows of a stretch, as the exchange's tuples; those that open before ``known_ms`` are all."""

    stretch: Stretch
    opens_ms: list[int]
    rows: list[bytes]
    known_ms: int
    read_s: float = 0.0  # when the exchange was asked, monotonic

    @property
    def whole(self) -> bool:
        """True if no row of it can still come or change."""
        return self.known_ms >= self.stretch.end_ms

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return sum(map(len, self.rows)) + 80 * len(self.rows) + 200

    def between(self, first_ms: int, end_ms: int) -> list[bytes]:
        """Rows that open in ``[first_ms, end_ms)``."""
        low = bisect_left(self.opens_ms, first_ms)
        return self.rows[low : bisect_left(self.opens_ms, end_ms, low)]


def stretch_at(symbol: str, interval: str, time_ms: int, rows: int) -> Stretch:
    """The stretch of about ``rows`` klines that the one of ``time_ms`` belongs to."""
    span_ms = (INTERVAL_MS[interval] or _MONTH_MS) * rows
    number = max(open_time_ms(interval, time_ms) // span_ms, 0)
    first_ms, end_ms = (_first_open(interval, n * span_ms) for n in (number, number + 1))
    return Stretch(symbol, interval, first_ms, end_ms)


def _first_open(interval: str, time_ms: int) -> int:
    """Opening time of the first kline that opens then or later."""
    opened_ms = open_time_ms(interval, time_ms)
    return opened_ms if opened_ms == time_ms else next_open_ms(interval, opened_ms)


def read_rows(body: bytes, first_ms: int, end_ms: int) -> tuple[list[int], list[bytes]]:
    """Opening times and tuples of a klines answer, each as the exchange prints it.

    Raises ParseError: no such answer, or rows that do not ascend from ``first_ms`` to ``end_ms``.
    """
    opens_ms, rows = [], []
    last_ms = first_ms - 1
    for k in parse_klines(body):
        if not last_ms < k.open_time_ms < end_ms:
            raise ParseError(f"a kline of {k.open_time_ms} where it does not belong")
        last_ms = k.open_time_ms
        opens_ms.append(last_ms)
        rows.append(
            f'[{last_ms},"{k.open}","{k.high}","{k.low}","{k.close}","{k.volume}",'
            f'{k.close_time_ms},"{k.quote_volume}",{k.trades},"{k.taker_buy_base}",'
            f'"{k.taker_buy_quote}","0"]'.encode()
        )
    return opens_ms, rows


def encode_block(block: Block, label: str) -> bytes:
    """A whole block as checksummed bytes; ``label`` says whose it is and of what."""
    rest = label.encode() + zlib.compress(b"\n".join(block.rows))
    size = len(label.encode())
    return _HEAD.pack(_MAGIC, _VERSION, _digest(rest), size) + rest


def decode_block(data: bytes, stretch: Stretch, label: str) -> Block:
    """What ``encode_block`` was given.

    Raises SnapshotError: damaged, cut, of another version, or another block.
    """
    if len(data) < _HEAD.size or data[:8] != _MAGIC:
        raise SnapshotError("no block of klines")
    _, version, digest, size = _HEAD.unpack_from(data)
    rest = data[_HEAD.size :]
    if version != _VERSION:
        raise SnapshotError(f"a block of version {version}; this is {_VERSION}")
    if _digest(rest) != digest:
        raise SnapshotError("a block that is damaged or cut short")
    if rest[:size] != label.encode():
        raise SnapshotError("another block")
    unpacker = zlib.decompressobj()
    body = unpacker.decompress(rest[size:], _BYTES_MAX)
    rows = body.split(b"\n") if body else []
    opens_ms = [int(row[1 : row.index(b",")]) for row in rows]
    return Block(stretch, opens_ms, rows, stretch.end_ms)


def _digest(rest: bytes) -> bytes:
    return blake2b(rest, digest_size=16).digest()
