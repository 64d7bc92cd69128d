"""What ingest and requests take while the store is up, slow, down or not there; prints JSON.

A process of its own. The four take turns of a few milliseconds, in another order each round, so
that whatever else the machine does meets all of them alike. A store works during its own turns
only: none of the others pays for it.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from typing import Any

from _fill import kline_frame
from http_targets import api, small_market

import klinecore as kc
from server.api.types import Application, Message
from server.clock import SystemClock
from server.disk import SystemDisk
from server.metrics import Registry
from server.settings import Settings
from server.signals.model import Signal, SignalStatus
from server.store.base import Store
from server.traders.model import Execution, RunSource

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 360
WARM_ROUNDS = 25  # fill caches
FRAMES, REQUESTS, SIGNALS, EXECUTIONS = 1000, 10, 10, 40
IDLE_S = 0.002
COMMIT_S = 0.3  # of a slow disk
MINUTE = 60_000
TRADER = "6b0f1f7e-0000-4000-8000-000000000001"


class Disk:
    """Connections that do something while the turn is theirs only."""

    def __init__(self) -> None:
        self.turn = threading.Event()
        self.turn.set()

    def commit(self) -> None:
        """Before each one."""

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                disk.turn.wait()
                if sql == "COMMIT":
                    disk.commit()
                return super().execute(sql, *parameters)

        return sqlite3.connect(*arguments, factory=Connection, **options)


class SlowDisk(Disk):
    def commit(self) -> None:
        time.sleep(COMMIT_S)


class FullDisk(Disk):
    """Takes the tables, then nothing more."""

    commits = 0

    def commit(self) -> None:
        self.commits += 1
        if self.commits > 1:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            error.sqlite_errorname = "SQLITE_FULL"
            raise error


def open_store(folder: str, disk: Disk) -> Store:
    return Store(
        Settings(),
        directory=folder,
        disk=SystemDisk(),
        clock=SystemClock(),
        metrics=Registry(),
        connect=disk.connect,
        with_outbox=True,
    )


class Work:
    """A market that gets frames, an API that is asked, and something to keep."""

    def __init__(self) -> None:
        self.market: kc.Market = small_market()
        self.app: Application = api(self.market)
        open_ms = int(self.market["BTCUSDT", "1m"].open_time_ms[-1]) + MINUTE
        frame = kline_frame("BTCUSDT", "1m", open_ms)
        # Each revises the forming row.
        self.frames = [
            frame.replace(b"57444.99", b"574%02d.%02d" % divmod(number % 4400, 100))
            for number in range(FRAMES)
        ]
        self.number = 0

    def ingest(self) -> None:
        for frame in self.frames:
            self.market.apply(frame)
        self.market.drain()

    async def ask(self) -> None:
        for number in range(REQUESTS):
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/klines/BTCUSDT/1m",
                "raw_path": b"/klines/BTCUSDT/1m",
                "query_string": b"limit=%d&forming=true" % (400 + number),
                "headers": [(b"host", b"localhost")],
                "client": ("127.0.0.1", 1),
            }
            answers: list[Message] = []

            async def receive() -> Message:
                return {"type": "http.request", "body": b""}

            async def send(message: Message, answers: list[Message] = answers) -> None:
                answers.append(message)

            await self.app(scope, receive, send)
            assert answers[0]["status"] == 200, answers

    def tell(self, store: Store | None) -> None:
        self.number += 1
        signals = [
            Signal(
                id=f"{self.number}-{place}",
                trader_id=TRADER,
                filter_hash="f" * 16,
                market="spot",
                symbol=f"COIN{place}USDT",
                interval="1m",
                open_time_ms=self.number * MINUTE,
                price="57444.99",
                status=SignalStatus.FIRED,
                revision=1,
                data_revision=self.number,
                complete=True,
                values={"rsi(14)": 28.5, "close": 57444.99},
                anchors={"1m": 0},
                at_ms=int(time.time() * 1000),
            )
            for place in range(SIGNALS)
        ]
        executions = [
            Execution(
                trader_id=f"{TRADER}-{place}",
                filter_hash="f" * 16,
                interval="1m",
                open_time_ms=self.number * MINUTE,
                source=RunSource.ENGINE,
                started_ms=int(time.time() * 1000),
                duration_us=800,
                symbols_checked=500,
                symbols_matched=1,
                symbols_unknown=0,
                incomplete=False,
            )
            for place in range(EXECUTIONS)
        ]
        if store is not None:
            store.signals.put(signals)
            store.executions.put(executions)


class Condition:
    """A store, or none, and what each turn beside it took."""

    def __init__(self, store: Store | None, disk: Disk) -> None:
        self.store = store
        self.disk = disk
        self.taken: dict[str, list[float]] = {"ingest": [], "request": []}

    async def take_turn(self, work: Work) -> None:
        self.disk.turn.set()
        work.tell(self.store)
        await asyncio.sleep(IDLE_S)
        start = time.perf_counter()
        work.ingest()
        ingested = time.perf_counter()
        await work.ask()
        self.taken["request"].append(time.perf_counter() - ingested)
        self.taken["ingest"].append(ingested - start)
        self.disk.turn.clear()


async def measure() -> dict[str, float]:
    work = Work()
    conditions = {"none": Condition(None, Disk())}
    with tempfile.TemporaryDirectory() as folder:
        for name, disk in (("up", Disk()), ("slow", SlowDisk()), ("down", FullDisk())):
            store = open_store(f"{folder}/{name}", disk)
            await store.open()
            conditions[name] = Condition(store, disk)
        order, noise = list(conditions.values()), random.Random(1)
        for condition in order:
            condition.disk.turn.clear()
        for _ in range(WARM_ROUNDS + ROUNDS):
            noise.shuffle(order)
            for condition in order:
                await condition.take_turn(work)
        down, slow = conditions["down"].store, conditions["slow"].store
        assert down is not None
        assert down.database.fault is not None
        assert slow is not None
        assert slow.database.waiting > 1000
        for condition in order:
            condition.disk.turn.set()
            if condition.store is not None:
                await condition.store.close()
    result: dict[str, float] = {}
    for what in ("ingest", "request"):
        beside_none = conditions["none"].taken[what][WARM_ROUNDS:]
        for name, condition in conditions.items():
            taken = condition.taken[what][WARM_ROUNDS:]
            result[f"{what} {name}, us"] = statistics.median(taken) * 1e6
            result[f"{what} {name} p99, us"] = sorted(taken)[len(taken) * 99 // 100] * 1e6
            if name != "none":
                pairs = zip(taken, beside_none, strict=True)
                result[f"{what}, {name} / none"] = statistics.median(a / b for a, b in pairs)
    return result


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))
