"""What is Binance's own: paths, weights, limits, stream names, the universe of symbols."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from server.clock import Clock
from server.errors import RestError
from server.feeds.budget import Grant, Priority, WeightBudget
from server.feeds.hosts import Hosts
from server.feeds.rest import Rest, RestResponse
from server.feeds.weights import LearnedWeights

__all__ = [
    "DETAILS_BYTES_MAX",
    "TIME_LIMIT_MS",
    "VENUES",
    "Answer",
    "Api",
    "ExchangeInfo",
    "SymbolInfo",
    "Venue",
    "kline_weight",
    "plan_limits",
    "split_streams",
    "stream_names",
]

T = TypeVar("T")

#: Bytes that the exchange may say of one symbol for it to be kept.
DETAILS_BYTES_MAX = 65_536

#: Times from there on (the year 5138) are none: the calendar of months ends with the year 9999.
TIME_LIMIT_MS = 10**14


class Venue(NamedTuple):
    """One of the exchange's markets."""

    name: str
    api: str  # prefix of REST paths
    socket_path: str  # bare path; streams are subscribed by message
    weight_limit: int  # a minute, until exchangeInfo says otherwise
    exchange_info_weight: int
    all_tickers_weight: int
    #: How many named symbols a tickers request may have at each lower weight, cheapest first.
    some_tickers_weights: tuple[tuple[int, int], ...]
    #: Rows a klines request may ask for at most at each weight, cheapest first.
    kline_weights: tuple[tuple[int, int], ...]
    ping_timeout_factor: float  # the server pings this many times slower than on spot


VENUES = {
    "spot": Venue("spot", "/api/v3", "/ws", 6000, 20, 80, ((20, 2), (100, 40)), ((1000, 2),), 1.0),
    # The bare /ws of USD-M acknowledges subscriptions and delivers nothing: klines live in /market.
    "um": Venue(
        "um",
        "/fapi/v1",
        "/market/ws",
        2400,
        1,
        40,
        (),
        ((99, 1), (499, 2), (1000, 5), (1500, 10)),
        9.0,
    ),
}


class SymbolInfo(msgspec.Struct):
    """What counts of a symbol in the exchange's list."""

    symbol: str
    status: str = ""
    quoteAsset: str = ""  # noqa: N815 - the exchange's name


class _RateLimit(msgspec.Struct):
    rateLimitType: str = ""  # noqa: N815
    interval: str = ""
    intervalNum: int = 1  # noqa: N815
    limit: int = 0


class ExchangeInfo(msgspec.Struct):
    """The exchange's list of its symbols, and its limits."""

    symbols: list[SymbolInfo]
    rateLimits: list[_RateLimit] = []  # noqa: N815
    body: bytes = b""  # as it came

    def details(self, names: Container[str]) -> dict[str, bytes]:
        """What the exchange says of each of these symbols, as it says it; not of overlong ones."""
        if not self.body:
            return {}
        kept = {}
        for raw in msgspec.json.decode(self.body, type=_RawInfo).symbols:
            name = msgspec.json.decode(raw, type=SymbolInfo).symbol
            if name in names and len(bytes(raw)) <= DETAILS_BYTES_MAX:
                kept[name] = bytes(raw)
        return kept


class _RawInfo(msgspec.Struct):
    symbols: list[msgspec.Raw]


class _Volume(msgspec.Struct):
    symbol: str
    quoteVolume: str = "0"  # noqa: N815


class _ServerTime(msgspec.Struct):
    serverTime: Annotated[int, msgspec.Meta(ge=0, lt=TIME_LIMIT_MS)]  # noqa: N815


class Answer(NamedTuple):
    """A klines answer, and the exchange's time when it was asked for: it may be as old as that."""

    body: bytes
    asked_ms: int


class _Flight:
    """A klines request under way, and how many wait for its answer."""

    __slots__ = ("priority", "task", "waiting")

    def __init__(self, priority: Priority, task: asyncio.Task[Answer]) -> None:
        self.priority = priority
        self.task = task
        self.waiting = 0


class Api:
    """Binance's REST requests under one weight budget."""

    def __init__(
        self,
        venue: Venue,
        rest: Rest,
        budget: WeightBudget,
        clock: Clock,
        hosts: Hosts | None = None,
    ) -> None:
        """``hosts`` are those ``rest`` asks, where there is a choice."""
        self.venue = venue
        self.budget = budget
        self.time = budget.time
        self.weights = LearnedWeights(venue.name, venue.kline_weights)
        self.requests = 0
        self.failures = 0
        self.shared = 0  # klines requests that were answered by another's answer
        self._rest = rest
        self._clock = clock
        self._hosts = hosts
        self._flights: dict[tuple[tuple[str, str | int], ...], _Flight] = {}

    async def close(self) -> None:
        """Give back connections."""
        await self._rest.close()

    @property
    def host_changes(self) -> int:
        """How often a host was left for the next."""
        return self._hosts.changes if self._hosts is not None else 0

    async def get(
        self, path: str, weight: int, priority: Priority, **query: str | int
    ) -> RestResponse:
        """One request under the budget. Raises RestError: no answer, or one that is not 200."""
        grant = await self.budget.acquire(weight, priority)
        response, _ = await self._ask(path, grant, query)
        return response

    async def _ask(
        self, path: str, grant: Grant, query: Mapping[str, str | int]
    ) -> tuple[RestResponse, int | None]:
        """Send what the budget has granted; the answer, and its weight if the headers tell."""
        self.requests += 1
        response = None
        weighed = None
        try:
            response = await self._rest.get(self.venue.api + path, query)
        finally:
            weighed = self.budget.settle(grant, response)
            if response is None or response.status != 200:
                self.failures += 1
        if response.status != 200:
            raise RestError(
                f"{path} answered {response.status}: {response.body[:200]!r}",
                status=response.status,
                body=response.body,
            )
        return response, weighed

    async def sync_time(self) -> bool:
        """Measure the exchange's time; False if it should be measured again soon."""
        grant = await self.budget.acquire(1, Priority.REPAIR)
        sent_s = self._clock.monotonic()
        response, _ = await self._ask("/time", grant, {})
        received_s = self._clock.monotonic()
        server_ms = _decode(response.body, _ServerTime, "time").serverTime
        return self.time.note(sent_s, received_s, server_ms)

    async def klines(
        self,
        symbol: str,
        interval: str,
        limit: int,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        priority: Priority = Priority.REPAIR,
    ) -> Answer:
        """One klines request; see ``plan_limits`` for limits that are cheap.

        An equal request that is under way, at least as urgent, is waited for instead.
        """
        query: dict[str, str | int] = {"symbol": symbol, "interval": interval, "limit": limit}
        if start_ms is not None:
            query["startTime"] = start_ms
        if end_ms is not None:
            query["endTime"] = end_ms
        key = tuple(query.items())
        flight = self._flights.get(key)
        if flight is None or flight.priority > priority or flight.task.done():
            task = asyncio.ensure_future(self._ask_klines(limit, query, priority))
            flight = self._flights[key] = _Flight(priority, task)
        else:
            self.shared += 1
        flight.waiting += 1
        try:
            # One of several that wait may be cancelled: the others still want the answer.
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                flight.task.cancel()
                if self._flights.get(key) is flight:
                    del self._flights[key]

    async def _ask_klines(
        self, limit: int, query: Mapping[str, str | int], priority: Priority
    ) -> Answer:
        grant = await self.budget.acquire(kline_weight(self.venue, limit), priority)
        asked_ms = self.time.now_ms()
        response, weighed = await self._ask("/klines", grant, query)
        if weighed is not None and self.weights.note(limit, weighed):
            self.venue = self.venue._replace(kline_weights=self.weights.steps)
        return Answer(response.body, asked_ms)

    async def exchange_info(self, priority: Priority = Priority.START) -> ExchangeInfo:
        response = await self.get("/exchangeInfo", self.venue.exchange_info_weight, priority)
        info = _decode(response.body, ExchangeInfo, "exchangeInfo")
        info.body = response.body
        for limit in info.rateLimits:
            if limit.rateLimitType == "REQUEST_WEIGHT" and limit.interval == "MINUTE":
                self.budget.limit = limit.limit // max(limit.intervalNum, 1)
        return info

    async def volumes(self, priority: Priority = Priority.START) -> dict[str, float]:
        """24 h volume of every symbol in its quote asset; 0 for what is no finite number."""
        body = await self.tickers(priority=priority)
        return {
            row.symbol: _number(row.quoteVolume)
            for row in _decode(body, list[_Volume], "ticker/24hr")
        }

    async def tickers(
        self, symbols: Sequence[str] = (), priority: Priority = Priority.START
    ) -> bytes:
        """Body of the 24 h tickers of all symbols; of ``symbols`` alone where that is cheaper."""
        query: dict[str, str] = {}
        weight = self.venue.all_tickers_weight
        for count, cheaper in self.venue.some_tickers_weights:
            if 0 < len(symbols) <= count:
                query["symbols"] = msgspec.json.encode(list(symbols)).decode()
                weight = cheaper
                break
        response = await self.get("/ticker/24hr", weight, priority, **query)
        return response.body


def _decode(body: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RestError(f"{what}: the answer is not what was expected: {error}") from None


def _number(text: str) -> float:
    """0 for what is no finite number: such a symbol ranks last."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def kline_weight(venue: Venue, limit: int) -> int:
    """Weight of a klines request that asks for ``limit`` rows."""
    for rows, weight in venue.kline_weights:
        if limit <= rows:
            return weight
    raise ValueError(f"{venue.name} gives at most {venue.kline_weights[-1][0]} rows a request")


@cache
def plan_limits(venue: Venue, rows: int) -> tuple[int, ...]:
    """Limits of the requests that together fetch ``rows`` rows for the least weight."""
    bulk = max(venue.kline_weights, key=lambda step: step[0] / step[1])[0]
    bulks = max(0, rows - 2 * venue.kline_weights[-1][0]) // bulk
    rows -= bulks * bulk
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for count in range(1, rows + 1):
        options = []
        for size, weight in venue.kline_weights:
            take = min(size, count)
            rest_weight, rest = best[count - take]
            options.append((rest_weight + weight, len(rest), (take, *rest)))
        weight, _, limits = min(options)
        best.append((weight, limits))
    return tuple(sorted((*best[rows][1], *[bulk] * bulks), reverse=True))


def stream_names(symbols: Iterable[str], intervals: Iterable[str]) -> list[str]:
    """Every stream of these series, symbol by symbol: its ticker, then its klines."""
    kinds = ["ticker", *(f"kline_{interval}" for interval in intervals)]
    return [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds]


def split_streams(streams: Sequence[str], limit: int) -> list[tuple[str, ...]]:
    """Divide streams among as few connections as ``limit`` allows, evenly."""
    connections = -(-len(streams) // limit)
    size = -(-len(streams) // connections) if connections else 0
    return [tuple(streams[i : i + size]) for i in range(0, len(streams), size or 1)]
