// @ts-check
/** The table of symbols: only rows in view exist, and only what has changed is touched. */

import { h, say } from "./dom.js";
import { percent, prices, short } from "./format.js";
import { address } from "./page.js";

/**
 * @typedef {object} Entry a symbol and what is known of it
 * @property {string} symbol
 * @property {string} status the exchange's word
 * @property {any} ticker null: none yet
 * @property {number[]} closes of the last hours
 * @property {boolean} starred
 * @property {number} moved 1 or -1 if the price went up or down since it was drawn, else 0
 * @property {boolean} stale whether it is to be drawn anew
 * @property {number} [decimals] that prices were shown with
 * @property {string} [path] of the small chart
 */

/** Rows that are drawn beyond what is seen, on either side. */
const BEYOND = 8;
/** Pixels of a row until one was measured. */
const ROW_PX = 34;
/** The small chart's own measure. */
const [WIDE, HIGH] = [100, 24];
const FLASH_MS = 600;
const SVG = "http://www.w3.org/2000/svg";

/**
 * @type {Array<{key: string, title: string, about?: string,
 *   of?: (entry: Entry) => number | string}>}
 */
const COLUMNS = [
  { key: "star", title: "Favourite", of: (entry) => (entry.starred ? 1 : 0) },
  { key: "symbol", title: "Symbol", of: (entry) => entry.symbol },
  { key: "price", title: "Price", of: (entry) => number(entry.ticker?.c) },
  { key: "change", title: "24 h", about: "Change within 24 hours", of: (entry) => number(entry.ticker?.P) },
  { key: "volume", title: "24 h volume", about: "In the quote asset: USDT of BTCUSDT",
    of: (entry) => number(entry.ticker?.q) },
  { key: "high", title: "24 h high", of: (entry) => number(entry.ticker?.h) },
  { key: "low", title: "24 h low", of: (entry) => number(entry.ticker?.l) },
  { key: "spark", title: "Last 24 h" },
];

/** Nothing known is less than anything. @param {string | undefined} text */
function number(text) {
  return text === undefined ? -Infinity : Number(text);
}

/** Events: `star` with a symbol, `sort`. */
class MarketTable extends HTMLElement {
  constructor() {
    super();
    /** @type {Map<string, Entry>} */
    this.entries = new Map();
    this.sort = { key: "volume", down: true };
    this.search = "";
    this.starsFirst = false;
    this.interval = "1m";
    /** @type {string | null} */
    this.market = null;
    /** @type {Entry[]} */
    this._order = [];
    this._orderStale = true;
    /** @type {Slot[]} in the order of the page */
    this._slots = [];
    this._first = 0;
    this._height = 0;
    this._frame = 0;
    /** @type {HTMLElement[]} */
    this._heads = [];
    this._still = matchMedia("(prefers-reduced-motion: reduce)");
    this._look = () => this._soon();
  }

  connectedCallback() {
    if (!this._body) this._build();
    addEventListener("scroll", this._look, { passive: true });
    addEventListener("resize", this._look);
    this.reorder();
  }

  disconnectedCallback() {
    removeEventListener("scroll", this._look);
    removeEventListener("resize", this._look);
    cancelAnimationFrame(this._frame);
    this._frame = 0;
  }

  _build() {
    this._above = h("tr", { "aria-hidden": "true" }, h("td", { colSpan: COLUMNS.length }));
    this._below = h("tr", { "aria-hidden": "true" }, h("td", { colSpan: COLUMNS.length }));
    this._body = h("tbody", null, this._above, this._below);
    this._heads = COLUMNS.map(({ key, title, about, of }) => {
      const inside = key === "star" ? h("span", { "aria-label": title }, "★") : title;
      const click = () => this._sortBy(key);
      return h("th", { scope: "col", class: key, title: about },
        of ? h("button", { type: "button", class: "plain", onclick: click }, inside) : inside);
    });
    this._table = h("table", { class: "grid market" },
      h("thead", null, h("tr", null, this._heads)), this._body);
    this.append(this._table);
  }

  /** @param {string} title of the small charts */
  set span(title) {
    const [head] = this._heads.slice(-1);
    say(head, title);
  }

  /** @param {string} key */
  _sortBy(key) {
    // What is counted begins with the most, names with the first.
    const down = this.sort.key === key ? !this.sort.down : key !== "symbol";
    this.sort = { key, down };
    this.reorder();
    this.dispatchEvent(new Event("sort"));
  }

  /** Which symbols are shown, or in which order, may have changed. */
  reorder() {
    this._orderStale = true;
    this._soon();
  }

  /** Something of an entry has changed. @param {Entry} entry */
  touch(entry) {
    entry.stale = true;
    if (this.sort.key !== "symbol" && this.sort.key !== "star") this._orderStale = true;
    this._soon();
  }

  /** Symbols that match the search. */
  get shown() {
    if (this._orderStale) this._arrange();
    return this._order;
  }

  _soon() {
    if (!this.isConnected) return;
    this._frame ||= requestAnimationFrame(() => {
      this._frame = 0;
      this._draw();
    });
  }

  _arrange() {
    this._orderStale = false;
    const { key, down } = this.sort;
    const of = COLUMNS.find((column) => column.key === key)?.of ?? ((entry) => entry.symbol);
    const wanted = this.search.trim().toUpperCase();
    const found = [...this.entries.values()].filter(({ symbol }) => symbol.includes(wanted));
    const keys = new Map(found.map((entry) => [entry, of(entry)]));
    const sign = down ? -1 : 1;
    found.sort((a, b) => {
      if (this.starsFirst && a.starred !== b.starred) return a.starred ? -1 : 1;
      const [x, y] = [keys.get(a) ?? 0, keys.get(b) ?? 0];
      if (x !== y) return x < y ? -sign : sign;
      return a.symbol < b.symbol ? -1 : 1;
    });
    this._order = found;
  }

  /** Everything is read from the layout first, and written then. */
  _draw() {
    const top = this._body.getBoundingClientRect().top;
    const rows = this._order;
    if (this._orderStale) this._arrange();
    const px = this._height || ROW_PX;
    const inView = Math.ceil(innerHeight / px) + 2 * BEYOND;
    const count = Math.min(this._order.length, inView);
    const most = Math.max(0, this._order.length - count);
    const first = Math.min(most, Math.max(0, Math.floor(-top / px) - BEYOND));
    this._fit(count, first);
    this._slots.forEach((slot, index) => slot.show(this._order[first + index], first + index));
    pad(this._above, first * px);
    pad(this._below, (this._order.length - first - count) * px);
    if (rows.length !== this._order.length) {
      this._table.setAttribute("aria-rowcount", String(this._order.length + 1));
    }
    const { key, down } = this.sort;
    this._heads.forEach((head, index) => {
      const sorted = COLUMNS[index].key === key ? (down ? "descending" : "ascending") : "none";
      if (COLUMNS[index].of && head.getAttribute("aria-sort") !== sorted) {
        head.setAttribute("aria-sort", sorted);
      }
    });
    if (!this._height && this._slots.length) {
      this._height = this._slots[0].row.offsetHeight;
      if (this._height !== ROW_PX) this._soon();
    }
  }

  /**
   * As many rows as are in view; what stays in view keeps its elements, and the focus in them.
   *
   * @param {number} count
   * @param {number} first
   */
  _fit(count, first) {
    while (this._slots.length < count) {
      const slot = new Slot(this);
      this._slots.push(slot);
      this._below.before(slot.row);
    }
    for (const slot of this._slots.splice(count)) slot.row.remove();
    const moved = first - this._first;
    this._first = first;
    if (!moved || Math.abs(moved) >= count) return;
    if (moved > 0) {
      const passed = this._slots.splice(0, moved);
      this._below.before(...passed.map((slot) => slot.row));
      this._slots.push(...passed);
    } else {
      const passed = this._slots.splice(moved);
      this._above.after(...passed.map((slot) => slot.row));
      this._slots.unshift(...passed);
    }
  }

  get still() {
    return this._still.matches;
  }
}

/** A row of the page, which shows one symbol and later another. */
class Slot {
  /** @param {MarketTable} table */
  constructor(table) {
    this._table = table;
    /** @type {Entry | null} */
    this._entry = null;
    /** Of the row, and its small chart as it is drawn. */
    this._index = -1;
    this._drawn = "";
    this._star = h("button", {
      type: "button", class: "plain star", onclick: () => {
        table.dispatchEvent(new CustomEvent("star", { detail: this._entry?.symbol }));
      },
    });
    this._link = h("a", null);
    this._status = h("small", { class: "halted" });
    this._price = h("td", { class: "price" });
    this._change = h("td", null);
    this._volume = h("td", { class: "volume" });
    this._high = h("td", { class: "high" });
    this._low = h("td", { class: "low" });
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", `0 0 ${WIDE} ${HIGH}`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("aria-hidden", "true");
    this._path = document.createElementNS(SVG, "path");
    picture.append(this._path);
    this.row = h("tr", null, h("td", { class: "star" }, this._star),
      h("th", { scope: "row" }, this._link, this._status), this._price, this._change,
      this._volume, this._high, this._low, h("td", { class: "spark" }, picture));
  }

  /** @param {Entry} entry @param {number} index among all rows */
  show(entry, index) {
    if (this._index !== index) {
      this._index = index;
      this.row.setAttribute("aria-rowindex", String(index + 2));
    }
    const other = entry !== this._entry;
    if (!other && !entry.stale) return;
    this._entry = entry;
    if (other) this._name(entry.symbol);
    const { starred, ticker } = entry;
    say(this._star, starred ? "★" : "☆");
    this._star.setAttribute("aria-pressed", String(starred));
    const halted = entry.status !== "TRADING" && entry.status !== "";
    say(this._status, halted ? entry.status : "");
    this.row.classList.toggle("still", halted);
    let [last, high, low] = ["–", "–", "–"];
    if (ticker) {
      [last, high, low] = prices([ticker.c, ticker.h, ticker.l], entry.decimals);
      entry.decimals = last.split(".")[1]?.length ?? 0;
    }
    say(this._price, last);
    say(this._change, ticker?.P === undefined ? "–" : percent(ticker.P));
    const change = Number(ticker?.P ?? 0);
    this._change.className = change < 0 ? "down" : change > 0 ? "up" : "";
    say(this._volume, ticker ? short(ticker.q) : "–");
    say(this._high, high);
    say(this._low, low);
    entry.path ??= pathOf(entry.closes);
    if (this._drawn !== entry.path) this._path.setAttribute("d", (this._drawn = entry.path));
    if (entry.moved && !other && !this._table.still) this._flash(entry.moved);
    entry.stale = false;
    entry.moved = 0;
  }

  /** @param {string} symbol */
  _name(symbol) {
    const { interval, market } = this._table;
    say(this._link, symbol);
    /** @type {Record<string, string>} */
    const query = market ? { market } : {};
    this._link.href = address(["chart", symbol, interval], query);
    this._star.setAttribute("aria-label", `Favourite: ${symbol}`);
    this._flashing?.cancel();
  }

  /** @param {number} moved */
  _flash(moved) {
    this._flashing?.cancel();
    const color = `color-mix(in srgb, var(${moved > 0 ? "--up" : "--down"}) 35%, transparent)`;
    const frames = [{ backgroundColor: color }, { backgroundColor: "transparent" }];
    this._flashing = this._price.animate(frames, { duration: FLASH_MS, easing: "steps(4)" });
  }
}

/** @param {HTMLElement} row @param {number} px */
function pad(row, px) {
  const height = `${px}px`;
  if (row.style.height !== height) row.style.height = height;
  row.hidden = px === 0;
}

/** A line through numbers; where one is unknown it is left out. @param {number[]} closes */
function pathOf(closes) {
  const known = closes.filter((value) => value !== null);
  if (known.length < 2) return "";
  const low = Math.min(...known);
  const scale = (HIGH - 2) / (Math.max(...known) - low || 1);
  const step = WIDE / (closes.length - 1);
  let text = "";
  closes.forEach((value, index) => {
    if (value === null) return;
    const [x, y] = [index * step, HIGH - 1 - (value - low) * scale];
    text += `${text ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return text;
}

customElements.define("market-table", MarketTable);
