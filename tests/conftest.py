"""What every test shares: the depth of the property tests, the reference code, real market data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent

# The reference implementations (`reference.*`) are plain modules beside the tests, in no package:
# the project's root must stay off the path, or an installed klinecore would be shadowed by it.
sys.path.insert(0, str(Path(__file__).parent / "support"))

settings.register_profile("default", max_examples=150, deadline=None)
settings.register_profile(
    "nightly",
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real market data; the test is skipped where there is none."""
    path = Path(os.environ.get("KLINECORE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("no real market data: set KLINECORE_TEST_DATA to its folder")
    return path
