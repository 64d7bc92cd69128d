"""Every other service, by way of apprise in a child process that is fed by a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec

from server.alerts.addresses import URL_LENGTH_MAX, RefusedError
from server.alerts.messages import Alert, lines, subject
from server.alerts.model import Outcome, Result, Target

__all__ = ["Apprise"]

#: Seconds one message may take; the child is killed then.
TIMEOUT_S = 30.0
#: Bytes of one line in either direction.
LINE_BYTES_MAX = 65_536
TEXT_MAX = 20_000

_URL = re.compile(r"[a-z][a-z0-9+.-]{1,31}://[!-~]+")
#: All that the child gets of the environment: no key of ours among it.
_INHERITED = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ", "PYTHONPATH")


class Apprise:
    """Messages by apprise's URLs, which may name anything: only the operator has such targets."""

    batch_max = 20
    pace_s = 2.0

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()
        self._serial = count()
        self.starts = 0

    @property
    def is_installed(self) -> bool:
        """False: the extra is missing."""
        return importlib.util.find_spec("apprise") is not None

    def check(self, target: Target) -> None:
        """See ``Sender``."""
        if not self.is_installed:
            raise RefusedError("apprise is not installed: pip install 'klinecore[alerts]'")
        if not _URL.fullmatch(target.secret) or len(target.secret) > URL_LENGTH_MAX:
            raise RefusedError("the secret is one of apprise's URLs, such as ntfy://topic")

    def host(self, target: Target) -> str:
        """See ``Sender``."""
        return "apprise"

    async def send(self, target: Target, alerts: Sequence[Alert], now_ms: int) -> Outcome:
        """See ``Sender``."""
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    said = await self._ask(
                        {
                            "id": next(self._serial),
                            "url": target.secret,
                            "title": subject(alerts),
                            "body": lines(alerts, TEXT_MAX),
                        }
                    )
            except (TimeoutError, OSError, EOFError, ValueError) as error:
                await self._kill()
                return Outcome(Result.RETRY, f"apprise: {type(error).__name__}")
        if said.get("ok") is True:
            return Outcome(Result.SENT)
        if said.get("never"):
            return Outcome(Result.DEAD, "apprise does not know such a URL")
        return Outcome(Result.RETRY, "apprise: not sent")

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Raises OSError, EOFError: the child has gone; ValueError: it speaks nonsense."""
        child = self._child
        if child is None or child.returncode is not None:
            child = self._child = await self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(msgspec.json.encode(message) + b"\n")
        await child.stdin.drain()
        line = await child.stdout.readline()
        if not line:
            raise EOFError("the child has ended")
        said: Any = msgspec.json.decode(line)
        if not isinstance(said, dict) or said.get("id") != message["id"]:
            raise ValueError("an answer to something else")
        return said

    async def _start(self) -> asyncio.subprocess.Process:
        self.starts += 1
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "server.alerts.apprise_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_BYTES_MAX,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            start_new_session=True,  # Ctrl-C is the server's to hear
        )

    async def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def close(self) -> None:
        """End the child."""
        async with self._one_at_a_time:
            await self._kill()
