"""A user's own Cython module compiles against the installed package and runs in its memory."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from reference.messages import kline_frame
from reference.strategies import START_MS, plain_kline

import klinecore as kc

pytestmark = pytest.mark.slow

SETUP = """
from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

Options.warning_errors = True
modules = cythonize(
    [Extension("user", ["user.pyx"])],
    include_path=[INCLUDE],
    compiler_directives={"language_level": "3"},
)
setup(ext_modules=modules)
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """``user.pyx``, built as a user would: from another folder, with what was installed."""
    pytest.importorskip("Cython", reason="Cython compiles the module; it is in the test extra")
    folder = tmp_path_factory.mktemp("user")
    (folder / "user.pyx").write_text((Path(__file__).parent / "user.pyx").read_text())
    installed = Path(kc.__file__).parents[1]
    (folder / "setup.py").write_text(SETUP.replace("INCLUDE", repr(str(installed))))
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    path = folder / f"user{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = spec_from_file_location("user", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_declaration_file_is_installed_beside_its_module() -> None:
    package = Path(kc.__file__).parent
    compiled = {
        path.name.split(".")[0]
        for path in package.rglob("*.so")
        if not path.name.startswith("_cyutility")
    }
    declared = {path.stem for path in package.rglob("*.pxd")}
    stubbed = {path.stem for path in package.rglob("*.pyi")}
    assert compiled
    assert compiled <= declared
    assert compiled <= stubbed
    assert (package / "py.typed").exists()


def test_a_listener_in_c_feeds_a_market(user: ModuleType) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"])
    row = plain_kline(START_MS)
    assert user.feed(market, kline_frame(row)) == kc.FrameKind.KLINE
    assert user.feed(market, b"{") == kc.FrameKind.MALFORMED
    assert market["BTCUSDT", "1m"].klines() == [row]
    assert market.counters()["frames_malformed"] == 1


def test_rows_are_merged_and_read_in_c_where_they_lie(user: ModuleType) -> None:
    series = kc.Market(["BTCUSDT"], ["1m"])["BTCUSDT", "1m"]
    rows = [plain_kline(START_MS), plain_kline(START_MS + 60_000)]
    assert [user.merge_parsed(series, kline_frame(row)) for row in rows] == [True, True]
    assert not user.merge_parsed(series, kline_frame(rows[1]))
    assert series.klines() == rows
    assert user.newest_close(series) == float(rows[1].close) == series.close[-1]
    assert user.close_time(series, START_MS) == rows[0].close_time_ms
    assert user.row_size() % 8 == 0


def test_what_is_known_of_a_stretch_leaves_with_the_row_before_it(user: ModuleType) -> None:
    """Readers of the memory itself must not meet a bit that speaks of rows outside the window."""
    market = kc.Market(["BTCUSDT"], ["1m"], 3)
    series = market["BTCUSDT", "1m"]

    def push(place: int) -> None:
        market.push("BTCUSDT", "1m", plain_kline(START_MS + place * 60_000))

    def confirm() -> None:
        assert all(market.confirm_absent("BTCUSDT", "1m", *hole) for hole in series.holes())

    for place in (0, 2, 6):
        push(place)
    confirm()
    assert user.absent_bits(series) == [False, True, True]
    push(4)  # the oldest row makes room for it
    assert user.absent_bits(series) == [False, False, False]
    confirm()
    assert user.absent_bits(series) == [False, True, True]
    push(7)
    assert user.absent_bits(series) == [False, True, False]


def test_nothing_is_merged_into_the_series_of_a_removed_symbol(user: ModuleType) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"])
    series = market["BTCUSDT", "1m"]
    market.remove_symbol("BTCUSDT")
    assert not user.merge_parsed(series, kline_frame(plain_kline(START_MS)))
    assert series.klines() == []


def test_an_indicator_is_stepped_on_in_c_over_many_series(user: ModuleType) -> None:
    prices = np.random.default_rng(1).uniform(1, 2, (200, 8))
    together = np.empty_like(prices)
    user.rsi_of_many(prices, together, 14)
    for column in range(8):
        alone = kc.rsi(np.ascontiguousarray(prices[:, column]), 14)
        assert together[:, column].tobytes() == alone.tobytes()
