// @ts-check
/** What every page is: an element that lets go of everything it holds when it is left. */

import { api } from "./api.js";
import { live } from "./live.js";
import { Retry } from "./retry.js";

/**
 * @typedef {object} Place where the page is
 * @property {string} name the first part of the address behind `#/`
 * @property {string[]} parts the others
 * @property {URLSearchParams} query
 */

/** Redefine `show`; it is called when the page is opened, and when its address changes. */
export class Page extends HTMLElement {
  constructor() {
    super();
    /** @type {Place} */
    this.place = { name: "", parts: [], query: new URLSearchParams() };
    /** @type {Array<() => void>} */
    this._ends = [];
    this._left = new AbortController();
  }

  /** Aborted when the page is left: pass it to requests. */
  get left() {
    return this._left.signal;
  }

  connectedCallback() {
    this.show();
  }

  disconnectedCallback() {
    this._left.abort();
    for (const end of this._ends.splice(0)) end();
  }

  show() {}

  /**
   * The address has changed and the page has not.
   *
   * @param {Place} place
   */
  go(place) {
    this.place = place;
    this.show();
  }

  /** @param {() => void} end called when the page is left */
  atEnd(end) {
    this._ends.push(end);
  }

  /**
   * @param {EventTarget} target
   * @param {string} type
   * @param {(event: any) => void} listener
   */
  listen(target, type, listener) {
    target.addEventListener(type, listener, { signal: this.left });
  }

  /**
   * Follows a stream until the page is left, or the function returned is called.
   *
   * @param {string} stream
   * @param {(message: any) => void} follower
   */
  follow(stream, follower) {
    const end = live.follow(stream, follower);
    this.atEnd(end);
    return end;
  }

  /**
   * Calls `read` now and whenever the socket was joined anew, and again where it failed, which
   * `fail` is told, with when that will be in words.
   *
   * @param {() => Promise<void>} read
   * @param {(error: any, again: string) => void} fail
   */
  keepReading(read, fail) {
    const reading = new Retry(read, fail);
    this.atEnd(() => reading.end());
    this.listen(live, "joined", () => reading.now());
    this.listen(api, "identity", () => reading.now());
    reading.now();
    return reading;
  }
}

/**
 * The address of a place in this page.
 *
 * @param {string[]} parts
 * @param {Record<string, string>} [query]
 */
export function address(parts, query = {}) {
  const asked = new URLSearchParams(query).toString();
  return "#/" + parts.map(encodeURIComponent).join("/") + (asked ? "?" + asked : "");
}

/** @param {string} hash */
export function placeOf(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const [name = "", ...parts] = path.split("/").map(decode);
  return { name, parts, query: new URLSearchParams(query) };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
