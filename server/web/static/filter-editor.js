// @ts-check
/** A text field for filters: it offers the language's names, and the server checks as one types. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { calling, language } from "./filter-words.js";
import { checkedView, faultView } from "./filter-verdict.js";
import { Retry } from "./retry.js";

/** Milliseconds without a key pressed, before the server is asked. */
const PAUSE_MS = 300;
/** Milliseconds before it is asked again, when it could not answer. */
const AGAIN_MS = 5_000;

let made = 0;

/**
 * Events: `checked` when the server's verdict, or that it is awaited, has changed; `ready` with a
 * ready filter that was chosen as `detail`.
 */
class FilterEditor extends HTMLElement {
  constructor() {
    super();
    /** What the server made of the filter; null while that is not known, or it is wrong. */
    this.checked = null;
    /** @type {AbortController | null} */
    this._asking = null;
    this._interval = "";
    this._market = "";
    this._timer = 0;
    this._marked = -1;
    /** @type {any} why there is no verdict, or a bad one */
    this._problem = null;
    /** @type {import("./filter-words.js").Language | undefined} */
    this._language = undefined;
    /** @type {import("./filter-words.js").Offer} */
    this._offer = { from: 0, options: [] };
    this._make();
  }

  _make() {
    const id = `filter-${(made += 1)}`;
    this._id = id;
    this._text = h("textarea", {
      id,
      class: "code",
      rows: 3,
      spellcheck: false,
      autocapitalize: "off",
      autocomplete: "off",
      maxLength: 4096,
      placeholder: "rsi(14) < 30 and close > sma(200)",
      role: "combobox",
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-haspopup": "listbox",
      "aria-controls": `${id}-list`,
      "aria-describedby": `${id}-call ${id}-fault`,
      oninput: () => this._typed(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this._key(event),
      onclick: () => this._moved(),
      onkeyup: (/** @type {KeyboardEvent} */ event) => {
        if (/^(Arrow(Left|Right)|Home|End)$/.test(event.key)) this._moved();
      },
      onblur: () => this._close(),
    });
    this._list = h("ul", {
      id: `${id}-list`,
      class: "offers",
      role: "listbox",
      hidden: true,
      "aria-label": "Names of the language",
    });
    this._call = h("p", { id: `${id}-call`, class: "call" });
    this._fault = h("div", { id: `${id}-fault`, class: "fault", "aria-live": "polite" });
    this._facts = h("div", { class: "findings" });
    /** @type {any} */
    this._ready = h(
      "select",
      { onchange: () => this._begin() },
      h("option", { value: "" }, "Begin with a ready filter …"),
    );
    /** @type {Node[]} */
    this._parts = [
      h(
        "div",
        { class: "between" },
        h("label", { for: id }, "Filter"),
        h(
          "label",
          { class: "check" },
          h("span", { class: "unseen" }, "Ready filters"),
          this._ready,
        ),
      ),
      h("div", { class: "typing" }, this._text, this._list),
      this._call,
      this._fault,
      this._facts,
    ];
  }

  connectedCallback() {
    this.replaceChildren(...this._parts);
    // Completion is an aid: that the server is away is said where it is asked to check.
    this._reading = new Retry(() => this._read(), () => {});
    this._reading.now();
  }

  async _read() {
    this._language = await language();
    if (this._ready.length > 1) return;
    const groups = new Map();
    for (const one of this._language.ready) {
      if (!groups.has(one.category))
        groups.set(one.category, h("optgroup", { label: one.category }));
      groups
        .get(one.category)
        .append(h("option", { value: one.name, title: one.description }, one.title));
    }
    this._ready.append(...groups.values());
    this._show();
    // What was typed meanwhile had no names to be offered.
    if (document.activeElement === this._text) this._suggest(false);
  }

  disconnectedCallback() {
    this._reading?.end();
    this._asking?.abort();
    clearTimeout(this._timer);
  }

  get value() {
    return this._text.value;
  }

  set value(text) {
    this._text.value = text;
    this._changed(0);
  }

  /** @param {string} interval whether the server can run the filter there is checked, too */
  set interval(interval) {
    if (interval === this._interval) return;
    this._interval = interval;
    this._changed(0);
  }

  /** @param {string} market */
  set market(market) {
    if (market === this._market) return;
    this._market = market;
    this._changed(0);
  }

  focus() {
    this._text.focus();
  }

  // --- checking --------------------------------------------------------------------------------

  /** @param {number} pause milliseconds */
  _changed(pause) {
    this._asking?.abort();
    clearTimeout(this._timer);
    this.checked = null;
    this._due = this.value.trim() !== "";
    if (this._due) this._timer = setTimeout(() => this._check(), pause);
    else this._show();
    this._tell();
  }

  /** Checks what stands there now, if that was still to come. */
  async settle() {
    if (!this._due) return;
    this._asking?.abort();
    clearTimeout(this._timer);
    await this._check();
  }

  async _check() {
    const asking = (this._asking = new AbortController());
    const body = {
      filter: this.value,
      interval: this._interval || null,
      market: this._market || null,
    };
    try {
      this.checked = await api.post("/v1/filters/check", body, {}, asking.signal);
      this._problem = null;
    } catch (error) {
      if (asking.signal.aborted) return;
      this._problem = /** @type {import("./api.js").Problem} */ (error);
      if ([0, 429, 503].includes(this._problem.status)) {
        this._timer = setTimeout(() => this._check(), AGAIN_MS);
      }
    }
    if (asking.signal.aborted) return;
    this._due = false;
    this._show();
    this._tell();
  }

  _show() {
    const wrong = this.value.trim() ? this._problem : null;
    if (wrong?.code === "invalid_filter") this._text.setAttribute("aria-invalid", "true");
    else this._text.removeAttribute("aria-invalid");
    this._fault.replaceChildren(
      ...(wrong ? faultView(this.value, wrong, (text) => this._mend(text)) : []),
    );
    this._facts.replaceChildren(
      ...(this.checked ? checkedView(this.checked, this._language, this._interval) : []),
    );
  }

  /** @param {string} text */
  _mend(text) {
    this.value = text;
    this._text.focus();
  }

  _tell() {
    this.dispatchEvent(new Event("checked"));
  }

  _begin() {
    const chosen = this._language?.ready.find((one) => one.name === this._ready.value);
    this._ready.value = "";
    if (!chosen) return;
    this.value = chosen.filter;
    this.dispatchEvent(new CustomEvent("ready", { detail: chosen }));
  }

  // --- completion ------------------------------------------------------------------------------

  _typed() {
    this._changed(PAUSE_MS);
    this._suggest(false);
  }

  _moved() {
    this._close();
    this._tellCall();
  }

  /** @param {boolean} wanted also where no name is begun */
  _suggest(wanted) {
    if (!this._language) return;
    const at = this._text.selectionStart;
    this._offer = this._language.offer(this.value, at, wanted);
    this._list.replaceChildren(
      ...this._offer.options.map((option, place) =>
        h(
          "li",
          {
            id: `${this._id}-${place}`,
            role: "option",
            "aria-selected": "false",
            onpointerdown: (/** @type {Event} */ event) => {
              event.preventDefault(); // the field keeps the focus
              this._take(place);
            },
          },
          h("code", null, option.label),
          " ",
          h("span", null, option.meaning),
        ),
      ),
    );
    const open = this._offer.options.length > 0;
    this._list.hidden = !open;
    this._list.scrollTop = 0;
    this._text.setAttribute("aria-expanded", String(open));
    this._mark(open ? 0 : -1);
    this._tellCall();
  }

  _tellCall() {
    const found = this._language?.callAt(this.value.slice(0, this._text.selectionStart));
    if (!found) return say(this._call, "");
    const ranges = found.word.parameters.map((/** @type {any} */ one) =>
      one.kind === "choice"
        ? `${one.name}: ${one.choices.join(" or ")}`
        : `${one.name}: ${one.meaning}`,
    );
    say(this._call, [calling(found.word), found.word.meaning, ...ranges].join(" · "));
  }

  /** @param {number} place */
  _mark(place) {
    this._list.children[this._marked]?.setAttribute("aria-selected", "false");
    this._marked = place;
    const marked = this._list.children[place];
    if (!marked) return this._text.removeAttribute("aria-activedescendant");
    marked.setAttribute("aria-selected", "true");
    marked.scrollIntoView({ block: "nearest" });
    this._text.setAttribute("aria-activedescendant", marked.id);
  }

  _close() {
    this._list.hidden = true;
    this._text.setAttribute("aria-expanded", "false");
    this._mark(-1);
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    if (event.isComposing) return;
    const count = this._list.hidden ? 0 : this._offer.options.length;
    if (event.key === " " && event.ctrlKey) this._suggest(true);
    else if (!count) return;
    else if (event.key === "ArrowDown") this._mark((this._marked + 1) % count);
    else if (event.key === "ArrowUp") this._mark((this._marked + count - 1) % count);
    else if (event.key === "PageDown") this._mark(Math.min(count - 1, this._marked + 8));
    else if (event.key === "PageUp") this._mark(Math.max(0, this._marked - 8));
    else if (event.key === "Enter" || (event.key === "Tab" && !event.shiftKey)) {
      this._take(this._marked);
    } else if (event.key === "Escape") this._close();
    else return;
    event.preventDefault();
  }

  /** @param {number} place */
  _take(place) {
    const option = this._offer.options[place];
    if (!option) return;
    const { from } = this._offer;
    this._text.setSelectionRange(from, this._text.selectionEnd);
    // Unlike a change of `value` this can be undone with the keyboard.
    if (!document.execCommand("insertText", false, option.text)) {
      this._text.setRangeText(option.text);
      this._typed();
    }
    const [start, end] = option.chosen;
    this._text.setSelectionRange(from + start, from + end);
    this._close();
    this._tellCall();
  }
}

customElements.define("filter-editor", FilterEditor);
