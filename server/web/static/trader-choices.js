// @ts-check
/** Which traders somebody prefers, and which built-in ones are off here: kept on this device. */

const KEPT = "klinecore.traders";

/** An event `change` tells that something was chosen, here or in another tab. */
class TraderChoices extends EventTarget {
  constructor() {
    super();
    this._read();
    addEventListener("storage", ({ key }) => {
      if (key !== KEPT && key !== null) return;
      this._read();
      this.dispatchEvent(new Event("change"));
    });
  }

  _read() {
    /** @type {any} */
    let kept = null;
    try {
      kept = JSON.parse(localStorage.getItem(KEPT) ?? "null");
    } catch {
      // as if nothing was kept
    }
    const names = (/** @type {any} */ ids) => new Set(Array.isArray(ids) ? ids : []);
    /** @type {Set<string>} ids */
    this._stars = names(kept?.stars);
    /** @type {Set<string>} ids of built-in ones whose signals are not shown */
    this._off = names(kept?.off);
  }

  /** @param {string} id */
  starred(id) {
    return this._stars.has(id);
  }

  /** @param {string} id */
  off(id) {
    return this._off.has(id);
  }

  /** @param {string} id */
  star(id) {
    this._turn(this._stars, id);
  }

  /** @param {string} id of a built-in one */
  turn(id) {
    this._turn(this._off, id);
  }

  /** @param {Set<string>} ids @param {string} id */
  _turn(ids, id) {
    if (!ids.delete(id)) ids.add(id);
    localStorage.setItem(KEPT, JSON.stringify({ stars: [...this._stars], off: [...this._off] }));
    this.dispatchEvent(new Event("change"));
  }
}

export const choices = new TraderChoices();
