"""The sync process from its parent's side: it says what it did, and ends when told or left."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from simulation.clock import SimulatedClock
from simulation.loop import run
from sync_world import MemoryOutbox, MemoryRest, trader_row

from server.errors import SettingsError
from server.store.outbox import OutboxRow
from server.sync import child
from server.sync.answers import Answer
from server.sync.child import ALIVE_S, Process, configure_logs, load
from server.sync.options import Options
from server.sync.reader import READ_EVERY_S
from server.sync.wire import (
    Acknowledged,
    Alive,
    Drain,
    FromChild,
    TradersChanged,
    decode_from_child,
    encode,
)

ID = trader_row(1)["id"]
KEY = "sb_secret_canary"


def signal_row(seq: int) -> OutboxRow:
    body = {
        "id": f"s{seq}", "trader_id": ID, "filter_hash": "h", "market": "spot", "symbol": "BTCUSDT",
        "interval": "1m", "open_time_ms": seq, "price": "1.50", "status": "fired", "revision": 1,
        "data_revision": 1, "complete": True, "values": {"close": 1.5}, "anchors": {}, "at_ms": 0,
        "historical": False,
    }  # fmt: skip
    return OutboxRow(seq, f"s{seq}", ID, 0, json.dumps(body).encode())


class Lines:
    """The process' end of the pipe to its parent."""

    def __init__(self) -> None:
        self.said: list[FromChild] = []
        self.is_read = asyncio.Event()
        self.is_read.set()

    def write(self, line: bytes) -> None:
        self.said.append(decode_from_child(line))

    async def drain(self) -> None:
        await self.is_read.wait()


class Signals:
    """An outbox that holds signals alone."""

    def __init__(self, rows: int) -> None:
        self.inner = MemoryOutbox([signal_row(n) for n in range(1, rows + 1)])

    def read(self, kind: str, after: int, limit: int) -> list[OutboxRow]:
        return self.inner.read(kind, after, limit) if kind == "signals" else []


class Bench:
    def __init__(self, rows: int = 0) -> None:
        self.rest = MemoryRest(SimulatedClock(0))
        self.rest.tables["traders"] = {ID: trader_row(1)}
        self.lines, self.read = Lines(), asyncio.StreamReader()
        process = Process(
            Signals(rows),
            self.rest,
            open_hint=None,
            clock=self.rest.clock,
            random=random.Random(0),
        )
        lines: Any = self.lines
        self.task = asyncio.ensure_future(process.run(self.read, lines))

    def tell(self, message: Drain) -> None:
        self.read.feed_data(encode(message))

    @property
    def stored(self) -> list[int]:
        said = [message for message in self.lines.said if isinstance(message, Acknowledged)]
        return [seq for message in said for seq in message.stored]

    @property
    def changes(self) -> list[TradersChanged]:
        return [message for message in self.lines.said if isinstance(message, TradersChanged)]

    @property
    def signs(self) -> list[Alive]:
        return [message for message in self.lines.said if isinstance(message, Alive)]


def test_it_reads_traders_uploads_and_says_that_it_lives() -> None:
    async def story() -> None:
        bench = Bench(rows=3)
        await asyncio.sleep(10 * ALIVE_S)
        assert [trader.id for change in bench.changes for trader in change.traders] == [ID]
        assert bench.stored == [1, 2, 3]
        row = bench.rest.tables["trader_signals"]["s1"]
        assert (row["price"], row["sub_values"]) == ("1.50", {"close": 1.5})
        assert "values" not in row
        assert 9 <= len(bench.signs) <= 11
        bench.read.feed_eof()  # its parent is gone
        async with asyncio.timeout(1):
            await bench.task

    run(story())


def test_told_to_drain_it_says_everything_it_did_and_ends() -> None:
    async def story() -> None:
        bench = Bench(rows=1700)
        await asyncio.sleep(0.05)
        bench.tell(Drain())
        async with asyncio.timeout(5):
            await bench.task
        assert bench.stored == list(range(1, 1701))

    run(story())


def test_a_parent_that_does_not_read_is_waited_for_and_nothing_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child, "_WAITING_MAX", 4)

    async def story() -> None:
        bench = Bench(rows=10_000)
        bench.lines.is_read.clear()
        await asyncio.sleep(60)
        uploads = sum(table == "trader_signals" for _, table, _ in bench.rest.requests)
        assert uploads <= 6  # what may wait to be said, and no more
        bench.lines.is_read.set()
        await asyncio.sleep(60)
        assert bench.stored == list(range(1, 10_001))
        bench.read.feed_eof()
        await bench.task

    run(story())


def test_why_nothing_moves_is_said() -> None:
    async def story() -> None:
        bench = Bench(rows=1)
        await asyncio.sleep(0.1)
        bench.rest.read_answer = Answer(status=401, code="PGRST301")
        await asyncio.sleep(2 * READ_EVERY_S)
        assert bench.signs[-1].blocked == {"traders": "PGRST301 "}
        bench.read.feed_eof()
        await bench.task

    run(story())


def test_a_part_that_fails_ends_the_process() -> None:
    async def story() -> None:
        bench = Bench(rows=1)

        async def broken(*_: object) -> Answer:
            raise RuntimeError("a fault of ours")

        bench.rest.upsert = broken  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="a fault of ours"):
            await bench.task

    run(story())


def test_it_is_started_by_the_server_alone() -> None:
    options = Options(url="http://x", outbox="/x")
    text = msgspec.json.encode(options).decode()
    assert load({"KLINESERVER_SYNC": text, "SUPABASE_SECRET_KEY": KEY}) == (options, KEY)
    for environment in ({}, {"KLINESERVER_SYNC": text}, {"KLINESERVER_SYNC": "{"}):
        with pytest.raises(SettingsError, match="started by the server"):
            load(environment)


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    kept, level = logger.handlers[:], logger.level
    others = {name: logging.getLogger(name).level for name in ("httpx", "realtime", "websockets")}
    yield logger
    logger.handlers[:] = kept
    logger.setLevel(level)
    for name, value in others.items():
        logging.getLogger(name).setLevel(value)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_whoever_logs_the_key_it_is_masked(
    root_logger: logging.Logger, capfd: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure_logs(Options(url="http://x", outbox="/x", log_format=log_format), KEY)
    try:
        raise ValueError(f"wss://x/websocket?apikey={KEY}")
    except ValueError:
        root_logger.exception("failed with %s", KEY)
    err = capfd.readouterr().err
    assert "***" in err
    assert KEY not in err
