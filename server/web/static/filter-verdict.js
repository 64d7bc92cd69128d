// @ts-check
/** What the server says of a filter, to be read: where it is wrong, or what it is and needs. */

import { h } from "./dom.js";
import { counted, refusalWords } from "./trader-words.js";

/** Characters shown of a long line on each side of a fault. */
const AROUND = 28;

/**
 * @param {string} text of the filter
 * @param {any} problem
 * @param {(text: string) => void} mend takes a text where it is mended
 * @returns {Node[]}
 */
export function faultView(text, problem, mend) {
  const { line, column, hint } = problem.body;
  const said = h("p", { class: "error" }, refusalWords(problem), hint ? ` ${sentence(hint)}` : "");
  if (!line || !column) return [said];
  // The server counts characters, a text of JavaScript counts UTF-16 units.
  const lines = text.split("\n");
  const letters = [...(lines[line - 1] ?? "")];
  const start = Math.max(0, column - 1 - AROUND);
  const head = start ? "…" : "";
  const shown = letters.slice(start, column - 1 + AROUND).join("");
  const tail = letters.length > column - 1 + AROUND ? "…" : "";
  const before =
    head +
    letters
      .slice(start, column - 1)
      .join("")
      .replace(/[^\t]/g, " ");
  const number = lines.length > 1 ? `line ${line}, ` : "";
  const place = h(
    "pre",
    { class: "place" },
    `${head}${shown}${tail}\n${before.replace("…", " ")}^`,
  );
  place.setAttribute("aria-label", `${number}column ${column}`);
  const [, better] = /^did you mean (\w+)\?$/.exec(hint ?? "") ?? [];
  const views = [place, said];
  if (better) {
    views.push(
      h(
        "button",
        {
          type: "button",
          onclick: () => {
            const rest = letters
              .slice(column - 1)
              .join("")
              .replace(/^\w+/, better);
            lines[line - 1] = letters.slice(0, column - 1).join("") + rest;
            mend(lines.join("\n"));
          },
        },
        `Write ${better}`,
      ),
    );
  }
  return views;
}

/**
 * @param {any} checked
 * @param {import("./filter-words.js").Language | undefined} language
 * @param {string} own interval of the filter
 * @returns {Node[]}
 */
export function checkedView(checked, language, own) {
  const bars = Object.entries(checked.bars).map(
    ([interval, count]) =>
      `${counted(/** @type {number} */ (count), "kline")} of ${interval || own || "its interval"}`,
  );
  const notes = [`Needs ${bars.join(", ") || "no klines"}.`];
  if (checked.cross_symbols) notes.push("Compares symbols, so it waits for all of them.");
  if (checked.depends_on_first) notes.push("Remembers all klines, with weights that fade.");
  return [
    h("p", { class: "right" }, h("span", null, "✓ "), h("code", null, checked.normal)),
    ...checked.warnings.map((/** @type {string} */ text) =>
      h("p", { class: "warn" }, `${sentence(text)}.`),
    ),
    h("p", { class: "soft" }, notes.join(" ")),
    h(
      "details",
      null,
      h("summary", null, counted(checked.parts.length, "part")),
      h(
        "dl",
        { class: "parts" },
        checked.parts.map((/** @type {any} */ part) => [
          h("dt", null, h("code", null, part.text)),
          h("dd", null, language?.meaning(part.text) || part.kind),
        ]),
      ),
    ),
  ];
}

/** @param {string} text */
function sentence(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
