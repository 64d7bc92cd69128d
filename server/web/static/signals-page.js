// @ts-check
/** All signals. Address: `#/signals?trader=ID&symbol=BTCUSDT&market=spot`. */

import { api } from "./api.js";
import { Beep } from "./beep.js";
import { h, say } from "./dom.js";
import { marketName } from "./format.js";
import { address, Page } from "./page.js";
import { refusalWords } from "./trader-words.js";
import "./signal-feed.js";

const TOGETHER = "klinecore.signals.together";

class SignalsPage extends Page {
  constructor() {
    super();
    this._beep = new Beep();
    /** @type {Record<string, any>} */
    this._fields = {};
  }

  show() {
    if (!this._feedPlace) this._make();
    const query = this.place.query;
    const asked = ["trader", "symbol", "market"].map((name) => [name, query.get(name) ?? ""]);
    const feed = h("signal-feed", {
      ...Object.fromEntries(asked),
      together: this._together.checked,
      ontold: () => this._beep.play(),
    });
    for (const [name, value] of asked) this._fields[name].value = value;
    this._feedPlace.replaceChildren(feed);
    this._feed = feed;
  }

  _make() {
    this.atEnd(() => this._beep.off());
    const chosen = () => this._choose();
    this._names = h("datalist", { id: "signal-symbols" });
    this._fields = {
      trader: h("select", { onchange: chosen }, h("option", { value: "" }, "all")),
      symbol: h("input", {
        list: "signal-symbols",
        placeholder: "all",
        autocomplete: "off",
        autocapitalize: "characters",
        spellcheck: false,
        onchange: chosen,
      }),
      market: h("select", { onchange: chosen }, h("option", { value: "" }, "all")),
    };
    this._together = h("input", {
      type: "checkbox",
      checked: localStorage.getItem(TOGETHER) === "true",
      onchange: () => {
        localStorage.setItem(TOGETHER, String(this._together.checked));
        this._feed.together = this._together.checked;
      },
    });
    const sound = h("input", {
      type: "checkbox",
      onchange: () => (sound.checked ? this._beep.on() : this._beep.off()),
    });
    this._marketLabel = h("label", { hidden: true }, "Market", this._fields.market);
    this._error = h("p", { class: "error", role: "alert" });
    this._feedPlace = h("div", null);
    this.append(
      h(
        "div",
        { class: "between" },
        h("h1", null, "Signals"),
        h(
          "div",
          { class: "fields" },
          h("label", null, "Trader", this._fields.trader),
          h("label", null, "Symbol", this._fields.symbol),
          this._names,
          this._marketLabel,
          h("label", { class: "check" }, this._together, "One row per trader and symbol"),
          h("label", { class: "check" }, sound, "Sound"),
        ),
      ),
      this._error,
      this._feedPlace,
    );
    this.keepReading(
      () => this._fill(),
      (error, again) => say(this._error, refusalWords(error) + again),
    );
  }

  async _fill() {
    const [{ markets }, { traders }] = await Promise.all([
      api.get("/v1/symbols", {}, this.left),
      api.get("/v1/traders", { limit: 1000 }, this.left),
    ]);
    const names = Object.keys(markets);
    const symbols = new Set(names.flatMap((name) => markets[name].symbols));
    this._names.replaceChildren(...[...symbols].map((value) => h("option", { value })));
    choose(this._fields.market, names.map((value) => [value, marketName(value)]));
    this._marketLabel.hidden = names.length < 2;
    choose(this._fields.trader, traders.map((/** @type {any} */ one) => [one.id, one.name]));
    say(this._error, "");
    const { query } = this.place;
    for (const name of ["trader", "market"]) this._fields[name].value = query.get(name) ?? "";
  }

  _choose() {
    /** @type {Record<string, string>} */
    const query = {};
    for (const [name, field] of Object.entries(this._fields)) {
      const value = name === "symbol" ? field.value.trim().toUpperCase() : field.value;
      if (value) query[name] = value;
    }
    location.replace(address(["signals"], query)); // a way back for each choice would be many
  }
}

/**
 * Lets a field have these choices, behind "all".
 *
 * @param {HTMLSelectElement} field
 * @param {string[][]} choices values and their names
 */
function choose(field, choices) {
  const made = choices.map(([value, name]) => h("option", { value }, name));
  field.replaceChildren(h("option", { value: "" }, "all"), ...made);
}

customElements.define("page-signals", SignalsPage);
