"""The ASGI application: one request in, one answer out, whatever happens on the way."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import TypeAlias

from server.api.auth import EVERYBODY
from server.api.binance_answers import BinanceAnswers
from server.api.cache import BodyCache
from server.api.door import Door
from server.api.events import EventServer
from server.api.problems import ApiError, problem_response
from server.api.router import METHODS, Access, Request, Route, Router, parse_query
from server.api.routes import Routes
from server.api.state import ServerState
from server.api.stream import StreamServer
from server.api.types import (
    Headers,
    LiveResponse,
    Message,
    PackedResponse,
    Receive,
    Response,
    Scope,
    Send,
)
from server.errors import StoreError
from server.identity import Principal

__all__ = ["Api", "create_api"]

log = logging.getLogger(__name__)

_METHODS = ("GET", "HEAD")
_NO_ROUTE = "none"  # label of requests that reached no route
#: Where something is kept, and cannot be reached.
_STORE_DOWN = ApiError(
    503,
    "store_unavailable",
    "What is kept cannot be read or written at the moment; try again.",
    headers=[(b"retry-after", b"2")],
)
_NO_LIMITS: Headers = []  # shared, and never added to
_NO_BODY: Message = {"type": "http.response.body", "body": b""}

#: Targets whose meaning is kept; when full it begins anew.
TARGETS_MAX = 1024
#: Characters of a target that is worth keeping.
TARGET_LENGTH_MAX = 256

Target: TypeAlias = tuple[bytes, bytes]  # raw path, query


def create_api(state: ServerState) -> Api:
    """The application over ``state``; ``lifespan`` events are the caller's."""
    return Api(state)


class Api:
    """Raw ASGI: finds the route, checks who asks, answers. Every error is a problem document."""

    def __init__(self, state: ServerState) -> None:
        settings = state.settings
        self._state = state
        self._gate = state.gate
        self._asks = not state.gate.lets_all_in
        self.door = Door(settings)
        self._cache = BodyCache(settings.body_cache_bytes)
        #: Those who read server-sent events.
        self.events = EventServer(state)
        #: Answers for who asks as Binance is asked.
        self.binance = BinanceAnswers(state, self._cache)
        self._router = Router(Routes(state, self._cache, self.events, self.binance).table)
        #: The route table.
        self.routes = self._router.routes
        #: The WebSocket side.
        self.streams = StreamServer(state, self.door)
        self._monotonic = state.clock.monotonic
        self._known: dict[Target, Request] = {}
        self._counts: dict[tuple[str, int], int] = {}
        metrics = state.metrics
        self._requests = metrics.counter(
            "http_requests_total", "Requests, by route and status.", ["route", "code"]
        )
        self._durations = metrics.histogram(
            "http_request_duration_seconds", "From the request to its answer.", ["route"]
        )
        self._failures = metrics.counter("http_failures_total", "Answers 500: our own faults.")
        metrics.before_render(self._collect)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # No coroutine of its own: a request is awaited through each of them.
        if scope["type"] == "websocket":
            return self.streams(scope, receive, send)
        return self._http(scope, receive, send)

    @property
    def clients(self) -> int:
        """Connections that stay open: WebSockets and readers of events."""
        return len(self.streams) + len(self.events)

    def close_all(self) -> None:
        """Tell all of them that the server goes away."""
        self.streams.close_all()
        self.events.close_all()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = self._monotonic()
        headers = dict(scope["headers"])
        target = (scope["raw_path"], scope["query_string"])
        request = self._known.get(target)
        label = _NO_ROUTE
        limits = _NO_LIMITS
        conversation = None
        try:
            self.door.check(scope, headers)
            route, segments = (request.route, request.segments) if request else self._find(target)
            label = route.path
            if scope["method"] in _METHODS:
                if b"content-length" in headers or b"transfer-encoding" in headers:
                    await self.door.check_body(headers, receive)
                if route.personal:
                    request, _, limits = await self._own(scope, headers, route, segments)
                elif self._asks and route.access is not Access.OPEN:
                    who = self._gate.check(scope["headers"], scope["client"][0], (), route.access)
                    if who is not EVERYBODY:
                        _, limits = await self._limit(who, route)
                if request is None:
                    request = self._read(target, route, segments)
                answer = route.handler(request)
                response = answer if isinstance(answer, Response) else await answer
                wanted = headers.get(b"if-none-match")
                if wanted is not None:
                    response = _unless_known(response, wanted)
                if isinstance(response, PackedResponse) and b"gzip" in headers.get(
                    b"accept-encoding", b""
                ):
                    response = response.packed
                if isinstance(response, LiveResponse) and scope["method"] != "HEAD":
                    conversation = response.open()
            else:
                response, limits = await self._other_method(scope, headers, receive, target)
        except ApiError as error:
            response = problem_response(error, target[0].decode("latin-1"))
        except StoreError:  # the store has said why, once; nobody is to ask a failing disk in haste
            response = problem_response(_STORE_DOWN, target[0].decode("latin-1"))
        except Exception:
            response = self._failed(target[0].decode("latin-1"))
        if limits:
            response = response.with_headers(limits)
        if self.door.cross_origin:
            response = response.with_headers(self.door.cors(headers))
        counted = (label, response.status)
        self._counts[counted] = self._counts.get(counted, 0) + 1
        if conversation is not None:
            await conversation.run(response.start, receive, send)
            return
        await send(response.start)
        await send(response.end if scope["method"] != "HEAD" else _NO_BODY)
        self._durations.observe(self._monotonic() - started, label)

    def _find(self, target: Target) -> tuple[Route, tuple[str, ...]]:
        path = target[0].decode("latin-1")
        found = next(filter(None, (self._router.find(path, method) for method in METHODS)), None)
        if found is None:
            raise ApiError(404, "unknown_path", "No such path; /docs names them all.")
        return found

    def _read(self, target: Target, route: Route, segments: tuple[str, ...]) -> Request:
        """What the target means; kept, since clients ask for the same few again and again."""
        if route.method != "GET":
            raise _not_allowed("GET", self._methods(target))
        query = parse_query(target[1], route.names, route.repeatable)
        request = Request(route, segments, query)
        if len(target[0]) + len(target[1]) <= TARGET_LENGTH_MAX:
            if len(self._known) >= TARGETS_MAX:
                self._known.clear()
            self._known[target] = request
        return request

    async def _own(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        route: Route,
        segments: tuple[str, ...],
    ) -> tuple[Request, Principal, Headers]:
        """A request that nobody else gets, as one that changes something or knows who asks."""
        who = self._gate.check(scope["headers"], scope["client"][0], access=route.access)
        principal, limits = await self._limit(who, route)
        if route.method != scope["method"] and (route.method, scope["method"]) != ("GET", "HEAD"):
            raise _not_allowed(scope["method"], self._methods((scope["raw_path"], b"")))
        query = parse_query(scope["query_string"], route.names, route.repeatable)
        request = Request(route, segments, query)
        if route.personal:
            request.principal = principal
            request.headers = headers
        return request, principal, limits

    async def _limit(
        self, who: Principal | Awaitable[Principal], route: Route
    ) -> tuple[Principal, Headers]:
        """Count a request; who asks, and the headers that say what is left to them."""
        principal = who if isinstance(who, Principal) else await who
        return principal, self._gate.limit(principal, route.path, route.weight)

    async def _other_method(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, target: Target
    ) -> tuple[Response, Headers]:
        """OPTIONS, also a browser's preflight, needs no key: browsers send none with it."""
        method = scope["method"]
        found = self._router.find(target[0].decode("latin-1"), method)
        if found is not None:
            route, segments = found
            request, who, limits = await self._own(scope, headers, route, segments)
            self.door.check_change(
                headers,
                changes=route.changes,
                keyed=_taken_of_sites(route) and self._gate.knows(who),
            )
            if route.body is None:
                await self.door.check_body(headers, receive)
            else:
                request.body = await self.door.read_body(headers, receive)
            answer = route.handler(request)
            return (answer if isinstance(answer, Response) else await answer), limits
        if method != "OPTIONS":
            raise _not_allowed(method, self._methods(target))
        allow = ", ".join(self._methods(target)).encode()
        routes = self._router.methods(target[0].decode("latin-1"))
        posted = routes.get("POST")
        sendable = self.door.preflight(
            headers,
            posts=posted is not None and not posted.changes,
            changes=[name for name, r in routes.items() if self._asks and _taken_of_sites(r)],
        )
        return Response.bare(204, [(b"allow", allow), *sendable]), []

    def _methods(self, target: Target) -> list[str]:
        """What a path can be asked with; of an unknown one, what most can."""
        found = list(self._router.methods(target[0].decode("latin-1"))) or ["GET"]
        return sorted([*found, "OPTIONS", *(["HEAD"] if "GET" in found else [])])

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
        for (route, status), count in self._counts.items():
            code = str(status)
            self._requests.inc(route, code, by=count - self._requests.value(route, code))
        gauge = self._state.metrics.gauge
        for name, text, value in (
            ("http_cache_bytes", "Bytes of cached answers.", self._cache.bytes),
            ("http_cache_hits", "Answers from the cache.", self._cache.hits),
            ("http_cache_misses", "Answers built.", self._cache.misses),
            ("http_cache_evictions", "Answers that made room.", self._cache.evictions),
            ("event_loop_lag_seconds", "Delay of the last beat.", self._state.loop_lag_s),
        ):
            gauge(name, text).set(value)


def _taken_of_sites(route: Route) -> bool:
    """True if pages of listed origins may send it, with a key: changes of somebody's own things,
    never the operator's."""
    return route.changes and route.access is Access.TRADE


def _not_allowed(method: str, allowed: list[str]) -> ApiError:
    return ApiError(
        405,
        "method_not_allowed",
        f"{method[:20]} is not possible here.",
        allowed=allowed,
        headers=[(b"allow", ", ".join(allowed).encode())],
    )


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
