// @ts-check
/** The chart. Everything that calls the chart library stands here and in `chart-marks.js`. */

import { legendOf } from "./chart-legend.js";
import { Marks } from "./chart-marks.js";
import { bar, formatOf, points, shape } from "./chart-points.js";
import { h } from "./dom.js";
import { decimals, moment } from "./format.js";

/**
 * @typedef {object} Row a kline as `/klines` and kline frames tell it
 * @property {number} t opening time, ms
 * @property {number} T closing time, ms
 * @property {string} o
 * @property {string} h
 * @property {string} l
 * @property {string} c
 * @property {string} v
 * @property {boolean} x whether it has closed
 *
 * @typedef {object} Line
 * @property {string} name
 * @property {number[]} times opening times, ms, ascending
 * @property {Array<number | boolean | null>} values in step with `times`; null: unknown
 * @property {number} pane 0: over the klines; others have a pane of their own, in their order
 * @property {string} [color] as `inkOf` names it
 * @property {"line" | "histogram"} [kind]
 *
 * @typedef {object} Marker
 * @property {number} time opening time of its kline, ms
 * @property {string} text
 * @property {"fired" | "confirmed" | "provisional" | "revised"} kind provisional ones are hollow
 *
 * @typedef {object} Gap klines that are missing
 * @property {number} from opening time of the first, ms
 * @property {number} to of the last
 * @property {string} text
 */

/** Places without a kline that are shown as such; a longer stretch is left out of the axis. */
const EMPTY_MAX = 2_000;
/** Klines from the left edge at which older ones are asked for. */
const EDGE = 20;
/** Places that are free beside the newest kline. */
const BESIDE = 4;
/** Colours of lines in the style sheet, which has them for light and for dark. */
const INKS = 8;

const NOTHING = /** @type {Row} */ ({ t: 0 });

/** The colour of a line by its place, as CSS has it. @param {number} index */
export function inkOf(index) {
  return `var(--line-${(index % INKS) + 1})`;
}

/** @type {Promise<any> | null} */
let library = null;

/** The chart library, which the server serves from an installed package. */
function load() {
  library ??= (async () => {
    const setting = document.querySelector('meta[name="klinecore-chart"]');
    const file = setting?.getAttribute("content");
    if (!file) throw new Error("The server has no chart library: pip install litecharts");
    await import(new URL(file, document.baseURI).href);
    return /** @type {any} */ (window).LightweightCharts;
  })();
  return library;
}

/**
 * `ready` resolves to whether there is a chart, and an event `ready` says so too; `older` asks
 * for klines before the first, `hover` tells the opening time under the cross-hair, `view` that
 * `view` is another one. What is set before the chart is ready is shown then.
 */
class KlineChart extends HTMLElement {
  constructor() {
    super();
    /** @type {(drawn: boolean) => void} */
    this._said = () => {};
    /** @type {Promise<boolean>} */
    this.ready = new Promise((resolve) => (this._said = resolve));
    /** @type {Map<number, Row>} by opening time, ascending */
    this._rows = new Map();
    /** @type {Map<number, Row>} what comes with the next frame */
    this._fresh = new Map();
    /** @type {Row | undefined} the newest of `_rows` */
    this._last = undefined;
    /** Milliseconds of a kline; 0: there is none. */
    this._step = 0;
    /** @type {number | undefined} pixels of a kline, where somebody chose them */
    this._spacing = undefined;
    /** @type {number | undefined} opening time of the kline that is pointed at */
    this._at = undefined;
    /** @type {any} */
    this._chart = null;
    /** @type {Line[]} */
    this._lines = [];
    /** @type {any[]} in step with `_lines` */
    this._drawn = [];
    this._seen = h("ul", { class: "unseen", "aria-label": "Marks in view" });
    this._marks = new Marks((drawn) => this._tellMarks(drawn));
    this._legend = legendOf();
    this._frame = 0;
    this._digits = 0;
    this._scheme = matchMedia("(prefers-color-scheme: dark)");
    this._repaint = () => this._paint();
  }

  async connectedCallback() {
    if (this._chart) return;
    let charts;
    try {
      charts = await load();
    } catch (error) {
      const text = /** @type {Error} */ (error).message;
      this.replaceChildren(h("p", { class: "error", role: "alert" }, text));
      this._said(false);
      return;
    }
    if (!this.isConnected || this._chart) return;
    this._draw(charts);
    this._said(true);
    this.dispatchEvent(new Event("ready"));
  }

  disconnectedCallback() {
    cancelAnimationFrame(this._frame);
    this._frame = 0;
    this._scheme.removeEventListener("change", this._repaint);
    this._chart?.remove();
    this._chart = null;
    this._drawn = [];
    this.replaceChildren();
  }

  /** @param {any} charts */
  _draw(charts) {
    this._charts = charts;
    const plane = h("div", {
      class: "plane", tabIndex: 0, role: "application", onkeydown: this._key.bind(this),
      "aria-label": "Klines: arrow keys move from one to the next, plus and minus zoom",
    });
    this.replaceChildren(plane, this._legend.element, this._seen);
    this._chart = charts.createChart(plane, {
      autoSize: true,
      layout: { attributionLogo: true, fontFamily: getComputedStyle(this).fontFamily },
      localization: { locale: "en-GB", dateFormat: "dd MMM yyyy" },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: BESIDE, minBarSpacing: 0.2 },
      crosshair: { mode: charts.CrosshairMode.Normal },
    });
    this._klines = this._chart.addSeries(charts.CandlestickSeries, { borderVisible: false });
    this._volume = this._chart.addSeries(charts.HistogramSeries, {
      priceScaleId: "volume", priceFormat: { type: "volume" },
      priceLineVisible: false, lastValueVisible: false,
    });
    this._klines.priceScale().applyOptions({ scaleMargins: { top: 0.12, bottom: 0.22 } });
    this._volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this._klines.attachPrimitive(this._marks);
    this._chart.subscribeCrosshairMove((/** @type {any} */ at) => this._hover(at.time));
    this._chart.timeScale().subscribeVisibleLogicalRangeChange(() => this._moved());
    this._scheme.addEventListener("change", this._repaint);
    this._paint();
    if (this._spacing) this._chart.timeScale().applyOptions({ barSpacing: this._spacing });
    this._setAll();
    this._addLines();
  }

  /** Colours of the page, which follow the reader's choice of light or dark. */
  _paint() {
    const color = (/** @type {string} */ name) => this._color(`var(--${name})`);
    const [up, down, line] = [color("up"), color("down"), color("line")];
    this._colors = { up: `${up}66`, down: `${down}66` };
    this._chart.applyOptions({
      layout: {
        background: { color: color("ground") }, textColor: color("soft"),
        panes: { separatorColor: line, separatorHoverColor: color("mark") },
      },
      grid: { vertLines: { color: color("raised") }, horzLines: { color: color("raised") } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    this._klines.applyOptions({
      upColor: up, downColor: down, wickUpColor: up, wickDownColor: down,
    });
    this._volume.setData(this._places().map((place) => this._amount(place)));
    this._marks.paint({ mark: color("link"), revised: color("warn"), gap: color("soft") });
    this._drawn.forEach((series, index) =>
      series.applyOptions({ color: this._color(this._lines[index].color) }));
  }

  /** A named colour of the style sheet as a canvas takes it. @param {string} [name] `var(--…)` */
  _color(name = "") {
    return getComputedStyle(this).getPropertyValue(name.slice(4, -1)).trim();
  }

  // --- klines --------------------------------------------------------------------------------

  /**
   * All klines, oldest first.
   *
   * @param {Row[]} rows
   */
  set(rows) {
    this._fresh.clear();
    this._rows = new Map(rows.map((row) => [row.t, row]));
    this._setAll();
  }

  /**
   * Klines before the first.
   *
   * @param {Row[]} rows
   */
  putBefore(rows) {
    const first = this.firstTime ?? Infinity;
    const held = [...this._rows.values()];
    this.set([...rows.filter((row) => row.t < first), ...held, ...this._fresh.values()]);
  }

  /**
   * A kline that is new, or another state of one; shown with the next frame.
   *
   * @param {Row} row
   */
  update(row) {
    this._fresh.set(row.t, row);
    this._frame ||= requestAnimationFrame(() => {
      this._frame = 0;
      this._takeFresh();
    });
  }

  /** Nothing is left of what was set: another series follows. */
  clear() {
    this._digits = 0;
    this._at = undefined;
    this.set([]);
    this.setMarkers([]);
    this.setGaps([]);
    this.setLines([]);
    this.reset();
  }

  /** Opening time of the oldest kline. */
  get firstTime() {
    return this._rows.keys().next().value;
  }

  get count() {
    return this._rows.size;
  }

  /** All klines, oldest first; what came last is there before it is shown. */
  get rows() {
    return [...new Map([...this._rows, ...this._fresh]).values()].sort((a, b) => a.t - b.t);
  }

  /** @param {number} time */
  row(time) {
    return this._fresh.get(time) ?? this._rows.get(time);
  }

  /** The newest kline. @returns {Row | undefined} */
  get last() {
    const fresh = [...this._fresh.values()].reduce((a, b) => (b.t > a.t ? b : a), NOTHING);
    return fresh.t > (this._last?.t ?? 0) ? fresh : this._last;
  }

  /** Lowest and highest price of all klines. */
  get range() {
    let [low, high] = [Infinity, 0];
    for (const row of this._rows.values()) {
      low = Math.min(low, +row.l);
      high = Math.max(high, +row.h);
    }
    return { low, high };
  }

  _takeFresh() {
    const last = this._last?.t ?? 0;
    const fresh = [...this._fresh.values()].sort((a, b) => a.t - b.t);
    this._fresh.clear();
    // The library takes what is newest, or the same, one by one; anything else in one piece.
    const simple = fresh.every((row) => row.t === last || row.t === last + this._step);
    for (const row of fresh) this._rows.set(row.t, row);
    if (!simple || fresh.length > 2) {
      this._rows = new Map([...this._rows].sort(([a], [b]) => a - b));
      this._setAll();
      return;
    }
    for (const row of fresh) {
      this._last = row;
      this._count(row);
      this._klines?.update(bar(row));
      this._volume?.update(this._amount(row));
    }
    this._tellRow();
  }

  _setAll() {
    const rows = [...this._rows.values()];
    this._last = rows.at(-1);
    this._step = this._last ? this._last.T - this._last.t + 1 : 0;
    if (!this._chart) return;
    for (const row of rows) this._count(row);
    const places = this._places();
    this._klines.setData(places.map(bar));
    this._volume.setData(places.map((place) => this._amount(place)));
    this._marks.hold(this._rows, this._step);
    this._tellRow();
  }

  /** @returns {Array<Row | {t: number}>} klines, and the places where one is missing */
  _places() {
    const places = [];
    let next = 0;
    let empty = 0;
    for (const row of this._rows.values()) {
      const missing = this._step && next ? (row.t - next) / this._step : 0;
      if (missing > 0 && empty + missing <= EMPTY_MAX) {
        for (; next < row.t; next += this._step) places.push({ t: next });
        empty += missing;
      }
      places.push(row);
      next = row.T + 1; // not `_step`, as months differ
    }
    return places;
  }

  /** @param {Row | {t: number}} place */
  _amount(place) {
    if (!("o" in place)) return { time: place.t / 1000 };
    const color = +place.c < +place.o ? this._colors?.down : this._colors?.up;
    return { time: place.t / 1000, value: +place.v, color };
  }

  /** The axis has as many decimals as the finest price. @param {Row} row */
  _count(row) {
    let digits = this._digits;
    for (const text of [row.o, row.h, row.l, row.c]) digits = Math.max(digits, decimals(text));
    if (digits === this._digits) return;
    this._digits = digits;
    this._format = { type: "price", precision: digits, minMove: 10 ** -digits };
    this._klines?.applyOptions({ priceFormat: this._format });
  }

  // --- what stands on them -------------------------------------------------------------------

  get markers() {
    return this._marks.markers;
  }

  /** @param {Marker[]} markers */
  setMarkers(markers) {
    this._marks.setMarkers(markers);
  }

  /** What is drawn, in words, for who cannot see it. @param {Marker[]} drawn */
  _tellMarks(drawn) {
    this._seen.replaceChildren(
      ...drawn.map(({ time, text }) =>
        h("li", { dataset: { time } }, `${moment(time)}: ${text}`)),
    );
  }

  /** @param {Gap[]} gaps */
  setGaps(gaps) {
    this._marks.setGaps(gaps);
  }

  /** @param {Line[]} lines */
  setLines(lines) {
    const named = lines.map((line, index) => ({ color: inkOf(index), ...line }));
    this._keepLines(named);
  }

  /** @param {Line[]} lines */
  _keepLines(lines) {
    const same =
      lines.length === this._lines.length &&
      lines.every((line, index) => shape(line) === shape(this._lines[index]));
    this._lines = lines;
    if (!this._chart) return;
    if (same && this._drawn.length === lines.length) {
      lines.forEach((line, index) => {
        if (line.pane) this._drawn[index].applyOptions({ priceFormat: formatOf(line.values) });
        this._drawn[index].setData(points(line));
      });
    } else {
      this._addLines();
    }
    this._tellRow();
    this._tellSince();
  }

  /** Lines from the beginning: panes that lose their last line go, and their numbers with them. */
  _addLines() {
    for (const series of this._drawn) this._chart.removeSeries(series);
    const panes = [...new Set(this._lines.map((line) => line.pane))].sort((a, b) => a - b);
    if (panes[0] !== 0) panes.unshift(0);
    this._drawn = this._lines.map((line) => {
      const over = line.pane === 0;
      const kind = line.kind === "histogram" ? "HistogramSeries" : "LineSeries";
      const series = this._chart.addSeries(
        this._charts[kind],
        {
          color: this._color(line.color), lineWidth: 1.5,
          priceLineVisible: false, lastValueVisible: !over, crosshairMarkerVisible: false,
          ...(over && this._format ? { priceFormat: this._format } : {}),
          ...(over ? {} : { priceFormat: formatOf(line.values) }),
        },
        panes.indexOf(line.pane),
      );
      series.setData(points(line));
      return series;
    });
    this._chart.panes().forEach((/** @type {any} */ pane, /** @type {number} */ index) =>
      pane.setStretchFactor(index ? 1 : 3));
  }

  // --- where one looks -----------------------------------------------------------------------

  /**
   * Puts a kline into the middle, or as near to it as leaves no empty half.
   *
   * @param {number} openTimeMs
   */
  showAt(openTimeMs) {
    const places = this._places();
    const index = places.findIndex((place) => place.t >= openTimeMs);
    if (index < 0 || !this._chart) return;
    const scale = this._chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    const half = range ? Math.max(10, (range.to - range.from) / 2) : 60;
    const to = Math.min(index + half, places.length - 1 + BESIDE);
    scale.setVisibleLogicalRange({ from: to - 2 * half, to });
    this._point(openTimeMs);
  }

  /** Pixels of a kline: how far one has zoomed in. @returns {number} */
  get view() {
    return this._chart?.timeScale().options().barSpacing ?? this._spacing ?? 6;
  }

  set view(spacing) {
    this._spacing = spacing;
    this._chart?.timeScale().applyOptions({ barSpacing: spacing });
  }

  /** The newest klines at the zoom a chart begins with. */
  reset() {
    this._chart?.timeScale().resetTimeScale();
  }

  /** Whether one sees the oldest klines, or almost. */
  get atEdge() {
    const range = this._chart?.timeScale().getVisibleLogicalRange();
    return Boolean(range) && this._rows.size > 0 && range.from < EDGE;
  }

  _moved() {
    if (!this._rows.size) return;
    this._tellSince();
    if (this.atEdge) this.dispatchEvent(new Event("older"));
    this.dispatchEvent(new Event("view"));
  }

  /** Whether lines begin within what is seen: they are computed of what the server holds. */
  _tellSince() {
    const from = this._chart?.timeScale().getVisibleRange()?.from ?? Infinity;
    const begins = Math.min(...this._lines.map(({ times }) => times[0] ?? Infinity));
    this._legend.tellSince(from * 1_000 < begins && begins < Infinity ? begins : 0);
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
    if (move) {
      const times = [...this._rows.keys()];
      const here = this._at ?? Infinity;
      const found = times.findIndex((time) => time >= here); // it may stand where none is
      const from = found < 0 ? times.length - (move < 0 ? 0 : 1) : found;
      this._point(times[Math.min(times.length - 1, Math.max(0, from + move))]);
    } else if (event.key === "+" || event.key === "-") {
      this.view = Math.min(60, Math.max(0.5, this.view * (event.key === "+" ? 1.25 : 0.8)));
    } else if (event.key === "Home") {
      this.reset();
    } else if (event.key === "Escape") {
      this._chart.clearCrosshairPosition();
      this._hover(undefined);
    } else return;
    event.preventDefault();
  }

  /** @param {number} time of a kline, ms */
  _point(time) {
    const row = this._rows.get(time);
    if (!row) return;
    const scale = this._chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    const index = this._places().findIndex((place) => place.t === time);
    if (range && (index < range.from || index > range.to)) {
      const moved = index < range.from ? index - range.from : index - range.to;
      scale.setVisibleLogicalRange({ from: range.from + moved, to: range.to + moved });
    }
    this._hover(time / 1000);
    // The cross-hair stays at its pixel when the chart moves, so it comes after that.
    requestAnimationFrame(() => {
      this._chart?.setCrosshairPosition(+row.c, time / 1000, this._klines);
    });
  }

  /** @param {number | undefined} time in seconds; none: the cross-hair has left */
  _hover(time) {
    this._at = time === undefined ? undefined : time * 1000;
    this._tellRow();
    this.dispatchEvent(new CustomEvent("hover", { detail: this._at }));
  }

  _tellRow() {
    const time = this._at ?? this._last?.t;
    const row = time === undefined ? undefined : this._rows.get(time);
    this._legend.tell(time, row, this._lines, this._marks.at(time));
  }
}

customElements.define("kline-chart", KlineChart);
