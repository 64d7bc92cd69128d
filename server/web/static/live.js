// @ts-check
/** The one WebSocket of the page: streams are shared by whoever follows them. */

import { api } from "./api.js";

/** Milliseconds before the first new attempt; doubles up to the last, each with a random part. */
const AGAIN_FIRST_MS = 250;
const AGAIN_LAST_MS = 8_000;
/** Streams named in one request, below the server's limit of a message. */
const TOGETHER = 50;

/** @typedef {(message: any) => void} Follower */

/**
 * Events: `state` when `state` has changed; `joined` each time the server has taken what a new
 * socket asks for, when pages read anew what they may have missed; `refusal` of a stream.
 */
class Live extends EventTarget {
  constructor() {
    super();
    /** @type {"idle" | "connecting" | "open" | "waiting"} */
    this.state = "idle";
    /** Messages since the page began. */
    this.messages = 0;
    /** @type {Map<string, Set<Follower>>} */
    this._followers = new Map();
    /** @type {WebSocket | null} */
    this._socket = null;
    this._attempts = 0;
    this._id = 0;
    this._timer = 0;
    /** @type {Set<string>} what is to be asked for in this turn */
    this._asked = new Set();
    /** @type {Set<string>} */
    this._left = new Set();
    this._pending = false;
    /** @type {string | null} the market of streams; null: the server's first */
    this._market = null;
    /** @type {Map<number, string[]>} streams asked for, by the id of what is not answered yet */
    this._sent = new Map();
    /** Id of the last request of a new socket; 0: it has been answered. */
    this._joining = 0;
    api.addEventListener("identity", () => this._renew());
    addEventListener("online", () => this._now());
  }

  /**
   * Calls `follower` with each message of a stream such as `btcusdt@kline_1m`, `!ticker@arr`,
   * `signals`, until the function that is returned is called.
   *
   * @param {string} stream
   * @param {Follower} follower
   * @returns {() => void}
   */
  follow(stream, follower) {
    let followers = this._followers.get(stream);
    if (!followers) {
      this._followers.set(stream, (followers = new Set()));
      this._change(stream, true);
    }
    followers.add(follower);
    if (!this._socket && this.state !== "waiting") this._connect();
    return () => {
      const left = this._followers.get(stream);
      if (!left?.delete(follower) || left.size) return;
      this._followers.delete(stream);
      this._change(stream, false);
    };
  }

  /** Whose streams are followed from now on. @param {string | null} market null: the first */
  choose(market) {
    if (market === this._market) return;
    this._market = market;
    if (this._socket) this._renew();
  }

  /**
   * @param {string} stream
   * @param {boolean} wanted
   */
  _change(stream, wanted) {
    (wanted ? this._asked : this._left).add(stream);
    (wanted ? this._left : this._asked).delete(stream);
    if (this._pending) return;
    this._pending = true;
    queueMicrotask(() => {
      this._pending = false;
      if (this._socket?.readyState !== WebSocket.OPEN) return;
      this._say("UNSUBSCRIBE", [...this._left]);
      this._say("SUBSCRIBE", [...this._asked]);
      this._left.clear();
      this._asked.clear();
    });
  }

  /**
   * @param {string} method
   * @param {string[]} streams
   */
  _say(method, streams) {
    for (let from = 0; from < streams.length; from += TOGETHER) {
      const params = streams.slice(from, from + TOGETHER);
      this._socket?.send(JSON.stringify({ method, params, id: ++this._id }));
      if (method === "SUBSCRIBE") this._sent.set(this._id, params);
    }
  }

  _connect() {
    clearTimeout(this._timer);
    if (!this._followers.size) return this._tell("idle");
    const key = api.key;
    const protocols = key ? ["klinecore.v1", "klinecore.key." + written(key)] : [];
    const path = this._market ? `/ws?market=${this._market}` : "/ws";
    const socket = new WebSocket(api.base.replace(/^http/, "ws") + path, protocols);
    this._socket = socket;
    this._tell("connecting");
    socket.onopen = () => {
      if (this._socket !== socket) return;
      this._attempts = 0;
      this._asked.clear();
      this._left.clear();
      this._sent.clear();
      this._say("SUBSCRIBE", [...this._followers.keys()]);
      this._joining = this._id;
      this._tell("open");
    };
    socket.onmessage = (event) => {
      if (this._socket !== socket) return; // of another market, or of who was signed in before
      this.messages += 1;
      this._hear(JSON.parse(event.data));
    };
    socket.onclose = () => {
      if (this._socket !== socket) return;
      this._socket = null;
      if (!this._followers.size) return this._tell("idle");
      const bound = Math.min(AGAIN_LAST_MS, AGAIN_FIRST_MS * 2 ** Math.min(this._attempts++, 16));
      this._timer = setTimeout(() => this._connect(), bound * (0.5 + Math.random() / 2));
      this._tell("waiting");
      // Browsers do not say why a handshake failed: a key that is refused is noticed this way.
      api.get("/v1/me").catch(() => {});
    };
  }

  _renew() {
    const socket = this._socket;
    this._socket = null;
    socket?.close();
    this._attempts = 0;
    this._connect();
  }

  _now() {
    if (this.state === "waiting") this._connect();
  }

  /** @param {any} message */
  _hear(message) {
    if (Array.isArray(message)) {
      const first = message[0];
      if (first) this._give(first.e === "24hrTicker" ? "!ticker@arr" : "!miniTicker@arr", message);
      return;
    }
    if (message.e === "kline") {
      this._give(`${message.s.toLowerCase()}@kline_${message.k.i}`, message);
    } else if (message.e === "24hrTicker") {
      this._give(`${message.s.toLowerCase()}@ticker`, message);
    } else if (message.type === "signal") {
      this._give("signals", message.data);
      this._give(`signals@${message.data.trader_id}`, message.data);
    } else if (message.type === "matches") {
      this._give(`matches@${message.data.trader_id}`, message.data);
    } else if (message.type === "barrier") {
      this._give("!barrier", message.data);
    } else if (message.type === "symbol") {
      this._give("!symbols", message.data);
    } else if (message.id) {
      this._answered(message.id, message.error);
    } else if (message.error) {
      this._refused(message.error);
    }
  }

  /**
   * @param {number} id
   * @param {any} error none: it was done
   */
  _answered(id, error) {
    const streams = this._sent.get(id) ?? [];
    this._sent.delete(id);
    if (error) {
      this._refused(error);
      // One unknown stream, of a trader that is gone, is named and spoils the whole request.
      const others = streams.filter((stream) => !error.msg?.includes(`'${stream}'`));
      if (others.length < streams.length && others.length) {
        this._say("SUBSCRIBE", others);
        if (id === this._joining) this._joining = this._id;
        return;
      }
    }
    if (id === this._joining) {
      this._joining = 0;
      this.dispatchEvent(new Event("joined"));
    }
  }

  /** @param {any} error */
  _refused(error) {
    this.dispatchEvent(new CustomEvent("refusal", { detail: error }));
  }

  /**
   * @param {string} stream
   * @param {any} message
   */
  _give(stream, message) {
    for (const follower of this._followers.get(stream) ?? []) follower(message);
  }

  /** @param {"idle" | "connecting" | "open" | "waiting"} state */
  _tell(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}

/** A key as a subprotocol may name it: a token of HTTP, which has no brackets. @param {string} key */
function written(key) {
  return encodeURIComponent(key).replaceAll("(", "%28").replaceAll(")", "%29");
}

export const live = new Live();
