"""klinecore.charting: the chart file is the one that is known, or one that was named."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import klinecore as kc
from klinecore import charting
from klinecore.charting import ChartLibrary, chart_library

OWN = b"/* Lightweight Charts\xe2\x84\xa2 v5.2.1 */ window.LightweightCharts = {};"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the chart file in a package of the same name that stands before the real one."""
    file = tmp_path / "litecharts" / "js" / "lightweight-charts.js"
    file.parent.mkdir(parents=True)
    (tmp_path / "litecharts" / "__init__.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return file


def test_the_installed_file_is_the_one_that_is_known() -> None:
    library = chart_library()
    assert library.version == "5.1.0"
    assert charting.KNOWN[library.sha256] == library.version
    assert hashlib.sha256(library.data).hexdigest() == library.sha256
    assert "TradingView Lightweight Charts™ v5.1.0" in library.text[:100]
    assert "window.LightweightCharts=" in library.text


def test_the_package_is_not_imported() -> None:
    program = (
        "import sys\n"
        "from klinecore.charting import chart_library\n"
        "chart_library()\n"
        "print(sorted(name for name in sys.modules if name.startswith('litecharts')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_an_installed_file_of_another_hash_is_refused(package: Path) -> None:
    package.write_bytes(OWN)
    with pytest.raises(kc.ChartLibraryError, match=hashlib.sha256(OWN).hexdigest()):
        chart_library()


def test_a_package_without_the_file_is_refused(package: Path) -> None:
    with pytest.raises(kc.ChartLibraryError, match=r"lightweight-charts\.js is no file"):
        chart_library()


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(kc.ChartLibraryError, match=r"pip install litecharts==0\.2\.0"):
        chart_library()


def test_a_file_of_your_own_is_taken_whatever_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "charts.js"
    file.write_bytes(OWN)
    assert chart_library(file) == ChartLibrary(OWN, "5.2.1", hashlib.sha256(OWN).hexdigest())
    assert chart_library(str(file)).text == OWN.decode()
    file.write_bytes(b"LightweightCharts={}")
    assert chart_library(file).version == ""


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "does not define LightweightCharts"),
        (b"<!doctype html><title>404</title>", "does not define LightweightCharts"),
        (b"console.log(LightweightCharts)", "does not define LightweightCharts"),
        (b"LightweightCharts=1;\xff", "not text in UTF-8"),
        (OWN + b" " * charting.FILE_SIZE_MAX, "more than 1,048,576 bytes"),
    ],
)
def test_a_file_that_cannot_be_it_is_refused(tmp_path: Path, data: bytes, fault: str) -> None:
    file = tmp_path / "charts.js"
    file.write_bytes(data)
    with pytest.raises(kc.ChartLibraryError, match=fault):
        chart_library(file)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.js"):
        with pytest.raises(kc.ChartLibraryError, match="is no file"):
            chart_library(path)
