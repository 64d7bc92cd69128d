"""What ingest and requests take while the store is up, slow, down or not there; prints JSON.

A process of its own. The four take turns, a few hundredths of a second each, so that whatever else
the machine does meets all of them alike.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
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

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
TURNS = 12  # of one condition in a round
FRAMES, REQUESTS, SIGNALS, EXECUTIONS = 1000, 10, 10, 40
IDLE_S = 0.002
COMMIT_S = 0.3  # of a slow disk
MINUTE = 60_000
TRADER = "6b0f1f7e-0000-4000-8000-000000000001"


class SlowConnection(sqlite3.Connection):
    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            time.sleep(COMMIT_S)
        return super().execute(sql, *parameters)


class FullConnection(sqlite3.Connection):
    """Takes the tables and the first look, then nothing more."""

    commits = 0

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            FullConnection.commits += 1
            if FullConnection.commits > 1:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                error.sqlite_errorname = "SQLITE_FULL"
                raise error
        return super().execute(sql, *parameters)


def open_store(folder: str, kind: type[sqlite3.Connection]) -> Store:
    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return sqlite3.connect(*arguments, factory=kind, **options)

    return Store(
        Settings(),
        directory=folder,
        disk=SystemDisk(),
        clock=SystemClock(),
        metrics=Registry(),
        connect=connect,
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


async def measure() -> dict[str, Any]:
    work = Work()
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, Store | None] = {"none": None}
        for name, kind in (
            ("up", sqlite3.Connection), ("slow", SlowConnection), ("down", FullConnection),
        ):  # fmt: skip
            stores[name] = store = open_store(f"{folder}/{name}", kind)
            await store.open()
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in stores}
        medians: dict[str, list[tuple[float, float]]] = {name: [] for name in stores}
        for number in range(ROUNDS + 2):
            for name, store in stores.items():
                turns = [await turn(work, store) for _ in range(TURNS)]
                if number >= 2:  # the first ones fill caches
                    taken[name] += turns
                    ingest, request = map(statistics.median, zip(*turns, strict=True))
                    medians[name].append((ingest, request))
        assert stores["down"] is not None
        assert stores["down"].database.fault is not None
        assert stores["slow"] is not None
        assert stores["slow"].database.waiting > 1000
        await asyncio.gather(*(store.close() for store in stores.values() if store is not None))
    result: dict[str, Any] = {}
    for place, what in enumerate(("ingest", "request")):
        for name in stores:
            times = sorted(one[place] for one in taken[name])
            result[f"{what} {name}, us"] = statistics.median(times) * 1e6
            result[f"{what} {name} p99, us"] = times[len(times) * 99 // 100] * 1e6
        for name in ("up", "slow", "down"):
            pairs = zip(medians[name], medians["none"], strict=True)
            result[f"{what}, {name} / none"] = statistics.median(
                one[place] / other[place] for one, other in pairs
            )
    return result


async def turn(work: Work, store: Store | None) -> tuple[float, float]:
    """Seconds for the frames, and for the requests."""
    work.tell(store)
    await asyncio.sleep(IDLE_S)
    start = time.perf_counter()
    work.ingest()
    ingested = time.perf_counter()
    await work.ask()
    return ingested - start, time.perf_counter() - ingested


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))
