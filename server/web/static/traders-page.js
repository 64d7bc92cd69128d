// @ts-check
/** Pages of traders: the list, one of them, and the form. */

import { h } from "./dom.js";
import { identity } from "./identity.js";
import { Page } from "./page.js";
import "./trader-form.js";
import "./trader-list.js";
import "./trader-view.js";

class TradersPage extends Page {
  show() {
    const [first, what] = this.place.parts;
    const tag = !first
      ? "trader-list"
      : first === "new" || what === "edit"
        ? "trader-form"
        : "trader-view";
    if (tag !== "trader-list" && !identity.me?.reads) {
      this.replaceChildren(h("p", { class: "empty" }, "Sign in to see, make and change traders."));
      return;
    }
    this.replaceChildren(h(tag, { place: this.place }));
  }
}

customElements.define("page-traders", TradersPage);
