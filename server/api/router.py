"""The route table: which path means what, who may ask, and which parameters it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from server.api.problems import ApiError
from server.api.types import Response
from server.identity import Principal

__all__ = [
    "METHODS",
    "Access",
    "Handler",
    "Parameter",
    "Query",
    "Request",
    "Route",
    "Router",
    "parse_query",
]

#: Query parameters one request may carry.
PARAMETERS_MAX = 16


class Access(Enum):
    """Who may use a route."""

    OPEN = "open"  # anybody: carries no market data, or little of it where it is personal
    READ = "read"  # a key or token, if the server asks for one
    TRADE = "trade"  # one that is good for its owner's traders
    ADMIN = "admin"  # the operator's


class Parameter(NamedTuple):
    """One query parameter, for the check of its name and for the API description."""

    name: str
    description: str
    schema: Mapping[str, Any]
    several: bool = False  # it may be given again and again
    required: bool = False


class Query(dict[str, str]):
    """Query parameters by name; of one given several times the first, and all in ``several``."""

    __slots__ = ("several",)

    def __init__(self) -> None:
        super().__init__()
        self.several: dict[str, list[str]] = {}


_NO_PARAMETERS = Query()


class Request:
    """What a target - path and query - means. It says nothing of a client and so may be kept.

    A personal route's is its own: only there are ``principal`` and ``headers`` set.
    """

    __slots__ = ("body", "headers", "plan", "principal", "query", "route", "segments")

    principal: Principal  # who asks
    headers: Mapping[bytes, bytes]  # names in lower case; of one given twice the last

    def __init__(self, route: Route, segments: tuple[str, ...], query: Query) -> None:
        self.route = route
        self.segments = segments  # values of the path's parameters, decoded
        self.query = query
        self.body = b""  # of a POST or PATCH, which are never kept
        #: Whatever the handler worked out from the target and need not work out again.
        self.plan: Any = None


Handler: TypeAlias = Callable[[Request], Response | Awaitable[Response]]


#: Methods of routes. HEAD goes with GET, OPTIONS with every path.
METHODS = ("GET", "POST", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method. ``{name}`` stands for one segment of the path."""

    path: str
    handler: Handler
    summary: str
    access: Access
    #: A message type; or the media type of what is none. None: a WebSocket with GET, nothing (204)
    #: with another method.
    answer: Any
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()  # statuses with a problem document, and 304
    answer_statuses: tuple[int, ...] = ()  # statuses beside 200 with the answer's own type
    body: Any = None  # the message type of a POST's or PATCH's body; None for what takes none
    changes: bool = False  # it changes something, which pages of other sites never may
    method: str = ""  # one of METHODS; not given: POST with a body, GET without
    personal: bool = False  # its requests know who asks; ones of an open route may be anybody's
    weight: int = 1  # of how many requests it counts as

    def __post_init__(self) -> None:
        """Raises ValueError: a method that is not possible so."""
        method = self.method or ("GET" if self.body is None else "POST")
        object.__setattr__(self, "method", method)
        if method not in METHODS or (self.body is not None and method not in ("POST", "PATCH")):
            raise ValueError(f"route {self.path}: not with {method}")
        if self.changes != (method in ("PATCH", "DELETE")) and method != "POST":
            raise ValueError(f"route {self.path}: PATCH and DELETE change something, GET does not")

    @property
    def names(self) -> frozenset[str]:
        """Names of the query parameters."""
        return frozenset(parameter.name for parameter in self.parameters)

    @property
    def repeatable(self) -> frozenset[str]:
        """Names of those that may be given several times."""
        return frozenset(parameter.name for parameter in self.parameters if parameter.several)


class _Entry(NamedTuple):
    route: Route
    pattern: tuple[str | None, ...]  # None where any segment fits


class Router:
    """Finds the route of a path by its first segment: a dictionary look-up, no pattern matching."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._entries: dict[str, list[_Entry]] = {}
        for route in self.routes:
            pattern = tuple(
                None if part.startswith("{") else part for part in route.path[1:].split("/")
            )
            first = pattern[0]
            if first is None:
                raise ValueError(f"route {route.path}: the first segment must be fixed")
            self._entries.setdefault(first, []).append(_Entry(route, pattern))

    def find(self, path: str, method: str = "GET") -> tuple[Route, tuple[str, ...]] | None:
        """The route of a raw path and method, and the values of its parameters, decoded.

        Raises ApiError: a parameter is not UTF-8, or empty.
        """
        if not path.startswith("/"):  # OPTIONS * and CONNECT have no path
            return None
        parts = path[1:].split("/")
        for route, pattern in self._entries.get(parts[0], ()):
            if len(pattern) != len(parts) or route.method != method:
                continue
            values = []
            for expected, part in zip(pattern, parts, strict=True):
                if expected is None:
                    values.append(part)
                elif expected != part:
                    break
            else:
                return route, tuple(map(_decode, values))
        return None

    def methods(self, path: str) -> dict[str, Route]:
        """What a raw path can be asked with. Raises ApiError: see ``find``."""
        found = ((method, self.find(path, method)) for method in METHODS)
        return {method: entry[0] for method, entry in found if entry is not None}


def parse_query(
    raw: bytes, names: frozenset[str], repeatable: frozenset[str] = frozenset()
) -> Query:
    """Query parameters by name, decoded.

    Raises ApiError: a name that is not in ``names``, one given twice that is not ``repeatable``,
    or text that is not UTF-8.
    """
    if not raw:
        return _NO_PARAMETERS
    query = Query()
    pairs = raw.decode("latin-1").split("&")
    if len(pairs) > PARAMETERS_MAX:
        raise ApiError(400, "too_many_parameters", f"At most {PARAMETERS_MAX} are read.")
    for pair in pairs:
        if not pair:
            continue
        name, _, value = pair.partition("=")
        name = _decode_query(name)
        if name not in names:
            raise ApiError(
                400,
                "unknown_parameter",
                f"Unknown parameter {name[:40]!r}.",
                allowed=sorted(names),
            )
        text = _decode_query(value)
        if name in repeatable:
            query.several.setdefault(name, []).append(text)
        elif name in query:
            raise ApiError(400, "duplicate_parameter", f"Parameter {name!r} is given twice.")
        query.setdefault(name, text)
    return query


def _decode(segment: str) -> str:
    if not segment:
        raise ApiError(404, "unknown_path", "A part of the path is empty.")
    if "%" not in segment and segment.isascii():
        return segment
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise ApiError(400, "bad_encoding", "The path is not percent-encoded UTF-8.") from None


def _decode_query(text: str) -> str:
    if "%" not in text and "+" not in text and text.isascii():
        return text
    try:
        return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise ApiError(400, "bad_encoding", "The query is not percent-encoded UTF-8.") from None
