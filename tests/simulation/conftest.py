"""Every test here runs in virtual time: nothing sleeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from simulation.thinning import thinned


@pytest.fixture(autouse=True)
def _thinned() -> Iterator[None]:
    with thinned():
        yield
