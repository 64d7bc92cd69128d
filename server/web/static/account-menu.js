// @ts-check
/** Who is signed in and what they may; `ask` is fired when somebody wants to sign in. */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { moment } from "./format.js";
import { identity } from "./identity.js";
import { session } from "./supabase.js";

class AccountMenu extends HTMLElement {
  connectedCallback() {
    this._name = h("summary", { "aria-label": "Account" });
    this._facts = h("dl", { class: "facts" });
    this._out = h("button", { type: "button", onclick: () => this._signOut() }, "Sign out");
    this._menu = h("details", null, this._name, h("div", { class: "sheet" }, this._facts, this._out));
    this._in = h(
      "button",
      { class: "plain", type: "button", onclick: () => this.dispatchEvent(new Event("ask")) },
      "Sign in",
    );
    this.append(this._menu, this._in);
    identity.addEventListener("change", () => this._tell());
    addEventListener("click", (event) => {
      if (!this.contains(/** @type {Node} */ (event.target))) this._menu.open = false;
    });
    addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this._menu.open) return;
      this._menu.open = false;
      this._name.focus();
    });
    this._tell();
  }

  _signOut() {
    this._menu.open = false;
    identity.leave();
  }

  _tell() {
    const { me } = identity;
    const known = me !== null && me.owner !== null;
    this._menu.hidden = !known;
    // On a server without keys there is nothing to sign in for.
    this._in.hidden = known || (me !== null && !me.asks_for_keys);
    this._out.hidden = !api.key;
    if (!known) return;
    const name = session.email || me.owner;
    say(this._name, name);
    this._name.setAttribute("aria-label", `Account: ${name}`);
    const { traders } = me;
    const rows = [
      ["Owner", me.owner],
      ["Tier", me.tier],
      ["Scope", me.scope],
      ["Requests", me.requests_per_minute === null ? "not counted" :
        `${me.requests_per_minute} a minute of each kind`],
      ["Traders", `${traders.held} of ${traders.held_max}`],
      ["Enabled", traders.enabled_max === null ? `${traders.enabled}` :
        `${traders.enabled} of ${traders.enabled_max}`],
      ["Good until", me.expires_ms === null ? null : `${moment(me.expires_ms)} UTC, renewed`],
      ["Keys", me.asks_for_keys ? null : "this server asks for none"],
    ];
    this._facts.replaceChildren(
      ...rows.filter(([, value]) => value !== null).flatMap(([title, value]) => [
        h("dt", null, title), h("dd", null, value),
      ]),
    );
  }
}

customElements.define("account-menu", AccountMenu);
