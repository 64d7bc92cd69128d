"""The dashboard over HTTP: its page at ``/``, its files below ``/assets``."""

from __future__ import annotations

import gzip
from functools import lru_cache

from server.api.problems import ApiError
from server.api.router import Access, Request, Route
from server.api.types import PackedResponse, Response
from server.web.site import PAGE_HEADERS, Asset, Site

__all__ = ["WebRoutes"]

#: Files whose packed form is kept, whoever serves them.
_PACKED_MAX = 64

_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")
_FRESH = (b"cache-control", b"no-cache")


class WebRoutes:
    """Handlers over one ``Site``; every answer is made once, plain and packed."""

    def __init__(self, site: Site) -> None:
        self._page = _answer(
            site.page,
            [
                _FRESH,
                (b"content-security-policy", site.policy.encode()),
                *((name.encode(), value.encode()) for name, value in PAGE_HEADERS.items()),
            ],
        )
        self._assets = {
            "/" + path: _answer(asset, [_FOR_EVER]) for path, asset in site.assets.items()
        }
        self.table = (
            Route("/", self._index, "The dashboard", Access.OPEN, "text/html"),
            Route(
                "/assets/{build}/{file}",
                self._asset,
                "The dashboard's files",
                Access.OPEN,
                "text/javascript",
                (),
                (404,),
            ),
        )

    def _index(self, request: Request) -> Response:
        return self._page

    def _asset(self, request: Request) -> Response:
        try:
            return self._assets["/assets/" + "/".join(request.segments)]
        except KeyError:
            raise ApiError(
                404, "unknown_file", "No such file: load the page anew, it names its files."
            ) from None


def _answer(asset: Asset, headers: list[tuple[bytes, bytes]]) -> PackedResponse:
    return PackedResponse(
        asset.body,
        _packed(asset.body),
        content_type=asset.content_type,
        headers=headers,
    )


@lru_cache(_PACKED_MAX)
def _packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)
