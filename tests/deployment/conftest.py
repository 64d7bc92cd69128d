"""The files that deploy the server, read once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile import Stage, stages


@pytest.fixture(scope="session")
def image(root: Path) -> list[Stage]:
    """The stages of the Dockerfile: what builds, and what is shipped."""
    return stages(root / "Dockerfile")


@pytest.fixture(scope="session")
def service(root: Path) -> dict[str, Any]:
    """The one service of docker-compose.yml."""
    found = yaml.safe_load((root / "docker-compose.yml").read_text(encoding="utf-8"))
    (only,) = found["services"].values()
    return dict(only)


@pytest.fixture(scope="session")
def fly(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "fly.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def project(root: Path) -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
