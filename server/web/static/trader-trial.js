// @ts-check
/** A filter tried before it is saved: where it would have fired, and what it says now. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { moment, price } from "./format.js";
import { FIRINGS_KEPT, scan } from "./history-scan.js";
import { address } from "./page.js";
import { counted, reasonWords, refusalWords, unknownWords, valueWords } from "./trader-words.js";
import "./kline-chart.js";

/** Firings of the chart. */
const MARKERS_MAX = 1000;
/** Symbols that are listed with the values of their parts. */
const SYMBOLS_SHOWN = 50;

/**
 * @typedef {object} Draft what is tried
 * @property {string} filter
 * @property {string} interval
 * @property {string[]} symbols none: all
 * @property {string} market
 * @property {"edge" | "level"} mode
 * @property {number} cooldown
 * @property {number} capacity klines that are held
 * @property {string[]} held symbols: all there are
 */

class TraderTrial extends HTMLElement {
  constructor() {
    super();
    /** Gives what is to be tried, or null if that is not complete. @type {() => Draft | null} */
    this.draft = () => null;
    /** Ends when the draft is as it will be. @type {() => Promise<void>} */
    this.settle = async () => {};
    /** Id of the trader that is tried; empty: it is not saved, and its page is not to be left. */
    this.trader = "";
    this._left = new AbortController();
    this._shown = "";
    this._past = h(
      "button",
      { type: "button", onclick: () => this._run(this._replay) },
      "What it would have fired",
    );
    this._now = h(
      "button",
      { type: "button", onclick: () => this._run(this._evaluate) },
      "Matches now",
    );
    this._note = h("p", { class: "soft", role: "status" });
    this._result = h("div", { class: "stack" });
    this._done = h("progress", { "aria-label": "Symbols scanned", value: 0, max: 1 });
    this._doneWords = h("span", { class: "soft" });
    this._cancel = h(
      "button",
      { type: "button", onclick: () => this._stopping?.abort() },
      "Cancel",
    );
    this._bar = h(
      "div",
      { class: "row", hidden: true },
      this._done,
      this._doneWords,
      this._cancel,
    );
  }

  connectedCallback() {
    if (this._left.signal.aborted) this._left = new AbortController();
    this.replaceChildren(
      h("div", { class: "row" }, this._past, this.trader ? null : this._now),
      this._bar,
      this._note,
      this._result,
    );
  }

  disconnectedCallback() {
    this._left.abort();
  }

  /** What is shown belongs to another draft than the present one. */
  outdate() {
    if (!this._shown || this._shown === JSON.stringify(this.draft())) return;
    this._result.classList.add("outdated");
    say(this._note, "The trader has changed since.");
  }

  /** @param {(draft: Draft, signal: AbortSignal) => Promise<string>} work */
  async _run(work) {
    try {
      await this.settle();
    } catch (error) {
      if (!this._left.signal.aborted) say(this._note, refusalWords(error));
      return;
    }
    const draft = this.draft();
    if (!draft) {
      say(this._note, "The filter must be right first, and symbols chosen.");
      return;
    }
    this._asking?.abort();
    const asking = (this._asking = new AbortController());
    const signal = AbortSignal.any([asking.signal, this._left.signal]);
    say(this._note, "Computing …");
    try {
      const told = await work.call(this, draft, signal);
      this._shown = JSON.stringify(draft);
      this._result.classList.remove("outdated");
      say(this._note, told);
      this.outdate();
      this.scrollIntoView({ block: "start" });
    } catch (error) {
      if (!signal.aborted) say(this._note, refusalWords(error));
    }
  }

  // --- the past --------------------------------------------------------------------------------

  /**
   * @param {Draft} draft
   * @param {AbortSignal} signal
   */
  async _replay(draft, signal) {
    const symbols = draft.symbols.length ? draft.symbols : draft.held;
    const stopping = (this._stopping = new AbortController());
    this._bar.hidden = false;
    let found;
    try {
      found = await scan(
        asked(draft),
        symbols,
        (soFar) => this._tellProgress(soFar),
        AbortSignal.any([signal, stopping.signal]),
      );
    } finally {
      if (this._stopping === stopping) this._bar.hidden = true;
    }
    signal.throwIfAborted();
    this._showPast(draft, found);
    const many = Object.keys(found.by_symbol).length;
    const within =
      found.done < found.total
        ? `Cancelled after ${found.done} of ${counted(found.total, "symbol")}. `
        : "";
    return (
      `${within}It would have fired ${counted(found.fired, "time")}, ` +
      `on ${many} of ${counted(found.done, "symbol")}, ` +
      `in ${counted(found.rows, "close")} that are in memory.`
    );
  }

  /** @param {import("./history-scan.js").Found} found so far */
  _tellProgress({ done, total, fired, waiting }) {
    this._done.max = total || 1;
    this._done.value = done;
    const wait = waiting ? `; the server asks to wait ${waiting} s` : "";
    say(
      this._doneWords,
      `${done} of ${counted(total, "symbol")}, ${counted(fired, "firing")}${wait}`,
    );
  }

  /**
   * @param {Draft} draft
   * @param {import("./history-scan.js").Found} found
   */
  _showPast(draft, found) {
    const counts = Object.entries(found.by_symbol).sort((one, other) => other[1] - one[1]);
    const unknown = unknownWords(found.unknown);
    const chart = h("div", { class: "stack" });
    const choices = counts.map(([symbol, count]) =>
      h(
        "button",
        {
          type: "button",
          class: "chip",
          "aria-pressed": "false",
          onclick: (/** @type {any} */ event) => {
            for (const one of choices) one.setAttribute("aria-pressed", "false");
            event.currentTarget.setAttribute("aria-pressed", "true");
            this._draw(draft, symbol, chart);
          },
        },
        `${symbol} ${count}`,
      ),
    );
    this._result.replaceChildren(
      ...(unknown
        ? [h("p", { class: "warn" }, `Nothing could be said at some closes: ${unknown}.`)]
        : []),
      h("div", { class: "row", role: "group", "aria-label": "Firings by symbol" }, choices),
      chart,
      firingsTable(found, draft, this.trader, (symbol, time) => {
        this._draw(draft, symbol, chart, time);
        chart.scrollIntoView({ block: "nearest" });
      }),
    );
    choices[0]?.click();
  }

  /**
   * The klines of a symbol with its firings.
   *
   * @param {Draft} draft
   * @param {string} symbol
   * @param {HTMLElement} place
   * @param {number} [at] opening time of the kline that is shown; none: of the newest firing
   */
  _draw(draft, symbol, place, at) {
    const chart = h("kline-chart", { "aria-label": `${symbol} ${draft.interval}` });
    const told = h("p", { class: "soft", role: "status" }, `${symbol} ${draft.interval}`);
    chart.addEventListener("ready", async () => {
      const signal = this._left.signal;
      const query = { limit: draft.capacity, market: draft.market };
      const body = { ...asked(draft), limit: MARKERS_MAX, symbols: [symbol] };
      try {
        const [answer, found] = await Promise.all([
          api.get(`/klines/${encodeURIComponent(symbol)}/${draft.interval}`, query, signal),
          api.post("/v1/filters/replay", body, {}, signal),
        ]);
        chart.set(answer.klines);
        chart.setMarkers(
          found.firings.map((/** @type {any} */ firing) => ({
            time: firing.open_time_ms,
            text: "would have fired",
            kind: "fired",
          })),
        );
        const shown = at ?? found.firings.at(-1)?.open_time_ms;
        if (shown) chart.showAt(shown);
        const marked = counted(found.firings.length, "marker");
        say(told, `${symbol} ${draft.interval}: ${marked}.`);
      } catch (error) {
        if (!signal.aborted) say(told, refusalWords(error));
      }
    });
    place.replaceChildren(told, chart);
  }

  // --- now -------------------------------------------------------------------------------------

  /**
   * @param {Draft} draft
   * @param {AbortSignal} signal
   */
  async _evaluate(draft, signal) {
    const { filter, interval, market } = draft;
    const symbols = draft.symbols.length ? draft.symbols : null;
    const body = { filter, interval, market, symbols };
    const found = await api.post("/v1/filters/evaluate", body, {}, signal);
    const order = (/** @type {any} */ one) => (one.result === null ? 2 : one.result ? 0 : 1);
    const listed = found.symbols.sort(
      (/** @type {any} */ a, /** @type {any} */ b) => order(a) - order(b),
    );
    this._result.replaceChildren(
      h(
        "ul",
        { class: "verdicts" },
        listed
          .slice(0, SYMBOLS_SHOWN)
          .map((/** @type {any} */ one) => h("li", null, verdict(one, found.parts, draft))),
      ),
      ...(listed.length > SYMBOLS_SHOWN
        ? [h("p", { class: "soft" }, `And ${listed.length - SYMBOLS_SHOWN} more.`)]
        : []),
    );
    const { counts } = found;
    const unknown = counts.unknown ? `; unknown are ${unknownWords(found.unknown)}` : "";
    return (
      `${counted(counts.true, "symbol matches", "symbols match")} now, ` +
      `${counts.false.toLocaleString("en")} ${counts.false === 1 ? "does" : "do"} not${unknown}.`
    );
  }
}

/** What a replay is asked, but of which symbols. @param {Draft} draft */
function asked({ filter, interval, market, mode, cooldown }) {
  return { filter, interval, market, mode, cooldown };
}

/**
 * @param {import("./history-scan.js").Found} found
 * @param {Draft} draft
 * @param {string} trader its id; empty: it is not saved
 * @param {(symbol: string, time: number) => void} draw shows a kline on this page
 */
function firingsTable({ firings, fired }, { interval, market }, trader, draw) {
  if (!firings.length) return h("p", { class: "empty" }, "It fired nowhere.");
  const caption =
    fired > FIRINGS_KEPT
      ? `The newest ${FIRINGS_KEPT} of ${counted(fired, "firing")}`
      : "Firings, newest first";
  const open = (/** @type {any} */ { symbol, open_time_ms: time }) => {
    const query = { market, at: String(time), ...(trader ? { trader } : {}) };
    return h(
      "a",
      {
        href: address(["chart", symbol, interval], query),
        onclick: (/** @type {MouseEvent} */ event) => {
          if (trader || event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault(); // what is written here would be lost
          draw(symbol, time);
        },
      },
      moment(time),
    );
  };
  const table = h(
    "table",
    { class: "grid" },
    h("caption", null, caption),
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        ["Kline (UTC)", "Symbol", "Close"].map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    h(
      "tbody",
      null,
      firings.map((firing) =>
        h(
          "tr",
          null,
          h("td", null, open(firing)),
          h("td", null, firing.symbol),
          h("td", null, price(String(firing.price))),
        ),
      ),
    ),
  );
  const place = { class: "wide firings", tabIndex: 0, role: "region", "aria-label": "Firings" };
  return h("div", place, table);
}

/**
 * One symbol, and why.
 *
 * @param {any} one
 * @param {any[]} parts
 * @param {Draft} draft
 */
function verdict(one, parts, { interval, market }) {
  const words =
    one.result === null
      ? `unknown: ${reasonWords(one.reason)}`
      : one.result
        ? "matches"
        : "does not match";
  return h(
    "details",
    null,
    h(
      "summary",
      null,
      h("strong", null, one.symbol),
      " ",
      h("span", { class: one.result ? "up" : "soft" }, words),
    ),
    h("p", null, h("a", { href: address(["chart", one.symbol, interval], { market }) }, "Chart")),
    h(
      "dl",
      { class: "parts" },
      parts.map((part, place) => [
        h("dt", null, h("code", null, part.text)),
        h("dd", null, valueWords(one.values[place])),
      ]),
    ),
  );
}

customElements.define("trader-trial", TraderTrial);
