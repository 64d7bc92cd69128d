// @ts-check
/** How long things took since the server started, as histograms. */

import { h } from "./dom.js";
import { lasting, short } from "./format.js";

const TITLES = {
  close: "From the end of a kline to its close told",
  signal: "From the end of a kline to its signal",
  commit: "Rows written to the store, each group",
};

class StatusLatency extends HTMLElement {
  connectedCallback() {
    this.className = "cards";
  }

  /** @param {Record<string, {bounds_s: number[], counts: number[], sum_s: number}>} latencies */
  show(latencies) {
    this.replaceChildren(...Object.entries(TITLES).flatMap(([name, title]) =>
      latencies[name] ? [histogram(title, latencies[name])] : []));
  }
}

/**
 * @param {string} title
 * @param {{bounds_s: number[], counts: number[], sum_s: number}} latency
 */
function histogram(title, latency) {
  const { bounds_s: bounds, counts, sum_s: sum } = latency;
  const total = counts.reduce((whole, count) => whole + count, 0);
  const most = Math.max(1, ...counts);
  const rows = counts.map((count, place) => {
    const label = place < bounds.length ? `≤ ${span(bounds[place])}` : `> ${span(bounds[place - 1])}`;
    return h(
      "tr",
      null,
      h("th", { scope: "row" }, label),
      h("td", null, short(count)),
      h("td", { class: "bar-cell" },
        h("div", { class: "bar-fill", style: { width: `${(count / most) * 100}%` } })),
    );
  });
  // Buckets at both ends that nothing fell into say nothing.
  const first = Math.max(0, counts.findIndex((count) => count > 0) - 1);
  const last = counts.length - [...counts].reverse().findIndex((count) => count > 0);
  const said = total ? `${short(total)} so far, ${span(sum / total)} on average, half within ` +
    `${quantile(bounds, counts, 0.5)}, 99 % within ${quantile(bounds, counts, 0.99)}` :
    "None so far.";
  return h(
    "article",
    { class: "card" },
    h("h3", null, title),
    h("p", { class: "empty" }, said),
    total > 0 && h("table", { class: "grid histogram" }, h("tbody", null, rows.slice(first, last + 1))),
  );
}

/** @param {number} seconds */
function span(seconds) {
  const ms = seconds * 1000;
  if (ms < 10) return `${Number(ms.toPrecision(2))} ms`;
  return ms >= 1000 && ms < 10_000 ? `${Number(seconds.toPrecision(2))} s` : lasting(ms);
}

/**
 * The bound below which that share lies.
 *
 * @param {number[]} bounds
 * @param {number[]} counts
 * @param {number} share
 */
function quantile(bounds, counts, share) {
  const total = counts.reduce((whole, count) => whole + count, 0);
  let sum = 0;
  for (let place = 0; place < bounds.length; place++) {
    sum += counts[place];
    if (sum >= share * total) return span(bounds[place]);
  }
  return `more than ${span(bounds[bounds.length - 1])}`;
}

customElements.define("status-latency", StatusLatency);
