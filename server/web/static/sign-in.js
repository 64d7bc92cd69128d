// @ts-check
/** Asks for the API key, which goes into headers and never into an address. */

import { api, Problem } from "./api.js";
import { h, say } from "./dom.js";

class SignIn extends HTMLElement {
  connectedCallback() {
    this._key = h("input", {
      type: "password", name: "key", required: true, autocomplete: "current-password",
      spellcheck: false, "aria-describedby": "sign-in-error",
    });
    this._remember = h("input", { type: "checkbox", name: "remember" });
    this._error = h("p", { class: "error", id: "sign-in-error", role: "alert" });
    this._dialog = h(
      "dialog",
      { "aria-labelledby": "sign-in-title" },
      h(
        "form",
        { onsubmit: (/** @type {Event} */ event) => this._try(event) },
        h("h2", { id: "sign-in-title" }, "Sign in"),
        h("label", null, "API key or access token", this._key),
        h("label", { class: "check" }, this._remember, "Remember on this device"),
        this._error,
        h(
          "div",
          { class: "actions" },
          h("button", { type: "button", onclick: () => this._dialog.close() }, "Cancel"),
          h("button", { class: "primary", type: "submit" }, "Sign in"),
        ),
      ),
    );
    this.append(this._dialog);
  }

  ask() {
    if (!this._dialog.open) this._dialog.showModal();
  }

  /** @param {Event} event */
  async _try(event) {
    event.preventDefault();
    say(this._error, "");
    api.signIn(this._key.value.trim(), this._remember.checked);
    try {
      await api.get("/v1/symbols");
    } catch (error) {
      if (error instanceof Problem && error.status !== 401) say(this._error, error.message);
      else say(this._error, "This key is not known to the server.");
      api.forget();
      return;
    }
    this._key.value = "";
    this._dialog.close();
  }
}

customElements.define("sign-in", SignIn);
