// @ts-check
/** What the chart says in words: the kline under the cross-hair, and the lines there. */

import { h, say } from "./dom.js";
import { computed, moment, percent, price, short } from "./format.js";

/** @typedef {import("./kline-chart.js").Row} Row */
/** @typedef {import("./kline-chart.js").Line} Line */

const PARTS = /** @type {const} */ ([["O", "o"], ["H", "h"], ["L", "l"], ["C", "c"]]);

/** An element, and the functions that fill it: nodes are made once, texts change. */
export function legendOf() {
  const when = h("span", { class: "when" });
  const prices = PARTS.map(([name]) => h("span", null, `${name} `, h("b", null)));
  const change = h("span", null);
  const volume = h("span", null, "Vol ", h("b", null));
  const about = h("span", { class: "about" });
  const lines = h("div", { class: "lines" });
  const since = h("div", { class: "since" });
  const first = h("div", null, when, prices, change, volume, about);
  const element = h("div", { class: "legend" }, first, lines, since);

  /**
   * @param {number | undefined} time
   * @param {Row | undefined} row
   * @param {Line[]} drawn
   * @param {string[]} notes
   */
  function tell(time, row, drawn, notes) {
    element.hidden = time === undefined;
    if (time === undefined) return;
    say(when, `${moment(time)} UTC`);
    PARTS.forEach(([, key], index) => say(prices[index].lastChild, row ? price(row[key]) : "–"));
    const moved = row ? (+row.c / +row.o - 1) * 100 : 0;
    say(change, row ? percent(moved) : "");
    change.className = moved < 0 ? "down" : "up";
    say(volume.lastChild, row ? short(row.v) : "–");
    const state = row ? (row.x ? "" : "forming") : "no kline";
    say(about, [state, ...notes].filter(Boolean).join(" · "));
    if (lines.childElementCount !== drawn.length) {
      lines.replaceChildren(...drawn.map(() => h("span", null, h("i", null), " ", h("b", null))));
    }
    drawn.forEach((line, index) => {
      const item = lines.children[index];
      const [name, , value] = item.childNodes;
      say(name, line.name);
      if (line.color) name.style.color = line.color;
      say(value, text(line, time));
    });
  }

  /** @param {number} time from which lines are known; 0: nothing is seen of what was before */
  function tellSince(time) {
    say(since, time ? `Lines begin at ${moment(time)} UTC; older klines have none.` : "");
  }
  return { element, tell, tellSince };
}

/** @param {Line} line @param {number} time */
function text(line, time) {
  let index = line.times.length - 1;
  while (index >= 0 && line.times[index] > time) index -= 1;
  // Lines are known at closes: the forming kline shows the newest.
  if (index < 0 || (line.times[index] < time && index < line.times.length - 1)) return "–";
  const value = line.values[index];
  if (value === null || value === undefined) return "–";
  return typeof value === "boolean" ? String(value) : computed(value);
}
