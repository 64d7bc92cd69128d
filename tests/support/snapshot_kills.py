"""Forks servers' writers, kills each at a random moment, and has the next one look: FOLDER KILLS.

A process of its own, with the modules loaded once. Prints one line of JSON: how many were killed at
what, and what was wrong, if anything.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from functools import partial
from typing import Any

from lives import WRONG, Life, Tell, first_round_s, tell_wrong
from reference.strategies import plain_kline

import klinecore as kc
from server.clock import SystemClock
from server.disk import SystemDisk
from server.metrics import Registry
from server.snapshots import SnapshotStore

MINUTE = 60_000
START_MS = 1_769_904_000_000
SYMBOLS = tuple(f"COIN{number}USDT" for number in range(12))
CAPACITY = 400
#: A writer lives at most so many times as long as the first needed to save once.
LIVES = 4.0


def body(first: int, count: int) -> bytes:
    rows = []
    for number in range(first, first + count):
        row = plain_kline(START_MS + number * MINUTE)
        rows.append([*row[:11], "0"])
    return json.dumps(rows).encode()


def open_market(folder: str) -> tuple[kc.Market, SnapshotStore]:
    market = kc.Market(SYMBOLS, ["1m"], CAPACITY)
    store = SnapshotStore(
        "spot", market, directory=folder, source="kills", interval_s=60.0, disk=SystemDisk(),
        clock=SystemClock(), metrics=Registry(),
    )  # fmt: skip
    return market, store


def newest(series: kc.Series) -> int:
    return (int(series.open_time_ms[-1]) - START_MS) // MINUTE if len(series) else -1


def faults(market: kc.Market, at_least: int) -> list[str]:
    """What is wrong with rows taken from a snapshot."""
    found = []
    for series in market:
        times = series.open_time_ms.tolist()
        if times and times != list(range(times[0], times[-1] + 1, MINUTE)):
            found.append(f"{series.symbol} has holes")
        if series.klines() != [plain_kline(open_ms) for open_ms in times]:
            found.append(f"{series.symbol} holds a wrong row")
        if newest(series) < at_least:
            found.append(f"{series.symbol} ends at {newest(series)}, {at_least} was saved")
    return found


async def write(tell: Tell, folder: str, at_least: int) -> None:
    """Start as a server does, look at what is there, then apply and save until the end.

    It tells of each step before it is taken: Load, Apply, Save; and of what is Done.
    """
    market, store = open_market(folder)
    tell("L", 0)
    await store.load()
    if wrong := faults(market, at_least):
        tell_wrong(tell, wrong)
        return
    while True:
        tell("A", 0)
        for _ in range(10):
            for symbol in SYMBOLS:
                first = newest(market[symbol, "1m"]) + 1
                market.apply_klines(symbol, "1m", body(first, 5), closed_before_ms=1 << 60)
        saved = min(newest(series) for series in market)
        tell("S", 0)
        await store.save()
        tell("D", saved)


def main(folder: str, kills: int) -> dict[str, Any]:
    noise = random.Random(4)
    at_least = -1
    killed_at: dict[str, int] = {}
    life_s = LIVES * first_round_s(partial(write, folder=folder, at_least=-1), "D")[0]
    for _ in range(kills):
        life = Life(partial(write, folder=folder, at_least=at_least))
        time.sleep(noise.uniform(0.0, life_s))
        told = life.kill()
        letters = [letter for letter, _ in told]
        if WRONG in letters:
            return {"wrong": True}
        at_least = max([at_least, *(number for letter, number in told if letter == "D")])
        last = letters[-1] if letters else "start"
        killed_at[last] = killed_at.get(last, 0) + 1
    market, store = open_market(folder)
    asyncio.run(store.load())
    return {"wrong": faults(market, at_least), "killed_at": killed_at, "minutes": at_least + 1}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
