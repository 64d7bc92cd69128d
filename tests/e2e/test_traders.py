"""Traders in the dashboard: written, mended, tried, saved; they fire, and no signal is missed."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Demo, fetch, free_port, serve, simulated_exchange, until
from dashboard import WIDTHS, too_wide, watched
from playwright.sync_api import Locator, Page, Route, expect

pytestmark = pytest.mark.browser

#: Simulated seconds a second: a minute closes every three.
SPEED = 20
CHECK = "/v1/filters/check"
VOCABULARY = "/v1/filters/vocabulary"
KEY = "operators-key-of-the-dashboard"


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    demo = Demo("--speed", str(SPEED), "--seed", "7", KLINE_INTERVALS="1m,5m")
    yield demo
    assert demo.command.end() == 0


def post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        made: dict[str, Any] = json.load(answer)
        return made


def always(url: str, name: str) -> str:
    """A trader that fires at every close of 1m; its id."""
    draft = {"name": name, "filter": "close > 0", "interval": "1m", "mode": "level"}
    return str(post(url, "/v1/traders", draft)["id"])


def editor(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Filter", exact=True)


def marks(page: Page) -> Locator:
    """What the chart has drawn on its klines, in words."""
    return page.locator("kline-chart").get_by_role("list", name="Marks in view").locator("li")


def asked_time(page: Page) -> str:
    """The opening time of the kline that a chart was opened at."""
    found = re.search(r"[?&]at=(\d+)", page.url)
    assert found
    return found[1]


def test_a_trader_is_written_mended_tried_and_saved_and_fires(page: Page, demo: Demo) -> None:
    with watched(page, demo.url, expected=(CHECK,)):
        page.goto(demo.url + "/#/traders")
        held: list[Any] = []
        page.route("**" + VOCABULARY, lambda route: held.append(route))
        with page.expect_request("**" + VOCABULARY):
            page.get_by_role("link", name="New trader").click()
        page.get_by_label("Name", exact=True).fill("always low")

        # A name is offered while it is typed, and taken with the keyboard; also where the words of
        # the language come later than the first letters.
        editor(page).press_sequentially("rs")
        held.pop().continue_()
        page.unroute("**" + VOCABULARY)
        offered = page.get_by_role("option", name=re.compile(r"^rsi\(14\)"))
        expect(offered).to_have_attribute("aria-selected", "true")
        editor(page).press("Enter")
        expect(editor(page)).to_have_value("rsi(14)")
        expect(page.get_by_role("listbox")).to_be_hidden()

        # What is wrong is shown below its place, with a way to mend it.
        editor(page).fill("close > 0 and rsj(14) < 101")
        expect(page.locator("pre.place")).to_have_text(
            "close > 0 and rsj(14) < 101\n" + " " * 14 + "^"
        )
        expect(page.locator(".fault")).to_contain_text("unknown name rsj")
        expect(editor(page)).to_have_attribute("aria-invalid", "true")
        page.get_by_role("button", name="Write rsi").click()
        expect(page.locator(".findings")).to_contain_text("close > 0 and rsi(close, 14) < 101")
        expect(page.locator(".findings")).to_contain_text("Needs 15 klines of 1m")
        page.locator(".findings summary").click()
        expect(page.locator(".findings dd", has_text="Relative strength index")).to_be_visible()

        # Tried before it is saved: over the past, with markers, and now.
        page.get_by_label("Fires").select_option("level")
        page.get_by_role("button", name="What it would have fired").click()
        trial = page.locator("trader-trial")
        expect(trial).to_contain_text(
            re.compile(r"would have fired [\d,]+ times, on 2 of 2 symbols")
        )
        expect(trial).to_contain_text("too few klines yet")
        # What has just been typed is checked first.
        editor(page).fill("close > 0 and rsi(14) < -1")
        page.get_by_role("button", name="What it would have fired").click()
        expect(trial).to_contain_text("would have fired 0 times")
        editor(page).fill("close > 0 and rsi(14) < 101")
        page.get_by_role("button", name="What it would have fired").click()
        expect(trial).to_contain_text(re.compile(r"would have fired [1-9]"))
        page.get_by_role("button", name=re.compile("^ETHUSDT")).click()
        expect(trial).to_contain_text(re.compile(r"ETHUSDT 1m: \d+ markers"))
        expect(page.locator("kline-chart")).to_contain_text("would have fired")
        page.get_by_role("button", name="Matches now").click()
        expect(trial).to_contain_text("2 symbols match now, 0 do not.")
        page.get_by_label("Fires").select_option("edge")
        expect(trial).to_contain_text("The trader has changed since.")
        page.get_by_label("Fires").select_option("level")

        page.get_by_role("button", name="Create trader").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("always low")
        rows = page.locator("signal-feed tbody tr")
        expect(rows.first).to_be_visible()
        expect(page.get_by_label("Matches")).to_contain_text("BTCUSDT")

        # The feed has it without being loaded again; a row leads to its kline.
        page.get_by_role("navigation").get_by_role("link", name="Signals").click()
        row = page.locator("signal-feed tbody tr", has_text="always low").first
        expect(row.locator(".now")).not_to_have_text("–")
        row.get_by_role("button", name="fired").click()
        # Not of ``row``, which is the first one: by now that may be another, newer one.
        expect(page.locator("signal-feed dl:visible")).to_contain_text("rsi(close, 14) < 101")
        row.locator(".then").click()
        expect(page).to_have_url(
            re.compile(r"#/chart/(BTC|ETH)USDT/1m\?at=\d+&trader=[0-9a-f-]{36}$")
        )
        # The chart opens there, and the signal is drawn on its kline.
        mark = marks(page).and_(page.locator(f'[data-time="{asked_time(page)}"]'))
        expect(mark).to_contain_text(re.compile("▲ always low \\((fired|confirmed)\\)"))


def test_nothing_that_comes_late_takes_the_place_of_what_was_written(
    page: Page, demo: Demo
) -> None:
    held: list[Route] = []
    late = True

    def answer(route: Route) -> None:
        if late:
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/symbols", answer)
    page.goto(demo.url + "/#/traders/new")
    expect(page.get_by_text("Reading …")).to_be_visible()
    expect(page.locator("trader-form form")).to_be_hidden()
    late = False
    for route in held:
        route.continue_()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    expect(page.locator("trader-form form")).to_be_visible()


def test_a_signal_may_come_before_its_trader_is_read(page: Page, demo: Demo) -> None:
    trader = always(demo.url, "early")
    frames: list[str] = []
    path = f"**/v1/traders/{trader}"
    page.route(path, lambda route: route.abort())
    page.on("websocket", lambda socket: socket.on("framereceived", lambda one: frames.append(one)))
    with watched(page, demo.url, expected=(f"/v1/traders/{trader}",)):
        page.goto(f"{demo.url}/#/traders/{trader}")
        until(lambda: page.wait_for_timeout(50) or any(trader in one for one in frames))
        page.unroute(path)
        expect(page.get_by_role("heading", level=1)).to_have_text("early")


def test_a_trader_is_changed_stopped_and_deleted(page: Page, demo: Demo) -> None:
    trader = always(demo.url, "to be changed")
    with watched(page, demo.url):
        page.goto(f"{demo.url}/#/traders/{trader}/edit")
        expect(editor(page)).to_have_value("close > 0")
        page.get_by_label("Name", exact=True).fill("changed")
        page.get_by_label("All symbols").uncheck()
        page.get_by_label("Add symbols").fill("ethusdt nope")
        page.get_by_label("Add symbols").press("Enter")
        expect(page.locator("symbol-choice")).to_contain_text("Not held here: NOPE.")
        page.get_by_label("Add symbols").fill("")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("changed")
        page.get_by_role("button", name="Run now").click()
        expect(page.locator("trader-card")).to_contain_text("1 of 1 symbol match: ETHUSDT.")
        expect(page.locator("trader-card")).to_contain_text(
            re.compile(r"[1-9]\d* signals?, the last")
        )
        page.get_by_role("button", name="Disable").click()
        expect(page.locator("trader-card")).to_contain_text("Disabled")
        expect(page.get_by_label("Executions").locator("tbody").first).to_contain_text("100 %")

        page.get_by_role("link", name="← Traders").click()
        page.get_by_label("Filter traders by text").fill("changed 1m")
        card = page.locator("trader-card", has_text="changed")
        expect(card).to_have_count(1)
        card.get_by_role("button", name="Enable").click()
        expect(card).to_contain_text("Running")
        card.get_by_role("button", name="Delete").click()
        card.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(card).to_have_count(0)
    assert fetch(demo.port, f"/v1/traders/{trader}")[0] == 404


def test_signals_of_a_trader_and_symbol_share_a_row_if_wanted(page: Page, demo: Demo) -> None:
    trader = always(demo.url, "often")
    with watched(page, demo.url):
        page.goto(f"{demo.url}/#/signals?trader={trader}")
        rows = page.locator("signal-feed tbody tr")
        expect(rows.nth(3)).to_be_visible()  # of two symbols, so two closes
        page.get_by_label("One row per trader and symbol").check()
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text(re.compile(r"×\d"))
        symbol = page.get_by_role("combobox", name="Symbol", exact=True)
        symbol.fill("btcusdt")
        symbol.press("Enter")
        expect(rows).to_have_count(1)
        expect(page).to_have_url(re.compile("symbol=BTCUSDT"))
        page.get_by_label("Sound").check()


def test_markup_in_what_a_trader_says_of_itself_stays_text(page: Page, demo: Demo) -> None:
    name = "<img src=x onerror=\"document.title='broken'\"><b>bold</b>"
    about = "<script>document.title='broken'</script><i>it</i> &amp; <svg/onload=1>"
    filter = "close <high+1 and close> 0"  # what a parser of HTML would take for a tag
    draft = {
        "name": name, "description": about, "filter": filter, "interval": "1m", "mode": "level"
    }  # fmt: skip
    trader = post(demo.url, "/v1/traders", draft)["id"]
    said = page.locator("main")
    with watched(page, demo.url):
        page.goto(f"{demo.url}/#/traders")
        card = page.locator("trader-card", has_text="onerror")
        for text in (name, about, filter):
            expect(card.get_by_text(text, exact=True)).to_be_visible()
        page.goto(f"{demo.url}/#/traders/{trader}")
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        expect(page.locator("signal-feed tbody .trader").first).to_have_text(name)
        assert said.locator("img, script, b:text('bold'), svg").count() == 0
        card = page.locator("trader-card")
        card.get_by_role("button", name="Delete").click()
        expect(card.get_by_role("dialog")).to_contain_text(name)
        card.get_by_role("button", name="Keep it").click()
        page.goto(f"{demo.url}/#/signals?trader={trader}")
        expect(page.locator("signal-feed tbody .trader").first).to_have_text(name)
        expect(page.get_by_label("Trader").locator("option:checked")).to_have_text(name)
        page.locator("signal-feed tbody .then").first.click()
        expect(marks(page).first).to_contain_text(f"▲ {name} (")
        expect(page.locator(".legend .about")).to_contain_text(name)
        expect(page.get_by_label("Signals of").locator("option:checked")).to_have_text(name)
        page.goto(f"{demo.url}/#/traders/{trader}/edit")
        expect(page.get_by_label("Name", exact=True)).to_have_value(name)
        expect(page.locator(".right code")).to_contain_text("close < high + 1")
        page.goto(f"{demo.url}/#/status")
        expect(page.locator("page-status .verdict")).to_contain_text("Ready")
        expect(said).not_to_contain_text("broken")
        assert said.locator("img").count() == 0
        assert page.title() != "broken"


def test_favourites_come_first_and_built_in_traders_may_be_off_for_one(
    page: Page, demo: Demo
) -> None:
    trader = always(demo.url, "a favourite")
    always(demo.url, "a newer one")
    own = page.get_by_role("region", name="Own traders").locator("trader-card")
    with watched(page, demo.url):
        page.goto(demo.url + "/#/traders")
        expect(own.first).not_to_contain_text("a favourite")  # the newest is
        star = page.get_by_role("button", name="Favourite: a favourite", exact=True)
        star.press("Enter")
        expect(star).to_have_attribute("aria-pressed", "true")
        expect(own.first).to_contain_text("a favourite")

        builtin = page.locator("trader-card", has_text="RSI oversold bounce")
        builtin.get_by_role("button", name="Turn off").click()
        off = builtin.get_by_text("Off for you")
        expect(off).to_be_visible()
        page.reload()
        expect(own.first).to_contain_text("a favourite")
        expect(off).to_be_visible()
        builtin.get_by_role("button", name="Turn on").click()
        expect(off).to_be_hidden()

        # No built-in one surely fires within this test, so one's own is put in its place.
        page.evaluate(
            "id => localStorage.setItem('klinecore.traders', JSON.stringify({off: [id]}))", trader
        )
        page.goto(f"{demo.url}/#/chart/BTCUSDT/1m")
        page.reload()
        expect(marks(page).filter(has_text="a newer one").first).to_be_attached()
        expect(marks(page).filter(has_text="a favourite")).to_have_count(0)
        page.goto(demo.url + "/#/signals")
        rows = page.locator("signal-feed tbody tr")
        expect(rows.filter(has_text="a newer one").first).to_be_visible()
        expect(rows.filter(has_text="a favourite")).to_have_count(0)
        expect(page.locator("signal-feed")).to_contain_text("of built-in traders that are off")
        expect(rows.first.locator(".volume")).to_have_text(re.compile(r"^[\d.]+[KMBT]?$"))
        page.get_by_role("combobox", name="Trader").select_option(
            trader
        )  # who asks for it, sees it
        expect(rows.filter(has_text="a favourite").first).to_be_visible()


def test_without_a_key_the_page_says_what_is_needed(page: Page) -> None:
    demo = Demo("--speed", str(SPEED), API_KEY=KEY)
    try:
        with watched(page, demo.url, expected=("/",)):
            page.goto(demo.url + "/#/traders")
            locked = page.locator(".locked", has_text="Market structure break")
            expect(locked).to_contain_text("Locked: needs the tier elite.")
            expect(locked.get_by_role("button")).to_have_count(0)
            dialog = page.get_by_role("dialog", name="Sign in")
            dialog.get_by_role("button", name="Cancel").click()
            card = page.locator("trader-card").first
            card.get_by_role("button", name="Run now").click()
            expect(card).to_contain_text("Sign in with an API key or an access token.")
            page.get_by_role("banner").get_by_role("button", name="Sign in").click()
            dialog.get_by_label("API key or access token").fill(KEY)
            dialog.get_by_role("button", name="Sign in").click()
            expect(page.locator("trader-card", has_text="Market structure break")).to_be_visible()
            expect(page.locator(".locked")).to_have_count(0)
    finally:
        assert demo.command.end() == 0


def places(page: Page) -> list[str]:
    """Where the rows of the feed lead: one address for each signal."""
    links: list[str] = page.locator("signal-feed td.time a").evaluate_all(
        "links => links.map(link => link.hash)"
    )
    return links


def kept(port: int, trader: str) -> list[str]:
    """Likewise, as the server has them."""
    status, body = fetch(port, f"/v1/signals?trader={trader}&limit=1000")
    assert status == 200
    return [
        f"#/chart/{one['symbol']}/1m?at={one['open_time_ms']}&trader={trader}"
        for one in json.loads(body)["signals"]
    ]


def test_a_server_that_starts_again_costs_the_feed_nothing(page: Page, tmp_path: Path) -> None:
    port = free_port()
    with simulated_exchange(SPEED) as exchange:
        server, _ = serve(exchange, tmp_path, "1m", port=port)
        try:
            url = f"http://127.0.0.1:{port}"
            trader = always(url, "always")
            page.goto(f"{url}/#/signals?trader={trader}")
            expect(page.locator("signal-feed tbody tr").nth(1)).to_be_visible()
            assert server.end(signal.SIGTERM) == 0
            expect(page.locator(".live")).to_have_text("Reconnecting")
            server, _ = serve(exchange, tmp_path, "1m", port=port)
            expect(page.locator(".live")).to_have_text("Live")
            before = len(kept(port, trader))
            told = until(lambda: len(found := kept(port, trader)) >= before + 4 and found)
            until(lambda: set(told) <= set(places(page)), lambda: (told, places(page)))
            shown = places(page)
            assert len(shown) == len(set(shown))
        finally:
            server.end()


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_its_window(page: Page, demo: Demo, width: int) -> None:
    trader = always(demo.url, "a-trader-whose-name-is-" + "very-" * 15 + f"long-{width}")
    page.set_viewport_size({"width": width, "height": 844})
    with watched(page, demo.url, expected=(CHECK,)):
        page.goto(f"{demo.url}/#/signals?trader={trader}")
        page.locator("signal-feed tbody tr").first.get_by_role("button", name="fired").click()
        expect(page.locator("signal-feed dl:visible")).to_have_count(1)
        assert not too_wide(page)
        page.goto(demo.url + "/#/traders")
        expect(page.locator("trader-card", has_text=f"long-{width}")).to_be_visible()
        assert not too_wide(page)
        page.goto(f"{demo.url}/#/traders/{trader}")
        expect(page.get_by_label("Executions").locator("tbody tr").first).to_be_visible()
        assert not too_wide(page)
        page.goto(f"{demo.url}/#/traders/new")
        editor(page).fill(
            "close > 0 and " * 20 + "rsj(14) < 3 and " + "high > 1 and " * 20 + "low > 1"
        )
        expect(page.locator("pre.place")).to_be_visible()
        assert not too_wide(page)
        editor(page).fill("close > " + "(" * 20 + "1 + open" + ") * 1.2345678" * 20)
        expect(page.locator(".right")).to_be_visible()
        page.get_by_role("button", name="What it would have fired").click()
        expect(page.locator("trader-trial")).to_contain_text("would have fired")
        assert not too_wide(page)
