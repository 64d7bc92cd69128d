// @ts-check
/** Work that may fail, and then is tried again: soon at first, later less and less often. */

import { lasting } from "./format.js";

/** Milliseconds before the first new attempt; doubles up to the last. */
const FIRST_MS = 1_000;
const LAST_MS = 30_000;

export class Retry {
  /**
   * @param {() => Promise<void>} work
   * @param {(error: any, again: string) => void} fail takes why it failed, and when it is tried
   *   again, in words; nothing: a refusal that stays one is not tried again
   */
  constructor(work, fail) {
    this._work = work;
    this._fail = fail;
    this._failures = 0;
    this._timer = 0;
    this._ended = false;
  }

  /** Does it now, and then as often as it takes. */
  async now() {
    clearTimeout(this._timer);
    try {
      await this._work();
      clearTimeout(this._timer);
      this._failures = 0;
    } catch (error) {
      if (!this._ended) this._fail(error, this._plan(error));
    }
  }

  end() {
    this._ended = true;
    clearTimeout(this._timer);
  }

  /** @param {any} error */
  _plan({ status = 0, wait = 0 }) {
    clearTimeout(this._timer);
    if (status >= 400 && status < 500 && status !== 429) return "";
    const ms = Math.max(wait * 1_000, Math.min(LAST_MS, FIRST_MS * 2 ** this._failures));
    if (ms < LAST_MS) this._failures += 1;
    this._timer = setTimeout(() => this.now(), ms);
    return ` Trying again in ${lasting(ms)}.`;
  }
}
