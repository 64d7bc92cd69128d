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
 * @property {string} user its id at the project
 * @property {string} email
 */

class Session {
  constructor() {
    this._url = setting("supabase");
    this._publishable = setting("supabase-key");
    this._timer = 0;
    /** @type {Kept | null} */
    this._kept = null;
    /** Where it is kept: for the tab, or on the device, whose tabs share it. */
    this._store = sessionStorage;
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
    addEventListener("storage", ({ key, newValue }) => {
      const kept = this._kept;
      if (key !== NAME || newValue !== null || !kept || this._store !== localStorage) return;
      this._drop();
      if (api.key === kept.token) api.dispatchEvent(new Event("refused"));
    });
    addEventListener("online", () => this._schedule());
    document.addEventListener("visibilitychange", () => this._schedule());
    this._store = read(sessionStorage) ? sessionStorage : localStorage;
    this._kept = read(this._store);
    if (!this._kept) return;
    const { token, ends } = this._kept;
    api.use(token);
    if (ends - EARLY_MS < Date.now()) await this._renew(token).catch(() => {});
    this._schedule();
  }

  /**
   * Raises Problem: the project or the server does not take it.
   *
   * @param {string} email
   * @param {string} password
   * @param {boolean} remember
   * @param {() => boolean} wanted whether it is still, once it is known
   */
  async signIn(email, password, remember, wanted) {
    const kept = await this._grant("password", { email, password });
    await api.whoIs(kept.token);
    if (!wanted()) return;
    api.forget();
    this._drop();
    this._keep(kept, remember ? localStorage : sessionStorage);
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
   * A newer token than `used`, also one that another tab has got; false: its session has ended.
   * Raises Problem where neither can be told now.
   *
   * @param {string} used
   */
  async _renew(used) {
    const work = async () => {
      const ours = this._kept;
      if (!ours) return false;
      const now = Date.now();
      if (ours.token !== used && ours.ends > now) return true;
      // On the device may stand what another tab has got, and who has signed in there since.
      const there = this._there();
      if (there && there.token !== used && there.ends > now) {
        this._keep(there, this._store);
        return true;
      }
      try {
        const body = { refresh_token: (there ?? ours).refresh };
        const newer = await this._grant("refresh_token", body);
        // Whoever has signed out meanwhile, or in as somebody else, stays so.
        if (ours !== this._kept) return false;
        this._keep(newer, this._there() ? this._store : sessionStorage);
        return true;
      } catch (error) {
        // Only the project's own word ends a session; a network that fails does not.
        const { status } = /** @type {Problem} */ (error);
        if (status < 400 || status >= 500 || status === 429) throw error;
        if (ours === this._kept) this._drop();
        return false;
      }
    };
    // A refresh token is good for one use: tabs take turns.
    return navigator.locks ? navigator.locks.request(NAME, work) : work();
  }

  /** What is kept where ours was put, if it is the same user's still. */
  _there() {
    const there = read(this._store);
    return there && there.user === this._kept?.user ? there : null;
  }

  _schedule() {
    clearTimeout(this._timer);
    const kept = this._kept;
    if (!kept) return;
    const wait = Math.min(kept.ends - EARLY_MS - Date.now(), 2 ** 31 - 1);
    this._timer = setTimeout(async () => {
      try {
        const renewed = await this._renew(kept.token);
        if (!renewed && api.key === kept.token) api.dispatchEvent(new Event("refused"));
      } catch {
        this._timer = setTimeout(() => this._schedule(), AGAIN_MS);
      }
    }, Math.max(0, wait));
  }

  /**
   * @param {Kept} kept
   * @param {Storage} store
   */
  _keep(kept, store) {
    this._kept = kept;
    this._store = store;
    store.setItem(NAME, JSON.stringify(kept));
    api.use(kept.token);
    this._schedule();
  }

  /** Forgets it; what others have on the device stays. */
  _drop() {
    clearTimeout(this._timer);
    if (this._there()) this._store.removeItem(NAME);
    this._kept = null;
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
      user: String(answer.user?.id ?? ""),
      email: String(answer.user?.email ?? ""),
    };
  }
}

/** @param {Storage} store @returns {Kept | null} */
function read(store) {
  try {
    const kept = JSON.parse(store.getItem(NAME) ?? "null");
    return typeof kept?.token === "string" ? kept : null;
  } catch {
    return null;
  }
}

export const session = new Session();
