"""Every page in a real browser: it fits, is named, reads well, and stays with its own server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from commands import Demo, until
from dashboard import WIDTHS, too_wide, watched
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

PAGES = ("#/", "#/chart/BTCUSDT/1m", "#/traders", "#/signals", "#/status", "#/about")
#: What a screen reader would find without a name.
_NAMELESS = """root => [...root.querySelectorAll("button, a[href], input, select, textarea")]
  .filter((one) => one.checkVisibility() && !(one.textContent.trim() || one.ariaLabel ||
    one.title || one.placeholder || one.labels?.length || one.getAttribute("aria-labelledby")))
  .map((one) => one.outerHTML.slice(0, 160))"""


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    demo = Demo("--speed", "10")
    yield demo
    assert demo.command.end() == 0


@pytest.mark.parametrize("address", PAGES)
def test_every_page_fits_both_widths_and_names_its_controls(
    page: Page, demo: Demo, address: str
) -> None:
    with watched(page, demo.url):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 844})
            page.goto(f"{demo.url}/{address}")
            expect(page.locator("vital-signs .live")).to_have_text("Live")
            expect(page.locator("main > *").first).to_be_attached()
            until(lambda: not too_wide(page), lambda: too_wide(page))  # a chart follows its place
            assert page.locator("html").evaluate(_NAMELESS) == []


def test_the_first_stop_of_the_keyboard_skips_to_the_content(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.url}/#/about")
    expect(page.get_by_role("heading", name="About")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_the_chart_librarys_makers_are_named_and_linked(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.url}/#/about")
    for place in (page.locator("main"), page.locator("footer")):
        expect(place.locator('a[href="https://www.tradingview.com/"]')).to_be_visible()
    expect(page.locator("main")).to_contain_text("Copyright (c) 2025 TradingView, Inc.")


def test_the_status_page_tells_closes_as_they_come_and_shows_all_series(
    page: Page, demo: Demo
) -> None:
    with watched(page, demo.url):
        page.goto(f"{demo.url}/#/status")
        expect(page.locator("page-status .verdict")).to_contain_text("Ready")
        expect(page.locator("status-barriers tbody tr").first).to_contain_text("2 of 2")
        page.get_by_role("button", name="Show all").click()
        expect(page.locator("status-series tbody tr")).to_have_count(8)
        page.get_by_label("Search series").fill("eth 1h")
        expect(page.locator("status-series tbody tr")).to_have_count(1)


def test_labels_in_a_row_stand_at_one_height(page: Page, demo: Demo) -> None:
    """Whether a list, a text or a number is chosen below them."""
    for address, width in (("#/signals", 1440), ("#/traders/new", 1440)):
        page.set_viewport_size({"width": width, "height": 844})
        page.goto(f"{demo.url}/{address}")
        labels = page.locator(".fields > label:not(.check):visible")
        expect(labels.nth(1)).to_be_visible()
        tops = labels.evaluate_all("all => all.map((one) => one.getBoundingClientRect().top)")
        assert len(tops) > 1
        assert len(set(tops)) == 1, address


def test_numbers_are_written_in_full_and_in_line(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.url}/#/about")
    told = page.evaluate(
        """async () => {
          const { src } = document.querySelector("script[type=module]");
          const { computed, percent, prices } = await import(new URL("format.js", src));
          return [
            ["-0.001", "0.004", "-0.01", 3].map(percent),
            [1.2345e-7, 66798.628, -0.5].map(computed),
            prices(["66762.30000000", "66765.14", "66000"]),
            prices(["0.6420"], 5),
          ];
        }"""
    )
    assert told == [
        ["0.00 %", "0.00 %", "-0.01 %", "+3.00 %"],
        ["0.00000012345", "66798.628", "-0.5"],
        ["66762.30", "66765.14", "66000.00"],
        ["0.64200"],
    ]
