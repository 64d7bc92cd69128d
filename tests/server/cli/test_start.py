"""What starts and what does not, and what is said then."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from commands import Command, until


def test_help_names_every_command(run: Callable[..., Any]) -> None:
    text = run("--help").output
    for name in (
        "serve",
        "demo",
        "replay",
        "exchange",
        "query",
        "watch",
        "keys",
        "doctor",
        "openapi",
    ):
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
        (["serve"], {"KLINE_API_KEYS_FILE": "/nowhere.json"}, "keys file /nowhere.json"),
        (["serve"], {"API_KEY": "k", "KLINE_API_KEYS_FILE": "/dev/null"}, "it is no file"),
        (["serve"], {"KLINE_HOST": "::", "SUPABASE_URL": "https://x.example"}, "set API_KEY"),
        (
            ["serve"],
            {"SUPABASE_URL": "https://x.example", "SUPABASE_JWT_SECRET": "short"},
            "SUPABASE_JWT_SECRET must have at least 32 bytes",
        ),
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
