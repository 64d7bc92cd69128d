"""The past of many symbols scanned in a browser: step by step, cancelled, refused for a while."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from commands import Demo, fetch, until
from dashboard import watched
from playwright.sync_api import Locator, Page, Route, expect

pytestmark = pytest.mark.browser

REPLAY = "/v1/filters/replay"
SYMBOLS = ["BTCUSDT", "ETHUSDT", *(f"S{index:02d}USDT" for index in range(23))]
#: Symbols of one request, as the page divides so many.
STEPS = [10, 10, 5]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    demo = Demo("--symbols", ",".join(SYMBOLS), "--speed", "5", KLINE_INTERVALS="1m")
    yield demo
    assert demo.command.end() == 0


class Held:
    """Replays that the page asks for, each of which waits until it is let through."""

    def __init__(self, page: Page) -> None:
        self._routes: list[Route] = []
        self.steps: list[int] = []
        #: Whether what is asked from now on is let through at once.
        self.over = False
        page.route("**" + REPLAY, self._take)
        self._page = page

    def _take(self, route: Route) -> None:
        if self.over:
            return route.continue_()
        self._routes.append(route)
        body = route.request.post_data_json
        self.steps.append(len(body["symbols"]))

    def next(self) -> Route:
        until(lambda: self._routes or self._page.wait_for_timeout(20), "nothing is asked")
        return self._routes.pop()


def new_trader(page: Page, demo: Demo, filter: str) -> Locator:
    """A trader that is written and not saved; the part of its page that tries it."""
    page.goto(demo.url + "/#/traders/new")
    page.get_by_role("combobox", name="Filter", exact=True).fill(filter)
    expect(page.locator(".right")).to_be_visible()
    page.get_by_label("Fires").select_option("level")
    return page.locator("trader-trial")


def scan(page: Page) -> None:
    page.get_by_role("button", name="What it would have fired").click()


def test_the_whole_market_is_scanned_in_steps_and_sorted_by_time(page: Page, demo: Demo) -> None:
    with watched(page, demo.url):
        trial = new_trader(page, demo, "close > open")
        held = Held(page)
        scan(page)
        bar = page.get_by_role("progressbar", name="Symbols scanned")
        done = 0
        for step in STEPS:
            route = held.next()
            expect(trial).to_contain_text(f"{done} of {len(SYMBOLS)} symbols")
            assert bar.evaluate("bar => [bar.value, bar.max]") == [done, len(SYMBOLS)]
            done += step
            held.over = done == len(SYMBOLS)  # what is asked from now on draws the chart
            route.continue_()
        assert held.steps == STEPS
        expect(trial).to_contain_text(
            re.compile(rf"would have fired [\d,]+ times, on {done} of {done} symbols")
        )
        expect(bar).to_be_hidden()
        rows = trial.locator("tbody tr")
        expect(rows).to_have_count(200)
        expect(trial.locator("caption")).to_have_text(re.compile(r"^The newest 200 of [\d,]+ "))
        links = rows.locator("a").evaluate_all("links => links.map(link => link.hash)")
        times = [int(found[1]) for link in links if (found := re.search(r"at=(\d+)", link))]
        assert len(times) == 200
        assert times == sorted(times, reverse=True)
        assert len({link.split("/")[2] for link in links}) > max(STEPS)  # symbols of all steps

        # A click shows the kline here: what is written is not left for it.
        symbol = links[-1].split("/")[2]
        rows.last.get_by_role("link").click()
        expect(trial).to_contain_text(re.compile(rf"{symbol} 1m: \d+ markers"))
        told = page.locator("kline-chart").get_by_role("list", name="Marks in view")
        expect(told.locator(f'[data-time="{times[-1]}"]').first).to_be_attached()
        expect(page).to_have_url(re.compile("#/traders/new$"))


def test_a_scan_that_is_cancelled_keeps_what_was_found(page: Page, demo: Demo) -> None:
    with watched(page, demo.url):
        trial = new_trader(page, demo, "close > 0")
        held = Held(page)
        scan(page)
        held.next().continue_()
        held.next()
        expect(trial).to_contain_text(f"{STEPS[0]} of {len(SYMBOLS)} symbols")
        held.over = True
        trial.get_by_role("button", name="Cancel").click()
        expect(trial).to_contain_text(
            f"Cancelled after {STEPS[0]} of {len(SYMBOLS)} symbols. It would have fired"
        )
        expect(trial.locator("tbody tr").first).to_be_visible()
        expect(trial.get_by_role("button", name="Cancel")).to_be_hidden()
        assert held.steps == STEPS[:2]  # nothing more was asked


def test_a_scan_waits_when_asked_to_and_divides_what_is_too_large(page: Page, demo: Demo) -> None:
    with watched(page, demo.url, expected=(REPLAY,)):
        trial = new_trader(page, demo, "close > 0")
        held = Held(page)
        scan(page)
        busy = {"title": "Too Many Requests", "status": 429, "code": "rate_limited"}
        held.next().fulfill(status=429, headers={"Retry-After": "1"}, json=busy)
        expect(trial).to_contain_text("the server asks to wait 1 s")
        large = {"title": "Bad Request", "status": 400, "code": "too_large"}
        held.next().fulfill(status=400, json=large)
        held.next().continue_()
        held.next().continue_()
        last = held.next()
        assert held.steps == [10, 10, 5, 5, 10]
        expect(trial).to_contain_text(f"10 of {len(SYMBOLS)} symbols")
        last.abort()
        expect(trial).to_contain_text("The server cannot be reached.")


def test_what_compares_symbols_is_asked_of_all_at_once(page: Page, demo: Demo) -> None:
    with watched(page, demo.url):
        new_trader(page, demo, "rank(roc(5)) > 0.9")
        held = Held(page)
        scan(page)
        route = held.next()
        held.over = True
        route.continue_()
        assert held.steps == [len(SYMBOLS)]
        expect(page.locator("trader-trial")).to_contain_text("would have fired")


def test_a_past_that_cannot_be_scanned_says_why(page: Page, demo: Demo) -> None:
    status, body = fetch(demo.port, "/v1/traders")
    assert status == 200
    [found] = [one for one in json.loads(body)["traders"] if one["name"] == "Broad rise"]
    with watched(page, demo.url, expected=("/v1/filters/",)):
        page.goto(f"{demo.url}/#/traders/{found['id']}")
        history = page.get_by_role("region", name="History")
        expect(page.get_by_role("heading", level=1)).to_have_text("Broad rise")
        history.get_by_role("button", name="What it would have fired").click()
        expect(history).to_contain_text("Interval '15m' is not held by this server")
