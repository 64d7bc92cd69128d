"""A real Chromium for tests: Debian's own, without a display; nothing is downloaded for it."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

import pytest

#: Without the extra ``browser``, all of it, there is nothing here that could be read.
EXTRA = ("pytest_playwright", "ipykernel", "nbclient", "nbconvert")
collect_ignore_glob = [] if all(map(importlib.util.find_spec, EXTRA)) else ["test_*.py"]

#: It asks nobody for anything while it starts, and needs no graphics card.
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",  # containers have 64 MB there
)
#: Seconds a step may take; what waits for a page on a busy machine must be patient.
PATIENCE_S = 60


@pytest.fixture(scope="session")
def base_url() -> None:
    """Each test names whole addresses; the plugin's own fixture is of a kind pytest gives up."""


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """How pytest-playwright starts its browser; skips where there is no Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium fonts-dejavu-core")
    return {
        "executable_path": chromium,
        "chromium_sandbox": False,  # it refuses to run as root otherwise
        "args": [*ARGUMENTS],
        "timeout": PATIENCE_S * 1000,
    }


@pytest.fixture
def context(context: Any) -> Any:
    """A browser context, as pytest-playwright makes it, that waits long enough."""
    from playwright.sync_api import expect

    context.set_default_timeout(PATIENCE_S * 1000)
    context.set_default_navigation_timeout(PATIENCE_S * 1000)
    expect.set_options(timeout=PATIENCE_S * 1000)
    return context
