"""Many WebSockets that read whatever comes and throw it away: PORT CLIENTS SYMBOLS_EACH [deaf].

Deaf ones read nothing at all. After each burst a line of JSON says when half, and when 99 of 100 of
them had their last byte.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

UPGRADE = (
    b"GET /ws/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BATCH = 150
QUIET_S = 0.25


def frame(payload: bytes) -> bytes:
    """A text message; a mask of zeros leaves it as it is."""
    return b"\x81\xfe" + len(payload).to_bytes(2) + b"\0\0\0\0" + payload


def dial(port: int, symbols: int, number: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(UPGRADE)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(4096)
    assert b" 101 " in answer.partition(b"\r\n")[0], answer
    names = [f"s{(number + step) % 500:03}usdt@kline_1m" for step in range(symbols)]
    for first in range(0, symbols, BATCH):
        params = names[first : first + BATCH]
        message = {"method": "SUBSCRIBE", "params": params, "id": first}
        client.sendall(frame(json.dumps(message).encode()))
    client.setblocking(False)
    return client


def main(port: int, clients: int, symbols: int, *, deaf: bool) -> None:
    poll = select.epoll()
    sockets = {}
    for number in range(clients):
        client = dial(port, symbols, number if symbols < 500 else 0)
        sockets[client.fileno()] = client
        poll.register(client, select.EPOLLIN)
    if deaf:
        sys.stdin.read()  # until whoever started it ends it
    place = memoryview(bytearray(1 << 20))
    last: dict[int, float] = {}
    while sockets:
        events = poll.poll(QUIET_S)
        if not events and last:
            times = sorted(last.values())
            last.clear()
            report = {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}
            print(json.dumps(report | {"clients": len(times)}), flush=True)
        for descriptor, _ in events:
            if not sockets[descriptor].recv_into(place):
                poll.unregister(descriptor)
                del sockets[descriptor]
                continue
            last[descriptor] = time.monotonic()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), deaf=sys.argv[4:] == ["deaf"])
