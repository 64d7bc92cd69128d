// @ts-check
/** One trader: its health, what it matches, how its evaluations went, its signals. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { moment } from "./format.js";
import { address, Page } from "./page.js";
import { counted, refusalWords } from "./trader-words.js";
import "./signal-feed.js";
import "./trader-card.js";
import "./trader-trial.js";

/** Evaluations that are listed. */
const RUNS_SHOWN = 10;
/** Milliseconds until health and evaluations are read again. */
const AGAIN_MS = 15_000;

class TraderView extends Page {
  constructor() {
    super();
    /** @type {Set<string>} symbols */
    this._matches = new Set();
    /** Changes of them that were told. */
    this._told = 0;
    this._path = "";
    /** @type {Record<string, any> | undefined} what is held, by market */
    this._markets = undefined;
  }

  show() {
    const [id = ""] = this.place.parts;
    if (this._card) return;
    this._path = `/v1/traders/${encodeURIComponent(id)}`;
    this._title = h("h1", null, "Trader");
    this._note = h("p", { class: "empty", role: "status" }, "Reading …");
    this._card = h("trader-card", {
      ondeleted: () => {
        location.hash = address(["traders"]);
      },
      onchanged: (/** @type {CustomEvent} */ event) => this._heard(event.detail),
    });
    this._matchNote = h("p", { class: "soft", role: "status" });
    this._chips = h("ul", { class: "chips" });
    this._runNote = h("p", { class: "soft", role: "status" });
    this._windows = h("tbody", null);
    this._runs = h("tbody", null);
    this.append(
      h("p", null, h("a", { href: address(["traders"]) }, "← Traders")),
      this._title,
      this._note,
      this._card,
      h(
        "section",
        { class: "stack", "aria-label": "Matches" },
        h("h2", null, "Matches now"),
        this._matchNote,
        this._chips,
      ),
      h(
        "section",
        { class: "stack", "aria-label": "Executions" },
        h("h2", null, "Executions"),
        this._runNote,
        table(
          "In all",
          ["Within", "Runs", "Success", "Min", "Mean", "Max", "Matches"],
          this._windows,
        ),
        table("Newest", ["Kline (UTC)", "By", "Took", "Symbols", "Matched", "Unknown"], this._runs),
      ),
      h(
        "section",
        { class: "stack", "aria-label": "History" },
        h("h2", null, "History"),
        h("trader-trial", {
          trader: id,
          draft: () => this._draft(),
          settle: async () => {
            this._markets ??= (await api.get("/v1/symbols", {}, this.left)).markets;
          },
        }),
      ),
      h(
        "section",
        { class: "stack", "aria-label": "Signals" },
        h("h2", null, "Signals"),
        h("signal-feed", { trader: id }),
      ),
    );
    this.follow(`signals@${id}`, (signal) => this._card.hear(signal));
    this.follow(`matches@${id}`, (change) => this._change(change));
    const read = async () => {
      await Promise.all([this._read(), this._readRuns()]);
    };
    const fail = (/** @type {Error} */ error, again = "") => this._fail(error, again);
    this.keepReading(async () => {
      await read();
      await this._readMatches();
    }, fail);
    const timer = setInterval(() => {
      if (!document.hidden) read().catch((error) => fail(error));
    }, AGAIN_MS);
    this.atEnd(() => clearInterval(timer));
  }

  /** @param {Error} error @param {string} again when it is tried again */
  _fail(error, again) {
    if (this.left.aborted) return;
    this._note.hidden = false;
    say(this._note, refusalWords(error) + again);
  }

  async _read() {
    const trader = await api.get(this._path, {}, this.left);
    this._card.trader = trader;
    say(this._title, trader.name);
    document.title = `${trader.name} · klineserver`;
    this._note.hidden = true;
  }

  /** What is run over the past; null: it is not known yet. */
  _draft() {
    const { trader } = this._card;
    const held = this._markets?.[trader?.market];
    if (!trader || !held) return null;
    const { filter, interval, symbols, market, mode, cooldown_bars: cooldown } = trader;
    return {
      filter, interval, symbols, market, mode, cooldown,
      capacity: held.capacity, held: held.symbols,
    };
  }

  /** @param {any} trader changed on its card */
  _heard(trader) {
    if (trader.enabled === this._enabled) return;
    this._enabled = trader.enabled;
    this._readMatches().catch((error) => say(this._matchNote, refusalWords(error)));
  }

  /**
   * Those of now; once more if a close was told meanwhile, which the answer may not know.
   *
   * @returns {Promise<void>}
   */
  async _readMatches() {
    const told = this._told;
    const { filter, interval, market, symbols, enabled } = this._card.trader;
    this._enabled = enabled;
    const body = {
      filter,
      interval,
      market,
      parts: false,
      symbols: symbols.length ? symbols : null,
    };
    try {
      const found = await api.post("/v1/filters/evaluate", body, {}, this.left);
      if (told !== this._told) return this._readMatches();
      this._matches = new Set(found.matches);
      this._showMatches();
    } catch (error) {
      if (!this.left.aborted) say(this._matchNote, refusalWords(error));
    }
  }

  /** @param {any} change */
  _change(change) {
    if (!this._card.trader) return;
    this._told += 1;
    this._card.hearMatches(change);
    for (const symbol of change.entered) this._matches.add(symbol);
    for (const symbol of change.left) this._matches.delete(symbol);
    this._showMatches();
  }

  _showMatches() {
    const { interval, market } = this._card.trader;
    say(
      this._matchNote,
      this._matches.size ? counted(this._matches.size, "symbol") : "No symbol matches.",
    );
    this._chips.replaceChildren(
      ...[...this._matches]
        .sort()
        .map((symbol) =>
          h(
            "li",
            null,
            h("a", { href: address(["chart", symbol, interval], { market }) }, symbol),
          ),
        ),
    );
  }

  async _readRuns() {
    let found;
    try {
      found = await api.get(`${this._path}/executions`, { limit: RUNS_SHOWN }, this.left);
    } catch (error) {
      if (!this.left.aborted) say(this._runNote, refusalWords(error));
      return;
    }
    say(this._runNote, "");
    this._windows.replaceChildren(
      ...Object.entries(found.windows).map(([name, counts]) =>
        row(
          WINDOWS[name] ?? name,
          counts.runs.toLocaleString("en"),
          counts.success_percent === null ? "–" : `${Number(counts.success_percent.toFixed(2))} %`,
          ms(counts.ms_min),
          ms(counts.ms_mean),
          ms(counts.ms_max),
          counts.matches.toLocaleString("en"),
        ),
      ),
    );
    this._runs.replaceChildren(
      ...found.executions.map((/** @type {any} */ run) =>
        row(
          moment(run.open_time_ms),
          SOURCES[run.source] ?? run.source,
          ms(run.duration_us / 1000),
          String(run.symbols_checked),
          run.error ?? String(run.symbols_matched),
          String(run.symbols_unknown),
        ),
      ),
    );
  }
}

/** @type {Record<string, string>} */
const WINDOWS = { "1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days" };
/** @type {Record<string, string>} */
const SOURCES = { engine: "close", request: "request", cron: "database" };

/** @param {number | null} value milliseconds */
function ms(value) {
  return value === null ? "–" : `${Number(value.toPrecision(3))} ms`;
}

/** @param {...string} texts */
function row(...texts) {
  return h(
    "tr",
    null,
    texts.map((text) => h("td", null, text)),
  );
}

/**
 * @param {string} caption
 * @param {string[]} names
 * @param {HTMLElement} body
 */
function table(caption, names, body) {
  return h(
    "div",
    { class: "wide" },
    h(
      "table",
      { class: "grid" },
      h("caption", null, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          names.map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      body,
    ),
  );
}

customElements.define("trader-view", TraderView);
