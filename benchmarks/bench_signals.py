"""How long a close takes to a signal: exchange, server and subscriber each in its own process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import picows

from benchmarks.processes import ask, free_port, process
from server.clock import SystemClock
from server.disk import SystemDisk
from server.identity import OPERATOR
from server.metrics import Registry
from server.settings import Settings
from server.store.base import Store
from server.traders.model import Trader

HERE = Path(__file__).parent
SYMBOLS = 500
TRADERS = 1000
RATE = 10.0  # minutes last six seconds; streams speak as often as in real time
BOUNDARIES = 8
PATIENCE_S = 240.0

#: 300 predicates; each trader joins two of them, so that few fire at each close.
LEVELS = range(60)
PREDICATES = [
    *(f"rsi(14) > {66 + level * 0.3:.1f}" for level in LEVELS),
    *(f"close > {1.002 + level * 0.0001:.4f} * ema(50)" for level in LEVELS),
    *(f"volume > {2.0 + level * 0.05:.2f} * sma(volume, 20)" for level in LEVELS),
    *(f"bb(20, 2).width > {0.010 + level * 0.0005:.4f}" for level in LEVELS),
    *(f"change(10) > {0.5 + level * 0.02:.2f}" for level in LEVELS),
]


class Told(NamedTuple):
    """Where and when a signal was seen; ns of the machine's monotonic clock."""

    symbol: str
    open_time_ms: int
    at_ns: int


def filter_of(number: int) -> str:
    return f"{PREDICATES[number % 300]} and {PREDICATES[(7 * number + 61) % 300]}"


def wait_ready(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if ask(port, "GET", "/ready")[0] == 200:
                return
        time.sleep(0.5)
    raise AssertionError("the server is not ready")


class Hearing(picows.WSListener):
    """Notes every frame with the time at which it came."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        request = {"method": "SUBSCRIBE", "params": ["signals"], "id": 1}
        transport.send(picows.WSMsgType.TEXT, json.dumps(request).encode())

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        now_ns = time.monotonic_ns()
        if frame.msg_type == picows.WSMsgType.TEXT:
            self.frames.append((now_ns, frame.get_payload_as_bytes()))
        elif frame.msg_type == picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())


async def listen(port: int, path: Path, seconds: float) -> tuple[list[Told], list[Told]]:
    """Signals as a subscriber hears them, and as rows that another process can read."""
    transport, hearing = await picows.ws_connect(Hearing, f"ws://127.0.0.1:{port}/ws")
    rows: list[Told] = []
    store = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    (seq,) = store.execute("SELECT coalesce(max(seq), 0) FROM signals").fetchone()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(0.004)
        found = store.execute(
            "SELECT seq, symbol, open_time_ms FROM signals WHERE seq > ? ORDER BY seq", (seq,)
        ).fetchall()
        now_ns = time.monotonic_ns()
        rows += [Told(symbol, open_time_ms, now_ns) for _, symbol, open_time_ms in found]
        seq = found[-1][0] if found else seq
    store.close()
    transport.disconnect()
    await asyncio.sleep(0.1)
    assert isinstance(hearing, Hearing)
    heard = []
    for at_ns, payload in hearing.frames:
        message = json.loads(payload)
        if message.get("type") == "signal" and message["data"]["interval"] == "1m":
            heard.append(Told(message["data"]["symbol"], message["data"]["open_time_ms"], at_ns))
    return heard, rows


async def keep_traders(folder: Path) -> None:
    """Let the server find its traders when it starts."""
    disk = SystemDisk()
    store = Store(
        Settings(), directory=str(folder), disk=disk, clock=SystemClock(), metrics=Registry()
    )
    await store.open()
    traders = [
        Trader(
            id=str(uuid5(UUID(int=1), str(number))),
            owner=OPERATOR,
            name=f"t{number}",
            filter=filter_of(number),
            interval="1m",
            created_ms=0,
            updated_ms=0,
        )
        for number in range(TRADERS)
    ]
    await asyncio.gather(*(store.traders.insert(trader, None) for trader in traders))
    await store.close()
    disk.close()


def measure(folder: Path) -> tuple[list[Told], list[Told], dict[tuple[str, int], int]]:
    """What was told in some minutes, and when the closing frame of each kline was sent."""
    notes, port, streams = folder / "sent", free_port(), free_port()
    notes.touch()
    with process(str(HERE / "_exchange.py"), str(SYMBOLS), str(RATE), str(notes)) as exchange:
        assert exchange.stdout is not None
        rest, ws, variable, pace = json.loads(exchange.stdout.readline())
        settings = {
            "PORT": str(port),
            "KLINE_STREAM_PORT": str(streams),
            "KLINE_SPOT_REST": rest,
            "KLINE_SPOT_WS": ws,
            "KLINE_DATA_DIR": str(folder / "data"),
            "SYMBOLS": "all:USDT",
            "KLINE_INTERVALS": "1m,5m",
            "KLINE_CAPACITY": "120",
            "KLINE_KLINE_UPDATE_S": str(2 * RATE),
            "KLINE_TICKER_UPDATE_S": str(RATE),
            "KLINE_STALE_AFTER_S": str(30 * RATE),
            "KLINE_CONNECT_INTERVAL_S": "0.1",
            "KLINE_BUILTIN_TRADERS": "false",
            variable: pace,
        }
        asyncio.run(keep_traders(folder / "data"))
        with process("-m", "server", "serve", **settings):
            wait_ready(port)
            seconds = (BOUNDARIES + 1) * 60 / RATE + 1
            store = folder / "data" / "klinecore.sqlite"
            heard, rows = asyncio.run(listen(streams, store, seconds))
    sent = {}
    for line in notes.read_text().splitlines():
        symbol, open_time_ms, at_ns = json.loads(line)
        sent[symbol, open_time_ms] = at_ns
    return heard, rows, sent


def latencies_ms(told: list[Told], sent: dict[tuple[str, int], int]) -> dict[int, list[float]]:
    """By boundary, ascending."""
    found: dict[int, list[float]] = {}
    for one in told:
        at_ns = sent.get((one.symbol, one.open_time_ms))
        if at_ns is not None:
            found.setdefault(one.open_time_ms, []).append((one.at_ns - at_ns) / 1e6)
    return {open_ms: sorted(values) for open_ms, values in sorted(found.items())[1:]}


def quantiles(by_boundary: dict[int, list[float]], share: float) -> list[float]:
    """Of each boundary, ascending."""
    return sorted(
        values[min(int(share * len(values)), len(values) - 1)] for values in by_boundary.values()
    )


def bench_close_to_signal(bench: Any, tmp_path: Path) -> None:
    """From the closing frame's send to the signal on a socket, and to a row others can read.

    All symbols close at once. On two cores three processes share them: what the exchange needs to
    write the other frames of the boundary counts too.
    """
    heard, rows, sent = bench.once(measure, tmp_path)
    socket_ms, row_ms = latencies_ms(heard, sent), latencies_ms(rows, sent)
    assert len(socket_ms) >= BOUNDARIES - 2
    assert sum(map(len, row_ms.values())) >= sum(map(len, socket_ms.values()))
    bench.quantity("signals a boundary", statistics.median(map(len, socket_ms.values())))
    # The quietest boundary is gated, as fastest rounds are elsewhere: whatever else two cores do
    # at one is in the others.
    for name, by_boundary in (("socket", socket_ms), ("row", row_ms)):
        for quantile, share in (("p50", 0.5), ("p99", 0.99)):
            found = quantiles(by_boundary, share)
            bench.quantity(f"to the {name}, {quantile} ms", found[0])
            bench.quantity(f"to the {name}, {quantile} ms, median boundary", found[len(found) // 2])
