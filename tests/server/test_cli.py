"""The command line as its users run it: processes, exit statuses, and what is printed."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from server.cli import main
from server.cli.client import ServerClient
from server.cli.doctor import _judge_offset, _memory_estimate
from server.cli.verify import verify
from server.errors import ServerError
from server.settings import Settings

PATIENCE_S = 30.0
MINUTE_MS = 60_000


def environment(**extra: str) -> dict[str, str]:
    """This process's, without settings of whoever runs the tests."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("KLINE") and name not in ("API_KEY", "SYMBOLS", "PORT")
    }
    return clean | extra


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)


class Command:
    """``klineserver ...`` in a process of its own."""

    def __init__(self, *arguments: str, **extra: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "server", *arguments],
            env=environment(**extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._threads = [
            threading.Thread(target=self._collect, args=pipe, daemon=True)
            for pipe in (
                (self._process.stdout, self.stdout),
                (self._process.stderr, self.stderr),
            )
        ]
        for thread in self._threads:
            thread.start()

    def _collect(self, pipe: Any, lines: list[str]) -> None:
        lines.extend(iter(pipe.readline, ""))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def descendants(self) -> list[int]:
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                children = [int(child) for child in text.split()]
                found += children
                waiting += children
        return found

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal; the exit status."""
        if self.status is None:
            self._process.send_signal(number)
        status = self._process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return status


def until(condition: Callable[[], Any], what: object = "") -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.05)
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fetch(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


class Demo:
    """A running demo of two symbols, ready to be asked."""

    def __init__(self, *arguments: str, **extra: str) -> None:
        self.port = free_port()
        self.command = Command(
            "demo", "--port", str(self.port), "--symbols", "BTCUSDT,ETHUSDT", *arguments, **extra
        )
        self.url = f"http://127.0.0.1:{self.port}"
        until(
            lambda: fetch(self.port, "/ready")[0] == 200 or self.command.status is not None,
            lambda: self.command.stderr,
        )
        assert self.command.status is None, self.command.stderr


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """At forty times real time, with a key."""
    running = Demo("--speed", "40", "--capacity", "50", API_KEY="a-key-of-the-tests")
    yield running
    running.command.end()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command in this process; ``run("query", ..., API_KEY=...)``."""

    def invoke(*arguments: str, **extra: str) -> Any:
        for name, value in extra.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(main, list(arguments))

    return invoke


# --- what starts and what does not ---------------------------------------------------------------


def test_help_names_every_command(run: Callable[..., Any]) -> None:
    text = run("--help").output
    for name in ("serve", "demo", "replay", "exchange", "query", "watch", "doctor", "openapi"):
        assert f"  {name} " in text
        assert run(name, "--help").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "extra", "part"),
    [
        (["serve", "--host", "0.0.0.0"], {}, "set API_KEY"),
        (["serve"], {"KLINE_HOST": "192.168.1.1"}, "set API_KEY"),
        (["serve", "--host", "0.0.0.0"], {"API_KEY": ""}, "set API_KEY"),
        (["serve"], {"KLINE_CAPACTIY": "5"}, "KLINE_CAPACITY"),
        (["serve", "--capacity", "0"], {}, "capacity must be 1..100000"),
        (["serve", "--intervals", "2m"], {}, "intervals must be one of 1s, 1m"),
        (["serve", "--config", "/nowhere.toml"], {}, "/nowhere.toml"),
        (["demo"], {"KLINE_HOST": "0.0.0.0"}, "set API_KEY"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_starts(
    arguments: list[str], extra: dict[str, str], part: str
) -> None:
    """K14: no start off loopback without a key."""
    command = Command(*arguments, **extra)
    assert until(lambda: command.status is not None)
    assert command.end() == 2
    text = "".join(command.stderr)
    assert part in text
    assert "Traceback" not in text


def test_a_port_in_use_is_said_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = Command("serve", "--port", str(port))
        assert until(lambda: command.status is not None)
        assert command.end() == 2
        assert f"cannot listen on 127.0.0.1:{port}" in "".join(command.stderr)


def test_the_package_can_be_run_by_name() -> None:
    command = Command("--version")
    assert until(lambda: command.status is not None)
    assert command.end() == 0
    assert command.stdout[0].startswith("klineserver, version ")


# --- demo ----------------------------------------------------------------------------------------


def test_the_demo_prints_its_addresses_and_serves_them(demo: Demo) -> None:
    text = "".join(demo.command.stderr)
    assert f"{demo.url}/" in text
    assert f"ws://127.0.0.1:{demo.port}/ws" in text
    key = {"X-API-Key": "a-key-of-the-tests"}
    status, body = fetch(demo.port, "/klines/BTCUSDT/1m?limit=50", **key)
    assert (status, json.loads(body)["count"]) == (200, 50)
    assert fetch(demo.port, "/klines/BTCUSDT/1m")[0] == 401
    assert fetch(demo.port, "/")[0] == 200
    assert "a-key-of-the-tests" not in text


def test_time_runs_as_fast_as_the_demo_was_told(demo: Demo) -> None:
    key = {"X-API-Key": "a-key-of-the-tests"}

    def newest() -> int:
        row = json.loads(fetch(demo.port, "/klines/BTCUSDT/1m?limit=1", **key)[1])["klines"][0]
        assert row["x"] is True
        return int(row["t"])

    first = newest()
    started = time.monotonic()
    until(lambda: newest() >= first + 2 * MINUTE_MS)
    assert 1.0 < time.monotonic() - started < 9.0  # two minutes last three seconds


def test_ctrl_c_tells_clients_and_ends_every_process() -> None:
    demo = Demo()
    processes = demo.command.descendants()
    assert len(processes) == 3  # exchange, granian, its worker
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


def test_nothing_is_left_when_the_demo_is_killed() -> None:
    demo = Demo()
    processes = demo.command.descendants()
    assert demo.command.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not any(map(alive, processes)), processes)


# --- exchange and replay -------------------------------------------------------------------------


def write_recording(directory: Path, symbol: str, minutes: int = 200) -> Path:
    """A file as the exchange publishes it, with the odd zero that USD-M prints as ``0``."""
    draw = random.Random(symbol)
    start = 1_769_904_000_000
    price = 100_000
    path = directory / f"{symbol}-1m-2026-02.csv.gz"
    with gzip.open(path, "wt") as file:
        writer = csv.writer(file, lineterminator="\n")
        file.write(
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
            "taker_buy_volume,taker_buy_quote_volume,ignore\n"
        )
        for i in range(minutes):
            opened = price
            price += draw.randint(-50, 50)
            high = max(opened, price) + draw.randint(0, 9)
            low = min(opened, price) - draw.randint(0, 9)
            trades = draw.choice([0, 7, 130])
            volume = draw.randint(1, 10**6) if trades else 0
            buys = draw.randint(0, volume)
            if not trades:
                price, high, low = opened, opened, opened
            writer.writerow([
                start + i * MINUTE_MS, *(f"{x / 10_000:.4f}" for x in (opened, high, low, price)),
                f"{volume / 10:.1f}" if volume else "0", start + i * MINUTE_MS + MINUTE_MS - 1,
                f"{volume * opened / 100_000:.5f}" if volume else "0", trades,
                f"{buys / 10:.1f}" if buys else "0",
                f"{buys * opened / 100_000:.5f}" if buys else "0", "0",
            ])  # fmt: skip
    return path


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


def unpack(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


class Tampered:
    """Answers with the file's rows, one of them changed."""

    def __init__(self, path: Path, change: dict[str, Any] | None) -> None:
        letters = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")
        self.rows: list[dict[str, Any]] = []
        for fields in csv.reader(unpack(path).splitlines()):
            if fields[0].isdigit():
                row: dict[str, Any] = dict(zip(letters, fields, strict=False)) | {"x": True}
                self.rows.append(row | {letter: int(row[letter]) for letter in "tTn"})
        if change is None:
            del self.rows[5]
        else:
            self.rows[5] |= change

    def json(self, path: str) -> Any:
        return {"klines": self.rows}


@pytest.mark.parametrize(
    "change",
    [{"o": "1.00000"}, {"q": "0.0"}, {"n": -1}, {"x": False}, {"T": 5}, {"t": 1}, None],
)
def test_verification_finds_a_single_field_that_differs(
    tmp_path: Path, change: dict[str, Any] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recording(tmp_path, "AAAUSDT")
    settings = Settings.load({}, overrides={"intervals": ["1m"], "capacity": 200})
    assert verify(Tampered(path, {}), [path], settings)  # type: ignore[arg-type]
    assert not verify(Tampered(path, change), [path], settings)  # type: ignore[arg-type]
    assert "the rows DIFFER" in capsys.readouterr().out


def test_verification_sums_longer_intervals_exactly(tmp_path: Path) -> None:
    path = write_recording(tmp_path, "AAAUSDT")
    settings = Settings.load({}, overrides={"intervals": ["1h"], "capacity": 200})
    minutes = Tampered(path, {}).rows
    hours = []
    for start in range(0, 180, 60):
        part = minutes[start : start + 60]
        hours.append(
            {"t": part[0]["t"], "o": part[0]["o"], "c": part[-1]["c"]}
            | {"h": str(max(Decimal(row["h"]) for row in part))}
            | {"l": str(min(Decimal(row["l"]) for row in part))}
            | {"n": sum(row["n"] for row in part)}
            | {x: str(sum(Decimal(row[x]) for row in part)) for x in "vqVQ"}
        )

    class Answers:
        def json(self, path: str) -> Any:
            return {"klines": hours}

    assert verify(Answers(), [path], settings)  # type: ignore[arg-type]
    hours[1]["v"] = str(Decimal(str(hours[1]["v"])) + Decimal("0.1"))
    assert not verify(Answers(), [path], settings)  # type: ignore[arg-type]


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


def test_the_exchange_says_where_it_listens_and_speaks_binance() -> None:
    command = Command("exchange", "--symbols", "BTCUSDT,LTCUSDT", "--market", "um")
    until(lambda: command.stdout, lambda: command.stderr)
    heard = json.loads(command.stdout[0])
    assert heard["symbols"] == ["BTCUSDT", "LTCUSDT"]
    status, body = fetch(heard["port"], "/fapi/v1/klines?symbol=LTCUSDT&interval=1m&limit=2")
    assert (status, len(json.loads(body))) == (200, 2)
    assert command.end() == 0


# --- query and watch -----------------------------------------------------------------------------


def ask(run: Callable[..., Any], demo: Demo, *arguments: str) -> Any:
    return run(*arguments, "--url", demo.url, API_KEY="a-key-of-the-tests")


def test_query_prints_rows_in_every_format(run: Callable[..., Any], demo: Demo) -> None:
    parsed = json.loads(
        ask(run, demo, "query", "btcusdt", "1h", "--limit", "3", "--format", "json").output
    )
    assert (parsed["symbol"], parsed["count"]) == ("BTCUSDT", 3)
    text = ask(run, demo, "query", "BTCUSDT", "1h", "--limit", "3", "--format", "csv").output
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["close"] for row in rows] == [row["c"] for row in parsed["klines"]]
    assert rows[0]["open_time"] == str(parsed["klines"][0]["t"])
    table = ask(run, demo, "query", "BTCUSDT", "1h", "--limit", "3").output.splitlines()
    assert table[0] == "BTCUSDT 1h, 3 klines, UTC"
    assert len(table) == 5
    assert parsed["klines"][2]["c"] in table[4]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["DOGEUSDT", "1h"], "404 unknown_symbol"),
        (["BTCUSDT", "1x"], "400 invalid_interval"),
        (["BTCUSDT", "1h", "--limit", "51"], "a whole number from 1 to 50"),
    ],
)
def test_query_says_what_the_server_said(
    run: Callable[..., Any], demo: Demo, arguments: list[str], part: str
) -> None:
    result = ask(run, demo, "query", *arguments)
    assert result.exit_code == 2
    assert part in result.output


def test_query_without_the_key_says_so(run: Callable[..., Any], demo: Demo) -> None:
    result = run("query", "BTCUSDT", "1h", "--url", demo.url)
    assert result.exit_code == 2
    assert "401 unauthorized" in result.output


def test_query_says_when_nobody_answers(run: Callable[..., Any]) -> None:
    result = run("query", "BTCUSDT", "1h", "--url", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 2
    assert "no answer from" in result.output


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(ServerError, match="must begin with http"):
        ServerClient("file:///etc/passwd", None)


def test_watch_prints_tickers_and_klines(run: Callable[..., Any], demo: Demo) -> None:
    result = ask(run, demo, "watch", "ETHUSDT", "--once")
    assert result.exit_code == 0, result.output
    assert "ETHUSDT" in result.output
    assert "volume" in result.output
    result = ask(run, demo, "watch", "BTCUSDT", "--interval", "1m", "--once")
    assert "BTCUSDT      1m" in result.output


@pytest.mark.parametrize(
    ("symbol", "key", "part"),
    [
        ("DOGEUSDT", "a-key-of-the-tests", "unknown stream"),
        ("BTCUSDT", "wrong", "is API_KEY set"),
    ],
)
def test_watch_says_why_it_cannot(
    run: Callable[..., Any], demo: Demo, symbol: str, key: str, part: str
) -> None:
    result = run("watch", symbol, "--once", "--url", demo.url, API_KEY=key)
    assert result.exit_code == 2
    assert part in result.output


def test_openapi_is_what_the_server_serves(run: Callable[..., Any], demo: Demo) -> None:
    assert json.loads(run("openapi").output) == json.loads(fetch(demo.port, "/openapi.json")[1])


# --- doctor --------------------------------------------------------------------------------------


def findings(result: Any) -> dict[str, tuple[str, str, str]]:
    return {
        finding["check"]: (finding["state"], finding["detail"], finding["cure"])
        for finding in json.loads(result.output)
    }


def test_doctor_finds_nothing_wrong_where_nothing_is(run: Callable[..., Any]) -> None:
    exchange = Command("exchange", "--symbols", "BTCUSDT")
    until(lambda: exchange.stdout, lambda: exchange.stderr)
    heard = json.loads(exchange.stdout[0])
    result = run(
        "doctor", "--json", "--port", str(free_port()), "--symbols", "BTCUSDT",
        KLINE_SPOT_REST=heard["rest"], KLINE_SPOT_WS=heard["ws"],
    )  # fmt: skip
    exchange.end()
    found = findings(result)
    assert {state for state, _, _ in found.values()} == {"ok"}, found
    assert {"spot REST", "spot clock", "spot stream", "memory", "port", "build"} <= found.keys()
    assert result.exit_code == 0


def test_doctor_names_the_cure_of_what_is_wrong(run: Callable[..., Any]) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run(
            "doctor", "--json", "--port", str(taken.getsockname()[1]), "--symbols", "top:5000:USDT",
            "--capacity", "100000", API_KEY="short", KLINE_SPOT_REST=f"http://{nowhere}",
            KLINE_SPOT_WS=f"ws://{nowhere}", KLINE_ARENA="/nowhere/arena",
        )  # fmt: skip
    found = findings(result)
    assert result.exit_code == 2
    for check in ("port", "memory", "arena", "spot REST", "spot stream"):
        assert found[check][0] == "failure", check
        assert found[check][2], f"{check} names no cure"
    assert found["key"][0] == "warning"
    assert "token_urlsafe" in found["key"][2]


def test_doctor_ends_with_1_when_something_is_only_odd(run: Callable[..., Any]) -> None:
    result = run("doctor", "--offline", "--port", str(free_port()), API_KEY="short")
    assert result.exit_code == 1
    assert "odd  key" in result.output
    assert "->" in result.output


def test_doctor_says_which_setting_is_wrong(run: Callable[..., Any]) -> None:
    result = run("doctor", "--offline", KLINE_CAPACITY="0")
    assert result.exit_code == 2
    assert "BAD  settings" in result.output
    assert "capacity must be" in result.output


@pytest.mark.parametrize(
    ("offset_ms", "state"), [(0, "ok"), (-999, "ok"), (1000, "warning"), (-30_000, "failure")]
)
def test_a_clock_that_is_off_is_judged_by_how_far(offset_ms: int, state: str) -> None:
    finding = _judge_offset("spot", offset_ms)
    assert finding.state == state
    assert bool(finding.cure) == (state != "ok")


def test_the_memory_estimate_counts_every_row() -> None:
    small = Settings.load({}, overrides={"symbols": "top:100:USDT"})
    large = Settings.load({}, overrides={"symbols": "top:100:USDT", "market": "both"})
    rows = 100 * 4 * 500
    assert 90 * rows < _memory_estimate(large) - _memory_estimate(small) < 110 * rows
