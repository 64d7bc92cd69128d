"""Demo, replay and exchange: their processes, from the first to the last moment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE_S, Command, Demo, alive, fetch, free_port, until
from recordings import unpack, write_recording
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from server.cli.processes import Child

MINUTE_MS = 60_000


def test_ctrl_c_tells_clients_and_ends_every_process() -> None:
    demo = Demo()
    processes = demo.command.descendants()
    assert len(processes) == 2  # exchange and server
    with connect(f"ws://127.0.0.1:{demo.port}/ws") as client:
        client.recv(timeout=PATIENCE_S)
        demo.command._process.send_signal(signal.SIGINT)
        with contextlib.suppress(ConnectionClosed):
            while True:
                client.recv(timeout=PATIENCE_S)
        assert client.close_code == 1001
    assert demo.command.end() == 0
    until(lambda: not any(map(alive, processes)), processes)
    assert "Traceback" not in "".join(demo.command.stderr)


def test_an_exchange_that_dies_is_started_again_and_the_data_goes_on() -> None:
    demo = Demo("--speed", "40", "--capacity", "50")

    def rows() -> list[dict[str, Any]]:
        body = fetch(demo.port, "/klines/ETHUSDT/1m?limit=50")[1]
        klines: list[dict[str, Any]] = json.loads(body)["klines"]
        return klines

    try:
        exchange = next(
            pid
            for pid in demo.command.descendants()
            if b"exchange" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        before = rows()
        os.kill(exchange, signal.SIGKILL)
        # Two closes later at least one came from the exchange that was started again.
        until(lambda: rows()[-1]["t"] >= before[-1]["t"] + 2 * MINUTE_MS, rows)
        after = rows()
        gaps = [b["t"] - a["t"] for a, b in zip(after, after[1:], strict=False)]
        assert gaps == [MINUTE_MS] * 49
        known = {row["t"]: row for row in before}
        assert all(known.get(row["t"], row) == row for row in after)
        assert "starting it again" in "".join(demo.command.stderr)
    finally:
        assert demo.command.end() == 0


def test_a_folder_of_the_same_name_is_not_run_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    with Child(["--version"], os.environ) as child:
        assert child.wait(PATIENCE_S) == 0


def test_nothing_is_left_when_the_demo_is_killed() -> None:
    demo = Demo()
    processes = demo.command.descendants()
    assert demo.command.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not any(map(alive, processes)), processes)


def test_a_recording_is_served_as_it_was_written(tmp_path: Path) -> None:
    files = [write_recording(tmp_path, name) for name in ("AAAUSDT", "BBBUSDT")]
    command = Command("replay", *map(str, files), "--verify", "--port", str(free_port()))
    until(lambda: command.status is not None, lambda: command.stderr)
    status = command.end()
    text = "".join(command.stdout)
    assert status == 0, text + "".join(command.stderr)
    assert "AAAUSDT      1m       200 rows, 0 differ" in text
    assert "BBBUSDT      1h" in text
    assert "every row is equal" in text


def test_after_a_replay_the_rows_are_served_until_ctrl_c(tmp_path: Path) -> None:
    path = write_recording(tmp_path, "AAAUSDT")
    port = free_port()
    command = Command("replay", str(path), "--port", str(port), "--capacity", "20")
    until(lambda: any("served until" in line for line in command.stderr), lambda: command.stderr)
    rows = json.loads(fetch(port, "/klines/AAAUSDT/1m?limit=20")[1])["klines"]
    lines = unpack(path).split()[-20:]
    assert [row["o"] for row in rows] == [line.split(",")[1] for line in lines]
    assert command.end() == 0


@pytest.mark.parametrize(
    ("name", "content"), [("AAAUSDT-1m-2026-02.csv", "nonsense\n1,2\n"), ("x.csv", "")]
)
def test_a_file_that_is_no_recording_is_said_in_a_line(
    tmp_path: Path, name: str, content: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    command = Command("replay", str(path), "--port", str(free_port()))
    until(lambda: command.status is not None)
    assert command.end() == 2
    assert "Traceback" not in "".join(command.stderr)
    assert name in "".join(command.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replay", "--symbols", "BTCUSDT", __file__], "No such option '--symbols'"),
        (["demo", "--symbols", "top:50:USDT", "--port", "0"], "'TOP:50:USDT' is no symbol"),
    ],
)
def test_symbols_that_a_simulated_exchange_cannot_choose_are_refused(
    arguments: list[str], message: str
) -> None:
    command = Command(*arguments)
    until(lambda: command.status is not None)
    assert command.end() != 0
    assert message in "".join(command.stderr)


def test_the_exchange_says_where_it_listens_and_speaks_binance() -> None:
    command = Command("exchange", "--symbols", "BTCUSDT,LTCUSDT", "--market", "um")
    until(lambda: command.stdout, lambda: command.stderr)
    heard = json.loads(command.stdout[0])
    assert heard["symbols"] == ["BTCUSDT", "LTCUSDT"]
    status, body = fetch(heard["port"], "/fapi/v1/klines?symbol=LTCUSDT&interval=1m&limit=2")
    assert (status, len(json.loads(body))) == (200, 2)
    assert command.end() == 0
