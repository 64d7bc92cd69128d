// @ts-check
/** The series that need attention, searchable; all of them on demand. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { lasting, marketName, moment } from "./format.js";
import { address } from "./page.js";

/** Rows drawn at most: more are found by searching. */
const SHOWN = 200;
/** Holes named of a series. */
const NAMED = 3;

class StatusSeries extends HTMLElement {
  connectedCallback() {
    /** @type {any[]} series with their market's name, and what is searched */
    this._found = [];
    this._all = false;
    /** Whether there are several markets, which are named then. */
    this._several = false;
    this._summary = h("p", { role: "status" });
    this._search = h("input", {
      type: "search", name: "series", placeholder: "BTC 1m", "aria-label": "Search series",
      oninput: () => this._draw(),
    });
    this._toggle = h("button", { type: "button", "aria-pressed": "false",
      onclick: () => this._switch() }, "Show all");
    this._body = h("tbody", null);
    this._table = h(
      "table",
      { class: "grid" },
      h("thead", null, h("tr", null, ["Series", "State", "Klines", "Last close", "Holes", "Absences"]
        .map((name) => h("th", { scope: "col" }, name)))),
      this._body,
    );
    this._more = h("p", { class: "empty" });
    this.append(
      this._summary,
      h("div", { class: "tools" }, this._search, this._toggle),
      h("div", { class: "wide", tabIndex: 0, role: "region", "aria-label": "Series" }, this._table),
      this._more,
    );
  }

  /** @param {any} status an answer with the series that need attention */
  show(status) {
    const found = gather(status);
    this._several = Object.keys(status.markets).length > 1;
    const total = Object.values(status.readiness.markets)
      .reduce((sum, market) => sum + market.series.total, 0);
    const stale = found.filter(({ feed }) => feed.stale).length;
    const holes = found.filter((one) => one.holes.length).length;
    const absent = found.filter((one) => one.absences.length).length;
    say(this._summary, found.length
      ? `${found.length} of ${total} need attention: ${stale} not heard, ${holes} with holes, ` +
        `${absent} with absences the exchange has confirmed.`
      : `All ${total} series are heard, whole and without holes.`);
    if (this._all) return;
    this._found = found;
    this._draw();
  }

  async _switch() {
    this._all = !this._all;
    this._toggle.setAttribute("aria-pressed", String(this._all));
    say(this._toggle, this._all ? "Show only those that need attention" : "Show all");
    /** @type {import("./page.js").Page} */
    const page = /** @type {any} */ (this).page;
    try {
      const series = this._all ? "all" : "attention";
      this._found = gather(await api.get("/v1/status", { series }, page.left));
      this._draw();
    } catch (error) {
      say(this._more, /** @type {Error} */ (error).message);
    }
  }

  _draw() {
    const words = this._search.value.toUpperCase().split(/\s+/).filter(Boolean);
    /** @type {any[]} */
    const found = this._found.filter((/** @type {any} */ one) =>
      words.every((/** @type {string} */ word) => one.text.includes(word)));
    this._table.hidden = found.length === 0;
    this._body.replaceChildren(...found.slice(0, SHOWN).map((one) => line(one, this._several === true)));
    say(this._more, found.length > SHOWN ? `${found.length - SHOWN} more; search to see them.` :
      this._found.length && !found.length ? "No series is called so." : "");
  }
}

/** @param {any} status */
function gather(status) {
  return Object.entries(status.markets).flatMap(([market, { series }]) =>
    series.map((/** @type {any} */ one) => {
      const text = `${one.symbol} ${one.interval} ${market} ${marketName(market)}`.toUpperCase();
      return { ...one, market, text };
    }));
}

/** @param {any} series @param {boolean} several whether there are several markets */
function line(series, several) {
  const { symbol, interval, market, feed, rows } = series;
  const name = `${symbol} ${interval}${several ? ` ${marketName(market)}` : ""}`;
  const words = [];
  if (feed.stale) words.push(`not heard for ${lasting(feed.blind_ms)}`);
  if (!feed.ready) words.push(rows ? "not whole" : "empty");
  if (feed.blind_total_ms) words.push(`${lasting(feed.blind_total_ms)} blind before`);
  return h(
    "tr",
    null,
    h("th", { scope: "row" },
      h("a", { href: address(["chart", symbol, interval], { market }) }, name)),
    h("td", { class: feed.stale || !feed.ready ? "down" : null },
      words.join(", ") || `by ${feed.source}`),
    h("td", null, rows),
    h("td", null, series.last_close_ms ? moment(series.last_close_ms + 1) : "never"),
    h("td", { class: series.holes.length ? "down" : null }, stretches(series.holes)),
    h("td", null, stretches(series.absences)),
  );
}

/** @param {Array<[number, number]>} list */
function stretches(list) {
  const named = list.slice(0, NAMED).map(([first, last]) =>
    first === last ? moment(first) : `${moment(first)} to ${moment(last)}`);
  return named.join("; ") + (list.length > NAMED ? `; ${list.length - NAMED} more` : "") || "none";
}

customElements.define("status-series", StatusSeries);
