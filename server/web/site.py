"""The dashboard's files, ready to be served or written to a folder."""

from __future__ import annotations

import hashlib
import html
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from klinecore.charting import chart_library
from klinecore.errors import ChartLibraryError
from server.errors import SettingsError
from server.process import program_version
from server.settings import Settings

__all__ = [
    "CONTENT_TYPES",
    "PAGE_HEADERS",
    "Asset",
    "Project",
    "Site",
    "check_origin",
    "find_chart",
    "make_project",
    "open_site",
]

log = logging.getLogger(__name__)

#: What the files are, by the end of their names; nothing else is part of the site.
CONTENT_TYPES: Mapping[str, bytes] = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".svg": b"image/svg+xml",
}
#: What every answer that is a page says, beside its policy.
PAGE_HEADERS: Mapping[str, str] = {
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

#: An origin as it may stand in a policy: no quote, semicolon or space could get in.
_ORIGIN = re.compile(r"https?://([A-Za-z0-9.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_KEY = re.compile(r"[A-Za-z0-9._-]{1,2048}")

_OWN = Path(__file__).parent / "static"
_INDEX = "index.html"
_PLACE = re.compile(r"\{([a-z-]+)\}")
_CHARSET = '<meta charset="utf-8">'


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the site."""

    body: bytes
    content_type: bytes


class Project(NamedTuple):
    """A Supabase project whose users may sign in on the page."""

    url: str  # an origin
    publishable_key: str  # public


def check_origin(url: str, what: str) -> str:
    """``url`` without a slash at its end. Raises SettingsError: it is no origin; names ``what``."""
    origin = url.removesuffix("/")
    if _ORIGIN.fullmatch(origin) is None:
        raise SettingsError(f"{what} must be an origin such as https://host:443, not {url[:80]!r}")
    return origin


def make_project(url: str | None, key: str | None) -> Project | None:
    """The project of that URL and public key; None: not both are named.

    Raises SettingsError: what is named is none.
    """
    if url is None or key is None:
        return None
    if _KEY.fullmatch(key) is None:
        raise SettingsError("supabase_publishable_key is no key")
    return Project(check_origin(url, "supabase_url"), key)


class Site:
    """The page and the files it loads. They are read once; nothing is loaded from elsewhere.

    All of them but the page stand below a folder that is named by their content, so that browsers
    may keep them for ever, and a new version is seen at once.
    """

    def __init__(
        self,
        *,
        chart: tuple[str, bytes] | None = None,
        server: str = "",
        project: Project | None = None,
        bare: bool = False,
    ) -> None:
        """``chart`` is the chart library: its file name and content; without it the page says so.
        ``server`` is the origin of the server the page asks; empty: the one it comes from.
        ``project``: whose users may sign in. ``bare``: the page carries its policy itself, for
        hosts that send no headers."""
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
        sources = [_origins(server)] if project is None else [_origins(server), project.url]
        # What the page may do: everything is its own; styles in elements are the chart's.
        policy = (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            f"connect-src {' '.join(sources)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
        #: What the page may do, and that no other may frame it, which only a header can say.
        self.policy = "; ".join((*policy, "frame-ancestors 'none'"))
        folder = f"assets/{self.build}"
        values = {
            "assets": folder,
            "chart": f"{folder}/{chart[0]}" if chart else "",
            "server": server,
            "version": program_version(),
            "supabase": "" if project is None else project.url,
            "supabase-key": "" if project is None else project.publishable_key,
        }
        page = _PLACE.sub(lambda place: html.escape(values[place[1]]), page)
        if bare:
            said = html.escape("; ".join(policy))
            tag = f'<meta http-equiv="Content-Security-Policy" content="{said}">'
            page = page.replace(_CHARSET, f"{_CHARSET}\n{tag}", 1)
        #: The page.
        self.page = Asset(page.encode(), CONTENT_TYPES[".html"])


def open_site(settings: Settings) -> Site:
    """The site of a server. Raises SettingsError: the Supabase project named is none."""
    project = make_project(settings.supabase_url, settings.supabase_publishable_key)
    return Site(chart=find_chart(settings.chart_js), project=project)


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
