"""The core's own tests once more, on a debug build under the address and undefined sanitizers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
# Too much memory for a sanitized process, or no business of C code.
LEFT_OUT = "not k21_500_symbols"
# Needs recorded files; itself; libraries with allocators of their own.
LEFT_OUT_FILES = ("test_real_data.py", "test_sanitized.py", "test_frames.py")


def runtime(name: str) -> str:
    """Path of a sanitizer's library, which must be loaded before Python itself."""
    compiler = shutil.which("gcc")
    if compiler is None or importlib.util.find_spec("Cython") is None:
        pytest.skip("needs gcc and Cython to build the core again")
    command = [compiler, f"-print-file-name={name}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"gcc has no {name}")
    return found


def run(command: list[str], cwd: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    reports = "".join(path.read_text() for path in sorted(cwd.glob("report.*")))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:] + reports


def test_no_test_of_the_core_touches_memory_it_must_not(root: Path, tmp_path: Path) -> None:
    libraries = f"{runtime('libasan.so')} {runtime('libubsan.so')}"
    compiled = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    shutil.copytree(root / "klinecore", tmp_path / "klinecore", ignore=compiled)
    shutil.copytree(root / "tests" / "support", tmp_path / "tests" / "support")
    for package in ("klinecore", "properties"):
        shutil.copytree(
            root / "tests" / package,
            tmp_path / "tests" / package,
            ignore=shutil.ignore_patterns(*LEFT_OUT_FILES, "__pycache__"),
        )
    shutil.copy(root / "tests" / "conftest.py", tmp_path / "tests")
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(root / name, tmp_path)
    (tmp_path / "server").mkdir()

    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    flags = {"KLINECORE_DEBUG": "1", "CFLAGS": SANITIZE, "LDFLAGS": SANITIZE}
    run(build, tmp_path, flags)
    report = f"log_path={tmp_path / 'report'}"
    test = [sys.executable, "-m", "pytest", "-q", "-x", "-k", LEFT_OUT, "-p", "no:cacheprovider"]
    test += ["-n", "auto"]  # each step takes ten times as long
    environment = {
        "LD_PRELOAD": libraries,
        "PYTHONMALLOC": "malloc",  # Python's own allocator would hide the edges of an object
        "ASAN_OPTIONS": f"detect_leaks=0:{report}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:{report}",
    }
    where = "import klinecore, sys; sys.exit(not klinecore.__file__.startswith(sys.argv[1]))"
    run([sys.executable, "-c", where, str(tmp_path)], tmp_path, environment)
    run([*test, "tests/klinecore", "tests/properties"], tmp_path, environment)
