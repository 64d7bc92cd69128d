"""The filter routes: read a filter, run it now, run it over the past, draw its parts as lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from zlib import crc32

import msgspec

from klinecore.errors import UnknownSeriesError
from klinecore.filters import Explanation, Filter, MarketCopy, explain
from klinecore.filters.need import cost_ns
from server.api.compiled import CompiledFilters
from server.api.filter_types import (
    CheckedFilter,
    EvaluateFilter,
    Expressions,
    FilterCheck,
    FilterEvaluation,
    FilterPart,
    FilterReplay,
    ReplayFilter,
    Vocabulary,
)
from server.api.parameters import (
    LINES,
    find_series,
    read_body,
    read_expressions,
    read_interval,
    read_limit,
    unknown_symbol,
)
from server.api.problems import ApiError
from server.api.results import draw, run_now, run_over_past
from server.api.router import Access, Request, Route
from server.api.state import ServedMarket, ServerState
from server.api.types import Headers, Response
from server.api.vocabulary import vocabulary
from server.api.worker import Worker
from server.metrics import Registry
from server.traders.book import filter_limits

__all__ = ["FilterRoutes"]

_NEVER = (b"cache-control", b"no-store")
_FRESH = (b"cache-control", b"no-cache")
_POSTED = (400, 401, 413, 415, 429, 503)

#: Requests that one of these counts as: all share one thread.
EVALUATION_WEIGHT = 5
REPLAY_WEIGHT = 10

#: Symbols that are copied before other requests get a turn.
COPY_CHUNK = 8

#: What is estimated to take less is computed at once, without the thread.
AT_ONCE_S_MAX = 0.001
#: Estimates beside a filter's own cost: ns for each part at each kline.
PART_NS = 5


class FilterRoutes:
    """Handlers over one ``ServerState``; ``table`` says which path leads to which."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._compiled = CompiledFilters(filter_limits(state.settings.capacity))
        self._vocabulary: Response | None = None
        self._worker = Worker(state.settings.filter_jobs_max)
        self._make_metrics(state.metrics)
        self.table = self._make_table()

    def _make_metrics(self, metrics: Registry) -> None:
        compiled, worker = self._compiled, self._worker
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
        metrics.gauge("filters_jobs", "Computations under way or waiting.").read(
            lambda: worker.jobs
        )
        metrics.counter("filters_busy_total", "Requests refused as too many waited.").read(
            lambda: worker.refused
        )
        self._too_large = metrics.counter(
            "filters_too_large_total", "Requests refused by what they would have read or computed."
        )
        self._rows = metrics.counter("filters_rows_total", "Klines read.", ["kind"])
        self._seconds = metrics.histogram(
            "filters_seconds", "Computing, without waiting and reading.", ["kind"]
        )

    def _make_table(self) -> tuple[Route, ...]:
        read = Access.READ
        return (
            Route(
                "/v1/indicators/{symbol}/{interval}",
                self._lines,
                "Expressions at the newest klines of a series, oldest first",
                read,
                Expressions,
                LINES,
                (400, 401, 404, 429, 503),
            ),
            Route(
                "/v1/filters/vocabulary",
                self._words,
                "Every name a filter may use",
                read,
                Vocabulary,
                (),
                (304, 401, 429),
            ),
            Route(
                "/v1/filters/check",
                self._check,
                "Read a filter: its normal form, its parts, what it needs",
                read,
                CheckedFilter,
                (),
                _POSTED,
                body=FilterCheck,
            ),
            Route(
                "/v1/filters/evaluate",
                self._evaluate,
                "Run a filter at the newest closed kline of each symbol",
                read,
                FilterEvaluation,
                (),
                _POSTED,
                body=EvaluateFilter,
                weight=EVALUATION_WEIGHT,
            ),
            Route(
                "/v1/filters/replay",
                self._replay,
                "Run a filter over every closed kline in memory",
                read,
                FilterReplay,
                (),
                _POSTED,
                body=ReplayFilter,
                weight=REPLAY_WEIGHT,
            ),
        )

    def _words(self, request: Request) -> Response:
        if self._vocabulary is None:
            body = msgspec.json.encode(vocabulary(self._compiled.limits))
            etag = b'W/"%x"' % crc32(body)
            self._vocabulary = Response(body, headers=[(b"etag", etag), _FRESH])
        return self._vocabulary

    def _check(self, request: Request) -> Response:
        asked = read_body(request, FilterCheck)
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
                depends_on_first=found.depends_on_first,
                bars=found.bars,
                cost_ns=found.cost_ns,
                warnings=_warnings(found, served),
            )
        )

    async def _lines(self, request: Request) -> Response:
        served = self._state.served(request.query.get("market"))
        series = find_series(served, *request.segments)
        texts, limit = read_expressions(request.query), read_limit(request.query, series.capacity)
        filters = [self._compiled.expression(text) for text in texts]
        return await self._run(
            "line",
            served,
            filters,
            series.interval,
            [series.symbol],
            lambda rows: draw(texts, filters, rows, series.interval, limit),
        )

    async def _evaluate(self, request: Request) -> Response:
        asked = read_body(request, EvaluateFilter)
        served = self._state.served(asked.market)
        filter = self._compiled.filter(asked.filter)
        return await self._run(
            "evaluate",
            served,
            [filter],
            _held(served, asked.interval),
            asked.symbols,
            lambda rows: run_now(filter, asked, rows),
        )

    async def _replay(self, request: Request) -> Response:
        asked = read_body(request, ReplayFilter)
        served = self._state.served(asked.market)
        filter = self._compiled.filter(asked.filter)
        return await self._run(
            "replay",
            served,
            [filter],
            _held(served, asked.interval),
            asked.symbols,
            lambda rows: run_over_past(filter, asked, rows),
        )

    async def _run(
        self,
        kind: str,
        served: ServedMarket,
        filters: Sequence[Filter],
        interval: str,
        symbols: Sequence[str] | None,
        compute: Callable[[MarketCopy], msgspec.Struct],
    ) -> Response:
        """Copy what is read, compute, encode: at once if it is little, else in the thread."""
        for filter in filters:
            for name in filter.intervals:
                _held(served, name)
        rows = _copy_of(served, filters, interval, symbols)
        seconds = rows.rows * sum(map(_row_ns, filters)) / 1e9
        self._check_size(rows.rows, seconds)
        clock = self._state.clock

        async def read() -> MarketCopy:
            while not rows.copy(COPY_CHUNK):
                await asyncio.sleep(0)
            if symbols and not rows.asked:
                raise ApiError(404, "unknown_symbol", "The symbol was removed just now.")
            return rows

        def encoded(rows: MarketCopy) -> tuple[bytes, float]:
            started = clock.monotonic()
            body = msgspec.json.encode(compute(rows))
            return body, clock.monotonic() - started

        self._rows.inc(kind, by=rows.rows)
        if seconds <= AT_ONCE_S_MAX:
            body, took = encoded(await read())
        else:
            body, took = await self._worker.run(read, encoded)
        self._seconds.observe(took, kind)
        return Response(body, headers=[_NEVER, *served.warnings])

    def _check_size(self, rows: int, seconds: float) -> None:
        settings = self._state.settings
        size = ""
        if rows > settings.filter_rows_max:
            size = f"It would read {rows:,} klines, at most {settings.filter_rows_max:,} may be."
        elif seconds > settings.filter_seconds_max:
            size = f"It would compute for {seconds:.3g} s, at most {settings.filter_seconds_max:g}."
        if size:
            self._too_large.inc()
            raise ApiError(400, "too_large", f"{size} Name fewer symbols, or make it simpler.")

    def _collect(self) -> None:
        """Show what others count; called before each scrape."""
        for limit, count in self._compiled.refused.items():
            self._refused.inc(limit, by=count - self._refused.value(limit))


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


def _row_ns(filter: Filter) -> int:
    """About how long a filter takes at each kline."""
    return cost_ns(filter.root) + PART_NS * sum(1 for _ in filter.root.walk())


def _copy_of(
    served: ServedMarket,
    filters: Sequence[Filter],
    interval: str,
    symbols: Sequence[str] | None,
) -> MarketCopy:
    """What the filters read, not copied yet. Raises ApiError 400: a symbol that is not held."""
    try:
        return MarketCopy(served.market, [filter.root for filter in filters], interval, symbols)
    except UnknownSeriesError as error:
        raise unknown_symbol(error, 400) from None
    except ValueError as error:
        raise ApiError(400, "bad_body", f"The body is not what is expected: {error}.") from None


def _held(served: ServedMarket, interval: str) -> str:
    """An interval named in a body. Raises ApiError 400: it is none, or not held."""
    try:
        return read_interval(interval, served.market.intervals)
    except ApiError as error:
        error.status = 400  # the path was right
        raise


def _json(answer: msgspec.Struct, headers: Headers | None = None) -> Response:
    return Response(msgspec.json.encode(answer), headers=[_NEVER, *(headers or ())])
