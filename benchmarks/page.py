"""The dashboard over 500 symbols: first paint, frames while all of them tick, memory over minutes.

``python -m benchmarks.page`` prints the figures and exits 1 if one is over its budget. It needs the
extra ``browser``, a Chromium, and a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from server.exchange.generated import DEMO_SYMBOLS

SYMBOLS = 500
PAGES = {"market": "/", "chart": "/#/chart/BTCUSDT/1m"}
#: Figure -> largest value.
BUDGETS = {
    "first paint, ms": 1000.0,
    "prices shown, ms": 1000.0,
    "frame, median ms": 17.5,
    "frames beyond 33 ms, %": 5.0,
    "heap growth, MB": 4.0,
    "nodes growth, %": 20.0,
}
READY_S = 300.0
FRAMES_S = 10.0
SAMPLE_S = 15.0
#: Those of tests/e2e.
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",  # containers have 64 MB there
)

#: Run before the page: when the first price stands in the table, in ms since the navigation.
SEEN = """
new MutationObserver((_, observer) => {
  const price = document.querySelector("td.price")?.textContent ?? "–";
  if (price === "–") return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.seen = performance.now(); }));
}).observe(document, { subtree: true, childList: true, characterData: true });
"""
#: Milliseconds between frames, for so many seconds.
FRAMES = """seconds => new Promise((resolve) => {
  const found = [];
  let before = performance.now();
  const end = before + seconds * 1000;
  const next = (now) => {
    found.push(now - before);
    before = now;
    if (now < end) requestAnimationFrame(next);
    else resolve(found.slice(2));
  };
  requestAnimationFrame(next);
})"""


@dataclass(frozen=True, slots=True)
class Demo:
    """A server of many symbols; ``url`` is its page."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def demo(speed: float) -> Iterator[Demo]:
    """A demo all of whose symbols tick; its windows are being filled meanwhile."""
    names = [*DEMO_SYMBOLS, *(f"SYM{index:03d}USDT" for index in range(SYMBOLS))][:SYMBOLS]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ("demo", "--port", str(port), "--symbols", ",".join(names), "--speed", str(speed))
    process = subprocess.Popen(
        [sys.executable, "-m", "server", *command, "--intervals", "1m,15m", "--capacity", "99"],
        env=os.environ | {"KLINE_STREAM_PORT": "0", "KLINE_REST_WEIGHT_SHARE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + READY_S
        while not _ticks(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the demo does not tick")
            time.sleep(0.5)
        yield Demo(url, process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _ticks(url: str) -> bool:
    """Whether every symbol has a ticker; windows may still be filled."""
    try:
        with urllib.request.urlopen(url + "/tickers", timeout=5) as answer:
            return len(json.load(answer)) == SYMBOLS
    except OSError:
        return False


def paint(browser: Browser, url: str) -> dict[str, float]:
    """A first visit, with nothing kept: the best of three, as anything else delays it too."""
    found: list[tuple[float, float]] = []
    for _ in range(3):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script(SEEN)
        page = context.new_page()
        page.goto(url)
        page.locator("td.price", has_text=".").first.wait_for()
        page.wait_for_timeout(500)
        first = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        found.append((first, page.evaluate("window.seen")))
        context.close()
    return {
        "first paint, ms": min(first for first, _ in found),
        "prices shown, ms": min(seen for _, seen in found),
    }


def frames(page: Page) -> dict[str, float]:
    """How evenly frames come while every symbol ticks."""
    told = page.evaluate(FRAMES, FRAMES_S)
    told.sort()
    late = sum(1 for ms in told if ms > 33.4)
    return {
        "frames a second": len(told) / (sum(told) / 1000),
        "frame, median ms": told[len(told) // 2],
        "frame, 99 % ms": told[int(len(told) * 0.99)],
        "frames beyond 33 ms, %": 100 * late / len(told),
    }


def memory(page: Page, minutes: float) -> dict[str, float]:
    """What is still held after a collection, now and after so many minutes."""
    session = page.context.new_cdp_session(page)
    page.wait_for_timeout(30_000)  # until caches and compiled code are there
    first = _held(session)
    most = first
    end = time.monotonic() + minutes * 60
    while time.monotonic() < end:
        page.wait_for_timeout(SAMPLE_S * 1000)
        most = _held(session)
        print(f"  heap {most[0] / 1e6:.2f} MB, {most[1]} nodes", flush=True)
    return {
        "heap at first, MB": first[0] / 1e6,
        "heap growth, MB": (most[0] - first[0]) / 1e6,
        "nodes growth, %": 100 * (most[1] / first[1] - 1),
    }


def _held(session: CDPSession) -> tuple[float, int]:
    session.send("HeapProfiler.collectGarbage")
    used: dict[str, Any] = session.send("Runtime.getHeapUsage")
    counters: dict[str, Any] = session.send("Memory.getDOMCounters")
    return float(used["usedSize"]), int(counters["nodes"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each page, for memory")
    parser.add_argument("--pages", nargs="+", choices=list(PAGES), default=list(PAGES))
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds a second")
    asked = parser.parse_args()
    over = 0
    with demo(asked.speed) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), chromium_sandbox=False, args=[*ARGUMENTS]
        )
        over += show("market", paint(browser, served.url))
        for name, route in ((name, PAGES[name]) for name in asked.pages):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(served.url + route)
            page.wait_for_timeout(5_000)
            over += show(name, frames(page))
            if asked.minutes:
                over += show(name, memory(page, asked.minutes))
            page.close()
        browser.close()
    return 1 if over else 0


def show(page: str, figures: dict[str, float]) -> int:
    """Print figures; how many are over their budgets."""
    over = 0
    for name, value in figures.items():
        budget = BUDGETS.get(name)
        bad = budget is not None and value > budget
        over += bad
        limit = "" if budget is None else f" (at most {budget:g}{', EXCEEDED' if bad else ''})"
        print(f"{page}: {name} {value:.4g}{limit}", flush=True)
    return over


if __name__ == "__main__":
    sys.exit(main())
