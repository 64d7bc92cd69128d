"""README's Python runs as it stands and prints what README says it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import klinecore

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(root: Path) -> list[tuple[str, str]]:
    return BLOCK.findall((root / "README.md").read_text(encoding="utf-8"))


def test_each_python_block_prints_the_text_block_behind_it(root: Path, tmp_path: Path) -> None:
    found = blocks(root)
    ran = 0
    for (language, program), (following, expected) in zip(found, found[1:], strict=False):
        if language != "python":
            continue
        assert following == "text", "a Python block is followed by what it prints"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(klinecore.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected
        ran += 1
    assert ran


def test_each_link_leads_to_a_file(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)\)", text):
        assert (root / target).exists(), target
