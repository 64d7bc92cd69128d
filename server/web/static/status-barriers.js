// @ts-check
/** The newest boundaries of each interval, as the stream `!barrier` tells them. */

import { h } from "./dom.js";
import { clock, lasting } from "./format.js";

/** Boundaries shown of each interval, and names of those that are missing. */
const KEPT = 6;
const NAMED = 8;

class StatusBarriers extends HTMLElement {
  connectedCallback() {
    /** @type {Map<string, any[]>} newest first, by interval */
    this._told = new Map();
    this._note = h("p", { class: "empty" },
      "None yet: each is told when the klines of an interval have closed.");
    this._body = h("tbody", null);
    this._table = h(
      "table",
      { class: "grid", hidden: true },
      h("thead", null, h("tr", null, ["Interval", "Boundary (UTC)", "Closed", "Late", "Told after", "Missing"]
        .map((name) => h("th", { scope: "col" }, name)))),
      this._body,
    );
    this.append(this._note, h("div", { class: "wide", tabIndex: 0, role: "region",
      "aria-label": "Boundaries" }, this._table));
    /** @type {import("./page.js").Page} */
    const page = /** @type {any} */ (this).page;
    page.follow("!barrier", (barrier) => this._take(barrier));
  }

  /** Those of another market follow. */
  clear() {
    this._told.clear();
    this._note.hidden = false;
    this._table.hidden = true;
    this._body.replaceChildren();
  }

  /** @param {any} barrier */
  _take(barrier) {
    const told = this._told.get(barrier.interval) ?? [];
    const known = told.findIndex((one) => one.openTime === barrier.openTime);
    const after = known < 0 ? Date.now() - barrier.closeTime - 1 : told[known].after;
    if (known >= 0) told[known] = { ...barrier, after };
    else told.unshift({ ...barrier, after });
    this._told.set(barrier.interval, told.slice(0, KEPT));
    this._note.hidden = true;
    this._table.hidden = false;
    this._body.replaceChildren(...[...this._told].flatMap(([interval, list]) =>
      list.map((one, place) => line(interval, one, place === 0))));
  }
}

/**
 * @param {string} interval
 * @param {any} barrier
 * @param {boolean} first
 */
function line(interval, barrier, first) {
  const { missing, complete, expected, closed, late, after, revised } = barrier;
  const more = missing.length > NAMED ? ` and ${missing.length - NAMED} more` : "";
  return h(
    "tr",
    null,
    h("th", { scope: "row" }, first ? interval : h("span", { class: "unseen" }, interval)),
    h("td", null, clock(barrier.closeTime + 1)),
    h("td", { class: complete ? "up" : "down" }, `${closed} of ${expected}`),
    h("td", null, late),
    // Ours and the exchange's clock differ a little; a simulated one may run at another pace.
    h("td", null, after >= 0 && after < 600_000 ? lasting(after) : "–"),
    h("td", { class: "names" }, missing.length ? missing.slice(0, NAMED).join(", ") + more :
      revised ? "none any more" : "none"),
  );
}

customElements.define("status-barriers", StatusBarriers);
