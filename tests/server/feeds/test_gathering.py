"""What is gathered before it is told: any interleaving of updates, closes and pauses."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picows import WSMsgType
from picows.picows import _make_test_ws_frame
from reference.messages import dump, kline_frame
from reference.samples import TICKER
from reference.strategies import START_MS, plain_kline
from simulation.clock import SimulatedClock
from simulation.loop import run

import klinecore as kc
from server.feeds import _listener_py, listener
from server.signals.channels import Channels
from server.signals.hub import Hub

SYMBOLS = ("BTCUSDT", "ETHUSDT")
GATHER_S = 0.01
MINUTE_MS = 60_000

Said = tuple[int, int, bool]  # open time, trades, closed; of a ticker: 0, trades, False


class At(NamedTuple):
    what: Said
    at_s: float
    number: int  # among all that was said; 0 of what was heard


class World:
    """A listener, its market and its streams; what was said and heard on each, and when."""

    def __init__(self, module: Any, gather_s: float = GATHER_S) -> None:
        self.loop = asyncio.get_running_loop()
        self.market = kc.Market(SYMBOLS, ["1m"], 10)
        self.passes: list[float] = []
        self.changes = module.ChangeNotifier(self.tell, gather_s)
        self.listener = module.FeedListener(
            self.market, self.changes, lambda kind, message: None, lambda: None, 4096
        )
        hub = Hub()
        self.channels = Channels("spot", self.market, hub, SimulatedClock(START_MS, self.loop))
        self.said: dict[str, list[At]] = defaultdict(list)
        self.heard: dict[str, list[At]] = defaultdict(list)
        for symbol in SYMBOLS:
            for kind in ("kline_1m", "ticker"):
                hub.attach(self, self.channels.topic(f"{symbol.lower()}@{kind}"))
        self.trades = 0
        self.minutes = dict.fromkeys(SYMBOLS, 0)

    def tell(self) -> None:
        self.passes.append(self.loop.time())
        self.channels.publish(self.market.drain())

    def receive(self, topic: str, payload: bytes, key: str | None, *, final: bool) -> bool:
        message = json.loads(payload)
        kline = message.get("k")
        what = (kline["t"], kline["n"], kline["x"]) if kline else (0, message["n"], False)
        self.heard[self.channels.stream(topic)].append(At(what, self.loop.time(), 0))
        return True

    def say(self, stream: str, what: Said, frame: bytes) -> None:
        self.said[stream].append(At(what, self.loop.time(), self.trades))
        self.listener.on_ws_frame(None, _make_test_ws_frame(WSMsgType.TEXT, frame, True, False))

    def kline(self, symbol: str, *, closed: bool) -> None:
        """The next update of a symbol's kline; whoever reads sees it at once."""
        self.trades += 1
        open_ms = START_MS + self.minutes[symbol] * MINUTE_MS
        row = plain_kline(open_ms, self.trades, closed=closed)
        stream = f"{symbol.lower()}@kline_1m"
        self.say(stream, (open_ms, self.trades, closed), kline_frame(row, symbol))
        series = self.market[symbol, "1m"]
        stored = series.last if closed else series.forming
        assert stored is not None
        assert stored.trades == self.trades
        self.minutes[symbol] += closed

    def ticker(self, symbol: str) -> None:
        self.trades += 1
        last = TICKER["L"] + self.trades
        event_ms = TICKER["E"] + self.trades
        fields = {"s": symbol, "n": self.trades, "L": last, "E": event_ms}
        self.say(f"{symbol.lower()}@ticker", (0, self.trades, False), dump({**TICKER, **fields}))
        ticker = self.market.ticker(symbol)
        assert ticker is not None
        assert ticker["n"] == self.trades


symbols = st.sampled_from(SYMBOLS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("forming"), symbols),
        st.tuples(st.just("forming"), symbols),
        st.tuples(st.just("ticker"), symbols),
        st.tuples(st.just("closing"), symbols),
        st.tuples(st.just("notify"), st.none()),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.004, 0.01, 0.025])),
    ),
    max_size=40,
)


async def play(module: Any, script: list[tuple[str, Any]]) -> World:
    """Say it all, and wait until nothing more can be told."""
    world = World(module)
    for action, what in script:
        if action == "wait":
            await asyncio.sleep(what)
        elif action == "notify":
            world.changes.notify()
        elif action == "ticker":
            world.ticker(what)
        else:
            world.kline(what, closed=action == "closing")
    await asyncio.sleep(3 * GATHER_S)
    return world


def is_subsequence(some: list[Said], every: list[Said]) -> bool:
    rest = iter(every)
    return all(any(what == other for other in rest) for what in some)


def check(world: World) -> None:
    closings = [said for every in world.said.values() for said in every if said.what[2]]
    for stream, said in world.said.items():
        heard = world.heard[stream]
        assert is_subsequence([one.what for one in heard], [one.what for one in said]), stream
        assert heard[-1].what == said[-1].what, stream
        # Closes: all of them, in the pass they came in.
        closes = [one[:2] for one in said if one.what[2]]
        assert [one[:2] for one in heard if one.what[2]] == closes, stream
        # Updates: it or a newer one soon, and with the next close of whatever series.
        for one in said:
            told_s = min(at.at_s for at in heard if at.what >= one.what)
            assert told_s - one.at_s <= GATHER_S + 1e-9, stream
            assert not any(c.number > one.number and c.at_s < told_s for c in closings), stream


@pytest.mark.parametrize("module", [listener, _listener_py], ids=["compiled", "python"])
@given(script=steps)
def test_all_is_told_in_order_to_the_last_and_closes_at_once(module: Any, script: Any) -> None:
    check(run(play(module, script)))


@given(script=steps)
def test_both_listeners_tell_at_the_same_moments(script: Any) -> None:
    compiled, python = run(play(listener, script)), run(play(_listener_py, script))
    assert (compiled.passes, compiled.heard) == (python.passes, python.heard)


@pytest.mark.parametrize("module", [listener, _listener_py], ids=["compiled", "python"])
def test_lone_updates_of_many_symbols_share_passes(module: Any) -> None:
    async def scenario() -> World:
        world = World(module)
        for number in range(100):
            world.kline(SYMBOLS[number % 2], closed=False)
            await asyncio.sleep(0.001)
        return world

    world = run(scenario())
    assert 10 <= len(world.passes) <= 12
    assert world.passes[0] == 0.0  # who speaks after a silence is told at once


@pytest.mark.parametrize("module", [listener, _listener_py], ids=["compiled", "python"])
def test_nothing_is_gathered_when_nothing_shall_be(module: Any) -> None:
    async def scenario() -> World:
        world = World(module, gather_s=0.0)
        for number in range(10):
            world.kline(SYMBOLS[number % 2], closed=False)
            await asyncio.sleep(0.001)
        return world

    assert len(run(scenario()).passes) == 10


@pytest.mark.parametrize("module", [listener, _listener_py], ids=["compiled", "python"])
def test_a_feed_that_ends_tells_nothing_later(module: Any) -> None:
    async def scenario() -> World:
        world = World(module)
        world.kline("BTCUSDT", closed=False)
        await asyncio.sleep(0.001)
        world.kline("BTCUSDT", closed=False)
        world.changes.stop()
        await asyncio.sleep(1.0)
        return world

    assert len(run(scenario()).passes) == 1
