"""The Dockerfile's own steps, in a folder in place of an image: what they make serves.

What needs the network is left out: system packages, and the two installations of what is locked,
in whose place stands what this environment has (``.ci/sbom`` installs the lock).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from commands import environment, fetch, free_port, simulated_exchange, until
from dockerfile import Stage

pytestmark = pytest.mark.slow

KEY = "a-key-for-this-test-alone"


def in_folder(text: str, folder: Path) -> str:
    """A command with the image's places moved into a folder."""
    return re.sub(r"(?<![\w./])/(?=opt/|src\b|data\b)", f"{folder}/", text)


def copy(root: Path, text: str, target: Path) -> None:
    *sources, _ = shlex.split(text)
    for source in sources:
        if (root / source).is_dir():
            made = shutil.ignore_patterns("*.so", "*.c", "__pycache__", ".*")
            shutil.copytree(root / source, target / source, ignore=made)
        else:
            shutil.copy(root / source, target)


def compiled(root: Path, target: Path) -> None:
    """Modules of this checkout where a build looks for them: it takes most of a minute else."""
    version = f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    for package in ("klinecore", "server"):
        for module in (root / package).rglob("*" + sysconfig.get_config_var("EXT_SUFFIX")):
            place = target / "build" / f"lib.{version}" / module.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(module, place)
    if (root / "build" / "release").exists():
        shutil.copytree(root / "build" / "release", target / "build" / "release")


def lend(folder: Path) -> None:
    """Let an environment use the packages of this one: to build with, rather than its own."""
    (packages,) = folder.glob("lib/python*/site-packages")
    place = sysconfig.get_path("purelib")
    first = f"import sys; sys.path.insert(0, {place!r})"
    (packages / "lent.pth").write_text((first if folder.name == "build" else place) + "\n")


def run(command: str, cwd: Path) -> None:
    if os.geteuid() != 0:  # only root gives files away
        command = re.sub(r" -[og] 10001", "", command)
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def made(root: Path, image: list[Stage], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has what the build stage leaves behind."""
    folder = tmp_path_factory.mktemp("image")
    source = folder / "src"
    source.mkdir()
    for name, text in image[0].steps:
        if name == "COPY":
            copy(root, text, source)
        elif name == "RUN" and not text.startswith("apt-get"):
            wheel = " pip wheel " in text.replace("/pip", " pip")
            if wheel:
                compiled(root, source)
            parts = [part for part in text.split("&&") if "--require-hashes" not in part]
            run(in_folder("&&".join(parts), folder), source)
            for venv in (folder / "opt").iterdir():
                lend(venv)
    return folder


def moved(image: list[Stage], folder: Path, **extra: str) -> dict[str, str]:
    """The image's environment, in the folder; of the network, this machine alone."""
    told = image[-1].environment | {"KLINE_HOST": "127.0.0.1", "KLINE_DATA_DIR": f"{folder}/data"}
    path = in_folder(told.pop("PATH"), folder).replace("$PATH", os.environ["PATH"])
    return environment() | told | {"PATH": path, "HOME": f"{folder}/data"} | extra


def health(image: list[Stage], variables: dict[str, str]) -> int:
    python, *rest = image[-1].health_command
    program = shutil.which(python, path=variables["PATH"])
    command = [str(program), *rest]
    return subprocess.run(command, env=variables, capture_output=True, timeout=60).returncode


def test_what_was_made_has_the_server_and_no_pip(made: Path) -> None:
    programs = {path.name for path in (made / "opt" / "klinecore" / "bin").iterdir()}
    assert {"klineserver", "python", "python3"} <= programs
    assert not any(name.startswith("pip") for name in programs)
    assert (made / "data").stat().st_mode & 0o777 == 0o700


def test_it_does_not_start_without_a_key_where_others_reach_it(
    image: list[Stage], made: Path
) -> None:
    variables = moved(image, made, KLINE_HOST=image[-1].environment["KLINE_HOST"], PORT="0")
    program = str(shutil.which("klineserver", path=variables["PATH"]))
    done = subprocess.run(
        [program, "serve"], env=variables, cwd=made, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "set API_KEY" in done.stderr


def test_it_answers_what_the_image_fly_and_people_ask_and_ends_when_told_to(
    image: list[Stage], fly: dict[str, Any], made: Path
) -> None:
    port = free_port()
    log = made / "log"
    with simulated_exchange(1) as exchange, log.open("wb") as output:
        variables = moved(
            image,
            made,
            API_KEY=KEY,
            PORT=str(port),
            KLINE_STREAM_PORT=str(free_port()),
            SYMBOLS="BTCUSDT",
            KLINE_SPOT_REST=exchange["rest"],
            KLINE_SPOT_WS=exchange["ws"],
            **exchange["environment"],
        )
        program = str(shutil.which(image[-1].command[0], path=variables["PATH"]))
        assert program.startswith(str(made))
        server = subprocess.Popen(
            [program, *image[-1].command[1:]],
            cwd=made / "data",
            env=variables,
            stdout=output,
            stderr=output,
        )
        try:
            until(
                lambda: fetch(port, "/ready")[0] == 200 or server.poll() is not None,
                log.read_text,
            )
            assert server.poll() is None, log.read_text()
            assert health(image, variables) == 0
            asked = [check["path"] for check in fly["services"][0]["http_checks"]]
            for path in (*asked, fly["checks"]["ready"]["path"]):
                assert fetch(port, path)[0] == 200, path
            assert fetch(port, "/klines/BTCUSDT/1m")[0] == 401
            assert fetch(port, "/klines/BTCUSDT/1m", **{"X-API-Key": KEY})[0] == 200
            # As Prometheus shows a key.
            assert fetch(port, "/metrics", Authorization=f"Bearer {KEY}")[0] == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0, log.read_text()
        finally:
            server.kill()
            server.wait()
    assert {"klinecore.sqlite", "spot.snapshot"} <= {p.name for p in (made / "data").iterdir()}
    assert health(image, variables) != 0  # nobody listens now
