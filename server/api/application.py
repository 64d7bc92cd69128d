"""The ASGI application: one request in, one answer out, whatever happens on the way."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypeAlias

from server.api.auth import Gate
from server.api.cache import BodyCache
from server.api.door import Door
from server.api.problems import ApiError, problem_response
from server.api.router import Access, Request, Route, Router, parse_query
from server.api.routes import Routes
from server.api.state import ServerState
from server.api.stream import StreamServer
from server.api.types import Receive, Response, Scope, Send

__all__ = ["Api", "create_api"]

log = logging.getLogger(__name__)

#: Requests whose path and query are kept as read, and their length at most; when there are more,
#: all are forgotten.
PARSED_MAX = 4096
PARSED_LENGTH_MAX = 256

_Parsed: TypeAlias = tuple[Route, tuple[str, ...], Mapping[str, str] | ApiError]

_METHODS = ("GET", "HEAD")
_ALLOW = [(b"allow", b"GET, HEAD, OPTIONS")]
_NO_ROUTE = "none"  # label of requests that reached no route


def create_api(state: ServerState) -> Api:
    """The application over ``state``; ``lifespan`` events are the caller's."""
    return Api(state)


class Api:
    """Raw ASGI: finds the route, checks who asks, answers. Every error is a problem document."""

    def __init__(self, state: ServerState) -> None:
        settings = state.settings
        self._state = state
        self._gate = Gate([settings.api_key] if settings.api_key else [], state.clock)
        self._door = Door(settings)
        self._cache = BodyCache(settings.body_cache_bytes)
        self._router = Router(Routes(state, self._cache).table)
        self._parsed: dict[tuple[bytes, bytes], _Parsed] = {}
        #: The route table.
        self.routes = self._router.routes
        #: The WebSocket side.
        self.streams = StreamServer(state, self._gate, self._door)
        metrics = state.metrics
        self._requests = metrics.counter(
            "http_requests_total", "Requests, by route and status.", ["route", "code"]
        )
        self._durations = metrics.histogram(
            "http_request_duration_seconds", "From the request to its answer.", ["route"]
        )
        self._failures = metrics.counter("http_failures_total", "Answers 500: our own faults.")
        metrics.before_render(self._collect)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self.streams(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        monotonic = self._state.clock.monotonic
        started = monotonic()
        path = scope["raw_path"].decode("latin-1")
        headers = dict(scope["headers"])
        label = _NO_ROUTE
        try:
            self._door.check(scope, headers)
            found = self._parsed.get((scope["raw_path"], scope["query_string"]))
            if found is None:
                found = self._parse(path, scope["query_string"])
            route, segments, query = found
            label = route.path
            if scope["method"] in _METHODS:
                await self._door.check_body(headers, receive)
                if route.access is not Access.OPEN:
                    self._gate.check(scope["headers"], scope["client"][0])
                if isinstance(query, ApiError):
                    raise query
                answer = route.handler(Request(path, segments, query, headers))
                response = answer if isinstance(answer, Response) else await answer
                wanted = headers.get(b"if-none-match")
                if wanted is not None:
                    response = _unless_known(response, wanted)
            else:
                response = self._other_method(scope["method"], headers)
        except ApiError as error:
            response = problem_response(error, path)
        except Exception:
            response = self._failed(path)
        shown = response.headers
        if self._door.cross_origin:
            shown = [*shown, *self._door.cors(headers)]
        await send({"type": "http.response.start", "status": response.status, "headers": shown})
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})
        self._requests.inc(label, str(response.status))
        self._durations.observe(monotonic() - started, label)

    def _parse(self, path: str, raw_query: bytes) -> _Parsed:
        """Route, path parameters and query; of a query that is wrong, the error to raise.

        Clients ask the same few questions all day, so what was read once is kept.

        Raises ApiError: no such path.
        """
        found = self._router.find(path)
        if found is None:
            raise ApiError(404, "unknown_path", "No such path; / names them all.")
        route, names, segments = found
        try:
            parsed: _Parsed = (route, segments, parse_query(raw_query, names))
        except ApiError as error:
            return route, segments, error  # told only to those who may ask
        if len(path) + len(raw_query) <= PARSED_LENGTH_MAX:
            if len(self._parsed) >= PARSED_MAX:
                self._parsed.clear()
            self._parsed[path.encode("latin-1"), raw_query] = parsed
        return parsed

    def _other_method(self, method: str, headers: Mapping[bytes, bytes]) -> Response:
        """OPTIONS, also a browser's preflight, needs no key: browsers send none with it."""
        if method != "OPTIONS":
            raise ApiError(
                405,
                "method_not_allowed",
                f"{method[:20]} is not possible here.",
                allowed=["GET", "HEAD", "OPTIONS"],
                headers=_ALLOW,
            )
        return Response.bare(204, [*_ALLOW, *self._door.preflight(headers)])

    def _failed(self, path: str) -> Response:
        """The one answer that is our fault: an id for the client, the traceback for the log."""
        self._failures.inc()
        failure_id = f"{self._state.clock.time_ms():x}-{self._failures.value():.0f}"
        log.exception("request failed", extra={"fields": {"id": failure_id, "path": path[:200]}})
        error = ApiError(
            500,
            "internal_error",
            "The server failed on this request; its log tells why, under this id.",
            failure_id=failure_id,
        )
        return problem_response(error, path)

    def _collect(self) -> None:
        """Show what others count; called before each scrape."""
        gauge = self._state.metrics.gauge
        for name, text, value in (
            ("http_cache_bytes", "Bytes of cached answers.", self._cache.bytes),
            ("http_cache_hits", "Answers from the cache.", self._cache.hits),
            ("http_cache_misses", "Answers built.", self._cache.misses),
            ("http_cache_evictions", "Answers that made room.", self._cache.evictions),
            ("auth_failures", "Requests without a valid key.", self._gate.failures),
            ("auth_limited", "Requests refused after too many of those.", self._gate.limited),
            ("event_loop_lag_seconds", "Delay of the last beat.", self._state.loop_lag_s),
        ):
            gauge(name, text).set(value)


def _unless_known(response: Response, wanted: bytes) -> Response:
    """304 if the client names the answer's ETag; the comparison is the weak one."""
    etag = next((value for name, value in response.headers if name == b"etag"), None)
    if etag is None or response.status != 200:
        return response
    opaque = etag.removeprefix(b"W/")
    candidates = (item.strip().removeprefix(b"W/") for item in wanted.split(b","))
    if wanted.strip() == b"*" or opaque in candidates:
        kept = [item for item in response.headers if not item[0].startswith(b"content-")]
        return Response.bare(304, kept)
    return response
