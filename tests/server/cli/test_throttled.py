"""A real server that gets one sixteenth of a processor: closes come late, and none is shed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from commands import Command, environment, fetch, free_port, until

INTERVALS = ("1m", "5m", "15m", "1h")
SYMBOLS = ",".join(f"SIM{index:03d}USDT" for index in range(50))
MINUTE_MS = 60_000


@contextmanager
def throttled(pids: list[int], run_s: float = 0.005, stop_s: float = 0.075) -> Iterator[None]:
    """Let processes run for 5 ms of every 80, as the smallest machines do."""
    ended = threading.Event()

    def cycle() -> None:
        while not ended.is_set():
            for number, seconds in ((signal.SIGSTOP, stop_s), (signal.SIGCONT, run_s)):
                for pid in pids:
                    os.kill(pid, number)
                time.sleep(seconds)

    thread = threading.Thread(target=cycle)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_fault_17_a_server_with_a_sixteenth_of_a_processor_sheds_no_close() -> None:
    """Fault 17: 50 symbols in 4 intervals with 5 ms of every 80 for 65 s: every close of the
    minutes meanwhile is held and told of by its barrier, nothing is counted lost, and 5 s after
    the last boundary no series is late."""
    exchange = Command("exchange", "--symbols", SYMBOLS)
    server = None
    try:
        until(lambda: exchange.stdout, lambda: exchange.stderr)
        announced = json.loads(exchange.stdout[0])
        port = free_port()
        extra = environment(**announced["environment"]) | {
            "KLINE_SPOT_REST": announced["rest"],
            "KLINE_SPOT_WS": announced["ws"],
            "KLINE_SNAPSHOT_INTERVAL_S": "0",
        }
        server = Command(
            "serve", "--port", str(port), "--symbols", SYMBOLS, "--capacity", "60", **extra
        )
        until(lambda: fetch(port, "/ready")[0] == 200, server.stderr)
        began_ms = time.time() * 1000
        with throttled([server.pid, *server.descendants()]):
            time.sleep(65.0)
            # Not just after a boundary.
            into_s = time.time() % 60
            time.sleep(max(0.0, 15.0 - into_s))
            status = json.loads(fetch(port, "/v1/status")[1])
        spot = status["markets"]["spot"]
        due_ms = (time.time() * 1000 - 10_000) // MINUTE_MS * MINUTE_MS
        assert due_ms > began_ms
        assert spot["counters"]["events_lost"] == spot["closes_lost"] == 0
        assert spot["feed"]["closes_late"] == 0
        minutes = [one for one in spot["series"] if one["interval"] == "1m"]
        assert len(minutes) == 50
        for one in minutes:
            assert one["last_close_ms"] >= due_ms - 1, one
            assert one["holes"] == []
    finally:
        if server is not None:
            server.end()
        exchange.end()
