// @ts-check
/** Klines and lines as the chart library takes them. */

/** @typedef {import("./kline-chart.js").Row} Row */
/** @typedef {import("./kline-chart.js").Line} Line */

/** @param {Row | {t: number}} place */
export function bar(place) {
  const time = place.t / 1000;
  if (!("o" in place)) return { time };
  return { time, open: +place.o, high: +place.h, low: +place.l, close: +place.c };
}

/** @param {Line} line */
export function points(line) {
  return line.times.map((time, index) => {
    const value = line.values[index];
    return value === null || value === undefined
      ? { time: time / 1000 }
      : { time: time / 1000, value: Number(value) };
  });
}

/** Digits of the largest value of a line with an axis of its own, and the most decimals. */
const DIGITS = 4;
const DECIMALS_MAX = 12;

/**
 * How an axis writes values: two decimals, as the library does, say nothing of 0.00001.
 *
 * @param {Array<number | boolean | null>} values
 */
export function formatOf(values) {
  const most = values.reduce((/** @type {number} */ top, one) => Math.max(top, Math.abs(+(one ?? 0))), 0);
  const whole = Math.floor(Math.log10(most || 1)) + 1;
  const precision = Math.min(DECIMALS_MAX, Math.max(0, DIGITS - whole));
  return { type: "price", precision, minMove: 10 ** -precision };
}

/** What makes a line another one. @param {Line} line */
export function shape({ name, pane, color, kind }) {
  return JSON.stringify([name, pane, color, kind]);
}
