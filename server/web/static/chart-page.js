// @ts-check
/** One symbol's klines, live. Address: `#/chart/BTCUSDT/1m`. */

import { api } from "./api.js";
import { h } from "./dom.js";
import { Page } from "./page.js";
import "./kline-chart.js";

class ChartPage extends Page {
  show() {
    const [symbol, interval = "1m"] = this.place.parts;
    this._end?.();
    const chart = h("kline-chart", null);
    this.replaceChildren(h("h1", null, `${symbol} ${interval}`), chart);
    this.listen(chart, "ready", () => {
      this.keepReading(
        async () => {
          const query = { limit: 500, forming: true };
          const answer = await api.get(`/klines/${symbol}/${interval}`, query, this.left);
          chart.set(answer.klines);
        },
        (error) => this.append(h("p", { class: "error", role: "alert" }, error.message)),
      );
      this._end = this.follow(`${symbol.toLowerCase()}@kline_${interval}`, ({ k }) => {
        chart.update(k);
      });
    });
  }
}

customElements.define("page-chart", ChartPage);
