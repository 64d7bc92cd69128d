// @ts-check
/** What the filter language offers at a place of a text; the server tells which names there are. */

import { api } from "./api.js";

/** Names offered at once: more are found by typing on. */
const OFFERED_MAX = 60;

/**
 * @typedef {object} Option something to write
 * @property {string} text
 * @property {string} label
 * @property {string} meaning
 * @property {[number, number]} chosen what of `text` is selected afterwards
 */

/**
 * @typedef {object} Offer what may stand between `from` and the place
 * @property {number} from
 * @property {Option[]} options
 */

/** The language of `GET /v1/filters/vocabulary`. */
export class Language {
  /** @param {any} vocabulary */
  constructor(vocabulary) {
    /** @type {any[]} filters that are ready to use */
    this.ready = vocabulary.ready;
    this._intervals = vocabulary.intervals;
    this._signs = vocabulary.signs;
    /** @type {Map<string, any>} */
    this._words = new Map(vocabulary.words.map((/** @type {any} */ word) => [word.name, word]));
  }

  /**
   * What may be written at `at`; without a beginning only if it is `wanted`.
   *
   * @param {string} text
   * @param {number} at
   * @param {boolean} wanted
   * @returns {Offer}
   */
  offer(text, at, wanted) {
    const before = text.slice(0, at);
    const interval = /@\s*"(\w*)$/.exec(before);
    if (interval) return this._quoted(interval[1], at, this._intervals, "interval");
    const quoted = /"(\w*)$/.exec(before);
    if (quoted && before.split('"').length % 2 === 0) {
      const parameters = this.callAt(before)?.word.parameters ?? [];
      const choices = parameters.flatMap((/** @type {any} */ one) => one.choices);
      return this._quoted(quoted[1], at, choices, "choice");
    }
    const output = /\.([a-z_]*)$/.exec(before);
    if (output) return this._outputs(before.slice(0, output.index), output[1], at);
    const begun = /(?<![\w.])[A-Za-z_]\w*$/.exec(before)?.[0] ?? "";
    if (!begun && !wanted) return { from: at, options: [] };
    return { from: at - begun.length, options: this._names(begun, text[at] === "(") };
  }

  /**
   * @param {string} begun
   * @param {number} at
   * @param {string[]} texts
   * @param {string} meaning
   */
  _quoted(begun, at, texts, meaning) {
    const options = texts
      .filter((text) => text.startsWith(begun))
      .map((text) => ({
        text: `${text}"`,
        label: text,
        meaning,
        chosen: end(`${text}"`),
      }));
    return { from: at - begun.length, options };
  }

  /**
   * Outputs of what `before` ends with.
   *
   * @param {string} before
   * @param {string} begun
   * @param {number} at
   */
  _outputs(before, begun, at) {
    const call = before.endsWith(")") ? before.slice(0, opening(before)) : before;
    const name = /[A-Za-z_]\w*$/.exec(call)?.[0] ?? "";
    const from = at - begun.length;
    const outputs =
      name === "ticker"
        ? [...this._words.keys()]
            .filter((one) => one.startsWith("ticker."))
            .map((one) => one.slice(7))
        : (this._words.get(name)?.outputs ?? []);
    const options = outputs
      .filter((/** @type {string} */ one) => one.startsWith(begun) && one !== begun)
      .map((/** @type {string} */ one) => {
        const meaning = this._words.get(`${name}.${one}`)?.meaning ?? `output of ${name}`;
        return { text: one, label: `.${one}`, meaning, chosen: end(one) };
      });
    return { from, options };
  }

  /**
   * @param {string} begun
   * @param {boolean} called brackets follow already
   */
  _names(begun, called) {
    const low = begun.toLowerCase();
    const told = new RegExp(`(^|[\\W_])${low}`, "i"); // a word of the name, or of what it means
    const first = [];
    const others = [];
    for (const word of this._words.values()) {
      const option = wordOption(word, called);
      if (word.name.startsWith(low)) first.push(option);
      else if (low.length > 2 && told.test(`${word.name} ${word.meaning}`)) others.push(option);
    }
    for (const name of ["and", "or", "not"]) {
      const option = { text: name, label: name, meaning: this._signs[name], chosen: end(name) };
      if (low && name.startsWith(low)) first.push(option);
    }
    const options = [...first, ...others].slice(0, OFFERED_MAX);
    return options.length === 1 && options[0].text === begun ? [] : options;
  }

  /**
   * The innermost call that is open at the end of a text, and which argument is being written.
   *
   * @param {string} before
   * @returns {{ word: any, place: number } | null}
   */
  callAt(before) {
    const open = [];
    let name = "";
    for (const [token] of before.matchAll(/"[^"]*"?|[A-Za-z_]\w*|[^\s]/g)) {
      if (token === "(") open.push({ name, place: 0 });
      else if (token === ")") open.pop();
      else if (token === "," && open.length) open[open.length - 1].place += 1;
      name = /^[A-Za-z_]/.test(token) ? token : "";
    }
    for (const { name: called, place } of open.reverse()) {
      const word = this._words.get(called);
      if (word) return { word, place };
    }
    return null;
  }

  /**
   * A part of a filter in words; empty for what is said by its signs.
   *
   * @param {string} part in its normal form
   */
  meaning(part) {
    const name = /^[a-z_]\w*(\.(?!\d)\w+)?/.exec(part)?.[0] ?? "";
    const word = this._words.get(name) ?? this._words.get(name.split(".")[0]);
    if (!word) return "";
    let rest = part.slice(word.name.length);
    if (rest.startsWith("(")) rest = rest.slice(closing(rest) + 1);
    const told = /^(?:\.(\w+))?(?:\[(\d+)\])?(?: @ "(\w+)")?$/.exec(rest);
    if (!told) return "";
    const [, output, ago, interval] = told;
    return [
      word.meaning,
      output && `its ${output}`,
      ago && `${ago} klines ago`,
      interval && `on ${interval} klines`,
    ]
      .filter(Boolean)
      .join(", ");
  }
}

/**
 * How a name is called, with what stands behind it if nothing is given.
 *
 * @param {any} word
 */
export function calling(word) {
  const series =
    word.kind === "indicator" && word.inputs.length > 1 && word.parameters.length
      ? word.inputs.filter((/** @type {string} */ name) => name === "first" || name === "second")
      : word.inputs.map((/** @type {string} */ name) =>
          name === "source" ? "source = close" : name,
        );
  const numbers = word.parameters.map((/** @type {any} */ one) =>
    one.default === null ? one.name : `${one.name} = ${JSON.stringify(one.default)}`,
  );
  return `${word.name}(${[...series, ...numbers].join(", ")})`;
}

/**
 * @param {any} word
 * @param {boolean} called
 * @returns {Option}
 */
function wordOption(word, called) {
  const text = called ? word.name : word.signature;
  const open = text.indexOf("(");
  const close = text.indexOf(")");
  /** @type {[number, number]} */
  const chosen = open >= 0 && close > open + 1 ? [open + 1, close] : end(text);
  return { text, label: word.signature, meaning: word.meaning, chosen };
}

/**
 * @param {string} text
 * @returns {[number, number]}
 */
function end(text) {
  return [text.length, text.length];
}

/**
 * Where the bracket opens that the last character closes.
 *
 * @param {string} text
 */
function opening(text) {
  let depth = 0;
  for (let at = text.length - 1; at >= 0; at -= 1) {
    if (text[at] === ")") depth += 1;
    if (text[at] === "(" && --depth === 0) return at;
  }
  return 0;
}

/**
 * Where the bracket closes that the first character opens.
 *
 * @param {string} text
 */
function closing(text) {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === "(") depth += 1;
    if (text[at] === ")" && --depth === 0) return at;
  }
  return text.length;
}

/** @type {Promise<Language> | null} */
let known = null;

/** The server's language; asked for once. */
export function language() {
  known ??= api.get("/v1/filters/vocabulary").then((answer) => new Language(answer));
  known.catch(() => (known = null));
  return known;
}
