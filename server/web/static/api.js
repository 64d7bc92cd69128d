// @ts-check
/** The one place that asks the server over HTTP, and that knows the key. */

/** Milliseconds after which a request that got no answer counts as failed. */
const ANSWER_MS = 20_000;

/** What the server refused: its problem document, or that it could not be reached (status 0). */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {Record<string, any>} body
   */
  constructor(status, body) {
    super(body.detail ?? body.title ?? `HTTP ${status}`);
    this.status = status;
    /** @type {string} a stable word such as `invalid_filter` */
    this.code = body.code ?? "";
    this.body = body;
    /** Seconds after which the server may be asked again; 0: it did not say. */
    this.wait = 0;
  }
}

/** @param {string} name of a setting that the server wrote into the page */
export function setting(name) {
  const meta = document.querySelector(`meta[name="klinecore-${name}"]`);
  return meta?.getAttribute("content") ?? "";
}

/**
 * Events: `identity` when somebody has signed in or out, `refused` when the server does not take
 * the key (any more), or another tab has signed out.
 */
class Api extends EventTarget {
  constructor() {
    super();
    const named = setting("server");
    /** The server's address without a slash at its end; the page's own origin if none is set. */
    this.base = (named || location.origin).replace(/\/+$/, "");
    // With the server's name: a page that asks another one some day must not show it this key.
    this._name = "klinecore.key" + (named ? "@" + named : "");
    this._key = sessionStorage.getItem(this._name) ?? localStorage.getItem(this._name) ?? "";
    /**
     * Called with a token that was refused; true if there is a newer one now, false if its session
     * has ended. Raises Problem where neither can be told.
     *
     * @type {((token: string) => Promise<boolean>) | null}
     */
    this.renew = null;
    addEventListener("storage", ({ key, oldValue, newValue }) => {
      if (key !== this._name || newValue !== null || !oldValue || oldValue !== this._key) return;
      // Another tab has signed out: what the device kept was for all of them.
      if (!sessionStorage.getItem(this._name)) this.dispatchEvent(new Event("refused"));
    });
  }

  /** The API key or access token; empty: none. It stands in headers only, never in a URL. */
  get key() {
    return this._key;
  }

  /**
   * @param {string} key
   * @param {boolean} remember on this device, instead of until the tab is closed
   */
  signIn(key, remember) {
    this.forget();
    this._key = key;
    if (key) (remember ? localStorage : sessionStorage).setItem(this._name, key);
    this.dispatchEvent(new Event("identity"));
  }

  /**
   * Shows a token from now on that somebody else keeps.
   *
   * @param {string} token
   */
  use(token) {
    this._key = token;
  }

  signOut() {
    this.forget();
    this.dispatchEvent(new Event("identity"));
  }

  /** What another key has on the device stays. */
  forget() {
    sessionStorage.removeItem(this._name);
    if (localStorage.getItem(this._name) === this._key) localStorage.removeItem(this._name);
    this._key = "";
  }

  /**
   * Who a key stands for, without signing in. Raises Problem: 401 if it is wrong.
   *
   * @param {string} key
   */
  whoIs(key) {
    return this._send("GET", "/v1/me", {}, undefined, undefined, key);
  }

  /**
   * The decoded answer. Raises Problem.
   *
   * @param {string} path
   * @param {Record<string, any>} [query] null and undefined are left out, arrays repeated
   * @param {AbortSignal} [signal]
   */
  get(path, query = {}, signal) {
    return this._ask("GET", path, query, undefined, signal);
  }

  /**
   * @param {string} path
   * @param {any} [body] none: an empty body
   * @param {Record<string, any>} [query]
   * @param {AbortSignal} [signal]
   */
  post(path, body, query = {}, signal) {
    return this._ask("POST", path, query, body, signal);
  }

  /**
   * @param {string} path
   * @param {any} body
   */
  patch(path, body) {
    return this._ask("PATCH", path, {}, body);
  }

  /** @param {string} path */
  delete(path) {
    return this._ask("DELETE", path, {}, undefined);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {Record<string, any>} query
   * @param {any} body
   * @param {AbortSignal} [signal]
   */
  async _ask(method, path, query, body, signal) {
    const key = this._key;
    try {
      return await this._send(method, path, query, body, signal, key);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error;
      if (key && (await this.renew?.(key))) {
        return this._send(method, path, query, body, signal, this._key);
      }
      if (key === this._key) this.dispatchEvent(new Event("refused"));
      throw error;
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {Record<string, any>} query
   * @param {any} body
   * @param {AbortSignal | undefined} signal
   * @param {string} key
   */
  async _send(method, path, query, body, signal, key) {
    const url = new URL(this.base + path);
    for (const [name, value] of Object.entries(query)) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== null && one !== undefined) url.searchParams.append(name, String(one));
      }
    }
    /** @type {Record<string, string>} */
    const headers = {};
    if (key) headers["X-API-Key"] = key;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const limit = AbortSignal.timeout(ANSWER_MS);
    let response;
    let text;
    try {
      response = await fetch(url, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
        credentials: "omit",
      });
      text = await response.text();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0, { code: "unreachable", detail: "The server cannot be reached." });
    }
    const answer = parse(text);
    if (response.ok && text && answer === null) {
      throw new Problem(0, { code: "unreadable", detail: "The server's answer cannot be read." });
    }
    if (!response.ok) {
      // /ready and /health answer 503 with what they are asked for.
      if (response.status === 503 && answer && !("code" in answer)) return answer;
      const problem = new Problem(response.status, answer ?? {});
      problem.wait = Number(response.headers.get("Retry-After")) || 0;
      throw problem;
    }
    return answer;
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

export const api = new Api();
