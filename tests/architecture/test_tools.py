"""The project's tools find nothing: format, lint, types, and stubs against the compiled modules."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PACKAGES = ("klinecore", "server")
COMMANDS = {
    "ruff check": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "cython-lint": (
        "cython_lint.cython_lint",
        *(*PACKAGES, "benchmarks", "tests"),
        "--max-line-length",
        "100",
    ),
    "mypy": ("mypy", "--strict", *PACKAGES),
    "stubtest": (
        "mypy.stubtest",
        "klinecore",
        "--allowlist",
        "tests/typing/stubtest.txt",
        "--ignore-unused-allowlist",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_tool_finds_nothing(name: str, root: Path) -> None:
    module, *arguments = COMMANDS[name]
    if importlib.util.find_spec(module.split(".")[0]) is None:
        pytest.skip(f"{module} is not installed; it is in the test extra")
    # cython-lint calls pycodestyle by its name, which stands beside this interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
