"""The exchange as a whole: its life, back-pressure, and as a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from server.clock import ScaledClock, SystemClock
from server.exchange.app import Exchange, serve_forever
from server.exchange.generated import GeneratedMarket

MINUTE_MS = 60_000


def test_one_port_serves_rest_and_streams_and_is_free_after_stop(
    stepping: Any, monday_ms: int
) -> None:
    async def run() -> None:
        async with stepping() as talk, talk.socket("/ws") as client:
            port = talk.exchange.port
            assert talk.exchange.rest_url == f"http://127.0.0.1:{port}"
            assert talk.exchange.ws_url == f"ws://127.0.0.1:{port}"
            assert (await talk.get("/api/v3/time"))[2] == b'{"serverTime":%d}' % monday_ms
            await talk.step(2)
            assert talk.exchange.now_ms == monday_ms + 2 * MINUTE_MS
            await talk.exchange.stop()
            await asyncio.wait_for(client.wait_closed(), 30)
            again = Exchange(GeneratedMarket(1, ("BTCUSDT",)), SystemClock(), stepping=True)
            await again.start(port=port)
            assert again.port == port
            with pytest.raises(OSError, match="in use"):
                await Exchange(again.source, SystemClock(), stepping=True).start(port=port)
            await again.stop()

    asyncio.run(run())


def test_stepping_waits_for_a_slow_reader_and_loses_nothing(
    stepping: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.exchange.app._STEP_BUFFER_MAX", 20_000)

    async def run() -> None:
        names = "/".join(f"btcusdt@kline_{iv}" for iv in ("1m", "3m", "5m"))
        async with stepping() as talk, talk.socket(f"/ws/{names}", max_queue=4) as client:
            stepped = asyncio.create_task(talk.step(20_000, tickers_every_ms=0))
            heard = [await asyncio.wait_for(client.recv(), 30)]
            while len(heard) < 20_000 + 20_000 // 3 + 20_000 // 5:
                heard.append(await asyncio.wait_for(client.recv(), 30))
            await stepped
            assert len(set(heard)) == len(heard)
            assert talk.exchange.counters["slow_cut"] == 0

    asyncio.run(run())


def test_stepping_cuts_a_reader_that_stopped(
    stepping: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.exchange.app._STEP_BUFFER_MAX", 20_000)
    monkeypatch.setattr("server.exchange.app._STEP_STALL_S", 0.1)

    async def run() -> None:
        async with stepping() as talk, talk.raw("/ws/btcusdt@kline_1m") as client:
            client.writer.transport.pause_reading()
            await until(lambda: len(talk.exchange.streams.connections) == 1)
            while not talk.exchange.counters["slow_cut"]:
                talk.exchange.streams.send_to_all(b"x" * 60_000)
                await talk.step(1, tickers_every_ms=0)
            await until(lambda: not talk.exchange.streams.connections)

    asyncio.run(run())


def test_time_of_a_recording_ends_with_it(monday_ms: int) -> None:
    source = GeneratedMarket(1, ("BTCUSDT",))
    source.end_ms = monday_ms
    exchange = Exchange(source, ScaledClock(monday_ms - 5, 1e6))
    while exchange.clock.time_ms() < monday_ms:
        pass
    assert exchange.now_ms == monday_ms


def test_serving_ends_when_the_parent_is_gone() -> None:
    async def run() -> None:
        exchange = Exchange(GeneratedMarket(1, ("BTCUSDT",)), SystemClock())
        started: list[int] = []
        await asyncio.wait_for(
            serve_forever(
                exchange,
                "127.0.0.1",
                0,
                parent_pid=os.getppid() + 1,  # not our parent: as if it had died
                on_start=lambda it: started.append(it.port),
            ),
            5,
        )
        assert started[0] > 0

    asyncio.run(run())


PROGRAM = """
import asyncio, os
from server.clock import SystemClock
from server.exchange.app import Exchange, serve_forever
from server.exchange.generated import GeneratedMarket
exchange = Exchange(GeneratedMarket(1, ("BTCUSDT",)), SystemClock())
asyncio.run(serve_forever(exchange, "127.0.0.1", 0, parent_pid=os.getppid(),
                          on_start=lambda it: print(it.rest_url, flush=True)))
"""


def test_as_a_process_it_tells_its_address(root: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environ
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with urlopen(f"{url}/api/v3/ping", timeout=30) as answer:
                assert answer.read() == b"{}"
        finally:
            process.terminate()
