"""A page that shows a widget as a notebook does, joined to the widget in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Route

ADDRESS = "http://notebook.test"
#: Nothing but the page's own origin: a module that asks anybody else fails the test.
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
PATIENCE_S = 60

PAGE = """<!doctype html><meta charset=utf-8><title>notebook</title>
<meta name=color-scheme content="light dark"><body style="margin: 8px">
<div id=cell></div><script type=module src=/notebook.js></script>"""

#: The front end's half of a widget: what anywidget gives to ``initialize`` and ``render``.
NOTEBOOK = """
import factory from "/widget.js";

const bytes = (text) => {
  const raw = atob(text);
  // Not at the start of its buffer, as in a message of several.
  const whole = new Uint8Array(raw.length + 3);
  for (let i = 0; i < raw.length; i++) whole[i + 3] = raw.charCodeAt(i);
  return new DataView(whole.buffer, 3);
};

const state = {};
const heard = {};
const model = {
  get: (name) => state[name],
  on: (name, call) => (heard[name] ??= []).push(call),
  off: (name, call) => (heard[name] = (heard[name] ?? []).filter((one) => one !== call)),
  send: (content) => window.toKernel(JSON.stringify(content)),
};
const set = (said) => {
  for (const [name, value] of Object.entries(said.state)) state[name] = value;
  for (const [name, text] of Object.entries(said.bytes)) state[name] = bytes(text);
  return [...Object.keys(said.state), ...Object.keys(said.bytes)];
};
const take = {
  open: (said) => set(said),
  update: (said) => set(said).forEach((name) => heard[`change:${name}`]?.forEach((call) => call())),
  custom: ({ content, buffers }) =>
    heard["msg:custom"]?.forEach((call) => call(content, buffers.map(bytes))),
};
const end = [];
window.fromKernel = (messages) => messages.forEach((said) => take[said.method](said));
const widget = typeof factory === "function" ? await factory() : factory;
window.show = async (place) => {
  const el = document.createElement("div");
  document.getElementById("cell").append(el);
  end.push((await widget.render({ model, el })) ?? (() => {}));
};
window.hide = () => end.pop()();
window.begin = async () => widget.initialize?.({ model });
document.body.dataset.ready = "yes";
"""


class Notebook:
    """Shows ``widget``, whose comm is a ``KernelComm``. ``outside``: what was asked elsewhere."""

    def __init__(self, page: Page, widget: Any) -> None:
        self.page = page
        self.widget = widget
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type == "error" else None,
        )
        page.expose_function("toKernel", self._hear)
        page.route("**/*", self._answer)
        page.goto(ADDRESS + "/")
        page.locator("body[data-ready=yes]").wait_for(state="attached")
        self.pump()
        page.evaluate("begin()")

    def _answer(self, route: Route) -> None:
        files = {
            "/": ("text/html", PAGE),
            "/notebook.js": ("text/javascript", NOTEBOOK),
            "/widget.js": ("text/javascript", self.widget._esm),
            "/favicon.ico": ("image/png", ""),
        }
        path = route.request.url.removeprefix(ADDRESS)
        if path not in files:
            self.outside.append(route.request.url)
            route.abort()
            return
        kind, body = files[path]
        headers = {"content-security-policy": POLICY}
        route.fulfill(body=body, content_type=f"{kind}; charset=utf-8", headers=headers)

    def _hear(self, text: str) -> None:
        said = {"method": "custom", "content": json.loads(text)}
        self.widget.comm.handle_msg({"content": {"data": said}, "buffers": []})

    def show(self) -> None:
        """Display it once more."""
        self.page.evaluate("show()")
        self.pump()

    def hide(self) -> None:
        """Take away what was displayed last."""
        self.page.evaluate("hide()")
        self.pump()

    def pump(self) -> list[dict[str, Any]]:
        """Deliver what the kernel has sent; what that was."""
        sent = self.widget.comm.sent
        messages, sent[:] = sent[:], []
        if messages:
            self.page.evaluate("messages => fromKernel(messages)", messages)
        return messages

    def wait(self, there: Callable[[], bool]) -> None:
        """Let both ends go on until something is there."""
        until = time.monotonic() + PATIENCE_S
        while not there():
            if time.monotonic() > until:
                raise AssertionError(f"not within {PATIENCE_S} s")
            self.page.wait_for_timeout(20)
            self.pump()
