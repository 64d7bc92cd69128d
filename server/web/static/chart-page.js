// @ts-check
/**
 * One symbol's klines, live, with lines and signals.
 * Address: `#/chart/BTCUSDT/1m?market=um&trader=ID&at=OPEN_TIME_MS`.
 */

import { api } from "./api.js";
import { ChartFeed } from "./chart-feed.js";
import { LINES_MAX, arrange, expand, indicatorsOf, readLines, written } from "./chart-lines.js";
import { ChartSignals } from "./chart-signals.js";
import { h, say } from "./dom.js";
import { marketName } from "./format.js";
import { inkOf } from "./kline-chart.js";
import { live } from "./live.js";
import { Page, address } from "./page.js";
import { Retry } from "./retry.js";

/** @typedef {{symbol: string, interval: string, market: string, capacity: number}} Series */

const KEPT = "klinecore.chart";
/** What a chart begins with. */
/** @type {import("./chart-lines.js").Drawn[]} */
const LINES = [{ text: "sma(20)" }, { text: "rsi(14)" }];
const FIRST = { interval: "1m", symbol: "", view: 0, lines: LINES };
/** Parts of older klines that are read to reach the one that is asked for. */
const PARTS_MAX = 8;

class ChartPage extends Page {
  constructor() {
    super();
    /** @type {any} what there is, by market; undefined: it was not read yet */
    this._world = undefined;
    /** @type {Map<string, any>} by id */
    this._traders = new Map();
    /** @type {import("./chart-lines.js").Drawn[]} indicators of the trader whose chart it is */
    this._theirs = [];
    /** @type {Series | undefined} which is shown */
    this._series = undefined;
    /** @type {{lines: import("./chart-lines.js").Drawn[], [name: string]: any}} on this device */
    this._kept = FIRST;
    /** Lines that were read, and what of. */
    this._laid = { drawn: FIRST.lines, found: /** @type {any[]} */ ([]) };
    this._lines = new Retry(
      () => this._readLines(),
      (error, again) => say(this._unread, `Lines: ${error.message}${again}`),
    );
    this._timer = 0;
  }

  show() {
    if (this._chart) {
      if (this._world) this._open();
      return;
    }
    this._kept = { ...FIRST, ...kept() };
    this._build();
    this.atEnd(() => this._lines.end());
    this.keepReading(
      async () => {
        if (this._world) return;
        await this._readWorld();
        this._open();
      },
      (error, again) => say(this._problem, `${error.message}${again}`),
    );
  }

  disconnectedCallback() {
    this._close();
    super.disconnectedCallback();
  }

  _close() {
    this._feed?.end();
    this._signals?.end();
    this._reading?.abort();
  }

  // --- what is there -------------------------------------------------------------------------

  _build() {
    this._title = h("h1", null);
    this._symbols = h("datalist", { id: "chart-symbols" });
    this._symbol = h("input", {
      type: "search", list: "chart-symbols", size: 12, autocomplete: "off", spellcheck: false,
      "aria-label": "Symbol", onchange: () => this._pick(), onfocus: () => this._symbol.select(),
    });
    this._markets = h("nav", { class: "choice", "aria-label": "Market", hidden: true });
    this._intervals = h("nav", { class: "choice", "aria-label": "Interval" });
    this._trader = h("select", { "aria-label": "Signals of", onchange: () => this._go({}) });
    this._words = h("datalist", { id: "chart-words" });
    this._expression = h("input", {
      list: "chart-words", size: 34, autocomplete: "off", spellcheck: false, required: true,
      placeholder: "ema(50), macd(), close - vwap().vwap",
      "aria-label": "Indicator or expression", "aria-describedby": "chart-refused",
      oninput: () => say(this._refused, ""),
    });
    this._refused = h("p", { class: "error", id: "chart-refused", role: "alert" });
    this._problem = h("p", { class: "error", role: "alert" });
    this._unread = h("p", { class: "error", role: "alert" });
    this._chips = h("ul", { class: "chips", "aria-label": "Lines" });
    this._chart = h("kline-chart", null);
    this._older = h("p", { class: "empty", role: "status" });
    this.append(
      h("div", { class: "tools" }, this._title, this._symbol, this._markets, this._intervals,
        this._trader,
        h("button", { type: "button", onclick: () => this._chart.reset() }, "Newest")),
      h("form", { class: "tools", onsubmit: this._add.bind(this) },
        this._expression, h("button", null, "Add"), this._chips),
      this._refused, this._problem, this._unread, this._chart, this._older, this._symbols, this._words,
    );
    this.listen(this._chart, "view", () => this._keepView());
  }

  async _readWorld() {
    const [symbols, words, traders] = await Promise.all([
      api.get("/v1/symbols", {}, this.left),
      api.get("/v1/filters/vocabulary", {}, this.left),
      api.get("/v1/traders", {}, this.left).catch(() => ({ traders: [] })),
    ]);
    this._vocabulary = words.words;
    this._traders = new Map(traders.traders.map((/** @type {any} */ one) => [one.id, one]));
    this._words.replaceChildren(
      ...words.words
        .filter((/** @type {any} */ word) => word.kind !== "ticker")
        .map((/** @type {any} */ word) =>
          h("option", { value: written(word) }, word.meaning)),
    );
    this._trader.replaceChildren(
      h("option", { value: "" }, "Signals of all traders"),
      ...[...this._traders].map(([id, { name }]) => h("option", { value: id }, name)),
    );
    this._world = symbols.markets;
  }

  // --- which series --------------------------------------------------------------------------

  _open() {
    this._close();
    const markets = Object.keys(this._world);
    const market = this.place.query.get("market") ?? markets[0];
    const held = this._world[market];
    const fault = (/** @type {string} */ text) => {
      this._leave();
      say(this._problem, text);
    };
    if (!held) return fault(`The market ${market} is not served here.`);
    const [first] = held.symbols;
    const symbol = (this.place.parts[0] || this._kept.symbol || first || "").toUpperCase();
    const wanted = this.place.parts[1] || this._kept.interval;
    const interval = held.intervals.includes(wanted) ? wanted : held.intervals[0];
    if (!held.symbols.includes(symbol)) {
      if (!this.place.parts[0] && first) return this._move([first, interval]);
      return fault(`${symbol || "No symbol"} is not held here.`);
    }
    if (this.place.parts[1] !== interval) return this._move([symbol, interval]);
    const series = { symbol, interval, capacity: held.capacity, market };
    this._series = series;
    this._keep({ symbol, interval });
    live.choose(market === markets[0] ? null : market);
    this._name(series, held);
    this._nameMarkets(series, markets);
    this._begin(series);
  }

  /** Nothing is shown: what was belongs to another series than the one that is asked for. */
  _leave() {
    this._series = undefined;
    this._chart.clear();
    this._chips.replaceChildren();
    this._intervals.replaceChildren();
    this._markets.hidden = true;
    const asked = this.place.parts[0] ?? "Chart";
    this._symbol.value = this.place.parts[0] ?? "";
    say(this._title, asked);
    document.title = `${asked} · klineserver`;
    for (const place of [this._unread, this._older, this._refused]) say(place, "");
  }

  /** The address of another chart takes this one's place. @param {string[]} parts */
  _move(parts) {
    location.replace(address(["chart", ...parts], Object.fromEntries(this.place.query)));
  }

  /** @param {Series} series @param {any} held */
  _name({ symbol, interval }, held) {
    const status = held.statuses[symbol];
    say(this._title, status && status !== "TRADING" ? `${symbol} (${status})` : symbol);
    document.title = `${symbol} ${interval} · klineserver`;
    this._symbol.value = symbol;
    this._symbols.replaceChildren(...held.symbols.map((/** @type {string} */ value) =>
      h("option", { value })));
    const query = Object.fromEntries(this.place.query);
    delete query.at;
    this._intervals.replaceChildren(...held.intervals.map((/** @type {string} */ name) =>
      h("a", {
        href: address(["chart", symbol, name], query),
        ...(name === interval ? { "aria-current": "true" } : {}),
      }, name)));
    this._trader.value = this.place.query.get("trader") ?? "";
    this._chart.setAttribute("aria-label", `${symbol}, klines of ${interval}`);
    for (const place of [this._problem, this._unread, this._older, this._refused]) say(place, "");
  }

  /**
   * Ways to the same symbol in other markets, or to what they have.
   *
   * @param {Series} series
   * @param {string[]} markets
   */
  _nameMarkets({ symbol, interval, market }, markets) {
    this._markets.hidden = markets.length < 2;
    this._markets.replaceChildren(...markets.map((name) => {
      const there = this._world[name].symbols.includes(symbol);
      return h("a", {
        href: address(there ? ["chart", symbol, interval] : ["chart"], { market: name }),
        ...(name === market ? { "aria-current": "true" } : {}),
      }, marketName(name));
    }));
  }

  _pick() {
    const symbol = this._symbol.value.trim().toUpperCase();
    if (symbol) this._go({ symbol });
  }

  /** @param {{symbol?: string}} change */
  _go({ symbol = this._series?.symbol ?? "" }) {
    const query = Object.fromEntries(this.place.query);
    delete query.at;
    delete query.trader;
    if (this._trader.value) query.trader = this._trader.value;
    location.hash = address(["chart", symbol, this._kept.interval], query);
  }

  // --- what is drawn -------------------------------------------------------------------------

  /** @param {Series} series */
  async _begin(series) {
    if (!(await this._chart.ready) || series !== this._series || this.left.aborted) return;
    this._chart.clear();
    if (this._kept.view) this._chart.view = this._kept.view;
    const feed = (this._feed = new ChartFeed(this._chart, series));
    const trader = this.place.query.get("trader");
    const names = new Map([...this._traders].map(([id, { name }]) => [id, name]));
    this._signals = new ChartSignals(series, trader, names);
    this._theirs = [];
    this._readTheirs(series, trader ?? "").catch(() => {}); // an extra
    const mark = () => this._mark();
    const told = (/** @type {any} */ { detail }) => say(this._problem, detail);
    feed.addEventListener("problem", told);
    feed.addEventListener("older", (/** @type {any} */ event) => say(this._older, event.detail));
    feed.addEventListener("gaps", (/** @type {any} */ event) => this._chart.setGaps(event.detail));
    feed.addEventListener("rows", () => this._lines.now());
    feed.addEventListener("closed", () => {
      this._lines.now();
      mark();
    });
    this._signals.addEventListener("change", mark);
    this._signals.read();
    const at = Number(this.place.query.get("at"));
    if (at) feed.addEventListener("read", () => this._showAt(at), { once: true });
    feed.read();
  }

  /**
   * The indicators that a trader looks at, where it looks at these klines.
   *
   * @param {Series} series
   * @param {string} id
   */
  async _readTheirs(series, id) {
    const { interval, market } = series;
    const { filter, ...trader } = this._traders.get(id) ?? {};
    if (trader.interval !== interval || trader.market !== market) return;
    const checked = await api.post("/v1/filters/check", { filter, interval, market }, {}, this.left);
    const texts = indicatorsOf(checked.parts).slice(0, LINES_MAX);
    const found = await readLines(series, texts, this.left);
    if (series !== this._series) return;
    this._theirs = texts.filter((_, place) => !found[place].error).map((text) => ({ text }));
    this._lines.now();
  }

  /** @param {number} time */
  async _showAt(time) {
    const feed = this._feed;
    for (let part = 0; part < PARTS_MAX && time < this._chart.firstTime; part += 1) {
      if (!(await feed?.readOlder())) break;
    }
    if (feed === this._feed) this._chart.showAt(time);
  }

  _mark() {
    const revised = [...(this._feed?.revised ?? [])].map(([time, text]) => ({
      time, text, kind: "revised",
    }));
    this._chart.setMarkers([...(this._signals?.markers ?? []), ...revised]);
  }

  async _readLines() {
    this._reading?.abort();
    if (!this._series) return;
    const { signal } = (this._reading = new AbortController());
    const own = this._kept.lines;
    const drawn = [...own, ...this._theirs].slice(0, LINES_MAX);
    try {
      const found = await readLines(this._series, drawn.map((one) => one.text), signal);
      if (signal.aborted) return;
      const first = (/** @type {number} */ place) => place < own.length ||
        found.findIndex((one) => one.normal === found[place].normal) === place;
      this._laid = {
        drawn: drawn.filter((_, place) => first(place)),
        found: found.filter((_, place) => first(place)),
      };
      this._lay();
      say(this._unread, "");
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  _lay() {
    const lines = arrange(this._laid.drawn, this._laid.found, this._chart.range);
    this._chart.setLines(lines);
    this._chips.replaceChildren(...lines.map((line, index) => this._chip(line, index)));
  }

  /** @param {any} line @param {number} index */
  _chip({ name, pane }, index) {
    const drawn = this._laid.drawn[index];
    const { error } = this._laid.found[index];
    const place = pane ? "own pane" : "on klines";
    const theirs = this._theirs.includes(drawn);
    return h("li", { title: error ? error.message : "" },
      h("span", error ? { class: "error" } : { style: { color: inkOf(index) } }, name),
      h("button", {
        type: "button", class: "plain", "aria-label": `${name}: ${place}, move it`,
        onclick: () => {
          drawn.apart = !pane;
          this._keep({});
          this._lay();
        },
      }, place),
      theirs ? h("span", { class: "soft" }, "of the trader") : h("button", {
        type: "button", class: "plain", "aria-label": `Remove ${name}`,
        onclick: () => this._change(this._kept.lines.filter((one) => one !== drawn)),
      }, "×"));
  }

  /** @param {Event} event */
  async _add(event) {
    event.preventDefault();
    if (!this._series) return;
    const there = this._kept.lines.map((one) => one.text);
    const texts = expand(this._expression.value, this._vocabulary ?? [])
      .filter((/** @type {string} */ text) => !there.includes(text));
    if (!texts.length) return say(this._refused, "It is drawn already.");
    if (there.length + texts.length > LINES_MAX) {
      return say(this._refused, `At most ${LINES_MAX} lines are drawn: remove one first.`);
    }
    try {
      const [found] = await readLines(this._series, texts, this.left);
      if (found.error) throw found.error;
    } catch (error) {
      if (this.left.aborted) return;
      const { message, body } = /** @type {any} */ (error);
      const at = body?.column ? `column ${body.column}: ` : "";
      say(this._refused, `${at}${message}${body?.hint ? ` (${body.hint})` : ""}`);
      this._expression.focus();
      if (body?.column) this._expression.setSelectionRange(body.column - 1, body.column);
      return;
    }
    this._expression.value = "";
    this._change([...this._kept.lines, ...texts.map((/** @type {string} */ text) => ({ text }))]);
  }

  /** @param {any[]} lines */
  _change(lines) {
    this._keep({ lines });
    this._lines.now();
  }

  // --- what is kept --------------------------------------------------------------------------

  /** @param {Record<string, any>} change */
  _keep(change) {
    this._kept = { ...this._kept, ...change };
    localStorage.setItem(KEPT, JSON.stringify(this._kept));
  }

  _keepView() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => {
      if (!this.left.aborted) this._keep({ view: this._chart.view });
    }, 500);
  }
}

/** What was kept, as far as it can be read. */
function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    if (Array.isArray(found.lines)) {
      found.lines = found.lines
        .filter((/** @type {any} */ one) => typeof one?.text === "string")
        .slice(0, LINES_MAX);
    } else delete found.lines;
    return found;
  } catch {
    return {};
  }
}

customElements.define("page-chart", ChartPage);
