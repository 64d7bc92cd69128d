"""The edge functions served by the server itself, for whoever runs no Supabase."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from klinecore.errors import FilterError
from klinecore.interval import INTERVAL_MS
from klinecore.series import Series
from server.api.function_types import (
    ExecutedTrader,
    ExecuteTrader,
    FieldFault,
    GetKlines,
    NumberKline,
    NumberKlines,
    NumberTicker,
    SymbolResult,
    TraderRun,
    TriggeredExecutions,
    TriggerExecutions,
    WhoAsked,
)
from server.api.parameters import find_series
from server.api.problems import FUNCTIONS, ApiError
from server.api.router import Access, Request, Route
from server.api.state import ServedMarket, ServerState
from server.api.traders import trader_problem
from server.api.types import Headers, Response
from server.identity import Principal, Scope, Tier
from server.traders.desk import TraderRefusedError, UnknownTraderError
from server.traders.model import RunSource, Trader
from server.traders.runs import RunResult

__all__ = ["FunctionRoutes"]

TIMEFRAMES: Final = ("1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d")
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 500
SYMBOL_LENGTH_MAX: Final = 20
#: Symbols one run names, and their length there.
RUN_SYMBOLS_MAX: Final = 500
RUN_SYMBOL_LENGTH_MAX: Final = 64
#: Traders that are run in one go before other requests get a turn.
RUN_CHUNK: Final = 32

#: For whom a caller with a key of scope ``admin`` asks: ``user:<id>`` or ``address:<address>``.
ON_BEHALF_OF: Final = b"x-on-behalf-of"
ON_BEHALF_TIER: Final = b"x-on-behalf-tier"
_NAME_LENGTH_MAX = 128

_PRIVATE = (b"cache-control", b"private, no-store")
#: What is that old serves anybody; an answer to somebody known is never for others.
_PUBLIC = (b"cache-control", b"public, max-age=5")
_VARY = (b"vary", b"authorization, x-api-key, apikey")
_NEVER = (b"cache-control", b"no-store")
_ERRORS = (400, 401, 403, 404, 413, 415, 429, 503)
_REFUSALS = (UnknownTraderError, TraderRefusedError, FilterError)


class FunctionRoutes:
    """Handlers over one ``ServerState``; ``table`` says which path leads to which."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._round = asyncio.Lock()  # who comes during a round gets what it left over
        self.table = self._make_table()

    def _make_table(self) -> tuple[Route, ...]:
        anonymous = self._state.settings.anonymous_klines
        return (
            Route(
                f"{FUNCTIONS}get-klines",
                self._get_klines,
                "Newest klines of a series in numbers, and its ticker",
                Access.OPEN if anonymous else Access.READ,
                NumberKlines,
                (),
                _ERRORS,
                body=GetKlines,
                personal=True,
            ),
            Route(
                f"{FUNCTIONS}execute-trader",
                self._execute_trader,
                "What a trader says of some symbols at their newest closed klines",
                Access.TRADE,
                ExecutedTrader,
                (),
                _ERRORS,
                body=ExecuteTrader,
                changes=True,
                personal=True,
            ),
            Route(
                f"{FUNCTIONS}trigger-executions",
                self._trigger_executions,
                "Run every enabled trader that has not run for its newest closed klines",
                Access.ADMIN,
                TriggeredExecutions,
                (),
                _ERRORS,
                body=TriggerExecutions,
                changes=True,
                personal=True,
            ),
        )

    def _get_klines(self, request: Request) -> Response:
        started_s = self._state.clock.monotonic()
        caller, limits = self._caller(request)
        asked = _read_window(request.body)
        served = self._state.served(None)
        _check_held(asked.timeframe, served)
        series = find_series(served, asked.symbol, asked.timeframe)
        if asked.limit > series.capacity:
            raise _invalid(limit=f"This server keeps {series.capacity} klines of a series")
        known = caller.owner is not None
        klines = _rows(series, asked.limit)
        ticker = _ticker(served, series.symbol)
        latency_ms = (self._state.clock.monotonic() - started_s) * 1000
        answer = NumberKlines(
            klines=klines,
            ticker=ticker,
            symbol=asked.symbol,
            timeframe=asked.timeframe,
            count=len(klines),
            cached=False,
            latency=round(latency_ms, 3),
            auth=WhoAsked(tier=caller.tier, authenticated=known),
        )
        headers: Headers = [
            _PRIVATE if known else _PUBLIC,
            _VARY,
            (b"x-response-time", b"%.3fms" % latency_ms),
            (b"x-user-tier", caller.tier.encode()),
            *served.warnings,
            *limits,
        ]
        if served.incomplete and (series.symbol, series.interval) in served.incomplete:
            headers.append((b"x-data-state", b"incomplete"))
        return Response(msgspec.json.encode(answer), headers=headers)

    async def _execute_trader(self, request: Request) -> Response:
        caller, limits = self._caller(request)
        if not caller.scope.includes(Scope.TRADE):
            raise ApiError(403, "insufficient_scope", "Traders are run by their owners.")
        trader_id, symbols = _read_run(request.body)
        desk = self._state.desk
        try:
            (result,) = await desk.run(
                caller, [trader_id], RunSource.REQUEST, symbols=symbols or None
            )
        except _REFUSALS as error:
            raise trader_problem(error) from None
        held = self._state.served(result.market).market.symbols
        asked = symbols or result.symbols
        matches = frozenset(result.matches)
        answer = ExecutedTrader(
            trader_id=trader_id,
            timestamp=_iso(result.at_ms),
            total_symbols=len(asked),
            matches=[symbol for symbol in asked if symbol in matches],
            results=_results(asked, result, held),
            execution_time_ms=result.duration_us / 1000,
        )
        return Response(msgspec.json.encode(answer), headers=[_NEVER, *limits])

    async def _trigger_executions(self, request: Request) -> Response:
        asked = _read_object(request.body)
        source = RunSource.CRON if asked.get("trigger") == "cron" else RunSource.REQUEST
        started_ms, started_s = self._state.clock.time_ms(), self._state.clock.monotonic()
        desk = self._state.desk
        runs: list[TraderRun] = []
        symbols: set[str] = set()
        repeated = 0
        async with self._round:
            due = [one for one in desk.visible(request.principal) if _runs(one)]
            for place, trader in enumerate(due):
                try:
                    (result,) = await desk.run(request.principal, [trader.id], source)
                except UnknownTraderError:
                    continue  # deleted since
                except _REFUSALS as error:
                    runs.append(TraderRun(False, trader.id, 0.0, error=str(error)))
                    continue
                if result.repeated:
                    repeated += 1
                else:
                    symbols.update(result.symbols)
                    runs.append(_run_of(result))
                if place % RUN_CHUNK == RUN_CHUNK - 1:
                    await asyncio.sleep(0)
        took_ms = (self._state.clock.monotonic() - started_s) * 1000
        succeeded = sum(run.success for run in runs)
        answer = TriggeredExecutions(
            timestamp=_iso(started_ms),
            symbols_checked=len(symbols),
            traders_executed=len(runs),
            success_count=succeeded,
            failure_count=len(runs) - succeeded,
            total_execution_time_ms=round(took_ms, 3),
            avg_trader_execution_time_ms=_mean(run.execution_time_ms for run in runs),
            message=f"{len(runs)} traders executed, {repeated} had run for their newest close",
            details=runs,
        )
        return Response(msgspec.json.encode(answer), headers=[_NEVER])

    def _caller(self, request: Request) -> tuple[Principal, Headers]:
        """Whom the request is for. An edge function says it of its own callers, and is believed
        if its key is the operator's: it is then counted for them, not for the key.

        Raises ApiError: 400, 403; 429, the one it is for asks too often.
        """
        named = request.headers.get(ON_BEHALF_OF)
        if named is None:
            return request.principal, []
        if request.principal.scope is not Scope.ADMIN:
            raise ApiError(
                403, "insufficient_scope", "Only a key with the scope admin may ask for others."
            )
        principal = _read_caller(named, request.headers.get(ON_BEHALF_TIER, b""))
        return principal, self._state.gate.limit(principal, request.route.path)


def _read_caller(named: bytes, tier: bytes) -> Principal:
    kind, _, name = named.decode("latin-1").partition(":")
    try:
        tier_of = Tier(tier.decode("latin-1"))
    except ValueError:
        tier_of = None
    usable = 0 < len(name) <= _NAME_LENGTH_MAX and name.isascii() and name.isprintable()
    if kind not in ("user", "address") or not usable or tier_of is None:
        raise ApiError(400, "bad_caller", "X-On-Behalf-Of or X-On-Behalf-Tier is malformed.")
    bucket = f"{kind}:{name}"
    if kind == "address":
        return Principal(owner=None, tier=Tier.ANONYMOUS, scope=Scope.READ, bucket=bucket)
    return Principal(owner=name, tier=tier_of, scope=Scope.TRADE, bucket=bucket)


def _read_window(body: bytes) -> GetKlines:
    asked = _read_object(body)
    symbol, timeframe = asked.get("symbol"), asked.get("timeframe")
    limit = asked.get("limit", LIMIT_DEFAULT)
    faults = {}
    if not isinstance(symbol, str) or not 1 <= len(symbol) <= SYMBOL_LENGTH_MAX:
        faults["symbol"] = f"Expected 1 to {SYMBOL_LENGTH_MAX} characters"
    if timeframe not in TIMEFRAMES:
        faults["timeframe"] = f"Expected one of {', '.join(TIMEFRAMES)}"
    if type(limit) is not int or not 1 <= limit <= LIMIT_MAX:  # True is no number
        faults["limit"] = f"Expected a whole number from 1 to {LIMIT_MAX}"
    if faults:
        raise _invalid(**faults)
    return msgspec.convert(asked, GetKlines)


def _read_run(body: bytes) -> tuple[str, tuple[str, ...]]:
    """The trader's id, and the symbols, each once."""
    asked = _read_object(body)
    if "traderId" not in asked or "symbols" not in asked:
        raise ApiError(400, "missing_parameters", "Missing required parameters")
    trader_id, symbols = asked["traderId"], asked["symbols"]
    try:
        trader_id = str(UUID(trader_id))
    except (ValueError, AttributeError, TypeError):
        raise _invalid(traderId="Expected a UUID") from None
    usable = isinstance(symbols, list) and len(symbols) <= RUN_SYMBOLS_MAX
    if not usable or not all(
        isinstance(symbol, str) and 1 <= len(symbol) <= RUN_SYMBOL_LENGTH_MAX for symbol in symbols
    ):
        raise _invalid(symbols=f"Expected at most {RUN_SYMBOLS_MAX} symbols")
    return trader_id, tuple(dict.fromkeys(symbol.upper() for symbol in symbols))


def _check_held(timeframe: str, served: ServedMarket) -> None:
    """Raises ApiError 400: nothing is held of this interval, so what it asks for is wrong."""
    held = [name for name in TIMEFRAMES if name in served.market.intervals]
    if timeframe not in held:
        raise _invalid(timeframe=f"This server keeps {', '.join(held)}")


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiError(400, "invalid_json", "Invalid JSON in request body") from None
    if not isinstance(read, dict):
        raise _invalid(**{"": "Expected an object"})
    return read


def _invalid(**faults: str) -> ApiError:
    """A body that is JSON and not what is expected: which of its fields, and why."""
    details = [FieldFault(path, message) for path, message in faults.items()]
    return ApiError(400, "validation_failed", "Validation failed", faults=details)


def _rows(series: Series, limit: int) -> list[NumberKline]:
    length_ms = INTERVAL_MS[series.interval] - 1
    opens = series.open_time_ms[-limit:].tolist()
    columns = (
        opens,
        *(
            column[-limit:].tolist()
            for column in (series.open, series.high, series.low, series.close, series.volume)
        ),
        [opened + length_ms for opened in opens],
        series.quote_volume[-limit:].tolist(),
        series.trades[-limit:].astype(int).tolist(),
        series.taker_buy_base[-limit:].tolist(),
        series.taker_buy_quote[-limit:].tolist(),
    )
    return list(map(NumberKline, *columns))


def _ticker(served: ServedMarket, symbol: str) -> NumberTicker | None:
    ticker = served.market.ticker(symbol)
    if ticker is None:
        return None
    return NumberTicker(
        symbol, *(float(ticker[letter]) for letter in ("c", "v", "q", "P", "h", "l"))
    )


def _runs(trader: Trader) -> bool:
    return trader.enabled and trader.paused_reason is None


def _run_of(result: RunResult) -> TraderRun:
    return TraderRun(
        result.error is None,
        result.trader_id,
        result.duration_us / 1000,
        matches=len(result.matches),
        error=result.error,
    )


def _results(asked: Sequence[str], result: RunResult, held: Collection[str]) -> list[SymbolResult]:
    """What came out for each symbol; one without an outcome says why, and is no plain false."""
    evaluated, matches = frozenset(result.symbols), frozenset(result.matches)
    unknown = frozenset(result.unknown)
    results = []
    for symbol in asked:
        error = None
        if symbol in unknown:
            error = "unknown: a value it needs is not there"
        elif symbol not in evaluated:
            here = symbol in held
            error = "not one of the trader's symbols" if here else "not held by this server"
        results.append(SymbolResult(symbol, symbol in matches, error))
    return results


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return round(sum(listed) / len(listed), 3) if listed else 0.0


def _iso(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
