"""The live engine and the columns over memory agree on filters made of every operation."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Literal, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from reference.strategies import opens
from reference.trees import Expression, random_kline, trees

import klinecore as kc
from klinecore.filters import compile, evaluate, replay
from klinecore.filters.engine import Engine
from klinecore.filters.telling import Firing
from klinecore.interval import close_time_ms

SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
INTERVALS = ("1m", "3m", "5m")
MINUTE_MS = 60_000
CAPACITY = 64
FAR_MS = 1 << 42


class Added(NamedTuple):
    """A filter, how it fires, and whether it is there from the start."""

    tree: Expression
    interval: str
    mode: Literal["edge", "level"]
    cooldown: int
    early: bool


added = st.builds(
    Added,
    trees(others=INTERVALS, size=16, tickers=False),
    st.sampled_from(INTERVALS),
    st.sampled_from(["edge", "level"]),
    st.integers(0, 3),
    st.booleans(),
)


def arrivals(random: Random, minutes: int) -> list[tuple[str, str, kc.Kline]]:
    """Rows in the order in which they come: some late, some never, some corrected."""
    end_ms = close_time_ms("1m", opens("1m", minutes)[-1])
    coming: list[tuple[float, float, str, str, kc.Kline]] = []

    def come(at_ms: float, symbol: str, interval: str, row: kc.Kline) -> None:
        coming.append((at_ms, random.random(), symbol, interval, row))

    for symbol in SYMBOLS:
        for interval in INTERVALS:
            price = random.choice([5, 1000])
            lost = random.choice([0, 0, 0.05, 0.2])
            for opened in opens(interval, minutes):
                closed = close_time_ms(interval, opened)
                if closed > end_ms:
                    break
                price = max(price + random.choice([-50, -7, 0, 0, 1, 7, 50]), 0)
                late = random.choice([0, 0, 0, 1, 2, MINUTE_MS + 1])
                late = random.randint(0, 5 * MINUTE_MS) if random.random() < 0.05 else late
                if random.random() >= lost:
                    come(closed + late, symbol, interval,
                         random_kline(random, interval, opened, price))  # fmt: skip
                if random.random() < 0.05:
                    row = random_kline(random, interval, opened, price + 1)
                    corrected = row._replace(trades=50)
                    late = random.randint(0, 5 * MINUTE_MS)
                    come(closed + late, symbol, interval, corrected)
    return [one[2:] for one in sorted(coming, key=lambda one: one[:2])]


class Told:
    """What an engine has told and not taken back: filter, symbol and open time."""

    def __init__(self, market: kc.Market) -> None:
        self.market = market
        self.engine = Engine(market)
        self.firings: set[tuple[int, str, int]] = set()

    def hear(self, firings: Iterable[Firing]) -> None:
        for firing in firings:
            key = firing.filter_id, firing.symbol, firing.open_time_ms
            assert (key in self.firings) == firing.retracted
            self.firings ^= {key}

    def pump(self, *, until_ms: int | None = None) -> None:
        self.hear(self.engine.pump(self.market.drain()))
        if until_ms is not None:
            for interval in INTERVALS:
                self.hear(self.engine.deadline(interval, until_ms))


@given(st.integers(0, 2**32), st.integers(5, 60), st.lists(added, min_size=1, max_size=3))
def test_what_is_told_live_is_what_a_replay_finds(
    seed: int, minutes: int, some: list[Added]
) -> None:
    random = Random(seed)
    market = kc.Market(SYMBOLS, INTERVALS, CAPACITY)
    told = Told(market)
    held: dict[int, Added] = {}

    def add(one: Added) -> None:
        told.pump()
        number = told.engine.add(one.tree, one.interval, mode=one.mode, cooldown=one.cooldown)
        held[number] = one

    for one in some:
        if one.early:
            add(one)
    waiting = [one for one in some if not one.early]
    for symbol, interval, row in arrivals(random, minutes):
        market.push(symbol, interval, row)
        chance = random.random()
        if chance < 0.3:
            told.pump()
        elif chance < 0.32:
            told.pump(until_ms=row.open_time_ms)
        elif chance < 0.34:
            for first, last in market[symbol, interval].holes()[:1]:
                market.confirm_absent(symbol, interval, first, last)
        elif chance < 0.38 and waiting:
            add(waiting.pop())
    told.pump(until_ms=FAR_MS)
    for number, one in held.items():
        now = evaluate(one.tree, market, one.interval)
        past = replay(one.tree, market, one.interval, mode=one.mode, cooldown=one.cooldown)
        fired = list(zip(past.symbol_index.tolist(), past.open_time_ms.tolist(), strict=True))
        for place, symbol in enumerate(SYMBOLS):
            value = {0.0: False, 1.0: True}.get(now.values[place])
            assert told.engine.value(number, symbol) == value
            history = told.engine.history(number, symbol) or 0
            expected = {time for index, time in fired if index == place and time > history}
            assert {t for n, s, t in told.firings if (n, s) == (number, symbol)} == expected


def test_a_condition_of_earlier_klines_is_followed_live() -> None:
    """It crashed: only numbers were looked back at."""
    market = kc.Market(["AAA"], ["1m"], CAPACITY)
    told = Told(market)
    for text in ("(close > 5)[2]", "(close > 5)[1] and not close > 5"):
        told.engine.add(compile(text), "1m", mode="level")
    for opened, close in zip(opens("1m", 6), [9, 1, 9, 9, 1, 1], strict=True):
        market.push("AAA", "1m", random_kline(Random(0), "1m", opened, close * 100))
        told.pump()
    places = [opens("1m", 6).index(time) for _, _, time in sorted(told.firings)]
    assert places == [2, 4, 5, 1, 4]
