// @ts-check
/** The lines of a chart: expressions, where each is drawn, and what they are at each kline. */

import { api } from "./api.js";

/** @typedef {import("./kline-chart.js").Line} Line */

/**
 * @typedef {object} Drawn
 * @property {string} text the expression
 * @property {boolean} [apart] in a pane of its own; not set: as its values suggest
 */

/**
 * @typedef {object} Found what a line is
 * @property {number[]} times
 * @property {any[]} values in step with `times`
 * @property {string} kind
 * @property {string} [normal] the expression in its normal form
 * @property {any} [error] why there are no values
 */

/** Lines of a chart: one request draws as many. */
export const LINES_MAX = 8;

/** Names whose values are prices, as long as nothing else is in the expression. */
const PRICES = new Set(
  ("open high low close hl2 hlc3 ohlc4 sma ema rma wma hma dema tema t3 kama linreg bb keltner " +
    "donchian supertrend sar heikin_ashi ichimoku vwap highest lowest pivot_high pivot_low " +
    "volume_nodes upper middle lower line conversion base span_a span_b above below closest nearby")
    .split(" "),
);
/** Outputs that are drawn only when they are asked for by name. */
const SELDOM = new Set(["bb.width", "supertrend.trend", "aroon.oscillator"]);

/**
 * The expressions meant by a text: an indicator with several outputs is all of them.
 *
 * @param {string} text
 * @param {any[]} words of the vocabulary
 */
export function expand(text, words) {
  const [, name] = /^\s*([a-z_0-9]+)\s*(?:\([^()]*\))?\s*$/.exec(text) ?? [];
  const word = words.find((one) => one.name === name && one.kind === "indicator");
  if (!word?.outputs.length) return [text.trim()];
  return word.outputs
    .filter((/** @type {string} */ output) => !SELDOM.has(`${name}.${output}`))
    .map((/** @type {string} */ output) => `${text.trim()}.${output}`);
}

/**
 * The indicators of a filter.
 *
 * @param {Array<{text: string, kind: string}>} parts of it, in their normal form
 */
export function indicatorsOf(parts) {
  return parts.filter(({ text, kind }) => kind === "number" && isCall(text)).map(({ text }) => text);
}

/** Whether it is one call and nothing beside it. @param {string} text */
function isCall(text) {
  const name = /^[a-z_0-9]+(?=\()/.exec(text)?.[0];
  if (!name) return false;
  let [at, depth] = [name.length, 0];
  do {
    depth += text[at] === "(" ? 1 : text[at] === ")" ? -1 : 0;
    at += 1;
  } while (depth && at < text.length);
  return /^(\.[a-z_]+)?( @ "\w+")?$/.test(text.slice(at));
}

/** How a word is written without its output: what completion offers. @param {any} word */
export function written(word) {
  return word.outputs.length ? word.signature.replace(/\.[a-z_]+$/, "") : word.signature;
}

/**
 * Asks for the values of expressions; those that fail have an error in place of values.
 *
 * @param {{symbol: string, interval: string, market: string, capacity: number}} series
 * @param {string[]} texts
 * @param {AbortSignal} signal
 * @returns {Promise<Found[]>}
 */
export async function readLines({ symbol, interval, market, capacity }, texts, signal) {
  const path = `/v1/indicators/${symbol}/${interval}`;
  const ask = async (/** @type {string[]} */ expr) => {
    const query = { expr, market, limit: Math.min(500, capacity) };
    const { open_time_ms: times, expressions } = await api.get(path, query, signal);
    return expressions.map((/** @type {any} */ one) => ({ times, ...one }));
  };
  if (!texts.length) return [];
  try {
    return await ask(texts);
  } catch (error) {
    if (signal.aborted || /** @type {any} */ (error).status !== 400) throw error;
    if (texts.length === 1) return [{ times: [], values: [], kind: "number", error }];
  }
  // One of them is wrong: which one?
  const found = [];
  for (const text of texts) {
    found.push(
      await ask([text]).then(
        ([one]) => one,
        (error) => ({ times: [], values: [], kind: "number", error }),
      ),
    );
  }
  return found;
}

/**
 * Whether values are on the scale of prices: every name is one of a price, and so are they.
 *
 * @param {string} text
 * @param {string} kind
 * @param {any[]} values
 * @param {{low: number, high: number}} range of the klines
 */
function isPrice(text, kind, values, { low, high }) {
  if (kind !== "number" || SELDOM.has(text.replace(/\(.*\)/, ""))) return false;
  const names = text.toLowerCase().match(/[a-z_][a-z_0-9]*/g) ?? [];
  if (!names.length || !names.every((name) => PRICES.has(name))) return false;
  return values.every((value) => value === null || (value > low / 3 && value < high * 3));
}

/**
 * Lines with their panes: outputs of the same call share one.
 *
 * @param {Drawn[]} drawn
 * @param {any[]} found in step with `drawn`
 * @param {{low: number, high: number}} range
 * @returns {Line[]}
 */
export function arrange(drawn, found, range) {
  /** @type {string[]} */
  const panes = [];
  return drawn.map(({ text, apart }, index) => {
    const { times, values, kind } = found[index];
    const own = apart ?? !isPrice(text, kind, values, range);
    const call = text.replace(/(\))\.[a-z_]+$/, "$1");
    if (own && !panes.includes(call)) panes.push(call);
    const bars = kind !== "number" || /\.hist$/.test(text);
    return {
      name: text, times, values,
      pane: own ? panes.indexOf(call) + 1 : 0,
      kind: bars ? "histogram" : "line",
    };
  });
}
