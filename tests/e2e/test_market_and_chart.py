"""The market and the chart in a real browser: live, complete, and the same after a reconnect."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Demo, fetch, serve, simulated_exchange, until
from dashboard import WIDTHS, too_wide, watched
from playwright.sync_api import Page, Route, WebSocketRoute, expect

pytestmark = pytest.mark.browser

#: Simulated seconds a second: a minute closes every three.
SPEED = 20
MINUTE = 60_000
SYMBOLS = ["BTCUSDT", "ETHUSDT", "LTCUSDT", *(f"S{index:02d}USDT" for index in range(37))]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    names = ",".join(SYMBOLS)
    demo = Demo("--symbols", names, "--speed", str(SPEED), "--seed", "3", KLINE_INTERVALS="1m,15m")
    yield demo
    assert demo.command.end() == 0


def ask(port: int, path: str) -> Any:
    status, body = fetch(port, path)
    assert status == 200, body
    return json.loads(body)


def chart_rows(page: Page) -> list[dict[str, Any]]:
    """The klines that the chart shows."""
    rows: list[dict[str, Any]] = page.locator("kline-chart").evaluate("chart => chart.rows")
    return rows


def closed_rows(page: Page) -> list[dict[str, Any]]:
    return [row for row in chart_rows(page) if row["x"]]


def open_chart(page: Page, url: str, address: str = "BTCUSDT/1m") -> None:
    page.goto(f"{url}/#/chart/{address}")
    expect(page.locator("kline-chart .legend .when")).to_contain_text("UTC")


def assert_whole(page: Page, port: int, interval_ms: int = MINUTE) -> None:
    """One kline a minute, none twice, and all of them the server's own."""
    rows = closed_rows(page)
    times = [row["t"] for row in rows]
    assert times == list(range(times[0], times[-1] + 1, interval_ms))
    held = ask(port, "/klines/BTCUSDT/1m?limit=400")["klines"]
    shown = {row["t"]: [row[key] for key in "ohlcvT"] for row in rows}
    common = [row for row in held if row["t"] in shown]
    assert len(common) > 100
    for row in common:
        assert shown[row["t"]] == [row[key] for key in "ohlcvT"]


# --- the market ------------------------------------------------------------------------------


def test_the_market_is_live_sorted_searched_and_starred(page: Page, demo: Demo) -> None:
    rows = page.locator("#page tbody tr:has(th)")
    with watched(page, demo.url):
        page.goto(demo.url)
        expect(page.locator("#page").get_by_text(f"{len(SYMBOLS)} symbols")).to_be_visible()

        price = page.locator("#page tr", has_text="BTCUSDT").locator("td.price")
        before = price.inner_text()
        expect(price).not_to_have_text(before)
        path = page.locator("#page tr", has_text="BTCUSDT").locator("path")
        until(lambda: (path.get_attribute("d") or "").count("L") > 50, "no small chart")

        # With the keyboard, both ways.
        head = page.get_by_role("columnheader", name="Symbol")
        head.get_by_role("button").press("Enter")
        expect(head).to_have_attribute("aria-sort", "ascending")
        expect(rows.first).to_contain_text(min(SYMBOLS))
        head.get_by_role("button").press("Enter")
        expect(head).to_have_attribute("aria-sort", "descending")
        expect(rows.first).to_contain_text(max(SYMBOLS))

        page.get_by_role("button", name="Favourite: S07USDT").click()
        page.reload()
        expect(rows.first).to_contain_text(max(SYMBOLS))
        page.get_by_label("Favourites first").check()
        expect(rows.first).to_contain_text("S07USDT")

        search = page.get_by_label("Search symbols")
        search.fill("eth")
        expect(page.get_by_text(f"1 of {len(SYMBOLS)} symbols", exact=True)).to_be_visible()
        expect(rows).to_have_count(1)
        search.press("Enter")
        expect(page.locator("h1")).to_have_text("ETHUSDT")


def test_only_rows_in_view_exist_and_every_row_comes_into_view(page: Page, demo: Demo) -> None:
    page.set_viewport_size({"width": 1440, "height": 300})
    rows = page.locator("#page tbody tr:has(th)")
    with watched(page, demo.url):
        page.goto(demo.url)
        page.get_by_role("columnheader", name="Symbol").get_by_role("button").click()
        expect(rows.first).to_contain_text(min(SYMBOLS))
        assert rows.count() < len(SYMBOLS)
        page.mouse.wheel(0, 100_000)
        expect(rows.last).to_contain_text(max(SYMBOLS))
        expect(rows.last).to_be_in_viewport()
        expect(rows.last).to_have_attribute("aria-rowindex", str(len(SYMBOLS) + 1))


@pytest.mark.parametrize("width", WIDTHS)
def test_both_pages_fit_their_window(page: Page, demo: Demo, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    with watched(page, demo.url):
        page.goto(demo.url)
        expect(page.locator("#page").get_by_role("link", name="BTCUSDT")).to_be_visible()
        assert too_wide(page) == []
        open_chart(page, demo.url)
        assert too_wide(page) == []


# --- the chart -------------------------------------------------------------------------------


def test_the_chart_follows_the_stream_without_gap_or_double(page: Page, demo: Demo) -> None:
    with watched(page, demo.url):
        open_chart(page, demo.url)
        until(lambda: len(chart_rows(page)) > 400, "no klines")
        first = len(closed_rows(page))
        moved = page.locator(".legend b").nth(3).inner_text()  # the close of the forming one
        expect(page.locator(".legend b").nth(3)).not_to_have_text(moved)
        until(lambda: len(closed_rows(page)) >= first + 3, "nothing closes")
        assert_whole(page, demo.port)


def test_older_klines_come_as_one_scrolls_and_a_bar_is_shown(page: Page, demo: Demo) -> None:
    newest = ask(demo.port, "/klines/BTCUSDT/1m?limit=1")["klines"][0]["t"]
    asked = newest - 700 * MINUTE  # beyond the 500 that are held
    with watched(page, demo.url):
        open_chart(page, demo.url, f"BTCUSDT/1m?at={asked}")
        until(lambda: len(chart_rows(page)) > 900, "no older klines")
        times = [row["t"] for row in closed_rows(page)]
        assert times == list(range(times[0], times[-1] + 1, MINUTE))
        [there] = [row for row in chart_rows(page) if row["t"] == asked]
        theirs = ask(
            demo.port, f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={asked}&limit=1"
        )
        assert [there["o"], there["h"], there["l"], there["c"]] == theirs[0][1:5]
        expect(page.locator(".legend b").nth(3)).to_have_text(there["c"].rstrip("0").rstrip("."))

        # Whoever sees far sees klines everywhere.
        page.get_by_role("button", name="Newest").click()
        page.locator("kline-chart").evaluate("chart => { chart.view = 0.7; }")
        until(lambda: not page.locator("kline-chart").evaluate("chart => chart.atEdge"), "empty")


def test_any_expression_becomes_a_line_and_is_kept(page: Page, demo: Demo) -> None:
    with watched(page, demo.url, expected=("/v1/indicators/",)):
        open_chart(page, demo.url)
        field = page.get_by_label("Indicator or expression")
        field.fill("rsi(14")
        field.press("Enter")
        expect(page.locator("#chart-refused")).to_contain_text("column 4")
        for text in ("ema(5)", "macd()", "close - open"):
            field.fill(text)
            field.press("Enter")
            expect(field).to_have_value("")
        lines = page.get_by_role("list", name="Lines").get_by_role("listitem")
        expect(lines).to_have_count(2 + 1 + 3 + 1)
        expect(lines.filter(has_text="ema(5)")).to_contain_text("on klines")
        expect(lines.filter(has_text="close - open")).to_contain_text("own pane")
        page.get_by_role("button", name="Remove rsi(14)").click()
        expect(lines).to_have_count(6)
        page.reload()
        expect(lines).to_have_count(6)
        expect(page.locator(".legend .lines")).to_contain_text("macd().hist")

        # Read anew at each close.
        shown = page.locator(".legend .lines span", has_text="ema(5)").locator("b")
        expect(shown).not_to_have_text(shown.inner_text())


def test_signals_are_marked_and_named(page: Page, demo: Demo) -> None:
    draft = {"name": "each close", "filter": "close > 0", "interval": "1m", "mode": "level"}
    request = urllib.request.Request(
        demo.url + "/v1/traders", json.dumps(draft).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        trader = json.load(answer)["id"]
    with watched(page, demo.url):
        open_chart(page, demo.url, f"BTCUSDT/1m?trader={trader}")
        expect(page.get_by_label("Signals of")).to_have_value(trader)
        marks = page.locator("kline-chart")
        until(lambda: marks.evaluate("chart => chart.markers.length"), "no marker")
        [time, *_] = marks.evaluate("chart => chart.markers.map((one) => one.time)")
        assert time % MINUTE == 0
        # The legend names it, where the keyboard has led.
        plane, about = page.get_by_role("application"), page.locator(".legend .about")

        def named() -> bool:
            plane.press("ArrowLeft")
            return "each close" in about.inner_text()

        until(named, "the legend does not name it")


def test_the_chart_of_a_trader_shows_its_indicators(page: Page, demo: Demo) -> None:
    """Those in its filter, beside one's own, which stay as they are."""
    text = "rsi(7) < 101 and bb(20, 2).upper > sma(20) - sma(9) and breadth(close > 0) > 0"
    draft = {"name": "indicators", "filter": text, "interval": "1m"}
    request = urllib.request.Request(
        demo.url + "/v1/traders", json.dumps(draft).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        trader = json.load(answer)["id"]
    own = ["sma(20)", "rsi(14)"]
    theirs = ["rsi(close, 7)", "bb(close, 20, 2).upper", "sma(close, 9)"]
    theirs += ["breadth(close > 0)"]
    names = page.get_by_role("list", name="Lines").locator("li > span:first-child")
    with watched(page, demo.url):
        open_chart(page, demo.url, f"BTCUSDT/1m?trader={trader}")
        expect(names).to_have_text([*own, *theirs])
        expect(page.get_by_role("button", name="Remove rsi(close, 7)")).to_have_count(0)
        page.get_by_role("button", name="Remove rsi(14)").click()
        expect(names).to_have_text([own[0], *theirs])
        page.get_by_label("Signals of").select_option("")
        expect(names).to_have_text([own[0]])
        open_chart(page, demo.url, f"BTCUSDT/15m?trader={trader}")  # it knows none of these klines
        expect(names).to_have_text([own[0]])


def test_a_close_that_is_lost_on_its_way_is_read(page: Page, demo: Demo) -> None:
    lost: list[int] = []

    def meet(socket: WebSocketRoute) -> None:
        theirs = socket.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            frame = json.loads(message)
            if "k" in frame and frame["k"]["x"] and len(lost) < 2:
                lost.append(frame["k"]["t"])
            else:
                socket.send(message)

        theirs.on_message(pass_on)

    page.route_web_socket("**/ws", meet)
    with watched(page, demo.url):
        open_chart(page, demo.url)
        # Frames pass through here only while the browser is asked something.
        until(lambda: chart_rows(page) and len(lost) == 2, "nothing was lost")
        until(lambda: set(lost) <= {row["t"] for row in closed_rows(page)}, "it stays lost")
        until(lambda: closed_rows(page)[-1]["t"] > lost[-1], "nothing closes")
        assert_whole(page, demo.port)


def test_corrections_are_marked_and_signals_come_and_go(page: Page, demo: Demo) -> None:
    sockets: list[WebSocketRoute] = []

    def meet(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    def marked() -> list[str]:
        kinds: list[str] = page.locator("kline-chart").evaluate(
            "chart => chart.markers.map((one) => one.kind)"
        )
        return kinds

    page.route_web_socket("**/ws", meet)
    # One whose own signals are of another interval.
    traders = ask(demo.port, "/v1/traders")["traders"]
    trader = next(one["id"] for one in traders if one["interval"] != "1m")
    with watched(page, demo.url):
        open_chart(page, demo.url, f"ETHUSDT/1m?trader={trader}")
        until(lambda: len(closed_rows(page)) > 100, "no klines")
        row = closed_rows(page)[-5]
        frame = {"e": "kline", "s": "ETHUSDT", "k": {**row, "i": "1m", "c": row["h"]}}
        sockets[-1].send(json.dumps({**frame, "revised": True}))
        until(lambda: marked() == ["revised"], marked)
        assert row["h"] in [one["c"] for one in closed_rows(page) if one["t"] == row["t"]]

        told = {"id": "1", "trader_id": trader, "symbol": "ETHUSDT", "interval": "1m"}
        told |= {"market": "spot", "open_time_ms": row["t"]}
        for revision, status in enumerate(("provisional", "confirmed"), 1):
            data = {**told, "revision": revision, "status": status}
            sockets[-1].send(json.dumps({"type": "signal", "data": data}))
            until(lambda kind=status: sorted(marked()) == sorted([kind, "revised"]), marked)
        for revision, status in ((3, "retracted"), (2, "confirmed")):  # the older one is late
            data = {**told, "revision": revision, "status": status}
            sockets[-1].send(json.dumps({"type": "signal", "data": data}))
        until(lambda: marked() == ["revised"], marked)


def test_the_chart_takes_the_colours_one_prefers(page: Page, demo: Demo) -> None:
    page.emulate_media(color_scheme="light")
    open_chart(page, demo.url)
    pixel = """chart => {
      const canvas = chart.querySelector("canvas");
      return [...canvas.getContext("2d").getImageData(1, 1, 1, 1).data];
    }"""
    until(lambda: page.locator("kline-chart").evaluate(pixel)[0] > 200, "not light")
    page.emulate_media(color_scheme="dark")
    until(lambda: page.locator("kline-chart").evaluate(pixel)[0] < 60, "not dark")


def test_after_a_restart_of_the_server_the_chart_goes_on(page: Page, tmp_path: Path) -> None:
    with simulated_exchange(SPEED) as exchange:
        server, port = serve(exchange, tmp_path, "1m")
        url = f"http://127.0.0.1:{port}"
        try:
            open_chart(page, url)
            until(lambda: len(chart_rows(page)) > 400, "no klines")
            page.locator("kline-chart").evaluate("chart => { chart.view = 3; }")
            last = closed_rows(page)[-1]["t"]
            server.end(signal.SIGKILL)
            expect(page.locator(".live")).to_have_text("Reconnecting")
            server, port = serve(exchange, tmp_path, "1m", port=port)
            expect(page.locator(".live")).to_have_text("Live")
            until(lambda: closed_rows(page)[-1]["t"] >= last + 3 * MINUTE, "nothing closes")
            assert_whole(page, port)
            assert page.locator("kline-chart").evaluate("chart => chart.view") == 3
        finally:
            server.end(signal.SIGKILL)


def refuse_at_first(page: Page, pattern: str, times: int) -> None:
    left = iter(range(times))

    def answer(route: Route) -> None:
        if next(left, None) is None:
            route.fallback()
        else:
            route.fulfill(status=503, json={"code": "unavailable", "detail": "Not now."})

    page.route(pattern, answer)


@pytest.mark.parametrize("pattern", ["**/klines/BTCUSDT/*", "**/v1/symbols", "**/v1/indicators/**"])
def test_a_chart_whose_reading_fails_says_so_and_reads_again(
    page: Page, demo: Demo, pattern: str
) -> None:
    refuse_at_first(page, pattern, 4)  # some are asked by others, or twice at the start
    page.goto(f"{demo.url}/#/chart/BTCUSDT/15m")
    told = page.get_by_role("alert").filter(has_text="Not now. Trying again in ")
    expect(told).to_be_visible()
    expect(page.locator(".legend .lines")).to_contain_text("sma(20)")
    until(lambda: len(closed_rows(page)) > 100, "no klines")
    expect(told).to_have_count(0)


def test_the_bar_that_is_asked_for_is_shown_although_the_first_reading_failed(
    page: Page, demo: Demo
) -> None:
    asked = ask(demo.port, "/klines/BTCUSDT/1m?limit=200")["klines"][0]["t"]
    refuse_at_first(page, "**/klines/BTCUSDT/*", 1)
    page.goto(f"{demo.url}/#/chart/BTCUSDT/1m?at={asked}")
    at = page.locator("kline-chart")
    until(lambda: at.evaluate("chart => chart._at") == asked, "another bar is shown")


def test_the_market_whose_reading_fails_says_so_and_reads_again(page: Page, demo: Demo) -> None:
    refuse_at_first(page, "**/tickers*", 2)
    page.goto(demo.url)
    expect(page.get_by_role("alert")).to_contain_text("Not now. Trying again in ")
    expect(page.locator("#page").get_by_role("link", name="BTCUSDT")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_answer_that_is_cut_off_is_said_to_be_none(page: Page, demo: Demo) -> None:
    page.route("**/tickers*", lambda route: route.fulfill(body='{"BTCUSDT": {"c": "1"'))
    page.goto(demo.url)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server's answer cannot be read. Trying again in ")


def test_a_symbol_that_is_not_held_shows_nobody_elses_klines(page: Page, demo: Demo) -> None:
    open_chart(page, demo.url)
    until(lambda: len(chart_rows(page)) > 100, "no klines")
    page.get_by_label("Symbol", exact=True).fill("NOSUCH")
    page.get_by_label("Symbol", exact=True).press("Enter")
    expect(page.get_by_role("alert").filter(has_text="NOSUCH is not held here.")).to_be_visible()
    expect(page.locator("h1")).to_have_text("NOSUCH")
    assert chart_rows(page) == []
    page.get_by_label("Symbol", exact=True).fill("ETHUSDT")
    page.get_by_label("Symbol", exact=True).press("Enter")
    until(lambda: len(chart_rows(page)) > 100, "no klines")
    expect(page.get_by_role("alert").filter(has_text="not held")).to_have_count(0)


def test_months_of_unequal_length_leave_no_gaps(page: Page, demo: Demo) -> None:
    open_chart(page, demo.url)
    places = page.locator("kline-chart").evaluate(
        """chart => {
          chart.set([...Array(24).keys()].map((month) => {
            const t = Date.UTC(2024, month), T = Date.UTC(2024, month + 1) - 1;
            return { t, T, o: "1", h: "2", l: "1", c: "2", v: "1", x: true };
          }));
          return chart._places().length;
        }"""
    )
    assert places == 24


def test_without_a_chart_library_the_page_says_so_and_the_rest_works(page: Page) -> None:
    demo = Demo(KLINE_CHART_JS="/nowhere/charts.js", KLINE_INTERVALS="1m")
    try:
        with watched(page, demo.url):
            page.goto(demo.url + "/#/chart/BTCUSDT/1m")
            expect(page.get_by_role("alert").filter(has_text="no chart library")).to_be_visible()
            page.get_by_role("navigation", name="Pages").get_by_role("link", name="Market").click()
            expect(page.locator("#page").get_by_role("link", name="BTCUSDT")).to_be_visible()
    finally:
        assert demo.command.end() == 0
