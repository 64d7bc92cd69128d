"""From a payload to the bytes on the wire: made once for each shape, shared by all who get it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Shape", "frame_head", "shaped", "text_frame"]

_TEXT = b"\x81"  # a whole text message
_TWO_BYTES = 126
_EIGHT_BYTES = 127


class Shape(NamedTuple):
    """In which form a connection wants its messages."""

    wrapped: bool = False  # {"stream":..,"data":..}
    sequenced: bool = False  # with "seq", where a message is an object


def shaped(payload: bytes, stream: str, sequence: int, shape: Shape) -> bytes:
    """A message as a connection of that shape gets it, without its WebSocket frame."""
    if shape.wrapped:
        payload = b'{"stream":"%s","data":%s}' % (stream.encode(), payload)
    if shape.sequenced and payload.endswith(b"}"):
        payload = b'%s,"seq":%d}' % (payload[:-1], sequence)
    return payload


def text_frame(payload: bytes) -> bytes:
    """An unmasked text message in one frame (RFC 6455 5.2)."""
    return frame_head(len(payload)) + payload


def frame_head(size: int) -> bytes:
    """What stands before a payload of so many bytes."""
    if size < _TWO_BYTES:
        return b"%s%c" % (_TEXT, size)
    if size < 1 << 16:
        return b"%s%c%s" % (_TEXT, _TWO_BYTES, size.to_bytes(2))
    return b"%s%c%s" % (_TEXT, _EIGHT_BYTES, size.to_bytes(8))
