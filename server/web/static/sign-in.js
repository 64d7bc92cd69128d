// @ts-check
/** Asks for an API key, or for a user's mail address and password where the server takes users. */

import { api, Problem } from "./api.js";
import { h, say } from "./dom.js";
import { session } from "./supabase.js";

class SignIn extends HTMLElement {
  constructor() {
    super();
    /** How often it was closed: what was asked before is not wanted any more. */
    this._closed = 0;
  }

  connectedCallback() {
    this._error = h("p", { class: "error", id: "sign-in-error", role: "alert" });
    this._remember = h("input", { type: "checkbox", name: "remember" });
    this._dialog = h(
      "dialog",
      { "aria-labelledby": "sign-in-title", onclose: () => this._clear() },
      h("h2", { id: "sign-in-title" }, "Sign in"),
      session.available && this._makeAccount(),
      this._makeKey(),
      h("label", { class: "check" }, this._remember, "Remember on this device"),
      this._error,
      h("button", { class: "plain", type: "button", onclick: () => this._dialog.close() }, "Cancel"),
    );
    this.append(this._dialog);
  }

  _makeAccount() {
    this._email = field("email", "email", "username");
    this._password = field("password", "password", "current-password");
    const sign = (/** @type {() => boolean} */ wanted) =>
      session.signIn(this._email.value.trim(), this._password.value, this._kept, wanted);
    return form(
      [h("label", null, "Mail address", this._email), h("label", null, "Password", this._password)],
      "Sign in",
      (button) => this._try(button, sign, "Mail address or password is wrong."),
    );
  }

  _makeKey() {
    this._key = field("password", "key", "current-password");
    const sign = async (/** @type {() => boolean} */ wanted) => {
      const key = this._key.value.trim();
      const me = await api.whoIs(key);
      if (!me.reads) throw new Problem(401, {});
      if (wanted()) api.signIn(key, this._kept);
    };
    // Password managers want a name to keep a secret under.
    const name = h("input", {
      type: "text", name: "username", autocomplete: "username", value: "API key", class: "unseen",
      readOnly: true, tabIndex: -1, "aria-hidden": "true",
    });
    return form(
      [name, h("label", null, "API key or access token", this._key)],
      session.available ? "Use the key" : "Sign in",
      (button) => this._try(button, sign, "This key is not known to the server."),
    );
  }

  get _kept() {
    return this._remember.checked;
  }

  ask() {
    if (!this._dialog.open) this._dialog.showModal();
  }

  _clear() {
    this._closed += 1;
    say(this._error, "");
    for (const secret of this.querySelectorAll("input[type=password]")) {
      /** @type {HTMLInputElement} */ (secret).value = "";
    }
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {(wanted: () => boolean) => Promise<void>} sign
   * @param {string} wrong what a refusal means
   */
  async _try(button, sign, wrong) {
    say(this._error, "");
    button.disabled = true;
    const closed = this._closed;
    const wanted = () => closed === this._closed;
    try {
      await sign(wanted);
      if (wanted()) this._dialog.close();
    } catch (error) {
      const status = error instanceof Problem ? error.status : 0;
      if (wanted()) say(this._error, [400, 401].includes(status) ? wrong : /** @type {Error} */ (error).message);
    }
    button.disabled = false;
  }
}

/**
 * @param {string} type
 * @param {string} name
 * @param {string} autocomplete
 */
function field(type, name, autocomplete) {
  return h("input", {
    type, name, autocomplete, required: true, spellcheck: false,
    "aria-describedby": "sign-in-error",
  });
}

/**
 * @param {Node[]} fields
 * @param {string} title
 * @param {(button: HTMLButtonElement) => void} submit
 */
function form(fields, title, submit) {
  const button = h("button", { class: "primary", type: "submit" }, title);
  return h(
    "form",
    {
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        submit(button);
      },
    },
    fields,
    h("div", { class: "actions" }, button),
  );
}

customElements.define("sign-in", SignIn);
