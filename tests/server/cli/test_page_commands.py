"""Commands of the pages do what they show."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from blocks import ROOT, chosen, commands
from click.testing import CliRunner
from commands import Demo, environment, free_port
from runbook import forget_traders

from server.cli import main

#: Commands that go on until they are ended; so many seconds of them are enough.
ENDLESS = re.compile(r"^(klineserver watch(?!.*--once)|curl -sN)")
ENDLESS_S = 3
ENDED = {124, 130}  # by ``timeout``, whichever signal


def served_elsewhere(text: str, demo: Demo, stream_port: int) -> str:
    text = re.sub(r"(127\.0\.0\.1|localhost):8080", f"127.0.0.1:{demo.port}", text)
    return re.sub(r"(127\.0\.0\.1|localhost):8081", f"127.0.0.1:{stream_port}", text)


def fault_of(command: str, folder: Path, values: dict[str, str]) -> str:
    """What is wrong with a command that was run; empty if nothing is."""
    if command.startswith("klineserver ") and not ENDLESS.match(command) and "||" not in command:
        # In this process, as starting another one takes longer than most of them.
        words = shlex.split(command, comments=True)[1:]
        result = CliRunner().invoke(main, words, env={"HOME": str(folder)})
        return result.output if result.exit_code else ""
    limit_s = ENDLESS_S if ENDLESS.match(command) else 120
    done = subprocess.run(
        ["timeout", str(limit_s), "bash", "-c", re.sub(r"\bcurl\b", "curl -f", command)],
        cwd=folder,
        env=values,
        capture_output=True,
        text=True,
        check=False,
    )
    ended = ENDLESS.match(command) and done.returncode in ENDED
    return f"{done.returncode}: {done.stderr[-300:]}" if done.returncode and not ended else ""


@pytest.mark.slow
def test_commands_of_the_pages_do_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them one after another, in the order of the pages, with one demo to ask."""
    stream_port = free_port()
    demo = Demo("--speed", "40", "--stream-port", str(stream_port))
    ours = {"PORT": str(demo.port), "KLINE_API_KEYS_FILE": str(tmp_path / "keys.json")}
    values = environment(**ours, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    faults = {}
    try:
        page = ""
        for block in chosen("sh"):
            if block.page != page:
                forget_traders(ours)  # pages use the same names
                page = block.page
            for command in commands(served_elsewhere(block.body, demo, stream_port)):
                faults[block.page, command] = fault_of(command, tmp_path, values)
        for block in chosen("python"):
            if block.mark.startswith("run: demo"):
                program = served_elsewhere(block.body, demo, stream_port)
                done = subprocess.run(
                    [sys.executable, "-c", program],
                    cwd=tmp_path,
                    env=values | {"PYTHONPATH": str(ROOT)},
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=120,
                )
                faults[block.page, "python"] = done.stderr if done.returncode else ""
    finally:
        demo.command.end()
    assert {key: fault for key, fault in faults.items() if fault} == {}
