"""Pictures of every page at both widths: ``python -m tests.e2e.screenshots URL FOLDER``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.conftest import ARGUMENTS, PATIENCE_S

#: Name of the picture -> address, and what must be there before it is taken.
PAGES = {
    "market": ("#/", "market-table a"),
    "chart": ("#/chart/BTCUSDT/1m", "kline-chart canvas"),
    "traders": ("#/traders", "page-traders *"),
    "signals": ("#/signals", "page-signals *"),
    "status": ("#/status", "status-barriers tbody tr"),
    "about": ("#/about", "blockquote"),
}
WIDTHS = {"wide": (1280, 800), "narrow": (390, 844)}
#: Milliseconds in which a page fills.
SETTLED_MS = 6_000
BYTES_MAX = 150_000


def take(page: Page, url: str, folder: Path) -> None:
    for width, (across, down) in WIDTHS.items():
        page.set_viewport_size({"width": across, "height": down})
        for name, (address, awaited) in PAGES.items():
            page.goto(f"{url}/{address}")
            expect(page.locator(awaited).first).to_be_visible(timeout=PATIENCE_S * 1000)
            page.wait_for_timeout(SETTLED_MS)
            path = folder / f"{name}-{width}.png"
            page.screenshot(path=path, scale="css", animations="disabled")
            print(f"{path}: {path.stat().st_size:,} bytes")
            assert path.stat().st_size < BYTES_MAX, path


def main(url: str, folder: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), chromium_sandbox=False, args=[*ARGUMENTS]
        )
        take(browser.new_page(), url.rstrip("/"), Path(folder))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
