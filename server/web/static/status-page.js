// @ts-check
/**
 * How the server is: whether its data can be relied on, and why not. Address: `#/status`;
 * `?market=um` for the closes of the other market.
 */

import { api } from "./api.js";
import { h, say } from "./dom.js";
import { lasting, marketName, moment, short, size } from "./format.js";
import { live } from "./live.js";
import { Page, address } from "./page.js";
import "./status-barriers.js";
import "./status-latency.js";
import "./status-series.js";

/** Milliseconds between two readings. */
const EVERY_MS = 5_000;

class StatusPage extends Page {
  constructor() {
    super();
    /** @type {string | null} whose closes are shown; null: of the first */
    this._market = null;
    /** @type {string[]} of markets */
    this._names = [];
  }

  show() {
    const market = this.place.query.get("market");
    live.choose(market);
    if (this._ready) {
      if (market !== this._market) this._barriers.clear();
      this._market = market;
      this._choose(this._names);
      return;
    }
    this._market = market;
    this._choice = h("nav", { class: "choice", "aria-label": "Market of closes", hidden: true });
    this._barriers = h("status-barriers", { page: this });
    this.className = "status";
    this._note = h("p", { class: "error", role: "alert" });
    this._ready = h("p", { class: "verdict", role: "status" }, "Asking the server …");
    this._reasons = h("ul", { class: "reasons" });
    this._markets = h("div", { class: "cards" });
    this._server = h("div", { class: "cards" });
    this._latency = h("status-latency", null);
    this._series = h("status-series", { page: this });
    this.append(
      h("h1", null, "Status"), this._note, this._ready, this._reasons,
      section("Exchange", this._markets),
      section("Closes of each boundary", this._choice, this._barriers),
      section("Series", this._series),
      section("Latency", this._latency),
      section("Server", this._server),
    );
    const reading = this.keepReading(
      () => this._read(),
      (error, again) => say(this._note, `${error.message}${again}`),
    );
    const timer = setInterval(() => {
      if (!document.hidden) reading.now();
    }, EVERY_MS);
    this.atEnd(() => clearInterval(timer));
  }

  async _read() {
    const status = await api.get("/v1/status", { series: "attention" }, this.left);
    say(this._note, "");
    this._choose(Object.keys(status.markets));
    this._tellReadiness(status.readiness);
    this._markets.replaceChildren(
      ...Object.entries(status.markets).flatMap(([name, market]) =>
        marketCards(name, market, status.readiness.markets[name])),
    );
    this._server.replaceChildren(...serverCards(status));
    this._latency.show(status.latencies);
    this._series.show(status);
  }

  /** Which market's closes are shown: its stream is the one that is heard. @param {string[]} names */
  _choose(names) {
    const chosen = this._market ?? names[0];
    this._names = names;
    this._choice.hidden = names.length < 2;
    this._choice.replaceChildren(...names.map((name) =>
      h("a", {
        href: address(["status"], { market: name }),
        ...(name === chosen ? { "aria-current": "true" } : {}),
      }, marketName(name))));
  }

  /** @param {any} readiness */
  _tellReadiness(readiness) {
    const stale = Object.values(readiness.markets).some((market) => market.stale);
    this._ready.dataset.state = readiness.ready ? "on" : "off";
    say(this._ready, readiness.ready ? "Ready: the data can be relied on." :
      stale ? "Not ready: the exchange is silent." : "Not ready.");
    this._reasons.replaceChildren(...readiness.reasons.map((/** @type {string} */ text) => h("li", null, text)));
  }
}

/**
 * @param {string} title
 * @param {...Node} content
 */
function section(title, ...content) {
  return h("section", null, h("h2", null, title), content);
}

/**
 * @param {string} title
 * @param {Array<[string, any, (string | false)?]>} facts name, value, and what is wrong with it
 * @param {...any} more
 */
function card(title, facts, ...more) {
  return h(
    "article",
    { class: "card" },
    h("h3", null, title),
    h("dl", { class: "facts" }, facts.map(([name, value, wrong]) => [
      h("dt", null, name),
      h("dd", { class: wrong ? "down" : null, title: wrong || null }, String(value)),
    ])),
    more,
  );
}

/** @param {number | null} ms */
function age(ms) {
  return ms === null ? "never" : lasting(ms);
}

/**
 * @param {string} name
 * @param {any} market
 * @param {any} ready
 */
function marketCards(name, market, ready) {
  const { feed } = market;
  const { rest } = feed;
  const title = name === "um" ? "USD-M futures" : name === "spot" ? "Spot" : name;
  const counts = ready.series;
  const streams = card(
    `${title}: streams`,
    [
      ["Phase", feed.phase],
      ["Delivering", `${feed.streams_delivering} of ${feed.streams_desired}`,
        feed.streams_delivering < feed.streams_desired && "some bring nothing"],
      ["Stale", feed.streams_stale, feed.streams_stale > 0 && "not heard"],
      ["Last data", `${age(feed.last_message_age_ms)} ago`, ready.stale && "too old"],
      ["Lag", lasting(feed.lag_ms), feed.lag_ms > 3000 && "too far behind"],
      ["Blind so far", lasting(feed.blind_s * 1000)],
      ["Clock offset", lasting(Math.abs(feed.server_offset_ms))],
      ["Late closes", feed.closes_late, feed.closes_late > 0 && "overdue"],
    ],
    h("ul", { class: "connections" }, feed.connections.map(connectionLine)),
  );
  const windows = card(`${title}: series`, [
    ["Complete", `${counts.complete} of ${counts.total}`,
      counts.complete < counts.total && "some are being filled"],
    ["Next close overdue", counts.stale, counts.stale > 0 && "overdue"],
    ["Empty", counts.empty, counts.empty > 0 && "no klines"],
    ["Filled at the start", `${ready.backfill_done} of ${ready.backfill_total}`],
    ["Klines repaired", short(feed.gaps_repaired)],
    ["Absences", feed.gaps_absent],
    ["Not trading", named(ready.symbols_not_trading)],
    ["Without room", named(ready.symbols_without_room)],
    ["Unknown", named(ready.unknown_symbols)],
  ]);
  const queued = Object.entries(rest.queued).map(([priority, weight]) =>
    bar(`waiting: ${priority}`, weight, rest.allowed, "of what is allowed a minute"));
  const budget = card(
    `${title}: request weight`,
    [
      ["Used this minute", `${short(rest.used)} of ${short(rest.allowed)} allowed`],
      ["Exchange's limit", short(rest.limit)],
      ["Kept for repairs", short(rest.reserved)],
      ["Blocked by the exchange", rest.blocked_s > 0 ? lasting(rest.blocked_s * 1000) : "no",
        rest.blocked_s > 0 && "nothing is asked meanwhile"],
      ["Queue empty in", lasting(rest.served_in_s * 1000)],
    ],
    bar("used", rest.used, rest.allowed, "of what is allowed a minute"),
    queued,
  );
  return [streams, windows, budget];
}

/** @param {any} connection */
function connectionLine(connection) {
  const { id, host, state, delivering, streams, age_ms: heard, connects, reason } = connection;
  const kind = state === "live" ? "on" : state === "connecting" ? "wait" : "off";
  return h(
    "li",
    null,
    h("span", { class: "live", dataset: { state: kind } }, `#${id} ${state}`),
    ` ${host}, ${delivering} of ${streams} streams, heard ${age(heard)} ago`,
    connects > 1 && `, connected ${connects} times`,
    reason && `: ${reason}`,
  );
}

/**
 * @param {string} title
 * @param {number} value
 * @param {number} most
 * @param {string} unit
 */
function bar(title, value, most, unit) {
  const share = most ? Math.round((value / most) * 100) : 0;
  const text = `${short(value)}, ${share} % ${unit}`;
  return h(
    "label",
    { class: "measure" },
    h("span", null, title),
    h("meter", { max: most || 1, value, high: most * 0.9, title: text }, text),
    h("span", null, short(value)),
  );
}

/** @param {string[]} names */
function named(names) {
  return names.length > 6 ? `${names.slice(0, 6).join(", ")} and ${names.length - 6} more` :
    names.join(", ") || "none";
}

/** @param {any} status */
function serverCards(status) {
  const { process, hub, store, traders } = status;
  const arena = Object.values(status.markets).reduce((sum, one) => sum + one.arena_bytes, 0);
  const lost = Object.values(status.markets).reduce((sum, one) => sum + one.closes_lost, 0);
  const memory = (/** @type {number | null} */ bytes) => (bytes === null ? "unknown" : size(bytes));
  return [
    card("Process", [
      ["Version", process.version],
      ["Up for", lasting(process.uptime_s * 1000)],
      ["Since", `${moment(Date.now() - process.uptime_s * 1000)} UTC`],
      ["Loop lag", lasting(process.loop_lag_ms), process.loop_lag_ms > 250 && "too busy"],
      ["Memory (PSS)", memory(process.pss_bytes)],
      ["Memory (RSS)", memory(process.rss_bytes)],
      ["Klines in it", size(arena)],
    ]),
    card("Subscribers", [
      ["Connected", hub.subscribers],
      ["Streams", hub.subscriptions],
      ["Delivered", short(hub.delivered)],
      ["Waiting", hub.waiting],
      ["Conflated", short(hub.conflated)],
      ["Cut off, too slow", hub.overflowed],
      ["Closes lost", lost, lost > 0 && "left the window before they were told"],
    ]),
    card("Traders", [
      ["Held", traders.held],
      ["Running", traders.running],
      ["Memory of filters", `${size(traders.state_bytes)} of ${size(traders.state_bytes_max)}`],
      ["Errors so far", traders.errors],
    ]),
    store ? card("Store", [
      ["State", store.fault ?? (store.up ? "writes" : "opening"), store.fault !== null && "fails"],
      ["File", size(store.file_bytes)],
      ["Rows waiting", short(store.waiting)],
      ["For Supabase", short(store.outbox)],
    ]) : card("Store", [["State", "nothing outlasts the process"]]),
  ];
}

customElements.define("page-status", StatusPage);
