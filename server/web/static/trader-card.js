// @ts-check
/** One trader: what it is, how it is, and what can be done with it. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { lasting, marketName } from "./format.js";
import { address } from "./page.js";
import { choices } from "./trader-choices.js";
import { agoWords, counted, refusalWords, stateWords, unknownWords } from "./trader-words.js";

/** Names of symbols in one line. */
const NAMED_MAX = 12;

/** Events: `changed` with the trader as it is now as `detail`; `deleted`. */
class TraderCard extends HTMLElement {
  constructor() {
    super();
    /** @type {any} */
    this._trader = null;
    this._told = "";
    this._faulty = "";
    this._chosen = () => {
      if (this._card) this._showChoices();
    };
  }

  connectedCallback() {
    choices.addEventListener("change", this._chosen);
    if (this._trader) this._show();
  }

  disconnectedCallback() {
    choices.removeEventListener("change", this._chosen);
  }

  get trader() {
    return this._trader;
  }

  set trader(trader) {
    this._trader = trader;
    if (this.isConnected) this._show();
  }

  /** @param {any} signal of this trader */
  hear(signal) {
    if (!this._trader || signal.revision > 1) return; // what is read later counts it
    const { health } = this._trader;
    this._tell({ signals: health.signals + 1, last_signal_ms: signal.at_ms });
  }

  /** @param {any} change which symbols match, after a close */
  hearMatches(change) {
    this._tell({ matched: change.matched });
  }

  /** @param {any} news of its health */
  _tell(news) {
    this._trader = { ...this._trader, health: { ...this._trader.health, ...news } };
    this._show();
    this._changed();
  }

  _changed() {
    this.dispatchEvent(new CustomEvent("changed", { detail: this._trader }));
  }

  _make() {
    const { id, origin } = this._trader;
    this._name = h("a", { href: address(["traders", id]) });
    this._tags = h("p", { class: "tags" });
    this._words = h("p", null);
    this._filter = h("code", { class: "filter" });
    this._health = h("p", { class: "health" });
    this._faults = h("ul", { class: "faults" });
    this._said = h("p", { class: "soft", role: "status" });
    const button = (/** @type {string} */ text, /** @type {() => void} */ onclick) =>
      h("button", { type: "button", onclick }, text);
    const copy = h(
      "a",
      { class: "button", href: address(["traders", "new"], { copy: id }) },
      "Copy",
    );
    const builtin = origin === "builtin";
    this._switch = button("", () => (builtin ? choices.turn(id) : this._enable()));
    this._star = h("button", {
      type: "button",
      class: "plain star",
      onclick: () => choices.star(id),
    });
    this._off = h(
      "p",
      { class: "soft", hidden: true },
      "Off for you: its signals are not shown on this device.",
    );
    const actions = builtin
      ? [this._switch, copy]
      : [
          this._switch,
          h("a", { class: "button", href: address(["traders", id, "edit"]) }, "Edit"),
          copy,
          button("Delete", () => this._confirm.showModal()),
        ];
    this._confirm = h(
      "dialog",
      { "aria-label": "Delete trader" },
      h(
        "form",
        { method: "dialog" },
        (this._question = h("p", null)),
        h(
          "div",
          { class: "actions" },
          h("button", { type: "submit" }, "Keep it"),
          h(
            "button",
            { type: "button", class: "primary", onclick: () => this._delete() },
            "Delete",
          ),
        ),
      ),
    );
    this._card = h(
      "article",
      { class: "trader" },
      h("div", { class: "title" }, h("h3", null, this._name), this._star),
      this._tags,
      this._words,
      this._filter,
      this._health,
      this._faults,
      this._off,
      h(
        "div",
        { class: "row" },
        button("Run now", () => this._run()),
        actions,
      ),
      this._said,
      this._confirm,
    );
    this.replaceChildren(this._card);
  }

  _show() {
    if (!this._card) this._make();
    const { name, description, filter, interval, symbols, health, enabled, mode } = this._trader;
    const { access_tier: tier, category, difficulty, origin, owner } = this._trader;
    const { market, paused_reason: paused } = this._trader;
    say(this._name, name);
    const tags = [
      market === "spot" ? "" : marketName(market),
      interval,
      symbols.length ? counted(symbols.length, "symbol") : "all symbols",
      mode === "level" ? "each close" : "",
      category,
      difficulty,
      owner === null && tier !== "anonymous" ? `tier ${tier}` : "",
    ].filter(Boolean);
    if (tags.join() !== this._told) {
      this._told = tags.join();
      this._tags.replaceChildren(...tags.map((one) => h("span", null, one)));
    }
    say(this._words, description);
    this._words.hidden = !description;
    say(this._filter, filter);
    say(this._health, healthWords(health, interval));
    this._health.dataset.state = health.state;
    this._card.dataset.state = health.state;
    const unknown = unknownWords(health.unknown);
    const faults = [
      ...(paused ? [`Paused: ${paused}`] : []),
      ...health.errors.map(
        (/** @type {any} */ one) => one.message + (one.count > 1 ? ` (${one.count} times)` : ""),
      ),
      ...(health.symbols_not_held.length
        ? [`Not held here: ${health.symbols_not_held.join(", ")}`]
        : []),
      ...(unknown ? [`Nothing could be said: ${unknown}`] : []),
    ];
    if (faults.join("\n") !== this._faulty) {
      this._faulty = faults.join("\n");
      this._faults.replaceChildren(...faults.map((one) => h("li", null, one)));
    }
    if (origin !== "builtin") say(this._switch, enabled ? "Disable" : "Enable");
    say(this._question, `Delete “${name}”, its signals and its history?`);
    this._showChoices();
  }

  /** What its reader prefers; the server knows nothing of it. */
  _showChoices() {
    const { id, name, origin } = this._trader;
    const starred = choices.starred(id);
    say(this._star, starred ? "★" : "☆");
    this._star.setAttribute("aria-label", `Favourite: ${name}`);
    this._star.setAttribute("aria-pressed", String(starred));
    if (origin !== "builtin") return;
    this._off.hidden = !choices.off(id);
    say(this._switch, choices.off(id) ? "Turn on" : "Turn off");
  }

  async _enable() {
    this._switch.disabled = true;
    await this._do(async () => {
      const { id, enabled } = this._trader;
      this.trader = await api.patch(`/v1/traders/${encodeURIComponent(id)}`, { enabled: !enabled });
      this._changed();
      return "";
    });
    this._switch.disabled = false;
  }

  _run() {
    return this._do(async () => {
      const run = await api.post(`/v1/traders/${encodeURIComponent(this._trader.id)}/run`, {});
      if (run.error) return run.error;
      const named = run.matches.slice(0, NAMED_MAX).join(", ");
      const more = run.matches.length > NAMED_MAX ? " …" : "";
      const unknown = run.unknown.length ? `; ${run.unknown.length} unknown` : "";
      return (
        `${run.matches.length} of ${counted(run.symbols.length, "symbol")} match` +
        `${named ? `: ${named}${more}` : ""}${unknown}.`
      );
    });
  }

  _delete() {
    this._confirm.close();
    return this._do(async () => {
      await api.delete(`/v1/traders/${encodeURIComponent(this._trader.id)}`);
      this.dispatchEvent(new Event("deleted"));
      return "";
    });
  }

  /** @param {() => Promise<string>} work */
  async _do(work) {
    this._said.className = "soft";
    say(this._said, "…");
    try {
      say(this._said, await work());
    } catch (error) {
      this._said.className = "error";
      say(this._said, refusalWords(error));
    }
  }
}

/** @param {any} health @param {string} interval */
function healthWords(health, interval) {
  const { state, symbols, matched, late_ms: late, signals, last_signal_ms: last } = health;
  if (state !== "running") return stateWords(state);
  return [
    stateWords(state),
    `${matched} of ${counted(symbols, "symbol")} match`,
    health.evaluations ? `late by ${lasting(late)}` : `waits for the next close of ${interval}`,
    signals ? `${counted(signals, "signal")}, the last ${agoWords(last)}` : "no signal yet",
  ].join(" · ");
}

customElements.define("trader-card", TraderCard);
