// @ts-check
/** A trader made or changed. Addresses: `#/traders/new`, `#/traders/ID/edit`. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { marketName } from "./format.js";
import { address, Page } from "./page.js";
import { Retry } from "./retry.js";
import { refusalWords } from "./trader-words.js";
import "./filter-editor.js";
import "./symbol-choice.js";
import "./trader-trial.js";

class TraderForm extends Page {
  show() {
    const [first = "new", what = ""] = this.place.parts;
    /** @type {string} empty: a new one */
    this._id = what === "edit" ? first : "";
    this._make();
    const filling = new Retry(
      () => this._fill(),
      (error, again) => say(this._note, refusalWords(error) + again),
    );
    this.atEnd(() => filling.end());
    filling.now();
  }

  _make() {
    const changed = () => this._changed();
    const field = (
      /** @type {string} */ tag,
      /** @type {any} */ properties,
      /** @type {any} */ ...inner
    ) => h(tag, { onchange: changed, ...properties }, ...inner);
    this._name = h("input", { name: "name", required: true, maxLength: 120, autocomplete: "off" });
    this._filter = h("filter-editor", {
      onchecked: changed,
      onready: (/** @type {CustomEvent} */ event) => this._begin(event.detail),
    });
    this._market = field("select", {
      name: "market",
      onchange: () => this._chooseMarket(this._market.value),
    });
    this._interval = field("select", { name: "interval" });
    this._mode = field(
      "select",
      { name: "mode" },
      h("option", { value: "edge" }, "when it becomes true"),
      h("option", { value: "level" }, "at each close where it is true"),
    );
    this._cooldown = field("input", {
      name: "cooldown",
      type: "number",
      min: "0",
      max: "100000",
      step: "1",
      value: "0",
      required: true,
    });
    this._on = field(
      "select",
      { name: "evaluate_on" },
      h("option", { value: "closed" }, "at closes"),
      h("option", { value: "forming" }, "while klines form, too"),
    );
    this._past = h("input", { name: "past", type: "checkbox" });
    this._symbols = h("symbol-choice", { onchange: changed });
    this._trial = h("trader-trial", {
      draft: () => this._draft(),
      settle: () => this._filter.settle(),
    });
    this._error = h("p", { class: "error", role: "alert" });
    this._save = h(
      "button",
      { class: "primary", type: "submit" },
      this._id ? "Save" : "Create trader",
    );
    this._marketLabel = h("label", null, "Market", this._market);
    this._place();
  }

  /** The form is not to be seen before it is filled: what somebody writes is theirs. */
  _place() {
    this._note = h("p", { class: "empty", role: "status" }, "Reading …");
    this.replaceChildren(
      h("h1", null, this._id ? "Edit trader" : "New trader"),
      this._note,
      (this._form = h(
        "form",
        {
          class: "stack",
          hidden: true,
          onsubmit: (/** @type {Event} */ event) => this._send(event),
        },
        h("label", null, "Name", this._name),
        this._filter,
        h(
          "div",
          { class: "fields" },
          this._marketLabel,
          h("label", null, "Interval", this._interval),
          h("label", null, "Fires", this._mode),
          h("label", null, "Pause after a signal, klines", this._cooldown),
          h("label", null, "Evaluated", this._on),
        ),
        h("fieldset", null, h("legend", null, "Symbols"), this._symbols),
        this._id
          ? null
          : h(
              "label",
              { class: "check" },
              this._past,
              "Keep what it would have fired as signals of the past",
            ),
        h(
          "section",
          { class: "stack", "aria-label": "Try it" },
          h("h2", null, "Try it"),
          this._trial,
        ),
        this._error,
        h(
          "div",
          { class: "actions" },
          h(
            "a",
            { class: "button", href: address(this._id ? ["traders", this._id] : ["traders"]) },
            "Cancel",
          ),
          this._save,
        ),
      )),
    );
  }

  async _fill() {
    const { markets } = await api.get("/v1/symbols", {}, this.left);
    this._markets = markets;
    const names = Object.keys(markets);
    this._market.replaceChildren(...names.map((name) => h("option", { value: name }, marketName(name))));
    this._marketLabel.hidden = names.length < 2;
    this._chooseMarket(names[0]);
    const from = this._id || this.place.query.get("copy");
    if (from) this._take(await api.get(`/v1/traders/${encodeURIComponent(from)}`, {}, this.left));
    else this._filter.value = this.place.query.get("filter") ?? "";
    this._note.hidden = true;
    this._form.hidden = false;
    if (!from) this._name.focus();
  }

  /** @param {any} trader */
  _take(trader) {
    this._market.value = trader.market;
    this._market.disabled = Boolean(this._id); // a trader stays in its market
    this._chooseMarket(trader.market);
    this._chooseInterval(trader.interval);
    this._name.value = this._id ? trader.name : `${trader.name} (copy)`.slice(0, 120);
    this._mode.value = trader.mode;
    this._cooldown.value = String(trader.cooldown_bars);
    this._on.value = trader.evaluate_on;
    this._symbols.value = trader.symbols;
    this._filter.value = trader.filter;
  }

  /** @param {any} ready a ready filter */
  _begin(ready) {
    this._chooseInterval(ready.interval);
    this._mode.value = ready.mode;
    this._cooldown.value = String(ready.cooldown);
    if (!this._name.value) this._name.value = ready.title;
    this._changed();
  }

  /** @param {string} name */
  _chooseMarket(name) {
    const { intervals, symbols } = this._markets[name] ?? { intervals: [], symbols: [] };
    const before = this._interval.value;
    this._interval.replaceChildren(
      ...intervals.map((/** @type {string} */ one) => h("option", { value: one }, one)),
    );
    if (intervals.includes(before)) this._interval.value = before;
    this._symbols.held = symbols;
    this._changed();
  }

  /** @param {string} interval also one that is not held (any more): it stays visible */
  _chooseInterval(interval) {
    this._interval.value = interval;
    if (this._interval.value === interval) return;
    this._interval.append(h("option", { value: interval }, `${interval} (not held here)`));
    this._interval.value = interval;
  }

  _changed() {
    this._filter.market = this._market.value;
    this._filter.interval = this._interval.value;
    this._trial.outdate();
  }

  /** What is tried; null if the filter is not right. */
  _draft() {
    if (!this._filter.checked || !this._symbols.complete) return null;
    return {
      filter: this._filter.value,
      interval: this._interval.value,
      symbols: this._symbols.value,
      market: this._market.value,
      mode: this._mode.value,
      cooldown: Number(this._cooldown.value),
      capacity: this._markets[this._market.value].capacity,
      held: this._markets[this._market.value].symbols,
    };
  }

  /** @param {Event} event */
  async _send(event) {
    event.preventDefault();
    say(this._error, "");
    if (!this._symbols.complete) {
      say(this._error, "Name the symbols, or choose all.");
      return this._symbols.focus();
    }
    const body = {
      name: this._name.value.trim(),
      filter: this._filter.value,
      interval: this._interval.value,
      symbols: this._symbols.value,
      mode: this._mode.value,
      cooldown_bars: Number(this._cooldown.value),
      evaluate_on: this._on.value,
    };
    this._save.disabled = true;
    try {
      const made = this._id
        ? await api.patch(`/v1/traders/${encodeURIComponent(this._id)}`, body)
        : await api.post("/v1/traders", {
            ...body,
            market: this._market.value,
            past: this._past.checked,
          });
      if (!this.left.aborted) location.hash = address(["traders", made.id]);
    } catch (error) {
      const problem = /** @type {any} */ (error);
      say(this._error, refusalWords(problem));
      if (problem.code === "invalid_filter") this._filter.focus();
    } finally {
      this._save.disabled = false;
    }
  }
}

customElements.define("trader-form", TraderForm);
