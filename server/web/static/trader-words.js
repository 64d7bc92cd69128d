// @ts-check
/** What is told of traders, in words. */

import { computed, lasting } from "./format.js";

/** @type {Record<string, string>} why nothing can be said of a symbol */
const REASONS = {
  NOT_WARM: "too few klines yet",
  HOLE: "klines are missing",
  MISSING_CLOSE: "the kline of another interval is due",
  NO_TICKER: "no ticker yet",
  UNDEFINED: "no result, such as x / 0",
  NO_ROWS: "no klines yet",
};

/** @type {Record<string, string>} */
const STATES = {
  running: "Running",
  disabled: "Disabled",
  paused: "Paused",
  waiting: "Waiting for its market",
  error: "Does not run",
};

/** @type {Record<string, string>} what to do about a refusal, by its code */
const CURES = {
  unauthorized: "Sign in with an API key or an access token.",
  insufficient_scope: "Sign in with a key that may trade.",
  quota_exceeded: "Disable or delete another trader first, or ask for a higher tier.",
  tier: "A higher tier sees more: sign in, or ask for one.",
  rate_limited: "Wait a little; who has signed in may ask more often.",
};

/** @param {string} reason */
export function reasonWords(reason) {
  return REASONS[reason] ?? reason.toLowerCase().replaceAll("_", " ");
}

/**
 * `3 × too few klines yet, 1 × klines are missing`; empty without any.
 *
 * @param {Record<string, number>} unknown counts by reason
 */
export function unknownWords(unknown) {
  return Object.entries(unknown)
    .filter(([, count]) => count)
    .map(([reason, count]) => `${count.toLocaleString("en")} × ${reasonWords(reason)}`)
    .join(", ");
}

/** @param {string} state */
export function stateWords(state) {
  return STATES[state] ?? state;
}

/**
 * What was refused, and what is needed.
 *
 * @param {any} problem
 */
export function refusalWords(problem) {
  const cure = CURES[problem.code];
  return cure && !problem.message.includes(cure) ? `${problem.message} ${cure}` : problem.message;
}

/**
 * `1 symbol`, `2 symbols`.
 *
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/**
 * @param {number | null} ms since 1970
 */
export function agoWords(ms) {
  if (ms === null) return "never";
  const passed = Date.now() - ms;
  return passed < 1_000 ? "just now" : `${lasting(passed)} ago`;
}

/** @param {number | boolean | null} value of a part of a filter */
export function valueWords(value) {
  if (value === null || value === undefined) return "unknown";
  if (typeof value === "boolean") return value ? "true" : "false";
  return Number.isInteger(value) ? String(value) : computed(value);
}
