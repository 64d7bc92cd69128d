"""The browser of these tests runs modules under a strict policy and reaches nothing outside."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.browser

POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'"
PAGES = {
    "/": ("text/html", "<!doctype html><p id=said></p><script type=module src=/m.js></script>"),
    "/m.js": ("text/javascript", "document.getElementById('said').textContent = `${1 + 1}`;"),
}


def test_a_page_made_here_runs_its_module(page: Page) -> None:
    def answer(route: Route) -> None:
        kind, body = PAGES[route.request.url.removeprefix("http://here.test")]
        route.fulfill(body=body, content_type=kind, headers={"content-security-policy": POLICY})

    page.route("**/*", answer)
    page.goto("http://here.test/")
    expect(page.locator("#said")).to_have_text("2")
