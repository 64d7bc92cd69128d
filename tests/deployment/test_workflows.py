"""Workflows do what can be done anywhere, with pinned actions and no more rights than they need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

NAMES = ("ci", "wheels", "release")
#: What a job may have beyond reading the project, and the one reason for it.
RIGHTS = {
    "publish": {"attestations", "id-token"},
    "image": {"attestations", "id-token", "packages"},
    "release": {"contents"},
}


def read(root: Path, name: str) -> dict[str, Any]:
    text = (root / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    found["on"] = found.pop(True)  # YAML 1.1 reads the word as a truth value
    return found


def jobs(root: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name in NAMES:
        for job, told in read(root, name)["jobs"].items():
            yield name, job, told


def steps(root: Path) -> Iterator[dict[str, Any]]:
    for _, _, job in jobs(root):
        yield from job.get("steps", ())


def test_there_are_no_others(root: Path) -> None:
    found = {path.name for path in (root / ".github" / "workflows").iterdir()}
    assert found == {f"{name}.yml" for name in NAMES}


def test_each_action_is_pinned_to_a_commit_and_says_which_version_that_is(root: Path) -> None:
    pins = set()
    for name in NAMES:
        text = (root / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
        for used in re.findall(r"uses: (.*)", text):
            if not used.startswith("./"):
                assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used
                pins.add(used)
    assert len(pins) == len({pin.partition("@")[0] for pin in pins})  # one version of each


def test_what_a_workflow_runs_is_a_script_that_runs_anywhere(root: Path) -> None:
    ran = {step["run"] for step in steps(root) if "run" in step}
    scripts = {command.split()[0] for command in ran} - {"gh"}
    assert {".ci/run", ".ci/sbom", ".ci/image", ".ci/wheels", ".ci/tag"} == scripts
    for name in scripts:
        assert os.access(root / name, os.X_OK), name
    for command in ran:
        assert "${{" not in command, "an expression in a command is code of whoever names a branch"
        assert "\n" not in command.strip()


def test_nothing_is_allowed_that_is_not_needed(root: Path) -> None:
    for name in NAMES:
        told = read(root, name)
        assert told["permissions"] == {"contents": "read"}
        assert "pull_request_target" not in told["on"]
    for name, job, told in jobs(root):
        written = {right for right, what in told.get("permissions", {}).items() if what == "write"}
        assert written <= (RIGHTS.get(job, set()) if name == "release" else set()), job
        if "uses" not in told:
            assert told["timeout-minutes"] <= 120, job


def test_no_secret_is_named_and_a_checkout_keeps_no_token(root: Path) -> None:
    for name in NAMES:
        text = (root / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
        assert "secrets." not in text
        assert "secrets:" not in text
    for step in steps(root):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        tokens = [value for value in step.get("env", {}).values() if "github.token" in value]
        assert not tokens or re.match(r"\.ci/image --push$|gh release create", step["run"])


def test_pypi_is_shown_who_publishes_and_given_no_password(root: Path) -> None:
    publish = read(root, "release")["jobs"]["publish"]
    assert publish["environment"] == "pypi"
    assert publish["permissions"] == {"attestations": "write", "id-token": "write"}
    (step,) = (s for s in publish["steps"] if s["uses"].startswith("pypa/"))
    assert step["with"] == {"packages-dir": "dist"}


def test_every_python_is_tested_for_which_a_wheel_is_built(
    root: Path, project: dict[str, Any]
) -> None:
    tested = read(root, "ci")["jobs"]["run"]["strategy"]["matrix"]["python"]
    built = project["tool"]["cibuildwheel"]["build"]
    assert built == [f"cp{version.replace('.', '')}-*" for version in tested]
    promised = SpecifierSet(project["project"]["requires-python"])
    assert all(version in promised for version in tested)
    assert "3.10" not in promised


def test_a_wheel_is_tried_elsewhere_than_in_the_project(project: dict[str, Any]) -> None:
    commands = project["tool"]["cibuildwheel"]["test-command"]
    assert any("import klinecore" in command for command in commands)
    assert not any("cd {project}" in command or "-m server" in command for command in commands)


@pytest.mark.parametrize(
    ("tag", "heading", "is_right"),
    [
        ("v{}", "## {} (2026-12-01)", True),
        ("v{}", "## {} (unreleased)", False),
        ("{}", "## {} (2026-12-01)", False),
        ("v9.9.9", "## {} (2026-12-01)", False),
    ],
)
def test_only_a_version_that_is_released_is_tagged(
    root: Path, project: dict[str, Any], tmp_path: Path, tag: str, heading: str, is_right: bool
) -> None:
    version = project["project"]["version"]
    (tmp_path / ".ci").mkdir()
    shutil.copy(root / ".ci" / "tag", tmp_path / ".ci")
    shutil.copy(root / "pyproject.toml", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading.format(version)}\n")
    command = [tmp_path / ".ci" / "tag", tag.format(version)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode == 0) is is_right, done.stderr
