"""A client's WebSocket frames by hand, and the mistakes that can be made with them."""

from __future__ import annotations

MASK = b"\x01\x02\x03\x04"
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
LIST = b'{"method":"LIST_SUBSCRIPTIONS","id":1}'


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame, masked."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0x80 | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, 0x80 | 127)) + size.to_bytes(8)
    return head + MASK + bytes(b ^ MASK[i % 4] for i, b in enumerate(payload))


#: What is sent, and the close code that RFC 6455 has for it.
MISTAKES = {
    "a reserved bit": (frame(TEXT, LIST, rsv=1), 1002),
    "the bit of compression": (frame(TEXT, LIST, rsv=4), 1002),
    "a reserved bit on a ping": (frame(PING, b"", rsv=2), 1002),
    "a reserved opcode": (frame(0x3, LIST), 1002),
    "a reserved control opcode": (frame(0xB), 1002),
    "a binary message": (frame(BINARY, LIST), 1003),
    "text that is not UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "text whose pieces are not UTF-8": (
        frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION, b"\x00"),
        1007,
    ),
    "a continuation of nothing": (frame(CONTINUATION, LIST), 1002),
    "a message within a message": (frame(TEXT, b"{", fin=False) + frame(TEXT, LIST), 1002),
    "a binary message within a message": (
        frame(TEXT, b"{", fin=False) + frame(BINARY, LIST),
        1002,
    ),
    "a ping in pieces": (frame(PING, b"", fin=False), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a long message": (frame(TEXT, b"x" * 4097), 1009),
    "a message whose pieces are long": (
        frame(TEXT, b"x" * 3000, fin=False) + frame(CONTINUATION, b"x" * 3000),
        1009,
    ),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close with a code that is none": (frame(CLOSE, b"\x03\xee"), 1002),
    "a close whose reason is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "an unmasked frame": (b"\x81\x02hi", 1002),
    "a frame of 2^63 bytes": (b"\x81\xff" + b"\xff" * 8 + MASK, 1002),
    "a flood of pings": (frame(PING) * 50, 1008),
    "a flood of empty pieces": (
        frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 5000,
        1008,
    ),
}
