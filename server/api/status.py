"""``/v1/status``: feeds and series, memory and latencies, the store and the traders."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np

from klinecore.series import Series
from klinecore.states import RowState
from server.api.parameters import SERIES_FILTER, find_series, read_interval
from server.api.problems import ApiError
from server.api.router import Access, Parameter, Request, Route
from server.api.state import ServedMarket, ServerState
from server.api.types import (
    HubStatus,
    LatencyStatus,
    MarketStatus,
    ProcessStatus,
    Response,
    SeriesStatus,
    Status,
    StoreStatus,
    TradersStatus,
)
from server.feeds.base import SeriesState
from server.metrics import Histogram
from server.process import memory_bytes, program_version

__all__ = ["StatusRoutes"]

#: Series looked at in one go before other requests get a turn.
STATUS_CHUNK = 64

_NEVER = (b"cache-control", b"no-store")
_CHOICES = ("all", "attention", "none")
_SERIES = Parameter(
    "series",
    "Which series are described: `attention` leaves out those that are ready, heard and without "
    "holes or absences.",
    {"type": "string", "enum": list(_CHOICES), "default": "all"},
)
#: Name here -> histogram.
_LATENCIES = {
    "close": "kline_close_told_seconds",
    "signal": "signal_latency_seconds",
    "commit": "store_commit_seconds",
}


class StatusRoutes:
    """The handler over one ``ServerState``; ``table`` says which path leads to it."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.table = (
            Route(
                "/v1/status",
                self._status,
                "State of the feeds and of every series",
                Access.READ,
                Status,
                (*SERIES_FILTER, _SERIES),
                (400, 401, 404, 429, 503),
            ),
        )

    async def _status(self, request: Request) -> Response:
        query, state = request.query, self._state
        chosen = state.served(query.get("market"))
        markets = [chosen] if "market" in query else list(state.markets.values())
        interval = query.get("interval")
        if interval is not None:
            read_interval(interval, chosen.market.intervals)
        wanted = query.get("series", "all")
        if wanted not in _CHOICES:
            raise ApiError(
                400, "invalid_series", "Which series is not a choice.", allowed=list(_CHOICES)
            )
        described = {}
        for served in markets:
            described[served.name] = await _describe_market(
                served, query.get("symbol"), interval, wanted
            )
        status = Status(
            readiness=state.readiness(),
            hub=self._hub(),
            markets=described,
            process=await self._process(),
            store=self._store(),
            traders=self._traders(),
            latencies=self._latencies(),
        )
        return Response(msgspec.json.encode(status), headers=[_NEVER])

    def _hub(self) -> HubStatus:
        hub = self._state.hub
        return HubStatus(
            subscribers=len(hub),
            subscriptions=hub.subscriptions,
            waiting=hub.waiting,
            published=hub.published,
            delivered=hub.delivered,
            conflated=hub.conflated,
            overflowed=hub.overflowed,
        )

    async def _process(self) -> ProcessStatus:
        state = self._state
        resident, proportional = await asyncio.to_thread(memory_bytes)
        return ProcessStatus(
            version=program_version(),
            uptime_s=round(state.clock.monotonic() - state.started_s, 3),
            loop_lag_ms=round(state.loop_lag_s * 1000, 3),
            rss_bytes=resident,
            pss_bytes=proportional,
        )

    def _store(self) -> StoreStatus | None:
        store = self._state.store
        if store is None:
            return None
        database = store.database
        return StoreStatus(
            up=database.up,
            fault=database.fault,
            file_bytes=database.bytes,
            waiting=database.waiting,
            outbox=store.outbox.depth,
        )

    def _traders(self) -> TradersStatus:
        desk = self._state.desk
        engines = desk.engines.values()
        return TradersStatus(
            held=len(desk.book),
            running=sum(map(len, engines)),
            state_bytes=sum(engine.engine.state_bytes for engine in engines),
            state_bytes_max=self._state.settings.trader_state_bytes_max,
            errors=desk.errors.counted,
        )

    def _latencies(self) -> dict[str, LatencyStatus]:
        found = {}
        for name, metric_name in _LATENCIES.items():
            metric = self._state.metrics.find(metric_name)
            if isinstance(metric, Histogram):
                counts, sum_s = metric.totals()
                found[name] = LatencyStatus(list(metric.bounds), counts, sum_s)
        return found


async def _describe_market(
    served: ServedMarket, symbol: str | None, interval: str | None, wanted: str
) -> MarketStatus:
    market = served.market
    intervals = market.intervals if interval is None else (interval,)
    symbols = market.symbols
    if symbol is not None:
        symbols = (find_series(served, symbol, market.intervals[0]).symbol,)
    described: list[SeriesStatus] = []
    looked_at = 0
    for name in symbols if wanted != "none" else ():
        for served_interval in intervals:
            if (name, served_interval) not in market:
                continue  # its symbol was removed since
            series = market[name, served_interval]
            state = served.feed.series_state(name, served_interval)
            if wanted == "all" or _needs_attention(series, state):
                described.append(_describe_series(series, state))
            looked_at += 1
            if looked_at % STATUS_CHUNK == 0:
                await asyncio.sleep(0)
    return MarketStatus(
        feed=served.feed.status(),
        capacity=market.capacity,
        arena_bytes=market.size,
        counters=market.counters(),
        closes_lost=served.channels.closes_lost,
        series=described,
    )


def _needs_attention(series: Series, state: SeriesState) -> bool:
    return state.stale or not state.ready or bool(series.holes() or series.absences())


def _describe_series(series: Series, state: SeriesState) -> SeriesStatus:
    rows = len(series)
    return SeriesStatus(
        symbol=series.symbol,
        interval=series.interval,
        feed=state,
        rows=rows,
        first_open_ms=int(series.open_time_ms[0]) if rows else 0,
        last_close_ms=series.last_close_ms,
        last_event_ms=series.last_event_ms,
        holes=series.holes(),
        absences=series.absences(),
        states=_count_states(series),
        revision=series.revision,
        closed_count=series.closed_count,
        counters=series.counters,
    )


def _count_states(series: Series) -> dict[str, int]:
    counts = np.bincount(series.states, minlength=len(RowState)).tolist()
    return {state.name.lower(): counts[state] for state in RowState if counts[state]}
