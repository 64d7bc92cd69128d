// @ts-check
/** The signals of a chart's series, and what is marked for them. */

import { api } from "./api.js";
import { live } from "./live.js";
import { Retry } from "./retry.js";
import { choices } from "./trader-choices.js";

/** @typedef {import("./kline-chart.js").Marker} Marker */

/** Signals that are read, newest first. */
const READ = 500;

/** An event `change` tells that `markers` are others. */
export class ChartSignals extends EventTarget {
  /**
   * @param {{symbol: string, interval: string, market: string}} series
   * @param {string | null} trader only its signals; null: those of all
   * @param {Map<string, string>} names of traders by id
   */
  constructor(series, trader, names) {
    super();
    this._series = series;
    this._trader = trader;
    this._names = names;
    /** @type {Map<string, any>} by id */
    this._signals = new Map();
    this._ended = new AbortController();
    /** Marks are an extra: that they cannot be read now is not told. */
    this._reading = new Retry(() => this._read(), () => {});
    const { signal } = this._ended;
    this._unfollow = live.follow("signals", (told) => {
      if (this._take(told)) this.dispatchEvent(new Event("change"));
    });
    live.addEventListener("joined", () => this.read(), { signal });
    api.addEventListener("identity", () => this.read(), { signal });
    choices.addEventListener("change", () => this.dispatchEvent(new Event("change")), { signal });
  }

  end() {
    this._ended.abort();
    this._reading.end();
    this._unfollow();
  }

  read() {
    this._reading.now();
  }

  async _read() {
    const { symbol, market } = this._series;
    const query = { symbol, market, trader: this._trader, limit: READ };
    const answer = await api.get("/v1/signals", query, this._ended.signal);
    if (this._ended.signal.aborted) return;
    for (const told of answer.signals) this._take(told);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {any} told @returns {boolean} whether it belongs here and is new */
  _take(told) {
    const { symbol, interval, market } = this._series;
    if (told.symbol !== symbol || told.interval !== interval) return false;
    if (told.market !== market) return false;
    if (this._trader && told.trader_id !== this._trader) return false;
    if ((this._signals.get(told.id)?.revision ?? 0) >= told.revision) return false;
    this._signals.set(told.id, told);
    return true;
  }

  /** @returns {Marker[]} */
  get markers() {
    return [...this._signals.values()]
      .filter(({ status }) => status !== "retracted")
      .filter(({ trader_id: id }) => this._trader || !choices.off(id))
      .map(({ trader_id: id, status, open_time_ms: time }) => ({
        time, kind: status, text: `▲ ${this._names.get(id) ?? "a trader"} (${status})`,
      }));
  }
}
