"""kc.chart in a real browser: it draws what the kernel holds, live, and asks nobody else."""

from __future__ import annotations

import base64
import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ipywidgets.widgets.widget import _remove_buffers
from kernel_comm import KernelComm
from playwright.sync_api import Browser, Page, expect
from widget_page import Notebook

import klinecore as kc
from klinecore.notebook import Chart

pytestmark = pytest.mark.browser

MINUTE = 60_000
START = 1769904000000
BACK = {"light": (255, 255, 255), "dark": (19, 23, 34)}
HOLE = (255, 235, 204)  # on white
LINE = (41, 98, 255)

#: How many pixels of the chart's canvases are about of a colour.
COUNT = """([red, green, blue]) => {
  let count = 0;
  for (const canvas of document.querySelectorAll(".klinecore-chart canvas")) {
    if (!canvas.width || !canvas.height) continue;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4) {
      const far = Math.abs(data[i] - red) + Math.abs(data[i + 1] - green)
        + Math.abs(data[i + 2] - blue);
      if (data[i + 3] === 255 && far < 12) count++;
    }
  }
  return count;
}"""

#: How many pixels of one colour stand well between the first and the last one of another.
INSIDE = """([outer, inner]) => {
  let count = 0;
  for (const canvas of document.querySelectorAll(".klinecore-chart canvas")) {
    if (!canvas.width || !canvas.height) continue;
    const { width } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, canvas.height);
    const places = ([red, green, blue]) => {
      const found = [];
      for (let i = 0; i < data.length; i += 4) {
        const far = Math.abs(data[i] - red) + Math.abs(data[i + 1] - green)
          + Math.abs(data[i + 2] - blue);
        if (data[i + 3] === 255 && far < 12) found.push((i / 4) % width);
      }
      return found;
    };
    const outers = places(outer);
    if (!outers.length) continue;
    const first = outers.reduce((a, b) => Math.min(a, b)) + 4;
    const last = outers.reduce((a, b) => Math.max(a, b)) - 4;
    count += places(inner).filter((x) => x > first && x < last).length;
  }
  return count;
}"""


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comm.create_comm", KernelComm)


def push(market: kc.Market, minute: int, close: float, *, closed: bool = True) -> None:
    open_ms = START + minute * MINUTE
    texts = [f"{price:.2f}" for price in (close - 0.4, close + 0.5, close - 0.9, close)]
    close_ms = open_ms + MINUTE - 1
    row = kc.Kline(open_ms, *texts, "2", close_ms, "200", 3, "1", "100", closed)
    market.push("BTCUSDT", "1m", row)


def market_of(count: int, without: range = range(0), path: str | None = None) -> kc.Market:
    market = kc.Market(["BTCUSDT"], ["1m"], capacity=500, path=path)
    for minute in range(count):
        if minute not in without:
            push(market, minute, 100 + 8 * math.sin(minute / 9))
    return market


class Shown:
    """A chart in a page."""

    def __init__(self, page: Page, market: object, **asked: object) -> None:
        self.chart = kc.chart(market, **asked)  # type: ignore[arg-type]
        self.notebook = Notebook(page, self.chart)
        self.notebook.show()
        self.page = page
        self.legend = page.locator(".klinecore-legend").first
        expect(self.legend).to_contain_text("BTCUSDT · 1m · UTC")

    def pixels(self, color: tuple[int, int, int]) -> int:
        return int(self.page.evaluate(COUNT, color))

    def settled(self, color: tuple[int, int, int]) -> int:
        """Pixels of a colour once two looks agree."""
        counts = (self.pixels(color) for _ in itertools.count())
        before = next(counts)
        while True:
            self.page.wait_for_timeout(150)
            if (now := next(counts)) == before:
                return now
            before = now


@pytest.fixture(autouse=True)
def _nothing_amiss(request: pytest.FixtureRequest) -> Iterator[None]:
    made: list[Notebook] = []
    begin = Notebook.__init__

    def note(self: Notebook, page: Page, chart: object) -> None:
        made.append(self)
        begin(self, page, chart)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Notebook, "__init__", note)
        yield
    for notebook in made:
        assert notebook.outside == []
        assert notebook.errors == []
        notebook.widget.close()


def test_the_newest_kline_stands_above_the_chart(page: Page) -> None:
    shown = Shown(page, market_of(200), overlays=["ema(20)"], panes=["rsi(14)", "macd()"])
    last = 100 + 8 * math.sin(199 / 9)
    expect(shown.legend).to_contain_text(f"C {last:.2f}")
    expect(shown.legend).to_contain_text(re.compile(r"ema\(20\) \d+\.\d\d"))
    assert shown.settled((38, 166, 154)) > 500  # rising klines
    assert shown.settled((239, 83, 80)) > 500  # falling ones


def test_whose_chart_library_it_is_can_be_seen(page: Page) -> None:
    Shown(page, market_of(50))
    link = page.locator(".klinecore-chart a[href^='https://www.tradingview.com/']")
    expect(link).to_be_visible()


def test_the_forming_kline_moves(page: Page) -> None:
    market = market_of(100)
    shown = Shown(page, market, overlays=["sma(5)"])
    for price in (123.25, 124.5):
        push(market, 100, price, closed=False)
        shown.notebook.wait(lambda price=price: f"C {price:.2f}" in shown.legend.inner_text())
    closes = [*market["BTCUSDT", "1m"].close[-4:], 124.5]
    expect(shown.legend).to_contain_text(f"sma(5) {sum(closes) / 5:.2f}")
    push(market, 100, 125.75)
    push(market, 101, 126.25, closed=False)
    shown.notebook.wait(lambda: "C 126.25" in shown.legend.inner_text())


def test_another_process_s_series_is_followed(page: Page, tmp_path: Path) -> None:
    market = market_of(100, path=str(tmp_path / "arena"))
    shown = Shown(page, kc.attach(tmp_path / "arena"))
    push(market, 100, 150.5, closed=False)
    shown.notebook.wait(lambda: "C 150.50" in shown.legend.inner_text())


def test_a_hole_is_shown_and_not_bridged(page: Page) -> None:
    shown = Shown(page, market_of(120, without=range(60, 75)), overlays=["close"])
    assert shown.settled(HOLE) > 3000
    assert shown.settled(LINE) > 100
    assert page.evaluate(INSIDE, [HOLE, LINE]) == 0


def test_a_hole_that_is_filled_is_gone(page: Page) -> None:
    market = market_of(120, without=range(60, 75))
    shown = Shown(page, market, overlays=["close"])
    assert shown.settled(HOLE) > 3000
    for minute in range(60, 75):
        push(market, minute, 100)
    shown.notebook.wait(lambda: shown.pixels(HOLE) == 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_the_system_s_colours_and_changes_with_them(page: Page, scheme: str) -> None:
    other = {"light": "dark", "dark": "light"}[scheme]
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    shown = Shown(page, market_of(60))
    shown.notebook.wait(lambda: shown.pixels(BACK[scheme]) > 50_000)
    page.emulate_media(color_scheme=other)  # type: ignore[arg-type]
    shown.notebook.wait(lambda: shown.pixels(BACK[other]) > 50_000)
    assert shown.pixels(BACK[scheme]) < 1000  # some letters are as white


def test_a_notebook_s_own_theme_comes_first(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    shown = Shown(page, market_of(60))
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    shown.notebook.wait(lambda: shown.pixels(BACK["dark"]) > 50_000)


def test_firings_are_marked_and_named(page: Page) -> None:
    market = market_of(200)
    fired = kc.replay(kc.compile("crosses_above(close, 100)"), market, "1m")
    assert len(fired.price) > 1
    shown = Shown(page, market, firings={"over a hundred": fired})
    expect(shown.legend).to_contain_text("▲ over a hundred")
    assert shown.settled(LINE) > 50  # the colour of the first marks, too; there is no line here


def test_what_is_typed_is_never_markup(page: Page) -> None:
    name = "<img src=x onerror=alert(1)>"
    shown = Shown(page, market_of(60), firings={name: "close > 1"})
    expect(shown.legend).to_contain_text(name)
    assert page.locator("img").count() == 0


def test_a_chart_that_is_gone_is_followed_no_more(page: Page) -> None:
    market = market_of(50)
    shown = Shown(page, market)
    shown.notebook.show()
    assert page.locator(".klinecore-chart").count() == 2
    shown.notebook.hide()
    assert shown.chart._task is not None
    shown.notebook.hide()
    shown.notebook.wait(lambda: shown.chart._task is None)
    expect(page.locator(".klinecore-chart")).to_have_count(0)


def test_a_page_that_is_left_is_followed_no_more(page: Page) -> None:
    shown = Shown(page, market_of(50))
    assert shown.chart._task is not None
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide'))")
    shown.notebook.wait(lambda: shown.chart._task is None)


def test_a_second_picture_shows_what_came_by_ticks(page: Page) -> None:
    market = market_of(50)
    shown = Shown(page, market)
    push(market, 50, 150.25)
    shown.notebook.wait(lambda: "C 150.25" in shown.legend.inner_text())
    shown.notebook.show()
    expect(page.locator(".klinecore-legend").nth(1)).to_contain_text("C 150.25")


def test_a_page_loaded_anew_shows_what_came_by_ticks(page: Page, browser: Browser) -> None:
    market = market_of(50)
    shown = Shown(page, market)
    push(market, 50, 150.25)
    shown.notebook.wait(lambda: "C 150.25" in shown.legend.inner_text())
    other = browser.new_page()
    shown.chart.comm.sent.append(opened(shown.chart))
    again = Notebook(other, shown.chart)
    again.show()
    again.wait(lambda: "C 150.25" in other.locator(".klinecore-legend").inner_text())
    other.close()


def opened(chart: Chart) -> dict[str, Any]:
    """The state that a page asks for when it is loaded."""
    state, paths, buffers = _remove_buffers(chart.get_state())
    texts = [base64.b64encode(one).decode() for one in buffers]
    names = [path[0] for path in paths]
    return {"method": "open", "state": state, "bytes": dict(zip(names, texts, strict=True))}
