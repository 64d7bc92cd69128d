"""The dashboard as files for a static host, which serves them from another origin."""

from __future__ import annotations

import json
from pathlib import Path

from server.errors import SettingsError
from server.web.site import PAGE_HEADERS, Site

__all__ = ["write_site"]

#: Names what an export has written: only that is ever replaced or removed.
_LIST = ".klineserver-export.json"
_CACHED = "public, max-age=31536000, immutable"


def write_site(site: Site, folder: Path, *, force: bool = False) -> list[str]:
    """Write the page, its files and what hosts read of headers; the names of all of them.

    A folder with something in it must be an earlier export, unless ``force``; what that one wrote
    and this one does not is removed. The page comes last: it never names a file that is not there.

    Raises SettingsError: the folder holds something else, or cannot be written.
    """
    files = {path: asset.body for path, asset in site.assets.items()}
    files["_headers"] = _headers(site).encode()
    files["vercel.json"] = _vercel(site).encode()
    files["index.html"] = site.page.body
    try:
        before = _written_before(folder, force)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LIST).write_text(json.dumps(sorted({*before, *files})))
        for name, body in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        for name in before - files.keys():
            _remove(folder, name)
        (folder / _LIST).write_text(json.dumps(sorted(files)))
    except OSError as error:
        raise SettingsError(f"cannot write {folder}: {error.strerror}") from None
    return list(files)


def _written_before(folder: Path, force: bool) -> set[str]:
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder")
    try:
        names = json.loads((folder / _LIST).read_text())
        return {name for name in names if _is_below(folder, name)}
    except FileNotFoundError:
        if any(folder.iterdir()) and not force:
            raise SettingsError(
                f"{folder} holds files that no export has written; --force writes among them"
            ) from None
        return set()
    except (ValueError, TypeError):
        raise SettingsError(f"{folder / _LIST} is not what an export writes") from None


def _is_below(folder: Path, name: object) -> bool:
    """True of names that stay within the folder, whatever the list says."""
    if not isinstance(name, str):
        return False
    whole = folder.resolve()
    return whole in (whole / name).resolve().parents


def _remove(folder: Path, name: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    parent = path.parent
    while parent != folder and parent.is_dir() and not any(parent.iterdir()):
        parent.rmdir()
        parent = parent.parent


def _page_headers(site: Site) -> dict[str, str]:
    return {
        "content-security-policy": site.policy,
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
        **PAGE_HEADERS,
    }


def _headers(site: Site) -> str:
    """As Netlify and Cloudflare Pages read it; of one header given twice both are sent, so that
    the page's freshness is said of the page alone."""
    everywhere = {n: v for n, v in _page_headers(site).items() if n != "cache-control"}
    lines = ["/*", *(f"  {name}: {value}" for name, value in everywhere.items())]
    for path in ("/", "/index.html"):
        lines += [path, "  cache-control: no-cache"]
    lines += ["/assets/*", f"  cache-control: {_CACHED}"]
    return "\n".join(lines) + "\n"


def _vercel(site: Site) -> str:
    """As Vercel reads it."""

    def rule(source: str, headers: dict[str, str]) -> dict[str, object]:
        pairs = [{"key": name, "value": value} for name, value in headers.items()]
        return {"source": source, "headers": pairs}

    rules = [rule("/(.*)", _page_headers(site)), rule("/assets/(.*)", {"cache-control": _CACHED})]
    return json.dumps({"headers": rules}, indent=1) + "\n"
