"""What the stream port sends and is asked, as far as a live market needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

__all__ = ["Message", "Row", "ask_for", "chunks", "read_message", "rows_body"]

#: Bytes of stream names in one request; the server takes messages of 4,096 bytes.
_NAMES_SIZE_MAX = 3600


class Row(
    msgspec.Struct,
    frozen=True,
    rename={
        "open_time_ms": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v",
        "close_time_ms": "T", "quote_volume": "q", "trades": "n", "taker_buy_base": "V",
        "taker_buy_quote": "Q", "closed": "x", "interval": "i",
    },
):  # fmt: skip
    """A kline, numbers as text; the fields are in the order of the exchange's REST tuple."""

    open_time_ms: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time_ms: int
    quote_volume: str
    trades: int
    taker_buy_base: str
    taker_buy_quote: str
    closed: bool
    interval: str = ""  # in a stream's message


class _Refusal(msgspec.Struct, frozen=True):
    msg: str = ""


class Message(msgspec.Struct, frozen=True):
    """Any message; the fields that it has not are empty."""

    id: int | str | None = None  # a reply's
    error: _Refusal | None = None  # the reply says no
    e: str = ""  # kline, 24hrTicker, snapshot, serverShutdown
    seq: int = 0
    s: str = ""
    k: Row | None = None
    revised: bool = False
    symbol: str = ""  # a snapshot's
    interval: str = ""
    klines: tuple[Row, ...] = ()


_DECODER = msgspec.json.Decoder(Message)


def read_message(payload: bytes) -> Message:
    """Raises msgspec.MsgspecError: it is none of theirs."""
    return _DECODER.decode(payload)


def rows_body(rows: Sequence[Row]) -> bytes:
    """Rows as the array of tuples that ``Market.apply_klines`` reads."""
    return msgspec.json.encode([(*msgspec.structs.astuple(row)[:11], "0") for row in rows])


def ask_for(streams: Sequence[str], number: int, **joined: int) -> bytes:
    """A SUBSCRIBE; ``joined`` is ``snapshot=`` or ``since=``, if anything."""
    return msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": number, **joined})


def chunks(streams: Sequence[str], count_max: int) -> Iterator[list[str]]:
    """Streams in lists of at most so many, each short enough for one request."""
    chunk: list[str] = []
    size = 0
    for stream in streams:
        length = len(stream.encode()) + 3  # quotes and comma
        if chunk and (len(chunk) == count_max or size + length > _NAMES_SIZE_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(stream)
        size += length
    if chunk:
        yield chunk
