"""kc.client with a real server that is cut off, killed and started again."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import uvloop
from commands import free_port, serve, simulated_exchange
from cutting_proxy import cutting_proxy

import klinecore as kc
from klinecore.client import Live

pytestmark = pytest.mark.slow

#: Simulated seconds a second: a minute closes every 0.6 s.
SPEED = 100
SYMBOLS = ("BTCUSDT", "ETHUSDT")
MINUTE = 60_000
PATIENCE_S = 30.0


def told_by(exchange: dict[str, Any], symbol: str, first_ms: int) -> dict[int, list[Any]]:
    """The exchange's own minutes from a time on, by open time."""
    query = f"symbol={symbol}&interval=1m&startTime={first_ms}&limit=1000"
    with urllib.request.urlopen(f"{exchange['rest']}/api/v3/klines?{query}", timeout=30) as answer:
        return {row[0]: row[:11] for row in json.load(answer)}


def test_every_minute_is_told_once_and_is_the_exchanges(tmp_path: Path) -> None:
    randomness = random.Random(8081)
    streams = free_port()
    closes: Counter[tuple[str, int]] = Counter()

    async def listen(live: Live) -> None:
        async for event in live:
            if event.kind in (kc.EventKind.CLOSED, kc.EventKind.FILLED):
                closes[event.symbol, event.open_time_ms] += 1

    async def story(exchange: dict[str, Any]) -> None:
        start = asyncio.to_thread(serve, exchange, tmp_path, "1m", KLINE_STREAM_PORT=str(streams))
        server, _ = await start
        try:
            async with (
                cutting_proxy(streams) as proxy,
                kc.client.connect(
                    f"ws://127.0.0.1:{proxy.port}", symbols=SYMBOLS, intervals=["1m"], retry_s=0.05
                ) as live,
            ):
                listener = asyncio.create_task(listen(live))
                for _ in range(12):
                    proxy.limits.append(randomness.randrange(100, 100_000))
                    await asyncio.sleep(randomness.uniform(0.0, 0.4))
                    proxy.cut()
                proxy.limits.clear()
                server.end(signal.SIGKILL)
                joined = live.connections
                server, _ = await asyncio.to_thread(
                    serve, exchange, tmp_path, "1m", KLINE_STREAM_PORT=str(streams)
                )
                async with asyncio.timeout(PATIENCE_S):
                    while live.connections == joined:
                        await asyncio.sleep(0.05)
                await asyncio.sleep(2.0)
                for symbol in SYMBOLS:
                    rows = live.market[symbol, "1m"].klines()
                    first_ms, last_ms = rows[0].open_time_ms, rows[-1].open_time_ms
                    truth = told_by(exchange, symbol, first_ms)
                    assert [row.open_time_ms for row in rows] == [
                        *range(first_ms, last_ms + 1, MINUTE)
                    ]
                    assert [list(row[:11]) for row in rows] == [truth[r.open_time_ms] for r in rows]
            await listener
        finally:
            server.end()

    with simulated_exchange(SPEED) as exchange:
        uvloop.run(story(exchange))
    assert set(closes.values()) == {1}
    for symbol in SYMBOLS:
        opens = sorted(opened for of, opened in closes if of == symbol)
        assert opens == [*range(opens[0], opens[-1] + 1, MINUTE)]
        assert len(opens) > 4
