"""Traders live on one market: events in, signals and executions out; no I/O and no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from klinecore.events import EventKind
from klinecore.filters import Engine, Filter, Firing, Reason
from klinecore.interval import next_open_ms
from klinecore.market import Event, Market
from server.signals.model import Signal, SignalStatus, signal_id
from server.traders.memory import SignalMemory
from server.traders.model import Execution, RunSource, Trader, fire_alike

__all__ = ["NO_SYMBOLS", "MatchChange", "Settled", "TraderEngine", "Watch"]

NO_SYMBOLS = "no symbol was evaluated"

Timer = Callable[[], float]


class MatchChange(msgspec.Struct, frozen=True, kw_only=True):
    """Which symbols a trader matches since a close, and no longer does."""

    trader_id: str
    market: str
    interval: str
    open_time_ms: int
    entered: tuple[str, ...]
    left: tuple[str, ...]
    matched: int  # symbols in all


class Settled(NamedTuple):
    """What boundaries were for each trader."""

    executions: list[Execution]
    changes: list[MatchChange]


class _Boundary(NamedTuple):
    interval: str
    open_time_ms: int
    began_ms: int  # its first close was evaluated
    at_ms: int  # nothing more was waited for
    share_us: int
    missing: bool  # some symbol's close


class Watch:
    """One trader that runs, and what is known of it in this life of the process."""

    __slots__ = (
        "executions",
        "filter",
        "filter_id",
        "held",
        "last_open_ms",
        "last_signal_ms",
        "late_ms",
        "late_ms_max",
        "matched",
        "part_names",
        "signals",
        "symbols",
        "trader",
        "unheld",
    )

    def __init__(self, trader: Trader, filter: Filter, filter_id: int) -> None:
        self.trader = trader
        self.filter = filter
        self.filter_id = filter_id
        self.part_names: tuple[str, ...] = ()
        self.symbols: frozenset[str] | None = frozenset(trader.symbols) or None
        self.held = -1  # bits of the symbols it looks at; see ``Engine.tally``
        self.unheld: tuple[str, ...] = ()  # symbols it names that the market does not hold
        self.matched = 0  # bits of the symbols it matched at the newest close
        self.last_open_ms: int | None = None  # of the newest close it was evaluated at as a whole
        self.late_ms = 0  # behind the boundary, at the newest one
        self.late_ms_max = 0
        self.executions = 0
        self.signals = 0
        self.last_signal_ms: int | None = None


class TraderEngine:
    """The filters of one market's traders, one each, and what is told of them."""

    def __init__(
        self, name: str, market: Market, *, state_bytes_max: int, traders_max: int
    ) -> None:
        """Limits as of ``klinecore.filters.Engine``."""
        self._limits = (state_bytes_max, traders_max)
        self.name = name
        self.market = market
        self.engine = Engine(market, state_bytes_max=state_bytes_max, filters_max=traders_max)
        self.watches: dict[str, Watch] = {}
        self.memory = SignalMemory()
        self._by_filter: dict[int, Watch] = {}
        self._symbols: tuple[str, ...] = ()
        self._places: dict[str, int] = {}
        # The exchange documents no calendar of ``3d``: nobody knows which boundaries are its.
        self._calendar = tuple(name for name in market.intervals if name != "3d")
        self._spent_s: dict[str, float] = {}  # by interval, since its last boundary
        self._began_ms: dict[str, int] = {}  # when its first close since then was evaluated
        self._unsettled: deque[tuple[_Boundary, Watch]] = deque()
        #: By symbol: what closed up to then is computed, and not told. A live close may come before
        #: the backfill of its symbol, whose rows are no news for that.
        self.history_ms: dict[str, int] = {}
        self.settled_ms: dict[str, int] = {}  # open time of the newest close told as a whole

    def __len__(self) -> int:
        return len(self.watches)

    def anew(self) -> TraderEngine:
        """Another one over the same market, that remembers nothing of filters yet."""
        state_bytes_max, traders_max = self._limits
        fresh = TraderEngine(
            self.name, self.market, state_bytes_max=state_bytes_max, traders_max=traders_max
        )
        fresh.memory = self.memory
        fresh.memory.leave()
        fresh.settled_ms = self.settled_ms
        fresh.history_ms = self.history_ms
        return fresh

    def leave_past(self, symbols: Iterable[str], until_ms: int) -> None:
        """What closed up to then is no news: it was told, or was before these traders were here."""
        for symbol in symbols:
            self.history_ms[symbol] = max(self.history_ms.get(symbol, 0), until_ms)

    # --- which traders -------------------------------------------------------------------------

    def follow(self, trader: Trader, filter: Filter) -> Watch:
        """Evaluate a trader at every close from the next one on, as warm as memory allows.

        If it runs already and nothing that matters to its filter changed, it goes on undisturbed.
        Raises UnknownSeriesError: an interval is not held; FiltersFullError; ValueError: symbols
        compared while klines form.
        """
        before = self.watches.get(trader.id)
        if before is not None and before.filter == filter and fire_alike(before.trader, trader):
            before.trader = trader
            symbols = before.symbols = frozenset(trader.symbols) or None
            if symbols is not None:
                self.memory.leave(
                    lambda signal: signal.trader_id == trader.id and signal.symbol not in symbols
                )
            self._look_at_symbols(before)
            return before
        number = self.engine.add(
            filter,
            trader.interval,
            mode=trader.mode,
            cooldown=trader.cooldown_bars,
            when=trader.evaluate_on,
            with_parts=True,
        )
        self.drop(trader.id)
        watch = Watch(trader, filter, number)
        watch.part_names = self.engine.parts(number)
        self.watches[trader.id] = watch
        self._by_filter[number] = watch
        self._follow_symbols()
        self._look_at_symbols(watch)
        watch.matched = self.engine.tally(number)[1] & watch.held
        return watch

    def drop(self, trader_id: str) -> None:
        """Evaluate a trader no longer; nothing if it does not run.

        What it called provisional is retracted by ``retract``, or with what is told next.
        """
        watch = self.watches.pop(trader_id, None)
        if watch is not None:
            del self._by_filter[watch.filter_id]
            self.engine.remove(watch.filter_id)
            self.memory.forget(trader_id)

    def retract(self, trader_id: str, now_ms: int) -> list[Signal]:
        """Retractions of what a trader that was dropped called provisional."""
        return self.memory.left_behind(lambda signal: signal.trader_id == trader_id, now_ms)

    def _follow_symbols(self) -> None:
        if self.market.symbols is self._symbols:
            return
        before, self._places = self._places, self.engine.places
        self._symbols = self.market.symbols
        stayed = sum(
            1 << place for name, place in self._places.items() if before.get(name) == place
        )
        self.memory.leave(lambda signal: signal.symbol not in self._places)
        for watch in self.watches.values():
            watch.matched &= stayed  # a place may be another symbol's now
            self._look_at_symbols(watch)

    def _look_at_symbols(self, watch: Watch) -> None:
        """Which bits a trader looks at, and which of its symbols are not there."""
        if watch.symbols is None:
            watch.held, watch.unheld = -1, ()
            return
        places = self._places
        watch.held = sum(1 << places[name] for name in watch.symbols if name in places)
        watch.unheld = tuple(sorted(watch.symbols - places.keys()))
        watch.matched &= watch.held

    # --- evaluating ----------------------------------------------------------------------------

    def pump(self, events: Sequence[Event], now_ms: int, timer: Timer) -> list[Signal]:
        """Evaluate what a market's ``drain`` told of, in one go with whatever else reads it.

        ``timer`` gives seconds, for the executions' durations. What a boundary was for each trader
        waits for ``settle``.
        """
        began_s = timer()
        self._follow_symbols()
        firings = self.engine.pump(events)
        settled = self._settled(events)
        for interval, open_ms in settled:
            firings += self.engine.deadline(interval, open_ms)
        signals = self._tell(firings, now_ms)
        took_s = timer() - began_s
        for interval in {event[2] for event in events if event[0] is EventKind.CLOSED}:
            self._spent_s[interval] = self._spent_s.get(interval, 0.0) + took_s
            self._began_ms.setdefault(interval, now_ms)
        for interval, open_ms in settled:
            self._close_boundary(interval, open_ms, now_ms, took_s)
        return signals

    def catch_up(self, now_ms: int) -> list[Signal]:
        """Evaluate rows that came without an event: a snapshot's, or those of a backfill."""
        if self.market.urgent:
            return []  # what is drained next may be new; here it would count as history
        self._follow_symbols()
        return self._tell(self.engine.catch_up(), now_ms)

    def _settled(self, events: Iterable[Event]) -> list[tuple[str, int]]:
        """Boundaries for which nothing more is waited for: interval and open time of the klines.

        All intervals that close there have told their barrier, complete or at its deadline.
        """
        found: dict[tuple[str, int], None] = {}
        for event in events:
            if event[0] is not EventKind.BARRIER:
                continue
            boundary_ms = next_open_ms(event[2], event[3])
            if not self.market.coherent(self._calendar, boundary_ms):
                continue
            for interval in self.market.intervals:
                barrier = self.market.barrier(interval)
                if (
                    barrier is not None
                    and barrier.ended
                    and barrier.close_time_ms + 1 == boundary_ms
                    and self.settled_ms.get(interval, -1) < barrier.open_time_ms
                ):
                    found[interval, barrier.open_time_ms] = None
        return list(found)

    def _close_boundary(self, interval: str, open_ms: int, now_ms: int, took_s: float) -> None:
        """Note what is to be summed up for each trader of an interval."""
        self.settled_ms[interval] = open_ms
        watches = [w for w in self.watches.values() if w.trader.interval == interval]
        spent_s = max(self._spent_s.pop(interval, 0.0), took_s)
        # Parts are shared, so what one trader costs by itself cannot be told: its equal share.
        share_us = round(1e6 * spent_s / len(watches)) if watches else 0
        missing = bool(self.market.missing_closes(interval, open_ms))
        began_ms = self._began_ms.pop(interval, now_ms)
        boundary = _Boundary(interval, open_ms, began_ms, now_ms, share_us, missing)
        self._unsettled.extend((boundary, watch) for watch in watches)

    @property
    def unsettled(self) -> int:
        """Traders and boundaries that wait for ``settle``."""
        return len(self._unsettled)

    def settle(self, count: int) -> Settled:
        """Sum up the oldest boundaries that wait, for so many traders at most."""
        self._follow_symbols()
        executions: list[Execution] = []
        changes: list[MatchChange] = []
        while self._unsettled and len(executions) < count:
            boundary, watch = self._unsettled.popleft()
            if self.watches.get(watch.trader.id) is not watch:
                continue  # dropped since
            open_ms = boundary.open_time_ms
            evaluated, true, known = self.engine.tally(watch.filter_id, open_ms)
            evaluated &= watch.held
            true &= watch.held
            if not evaluated and not watch.executions and self._looks_at_any(watch):
                continue  # its klines were there before it was, and are history
            changed = self._change(watch, evaluated, true, open_ms)
            if changed is not None:
                changes.append(changed)
            late_ms = max(0, boundary.at_ms - next_open_ms(boundary.interval, open_ms))
            watch.last_open_ms = open_ms
            watch.late_ms = late_ms
            watch.late_ms_max = max(watch.late_ms_max, late_ms)
            watch.executions += 1
            executions.append(
                Execution(
                    trader_id=watch.trader.id,
                    filter_hash=watch.filter.hash,
                    interval=boundary.interval,
                    open_time_ms=open_ms,
                    source=RunSource.ENGINE,
                    started_ms=boundary.began_ms,
                    duration_us=boundary.share_us,
                    symbols_checked=evaluated.bit_count(),
                    symbols_matched=true.bit_count(),
                    symbols_unknown=(evaluated & ~known).bit_count(),
                    incomplete=boundary.missing,
                    error=None if evaluated else NO_SYMBOLS,
                )
            )
        return Settled(executions, changes)

    def _looks_at_any(self, watch: Watch) -> bool:
        return bool(self._symbols) if watch.symbols is None else bool(watch.held)

    def _change(self, watch: Watch, evaluated: int, true: int, open_ms: int) -> MatchChange | None:
        """Symbols that entered and left at a close; one that has none stays where it was."""
        before = watch.matched
        now = (before & ~evaluated) | true
        watch.matched = now
        if now == before:
            return None
        return MatchChange(
            trader_id=watch.trader.id,
            market=self.name,
            interval=watch.trader.interval,
            open_time_ms=open_ms,
            entered=self.names(now & ~before),
            left=self.names(before & ~now),
            matched=now.bit_count(),
        )

    def names(self, bits: int) -> tuple[str, ...]:
        """The symbols of some bits, in the market's order."""
        places = self._places
        return tuple(name for name in self._symbols if bits >> places[name] & 1)

    def bits(self, names: Iterable[str]) -> int:
        """The bits of some symbols; those that are not held have none."""
        self._follow_symbols()
        return sum(1 << self._places[name] for name in names if name in self._places)

    def unknown(self, watch: Watch) -> dict[str, int]:
        """Evaluations of a trader that were neither true nor false, by reason."""
        counts = self.engine.unknown(watch.filter_id)
        return {Reason(reason).name: count for reason, count in counts.items() if count}

    # --- telling -------------------------------------------------------------------------------

    def _tell(self, firings: Iterable[Firing], now_ms: int) -> list[Signal]:
        rows: dict[tuple[str, str, int], tuple[str | None, int]] = {}
        signals = []
        for firing in firings:
            watch = self._by_filter[firing.filter_id]
            is_wanted = watch.symbols is None or firing.symbol in watch.symbols
            if is_wanted and self._is_news(watch, firing):
                signals.append(self._signal(watch, firing, now_ms, rows))
        signals += self.memory.left_behind(self._is_over, now_ms)
        return signals

    def _is_news(self, watch: Watch, firing: Firing) -> bool:
        """History is none, unless it confirms what was told provisionally."""
        symbol, interval, open_ms = firing.symbol, firing.interval, firing.open_time_ms
        if next_open_ms(interval, open_ms) > self.history_ms.get(symbol, 0):
            return True
        if not self.memory.left:
            return False
        trader_id, hash = watch.trader.id, watch.filter.hash
        id = signal_id(trader_id, hash, self.name, symbol, interval, open_ms)
        return id in self.memory.left

    def _is_over(self, signal: Signal) -> bool:
        """Whether a provisional signal that was left behind can be confirmed no longer.

        Its kline was evaluated, or is none that its trader looks at now.
        """
        watch = self.watches.get(signal.trader_id)
        if (
            watch is None
            or (watch.filter.hash, watch.trader.interval) != (signal.filter_hash, signal.interval)
            or (watch.symbols is not None and signal.symbol not in watch.symbols)
            or (signal.symbol, signal.interval) not in self.market
        ):
            return True
        evaluated = self.engine.evaluated_ms(watch.filter_id, signal.symbol)
        return evaluated is not None and evaluated >= signal.open_time_ms

    def _signal(
        self,
        watch: Watch,
        firing: Firing,
        now_ms: int,
        rows: dict[tuple[str, str, int], tuple[str | None, int]],
    ) -> Signal:
        trader = watch.trader
        key = symbol, interval, open_ms = firing.symbol, firing.interval, firing.open_time_ms
        hash = watch.filter.hash
        id = signal_id(trader.id, hash, self.name, symbol, interval, open_ms)
        before = self.memory.newest(id)
        status, revision = _next(firing, before, self.memory.revision(id), trader.evaluate_on)
        if firing.retracted and before is not None:
            signal = msgspec.structs.replace(
                before, status=status, revision=revision, at_ms=now_ms, complete=firing.complete
            )
        else:
            # Many traders fire at the same klines.
            row = rows.get(key)
            if row is None:
                row = rows[key] = (self._price(*key), self.market[symbol, interval].revision)
            anchor = self.engine.anchor(firing.filter_id, symbol)
            names = watch.part_names if firing.values else ()
            signal = Signal(
                id=id,
                trader_id=trader.id,
                filter_hash=hash,
                market=self.name,
                symbol=symbol,
                interval=interval,
                open_time_ms=open_ms,
                price=row[0] or f"{firing.price:.15g}",
                status=status,
                revision=revision,
                data_revision=row[1],
                complete=firing.complete,
                values={
                    name: value if value == value else None
                    for name, value in zip(names, firing.values, strict=True)
                },
                anchors={} if anchor is None else {interval: anchor},
                at_ms=now_ms,
            )
        self.memory.note(signal)
        watch.signals += 1
        watch.last_signal_ms = now_ms
        return signal

    def _price(self, symbol: str, interval: str, open_ms: int) -> str | None:
        """The close of a kline as the exchange wrote it; None if it is no longer held."""
        series = self.market[symbol, interval]
        for row in (series.last, series.forming):
            if row is not None and row.open_time_ms == open_ms:
                return row.close
        first, end = series.index_range(open_ms, open_ms)
        return series.klines(len(series) - first)[0].close if first < end else None


def _next(
    firing: Firing, before: Signal | None, revision: int, evaluate_on: str
) -> tuple[SignalStatus, int]:
    """Status and revision of what is told now."""
    if firing.retracted:
        return SignalStatus.RETRACTED, max(revision, 1) + 1
    if firing.provisional:
        return SignalStatus.PROVISIONAL, revision + 1
    told = before is not None and before.status is SignalStatus.PROVISIONAL
    status = SignalStatus.CONFIRMED if told else SignalStatus.FIRED
    # Above what a life that ended may have told of the forming kline.
    return status, (max(revision, 1) if evaluate_on == "forming" else revision) + 1
