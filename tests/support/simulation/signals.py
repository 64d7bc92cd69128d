"""Signals of all lives of a simulated server, and those that there should have been."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

import klinecore as kc
from server.signals.model import Signal, SignalStatus
from server.traders.keeping import MemoryKeeper, Nowhere, Sinks
from server.traders.model import Execution, Trader
from simulation.judge import Judge

__all__ = ["Firing", "ToldSignals", "true_firings"]

#: Symbol and open time of a kline at whose close a trader fires.
Firing = tuple[str, int]


class ToldSignals:
    """A store in memory that outlasts the server: signals by id, the newest revision of each."""

    def __init__(self, traders: Sequence[Trader], note: Callable[..., None]) -> None:
        self.traders = tuple(traders)
        self.signals: dict[str, Signal] = {}
        self.told = 0
        self.again = 0  # told as they were: after a life that ended before it could note it
        self.executions: Counter[tuple[str, str, int]] = Counter()
        self._note = note
        self._keeper = MemoryKeeper()
        for trader in self.traders:
            self._keeper.keep(trader)

    def sinks(self) -> Sinks:
        """For one more life."""
        return Sinks(self._keeper, self, _Executions(self), Nowhere(), self)

    def put(self, signals: Sequence[Signal]) -> None:
        """As the store does it: what is not newer changes nothing."""
        for signal in signals:
            self.told += 1
            self._note("signal", signal.id, signal.symbol, signal.status, signal.revision)
            before = self.signals.get(signal.id)
            if before is None or before.revision < signal.revision:
                self.signals[signal.id] = signal
            else:
                self.again += 1

    async def provisional(self, market: str, limit: int) -> Sequence[Signal]:
        """What was told as such last."""
        told = [one for one in self.signals.values() if one.market == market]
        return [one for one in told if one.status is SignalStatus.PROVISIONAL][-limit:]

    def firings(self, trader: Trader, from_ms: int, until_ms: int) -> set[Firing]:
        """Where a trader fired, all revisions counted, of klines that opened in a stretch."""
        return {
            (signal.symbol, signal.open_time_ms)
            for signal in self.signals.values()
            if signal.trader_id == trader.id
            and signal.status is not SignalStatus.RETRACTED
            and from_ms <= signal.open_time_ms < until_ms
        }


class _Executions:
    def __init__(self, told: ToldSignals) -> None:
        self._told = told

    def put(self, executions: Sequence[Execution]) -> None:
        for one in executions:
            self._told.executions[one.trader_id, one.interval, one.open_time_ms] += 1


def true_firings(
    judge: Judge, trader: Trader, symbols: Iterable[str], from_ms: int, until_ms: int
) -> set[Firing]:
    """Where it should have: the replay of its filter over the exchange's own rows."""
    filter = kc.compile(trader.filter)
    intervals = dict.fromkeys((trader.interval, *filter.intervals))
    names = list(symbols)
    rows = max(len(judge.truth(name, one).texts) for name in names for one in intervals)
    market = kc.Market(names, intervals, rows)
    for name in names:
        for interval in intervals:
            closed = [msgspec.json.decode(text) for text in judge.truth(name, interval).texts]
            body = msgspec.json.encode(
                [[row[key] for key in "tohlcvTqnVQ"] + ["0"] for row in closed]
            )
            market.apply_klines(name, interval, body, closed_before_ms=1 << 60, notify=False)
            for first_ms, last_ms in market[name, interval].holes():
                market.confirm_absent(name, interval, first_ms, last_ms)
    found = kc.filters.replay(
        filter, market, trader.interval, mode=trader.mode, cooldown=trader.cooldown_bars
    )
    return {
        (found.symbols[place], open_ms)
        for place, open_ms in zip(
            found.symbol_index.tolist(), found.open_time_ms.tolist(), strict=True
        )
        if from_ms <= open_ms < until_ms
    }
