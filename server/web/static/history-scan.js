// @ts-check
/** A filter run over the past of many symbols, some of them at a time. */

import { api } from "./api.js";

/** Requests a scan is made of, and the fewest symbols that are worth one. */
const SLICES_MAX = 20;
const SLICE_MIN = 10;
/** Firings that are kept: the newest. */
export const FIRINGS_KEPT = 200;
/** Times in a row that the server may ask to wait, and the longest that is waited, seconds. */
const WAITS_MAX = 10;
const WAIT_MAX_S = 90;

/**
 * @typedef {object} Found
 * @property {number} done symbols
 * @property {number} total symbols
 * @property {number} fired
 * @property {number} rows closes that were looked at
 * @property {Record<string, number>} by_symbol firings, where there are any
 * @property {Record<string, number>} unknown closes of which nothing could be said, by reason
 * @property {any[]} firings the newest, newest first
 * @property {number} waiting seconds the server wants to be left alone; 0: it computes
 */

/**
 * Runs the filter of `body` over `symbols`; calls `tell` with what is found so far. Once `stop` is
 * aborted it ends with that.
 *
 * @param {Record<string, any>} body of a replay, without symbols
 * @param {string[]} symbols
 * @param {(found: Found) => void} tell
 * @param {AbortSignal} stop
 * @returns {Promise<Found>}
 */
export async function scan(body, symbols, tell, stop) {
  /** @type {Found} */
  const found = {
    done: 0, total: symbols.length, fired: 0, rows: 0, by_symbol: {}, unknown: {}, firings: [],
    waiting: 0,
  };
  try {
    const slices = await cut(body, symbols, stop);
    let waits = 0;
    while (slices.length) {
      tell(found);
      const slice = slices[0];
      const request = { ...body, symbols: slice, limit: FIRINGS_KEPT };
      try {
        add(found, await api.post("/v1/filters/replay", request, {}, stop), slice.length);
        slices.shift();
        waits = 0;
      } catch (error) {
        const { wait, code } = /** @type {import("./api.js").Problem} */ (error);
        if (wait && (waits += 1) <= WAITS_MAX) {
          found.waiting = Math.min(wait, WAIT_MAX_S);
          tell(found);
          await pause(found.waiting * 1_000, stop);
          found.waiting = 0;
        } else if (code === "too_large" && slice.length > 1) {
          const half = slice.length >> 1;
          slices.splice(0, 1, slice.slice(0, half), slice.slice(half));
        } else throw error;
      }
    }
  } catch (error) {
    if (!stop.aborted) throw error;
  }
  found.waiting = 0;
  return found;
}

/**
 * @param {Record<string, any>} body
 * @param {string[]} symbols
 * @param {AbortSignal} stop
 * @returns {Promise<string[][]>}
 */
async function cut({ filter, interval, market }, symbols, stop) {
  const size = Math.max(SLICE_MIN, Math.ceil(symbols.length / SLICES_MAX));
  if (symbols.length <= size) return [symbols];
  // Who compares symbols reads all of them for each answer.
  const checked = await api.post("/v1/filters/check", { filter, interval, market }, {}, stop);
  if (checked.cross_symbols) return [symbols];
  const slices = [];
  for (let at = 0; at < symbols.length; at += size) slices.push(symbols.slice(at, at + size));
  return slices;
}

/**
 * @param {Found} found
 * @param {any} answer
 * @param {number} count symbols it is of
 */
function add(found, answer, count) {
  found.done += count;
  found.fired += answer.fired;
  found.rows += answer.rows;
  Object.assign(found.by_symbol, answer.by_symbol);
  for (const [reason, times] of Object.entries(answer.unknown)) {
    found.unknown[reason] = (found.unknown[reason] ?? 0) + times;
  }
  found.firings = [...found.firings, ...answer.firings]
    .sort((one, other) =>
      other.open_time_ms - one.open_time_ms || (one.symbol < other.symbol ? -1 : 1))
    .slice(0, FIRINGS_KEPT);
}

/** @param {number} ms @param {AbortSignal} stop @returns {Promise<void>} */
function pause(ms, stop) {
  return new Promise((resolve, reject) => {
    const ended = () => {
      clearTimeout(timer);
      reject(stop.reason);
    };
    const timer = setTimeout(() => {
      stop.removeEventListener("abort", ended);
      resolve();
    }, ms);
    stop.addEventListener("abort", ended, { once: true });
  });
}
