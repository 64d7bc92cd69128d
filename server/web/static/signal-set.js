// @ts-check
/** Signals as they are known: each once, in its newest revision, by their klines. */

/**
 * @typedef {object} Group signals that share a row
 * @property {string} key
 * @property {any} newest
 * @property {number} count
 */

export class SignalSet {
  constructor() {
    /** @type {Map<string, any>} by id */
    this._known = new Map();
  }

  get size() {
    return this._known.size;
  }

  clear() {
    this._known.clear();
  }

  /**
   * Takes a signal in, whichever way and however often it is told.
   *
   * @param {any} signal
   * @returns {"new" | "changed" | "known"}
   */
  put(signal) {
    const before = this._known.get(signal.id);
    if (before && before.revision >= signal.revision) return "known";
    this._known.set(signal.id, signal);
    return before ? "changed" : "new";
  }

  /**
   * @param {boolean} together one group for all signals of a trader and symbol
   * @returns {Group[]}
   */
  groups(together) {
    const sorted = [...this._known.values()].sort(newestFirst);
    if (!together) return sorted.map((newest) => ({ key: newest.id, newest, count: 1 }));
    /** @type {Map<string, Group>} */
    const groups = new Map();
    for (const signal of sorted) {
      const key = `${signal.trader_id} ${signal.market} ${signal.symbol}`;
      const group = groups.get(key);
      if (group) group.count += 1;
      else groups.set(key, { key, newest: signal, count: 1 });
    }
    return [...groups.values()];
  }
}

/**
 * The order of the server's pages.
 *
 * @param {any} one
 * @param {any} other
 */
function newestFirst(one, other) {
  return other.open_time_ms - one.open_time_ms || (other.id > one.id ? 1 : -1);
}
