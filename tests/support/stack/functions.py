"""The project's edge functions in the real Deno; it is not the platform's Edge Runtime."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from edge import FUNCTIONS, deno, deno_environment

from stack.children import Child, answers, free_port

RUN = (
    *("run", "--no-prompt", "--cached-only", "--config", FUNCTIONS / "deno.json"),
    *("--allow-env", "--allow-net=127.0.0.1"),
)


def function_names() -> list[str]:
    """Folders with an index.ts; what begins with ``_`` is shared by them."""
    return sorted(path.parent.name for path in FUNCTIONS.glob("[!_]*/index.ts"))


class Functions:
    """Each function in a process of its own, as the platform isolates them."""

    def __init__(self, logs: Path) -> None:
        self.ports: dict[str, int] = {}
        self._logs = logs
        self._children: list[Child] = []

    def start(self, environment: Mapping[str, str]) -> None:
        """Start all; what they may know is ``environment`` and nothing of ours."""
        program = deno()
        assert program is not None, "see stack.tools.missing"
        # What the lock file names; a function itself is started with nothing left to fetch.
        subprocess.run(
            [program, "install", "--frozen"],
            cwd=FUNCTIONS,
            env=deno_environment(),
            check=True,
            capture_output=True,
        )
        for name in function_names():
            port = free_port()
            folder = FUNCTIONS / name
            child = Child(
                [program, *RUN, "index.ts"],
                log=self._logs / f"{name}.log",
                environment=deno_environment(
                    DENO_SERVE_ADDRESS=f"tcp:127.0.0.1:{port}", **environment
                ),
                folder=folder,
            )
            self._children.append(child)
            self.ports[name] = port
        for child, port in zip(self._children, self.ports.values(), strict=True):
            child.wait_for(lambda port=port: answers(port))

    def stop(self) -> None:
        for child in self._children:
            child.stop()
        self._children.clear()
        self.ports.clear()
