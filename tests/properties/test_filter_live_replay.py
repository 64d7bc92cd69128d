"""Whatever comes in whatever order, the live engine ends where the rows in memory say."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from filter_oracle import Oracle
from filter_trees import conditions
from hypothesis import given, note, settings
from hypothesis import strategies as st

from klinecore import Kline, Market
from klinecore.filters import Node, replay
from klinecore.filters.engine import Engine
from klinecore.filters.telling import Firing
from klinecore.interval import INTERVAL_MS, next_open_ms, open_time_ms

SYMBOLS = ("A", "B", "C")
INTERVALS = ("1m", "3m")
MINUTE = 60_000
START = 1_700_000_100_000 // 180_000 * 180_000


class Rooted(NamedTuple):
    root: Node


class World:
    """A market and an engine beside it, and what the engine has told."""

    def __init__(self, capacity: int = 200) -> None:
        self.market = Market(SYMBOLS, INTERVALS, capacity, room=1)
        self.engine = Engine(self.market)
        self.filters: dict[int, tuple[Node, str, str, int]] = {}
        self.told: dict[int, dict[tuple[str, int], float]] = {}

    def add(self, root: Node, interval: str, mode: str, cooldown: int) -> None:
        number = self.engine.add(root, interval, mode=mode, cooldown=cooldown)
        self.filters[number] = root, interval, mode, cooldown
        self.told[number] = {}

    def remove(self, number: int) -> None:
        self.engine.remove(number)
        del self.filters[number], self.told[number]

    def push(self, symbol: str, interval: str, time: int, price: int, *, closed: bool) -> None:
        text, above, below = f"{price}.5", f"{price + 2}.0", f"{price - 1}.25"
        self.market.push(
            symbol,
            interval,
            Kline(
                time, text, above, below, text, f"{price % 7}.0",
                next_open_ms(interval, time) - 1, "5.0", price, "1.0", "1.0", closed,
            ),
        )  # fmt: skip

    def hear(self, firings: Iterable[Firing]) -> None:
        """Every firing is told once, and only what was told is taken back."""
        for firing in firings:
            told = self.told[firing.filter_id]
            key = firing.symbol, firing.open_time_ms
            if firing.retracted:
                del told[key]
            else:
                assert key not in told, firing
                told[key] = firing.price
            assert firing.interval == self.filters[firing.filter_id][1]

    def swap(self, symbol: str) -> None:
        """Hold a symbol no longer, or again; what was told of it is gone."""
        if symbol in self.market.symbols:
            self.market.remove_symbol(symbol)
            for told in self.told.values():
                for key in [key for key in told if key[0] == symbol]:
                    del told[key]
        else:
            self.market.add_symbol(symbol)

    def restart(self) -> None:
        """Another process goes on: the same rows, the same filters, and what was remembered."""
        self.pump()
        image = self.engine.save()
        market = Market(self.market.symbols, INTERVALS, self.market.capacity, room=1)
        for symbol in self.market.symbols:
            for interval in INTERVALS:
                series = self.market[symbol, interval]
                for row in series.klines(forming=True):
                    market.push(symbol, interval, row)
                for first, last in series.absences():
                    market.confirm_absent(symbol, interval, first, last)
        market.drain()
        engine = Engine(market)
        numbers = {
            old: engine.add(f[0], f[1], mode=f[2], cooldown=f[3]) for old, f in self.filters.items()
        }
        assert engine.load(image) == ()
        self.filters = {numbers[old]: f for old, f in self.filters.items()}
        self.told = {numbers[old]: told for old, told in self.told.items()}
        self.market, self.engine = market, engine

    def pump(self) -> None:
        self.hear(self.engine.pump(self.market.drain()))

    def deadline(self, interval: str, time: int) -> None:
        self.pump()
        self.hear(self.engine.deadline(interval, time))

    def check(self, *, forgotten: bool = False) -> None:
        """Everything the engine says is what the rows in memory say.

        ``forgotten``: but for firings that were told and need rows that are no longer there.
        """
        for number, (root, interval, mode, cooldown) in self.filters.items():
            oracle = Oracle(self.market, interval)
            note(f"{number} on {interval}: {root.text}")
            fires = oracle.fires(root, mode=mode, cooldown=cooldown)
            values = oracle.argument(root, interval)
            ran = replay(Rooted(root), self.market, interval, mode=mode, cooldown=cooldown)
            replayed = {
                (ran.symbols[i], int(time))
                for i, time in zip(ran.symbol_index, ran.open_time_ms, strict=True)
            }
            assert replayed == fires
            for symbol in self.market.symbols:
                history = self.engine.history(number, symbol)
                times = self.market[symbol, interval].open_time_ms
                oldest = times[0] if len(times) else 0
                expected = {t for s, t in fires if s == symbol and t > (history or -1)}
                told = {t for s, t in self.told[number] if s == symbol and t >= oldest}
                if forgotten:
                    unknown = {t for s, t in oracle.undecided(root, mode=mode) if s == symbol}
                    told -= unknown
                    expected -= unknown
                assert told == expected, (number, symbol, sorted(told ^ expected))
                newest = values[symbol][-1] if values[symbol] else None
                assert self.engine.value(number, symbol) == newest, (number, symbol)


def clock(interval: str, minute: int) -> int:
    return open_time_ms(interval, START + minute * MINUTE)


@st.composite
def filters(draw: st.DrawFn, across: bool) -> tuple[Node, str, str, int]:
    interval, other = draw(st.permutations(INTERVALS))
    root = draw(conditions((interval, other), draw(st.integers(0, 3)), across))
    mode = draw(st.sampled_from(["edge", "level"]))
    return root, interval, mode, draw(st.sampled_from([0, 0, 2]))


def arrivals(random: Random, minutes: int) -> list[tuple[int, str, str, int]]:
    """Every row once, in the order in which they come: some late, some after others, some never."""
    fate = random.choice([(0.0, 0.0), (0.1, 0.0), (0.1, 0.1), (0.3, 0.2)])
    found = []
    for minute in range(minutes):
        for symbol in (*SYMBOLS, "D"):
            for i, interval in enumerate(INTERVALS):
                if (minute + 1) % (1, 3)[i]:
                    continue
                late = random.choice([1, 2, 3, 20]) if random.random() < fate[0] else 0
                if random.random() >= fate[1]:
                    found.append((minute + late, symbol, interval, clock(interval, minute)))
    random.shuffle(found)
    return sorted(found, key=lambda one: one[0])


def disturb(world: World, random: Random, minute: int, restarts: float) -> None:
    """One of the things that happen beside the closes."""
    symbol, interval = random.choice(world.market.symbols), random.choice(INTERVALS)
    what = random.choice(["pump", "pump", "pump", "revise", "absent", "deadline", "forming"])
    if random.random() < restarts:
        world.restart()
    if what == "pump":
        world.pump()
    elif what == "revise":
        for time in random.choices(list(world.market[symbol, interval].open_time_ms) or [0]):
            if time:
                # More trades than any other row of that time.
                world.push(symbol, interval, int(time), random.randint(111, 120), closed=True)
    elif what == "absent":
        for first, last in world.market[symbol, interval].holes()[:1]:
            world.market.confirm_absent(symbol, interval, first, last)
    elif what == "deadline":
        world.deadline(interval, clock(interval, random.randint(0, minute)))
    else:
        time = clock(interval, minute + 2)
        world.push(symbol, interval, time, random.randint(90, 110), closed=False)


def live(
    seed: int,
    minutes: int,
    added: list[tuple[Node, str, str, int]],
    *,
    capacity: int = 41,  # more than minutes: nothing leaves the memory
    swaps: float = 0.0,
    restarts: float = 0.0,
) -> World:
    """A market's life from a seed, with filters that come and go."""
    random = Random(seed)
    world = World(capacity)
    coming = {random.choice([0, random.randrange(minutes)]): one for one in added}
    barriers = random.random() < 0.8
    minute = -1
    for at, symbol, interval, time in arrivals(random, minutes):
        if at != minute:
            minute = at
            if minute in coming:
                world.add(*coming[minute])
            if barriers and random.random() < 0.7:
                world.market.begin_barrier(interval, time)
                world.market.end_barrier(interval)
            if world.filters and random.random() < 0.02:
                world.remove(random.choice(sorted(world.filters)))
        if random.random() < swaps:
            world.swap(random.choice([*SYMBOLS[1:], "D"]))
        if symbol in world.market.symbols:
            world.push(symbol, interval, time, random.randint(90, 110), closed=True)
        if random.random() < 0.25:
            disturb(world, random, minute, restarts)
    for interval in INTERVALS:
        world.deadline(interval, START + 100 * INTERVAL_MS[interval])
    return world


SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.integers(3, 40), st.lists(filters(across=False), min_size=1, max_size=3))
def test_must_never_19_live_filters_differ_from_their_replay(
    seed: int, minutes: int, added: list[tuple[Node, str, str, int]]
) -> None:
    live(seed, minutes, added).check()


@given(SEEDS, st.integers(3, 40), st.lists(filters(across=True), min_size=1, max_size=3))
def test_so_it_is_when_symbols_are_compared(
    seed: int, minutes: int, added: list[tuple[Node, str, str, int]]
) -> None:
    live(seed, minutes, added).check()


@given(SEEDS, st.integers(3, 60), st.lists(filters(across=False), min_size=1, max_size=2))
def test_symbols_come_and_go(
    seed: int, minutes: int, added: list[tuple[Node, str, str, int]]
) -> None:
    live(seed, minutes, added, capacity=64, swaps=0.03).check()


@given(SEEDS, st.integers(3, 40), st.lists(filters(across=True), min_size=1, max_size=3))
def test_a_restart_changes_nothing(
    seed: int, minutes: int, added: list[tuple[Node, str, str, int]]
) -> None:
    live(seed, minutes, added, restarts=0.2).check()


@given(SEEDS, filters(across=False))
@settings(max_examples=100)
def test_a_correction_of_new_rows_moves_no_anchor(
    seed: int, added: tuple[Node, str, str, int]
) -> None:
    random = Random(seed)
    short, whole = World(capacity=12), World()
    for world in (short, whole):
        world.add(*added)
    for minute in range(60):
        changes = [(minute, random.randint(90, 110), False)] if random.random() < 0.9 else []
        if random.random() < 0.1:
            changes.append((minute - random.randint(0, 1), 111 + minute, True))
        for at, price, corrects in changes:
            for interval in INTERVALS:
                if at >= 0 and (at + 1) * MINUTE % INTERVAL_MS[interval] == 0:
                    time = clock(interval, at)
                    for symbol in SYMBOLS[:1] if corrects else SYMBOLS:
                        if not corrects or time in whole.market[symbol, interval].open_time_ms:
                            for world in (short, whole):
                                world.push(symbol, interval, time, price, closed=True)
        for world in (short, whole):
            for symbol in SYMBOLS:
                for interval in INTERVALS:
                    for first, last in world.market[symbol, interval].holes():
                        world.market.confirm_absent(symbol, interval, first, last)
            world.pump()
    for symbol in SYMBOLS[1:]:
        anchors = {world.engine.anchor(1, symbol) for world in (short, whole)}
        assert len(anchors) == 1
    assert short.engine.value(1, "A") == whole.engine.value(1, "A")
    assert short.told == whole.told


@given(SEEDS, filters(across=False))
@settings(max_examples=60)
def test_a_restart_keeps_what_stands_on_rows_that_left_the_memory(
    seed: int, added: tuple[Node, str, str, int]
) -> None:
    random = Random(seed)
    one, other = World(capacity=10), World(capacity=10)
    for world in (one, other):
        world.add(*added)
    for minute in range(45):
        for interval in INTERVALS:
            if (minute + 1) * MINUTE % INTERVAL_MS[interval] == 0:
                for symbol in SYMBOLS:
                    price = random.randint(90, 110)
                    for world in (one, other):
                        world.push(symbol, interval, clock(interval, minute), price, closed=True)
        for world in (one, other):
            world.pump()
        if random.random() < 0.1:
            other.restart()
    assert list(one.told.values()) == list(other.told.values())


@given(SEEDS, conditions(("1m",), 3, False))
@settings(max_examples=100)
def test_a_preview_is_bit_for_bit_what_the_close_says(seed: int, root: Node) -> None:
    random = Random(seed)
    world = World()
    world.add(root, "1m", "edge", 0)
    (number,) = world.filters
    for minute in range(25):
        price = random.randint(90, 110)
        for symbol in SYMBOLS:
            time = clock("1m", minute)
            world.push(symbol, "1m", time, price, closed=False)
            previewed = world.engine.preview(number, symbol)
            world.push(symbol, "1m", time, price, closed=True)
            world.pump()
            if minute:
                assert world.engine.value(number, symbol) is previewed
    world.check()


@given(SEEDS, st.integers(20, 80), st.lists(filters(across=True), min_size=1, max_size=2))
def test_a_symbol_that_starts_anew_takes_back_nothing_it_cannot_know(
    seed: int, minutes: int, added: list[tuple[Node, str, str, int]]
) -> None:
    world = live(seed, minutes, [(*one[:3], 0) for one in added], capacity=12)
    world.restart()  # What was remembered of rows that are gone would tell more than memory.
    for symbol in SYMBOLS:
        for interval in INTERVALS:
            times = world.market[symbol, interval].open_time_ms
            if len(times):
                world.push(symbol, interval, int(times[0]), 121, closed=True)
    before = {number: set(told) for number, told in world.told.items()}
    world.pump()
    world.check(forgotten=True)
    for number, (root, interval, mode, _) in world.filters.items():
        unknown = Oracle(world.market, interval).undecided(root, mode=mode)
        assert set(world.told[number]) & unknown == before[number] & unknown


@given(SEEDS, filters(across=False))
@settings(max_examples=50)
def test_values_are_anchored_at_the_first_row_as_long_as_nothing_breaks(
    seed: int, added: tuple[Node, str, str, int]
) -> None:
    random = Random(seed)
    short, whole = World(capacity=10), World()
    for world in (short, whole):
        world.add(*added)
    for minute in range(45):
        for interval in INTERVALS[:: random.choice([1, -1])]:
            if (minute + 1) * MINUTE % INTERVAL_MS[interval] == 0:
                for symbol in SYMBOLS:
                    price = random.randint(90, 110)
                    for world in (short, whole):
                        world.push(symbol, interval, clock(interval, minute), price, closed=True)
        for world in (short, whole):
            world.pump()
        assert short.told == whole.told
    # All intervals' first rows came together, or those that read both began anew with the later.
    assert short.engine.counters()["started_anew"] <= len(SYMBOLS)
    whole.check()


@given(SEEDS, filters(across=False))
@settings(max_examples=50)
def test_closes_in_order_leave_nothing_to_revise(
    seed: int, added: tuple[Node, str, str, int]
) -> None:
    random = Random(seed)
    world = World()
    world.add(*added)
    for minute in range(21):
        for i, interval in enumerate(INTERVALS):
            for symbol in SYMBOLS:
                if (minute + 1) % (1, 3)[i] == 0:
                    time = clock(interval, minute)
                    world.push(symbol, interval, time, random.randint(90, 110), closed=True)
        firings = world.engine.pump(world.market.drain())
        assert not any(firing.revision for firing in firings)
        world.hear(firings)
    world.check()
