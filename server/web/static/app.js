// @ts-check
/** The frame around all pages: navigation, which page is shown, the connection, signing in. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { live } from "./live.js";
import { placeOf } from "./page.js";
import "./sign-in.js";

/** Pages by the first part of their address; each module defines the element named. */
const PAGES = new Map([
  ["", { tag: "page-market", title: "Market", load: () => import("./market-page.js") }],
  ["chart", { tag: "page-chart", title: "Chart", load: () => import("./chart-page.js") }],
]);
const SHOWN = ["", "chart"];

const STATES = {
  idle: ["off", "Not connected"],
  connecting: ["wait", "Connecting"],
  open: ["on", "Live"],
  waiting: ["off", "Reconnecting"],
};

class App extends HTMLElement {
  connectedCallback() {
    this._outlet = h("main", { id: "page", tabIndex: -1 });
    this._state = h("span", { class: "live", role: "status" });
    this._sign = h("button", { class: "plain", type: "button", onclick: () => this._signIn() });
    this._links = SHOWN.map((name) =>
      h("a", { href: `#/${name}`, dataset: { page: name } }, PAGES.get(name)?.title),
    );
    this.append(
      h("a", { class: "skip", href: "#page", onclick: this._skip.bind(this) }, "Skip to content"),
      h(
        "header",
        { class: "bar" },
        h("a", { class: "brand", href: "#/" }, "klineserver"),
        h("nav", { "aria-label": "Pages" }, this._links),
        this._state,
        this._sign,
      ),
      this._outlet,
      h(
        "footer",
        { class: "foot" },
        h("a", { href: api.base + "/docs" }, "API"),
        h("a", { href: "#/about" }, "About"),
        h(
          "a",
          { href: "https://www.tradingview.com/", rel: "noopener", target: "_blank" },
          "TradingView Lightweight Charts™ © TradingView, Inc.",
        ),
      ),
      (this._dialog = h("sign-in", null)),
    );
    addEventListener("hashchange", () => this._show());
    live.addEventListener("state", () => this._tell());
    api.addEventListener("identity", () => this._tell());
    api.addEventListener("refused", () => this._dialog.ask());
    this._tell();
    this._show();
  }

  /** @param {Event} event */
  _skip(event) {
    event.preventDefault();
    this._outlet.focus();
  }

  _signIn() {
    if (api.key) api.signOut();
    else this._dialog.ask();
  }

  _tell() {
    const [kind, text] = STATES[live.state];
    this._state.dataset.state = kind;
    say(this._state, text);
    say(this._sign, api.key ? "Sign out" : "Sign in");
  }

  async _show() {
    const place = placeOf(location.hash);
    const page = PAGES.get(place.name);
    for (const link of this._links) {
      const current = link.dataset.page === place.name;
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (!page) {
      this._outlet.replaceChildren(h("p", { class: "empty" }, "There is no such page."));
      return;
    }
    document.title = `${[...place.parts, page.title].join(" ")} · klineserver`;
    const shown = this._outlet.firstElementChild;
    if (shown?.localName === page.tag) {
      shown.go(place);
      return;
    }
    this._wanted = page.tag;
    try {
      await page.load();
    } catch (error) {
      const text = `This page could not be loaded: ${/** @type {Error} */ (error).message}`;
      this._outlet.replaceChildren(h("p", { class: "error", role: "alert" }, text));
      return;
    }
    if (this._wanted !== page.tag) return;
    this._outlet.replaceChildren(h(page.tag, { place }));
  }
}

customElements.define("kline-app", App);
