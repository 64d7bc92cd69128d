"""What every test shares: the depth of the property tests, the reference code, real market data."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from stack.project import Stack

ROOT = Path(__file__).parent.parent

# The reference implementations (`reference.*`) are plain modules beside the tests, in no package:
# the project's root must stay off the path, or an installed klinecore would be shadowed by it.
sys.path.insert(0, str(Path(__file__).parent / "support"))

# Started in the background of a shell, we were told to ignore Ctrl-C, and so would be every program
# that a test starts, and ends by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("default", max_examples=150, deadline=None)
settings.register_profile(
    "nightly",
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Half as many again as there are cores: a good part of the tests waits for sockets."""
    return max(1, len(os.sched_getaffinity(0)) * 3 // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The recorded month, one test of many minutes, begins first: last, it would run alone."""
    items.sort(key=lambda item: item.path.name != "test_recorded_month.py")


def pytest_collection_finish() -> None:
    """Thousands of tests live to the end: no later collection of garbage looks at them again."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Supabase project: Postgres with the project's schema, PostgREST, and named stand-ins.

    One for all tests of a process: each makes users and traders of its own. A test that kills or
    changes something of it starts a ``Stack`` of its own, which takes two seconds.
    """
    from stack.tools import missing

    reason = missing("rest")
    if reason is not None:
        pytest.skip(reason)
    from stack.project import Stack

    with Stack(tmp_path_factory.mktemp("stack"), realtime=True) as project:
        yield project
