"""What is checked of every request before anybody looks at its path: size, names, origin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from server.api.problems import ApiError
from server.api.types import Headers, Receive, Scope
from server.settings import LOOPBACK_HOSTS, Settings

__all__ = ["URL_LENGTH_MAX", "Door"]

#: Characters of path and query together.
URL_LENGTH_MAX = 8192
#: Host headers remembered as good; others are looked at each time.
GOOD_HOSTS_MAX = 64

_HOST = re.compile(rb"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LOOPBACK = re.compile(r"127(?:\.[0-9]{1,3}){3}")
#: Headers that mean something here. Given twice, two readers may each believe another one.
_SINGLE = (b"host", b"origin", b"content-length", b"transfer-encoding", b"if-none-match")
#: Nothing behind such a request is read: another reader might have seen its end elsewhere.
_LAST: Headers = [(b"connection", b"close")]

_READING = b"GET, HEAD, OPTIONS"
_READING_HEADERS = b"x-api-key, authorization, x-mbx-apikey, if-none-match, last-event-id"
#: With a body; the last two are of Supabase's client.
_SENDING_HEADERS = _READING_HEADERS + b", content-type, apikey, x-client-info"
_MAX_AGE = (b"access-control-max-age", b"600")
_EXPOSED = (
    b"access-control-expose-headers",
    b"etag, retry-after, x-data-state, x-data-age-ms, x-response-time, x-user-tier, "
    b"x-ratelimit-limit, x-ratelimit-remaining, "
    b"x-ratelimit-reset, x-ratelimit-weight",
)
_VARY = (b"vary", b"origin")


class Door:
    """Limits and names that hold for every route and socket."""

    def __init__(self, settings: Settings) -> None:
        self._body_max = settings.request_body_max
        self._good_hosts: set[bytes] = set()
        self._origins = frozenset(origin.encode() for origin in settings.cors_origins)
        # Without a key, a page of any site could read us through a name of its own that it
        # points at 127.0.0.1 (DNS rebinding): only loopback's names are answered then.
        self._own_names_only = settings.host in LOOPBACK_HOSTS and not settings.asks_for_keys

    @property
    def cross_origin(self) -> bool:
        """True if pages of other sites may read answers."""
        return bool(self._origins)

    def check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a request whose URL is too long, whose headers contradict each other, or whose
        body cannot be read.

        Raises ApiError: 400, 414 or 501.
        """
        if len(scope["raw_path"]) + len(scope["query_string"]) > URL_LENGTH_MAX:
            raise ApiError(414, "url_too_long", f"At most {URL_LENGTH_MAX} characters are read.")
        listed = scope["headers"]
        if len(listed) != len(headers):
            _refuse_duplicates(listed)
        coding = headers.get(b"transfer-encoding", b"chunked")
        if coding.lower() != b"chunked":  # read as what it is not, its end might be elsewhere
            raise ApiError(
                501,
                "unknown_transfer_coding",
                "A body comes as it is, or chunked.",
                headers=_LAST,
            )
        host = headers.get(b"host", b"")
        if host in self._good_hosts:
            return
        if host or scope["http_version"] != "1":  # HTTP/1.0 has no Host
            self._check_host(host)
            if len(self._good_hosts) < GOOD_HOSTS_MAX:
                self._good_hosts.add(host)

    def _check_host(self, host: bytes) -> None:
        match = _HOST.fullmatch(host)
        if match is None:
            raise ApiError(400, "bad_host", "The Host header is missing or is no host name.")
        if self._own_names_only:
            name = match[1].decode().lower().strip("[]")
            if name not in LOOPBACK_HOSTS and not _LOOPBACK.fullmatch(name):
                raise ApiError(
                    400,
                    "bad_host",
                    "Without an API key only loopback names are answered, such as localhost. "
                    "Behind a proxy, set API_KEY.",
                )

    async def check_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> None:
        """Read and forget the body of a request that needs none. Raises ApiError: 400, 413."""
        length = headers.get(b"content-length", b"0")
        if length == b"0" and b"transfer-encoding" not in headers:
            return
        size = int(length) if length.isdigit() else 0
        more = True
        while more and size <= self._body_max:
            message = await receive()
            if message["type"] != "http.request":
                raise ApiError(400, "bad_body", "The body ended before it was whole.")
            more = message.get("more_body", False)
            if b"transfer-encoding" in headers:
                size += len(message.get("body", b""))
        if size > self._body_max:
            raise self._too_large()

    async def read_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The JSON body of a POST. Raises ApiError: 400, 413, 415.

        Its type must be told: a page of another site can then not send it without asking first.
        """
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise ApiError(
                415, "not_json", "The body must be JSON, with Content-Type: application/json."
            )
        parts: list[bytes] = []
        size = 0
        more = True
        while more and size <= self._body_max:
            message = await receive()
            if message["type"] != "http.request":
                raise ApiError(400, "bad_body", "The body ended before it was whole.")
            more = message.get("more_body", False)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if size > self._body_max:
            raise self._too_large()
        return b"".join(parts)

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            "body_too_large",
            f"At most {self._body_max} bytes of body are read.",
            headers=_LAST,
        )

    def check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a socket opened by a page of another site; programs send no Origin.

        Raises ApiError: 403. CORS does not cover WebSockets, so nothing else would refuse it.
        """
        self.check_change(headers, changes=False)

    def check_change(
        self, headers: Mapping[bytes, bytes], *, changes: bool, keyed: bool = False
    ) -> None:
        """The same for what a page may send without asking first, such as a POST without a body.

        Of other sites only pages of origins that are listed by name may send what ``changes``
        something, and only ``keyed``: with a key or token that says who asks, where such requests
        are taken. Browsers add none by themselves. Raises ApiError: 403.
        """
        origin = headers.get(b"origin")
        if origin is None:
            return
        if (origin in self._origins and keyed) if changes else self._allows(origin):
            return
        if origin.partition(b"://")[2].lower() != headers.get(b"host", b"").lower():
            raise ApiError(
                403,
                "origin_not_allowed",
                "Pages of this origin may not connect; KLINE_CORS_ORIGINS lists those that may.",
            )

    def cors(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Headers of every answer once other sites' pages may read some."""
        origin = headers.get(b"origin")
        if origin is None or not self._allows(origin):
            return [_VARY]
        return [(b"access-control-allow-origin", origin), _EXPOSED, _VARY]

    def preflight(
        self, headers: Mapping[bytes, bytes], *, posts: bool, changes: Iterable[str] = ()
    ) -> Headers:
        """What a page of another site may send, nothing if it may not: with or without a POST that
        changes nothing, and the methods of ``changes`` that are taken of it with a key."""
        origin = headers.get(b"origin")
        if origin is None or not self._allows(origin):
            return []
        sent = {"POST"} if posts else set()
        if origin in self._origins:
            sent.update(changes)
        methods = b", ".join([_READING, *(method.encode() for method in sorted(sent))])
        return [
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", _SENDING_HEADERS if sent else _READING_HEADERS),
            _MAX_AGE,
        ]

    def _allows(self, origin: bytes) -> bool:
        return origin in self._origins or b"*" in self._origins


def _refuse_duplicates(listed: Sequence[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in listed]
    for name in _SINGLE:
        if names.count(name) > 1:
            raise ApiError(
                400,
                "duplicate_header",
                f"Header {name.decode()} is given twice.",
                headers=_LAST,
            )
