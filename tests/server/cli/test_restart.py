"""A server that is ended, or killed, starts again with its rows and with all of its windows."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import fetch, serve, simulated_exchange, until


@pytest.fixture
def exchange() -> Iterator[dict[str, Any]]:
    """What a simulated exchange of two symbols says of itself."""
    with simulated_exchange(speed=20) as said:
        yield said


def restored(port: int) -> int:
    text = fetch(port, "/metrics")[1].decode()
    match = re.search(r'^kline_snapshot_restored_rows{market="spot"} (\d+)$', text, re.M)
    assert match is not None
    return int(match.group(1))


def check(port: int) -> None:
    """The windows are whole, whatever of them came from where."""
    for symbol in ("BTCUSDT", "ETHUSDT"):
        rows = json.loads(fetch(port, f"/klines/{symbol}/1m?limit=500")[1])["klines"]
        times = [row["t"] for row in rows]
        assert times == list(range(times[0], times[0] + 500 * 60_000, 60_000))


def written_ns(file: Path) -> int:
    """0: another is about to take its place."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def test_a_server_that_is_ended_or_killed_starts_with_its_rows(
    exchange: dict[str, Any], tmp_path: Path
) -> None:
    command, port = serve(exchange, tmp_path, "1m,1h")
    assert restored(port) == 0
    check(port)
    command.end(signal.SIGTERM)
    assert (tmp_path / "spot.snapshot").exists()

    command, port = serve(exchange, tmp_path, "1m,1h")
    assert restored(port) == 2 * 2 * 500
    check(port)
    snapshot = tmp_path / "spot.snapshot"
    newest = written_ns(snapshot)
    until(lambda: written_ns(snapshot) > newest)
    command.end(signal.SIGKILL)

    command, port = serve(exchange, tmp_path, "1m,1h")
    assert restored(port) == 2 * 2 * 500
    check(port)
    command.end()
