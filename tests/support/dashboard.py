"""The dashboard in a browser: what a page must never do, and how it looks at any width."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import ConsoleMessage, Page, Request

__all__ = ["WIDTHS", "too_wide", "watched"]

#: A desk and a telephone.
WIDTHS = (1440, 390)


@contextmanager
def watched(page: Page, url: str, *, expected: tuple[str, ...] = ()) -> Iterator[None]:
    """Nothing is wrong while it lasts: no error on the console, no request to another origin.

    ``expected`` are paths whose refusals the browser reports as errors, although pages handle them.
    """
    faults: list[str] = []
    origins = (url + "/", url.replace("http", "ws", 1) + "/", "data:", "blob:")

    def said(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(
            message.location["url"].startswith(url + path) for path in expected
        ):
            faults.append(f"{message.text} ({message.location['url']})")

    def asked(request: Request) -> None:
        if not request.url.startswith(origins):
            faults.append(f"request to {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", asked)
    page.on("websocket", lambda socket: asked_socket(socket.url))

    def asked_socket(target: str) -> None:
        if not target.startswith(origins):
            faults.append(f"socket to {target}")

    yield
    assert not faults, faults


def too_wide(page: Page) -> list[str]:
    """What makes the page wider than its window; nothing, if it fits."""
    found: list[str] = page.locator("html").evaluate(_TOO_WIDE)
    return found


_TOO_WIDE = """root => {
  if (root.scrollWidth <= root.clientWidth) return [];
  const wide = [...root.querySelectorAll("body *")].filter(
    (one) => one.getBoundingClientRect().right > root.clientWidth + 0.5);
  return ["the page", ...wide.map((one) => one.outerHTML.slice(0, 120))];
}"""
