"""The server's one process: granian's listener in the event loop that everything else lives in."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from server.process import bound_memory
from server.settings import Settings

if TYPE_CHECKING:
    from server.app import Server

__all__ = ["HEADER_BYTES_MAX", "HEADER_TIMEOUT_MS", "SHUTDOWN_S", "run"]

#: HTTP hardening: granian's own defaults are 417,792 bytes and 30 s.
HEADER_BYTES_MAX = 16_384
HEADER_TIMEOUT_MS = 5_000
#: Connections that wait to be accepted; granian serves so many at once.
BACKLOG = 1024
#: Seconds the server has to end, from the first time that it is asked to.
SHUTDOWN_S = 10

_STDERR = 2


def run(settings: Settings) -> None:
    """Serve until asked to end. Raises SystemExit: it could not start."""
    bound_memory()
    import uvloop  # the command line's other uses need not load these
    from granian.errors import FatalError

    from server.app import create

    os.environ.update(settings.environment())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(settings, create()))
        except FatalError:  # granian said so, and we why
            raise SystemExit(1) from None


async def _serve(settings: Settings, app: Server) -> None:
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server.embed import Server as Granian

    granian = Granian(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=HEADER_BYTES_MAX
        ),
        backlog=BACKLOG,
        log_level=LogLevels.error,
        log_access=False,
    )
    _hear_signals(app, granian.stop)
    await granian.serve()


def _hear_signals(app: Server, end: Callable[[], None]) -> None:
    """Ctrl-C, SIGTERM and a terminal that closes ask the server to end; it has SHUTDOWN_S then.

    Not by the loop's own handlers: whatever holds the loop up would hold these up as well.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            # Needs neither the loop nor the interpreter, and says where every thread stands.
            faulthandler.dump_traceback_later(SHUTDOWN_S, exit=True, file=_STDERR)
        asked = True
        if not loop.is_closed():
            loop.call_soon_threadsafe(app.leave, end)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, ask)
