"""An exported dashboard on a plain file server of another origin, in a real browser."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from commands import Demo, environment, fetch, free_port, until
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

KEY = "operators-own-key"
DRAFT = {"name": "<img src=x onerror=alert(1)>", "filter": "close > 0", "interval": "1m"}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Demo]]:
    """The address of the page, and the server it asks."""
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    demo = Demo(API_KEY=KEY, KLINE_CORS_ORIGINS=page)
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "server", "export", str(folder), "--server", demo.url],
        check=True,
        env=environment(),
        capture_output=True,
        timeout=60,
    )
    files = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: fetch(port, "/")[0] == 200)
        yield page, demo
    finally:
        files.terminate()
        files.wait(30)
        assert demo.command.end() == 0


def signed_in(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("API key or access token").fill(KEY)
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.locator("account-menu summary")).to_have_text("operator")


def test_the_page_lives_on_another_origin(page: Page, hosted: tuple[str, Demo]) -> None:
    address, demo = hosted
    faults: list[str] = []
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    signed_in(page, address + "/#/status")
    expect(page.locator("vital-signs .live")).to_have_text("Live")
    expect(page.get_by_text("Ready: the data can be relied on.")).to_be_visible()
    expect(page.locator("status-barriers tbody tr").first).to_be_visible(timeout=120_000)
    assert faults == []


def test_the_page_changes_traders_with_a_key(page: Page, hosted: tuple[str, Demo]) -> None:
    """The preflights of POST, PATCH and DELETE pass, and the browser sends what follows."""
    address, demo = hosted
    signed_in(page, address + "/")
    said = page.evaluate(
        """async ([server, key, draft]) => {
          const ask = (method, path, body) => fetch(server + path, {
            method, body: body && JSON.stringify(body),
            headers: { "X-API-Key": key, ...(body && { "Content-Type": "application/json" }) },
          });
          const made = await (await ask("POST", "/v1/traders", draft)).json();
          const patched = await ask("PATCH", `/v1/traders/${made.id}`, { enabled: false });
          const gone = await ask("DELETE", `/v1/traders/${made.id}`);
          return [made.name, patched.status, gone.status];
        }""",
        [demo.url, KEY, DRAFT],
    )
    assert said == [DRAFT["name"], 200, 204]


def test_a_page_that_is_not_listed_can_neither_read_nor_connect(hosted: tuple[str, Demo]) -> None:
    _, demo = hosted
    body = json.dumps(DRAFT).encode()
    headers = {
        "X-API-Key": KEY,
        "Origin": "http://127.0.0.1:1",
        "Content-Type": "application/json",
    }
    request = urllib.request.Request(demo.url + "/v1/traders", data=body, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as answer:
        assert answer.code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_no_address_makes_the_page_ask_another_server(page: Page, hosted: tuple[str, Demo]) -> None:
    """A link must not send a remembered key elsewhere."""
    address, demo = hosted
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address + "/?server=http://127.0.0.1:1#/?server=http://127.0.0.1:1")
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    assert demo.url + "/v1/me" in asked
    assert not [url for url in asked if url.startswith("http://127.0.0.1:1/")]
