"""docs/alerts.md: its Python runs as it stands and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from server.settings import Settings

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def test_the_receiver_of_the_page_runs_and_prints_what_the_page_says(root: Path) -> None:
    found = BLOCK.findall((root / "docs" / "alerts.md").read_text(encoding="utf-8"))
    programs = [
        (program, expected)
        for (language, program), (_, expected) in zip(found, found[1:], strict=False)
        if language == "python"
    ]
    assert programs
    for program, expected in programs:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_every_setting_the_pages_name_is_one(root: Path) -> None:
    for page in ("alerts.md", "signals.md"):
        text = (root / "docs" / page).read_text(encoding="utf-8")
        named = {name.lower() for name in re.findall(r"KLINE_([A-Z_]+[A-Z])", text)}
        assert named
        assert named <= set(Settings.__struct_fields__)


def test_every_metric_the_pages_name_is_one(root: Path) -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for package in ("alerts", "api")
        for path in (root / "server" / package).glob("*.py")
    )
    for page in ("alerts.md", "signals.md"):
        text = (root / "docs" / page).read_text(encoding="utf-8")
        for name in re.findall(r"`((?:alerts|sse)_[a-z_]+)", text):
            assert f'"{name}"' in code, name
