"""What is shipped, as source and built: nothing is missing, nothing is too much, and it runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from commands import environment, fetch, free_port, until

PACKAGES = ("klinecore", "server")
#: What a build makes, or a run.
MADE = {".c", ".so", ".pyc"}
#: Of the packages, what only a build needs, and tests.
NOT_INSTALLED = {".pyx", ".c"}
#: Bytes of a wheel: 2.3 MB now. A debug build, or the translated C, is several times that.
WHEEL_MAX = 4_000_000


def copied(root: Path, here: Path) -> Path:
    """The project as it is checked out, without what was built in place."""
    here.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(root / name, here)
    for name in (*PACKAGES, "docs"):
        made = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        shutil.copytree(root / name, here / name, ignore=made)
    if (root / "build" / "release").exists():  # translated before: the same again
        shutil.copytree(root / "build" / "release", here / "build" / "release")
    return here


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_source_distribution_has_every_source_and_nothing_that_is_made(
    root: Path, tmp_path: Path
) -> None:
    here = copied(root, tmp_path / "here")
    run(sys.executable, "setup.py", "-q", "sdist", cwd=here)
    (archive,) = (here / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert not {name for name in names if Path(name).suffix in MADE}
    wanted = {
        path.relative_to(here).as_posix()
        for package in PACKAGES
        for path in (here / package).rglob("*")
        if path.is_file() and path.suffix not in MADE
    }
    assert len(wanted) > 300
    assert wanted <= names
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "docs/api.md"} <= names


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, with the modules that were compiled for it already."""
    here = copied(root, tmp_path_factory.mktemp("wheel") / "here")
    for package in PACKAGES:
        for module in filter(is_of_this_python, (root / package).rglob("*.so")):
            built = here / "build" / "lib" / module.relative_to(root)
            built.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(module, built)  # newer than its sources: it is not compiled again
    build = ("build", "--build-lib", "build/lib")
    run(sys.executable, "setup.py", "-q", *build, "bdist_wheel", cwd=here)
    (found,) = (here / "dist").glob("*.whl")
    return found


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (n for n in packed.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(packed.read(name).decode())


def is_of_this_python(module: Path) -> bool:
    """The root of the project may also hold modules compiled for another one."""
    return module.name.endswith(sysconfig.get_config_var("EXT_SUFFIX"))


def is_installed(path: Path, root: Path) -> bool:
    """Whether a file of the checkout belongs into a wheel."""
    inside = path.relative_to(root).parts
    return (
        path.is_file()
        and path.suffix not in NOT_INSTALLED
        and "__pycache__" not in inside
        and not {"tests", "_tests"} & set(inside)
        and not any(part.startswith(".") for part in inside)
        and (path.suffix != ".so" or is_of_this_python(path))
    )


@pytest.mark.slow
def test_the_wheel_has_everything_that_runs_and_nothing_that_only_builds(
    root: Path, wheel: Path
) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    found = {name for name in names if ".dist-info/" not in name}
    wanted = {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if is_installed(path, root)
    }
    assert found == wanted
    # What imports it needs, what type checkers need, what is compiled against, what is served.
    for name in ("market.pyi", "py.typed", "number.pxd", "indicators/blocks_loops.h"):
        assert any(path.endswith(f"klinecore/{name}") for path in found), name
    assert {"server/supabase/config.toml", "server/web/static/index.html"} <= found
    assert wheel.stat().st_size < WHEEL_MAX


@pytest.mark.slow
def test_the_wheel_says_what_it_is(root: Path, wheel: Path) -> None:
    told = metadata(wheel)
    assert told["Name"] == "klinecore"
    assert told["License-Expression"] == "Apache-2.0"
    assert told.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert told["Requires-Python"] == ">=3.11"
    with zipfile.ZipFile(wheel) as packed:
        texts = {
            name.rpartition(".dist-info/")[2]: packed.read(name).decode()
            for name in packed.namelist()
            if ".dist-info/" in name
        }
    for name in ("LICENSE", "NOTICE"):
        assert texts[f"licenses/{name}"] == (root / name).read_text(encoding="utf-8")
    assert "klineserver = server.cli:main" in texts["entry_points.txt"]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a fresh environment that has the wheel, and of this one what it requires."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Behind its own, and without the links in there to this checkout: those are read in a site
    # folder alone.
    (packages / "required.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.mark.slow
def test_an_installed_wheel_runs_in_another_folder(
    wheel: Path, installed: Path, tmp_path: Path
) -> None:
    where = run(
        installed / "python",
        "-c",
        "import klinecore, server, numpy as np; print(klinecore.__file__); print(server.__file__);"
        "print(klinecore.rsi(np.arange(9.0), 3)[-1], klinecore.compile('close > 1').normal)",
        cwd=tmp_path,
    ).splitlines()
    inside = str(installed.parent)
    assert where[0].startswith(inside)
    assert where[1].startswith(inside)
    assert where[2] == "100.0 close > 1"
    version = run(installed / "klineserver", "--version", cwd=tmp_path)
    assert version == f"klineserver, version {metadata(wheel)['Version']}\n"


@pytest.mark.slow
def test_the_demo_of_an_installed_wheel_answers(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [installed / "klineserver", "demo", "--port", str(port), "--symbols", "BTCUSDT"]
    said = tmp_path / "said"
    with said.open("w") as output:
        demo = subprocess.Popen(
            list(map(str, command)), cwd=tmp_path, env=environment(), stdout=output, stderr=output
        )
    try:
        until(
            lambda: fetch(port, "/ready")[0] == 200 or demo.poll() is not None,
            said.read_text,
        )
        assert fetch(port, "/klines/BTCUSDT/1m?limit=2")[0] == 200, said.read_text()
        status, page = fetch(port, "/")
        assert status == 200
        assert page
    finally:
        demo.terminate()
        assert demo.wait(60) == 0, said.read_text()
