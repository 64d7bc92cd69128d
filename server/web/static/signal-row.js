// @ts-check
/** One row of the feed of signals. */

import { h, say } from "./dom.js";
import { marketName, moment, percent, prices, short } from "./format.js";
import { address } from "./page.js";
import { valueWords } from "./trader-words.js";

/** Columns by the names of their cells' classes. */
export const COLUMNS = {
  time: "Kline (UTC)",
  symbol: "Symbol",
  trader: "Trader",
  state: "Status",
  then: "Price then",
  now: "Price now",
  change: "Change",
  volume: "24 h volume",
};

export class SignalRow {
  constructor() {
    /** @type {string | undefined} the newest price */
    this._last = undefined;
    /** @type {any} */
    this._signal = { symbol: "", market: "", price: "0", values: {} };
    this._cells = Object.fromEntries(
      Object.entries(COLUMNS).map(([name, label]) => [
        name,
        h("td", { class: name, role: "cell", "data-label": label }),
      ]),
    );
    this._time = h("a", null);
    this._interval = h("span", { class: "soft" });
    this._symbol = h("span", null);
    this._count = h("span", { class: "count" });
    this._trader = h("a", null);
    this._more = h("button", {
      type: "button",
      class: "plain",
      "aria-expanded": "false",
      onclick: () => this._unfold(),
    });
    this._parts = h("dl", { class: "parts", hidden: true });
    this._cells.time.append(this._time);
    this._cells.symbol.append(this._symbol, " ", this._interval, " ", this._count);
    this._cells.trader.append(this._trader);
    this._cells.state.append(this._more, this._parts);
    /** @type {HTMLTableRowElement} */
    this.row = h(
      "tr",
      { role: "row", onclick: (/** @type {Event} */ event) => this._open(event) },
      Object.values(this._cells),
    );
  }

  get symbol() {
    return this._signal.symbol;
  }

  get market() {
    return this._signal.market;
  }

  /**
   * @param {any} signal
   * @param {number} count how many the row stands for
   * @param {string} trader its name
   * @param {boolean} first whether its market is the server's first
   */
  show(signal, count, trader, first) {
    const { symbol, interval, open_time_ms: time, trader_id: id, status } = signal;
    this._signal = signal;
    say(this._time, moment(time));
    const market = first ? null : { market: signal.market };
    this._time.href = address(["chart", symbol, interval], {
      at: String(time),
      trader: id,
      ...market,
    });
    this._time.setAttribute("aria-label", `${symbol} at ${moment(time)}: chart`);
    say(this._symbol, symbol);
    say(this._interval, first ? interval : `${interval} ${marketName(signal.market)}`);
    say(this._count, count > 1 ? `×${count}` : "");
    say(this._trader, trader);
    this._trader.href = address(["traders", id]);
    say(this._more, signal.historical ? `${status}, in the past` : status);
    this._more.title = "What the filter saw";
    this._cells.state.dataset.status = status;
    this._tellPrices();
    this.row.dataset.status = status;
    if (!this._parts.hidden) this._showParts();
  }

  /** @param {{c: string, q: string} | undefined} ticker the newest, as the exchange writes it */
  tick(ticker) {
    this._last = ticker?.c;
    const last = this._last;
    say(this._cells.volume, ticker ? short(ticker.q) : "–");
    this._tellPrices();
    const before = Number(this._signal.price);
    const change = last === undefined || !before ? NaN : 100 * (Number(last) / before - 1);
    say(this._cells.change, Number.isNaN(change) ? "–" : percent(change));
    const kind = change > 0 ? "up" : change < 0 ? "down" : "";
    this._cells.change.className = `change ${kind}`;
  }

  _tellPrices() {
    const [then, now] = prices([this._signal.price, this._last ?? "0"]);
    say(this._cells.then, then);
    say(this._cells.now, this._last === undefined ? "–" : now);
  }

  _unfold() {
    this._parts.hidden = !this._parts.hidden;
    this.row.classList.toggle("unfolded", !this._parts.hidden);
    this._more.setAttribute("aria-expanded", String(!this._parts.hidden));
    if (!this._parts.hidden) this._showParts();
  }

  _showParts() {
    const values = Object.entries(this._signal.values);
    this._parts.replaceChildren(
      ...(values.length
        ? values
            .map(([part, value]) => [
              h("dt", null, h("code", null, part)),
              h("dd", null, valueWords(value)),
            ])
            .flat()
        : [h("dt", null, "No values are kept of signals of the past.")]),
    );
  }

  /** A click anywhere but on something else opens the chart. @param {Event} event */
  _open(event) {
    const target = /** @type {Element} */ (event.target);
    if (target.closest("a, button, dl") || getSelection()?.toString()) return;
    location.hash = this._time.hash;
  }
}
