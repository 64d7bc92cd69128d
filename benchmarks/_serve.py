"""Serves one application of ``http_targets`` as ``server.serving.run`` serves ours: TARGET PORT."""

from __future__ import annotations

import sys
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings
from granian.log import LogLevels

from server.serving import HEADER_BYTES_MAX, HEADER_TIMEOUT_MS


def load() -> Any:
    """In the worker: the application the command line names."""
    import http_targets

    return http_targets.TARGETS[sys.argv[1]]()


def main(target: str, port: int) -> None:
    server = Granian(
        f"http_targets:{target}",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=HEADER_BYTES_MAX
        ),
        runtime_mode=RuntimeModes.st,
        loop=Loops.uvloop,
        log_level=LogLevels.warning,
        log_access=False,
        workers_kill_timeout=2,
    )
    server.serve(target_loader=load, wrap_loader=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
