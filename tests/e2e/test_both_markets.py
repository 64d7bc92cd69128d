"""The dashboard of a server of both markets: each page says which one it shows, and keeps to it."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from commands import both_markets, fetch, until
from dashboard import WIDTHS, too_wide, watched
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

#: Simulated seconds a second: a minute closes every three.
SPEED = 20


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server of both markets, spot and USD-M futures."""
    with both_markets(SPEED, tmp_path_factory.mktemp("both"), "1m") as (port, _, _):
        yield port


def always(port: int, market: str) -> str:
    """A trader of that market that fires at every close; its id."""
    draft = {
        "name": f"always {market}", "filter": "close > 0", "interval": "1m", "mode": "level",
        "market": market,
    }  # fmt: skip
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/traders",
        json.dumps(draft).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["id"])


def closes(port: int, market: str) -> dict[int, str]:
    """By opening time, of the klines that the server holds."""
    status, body = fetch(port, f"/klines/BTCUSDT/1m?market={market}&limit=400")
    assert status == 200
    return {row["t"]: row["c"] for row in json.loads(body)["klines"]}


def shown(page: Page) -> dict[int, str]:
    """Likewise, of those that the chart shows."""
    rows: list[Any] = page.locator("kline-chart").evaluate("chart => chart.rows")
    return {row["t"]: row["c"] for row in rows if row["x"]}


def assert_shows(page: Page, port: int, market: str) -> None:
    """The chart's klines are those of the market, and not of the other one."""
    expect(page.locator("kline-chart .legend .when")).to_contain_text("UTC")
    until(lambda: len(shown(page)) > 300, "no klines")
    chart = shown(page)
    same = {name: closes(port, name).items() & chart.items() for name in ("spot", "um")}
    other = "um" if market == "spot" else "spot"
    assert len(same[market]) > 300
    assert len(same[other]) < 100  # prices may be the same by chance


def test_every_page_keeps_to_the_market_that_was_chosen(page: Page, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    for market in ("spot", "um"):
        always(port, market)
    with watched(page, url):
        page.goto(url)
        markets = page.get_by_role("navigation", name="Market")
        markets.get_by_role("link", name="USD-M").click()
        # Rows of the other market stand there until this one's have come.
        chart = page.locator('#page a[href*="/BTCUSDT/"][href*="market=um"]')
        expect(chart).to_be_visible()
        price = page.locator("#page tr", has_text="BTCUSDT").locator("td.price")
        before = price.inner_text()
        expect(price).not_to_have_text(before)  # it is live
        chart.click()
        expect(page).to_have_url(re.compile("market=um"))
        current = markets.locator("[aria-current]")
        expect(current).to_have_text("USD-M")
        assert_shows(page, port, "um")

        # The marks are those of this market's signals only.
        marks = page.locator("kline-chart").get_by_role("list", name="Marks in view").locator("li")
        expect(marks.filter(has_text="always um").first).to_be_attached()
        expect(marks.filter(has_text="always spot")).to_have_count(0)
        markets.get_by_role("link", name="Spot").click()
        expect(current).to_have_text("Spot")
        expect(marks.filter(has_text="always spot").first).to_be_attached()
        expect(marks.filter(has_text="always um")).to_have_count(0)
        assert_shows(page, port, "spot")

        # The feed has both, says which, and leads to the right chart.
        page.goto(url + "/#/signals")
        rows = page.locator("signal-feed tbody tr")
        future = rows.filter(has_text="always um").first
        expect(future.locator(".symbol")).to_contain_text("1m USD-M")
        expect(rows.filter(has_text="always spot").first).not_to_contain_text("USD-M")
        expect(future.locator(".now")).not_to_have_text("–")
        page.get_by_role("combobox", name="Market").select_option("um")
        expect(rows.filter(has_text="always spot")).to_have_count(0)
        now = rows.first.locator(".now")
        before = now.inner_text()
        expect(now).not_to_have_text(before)  # live, also of the market that is not the first
        rows.first.locator(".then").click()
        expect(page).to_have_url(re.compile(r"market=um"))
        expect(marks.filter(has_text="always um").first).to_be_attached()


def test_a_trader_of_futures_is_made_seen_and_leads_to_their_chart(page: Page, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    with watched(page, url):
        page.goto(url + "/#/traders/new")
        page.get_by_label("Name", exact=True).fill("of futures")
        page.get_by_role("combobox", name="Filter", exact=True).fill("close > 1")
        page.get_by_role("combobox", name="Market").select_option("um")
        page.get_by_label("Fires").select_option("level")
        expect(page.locator(".right")).to_be_visible()
        page.get_by_role("button", name="Create trader").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("of futures")
        expect(page.locator("trader-card .tags")).to_contain_text("USD-M")
        history = page.get_by_role("region", name="History")
        history.get_by_role("button", name="What it would have fired").click()
        expect(history).to_contain_text(re.compile(r"would have fired [\d,]+ times, on 2 of 2"))
        history.locator("tbody a").first.click()
        expect(page).to_have_url(re.compile(r"#/chart/\w+/1m\?market=um&at=\d+&trader="))
        expect(page.get_by_label("Signals of").locator("option:checked")).to_have_text("of futures")


def test_the_status_page_tells_the_markets_apart(page: Page, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    with watched(page, url):
        page.goto(url + "/#/chart/BTCUSDT/1m?market=um")
        until(lambda: page.wait_for_timeout(50) or sockets[-1:] == [f"ws{url[4:]}/ws?market=um"])
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Status").click()
        markets = page.get_by_role("navigation", name="Market of closes")
        expect(markets.locator("[aria-current]")).to_have_text("Spot")
        expect(page.locator("status-barriers tbody tr").first).to_contain_text("2 of 2")
        assert sockets[-1] == f"ws{url[4:]}/ws"
        markets.get_by_role("link", name="USD-M").click()
        expect(markets.locator("[aria-current]")).to_have_text("USD-M")
        expect(page.locator("status-barriers tbody tr").first).to_contain_text("2 of 2")
        assert sockets[-1] == f"ws{url[4:]}/ws?market=um"

        page.get_by_role("button", name="Show all").click()
        page.get_by_label("Search series").fill("btc usd-m")
        page.get_by_role("link", name="BTCUSDT 1m USD-M").click()
        expect(page).to_have_url(re.compile(r"#/chart/BTCUSDT/1m\?market=um"))
        assert_shows(page, port, "um")


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_with_both_markets(page: Page, port: int, width: int) -> None:
    url = f"http://127.0.0.1:{port}"
    page.set_viewport_size({"width": width, "height": 844})
    with watched(page, url):
        for address in ("#/?market=um", "#/chart/BTCUSDT/1m?market=um", "#/signals", "#/status"):
            page.goto(f"{url}/{address}")
            expect(page.locator("vital-signs .live")).to_have_text("Live")
            expect(page.locator("main > *").first).to_be_attached()
            until(lambda: not too_wide(page), lambda: too_wide(page))
