"""Writes rows to a shared arena as fast as the core can, until it is killed: PATH CAPACITY.

A row exists in two versions, 0 and 1. Its count of trades says which, and every number follows
from that count. New rows come as version 0; then all are corrected to the other version and back,
oldest first, many times. So at any moment there is at most one place where the version changes.
"""

from __future__ import annotations

import json
import sys
import time

import klinecore as kc

MINUTE = 60_000
PASSES = 200


def body(first: int, count: int, version: int) -> bytes:
    """A REST answer of rows from number ``first`` on."""
    rows = []
    for number in range(first, first + count):
        trades = 2 * number + version
        texts = [f"{trades}.{digit}" for digit in range(8)]
        open_ms = number * MINUTE
        rows.append([open_ms, *texts[:5], open_ms + MINUTE - 1, texts[5], trades, *texts[6:], "0"])
    return json.dumps(rows).encode()


def main(path: str, capacity: int) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"], capacity, path=path)
    first = 0
    while True:
        bodies = [body(first, capacity, version) for version in (0, 1)]
        for number in range(PASSES):
            market.apply_klines(
                "BTCUSDT", "1m", bodies[number % 2], closed_before_ms=1 << 60, correct=True
            )
        market.heartbeat_ms = time.time_ns() // 1_000_000
        if first == 0:
            print("ready", flush=True)
        first += capacity


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
