"""The page at ``/docs``: names every address of the server, with nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape

from server.api.router import Access, Route

__all__ = ["CONTENT_SECURITY_POLICY", "front_page"]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}"
    "td{padding:.15rem 1rem .15rem 0;vertical-align:top}code{font-size:.95em}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: Nothing may be loaded, run or framed; only this page's own style, by its hash.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
).encode()

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>klineserver</title>
<meta name="viewport" content="width=device-width"><style>{style}</style></head>
<body><h1>klineserver</h1>
<p>The newest klines of every symbol, exactly as the exchange sent them.</p>
<table>{rows}</table>
<p>Routes marked * need the API key, if the server has one: header <code>X-API-Key</code> or
<code>Authorization: Bearer</code>.</p>
</body></html>
"""


def front_page(table: Iterable[Route]) -> bytes:
    """The HTML, from the route table."""
    rows = []
    for route in table:
        path = escape(route.path)
        link = f"<code>{'' if route.method == 'GET' else route.method + ' '}{path}</code>"
        if "{" not in path and path != "/ws" and route.method == "GET":
            link = f'<a href="{path}">{link}</a>'
        mark = "" if route.access is Access.OPEN else " *"
        rows.append(f"<tr><td>{link}{mark}</td><td>{escape(route.summary)}</td></tr>")
    return _PAGE.format(style=_STYLE, rows="".join(rows)).encode()
