"""``doctor``: what it finds, what it says, how it ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Command, free_port, until

from server.cli.doctor import _judge_offset, _memory_estimate
from server.clock import SystemClock
from server.feeds.waits import _encode, _Wait
from server.settings import Settings


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


def test_doctor_finds_a_host_odd_where_the_next_one_works(run: Callable[..., Any]) -> None:
    exchange = Command("exchange", "--symbols", "BTCUSDT")
    until(lambda: exchange.stdout, lambda: exchange.stderr)
    heard = json.loads(exchange.stdout[0])
    nowhere = f"127.0.0.1:{free_port()}"
    result = run(
        "doctor", "--json", "--port", str(free_port()), "--symbols", "BTCUSDT",
        KLINE_SPOT_REST=f"http://{nowhere},{heard['rest']}",
        KLINE_SPOT_WS=f"ws://{nowhere},{heard['ws']}",
    )  # fmt: skip
    exchange.end()
    assert result.exit_code == 1
    for check in ("spot REST", "spot stream"):
        states = [one["state"] for one in json.loads(result.output) if one["check"] == check]
        assert states == ["warning", "ok"]
    assert findings(result)["spot clock"][0] == "ok"


def test_doctor_asks_nothing_during_a_ban(run: Callable[..., Any], tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    base = f"http://{nowhere}"
    now_ms = SystemClock().time_ms()
    wait = _encode(_Wait(base, 418, now_ms - 1000, now_ms + 3_600_000))
    (tmp_path / "spot.wait").write_bytes(wait)
    result = run(
        "doctor", "--json", "--port", str(free_port()), "--symbols", "BTCUSDT",
        KLINE_SPOT_REST=base, KLINE_SPOT_WS=f"ws://{nowhere}", KLINE_DATA_DIR=str(tmp_path),
    )  # fmt: skip
    state, detail, cure = findings(result)["spot REST"]
    assert state == "failure"
    assert "not asked" in detail
    assert "banned" in detail
    assert "wait" in cure


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
