"""The process that serves: one for everything, which ends when it is asked to, come what may."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import PATIENCE_S, Command, fetch, free_port, until

#: Serves an app of which the first argument says what it does when it is asked to end.
SCRIPT = """
import sys, time
import server.app
from server import serving
from server.settings import Settings

class App:
    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            if sys.argv[1] == "starts not":
                await send({"type": "lifespan.startup.failed"})
                return
            await send({"type": "lifespan.startup.complete"})
            print("up", flush=True)
            await receive()
            if sys.argv[1] == "waits":
                time.sleep(3600)
            await send({"type": "lifespan.shutdown.complete"})

    def leave(self, end):
        while sys.argv[1] == "loops":
            pass
        end()

serving.SHUTDOWN_S = 0.2 if sys.argv[1] in ("loops", "waits") else 60
server.app.create = App
serving.run(Settings(port=int(sys.argv[2])))
print("over", flush=True)
"""


def served(what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, what, str(free_port())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, stdout, stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_server_ends_by_itself_when_it_is_asked_to(number: signal.Signals) -> None:
    process = served("ends")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert outcome(process) == (0, "over\n", "")


@pytest.mark.parametrize("what", ["loops", "waits"])
def test_a_server_that_cannot_end_is_ended_and_says_where_it_stood(what: str) -> None:
    process = served(what)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    status, stdout, stderr = outcome(process)
    assert (status, stdout) == (1, "")
    assert "Timeout" in stderr
    assert {"loops": "in leave", "waits": "in __call__"}[what] in stderr


def test_a_server_that_cannot_start_says_so_by_its_status() -> None:
    status, _, stderr = outcome(served("starts not"))
    assert status == 1
    assert "Traceback" not in stderr


def test_everything_lives_in_one_process(tmp_path: Path) -> None:
    port = free_port()
    command = Command(
        "serve",
        PORT=str(port),
        KLINE_STREAM_PORT=str(free_port()),
        KLINE_SPOT_REST="http://127.0.0.1:9",
        KLINE_SPOT_WS="ws://127.0.0.1:9",
        KLINE_DATA_DIR=str(tmp_path),
    )
    until(lambda: fetch(port, "/health")[0] == 200, lambda: command.stderr)
    assert command.descendants() == []
    assert command.end(signal.SIGTERM) == 0
