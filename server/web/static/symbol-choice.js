// @ts-check
/** Which symbols are meant: all of a market, or some that are named. */

import { h } from "./dom.js";

let made = 0;

/** Event: `change`. */
class SymbolChoice extends HTMLElement {
  constructor() {
    super();
    /** @type {string[]} */
    this._chosen = [];
    /** @type {Set<string>} */
    this._held = new Set();
    const id = `symbols-${(made += 1)}`;
    this._all = h("input", { type: "checkbox", checked: true, onchange: () => this._changed() });
    this._names = h("datalist", { id });
    this._input = h("input", {
      list: id,
      placeholder: "BTCUSDT, ETHUSDT …",
      autocapitalize: "characters",
      spellcheck: false,
      autocomplete: "off",
      onchange: () => this._add(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter") return;
        event.preventDefault(); // the form is not sent
        this._add();
      },
    });
    this._chips = h("ul", { class: "chips" });
    this._fault = h("p", { class: "error", role: "alert" });
    this._some = h(
      "div",
      { class: "stack", hidden: true },
      h("label", null, "Add symbols", this._input),
      this._names,
      this._fault,
      this._chips,
    );
  }

  connectedCallback() {
    if (this.firstChild) return;
    this.append(h("label", { class: "check" }, this._all, "All symbols"), this._some);
  }

  /** @param {string[]} symbols that may be chosen */
  set held(symbols) {
    this._held = new Set(symbols);
    this._names.replaceChildren(...symbols.map((value) => h("option", { value })));
  }

  /** The symbols chosen; none: all. */
  get value() {
    return this._all.checked ? [] : this._chosen;
  }

  set value(symbols) {
    this._chosen = [...symbols];
    this._all.checked = !symbols.length;
    this._show();
  }

  /** Whether it is said what is meant. */
  get complete() {
    if (this._input.value) this._add();
    return this._all.checked || this._chosen.length > 0;
  }

  focus() {
    this._input.focus();
  }

  _add() {
    const unknown = [];
    for (const name of this._input.value
      .toUpperCase()
      .split(/[\s,;]+/)
      .filter(Boolean)) {
      if (!this._held.has(name)) unknown.push(name);
      else if (!this._chosen.includes(name)) this._chosen.push(name);
    }
    this._input.value = unknown.join(" ");
    this._fault.textContent = unknown.length ? `Not held here: ${unknown.join(", ")}.` : "";
    this._changed();
  }

  /** @param {string} name */
  _remove(name) {
    this._chosen = this._chosen.filter((one) => one !== name);
    this._changed();
    this._input.focus();
  }

  _changed() {
    this._show();
    this.dispatchEvent(new Event("change"));
  }

  _show() {
    this._some.hidden = this._all.checked;
    this._chips.replaceChildren(
      ...this._chosen.map((name) =>
        h(
          "li",
          null,
          name,
          h(
            "button",
            {
              type: "button",
              class: "plain",
              "aria-label": `Remove ${name}`,
              onclick: () => this._remove(name),
            },
            "×",
          ),
        ),
      ),
    );
  }
}

customElements.define("symbol-choice", SymbolChoice);
