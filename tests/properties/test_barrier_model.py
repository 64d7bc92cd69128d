"""Barriers tell what a slow look at all symbols tells, each once, whatever comes in what order."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from reference.messages import rest_klines
from reference.strategies import START_MS, opens, plain_kline

import klinecore as kc
from klinecore import EventKind
from klinecore.interval import next_open_ms

NAMES = [f"S{number}" for number in range(4)]
INTERVALS = ["1m", "1M"]
PLACES = 3
OPENS = {interval: opens(interval, PLACES) for interval in INTERVALS}
names = st.sampled_from(NAMES)
intervals = st.sampled_from(INTERVALS)
places = st.integers(0, PLACES - 1)


@dataclass
class Model:
    """One barrier: whom it waits for, who closed, and what was told of it."""

    open_ms: int
    waiting: set[str]
    held: set[str]
    ended: bool = False
    late: int = 0
    gone: int = 0  # closed, and left the market since: they still count

    @property
    def told(self) -> tuple[int, int, int, set[str]]:
        closed = self.waiting & self.held
        return (
            len(self.waiting) + self.gone,
            len(closed) + self.gone,
            self.late,
            self.waiting - self.held,
        )


@dataclass
class Expectation:
    """Who is in the market, who is waited for, and the rows held, as sets."""

    symbols: list[str] = field(default_factory=lambda: NAMES[:2])
    expected: set[str] = field(default_factory=lambda: set(NAMES[:2]))
    rows: set[tuple[str, str, int]] = field(default_factory=set)
    barriers: dict[str, Model] = field(default_factory=dict)


class BarrierMachine(RuleBasedStateMachine):
    """Every way to close, open, end, add, remove and excuse, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.market = kc.Market(NAMES[:2], INTERVALS, 3, room=1)
        self.model = Expectation()
        self.told: list[tuple[str, int]] = []
        self.due: list[tuple[str, int]] = []
        self.revised: set[tuple[str, int]] = set()

    # --- the model's side ------------------------------------------------------------------

    def end(self, interval: str) -> None:
        barrier = self.model.barriers.get(interval)
        if barrier and not barrier.ended:
            barrier.ended = True
            self.due.append((interval, barrier.open_ms))

    def settle(self, interval: str, before: tuple[int, int, int, set[str]] | None) -> None:
        """End a barrier that has all it waits for; note a change of one that has ended."""
        barrier = self.model.barriers.get(interval)
        if barrier is None:
            return
        if barrier.ended:
            if before is not None and barrier.told != before:
                self.revised.add((interval, barrier.open_ms))
        elif barrier.waiting <= barrier.held:
            self.end(interval)

    def told_of(self, interval: str) -> tuple[int, int, int, set[str]] | None:
        barrier = self.model.barriers.get(interval)
        return barrier.told if barrier and barrier.ended else None

    # --- rules -----------------------------------------------------------------------------

    @rule(symbol=names, interval=intervals, place=places, way=st.sampled_from(["push", "history"]))
    def close(self, symbol: str, interval: str, place: int, way: str) -> None:
        if symbol not in self.model.symbols:
            return
        open_ms = OPENS[interval][place]
        row = plain_kline(open_ms, interval=interval)
        if way == "push":
            stored = self.market.push(symbol, interval, row) <= kc.MergeStatus.INSERTED
        else:
            counts = self.market.apply_klines(
                symbol, interval, rest_klines([row]), closed_before_ms=2**60, notify=False
            )
            stored = bool(counts.changed)
        if not stored:
            return
        before = self.told_of(interval)
        self.model.rows.add((symbol, interval, open_ms))
        barrier = self.model.barriers.get(interval)
        if barrier and barrier.open_ms == open_ms:
            barrier.late += barrier.ended and symbol in barrier.waiting - barrier.held
            barrier.held.add(symbol)
        self.settle(interval, before)

    @rule(symbol=names, interval=intervals, place=places)
    def form(self, symbol: str, interval: str, place: int) -> None:
        if symbol in self.model.symbols:
            row = plain_kline(OPENS[interval][place], interval=interval, closed=False)
            self.market.push(symbol, interval, row)

    @rule(interval=intervals, place=places)
    def begin(self, interval: str, place: int) -> None:
        open_ms = OPENS[interval][place]
        current = self.model.barriers.get(interval)
        newer = current is None or open_ms > current.open_ms
        assert self.market.begin_barrier(interval, open_ms) == newer
        if newer:
            self.end(interval)
            held = {s for s in self.model.symbols if open_ms in self.held(s, interval)}
            self.model.barriers[interval] = Model(open_ms, set(self.model.expected), held)
            self.settle(interval, None)

    @rule(interval=intervals)
    def deadline(self, interval: str) -> None:
        self.market.end_barrier(interval)
        self.end(interval)

    @rule(symbol=names, expected=st.booleans())
    def expect(self, symbol: str, expected: bool) -> None:
        if symbol not in self.model.symbols:
            return
        self.market.set_expected(symbol, expected)
        if expected and symbol not in self.model.expected:
            self.wait_for(symbol)
        elif not expected:
            self.excuse(symbol)

    @precondition(lambda self: len(self.model.symbols) < 3)
    @rule(symbol=names)
    def add(self, symbol: str) -> None:
        if symbol not in self.model.symbols:
            self.market.add_symbol(symbol)
            self.model.symbols.append(symbol)
            self.wait_for(symbol)

    @rule(symbol=names)
    def remove(self, symbol: str) -> None:
        if symbol in self.model.symbols:
            self.market.remove_symbol(symbol)
            self.excuse(symbol)
            self.model.symbols.remove(symbol)

    def wait_for(self, symbol: str) -> None:
        self.model.expected.add(symbol)
        for interval, barrier in self.model.barriers.items():
            if not barrier.ended:
                barrier.waiting.add(symbol)
                if barrier.open_ms in self.held(symbol, interval):
                    barrier.held.add(symbol)

    def excuse(self, symbol: str) -> None:
        self.model.expected.discard(symbol)
        for interval in INTERVALS:
            barrier = self.model.barriers.get(interval)
            if barrier is None:
                continue
            before = self.told_of(interval)
            if barrier.ended and symbol in barrier.waiting & barrier.held:
                barrier.gone += 1
            barrier.waiting.discard(symbol)
            barrier.held.discard(symbol)
            self.settle(interval, before)

    def held(self, symbol: str, interval: str) -> list[int]:
        return self.market[symbol, interval].open_time_ms.tolist()

    # --- what must hold --------------------------------------------------------------------

    @rule()
    def drain(self) -> None:
        events = self.market.drain()
        told = [(e.interval, e.open_time_ms) for e in events if e.kind == EventKind.BARRIER]
        revised = [
            (e.interval, e.open_time_ms) for e in events if e.kind == EventKind.BARRIER_REVISED
        ]
        assert {e.symbol for e in events} - {""} <= set(self.model.symbols)
        assert told == self.due
        assert len(revised) == len(set(revised))
        assert set(revised) == self.revised
        self.told += told
        assert len(self.told) == len(set(self.told))
        self.due = []
        self.revised = set()
        assert not self.market.pending

    @invariant()
    def barriers_tell_what_is_in(self) -> None:
        assert self.market.symbols == tuple(self.model.symbols)
        for interval in INTERVALS:
            seen = self.market.barrier(interval)
            model = self.model.barriers.get(interval)
            if model is None:
                assert seen is None
                continue
            assert seen is not None
            assert seen[:3] == (
                interval,
                model.open_ms,
                next_open_ms(interval, model.open_ms) - 1,
            )
            assert (seen.expected, seen.closed, seen.late, set(seen.missing)) == model.told
            assert seen.complete == (seen.expected == seen.closed) == (not seen.missing)
            assert seen.ended == model.ended
            assert list(seen.missing) == [s for s in self.model.symbols if s in seen.missing]

    @invariant()
    def missing_closes_are_those_of_the_expected(self) -> None:
        for interval in INTERVALS:
            open_ms = OPENS[interval][1]
            assert self.market.missing_closes(interval, open_ms) == [
                symbol
                for symbol in self.model.symbols
                if symbol in self.model.expected and open_ms not in self.held(symbol, interval)
            ]

    @invariant()
    def something_to_tell_is_announced(self) -> None:
        assert self.market.pending or not (self.due or self.revised)

    @invariant()
    def boundaries_are_coherent_when_all_their_barriers_are_told(self) -> None:
        for interval in INTERVALS:
            model = self.model.barriers.get(interval)
            boundary_ms = next_open_ms(interval, START_MS)
            told = model is not None and (
                model.open_ms > OPENS[interval][0]
                or (model.open_ms == OPENS[interval][0] and model.ended)
            )
            assert self.market.coherent([interval], boundary_ms) == told


TestBarriers = BarrierMachine.TestCase
TestBarriers.settings = settings(stateful_step_count=60)
