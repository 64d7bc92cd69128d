"""The notebooks of examples/ run against a demo as they stand, and what they show can be seen."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from commands import Demo, environment, fetch, free_port
from nbconvert import HTMLExporter
from notebooks import OUTPUT_SIZE_MAX
from playwright.sync_api import Page, Route, expect

import klinecore

pytestmark = pytest.mark.browser

#: Seconds a notebook may take on a busy machine.
PATIENCE_S = 600
RUNNER = Path(__file__).parents[1] / "support" / "notebooks.py"
ADDRESS = "http://notebook.test/"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What tells a notebook where a running demo is."""
    arena = tmp_path_factory.mktemp("demo") / "arena"
    port = free_port()
    arguments = ("--intervals", "1m,1h", "--speed", "30", "--stream-port", str(port))
    running = Demo(*arguments, KLINE_ARENA=str(arena))
    try:
        yield {
            "KLINECORE_SERVER": running.url,
            "KLINECORE_STREAMS": f"ws://127.0.0.1:{port}",
            "KLINE_ARENA": str(arena),
        }
    finally:
        running.command.end()


def run(notebook: Path, folder: Path, **where: str) -> subprocess.CompletedProcess[str]:
    """Run it in place, in a process that has nothing of this one's event loop."""
    return python([str(RUNNER), str(notebook)], folder, **where)


def python(arguments: list[str], folder: Path, **where: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, with nothing of whoever runs the tests."""
    own = {name: str(folder) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    path = str(Path(klinecore.__file__).parents[1])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(**own, PYTHONPATH=path, JUPYTER_PLATFORM_DIRS="1", **where),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def show(page: Page, notebook: Any) -> list[str]:
    """Show it as a page; what that page asks others for."""
    exporter = HTMLExporter(mathjax_url="", require_js_url="")  # the template's own
    html, _ = exporter.from_notebook_node(notebook)
    outside: list[str] = []

    def answer(route: Route) -> None:
        if route.request.url == ADDRESS:
            route.fulfill(body=html, content_type="text/html; charset=utf-8")
            return
        outside.append(route.request.url)
        route.abort()

    page.route("**/*", answer)
    page.goto(ADDRESS)
    return outside


@pytest.mark.parametrize("name", ["explore", "research"])
def test_a_notebook_runs_and_shows_tables_and_charts(
    name: str, demo: dict[str, str], root: Path, tmp_path: Path, page: Page
) -> None:
    copy = Path(shutil.copy(root / "examples" / f"{name}.ipynb", tmp_path))
    kept = nbformat.read(copy, as_version=4)
    done = run(copy, tmp_path, **demo)
    assert done.returncode == 0, done.stderr[-4000:]
    made = nbformat.read(copy, as_version=4)
    assert [cell.source for cell in made.cells] == [cell.source for cell in kept.cells]
    said = outputs(made)
    assert [one for one in said if one.output_type == "error" or one.get("name") == "stderr"] == []
    assert max(len(json.dumps(one)) for one in said) < OUTPUT_SIZE_MAX
    # What stands in the repository is of the same kind.
    assert [list(one.get("data", ())) for one in said] == [
        list(one.get("data", ())) for one in outputs(kept)
    ]
    assert show(page, made) == []
    charts = sum("image/svg+xml" in one.get("data", ()) for one in said)
    assert charts
    images = page.locator("img[src^='data:image/svg']")
    expect(images).to_have_count(charts)
    for place in range(charts):
        expect(images.nth(place)).to_be_visible()
        assert images.nth(place).evaluate("image => image.naturalWidth") == 720
    expect(page.locator("table").first).to_be_visible()


@pytest.mark.parametrize("told", [True, False])
def test_nbconvert_shows_pictures_if_told_as_the_page_says(
    told: bool, demo: dict[str, str], root: Path, tmp_path: Path
) -> None:
    page = (root / "docs" / "notebooks.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^jupyter (nbconvert (?:.*\\\n)*.*)$", page, re.M)
    copy = Path(shutil.copy(root / "examples" / "explore.ipynb", tmp_path))
    words = [word.replace(f"examples/{copy.name}", str(copy)) for word in shlex.split(command)]
    if not told:
        words = [word for word in words if "store_widget_state" not in word]
    done = python(["-m", *words], tmp_path, **demo)
    assert done.returncode == 0, done.stderr[-4000:]
    html = copy.with_suffix(".html").read_text(encoding="utf-8")
    charts = sum(
        "image/svg+xml" in one.get("data", ())
        for one in outputs(nbformat.read(root / "examples" / copy.name, as_version=4))
    )
    assert len(re.findall(r'<img[^>]* src="data:image/svg', html)) == (charts if told else 0)
    assert charts


def test_research_ends_with_a_trader_at_the_server(
    demo: dict[str, str], root: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(root / "examples" / "research.ipynb", tmp_path))
    for _ in range(2):  # the second time in place of the first
        assert run(copy, tmp_path, **demo).returncode == 0
    port = int(demo["KLINECORE_SERVER"].rpartition(":")[2])
    traders = json.loads(fetch(port, "/v1/traders?limit=100")[1])["traders"]
    (own,) = (one for one in traders if one["name"] == "research: dip")
    assert own["enabled"]
    assert own["filter"].startswith("crosses_above(rsi(close, 14), 35)")


def test_a_notebook_that_asks_anybody_else_fails(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook()
    code = "import urllib.request\nurllib.request.urlopen('http://192.0.2.1/', timeout=5)"
    notebook.cells.append(nbformat.v4.new_code_cell(code))
    nbformat.write(notebook, tmp_path / "asks.ipynb")
    done = run(tmp_path / "asks.ipynb", tmp_path, PATH=os.environ["PATH"])
    assert done.returncode != 0
    assert "a notebook asks for 192.0.2.1" in done.stderr
