// @ts-check
/** Signals as they come, the newest klines first; older ones by pages. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { live } from "./live.js";
import { Page } from "./page.js";
import { COLUMNS, SignalRow } from "./signal-row.js";
import { SignalSet } from "./signal-set.js";
import { choices } from "./trader-choices.js";
import { counted, refusalWords } from "./trader-words.js";

/** Signals of one page, and changes of one answer. */
const PAGE_MAX = 100;
const CHANGES_MAX = 1000;
/** Signals that are held; more, and the feed begins anew with the newest page. */
const HELD_MAX = 3000;
/** Milliseconds after which a signal that the socket told is surely kept, too. */
const KEPT_MS = 1_500;
/** Milliseconds between two drawings. */
const DRAW_MS = 150;
/** Milliseconds between two readings of the tickers of markets that are not followed. */
const TICKERS_MS = 15_000;
/** Milliseconds between two readings of the names of traders. */
const NAMES_MS = 10_000;

/** Event: `told` with a signal as `detail` that has just come. */
class SignalFeed extends Page {
  constructor() {
    super();
    /** Only of these; empty: of all. */
    this.trader = "";
    this.symbol = "";
    this.market = "";
    this._together = false;
    this._set = new SignalSet();
    /** @type {Map<string, SignalRow>} */
    this._rows = new Map();
    /** @type {Map<string, {c: string, q: string}>} newest tickers by market and symbol */
    this._tickers = new Map();
    /** @type {Map<string, string>} names of traders by id */
    this._names = new Map();
    this._namesRead = 0;
    /** Number of the newest change that was read. */
    this._since = -1;
    /** @type {string | null} the page of older ones */
    this._older = null;
    /** @type {Set<string>} ids that are to be seen as new */
    this._fresh = new Set();
    /** @type {string[] | undefined} */
    this._markets = undefined;
    this._first = "";
    this._live = "";
    this._timer = 0;
    /** @type {Promise<void>} */
    this._reading = Promise.resolve();
  }

  show() {
    this._note = h("p", { class: "empty", role: "status" }, "Reading signals …");
    this._body = h("tbody", { role: "rowgroup" });
    this._more = h(
      "button",
      { type: "button", hidden: true, onclick: () => this._readOlder() },
      "Show older",
    );
    this.replaceChildren(
      h(
        "table",
        { class: "grid feed", role: "table", "aria-label": "Signals" },
        h(
          "thead",
          { role: "rowgroup" },
          h(
            "tr",
            { role: "row" },
            Object.entries(COLUMNS).map(([name, label]) =>
              h("th", { scope: "col", class: name, role: "columnheader" }, label),
            ),
          ),
        ),
        this._body,
      ),
      this._note,
      this._more,
    );
    this.listen(choices, "change", () => this._draw());
    live.choose(this.market || null); // prices are live in one market: the first, if none is asked
    this.follow(this.trader ? `signals@${this.trader}` : "signals", (signal) => this._hear(signal));
    this.follow("!ticker@arr", (tickers) => this._tick(tickers));
    const timer = setInterval(() => this._readOthers(), TICKERS_MS);
    this.atEnd(() => clearInterval(timer));
    this.keepReading(
      async () => {
        await this._read();
        // What was told just before the socket listened is kept only now.
        const later = setTimeout(() => this._read().catch((error) => this._fail(error)), KEPT_MS);
        this.atEnd(() => clearTimeout(later));
      },
      (error, again) => this._fail(error, again),
    );
  }

  /** One row for all signals of a trader and symbol. @param {boolean} together */
  set together(together) {
    this._together = together;
    for (const { row } of this._rows.values()) row.remove();
    this._rows.clear();
    if (this._body) this._draw();
  }

  get _query() {
    const { trader, symbol, market } = this;
    return { trader: trader || null, symbol: symbol || null, market: market || null };
  }

  // --- reading ---------------------------------------------------------------------------------

  /** One after the other: an answer that is overtaken would look like one of another file. */
  _read() {
    this._reading = this._reading.catch(() => {}).then(() => this._readOnce());
    return this._reading;
  }

  /** The newest page, and every change that it does not show. */
  async _readOnce() {
    const [page] = await Promise.all([
      api.get("/v1/signals", { ...this._query, limit: PAGE_MAX }, this.left),
      this._readNames(),
      this._since < 0 ? this._readTickers() : null,
    ]);
    if (page.since < this._since || this._set.size > HELD_MAX) this._restart();
    const first = this._since < 0;
    const from = this._since;
    if (first) this._older = page.next;
    for (const signal of page.signals) this._put(signal, !first);
    this._since = page.since;
    // Who sees the newest few only has no past to ask for.
    if (!first && from < page.since && page.previous !== null) await this._readChanges(from);
    this._draw();
  }

  /**
   * @param {number} since
   */
  async _readChanges(since) {
    let more = true;
    while (more) {
      const query = { ...this._query, since, limit: CHANGES_MAX };
      const answer = await api.get("/v1/signals", query, this.left);
      for (const signal of answer.signals) this._put(signal, true);
      since = answer.since;
      more = answer.next !== null;
      if (this._set.size > HELD_MAX) {
        this._restart();
        return this._readOnce();
      }
    }
  }

  async _readOlder() {
    if (!this._older) return;
    this._more.disabled = true;
    try {
      const page = await api.get(this._older, {}, this.left);
      for (const signal of page.signals) this._put(signal, false);
      this._older = page.next;
      this._draw();
    } catch (error) {
      this._fail(/** @type {Error} */ (error));
    }
    this._more.disabled = false;
  }

  async _readNames() {
    if (Date.now() - this._namesRead < NAMES_MS) return;
    this._namesRead = Date.now();
    let after = null;
    do {
      const page = await api.get("/v1/traders", { limit: 1000, after }, this.left);
      for (const { id, name } of page.traders) this._names.set(id, name);
      after = page.next;
    } while (after);
  }

  async _readTickers() {
    const { markets } = await api.get("/v1/symbols", {}, this.left);
    this._markets = Object.keys(markets);
    this._first = this._markets[0];
    this._live = this.market || this._first;
    await this._readSome(this._markets);
  }

  /** @param {string[]} markets whose tickers are read */
  async _readSome(markets) {
    await Promise.all(
      markets.map(async (market) => {
        const tickers = await api.get("/tickers", { market }, this.left);
        for (const one of Object.values(tickers)) this._tickers.set(`${market} ${one.s}`, one);
      }),
    );
  }

  /** Prices of markets whose stream is not followed. */
  async _readOthers() {
    const others = (this._markets ?? []).filter((one) => one !== this._live);
    if (document.hidden || !others.length || live.state !== "open") return;
    await this._readSome(others).catch(() => {}); // those of before stay, until the next time
    this._tellPrices();
  }

  /** Begin anew: what is known is of another file, or too much. */
  _restart() {
    this._set.clear();
    this._since = -1;
    this._older = null;
  }

  /** @param {Error} error @param {string} [again] when it is tried again */
  _fail(error, again = "") {
    if (this.left.aborted) return;
    this._note.hidden = false;
    say(this._note, refusalWords(error) + again);
  }

  // --- hearing ---------------------------------------------------------------------------------

  /** @param {any} signal */
  _hear(signal) {
    if (this.symbol && signal.symbol !== this.symbol) return;
    if (this.market && signal.market !== this.market) return;
    if (!this._put(signal, true)) return;
    if (!this._names.has(signal.trader_id)) {
      this._readNames().then(
        () => this._later(),
        () => {},
      );
    }
    this._later();
  }

  /**
   * @param {any} signal
   * @param {boolean} fresh it has come since the page was opened
   */
  _put(signal, fresh) {
    const what = this._set.put(signal);
    if (fresh && what !== "known") this._fresh.add(signal.id);
    if (fresh && what === "new" && this._shows(signal)) {
      this.dispatchEvent(new CustomEvent("told", { detail: signal }));
    }
    return what !== "known";
  }

  /** Whether it is of a trader that is on, or that was asked for. @param {any} signal */
  _shows({ trader_id: id }) {
    return Boolean(this.trader) || !choices.off(id);
  }

  /** @param {any[]} tickers */
  _tick(tickers) {
    if (!this._live) return;
    for (const one of tickers) this._tickers.set(`${this._live} ${one.s}`, one);
    this._tellPrices();
  }

  _tellPrices() {
    for (const row of this._rows.values()) {
      row.tick(this._tickers.get(`${row.market} ${row.symbol}`));
    }
  }

  // --- drawing ---------------------------------------------------------------------------------

  _later() {
    if (this._timer) return;
    this._timer = setTimeout(() => {
      this._timer = 0;
      if (this.left.aborted) return;
      if (this._set.size <= HELD_MAX) return this._draw();
      this._restart();
      this._read().catch((error) => this._fail(error));
    }, DRAW_MS);
  }

  _draw() {
    const all = this._set.groups(this._together);
    const groups = all.filter(({ newest }) => this._shows(newest));
    const wanted = new Set(groups.map((group) => group.key));
    for (const [key, { row }] of this._rows) {
      if (wanted.has(key)) continue;
      row.remove();
      this._rows.delete(key);
    }
    let at = this._body.firstChild;
    for (const { key, newest, count } of groups) {
      let known = this._rows.get(key);
      if (!known) this._rows.set(key, (known = new SignalRow()));
      const name = this._names.get(newest.trader_id) ?? "a trader";
      known.show(newest, count, name, newest.market === this._first);
      known.tick(this._tickers.get(`${newest.market} ${newest.symbol}`));
      const { row } = known;
      if (row === at) at = row.nextSibling;
      else this._body.insertBefore(row, at);
      if (this._fresh.has(newest.id)) mark(row);
    }
    this._fresh.clear();
    const hidden = all.length - groups.length;
    this._note.hidden = groups.length > 0 && !hidden;
    say(
      this._note,
      hidden
        ? `${counted(hidden, "row")} of built-in traders that are off for you.`
        : "No signals yet. They appear here as they fire.",
    );
    this._more.hidden = !this._older || this._set.size > HELD_MAX - PAGE_MAX;
  }
}

/**
 * Lets a row be seen as new, also if it was just before.
 *
 * @param {HTMLElement} row
 */
function mark(row) {
  row.classList.remove("fresh");
  requestAnimationFrame(() => row.classList.add("fresh"));
}

customElements.define("signal-feed", SignalFeed);
