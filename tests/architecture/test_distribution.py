"""What is shipped as source can be built and run: nothing is missing from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

#: What a build makes, or a run.
MADE = {".c", ".so", ".pyc"}


@pytest.mark.slow
def test_the_source_distribution_has_every_source_and_nothing_that_is_made(
    root: Path, tmp_path: Path
) -> None:
    packages = ("klinecore", "server")
    here = tmp_path / "here"
    here.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(root / name, here)
    for name in (*packages, "docs"):
        made = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        shutil.copytree(root / name, here / name, ignore=made)
    if (root / "build" / "release").exists():  # translated before: the same again
        shutil.copytree(root / "build" / "release", here / "build" / "release")
    command = [sys.executable, "setup.py", "-q", "sdist"]
    subprocess.run(command, cwd=here, check=True, capture_output=True, timeout=300)
    (archive,) = (here / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert not {name for name in names if Path(name).suffix in MADE}
    wanted = {
        path.relative_to(here).as_posix()
        for package in packages
        for path in (here / package).rglob("*")
        if path.is_file() and path.suffix not in MADE
    }
    assert len(wanted) > 300
    assert wanted <= names
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "docs/api.md"} <= names
