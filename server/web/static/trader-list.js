// @ts-check
/** All traders that one sees, and how they are. Address: `#/traders`. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { identity } from "./identity.js";
import { live } from "./live.js";
import { address, Page } from "./page.js";
import { choices } from "./trader-choices.js";
import { counted, refusalWords } from "./trader-words.js";
import "./trader-card.js";

/** Cards added at a time: each follows a stream of its own. */
const SHOWN_STEP = 48;
/** Traders of one answer. */
const PAGE_MAX = 1000;
/** Milliseconds until what no stream tells is read again. */
const AGAIN_MS = 30_000;

class TraderList extends Page {
  constructor() {
    super();
    /** @type {Map<string, any>} */
    this._traders = new Map();
    /** @type {any[]} */
    this._locked = [];
    /** @type {Map<string, { card: any, item: any, end: () => void }>} */
    this._cards = new Map();
    this._most = SHOWN_STEP;
  }

  show() {
    if (this._own) return;
    this._search = h("input", {
      type: "search",
      placeholder: "Filter by text",
      "aria-label": "Filter traders by text",
      oninput: () => this._draw(),
    });
    this._note = h("p", { class: "empty", role: "status" }, "Reading traders …");
    this._own = h("ul", { class: "traders" });
    this._builtin = h("ul", { class: "traders" });
    this._ownNote = h(
      "p",
      { class: "empty", hidden: true },
      "None yet. ",
      h("a", { href: address(["traders", "new"]) }, "Create the first one"),
      ", or copy one of those below.",
    );
    this._more = h(
      "button",
      {
        type: "button",
        hidden: true,
        onclick: () => {
          this._most += SHOWN_STEP;
          this._draw();
        },
      },
      "Show more",
    );
    this.append(
      h(
        "div",
        { class: "between" },
        h("h1", null, "Traders"),
        this._search,
        h("a", { class: "button primary", href: address(["traders", "new"]) }, "New trader"),
      ),
      this._note,
      h(
        "section",
        { class: "stack", "aria-label": "Own traders" },
        h("h2", null, "Own"),
        this._ownNote,
        this._own,
      ),
      h(
        "section",
        { class: "stack", "aria-label": "Built-in traders" },
        h("h2", null, "Built-in"),
        this._builtin,
      ),
      this._more,
    );
    // Who may not read is refused streams, too, and an address that is refused often is shut out.
    this._listens = Boolean(identity.me?.reads);
    if (this._listens) {
      this.follow("signals", (signal) => this._cards.get(signal.trader_id)?.card.hear(signal));
    }
    this.listen(choices, "change", () => this._draw());
    const reading = this.keepReading(
      () => this._read(),
      (error, again) => this._fail(error, again),
    );
    const timer = setInterval(() => {
      if (!document.hidden && live.state === "open") reading.now();
    }, AGAIN_MS);
    this.atEnd(() => clearInterval(timer));
  }

  async _read() {
    const traders = new Map();
    let after = null;
    do {
      const page = await api.get("/v1/traders", { limit: PAGE_MAX, after }, this.left);
      for (const trader of page.traders) traders.set(trader.id, trader);
      this._locked = page.locked;
      after = page.next;
    } while (after);
    this._traders = traders;
    this._draw();
  }

  /** @param {Error} error @param {string} again when it is tried again */
  _fail(error, again) {
    this._note.hidden = false;
    say(this._note, refusalWords(error) + again);
  }

  _draw() {
    const words = this._search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = [...this._traders.values()].filter((trader) => fits(trader, words));
    // One's newest is what one looks for; built-in ones stay in their order.
    const own = starsFirst(wanted.filter((one) => one.owner !== null).reverse());
    const builtin = starsFirst(wanted.filter((one) => one.owner === null));
    const shown = [...own, ...builtin].slice(0, this._most);
    const locked = this._locked.filter((one) => fits(one, words));
    this._keep(new Set(shown.map((one) => one.id)));
    place(
      this._own,
      shown.filter((one) => one.owner !== null).map((one) => this._item(one)),
    );
    place(this._builtin, [
      ...shown.filter((one) => one.owner === null).map((one) => this._item(one)),
      ...locked.map(lockedItem),
    ]);
    this._ownNote.hidden = [...this._traders.values()].some((one) => one.owner !== null);
    this._more.hidden = shown.length === wanted.length;
    this._note.hidden = !words.length;
    say(this._note, words.length ? counted(wanted.length + locked.length, "trader") : "");
  }

  /** @param {Set<string>} ids cards that stay */
  _keep(ids) {
    for (const [id, { item, end }] of this._cards) {
      if (ids.has(id)) continue;
      end();
      item.remove();
      this._cards.delete(id);
    }
  }

  /** @param {any} trader */
  _item(trader) {
    let known = this._cards.get(trader.id);
    if (!known) {
      const card = h("trader-card", {
        onchanged: (/** @type {CustomEvent} */ event) => this._traders.set(trader.id, event.detail),
        ondeleted: () => {
          this._traders.delete(trader.id);
          this._draw();
          this._search.focus();
        },
      });
      const hear = (/** @type {any} */ change) => card.hearMatches(change);
      const end = this._listens ? this.follow(`matches@${trader.id}`, hear) : () => {};
      known = { card, item: h("li", null, card), end };
      this._cards.set(trader.id, known);
    }
    known.card.trader = trader;
    return known.item;
  }
}

/** In the same order otherwise. @param {any[]} traders */
function starsFirst(traders) {
  const starred = (/** @type {any} */ one) => choices.starred(one.id);
  return [...traders.filter(starred), ...traders.filter((one) => !starred(one))];
}

/**
 * @param {any} trader
 * @param {string[]} words
 */
function fits(trader, words) {
  const { name, description, filter, interval, category, difficulty, access_tier: tier } = trader;
  const text = [name, description, filter, interval, category, difficulty, tier]
    .join(" ")
    .toLowerCase();
  return words.every((word) => text.includes(word));
}

/**
 * Lets a list have these items, and moves only those that stand elsewhere: what has the focus
 * keeps it.
 *
 * @param {HTMLElement} list
 * @param {HTMLElement[]} items
 */
function place(list, items) {
  const wanted = new Set(items);
  for (const child of [...list.children])
    if (!wanted.has(/** @type {any} */ (child))) child.remove();
  items.forEach((item, at) => {
    if (list.children[at] !== item) list.insertBefore(item, list.children[at] ?? null);
  });
}

/** @param {any} trader */
function lockedItem(trader) {
  const { name, description, interval, category, difficulty, access_tier: tier } = trader;
  return h(
    "li",
    null,
    h(
      "article",
      { class: "trader locked" },
      h("h3", null, h("span", { "aria-hidden": "true" }, "🔒 "), name),
      h(
        "p",
        { class: "tags" },
        [interval, category, difficulty].filter(Boolean).map((one) => h("span", null, one)),
      ),
      h("p", null, description),
      h("p", { class: "soft" }, `Locked: needs the tier ${tier}.`),
    ),
  );
}

customElements.define("trader-list", TraderList);
