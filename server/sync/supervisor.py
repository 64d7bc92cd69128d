"""Keeps the sync process alive: starts it, hears it, and starts it again when it has failed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random as random_module
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from server.clock import Clock
from server.metrics import Registry
from server.sync.options import OPTIONS_VARIABLE, SECRET_VARIABLE, Options
from server.sync.wire import (
    LINE_BYTES_MAX,
    Drain,
    FromChild,
    decode_from_child,
    encode,
)

__all__ = ["DRAIN_S", "SILENT_S", "Supervisor", "child_environment"]

log = logging.getLogger(__name__)

#: Seconds without a sign of life before the process is taken for dead: it says one every 2 s.
SILENT_S = 60.0
#: Seconds it has at the end to send what waits, and then to end once it is asked to.
DRAIN_S = 3.0
_END_S = 1.0
#: Seconds to wait before it is started again: anything up to a bound that doubles.
_RESTART_FIRST_S = 0.5
_RESTART_MAX_S = 30.0
#: Alive this long, it starts with short waits anew.
_HEALTHY_S = 60.0

#: Of the server's environment, what the process inherits: no key of anything else.
_INHERITED = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "PYTHONHOME",
     "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY",
     "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"}
)  # fmt: skip

#: ``-m server.sync`` would run what is called so in the working directory.
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from server.sync.child import main; sys.exit(main())"
)
_ROOT = str(Path(__file__).parents[2])


def child_environment(options: Options, key: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The process' environment: what it needs of ours, its options, and the key."""
    kept = {name: value for name, value in environ.items() if name in _INHERITED}
    return kept | {OPTIONS_VARIABLE: msgspec.json.encode(options).decode(), SECRET_VARIABLE: key}


class _Failed(Exception):  # noqa: N818 - the reason why one life of the process ended
    pass


class Supervisor:
    """The sync process as the server sees it. Nothing in the server waits for it."""

    def __init__(
        self,
        options: Options,
        key: str,
        receive: Callable[[FromChild], Awaitable[None]],
        *,
        clock: Clock,
        random: random_module.Random,
        metrics: Registry,
        command: Sequence[str] | None = None,
    ) -> None:
        """``receive`` is given every message; if it raises, the process is started again, and
        says again what was not heard. ``command`` is another program than the sync process."""
        self._options = options
        self._key = key
        self._receive = receive
        self._clock = clock
        self._random = random
        self._command = command or [sys.executable, "-P", "-c", _START, _ROOT]
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._starts = metrics.counter(
            "sync_starts_total", "Times that the sync process was started."
        )
        up = metrics.gauge("sync_up", "1 while the sync process runs.")
        up.read(lambda: float(self.pid is not None))

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Let the process send what waits, then end it: at most ``DRAIN_S`` and a little."""
        self._stopping = True
        if self._task is None:
            return
        self._say(Drain())
        if self.pid is None:
            self._task.cancel()
        done, _ = await asyncio.wait([self._task], timeout=DRAIN_S)
        if not done:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _say(self, message: Drain) -> None:
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            with contextlib.suppress(OSError, RuntimeError):  # it is ending
                process.stdin.write(encode(message))

    async def _keep(self) -> None:
        failures = 0
        while not self._stopping:
            started_s = self._clock.monotonic()
            try:
                await self._live()
            except (_Failed, OSError) as failed:
                reason = str(failed)
            else:
                if self._stopping:
                    return
                reason = "it ended"
            if self._clock.monotonic() - started_s >= _HEALTHY_S:
                failures = 0
            bound_s = min(_RESTART_MAX_S, _RESTART_FIRST_S * 2.0 ** min(failures, 16))
            wait_s = self._random.uniform(0.0, bound_s)
            failures += 1
            log.warning("sync process: %s; starting it again in %.1f s", reason, wait_s)
            await self._clock.sleep(wait_s)

    async def _live(self) -> None:
        """One life of the process. Raises _Failed: how it ended, unless it was asked to."""
        environment = child_environment(self._options, self._key, os.environ)
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            env=environment,
            start_new_session=True,  # Ctrl-C is the server's to hear
        )
        self._process = process
        self._starts.inc()
        try:
            await self._hear(process)
        finally:
            await self._end(process)
        if process.returncode and not self._stopping:
            raise _Failed(f"it ended with {process.returncode}")

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                async with asyncio.timeout(SILENT_S):
                    line = await process.stdout.readline()
            except TimeoutError:
                raise _Failed(f"not a word for {SILENT_S:g} s") from None
            except ValueError:
                raise _Failed(f"a line of more than {LINE_BYTES_MAX} bytes") from None
            if not line.endswith(b"\n"):
                return
            try:
                message = decode_from_child(line)
            except msgspec.DecodeError as error:
                raise _Failed(f"it says what is no message: {error}") from None
            try:
                await self._receive(message)
            except Exception as error:
                log.error("a message of the sync process was not taken in", exc_info=error)
                raise _Failed("it was not heard") from None

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """The process is gone when this returns, also when it is cancelled."""
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            # Not `asyncio.timeout`: in a task that is cancelled it does not say so before 3.11.4.
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait([ended], timeout=_END_S)
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await ended
        self._process = None
