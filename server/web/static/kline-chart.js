// @ts-check
/** The chart. Everything that calls the chart library stands here. */

import { h } from "./dom.js";

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

class KlineChart extends HTMLElement {
  async connectedCallback() {
    let charts;
    try {
      charts = await load();
    } catch (error) {
      this.append(h("p", { class: "error", role: "alert" }, /** @type {Error} */ (error).message));
      return;
    }
    if (!this.isConnected) return;
    this._chart = charts.createChart(this, {
      autoSize: true,
      layout: { attributionLogo: true },
    });
    this._klines = this._chart.addSeries(charts.CandlestickSeries, {});
    this.dispatchEvent(new Event("ready"));
  }

  disconnectedCallback() {
    this._chart?.remove();
    this._chart = null;
  }

  /** @param {any[]} rows as `/klines` tells them */
  set(rows) {
    this._klines?.setData(rows.map(bar));
  }

  /** @param {any} row of a kline frame, or of `/klines` */
  update(row) {
    this._klines?.update(bar(row));
  }
}

/** @param {any} row */
function bar(row) {
  return { time: row.t / 1000, open: +row.o, high: +row.h, low: +row.l, close: +row.c };
}

customElements.define("kline-chart", KlineChart);
