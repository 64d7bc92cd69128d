"""Starts granian: one worker process, in which the server lives."""

from __future__ import annotations

import contextlib
import os

from server.api.types import Application
from server.settings import Settings

__all__ = ["HEADER_BYTES_MAX", "HEADER_TIMEOUT_MS", "run"]

#: HTTP hardening: granian's own defaults are 417,792 bytes and 30 s.
HEADER_BYTES_MAX = 16_384
HEADER_TIMEOUT_MS = 5_000
#: Seconds the worker has to end before it is killed.
SHUTDOWN_S = 10


def run(settings: Settings) -> None:
    """Serve until interrupted. Raises SystemExit: the worker failed."""
    from granian import Granian  # the command line's other uses need not load it
    from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    os.environ.update(settings.environment())
    server = Granian(
        "server.app:create",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=1,  # the markets live in this one's memory
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=HEADER_BYTES_MAX
        ),
        runtime_mode=RuntimeModes.st,
        loop=Loops.uvloop,
        log_level=LogLevels.error,
        log_access=False,
        workers_kill_timeout=SHUTDOWN_S,
    )
    with contextlib.suppress(KeyboardInterrupt):
        # Not by name: granian would put the working directory first on the import path.
        server.serve(target_loader=_create, wrap_loader=False)


def _create() -> Application:
    """In the worker: the parent, which only watches it, need not hold a server's code."""
    from server.app import create

    return create()
