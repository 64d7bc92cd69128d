// @ts-check
/** Signing in as a user of the server's Supabase project, whose tokens the server takes. */

import { api, Problem, setting } from "./api.js";

const NAME = "klinecore.session" + (setting("server") ? "@" + setting("server") : "");
/** Milliseconds before its end at which a token is renewed, and between attempts that failed. */
const EARLY_MS = 60_000;
const AGAIN_MS = 10_000;
const ANSWER_MS = 20_000;

/**
 * @typedef {object} Kept what is stored, for the tab or on the device
 * @property {string} token
 * @property {string} refresh
 * @property {number} ends milliseconds since 1970
 * @property {string} email
 */

class Session {
  constructor() {
    this._url = setting("supabase");
    this._publishable = setting("supabase-key");
    this._timer = 0;
    /** @type {Kept | null} */
    this._kept = null;
    /** Settled when a kept session is in use, or found to have ended. */
    this.ready = this.available ? this._begin() : Promise.resolve();
  }

  get available() {
    return this._url !== "" && this._publishable !== "";
  }

  /** Of who is signed in this way; empty: nobody is. */
  get email() {
    return this._kept?.email ?? "";
  }

  async _begin() {
    api.renew = (token) => this._renew(token);
    api.addEventListener("identity", () => {
      if (this._kept && api.key !== this._kept.token) this._drop();
    });
    addEventListener("online", () => this._schedule());
    document.addEventListener("visibilitychange", () => this._schedule());
    this._kept = read();
    if (!this._kept) return;
    api.use(this._kept.token);
    if (this._kept.ends - EARLY_MS < Date.now()) await this._renew(this._kept.token);
    this._schedule();
  }

  /**
   * Raises Problem: the project or the server does not take it.
   *
   * @param {string} email
   * @param {string} password
   * @param {boolean} remember
   */
  async signIn(email, password, remember) {
    const kept = await this._grant("password", { email, password });
    await api.whoIs(kept.token);
    api.forget();
    this._keep(kept, remember);
    api.dispatchEvent(new Event("identity"));
  }

  /** Ends it here and at the project; nothing waits for that. */
  signOut() {
    const token = this._kept?.token;
    this._drop();
    if (!token) return;
    fetch(`${this._url}/auth/v1/logout?scope=local`, {
      method: "POST",
      headers: { apikey: this._publishable, Authorization: `Bearer ${token}` },
      credentials: "omit",
      keepalive: true,
    }).catch(() => {});
  }

  /**
   * A newer token than `used`, also one that another tab has got; true if there is one.
   *
   * @param {string} used
   */
  async _renew(used) {
    const work = async () => {
      const kept = read() ?? this._kept;
      if (!kept) return false;
      const remember = localStorage.getItem(NAME) !== null;
      if (kept.token !== used && kept.ends > Date.now()) {
        this._keep(kept, remember);
        return true;
      }
      const ours = this._kept;
      try {
        const newer = await this._grant("refresh_token", { refresh_token: kept.refresh });
        // Whoever has signed out meanwhile, or in as somebody else, stays so.
        if (ours !== this._kept) return false;
        this._keep(newer, remember);
        return true;
      } catch (error) {
        // Only the project's own word ends a session; a network that fails does not.
        const status = error instanceof Problem ? error.status : 0;
        const ended = status >= 400 && status < 500 && status !== 429;
        if (ended && ours === this._kept) this._drop();
        return false;
      }
    };
    // A refresh token is good for one use: tabs take turns.
    return navigator.locks ? navigator.locks.request(NAME, work) : work();
  }

  _schedule() {
    clearTimeout(this._timer);
    const kept = this._kept;
    if (!kept) return;
    const wait = Math.min(kept.ends - EARLY_MS - Date.now(), 2 ** 31 - 1);
    this._timer = setTimeout(async () => {
      if (await this._renew(kept.token)) return;
      if (this._kept) this._timer = setTimeout(() => this._schedule(), AGAIN_MS);
      else if (api.key === kept.token) api.dispatchEvent(new Event("refused"));
    }, Math.max(0, wait));
  }

  /**
   * @param {Kept} kept
   * @param {boolean} remember
   */
  _keep(kept, remember) {
    this._drop();
    this._kept = kept;
    (remember ? localStorage : sessionStorage).setItem(NAME, JSON.stringify(kept));
    api.use(kept.token);
    this._schedule();
  }

  _drop() {
    clearTimeout(this._timer);
    this._kept = null;
    sessionStorage.removeItem(NAME);
    localStorage.removeItem(NAME);
  }

  /**
   * @param {"password" | "refresh_token"} kind
   * @param {Record<string, string>} body
   * @returns {Promise<Kept>}
   */
  async _grant(kind, body) {
    let response;
    let answer;
    try {
      response = await fetch(`${this._url}/auth/v1/token?grant_type=${kind}`, {
        method: "POST",
        headers: { apikey: this._publishable, "Content-Type": "application/json" },
        body: JSON.stringify(body),
        credentials: "omit",
        signal: AbortSignal.timeout(ANSWER_MS),
      });
      answer = await response.json();
    } catch {
      throw new Problem(0, { detail: "The sign-in service cannot be reached." });
    }
    if (!response.ok || typeof answer.access_token !== "string") {
      const said = answer.msg ?? answer.error_description ?? `HTTP ${response.status}`;
      throw new Problem(response.status, { detail: String(said) });
    }
    return {
      token: answer.access_token,
      refresh: String(answer.refresh_token ?? ""),
      ends: Date.now() + Number(answer.expires_in ?? 3600) * 1000,
      email: String(answer.user?.email ?? ""),
    };
  }
}

/** @returns {Kept | null} */
function read() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME) ?? "null");
    return typeof kept?.token === "string" ? kept : null;
  } catch {
    return null;
  }
}

export const session = new Session();
