"""The sync process is kept alive, heard, never believed blindly, and gone when it has to be."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.clock import SystemClock
from server.metrics import Registry
from server.sync import supervisor as module
from server.sync.options import Options
from server.sync.supervisor import Supervisor, child_environment
from server.sync.wire import Acknowledged, FromChild

KEY = "sb_secret_canary"
OPTIONS = Options(url="http://127.0.0.1:1", outbox="/nowhere")


class Bench:
    """A supervisor over a program of the test's own."""

    def __init__(self, script: str, receive: Callable[[FromChild], Awaitable[None]] | None) -> None:
        self.heard: list[FromChild] = []
        self.metrics = Registry()
        self.supervisor = Supervisor(
            OPTIONS,
            KEY,
            receive or self._hear,
            clock=SystemClock(),
            random=random.Random(0),
            metrics=self.metrics,
            command=[sys.executable, "-c", "import sys, time, os\n" + textwrap.dedent(script)],
        )

    async def _hear(self, message: FromChild) -> None:
        self.heard.append(message)

    @property
    def starts(self) -> int:
        return int(self.metrics.counter("sync_starts_total", "").value())

    async def until(self, happened: Callable[[], bool], within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while not happened():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    script: str, receive: Callable[[FromChild], Awaitable[None]] | None = None
) -> AsyncIterator[Bench]:
    bench = Bench(script, receive)
    bench.supervisor.start()
    try:
        yield bench
    finally:
        await bench.supervisor.stop()
        assert bench.supervisor.pid is None


SAYS = """
    def say(n):
        print('{"type":"acknowledged","kind":"signals","stored":[%d],"skipped":[],"lag_ms":0}' % n,
              flush=True)
"""


def test_it_is_heard_and_drained_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_S", 60.0)

    async def story() -> None:
        script = (
            SAYS + "    say(1)\n    line = sys.stdin.readline()\n    say(2 + ('drain' in line))\n"
        )
        async with running(script) as bench:
            await bench.until(lambda: len(bench.heard) == 1)
        assert [m.stored for m in bench.heard if isinstance(m, Acknowledged)] == [[1], [3]]
        assert bench.starts == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    "script",
    [
        "    sys.exit(3)",
        "    os.kill(os.getpid(), 9)",
        '    print(\'{"type":"surprise"}\', flush=True)\n    time.sleep(60)',
        "    print('x' * (2 << 20), flush=True)\n    time.sleep(60)",
        "    os.close(1)\n    time.sleep(60)",
    ],
    ids=["exit", "killed", "nonsense", "long line", "mute"],
)
def test_whatever_it_does_it_is_started_again(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RESTART_FIRST_S", 0.01)

    async def story() -> None:
        async with running(SAYS + script) as bench:
            await bench.until(lambda: bench.starts >= 3)

    asyncio.run(story())


def test_silence_is_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RESTART_FIRST_S", 0.01)
    monkeypatch.setattr(module, "SILENT_S", 0.3)

    async def story() -> None:
        async with running(SAYS + "    time.sleep(60)") as bench:
            await bench.until(lambda: bench.starts >= 2)

    asyncio.run(story())


def test_a_message_that_could_not_be_taken_in_is_said_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RESTART_FIRST_S", 0.01)
    heard = []

    async def receive(message: FromChild) -> None:
        heard.append(message)
        if len(heard) == 1:
            raise OSError("the disk is full")

    async def story() -> None:
        async with running(SAYS + "    say(7)\n    sys.stdin.readline()", receive) as bench:
            await bench.until(lambda: len(heard) == 2)

    asyncio.run(story())


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_S", 0.2)
    monkeypatch.setattr(module, "_END_S", 0.2)
    script = """
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(1)
    time.sleep(60)
    """

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with running(SAYS + script) as bench:
            await bench.until(lambda: len(bench.heard) == 1)
            pid = bench.supervisor.pid
            assert pid is not None
            started_s = loop.time()
        assert loop.time() - started_s < 30  # of the 60 it would have slept
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(story())


def test_the_key_stands_in_the_environment_alone(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = f"""
    with open('/proc/self/cmdline') as file, open({str(seen) + "~"!r}, 'w') as said:
        said.write(file.read() + '|' + os.environ['SUPABASE_SECRET_KEY'])
    os.rename({str(seen) + "~"!r}, {str(seen)!r})
    """

    async def story() -> None:
        async with running(SAYS + script) as bench:
            await bench.until(seen.exists)

    asyncio.run(story())
    arguments, _, key = seen.read_text().rpartition("|")
    assert key == KEY
    assert KEY not in arguments


def test_of_the_servers_environment_only_what_is_needed_is_inherited() -> None:
    environment = child_environment(
        OPTIONS, KEY, {"PATH": "/bin", "API_KEY": "k", "KLINE_API_KEY": "k", "AWS_SECRET": "s"}
    )
    assert sorted(environment) == ["KLINESERVER_SYNC", "PATH", "SUPABASE_SECRET_KEY"]
    assert KEY not in environment["KLINESERVER_SYNC"]
