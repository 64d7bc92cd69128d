// @ts-check
/** One series in a chart: what the server holds, what its stream brings, what is older. */

import { api } from "./api.js";
import { live } from "./live.js";
import { Retry } from "./retry.js";

/** @typedef {import("./kline-chart.js").Row} Row */
/** @typedef {import("./kline-chart.js").Gap} Gap */

/** Klines read at first, and of each older part. */
const PART = 500;
/** Klines of a chart; what is older is not asked for. */
const ROWS_MAX = 10_000;
/** Milliseconds a kline has to close in once its successor is there, until all are read anew. */
const LATE_MS = 2_500;
/** Milliseconds until older klines are asked for again after a refusal. */
const REFUSED_MS = 10_000;

/**
 * Events: `rows` with all that was read, `read` when frames are put on top again, `closed` when a
 * kline closed or was corrected, `gaps` with the stretches without klines, `problem` with a text,
 * empty when it is over.
 */
export class ChartFeed extends EventTarget {
  /**
   * @param {any} chart a `<kline-chart>` that is ready
   * @param {{symbol: string, interval: string, market: string, capacity: number}} series
   */
  constructor(chart, series) {
    super();
    this._chart = chart;
    this._series = series;
    this._query = { market: series.market };
    this._ended = new AbortController();
    /** @type {Array<[Row, boolean]> | null} frames that came while all were read */
    this._waiting = null;
    this._again = false;
    this._timer = 0;
    /** @type {Set<number | undefined>} */
    this._awaited = new Set();
    /** @type {Map<number, string>} opening times of corrected klines, and what was corrected */
    this.revised = new Map();
    this._older = { busy: false, done: false, after: 0 };
    this._reading = new Retry(
      () => this._read(),
      (error, again) => this._say("problem", `${error.message}${again}`),
    );
    const { signal } = this._ended;
    const stream = `${series.symbol.toLowerCase()}@kline_${series.interval}`;
    this._unfollow = live.follow(stream, (frame) => this._hear(frame.k, frame.revised === true));
    live.addEventListener("joined", () => this.read(), { signal });
    api.addEventListener("identity", () => this.read(), { signal });
    chart.addEventListener("older", () => this.readOlder(), { signal });
  }

  end() {
    this._ended.abort();
    this._reading.end();
    this._unfollow();
    clearTimeout(this._timer);
  }

  /** Reads all klines that the server holds, until that is done; once more if it is under way. */
  read() {
    if (this._waiting) this._again = true;
    else this._reading.now();
  }

  /** Frames that come meanwhile are put on top. */
  async _read() {
    /** @type {Array<[Row, boolean]>} */
    const waiting = (this._waiting = []);
    const { symbol, interval, capacity } = this._series;
    const { signal } = this._ended;
    try {
      const query = { ...this._query, limit: Math.min(PART, capacity), forming: true };
      const answer = await api.get(`/klines/${symbol}/${interval}`, query, signal);
      if (signal.aborted) return;
      this._put(answer.klines);
      await this._readGaps();
      this._say("problem", "");
    } finally {
      this._waiting = null;
      if (!signal.aborted) {
        for (const [row, revised] of waiting) this._take(row, revised);
        if (this._again) this._later(0);
        this._again = false;
        this._fill();
      }
    }
    this._say("read", null);
  }

  /** @param {Row[]} rows */
  _put(rows) {
    const first = rows[0]?.t ?? 0;
    const older = this._chart.rows.filter((/** @type {Row} */ row) => row.t < first);
    const last = older.at(-1);
    // Older ones that do not reach the new ones would look like a gap.
    const joined = last && last.T + 1 === first && last.x ? [...older, ...rows] : rows;
    this._older.done = false;
    this._chart.set(joined);
    this._say("rows", null);
  }

  async _readGaps() {
    const { symbol, interval } = this._series;
    const query = { ...this._query, symbol, interval };
    const status = await api.get("/v1/status", query, this._ended.signal);
    const [series] = Object.values(status.markets).flatMap((/** @type {any} */ m) => m.series);
    if (!series) return;
    const gaps = (/** @type {number[][]} */ stretches, /** @type {string} */ text) =>
      stretches.map(([from, to]) => ({ from, to, text }));
    this._say("gaps", [
      ...gaps(series.holes, "klines are missing and being fetched"),
      ...gaps(series.absences, "the exchange has no klines here"),
    ]);
  }

  /** @param {Row} row @param {boolean} revised */
  _hear(row, revised) {
    if (this._waiting) this._waiting.push([row, revised]);
    else this._take(row, revised);
  }

  /** @param {Row & {n?: number}} row @param {boolean} revised */
  _take(row, revised) {
    const held = this._chart.row(row.t);
    const last = this._chart.last;
    if (held?.x && !row.x) return;
    // What was read may be newer than a frame that was on its way.
    if (held && !held.x && !row.x && (row.n ?? 0) < (held.n ?? 0)) return;
    if (revised && held) {
      this.revised.set(row.t, `corrected: close was ${held.c}`);
    }
    this._chart.update(row);
    if (row.x) this._say("closed", row);
    if (!last) return;
    if (row.t > last.T + 1) this._later(0);
    else if (row.t > last.t && !last.x) this._later(LATE_MS, last.t);
    else if (row.t < last.t && !held) this._later(LATE_MS); // a hole was filled: what is left?
  }

  /**
   * Reads all anew, once, unless every kline that was waited for has closed by then.
   *
   * @param {number} ms
   * @param {number} [time]
   */
  _later(ms, time) {
    this._awaited.add(time);
    if (ms === 0) {
      clearTimeout(this._timer);
      this._timer = 0;
    }
    this._timer ||= setTimeout(() => {
      this._timer = 0;
      const awaited = [...this._awaited];
      this._awaited.clear();
      if (awaited.some((one) => one === undefined || !this._chart.row(one)?.x)) this.read();
    }, ms);
  }

  /** Klines before the first, from the exchange if need be; true: there may be more. */
  async readOlder() {
    const older = this._older;
    const first = this._chart.firstTime;
    if (older.busy || older.done || first === undefined || this._waiting) return false;
    if (this._chart.count >= ROWS_MAX || performance.now() < older.after) return false;
    older.busy = true;
    const { symbol, interval, market } = this._series;
    const path = market === "um" ? "/fapi/v1/klines" : "/api/v3/klines";
    const { signal } = this._ended;
    try {
      const query = { symbol, interval, endTime: first - 1, limit: PART };
      const answer = await api.get(path, query, signal);
      const rows = answer.map(rowOf).filter((/** @type {Row} */ row) => row.t < first);
      older.done = rows.length === 0;
      if (rows.length && !signal.aborted) this._chart.putBefore(rows);
      this._say("older", "");
    } catch (error) {
      if (signal.aborted) return false;
      older.after = performance.now() + REFUSED_MS;
      const problem = /** @type {any} */ (error);
      this._say("older", `Older klines: ${problem.body?.msg ?? problem.message}`);
    } finally {
      older.busy = false;
      this._fill();
    }
    return !older.done;
  }

  /** What is seen and empty is asked for, also while nobody scrolls. */
  _fill() {
    if (!this._ended.signal.aborted && this._chart.atEdge) setTimeout(() => this.readOlder(), 0);
  }

  /** @param {string} name @param {any} detail */
  _say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** A row of Binance's arrays. @param {any[]} row @returns {Row & {n: number}} */
function rowOf([t, o, high, l, c, v, T, , n]) {
  return { t, o, h: high, l, c, v, T, n, x: true };
}
