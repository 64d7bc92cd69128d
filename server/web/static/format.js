// @ts-check
/** Numbers and times as people read them. Prices stay the exchange's own text. */

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
const plain = new Intl.NumberFormat("en", { useGrouping: false, maximumSignificantDigits: 8 });
const TIME = new Intl.DateTimeFormat("en-GB", {
  month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", timeZone: "UTC",
});
const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC",
});

/**
 * The exchange's text without zeros that say nothing: `0.10380000` is `0.1038`.
 *
 * @param {string} text
 */
export function price(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Decimals that say something: `0.10380000` has 4. @param {string} text */
export function decimals(text) {
  return (price(text).split(".")[1] ?? "").length;
}

/**
 * Prices of one symbol, to stand below each other: with as many decimals as the finest has.
 *
 * @param {string[]} texts
 * @param {number} [least] decimals that a finer one had before
 */
export function prices(texts, least = 0) {
  const most = Math.max(least, ...texts.map(decimals));
  return texts.map((text) => {
    const short = price(text);
    const lacking = most - decimals(text);
    return short + (lacking && !short.includes(".") ? "." : "") + "0".repeat(lacking);
  });
}

/**
 * A computed number, in full: `0.00000012`, not `1.2e-7`.
 *
 * @param {number} number
 */
export function computed(number) {
  return plain.format(number);
}

/** @param {string | number} value */
export function short(value) {
  return compact.format(Number(value));
}

/**
 * A change in percent, with its sign.
 *
 * @param {string | number} value
 */
export function percent(value) {
  const text = Number(value).toFixed(2);
  if (Number(text) === 0) return "0.00 %";
  return `${Number(text) > 0 ? "+" : ""}${text} %`;
}

/** @param {number} ms milliseconds since 1970, shown as UTC */
export function moment(ms) {
  return TIME.format(ms);
}

/** @param {number} ms */
export function clock(ms) {
  return CLOCK.format(ms);
}

/**
 * How long: `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`.
 *
 * @param {number} ms
 */
export function lasting(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 90_000) return `${Math.round(ms / 1_000)} s`;
  if (ms < 5_400_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 129_600_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1_000) return `${bytes} B`;
  const power = Math.min(3, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1_000 ** power).toPrecision(3)} ${["B", "kB", "MB", "GB"][power]}`;
}

/** A market's name for people. @param {string} market */
export function marketName(market) {
  return { spot: "Spot", um: "USD-M" }[market] ?? market;
}
