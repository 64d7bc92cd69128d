// @ts-check
/** The essentials, on every page: updates a second, symbols, signals today, the connection. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { short } from "./format.js";
import { identity } from "./identity.js";
import { live } from "./live.js";

/** Milliseconds over which updates are counted. */
const COUNTED_MS = 2_000;

const STATES = {
  idle: ["off", "Not connected"],
  connecting: ["wait", "Connecting"],
  open: ["on", "Live"],
  waiting: ["off", "Reconnecting"],
};

class VitalSigns extends HTMLElement {
  connectedCallback() {
    this._updates = h("b", null, "0");
    this._symbols = h("b", null, "–");
    this._signals = h("b", null, "–");
    this._state = h("span", { class: "live", role: "status" });
    this.append(
      h("span", { class: "number", title: "Messages this page received" }, this._updates,
        " updates/s"),
      h("span", { class: "number" }, this._symbols, " symbols"),
      h("span", { class: "number", title: "Of today, UTC" }, this._signals, " signals"),
      this._state,
    );
    /** @type {(() => void) | null} */
    this._end = null;
    this._owner = null;
    live.addEventListener("state", () => this._tell());
    live.addEventListener("joined", () => this._count());
    addEventListener("online", () => this._tell());
    addEventListener("offline", () => this._tell());
    identity.addEventListener("change", () => this._meet());
    let before = live.messages;
    setInterval(() => {
      say(this._updates, short(Math.round((live.messages - before) / (COUNTED_MS / 1000))));
      before = live.messages;
    }, COUNTED_MS);
    this._tell();
  }

  /** Follows signals for whoever may read: their number changes with them. */
  _meet() {
    const { me } = identity;
    const owner = me?.reads ? me.owner : null;
    say(this._signals, typeof me?.signals_today === "number" ? short(me.signals_today) : "–");
    if (owner === this._owner) return;
    this._owner = owner;
    this._end?.();
    this._end = null;
    say(this._symbols, "–");
    if (owner === null) return;
    this._end = live.follow("signals", () => identity.readSoon());
    this._count();
  }

  async _count() {
    if (this._owner === null) return;
    try {
      const { markets } = await api.get("/v1/symbols");
      const counts = Object.values(markets).map((market) => market.symbols.length);
      say(this._symbols, short(counts.reduce((sum, count) => sum + count, 0)));
    } catch {
      say(this._symbols, "–");
    }
  }

  _tell() {
    let [kind, text] = STATES[live.state];
    if (!navigator.onLine) [kind, text] = ["off", "Offline"];
    this._state.dataset.state = kind;
    say(this._state, text);
  }
}

customElements.define("vital-signs", VitalSigns);
