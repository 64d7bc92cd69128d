"""The edge functions' own checks, run by Deno: format, lint, types, tests, imports."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from edge import FUNCTIONS, deno, deno_environment

from server.traders.tiers import TIERS

pytestmark = pytest.mark.edge


def run(*arguments: str) -> str:
    program = deno()
    if program is None:
        pytest.skip("Deno is not installed: pip install deno")
    done = subprocess.run(
        [str(program), *arguments],
        cwd=FUNCTIONS,
        env=deno_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module", autouse=True)
def _fetched() -> None:
    """What the lock file names is there; nothing else is fetched."""
    run("install", "--frozen")


def test_format_lint_and_types_are_clean() -> None:
    run("fmt", "--check")
    run("lint")
    run("check", "--frozen", ".")


def test_their_tests_pass_with_no_network_but_loopback() -> None:
    said = run("test", "--no-prompt", "--cached-only", "--allow-env", "--allow-net=127.0.0.1")
    assert re.search(r"ok \| (\d+) passed", said)


def test_what_is_taken_in_comes_from_npm_by_checksum() -> None:
    config = json.loads((FUNCTIONS / "deno.json").read_text())
    assert config["imports"]
    assert all(target.startswith("npm:") for target in config["imports"].values())
    lock = (FUNCTIONS / "deno.lock").read_text()
    assert all("integrity" in package for package in json.loads(lock)["npm"].values())
    assert "://" not in lock
    assert json.loads(lock)["version"] == "4"  # 5 is more than Edge Runtimes before 2026 can read
    for path in FUNCTIONS.rglob("*.ts"):
        for target in re.findall(r'from "([^"]+)"', path.read_text()):
            known = target in config["imports"] or target.startswith(("./", "../", "node:"))
            assert known, (path.name, target)


def test_requests_of_each_tier_are_those_of_the_server() -> None:
    text = (FUNCTIONS / "_shared" / "tiers.ts").read_text()
    for tier, limits in TIERS.items():
        assert re.search(rf"^  {tier}: {limits.requests_per_min},$", text, re.M), tier
