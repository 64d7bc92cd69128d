"""The Autobahn suite's cases of the WebSocket protocol, against the code of both ports."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import free_port, until

SUITE = "autobahntestsuite==25.10.1"  # the newest one; it needs Python 2.7
#: Compression, which nobody offers.
EXCLUDED = ["12.*", "13.*"]
#: Two close frames in one packet: picows looks at the second before it tells of the first, and
#: answers 1002 where the suite wants the first one's 1000.
KNOWN = {"streams": {"7.1.2"}, "granian": set[str]()}


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the suite and where it lies."""
    python = next(filter(None, map(_usable, _candidates())), None)
    if python is None:
        pytest.skip("no Python 2.7, which the Autobahn suite needs")
    site = tmp_path_factory.mktemp("autobahn")
    install = [python, "-m", "pip", "install", "-q", "--target", str(site), SUITE]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the Autobahn suite cannot be installed: {done.stderr[-300:]}")
    (site / "zope" / "__init__.py").touch()
    return [python, str(site)]


def _candidates() -> list[str]:
    installed = sorted(Path.home().glob(".pyenv/versions/2.7*/bin/python2.7"))
    return [*map(str, installed), shutil.which("python2.7") or "", "/usr/bin/python2.7"]


def _usable(python: str) -> str | None:
    if not python or not Path(python).exists():
        return None
    done = subprocess.run([python, "-c", ""], capture_output=True, check=False)
    return python if done.returncode == 0 else None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["streams", "granian"])
def test_no_case_fails(suite: list[str], kind: str, tmp_path: Path) -> None:
    python, site = suite
    port = free_port()
    script = Path(__file__).parents[2] / "support" / "autobahn_echo.py"
    echo = subprocess.Popen([sys.executable, str(script), str(port), kind])
    try:
        until(lambda: _listens(port))
        (tmp_path / "spec.json").write_text(
            json.dumps(
                {
                    "outdir": str(tmp_path / "reports"),
                    "servers": [{"agent": kind, "url": f"ws://127.0.0.1:{port}/"}],
                    "cases": ["*"],
                    "exclude-cases": EXCLUDED,
                    "exclude-agent-cases": {},
                }
            )
        )
        command = [python, "-m", "autobahntestsuite.wstest", "-m", "fuzzingclient"]
        subprocess.run(
            [*command, "-s", str(tmp_path / "spec.json")],
            env=os.environ | {"PYTHONPATH": site},
            capture_output=True,
            timeout=600,
            check=True,
        )
    finally:
        echo.terminate()
        echo.wait(10)
    cases: dict[str, Any] = json.loads((tmp_path / "reports" / "index.json").read_text())[kind]
    assert len(cases) == 301
    failed = {case for case, result in cases.items() if result["behavior"] == "FAILED"}
    assert failed == KNOWN[kind]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
