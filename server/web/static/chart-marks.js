// @ts-check
/** What is drawn on the klines: signals, revisions, and places where klines are missing. */

/** @typedef {import("./kline-chart.js").Row} Row */
/** @typedef {import("./kline-chart.js").Marker} Marker */
/** @typedef {import("./kline-chart.js").Gap} Gap */

/** Pixels of a mark, and between it and its kline. */
const SIZE = 5;
const AWAY = 7;
/** Pixels between two lines of a hatching. */
const HATCH = 6;
/** Marks of one kline that are drawn; the legend names all. */
const STACK_MAX = 3;
/** Marks in view that are told in words, newest first. */
const TOLD_MAX = 50;

/** A primitive of the chart library: it is asked to draw whenever the chart moves. */
export class Marks {
  /** @param {(drawn: Marker[]) => void} told called when other marks are drawn than before */
  constructor(told) {
    this._told = told;
    /** @type {Marker[]} told of, newest first */
    this._drawn = [];
    /** @type {Map<number, Marker[]>} */
    this._markers = new Map();
    /** @type {Gap[]} */
    this._gaps = [];
    /** @type {Map<number, Row>} */
    this._rows = new Map();
    this._step = 0;
    this._colors = { mark: "#888", revised: "#888", gap: "#888" };
    const view = { renderer: () => ({ draw: (/** @type {any} */ target) => this._draw(target) }) };
    this._views = [view];
  }

  // --- called by the chart library -----------------------------------------------------------

  /** @param {any} at */
  attached(at) {
    this._at = at;
  }

  detached() {
    this._at = null;
  }

  paneViews() {
    return this._views;
  }

  // --- called by the chart -------------------------------------------------------------------

  /** @param {{mark: string, revised: string, gap: string}} colors */
  paint(colors) {
    this._colors = colors;
    this._again();
  }

  /** @param {Map<number, Row>} rows @param {number} step */
  hold(rows, step) {
    this._rows = rows;
    this._step = step;
  }

  /** @param {Marker[]} markers */
  setMarkers(markers) {
    this._markers = new Map();
    for (const marker of markers) {
      const there = this._markers.get(marker.time);
      if (there) there.push(marker);
      else this._markers.set(marker.time, [marker]);
    }
    this._again();
  }

  get markers() {
    return [...this._markers.values()].flat();
  }

  /** @param {Gap[]} gaps */
  setGaps(gaps) {
    this._gaps = gaps;
    this._again();
  }

  /** What there is to say of a place. @param {number | undefined} time */
  at(time) {
    if (time === undefined) return [];
    const said = (this._markers.get(time) ?? []).map((marker) => marker.text);
    for (const gap of this._gaps) if (gap.from <= time && time <= gap.to) said.push(gap.text);
    return said;
  }

  _again() {
    this._at?.requestUpdate();
  }

  /** @param {any} target */
  _draw(target) {
    target.useMediaCoordinateSpace((/** @type {any} */ { context, mediaSize }) => {
      const at = this._at;
      if (!at) return;
      const x = (/** @type {number} */ time) => at.chart.timeScale().timeToCoordinate(time / 1000);
      for (const gap of this._gaps) this._drawGap(context, mediaSize, x(gap.from), x(gap.to));
      const drawn = [];
      for (const [time, markers] of this._markers) {
        const middle = x(time);
        if (middle === null || middle < -SIZE || middle > mediaSize.width + SIZE) continue;
        const row = this._rows.get(time);
        if (row && this._drawStack(context, middle, row, markers)) drawn.push(...markers);
      }
      this._tell(drawn);
    });
  }

  /** Says what has been drawn, if it is not what was before. @param {Marker[]} drawn */
  _tell(drawn) {
    const told = drawn.sort((one, other) => other.time - one.time).slice(0, TOLD_MAX);
    const before = this._drawn;
    if (told.length === before.length && told.every((one, at) => one === before[at])) return;
    this._drawn = told;
    this._told(told);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} x
   * @param {Row} row
   * @param {Marker[]} markers
   * @returns {boolean} whether there is a place for them
   */
  _drawStack(context, x, row, markers) {
    const series = this._at.series;
    const low = series.priceToCoordinate(+row.l);
    const high = series.priceToCoordinate(+row.h);
    if (low === null || high === null) return false;
    let below = low + AWAY;
    for (const { kind } of markers.slice(0, STACK_MAX)) {
      context.beginPath();
      if (kind === "revised") {
        context.rect(x - SIZE / 2, high - AWAY - SIZE, SIZE, SIZE);
        context.fillStyle = this._colors.revised;
        context.fill();
        continue;
      }
      context.moveTo(x, below);
      context.lineTo(x + SIZE, below + 2 * SIZE);
      context.lineTo(x - SIZE, below + 2 * SIZE);
      context.closePath();
      context.fillStyle = context.strokeStyle = this._colors.mark;
      context.lineWidth = 1.5;
      if (kind === "provisional") context.stroke();
      else context.fill();
      below += 2 * SIZE + 3;
    }
    return true;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {{height: number}} size
   * @param {number | null} from
   * @param {number | null} to
   */
  _drawGap(context, { height }, from, to) {
    if (from === null || to === null) return;
    const half = Math.max(1, this._at.chart.timeScale().options().barSpacing / 2);
    const [left, right] = [from - half, to + half];
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, height);
    context.clip();
    context.beginPath();
    for (let y = -(right - left); y < height; y += HATCH) {
      context.moveTo(left, y + (right - left));
      context.lineTo(right, y);
    }
    context.globalAlpha = 0.4;
    context.strokeStyle = this._colors.gap;
    context.stroke();
    context.restore();
  }
}
