// @ts-check
/** Draws what the kernel sends. The chart library stands before this text; no value is made here. */

const {
  CandlestickSeries,
  createChart,
  createSeriesMarkers,
  createTextWatermark,
  HistogramSeries,
  LineSeries,
} = /** @type {any} */ (window).LightweightCharts;

// Columns of a row; a column per line follows.
const [TIME, OPEN, HIGH, LOW, CLOSE, VOLUME, STATE, FIRST_LINE] = [0, 1, 2, 3, 4, 5, 6, 7];
const [FORMING, HOLE, ABSENT] = [1, 2, 3];
const NOTHING = "rgba(0, 0, 0, 0)";
const SAYS = { [HOLE]: "not held", [ABSENT]: "no such kline at the exchange" };

const THEMES = {
  light: {
    back: "#ffffff", text: "#131722", faint: "#787b86", grid: "#f0f3fa", edge: "#e0e3eb",
    up: "#26a69a", down: "#ef5350", upFaint: "#26a69a66", downFaint: "#ef535066",
    hole: "#ff980033", absent: "#787b8626",
    lines: ["#2962ff", "#f57c00", "#9c27b0", "#00838f", "#c2185b", "#5d4037"],
    marks: ["#2962ff", "#e91e63", "#ff6d00", "#6a1b9a"],
  },
  dark: {
    back: "#131722", text: "#d1d4dc", faint: "#868993", grid: "#1e222d", edge: "#2a2e39",
    up: "#26a69a", down: "#ef5350", upFaint: "#26a69a66", downFaint: "#ef535066",
    hole: "#ff980040", absent: "#86899330",
    lines: ["#5b9cf6", "#ffb74d", "#ce93d8", "#4dd0e1", "#f06292", "#bcaaa4"],
    marks: ["#82b1ff", "#ff80ab", "#ffd180", "#b388ff"],
  },
};

/** JupyterLab says what its own theme is; elsewhere the system's is taken. */
const systemDark = window.matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const light = document.body?.dataset.jpThemeLight;
  const dark = light === undefined ? systemDark.matches : light === "false";
  return dark ? THEMES.dark : THEMES.light;
}

/**
 * Rows out of float64 columns, one behind the other.
 * @param {DataView} view
 * @param {number} width
 * @returns {number[][]}
 */
function readRows(view, width) {
  const { buffer, byteOffset, byteLength } = view;
  const numbers = new Float64Array(buffer.slice(byteOffset, byteOffset + byteLength));
  const count = numbers.length / width;
  return Array.from({ length: count }, (_, row) =>
    Array.from({ length: width }, (_, column) => numbers[column * count + row]),
  );
}

/** @param {string} tag @param {Partial<CSSStyleDeclaration>} style @param {string} [text] */
function made(tag, style, text = "") {
  const element = document.createElement(tag);
  Object.assign(element.style, style);
  element.textContent = text;
  return element;
}

/** One picture of a chart: what calls the chart library. */
class View {
  /** @param {HTMLElement} el @param {any} about @param {number} height */
  constructor(el, about, height) {
    this.about = about;
    this.rows = /** @type {number[][]} */ ([]);
    this.marks = /** @type {number[][]} */ ([]);
    this.status = "";
    this.box = made("div", { position: "relative", width: "100%", height: `${height}px` });
    this.box.className = "klinecore-chart";
    el.append(this.box);
    const short = about.interval_s > 0 && about.interval_s < 86400;
    this.chart = createChart(this.box, {
      autoSize: true,
      layout: { attributionLogo: true, panes: { enableResize: true } },
      localization: { priceFormatter: (/** @type {number} */ n) => this.number(n) },
      timeScale: {
        timeVisible: short,
        secondsVisible: short && about.interval_s < 60,
        rightOffset: 4,
      },
      crosshair: { mode: 0 },
    });
    this.addSeries();
    this.legend = made("div", {
      position: "absolute", left: "8px", top: "6px", zIndex: "3", pointerEvents: "none",
      font: "12px/1.5 system-ui, 'DejaVu Sans', sans-serif",
    });
    this.legend.className = "klinecore-legend";
    this.box.append(this.legend);
    this.chart.subscribeCrosshairMove((/** @type {any} */ at) => this.tell(at.logical));
    this.paint();
  }

  addSeries() {
    const { lines } = this.about;
    const price = { priceFormat: this.format(this.about.decimals) };
    const quiet = { lastValueVisible: false, priceLineVisible: false };
    this.gaps = this.chart.addSeries(HistogramSeries, { priceScaleId: "gaps", ...quiet, base: 0 });
    this.gaps.priceScale().applyOptions({ scaleMargins: { top: 0, bottom: 0 } });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume", priceFormat: { type: "volume" }, ...quiet,
    });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.klines = this.chart.addSeries(CandlestickSeries, price);
    this.lines = lines.map((/** @type {any} */ line) =>
      this.chart.addSeries(
        line.kind === "histogram" ? HistogramSeries : LineSeries,
        {
          lineWidth: 1.5, priceLineVisible: false, crosshairMarkerRadius: 3,
          lastValueVisible: line.pane > 0,
          ...(line.pane ? { priceFormat: { type: "price", precision: 4, minMove: 1e-4 } } : price),
        },
        line.pane,
      ),
    );
    this.marked = createSeriesMarkers(this.klines, []);
    const panes = this.chart.panes();
    panes[0].setStretchFactor(3);
    this.names = panes.slice(1).map((/** @type {any} */ pane) => {
      pane.setStretchFactor(1);
      return createTextWatermark(pane, { horzAlign: "left", vertAlign: "top", lines: [] });
    });
  }

  /** @param {number} decimals */
  format(decimals) {
    return { type: "price", precision: decimals, minMove: 10 ** -decimals };
  }

  /** @param {number} value */
  number(value) {
    return value.toFixed(this.about.decimals);
  }

  /** Colours; those of single rows change with the rows. */
  paint() {
    const colors = (this.colors = theme());
    const { lines } = this.about;
    this.chart.applyOptions({
      layout: {
        background: { type: "solid", color: colors.back },
        textColor: colors.text,
        panes: { separatorColor: colors.edge, separatorHoverColor: colors.edge },
      },
      grid: { vertLines: { color: colors.grid }, horzLines: { color: colors.grid } },
      timeScale: { borderColor: colors.edge },
      rightPriceScale: { borderColor: colors.edge },
    });
    this.klines.applyOptions({
      upColor: colors.up, downColor: colors.down, borderUpColor: colors.up,
      borderDownColor: colors.down, wickUpColor: colors.up, wickDownColor: colors.down,
    });
    this.lines.forEach((/** @type {any} */ series, /** @type {number} */ i) =>
      series.applyOptions({ color: this.lineColor(i) }),
    );
    this.names.forEach((/** @type {any} */ name, /** @type {number} */ i) =>
      name.applyOptions({
        lines: lines
          .map((/** @type {any} */ line, /** @type {number} */ k) => ({ line, k }))
          .filter((/** @type {any} */ { line }) => line.pane === i + 1)
          .map((/** @type {any} */ { line, k }) => ({
            text: line.name, color: this.lineColor(k), fontSize: 11, lineHeight: 14,
          })),
      }),
    );
    this.legend.style.color = colors.text;
    this.all(this.rows);
    this.mark(this.marks);
  }

  /** @param {number} place */
  lineColor(place) {
    return this.colors.lines[place % this.colors.lines.length];
  }

  /** @param {number[][]} rows */
  all(rows) {
    this.rows = rows;
    this.klines.setData(rows.map((row) => this.kline(row)));
    this.volume.setData(rows.map((row) => this.traded(row)));
    this.gaps.setData(rows.map((row) => this.gap(row)));
    this.lines.forEach((/** @type {any} */ _, /** @type {number} */ i) => this.line(i));
    this.tell();
  }

  /** All of a line. @param {number} place */
  line(place) {
    this.lines[place].setData(this.rows.map((_, at) => this.point(at, place)));
  }

  /** Rows from one on are new. @param {number[][]} rows @param {number} from */
  tail(rows, from) {
    this.rows = rows;
    const newest = rows.length - 1;
    for (let at = from; at <= newest; at++) {
      const old = at < newest; // the library wants to be told so
      this.klines.update(this.kline(rows[at]), old);
      this.volume.update(this.traded(rows[at]), old);
      this.gaps.update(this.gap(rows[at]), old);
    }
    this.lines.forEach((/** @type {any} */ series, /** @type {number} */ i) => {
      const column = FIRST_LINE + i;
      const known = (/** @type {number} */ at) => at >= 0 && !Number.isNaN(rows[at][column]);
      if (!known(from - 1) && rows.some((_, at) => at >= from && known(at))) {
        this.line(i); // it goes on behind a gap: where it broke off is drawn anew
        return;
      }
      for (let at = from; at <= newest; at++) series.update(this.point(at, i), at < newest);
    });
    this.tell();
  }

  /** @param {number[][]} marks */
  mark(marks) {
    this.marks = marks;
    this.marked.setMarkers(
      marks.map(([time, which]) => ({
        time, position: "belowBar", shape: "arrowUp", size: 1,
        color: this.colors.marks[which % this.colors.marks.length],
      })),
    );
    this.tell();
  }

  /** @param {number[]} row */
  kline(row) {
    const time = row[TIME];
    if (Number.isNaN(row[OPEN])) return { time };
    const shown = { time, open: row[OPEN], high: row[HIGH], low: row[LOW], close: row[CLOSE] };
    if (row[STATE] !== FORMING) return shown;
    const { upFaint, downFaint } = this.colors;
    return { ...shown, color: row[CLOSE] >= row[OPEN] ? upFaint : downFaint };
  }

  /** @param {number[]} row */
  traded(row) {
    const time = row[TIME];
    if (Number.isNaN(row[VOLUME])) return { time };
    const { upFaint, downFaint } = this.colors;
    return { time, value: row[VOLUME], color: row[CLOSE] >= row[OPEN] ? upFaint : downFaint };
  }

  /** @param {number[]} row */
  gap(row) {
    const time = row[TIME];
    if (row[STATE] < HOLE) return { time };
    return { time, value: 1, color: row[STATE] === HOLE ? this.colors.hole : this.colors.absent };
  }

  /** @param {number} at @param {number} place */
  point(at, place) {
    const { rows } = this;
    const column = FIRST_LINE + place;
    const time = rows[at][TIME];
    const value = rows[at][column];
    if (Number.isNaN(value)) return { time };
    if (this.about.lines[place].kind === "histogram") {
      return { time, value, color: value >= 0 ? this.colors.upFaint : this.colors.downFaint };
    }
    // The library joins a point to the next one that there is, over all that is missing between.
    let next = at + 1;
    while (next < rows.length && Number.isNaN(rows[next][column])) next++;
    const broken = next > at + 1 && next < rows.length;
    return broken ? { time, value, color: NOTHING } : { time, value };
  }

  /** What stands above the chart: the row below the pointer, or the newest. @param {any} [at] */
  tell(at) {
    const { about, colors, rows } = this;
    const last = rows.findLastIndex((row) => !Number.isNaN(row[OPEN]));
    const row = rows[at ?? last];
    const head = made("div", {});
    head.append(made("b", {}, [about.symbol, about.interval, "UTC"].filter(Boolean).join(" · ")));
    if (row !== undefined && !Number.isNaN(row[OPEN])) {
      const color = row[CLOSE] >= row[OPEN] ? colors.up : colors.down;
      ["O", "H", "L", "C"].forEach((letter, i) =>
        head.append(
          ` ${letter} `,
          made("span", { color }, this.number(row[OPEN + i])),
        ),
      );
    } else if (row !== undefined) {
      head.append(made("span", { color: colors.faint }, ` ${SAYS[row[STATE]] ?? ""}`));
    }
    if (this.status) head.append(made("span", { color: colors.faint }, ` ${this.status}`));
    const below = made("div", {});
    about.lines.forEach((/** @type {any} */ line, /** @type {number} */ i) => {
      if (line.pane) return;
      const value = row?.[FIRST_LINE + i];
      const said = value === undefined || Number.isNaN(value) ? "–" : this.number(value);
      below.append(made("span", { color: this.lineColor(i) }, `${line.name} ${said}  `));
    });
    about.firings.forEach((/** @type {string} */ name, /** @type {number} */ i) =>
      below.append(made("span", { color: colors.marks[i % colors.marks.length] }, `▲ ${name}  `)),
    );
    this.legend.replaceChildren(head, below);
  }

  remove() {
    this.chart.remove();
    this.box.remove();
  }
}

/** Once per chart: its rows are kept here, whatever shows them. */
export default () => {
  const who = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join("");
  const views = /** @type {Set<View>} */ (new Set());
  let rows = /** @type {number[][]} */ ([]);

  /** @param {any} model */
  const width = (model) => FIRST_LINE + model.get("_about").lines.length;

  /** @param {any} model @param {boolean} shown */
  const say = (model, shown) => {
    try {
      model.send({ who, shown });
    } catch {
      // Without a kernel it shows what it has.
    }
  };

  return {
    /** @param {{model: any}} given */
    initialize({ model }) {
      const all = () => {
        rows = readRows(model.get("_rows"), width(model));
        for (const view of views) view.all(rows);
      };
      all();
      model.on("change:_rows", all);
      model.on("change:_marks", () => {
        for (const view of views) view.mark(readRows(model.get("_marks"), 2));
      });
      model.on("change:_status", () => {
        for (const view of views) {
          view.status = model.get("_status");
          view.tell();
        }
      });
      model.on("msg:custom", (/** @type {any} */ said, /** @type {DataView[]} */ buffers) => {
        if (said.kind !== "tail") return;
        const tail = readRows(buffers[0], width(model));
        const first = rows.findIndex((row) => row[TIME] >= tail[0][TIME]);
        const from = first < 0 ? rows.length : first;
        const dropped = rows.length - from > tail.length;
        const before = rows.slice(from).map((row) => row[TIME]);
        rows = [...rows.slice(0, from), ...tail];
        // Rows that are gone, or stand between others, take a picture made anew.
        const between = before.some((time, i) => tail[i]?.[TIME] !== time);
        for (const view of views) {
          if (dropped || between) view.all(rows);
          else view.tail(rows, from);
        }
      });
    },

    /** @param {{model: any, el: HTMLElement}} given */
    render({ model, el }) {
      const view = new View(el, model.get("_about"), model.get("height"));
      view.status = model.get("_status");
      view.all(rows);
      view.mark(readRows(model.get("_marks"), 2));
      view.chart.timeScale().setVisibleLogicalRange({ from: rows.length - 150, to: rows.length + 4 });
      views.add(view);
      if (views.size === 1) say(model, true);
      const leave = () => say(model, false);
      window.addEventListener("pagehide", leave);
      const repaint = () => view.paint();
      systemDark.addEventListener("change", repaint);
      const watcher = new MutationObserver(repaint);
      watcher.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
      return () => {
        window.removeEventListener("pagehide", leave);
        systemDark.removeEventListener("change", repaint);
        watcher.disconnect();
        views.delete(view);
        view.remove();
        if (!views.size) say(model, false);
      };
    },
  };
};
