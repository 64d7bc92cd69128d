// @ts-check
/** Every symbol with its newest price, change and volume of 24 hours. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { percent, price, short } from "./format.js";
import { address, Page } from "./page.js";

class MarketPage extends Page {
  constructor() {
    super();
    /** @type {Map<string, any>} cells of a symbol's row */
    this._rows = new Map();
  }

  show() {
    if (this._body) return;
    this._note = h("p", { class: "empty", role: "status" }, "Reading the market …");
    this._body = h("tbody", null);
    this.append(
      h(
        "table",
        { class: "grid" },
        h("thead", null, h("tr", null, ["Symbol", "Price", "24 h", "Volume"].map((name) =>
          h("th", { scope: "col" }, name)))),
        this._body,
      ),
      this._note,
    );
    this.follow("!ticker@arr", (tickers) => {
      for (const { s, c, P, q } of tickers) this._set(s, c, P, q);
    });
    this.keepReading(
      async () => {
        const tickers = await api.get("/tickers", {}, this.left);
        for (const { s, c, P, q } of Object.values(tickers)) this._set(s, c, P, q);
        this._note.hidden = true;
      },
      (error) => {
        this._note.hidden = false;
        say(this._note, error.message);
      },
    );
  }

  /**
   * @param {string} symbol
   * @param {string} last
   * @param {string} change
   * @param {string} volume
   */
  _set(symbol, last, change, volume) {
    let row = this._rows.get(symbol);
    if (!row) {
      row = { price: h("td", null), change: h("td", null), volume: h("td", null) };
      this._rows.set(symbol, row);
      const link = h("a", { href: address(["chart", symbol, "1m"]) }, symbol);
      this._body.append(
        h("tr", null, h("th", { scope: "row" }, link), row.price, row.change, row.volume),
      );
    }
    say(row.price, price(last));
    say(row.change, percent(change));
    row.change.className = Number(change) < 0 ? "down" : "up";
    say(row.volume, short(volume));
  }
}

customElements.define("page-market", MarketPage);
