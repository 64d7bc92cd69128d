// @ts-check
/** Every symbol, live: price, change, volume and the last day. Address: `#/?market=um`. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { marketName } from "./format.js";
import { live } from "./live.js";
import "./market-table.js";
import { Page, address } from "./page.js";

/** @typedef {import("./market-table.js").Entry} Entry */

const KEPT = "klinecore.market";
const FIRST = { stars: [], starsFirst: false, sort: { key: "volume", down: true } };
const DAY_MS = 86_400_000;
/** Points of a small chart. */
const POINTS = 96;
/** Milliseconds of an interval by its last letter; months are none for a day. */
const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: DAY_MS, w: 7 * DAY_MS, M: 30 * DAY_MS };

class MarketPage extends Page {
  constructor() {
    super();
    /** @type {string | null} which one; null: the server's first */
    this._market = null;
    /** @type {import("./retry.js").Retry | undefined} */
    this._reading = undefined;
  }

  show() {
    if (!this._table) {
      this._kept = kept();
      this._build();
      this._follow();
      return;
    }
    const market = this.place.query.get("market");
    if (market === this._market) return;
    this._market = market;
    this._table.entries.clear();
    this._table.reorder();
    live.choose(market);
    this._reading?.now();
  }

  _build() {
    this._market = this.place.query.get("market");
    live.choose(this._market);
    this._table = h("market-table", {
      sort: this._kept.sort, starsFirst: this._kept.starsFirst, market: this._market,
    });
    this._search = h("input", {
      type: "search", placeholder: "Search", "aria-label": "Search symbols", autocomplete: "off",
      spellcheck: false, size: 14, oninput: () => this._seek(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        const [first] = this._table.shown;
        if (event.key === "Enter" && first) location.hash = this._chartOf(first.symbol);
      },
    });
    this._first = h("input", {
      type: "checkbox", checked: this._kept.starsFirst, onchange: () => {
        this._table.starsFirst = this._first.checked;
        this._table.reorder();
        this._keep({ starsFirst: this._first.checked });
      },
    });
    this._markets = h("nav", { class: "choice", "aria-label": "Market" });
    this._count = h("span", { class: "empty count", role: "status" }, "Reading the market …");
    this._problem = h("p", { class: "error", role: "alert" });
    this.append(
      h("h1", { class: "unseen" }, "Market"),
      h("div", { class: "tools" }, this._search,
        h("label", { class: "check" }, this._first, "Favourites first"),
        this._markets, this._count),
      this._problem, this._table,
    );
    this.listen(this._table, "star", (event) => this._star(event.detail));
    this.listen(this._table, "sort", () => this._keep({ sort: this._table.sort }));
  }

  _follow() {
    this.follow("!ticker@arr", (tickers) => {
      for (const ticker of tickers) this._tick(ticker);
    });
    this.follow("!symbols", ({ symbol, status, reason }) => {
      const entry = this._table.entries.get(symbol);
      if (!entry || reason === "removed") this._reading?.now();
      else {
        entry.status = status;
        this._table.touch(entry);
      }
    });
    this.follow("!barrier", ({ interval, revised }) => {
      if (!revised && (interval === this._span || this._lacking)) this._readCloses();
    });
    this._reading = this.keepReading(
      () => this._readAll(),
      (error, again) => say(this._problem, `${error.message}${again}`),
    );
  }

  async _readAll() {
    const market = this._market;
    const [symbols, tickers] = await Promise.all([
      api.get("/v1/symbols", {}, this.left),
      api.get("/tickers", { market }, this.left),
    ]);
    if (market !== this._market) return;
    this._take(symbols.markets, tickers);
    say(this._problem, "");
    await this._readCloses();
  }

  /**
   * @param {Record<string, any>} markets
   * @param {Record<string, any>} tickers
   */
  _take(markets, tickers) {
    const names = Object.keys(markets);
    const chosen = this._market ?? names[0];
    const held = markets[chosen];
    if (!held) throw new Error(`The market ${chosen} is not served here.`);
    this._markets.hidden = names.length < 2;
    this._markets.replaceChildren(...names.map((name) =>
      h("a", {
        href: name === names[0] ? "#/" : address([""], { market: name }),
        ...(name === chosen ? { "aria-current": "true" } : {}),
      }, marketName(name))));
    this._table.market = this._market;
    this._table.interval = held.intervals.includes(this._kept.interval)
      ? this._kept.interval : held.intervals[0];
    const entries = this._table.entries;
    for (const symbol of entries.keys()) if (!held.symbols.includes(symbol)) entries.delete(symbol);
    for (const symbol of held.symbols) {
      const entry = entries.get(symbol) ?? this._new(symbol);
      entry.status = held.statuses[symbol] ?? "";
    }
    this._choose(held.intervals, held.capacity);
    for (const ticker of Object.values(tickers)) this._tick(ticker);
    this._table.reorder();
    this._tell();
  }

  /** @param {string} symbol */
  _new(symbol) {
    const starred = this._kept.stars.includes(symbol);
    /** @type {Entry} */
    const entry = { symbol, status: "", ticker: null, closes: [], starred, moved: 0, stale: true };
    this._table.entries.set(symbol, entry);
    return entry;
  }

  /** The klines a day is drawn from: enough of them, and not more than are kept. */
  _choose(/** @type {string[]} */ intervals, /** @type {number} */ capacity) {
    const lasting = (/** @type {string} */ name) =>
      parseInt(name, 10) * UNITS[/** @type {keyof typeof UNITS} */ (name.at(-1))];
    const most = Math.min(POINTS, capacity);
    const short = intervals.filter((name) => lasting(name) < DAY_MS);
    const enough = short.filter((name) => DAY_MS / lasting(name) <= most);
    this._span = enough[0] ?? short.at(-1) ?? intervals[0];
    this._points = Math.min(capacity, Math.ceil(DAY_MS / lasting(this._span)) + 1);
    const hours = Math.round((Math.min(this._points, capacity) * lasting(this._span)) / UNITS.h);
    this._table.span = `Last ${Math.min(24, hours)} h`;
  }

  async _readCloses() {
    const market = this._market;
    const query = { interval: this._span, limit: this._points, market };
    const answer = await api.get("/v1/panel", query, this.left).catch(() => null);
    if (!answer || market !== this._market) return;
    // While windows are filled, every close may bring what is missing.
    this._lacking = false;
    for (const [symbol, { close }] of Object.entries(answer.symbols)) {
      this._lacking ||= close.every((/** @type {any} */ value) => value === null);
      const entry = this._table.entries.get(symbol);
      if (!entry) continue;
      entry.closes = close;
      entry.path = undefined;
      this._table.touch(entry);
    }
  }

  /** @param {any} ticker */
  _tick(ticker) {
    const entry = this._table.entries.get(ticker.s);
    if (!entry) return;
    const before = entry.ticker?.c;
    if (before !== undefined && before !== ticker.c) {
      entry.moved = Number(ticker.c) > Number(before) ? 1 : -1;
    }
    entry.ticker = ticker;
    this._table.touch(entry);
  }

  _seek() {
    this._table.search = this._search.value;
    this._table.reorder();
    this._tell();
  }

  _tell() {
    const [shown, all] = [this._table.shown.length, this._table.entries.size];
    say(this._count, shown === all ? `${all} symbols` : `${shown} of ${all} symbols`);
  }

  /** @param {string} symbol */
  _star(symbol) {
    const entry = this._table.entries.get(symbol);
    if (!entry) return;
    entry.starred = !entry.starred;
    const stars = this._kept.stars.filter((/** @type {string} */ one) => one !== symbol);
    this._keep({ stars: entry.starred ? [...stars, symbol] : stars });
    this._table.touch(entry);
    this._table.reorder();
  }

  /** @param {string} symbol */
  _chartOf(symbol) {
    /** @type {Record<string, string>} */
    const query = this._market ? { market: this._market } : {};
    return address(["chart", symbol, this._table.interval], query);
  }

  /** @param {Record<string, any>} change */
  _keep(change) {
    this._kept = { ...this._kept, ...change };
    const { interval, ...own } = this._kept;
    localStorage.setItem(KEPT, JSON.stringify(own));
  }
}

/** What was kept on this device, and the interval of the last chart. */
function kept() {
  const read = (/** @type {string} */ name) => {
    try {
      return JSON.parse(localStorage.getItem(name) ?? "{}") ?? {};
    } catch {
      return {};
    }
  };
  const own = { ...FIRST, ...read(KEPT), interval: read("klinecore.chart").interval };
  if (!Array.isArray(own.stars)) own.stars = [];
  if (typeof own.sort?.key !== "string") own.sort = FIRST.sort;
  return own;
}

customElements.define("page-market", MarketPage);
