"""Traders run on demand: what they say now, and what they would have said of the past."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import msgspec

from klinecore.filters import Filter, MarketCopy, evaluate, replay
from server.signals.model import Signal, SignalStatus, signal_id
from server.traders.engine import NO_SYMBOLS, TraderEngine, Watch
from server.traders.model import Execution, RunSource, Trader

__all__ = ["HISTORICAL_MAX", "RunResult", "evaluate_copy", "past_signals", "run_live"]

#: Signals of the past that a new trader is given; the newest.
HISTORICAL_MAX = 1000
#: Symbols copied before others get a turn.
_COPY_CHUNK = 8

Result = TypeVar("Result")
Values = dict[str, float | None]


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a trader says of each symbol at its newest closed kline."""

    trader_id: str
    filter_hash: str
    market: str
    interval: str
    open_time_ms: int  # of the newest of those klines; 0 without one
    source: RunSource
    at_ms: int
    duration_us: int
    symbols: tuple[str, ...]  # evaluated
    matches: tuple[str, ...]  # symbols where it is true
    unknown: tuple[str, ...]  # symbols where it is neither true nor false
    values: dict[str, Values] = {}  # of each match: the filter's parts
    error: str | None = None
    repeated: bool = False  # this close was asked for before: it is that run

    def execution(self) -> Execution:
        """As a line of history."""
        return Execution(
            trader_id=self.trader_id,
            filter_hash=self.filter_hash,
            interval=self.interval,
            open_time_ms=self.open_time_ms,
            source=self.source,
            started_ms=self.at_ms,
            duration_us=self.duration_us,
            symbols_checked=len(self.symbols),
            symbols_matched=len(self.matches),
            symbols_unknown=len(self.unknown),
            incomplete=False,
            error=self.error,
        )


def run_live(
    engine: TraderEngine,
    watch: Watch,
    source: RunSource,
    symbols: Collection[str] | None,
    now_ms: int,
    timer: Callable[[], float],
) -> RunResult:
    """What a trader that runs says, which is computed already."""
    began_s = timer()
    evaluated, true, known = engine.engine.tally(watch.filter_id)
    asked = watch.held
    if symbols is not None:
        places = engine.engine.places
        asked &= sum(1 << places[name] for name in set(symbols) if name in places)
    looked, matches = engine.names(evaluated & asked), engine.names(true & asked)
    newest = [engine.engine.evaluated_ms(watch.filter_id, name) or 0 for name in looked]
    names = engine.engine.parts(watch.filter_id)
    return RunResult(
        trader_id=watch.trader.id,
        filter_hash=watch.filter.hash,
        market=engine.name,
        interval=watch.trader.interval,
        open_time_ms=max(newest, default=0),
        source=source,
        at_ms=now_ms,
        duration_us=round(1e6 * (timer() - began_s)),
        symbols=looked,
        matches=matches,
        unknown=engine.names(evaluated & ~known & asked),
        values={
            name: _values(names, engine.engine.part_values(watch.filter_id, name))
            for name in matches
        },
        error=None if looked else NO_SYMBOLS,
    )


async def evaluate_copy(
    engine: TraderEngine,
    trader: Trader,
    filter: Filter,
    source: RunSource,
    symbols: Collection[str] | None,
    now_ms: int,
    timer: Callable[[], float],
) -> RunResult:
    """What a trader that does not run says: computed from a copy, in another thread."""
    began_s = timer()
    rows = await _copied(engine, trader, filter, symbols)
    found = await _away(evaluate, filter, rows, trader.interval, rows.asked)
    places = range(len(found.symbols))
    there = [place for place in places if found.open_time_ms[place]]
    matches = [place for place in there if found.values[place] == 1.0]
    names = tuple(found.parts)
    return RunResult(
        trader_id=trader.id,
        filter_hash=filter.hash,
        market=engine.name,
        interval=trader.interval,
        open_time_ms=int(found.open_time_ms.max(initial=0)),
        source=source,
        at_ms=now_ms,
        duration_us=round(1e6 * (timer() - began_s)),
        symbols=tuple(found.symbols[place] for place in there),
        matches=tuple(found.symbols[place] for place in matches),
        unknown=tuple(found.symbols[place] for place in there if found.reasons[place]),
        values={
            found.symbols[place]: _values(
                names, [float(column[place]) for column in found.parts.values()]
            )
            for place in matches
        },
        error=None if there else NO_SYMBOLS,
    )


async def past_signals(
    engine: TraderEngine, trader: Trader, filter: Filter, now_ms: int
) -> list[Signal]:
    """The newest signals a trader would have given on the klines in memory, oldest first."""
    rows = await _copied(engine, trader, filter, None)
    found = await _away(
        lambda: replay(
            filter,
            rows,
            trader.interval,
            rows.asked,
            mode=trader.mode,
            cooldown=trader.cooldown_bars,
        )
    )
    newest = slice(-HISTORICAL_MAX, None)
    signals = []
    prices: dict[str, dict[int, str]] = {}
    anchors = found.anchors.get(trader.interval)
    for place, open_ms in zip(
        found.symbol_index[newest].tolist(), found.open_time_ms[newest].tolist(), strict=True
    ):
        symbol = found.symbols[place]
        if (symbol, trader.interval) not in engine.market:
            continue  # removed since
        series = engine.market[symbol, trader.interval]
        if symbol not in prices:
            prices[symbol] = {row.open_time_ms: row.close for row in series.klines()}
        if open_ms not in prices[symbol]:
            continue  # it left memory since
        signals.append(
            Signal(
                id=signal_id(trader.id, filter.hash, engine.name, symbol, trader.interval, open_ms),
                trader_id=trader.id,
                filter_hash=filter.hash,
                market=engine.name,
                symbol=symbol,
                interval=trader.interval,
                open_time_ms=open_ms,
                price=prices[symbol][open_ms],
                status=SignalStatus.FIRED,
                revision=1,
                data_revision=series.revision,
                complete=True,
                values={},
                anchors={} if anchors is None else {trader.interval: int(anchors[place])},
                at_ms=now_ms,
                historical=True,
            )
        )
    return signals


async def _copied(
    engine: TraderEngine, trader: Trader, filter: Filter, symbols: Collection[str] | None
) -> MarketCopy:
    held = set(engine.market.symbols)
    wanted = [name for name in trader.symbols or engine.market.symbols if name in held]
    if symbols is not None:
        asked = set(symbols)
        wanted = [name for name in wanted if name in asked]
    rows = MarketCopy(engine.market, [filter.root], trader.interval, wanted)
    while not rows.copy(_COPY_CHUNK):
        await asyncio.sleep(0)
    return rows


async def _away(function: Callable[..., Result], *arguments: object) -> Result:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def _values(names: Sequence[str], values: Sequence[float]) -> Values:
    return {
        name: value if value == value else None for name, value in zip(names, values, strict=True)
    }
