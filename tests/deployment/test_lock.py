"""The lock files pin what pyproject.toml asks for, by hash, and name no place it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
#: Of the project's extras, those that a server uses.
EXTRAS = ("supabase", "alerts")
ENTRY = re.compile(r"^([a-z0-9.-]+)==(\S+)(?: ; ([^\\\n]+?))? \\\n((?: {4}--hash=.*\n?)+)", re.M)


def pinned(path: Path, python: str) -> dict[str, str]:
    """Versions by name that a lock file installs on Linux with a Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.1"}
    found = {}
    for name, version, marker, hashes in ENTRY.findall(path.read_text(encoding="utf-8")):
        assert re.fullmatch(r"( {4}--hash=sha256:[0-9a-f]{64}( \\)?\n?)+", hashes), name
        if marker and not Requirement(f"{name} ; {marker}").marker.evaluate(environment):
            continue
        assert name not in found
        found[name] = version
    return found


def wanted(project: dict[str, Any], python: str) -> Iterator[Requirement]:
    extras = project["project"]["optional-dependencies"]
    texts = [*project["project"]["dependencies"], *(t for e in EXTRAS for t in extras[e])]
    environment = default_environment() | {"python_version": python}
    for requirement in map(Requirement, texts):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield requirement


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_what_the_project_requires(
    root: Path, project: dict[str, Any], python: str
) -> None:
    found = pinned(root / "requirements.lock", python)
    for requirement in wanted(project, python):
        version = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: run .ci/lock"


@pytest.mark.parametrize("python", PYTHONS)
def test_what_builds_is_locked_too_and_the_same_where_both_have_it(
    root: Path, project: dict[str, Any], python: str
) -> None:
    built, run = (pinned(root / f"requirements{n}.lock", python) for n in ("-build", ""))
    for requirement in map(Requirement, project["build-system"]["requires"]):
        version = built[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: run .ci/lock"
    # picows' structs are compiled in.
    assert {name: built[name] for name in built.keys() & run.keys()}.items() <= run.items()


def test_a_lock_names_packages_versions_and_hashes_and_nothing_else(root: Path) -> None:
    for name in ("requirements.lock", "requirements-build.lock"):
        text = (root / name).read_text(encoding="utf-8")
        rest = ENTRY.sub("", text).strip().splitlines()
        assert all(line.startswith("#") for line in rest), rest
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text
