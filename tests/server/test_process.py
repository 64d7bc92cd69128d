"""What the process takes: freed memory goes back, and what a server never uses is not loaded."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

import server

ROOT = Path(server.__file__).parents[1]

#: Beyond these a block was kept: 24 MB were freed.
KEPT_MAX_MB = 6.0


def told(script: str) -> object:
    """What a process of its own prints, as JSON."""
    command = [sys.executable, "-c", script]
    return json.loads(subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="of glibc")
def test_large_blocks_that_were_freed_go_back_to_the_machine() -> None:
    """By itself glibc keeps the second one: it is smaller than the first one was."""
    script = """
from server.process import bound_memory, memory_bytes
bound_memory()
before = memory_bytes()[0]
for size in (30 << 20, 24 << 20):
    block = b"x" * size
    del block
print((memory_bytes()[0] - before) / 1e6)
"""
    kept_mb = told(script)
    assert isinstance(kept_mb, float)
    assert kept_mb < KEPT_MAX_MB


def test_a_server_does_not_load_what_only_others_use() -> None:
    script = """
import json, sys
import server.cli, server.app, server.serving
import granian.server.embed
print(json.dumps(sorted(sys.modules)))
"""
    loaded = told(script)
    assert isinstance(loaded, list)
    assert "server.app" in loaded
    others = (
        "aiosmtplib", "anywidget", "apprise", "arro3", "cryptography", "httpx", "klinecore.client",
        "klinecore.notebook", "pandas", "polars", "pyarrow", "pytest", "server.exchange",
        "server.sync.child", "supabase",
    )  # fmt: skip
    assert [name for name in loaded if name.startswith(others)] == []
