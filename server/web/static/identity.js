// @ts-check
/** Who is signed in: what `/v1/me` says, read again whenever that may have changed. */

import { api, Problem } from "./api.js";
import { live } from "./live.js";
import { session } from "./supabase.js";

/** Milliseconds between two readings, and before the first one after a failure. */
const EVERY_MS = 60_000;
const AGAIN_MS = 2_000;
/** A reading that something told waits so long for others. */
const SOON_MS = 3_000;

/** Event: `change` when `me` or `failure` is another one. */
class Identity extends EventTarget {
  constructor() {
    super();
    /** @type {any} the answer of `/v1/me`; null: not known */
    this.me = null;
    /** Why it is not known; empty: it is, or the server has not answered yet. */
    this.failure = "";
    this._timer = 0;
    this._soon = 0;
    api.addEventListener("identity", () => this.read());
    live.addEventListener("joined", () => this.read());
  }

  /** Reads it now, and again in a minute; soon if that failed. */
  async read() {
    clearTimeout(this._timer);
    const key = api.key;
    let wait = EVERY_MS;
    try {
      const me = await api.get("/v1/me");
      if (key === api.key) this._set(me, "");
    } catch (error) {
      if (key !== api.key) return;
      wait = AGAIN_MS;
      const refused = error instanceof Problem && error.status === 401;
      this._set(refused ? null : this.me, /** @type {Error} */ (error).message);
    }
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this.read(), wait);
  }

  /** Signs out, or was: what was read with the key is dropped before anything asks without it. */
  leave() {
    if (!api.key && !this.me?.reads) return;
    this._set(null, "");
    session.signOut();
    api.signOut();
  }

  /** Something has happened that it counts. */
  readSoon() {
    if (this._soon) return;
    this._soon = setTimeout(() => {
      this._soon = 0;
      this.read();
    }, SOON_MS);
  }

  /**
   * @param {any} me
   * @param {string} failure
   */
  _set(me, failure) {
    this.me = me;
    this.failure = failure;
    this.dispatchEvent(new Event("change"));
  }
}

export const identity = new Identity();
