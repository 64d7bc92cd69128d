// @ts-check
/** What this is, whose work is in it, and where more is written. */

import { api, setting } from "./api.js";
import { h } from "./dom.js";
import { Page } from "./page.js";

class AboutPage extends Page {
  show() {
    const chart = setting("chart");
    this.replaceChildren(
      h(
        "article",
        { class: "text" },
        h("h1", null, "About"),
        h("p", null, "klineserver keeps the newest klines of every symbol in memory and serves",
          " them, exactly as the exchange sent them."),
        h(
          "dl",
          { class: "facts" },
          fact("Version of this page", setting("version")),
          fact("Asks", api.base),
          fact("Licence", "Apache License, Version 2.0"),
        ),
        h("p", null, h("a", { href: api.base + "/docs" }, "Every address of the server"), ", ",
          h("a", { href: api.base + "/openapi.json" }, "their description (OpenAPI)")),
        h("h2", null, "Third parties"),
        h("p", null, "Charts are drawn by TradingView Lightweight Charts™, which comes under the",
          " Apache License, Version 2.0. Its notice:"),
        h("blockquote", null, "TradingView Lightweight Charts™", h("br", null),
          "Copyright (c) 2025 TradingView, Inc. ",
          h("a", { href: "https://www.tradingview.com/", rel: "noopener", target: "_blank" },
            "https://www.tradingview.com/")),
        !chart && h("p", { class: "empty" }, "This server has no chart library installed."),
        h("h2", null, "Your key"),
        h("p", null, "Your key or session is kept in this tab until it is closed, or on this",
          " device if you chose so; a password is not kept at all. A key is sent in headers, to",
          " the server above alone, and never stands in an address."),
      ),
    );
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
function fact(name, value) {
  return [h("dt", null, name), h("dd", null, value)];
}

customElements.define("page-about", AboutPage);
