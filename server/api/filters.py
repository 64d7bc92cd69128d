"""The filter routes: read a filter, run it now, run it over the past, draw its parts as lines."""

from __future__ import annotations

from typing import TypeVar
from zlib import crc32

import msgspec

from klinecore.filters.explanation import Explanation, explain
from server.api.compiled import CompiledFilters
from server.api.filter_types import CheckedFilter, FilterCheck, FilterPart, Vocabulary
from server.api.parameters import read_interval
from server.api.problems import ApiError
from server.api.router import Access, Request, Route
from server.api.state import ServedMarket, ServerState
from server.api.types import Headers, Response
from server.api.vocabulary import vocabulary

__all__ = ["FilterRoutes"]

Body = TypeVar("Body", bound=msgspec.Struct)

_NEVER = (b"cache-control", b"no-store")
_FRESH = (b"cache-control", b"no-cache")
_POSTED = (400, 401, 413, 415, 429, 503)


class FilterRoutes:
    """Handlers over one ``ServerState``; ``table`` says which path leads to which."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._compiled = CompiledFilters()
        self._vocabulary: Response | None = None
        metrics, compiled = state.metrics, self._compiled
        metrics.counter("filters_compiled_total", "Filters and expressions read.").read(
            lambda: compiled.compiled
        )
        metrics.counter("filters_known_total", "Those that had been read lately.").read(
            lambda: compiled.hits
        )
        self._refused = metrics.counter(
            "filters_refused_total", "Texts that are no filter, by the limit passed.", ["limit"]
        )
        metrics.before_render(self._collect)
        self.table = (
            Route(
                "/v1/filters/vocabulary",
                self._words,
                "Every name a filter may use",
                Access.READ,
                Vocabulary,
                (),
                (304, 401, 429),
            ),
            Route(
                "/v1/filters/check",
                self._check,
                "Read a filter: its normal form, its parts, what it needs",
                Access.READ,
                CheckedFilter,
                (),
                _POSTED,
                body=FilterCheck,
            ),
        )

    def _words(self, request: Request) -> Response:
        if self._vocabulary is None:
            body = msgspec.json.encode(vocabulary())
            etag = b'W/"%x"' % crc32(body)
            self._vocabulary = Response(body, headers=[(b"etag", etag), _FRESH])
        return self._vocabulary

    def _check(self, request: Request) -> Response:
        asked = _read(request, FilterCheck)
        served = self._state.served(asked.market)
        if asked.interval is not None:
            _held(served, asked.interval)
        filter = self._compiled.filter(asked.filter)
        found = explain(filter, asked.interval)
        return _json(
            CheckedFilter(
                normal=found.normal,
                hash=found.hash,
                parts=[FilterPart(part.text, part.kind) for part in found.parts],
                nodes=found.nodes,
                intervals=list(found.intervals),
                cross_symbols=found.cross_symbols,
                bars=found.bars,
                cost_ns=found.cost_ns,
                warnings=_warnings(found, served),
            )
        )

    def _collect(self) -> None:
        """Show what others count; called before each scrape."""
        for limit, count in self._compiled.refused.items():
            label = limit or "none"
            self._refused.inc(label, by=count - self._refused.value(label))


def _warnings(found: Explanation, served: ServedMarket) -> list[str]:
    """Why the market cannot run a filter, or would know nothing."""
    held, capacity = served.market.intervals, served.market.capacity
    warnings = [
        f"interval {name} is not held here, only {', '.join(held)}"
        for name in found.intervals
        if name not in held
    ]
    return warnings + [
        f"{count} klines of {name or 'its own interval'} are needed, {capacity} are kept"
        for name, count in found.bars.items()
        if count > capacity
    ]


def _read(request: Request, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.DecodeError as error:
        raise ApiError(400, "bad_body", f"The body is not what is expected: {error}") from None


def _held(served: ServedMarket, interval: str) -> str:
    """An interval named in a body. Raises ApiError 400: it is none, or not held."""
    try:
        return read_interval(interval, served.market.intervals)
    except ApiError as error:
        error.status = 400  # the path was right
        raise


def _json(answer: msgspec.Struct, headers: Headers | None = None) -> Response:
    return Response(msgspec.json.encode(answer), headers=[_NEVER, *(headers or ())])
