"""A clean environment, a running demo, and commands run in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from commands import Demo, environment

from server.cli import main


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)


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
