// @ts-check
/** The frame around all pages: navigation, which page is shown, the connection, signing in. */

import { api } from "./api.js";
import { h } from "./dom.js";
import { identity } from "./identity.js";
import { placeOf } from "./page.js";
import { session } from "./supabase.js";
import "./account-menu.js";
import "./sign-in.js";
import "./vital-signs.js";

/**
 * Pages by the first part of their address; each module defines the element named. Those that are
 * not `open` are for who may read; `visited` ones show others what the lowest tier sees.
 *
 * @typedef {{tag: string, title: string, load: () => Promise<any>}} Listed
 * @type {Map<string, Listed & {open?: boolean, visited?: boolean}>}
 */
const PAGES = new Map([
  ["", { tag: "page-market", title: "Market", load: () => import("./market-page.js") }],
  ["traders", { tag: "page-traders", title: "Traders", load: () => import("./traders-page.js"),
    visited: true }],
  ["signals", { tag: "page-signals", title: "Signals", load: () => import("./signals-page.js") }],
  ["chart", { tag: "page-chart", title: "Chart", load: () => import("./chart-page.js") }],
  ["status", { tag: "page-status", title: "Status", load: () => import("./status-page.js") }],
  ["about", { tag: "page-about", title: "About", load: () => import("./about-page.js"), open: true }],
]);
const SHOWN = ["", "chart", "traders", "signals", "status"];

class App extends HTMLElement {
  constructor() {
    super();
    /** The address that is shown. */
    this._hash = "";
    /** What a page that is being loaded is loaded for: the newest wish counts. */
    this._wish = 0;
    /** @type {string | null} who was there when the page was last shown */
    this._owner = null;
    /** Whether the visitor was asked to sign in. */
    this._asked = false;
  }

  connectedCallback() {
    this._outlet = h("main", { id: "page", tabIndex: -1 });
    /** @type {HTMLElement[]} */
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
        h("vital-signs", null),
        h("account-menu", { onask: () => this._dialog.ask() }),
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
    identity.addEventListener("change", () => this._meet());
    api.addEventListener("refused", () => {
      this._asked = false;
      identity.leave();
    });
    this._show();
    session.ready.then(() => identity.read());
  }

  /** @param {Event} event */
  _skip(event) {
    event.preventDefault();
    this._outlet.focus();
  }

  /** Somebody is known, or nobody any more. */
  _meet() {
    const { me } = identity;
    const owner = me?.reads ? me.owner : null;
    if (owner !== this._owner) this._outlet.replaceChildren();
    this._owner = owner;
    this._show();
    if (me && !me.reads && !this._asked) {
      this._asked = true;
      this._dialog.ask();
    }
    if (owner !== null) this._asked = true;
  }

  /** What is said in place of a page that cannot be shown to whoever is there. */
  _gate() {
    if (identity.me) {
      return h(
        "section",
        { class: "gate" },
        h("p", null, "This server asks for a key."),
        h("button", { class: "primary", type: "button", onclick: () => this._dialog.ask() },
          "Sign in"),
      );
    }
    return h("p", { class: "empty", role: "status" }, identity.failure || "Asking the server …");
  }

  async _show() {
    const wish = (this._wish += 1);
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
    const shows = page.open || (page.visited ? identity.me : identity.me?.reads);
    if (!shows) {
      this._outlet.replaceChildren(this._gate());
      return;
    }
    const shown = this._outlet.firstElementChild;
    const moved = location.hash !== this._hash;
    this._hash = location.hash;
    if (shown?.localName === page.tag && !moved) return;
    document.title = `${page.title} · klineserver`; // pages know better what they show
    if (shown?.localName === page.tag) {
      shown.go(place);
      return;
    }
    try {
      await page.load();
    } catch (error) {
      if (wish !== this._wish) return;
      const text = `This page could not be loaded: ${/** @type {Error} */ (error).message}`;
      this._outlet.replaceChildren(h("p", { class: "error", role: "alert" }, text));
      return;
    }
    if (wish === this._wish) this._outlet.replaceChildren(h(page.tag, { place }));
  }
}

customElements.define("kline-app", App);
