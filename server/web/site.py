"""The dashboard's files, ready to be served or written to a folder."""

from __future__ import annotations

import hashlib
import html
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from klinecore.charting import chart_library
from klinecore.errors import ChartLibraryError

__all__ = ["CONTENT_TYPES", "Asset", "Site", "find_chart"]

log = logging.getLogger(__name__)

#: What the files are, by the end of their names; nothing else is part of the site.
CONTENT_TYPES: Mapping[str, bytes] = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".svg": b"image/svg+xml",
}
_OWN = Path(__file__).parent / "static"
_INDEX = "index.html"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the site."""

    body: bytes
    content_type: bytes


class Site:
    """The page and the files it loads. They are read once; nothing is loaded from elsewhere.

    All of them but the page stand below a folder that is named by their content, so that browsers
    may keep them for ever, and a new version is seen at once.
    """

    def __init__(self, *, chart: tuple[str, bytes] | None = None, server: str = "") -> None:
        """``chart`` is the chart library: its file name and content; without it the page says so.
        ``server`` is the address the page asks; empty: the one it comes from."""
        files = {
            path.name: path.read_bytes()
            for path in sorted(_OWN.iterdir())
            if path.suffix in CONTENT_TYPES
        }
        page = files.pop(_INDEX).decode()
        if chart is not None:
            files[chart[0]] = chart[1]
        #: Of all files: 12 hexadecimal digits.
        self.build = _digest(files)
        #: By their path below the page's own.
        self.assets = {
            f"assets/{self.build}/{name}": Asset(body, CONTENT_TYPES[Path(name).suffix])
            for name, body in files.items()
        }
        folder = f"assets/{self.build}"
        for name, value in {
            "assets": folder,
            "chart": f"{folder}/{chart[0]}" if chart else "",
            "server": server,
        }.items():
            page = page.replace("{" + name + "}", html.escape(value))
        #: The page.
        self.page = Asset(page.encode(), CONTENT_TYPES[".html"])
        #: What the page may do: everything is its own; styles in elements are the chart's.
        self.policy = "; ".join(
            (
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self' 'unsafe-inline'",
                "img-src 'self' data:",
                f"connect-src {_origins(server)}",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )


def find_chart(path: str | None = None) -> tuple[str, bytes] | None:
    """The chart library's name and content, of the file at ``path`` or the installed package.

    None if there is none that can be used; the log says why, and the page that there are no charts.
    """
    try:
        library = chart_library(path)
    except ChartLibraryError as error:
        log.warning("no charts on the dashboard: %s", error)
        return None
    return f"lightweight-charts.{library.sha256[:8]}.js", library.data


def _digest(files: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, body in files.items():
        whole.update(f"{name}\0{len(body)}\0".encode() + body)
    return whole.hexdigest()[:12]


def _origins(server: str) -> str:
    """Sources for requests and sockets."""
    if not server:
        return "'self'"
    return f"'self' {server} {server.replace('http', 'ws', 1)}"
