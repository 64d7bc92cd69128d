"""Traders on closes: what is told, with what, how often, and what changes later."""

from __future__ import annotations

import json

import msgspec
import pytest
from trader_world import ADMIN, START_MS, TraderWorld, person, trader

import klinecore as kc
from klinecore.filters import Filter
from server.signals.model import SignalStatus, signal_id
from server.signals.topics import builtin_topic, matches_topic, owner_topic, signal_topic
from server.traders.book import LOCAL
from server.traders.engine import TraderEngine, Watch
from server.traders.model import RunSource, Trader

MINUTE_MS = 60_000
ADA = person("ada")


@pytest.fixture
def world() -> TraderWorld:
    world = TraderWorld()
    world.attach()
    world.close(AAA="10", BBB="10")
    return world


def make(world: TraderWorld, name: str = "one", **changed: object) -> Trader:
    one = trader(name, **changed)
    world.wait(world.desk.create(ADA, one))
    return one


def test_a_signal_says_where_when_at_what_price_and_why(world: TraderWorld) -> None:
    one = make(world, filter="close > 50 and sma(2) < 60")
    world.close(AAA="10", BBB="20")
    world.close(AAA="70.10", BBB="20")
    (signal,) = world.signals
    assert (signal.symbol, signal.interval, signal.market) == ("AAAUSDT", "1m", "spot")
    assert signal.price == "70.10", "as the exchange wrote it"
    assert signal.open_time_ms == START_MS + 2 * MINUTE_MS
    assert (signal.status, signal.revision, signal.complete) == (SignalStatus.FIRED, 1, True)
    assert signal.values == {
        "close": 70.1,
        "close > 50": 1.0,
        "sma(close, 2)": pytest.approx(40.05),
        "sma(close, 2) < 60": 1.0,
        "close > 50 and sma(close, 2) < 60": 1.0,
    }
    assert signal.anchors == {"1m": START_MS}
    assert signal.data_revision == world.market["AAAUSDT", "1m"].revision
    assert signal.at_ms == world.clock.now_ms
    entry = world.desk.book.get(one.id)
    assert entry is not None
    assert entry.filter is not None
    assert signal.id == signal_id(
        one.id, entry.filter.hash, "spot", "AAAUSDT", "1m", signal.open_time_ms
    )


def test_parts_on_another_interval_are_as_of_the_close(world: TraderWorld) -> None:
    make(world, filter='close > 50 and close @ "5m" > 0')
    for price in ("10", "11", "12", "13"):
        world.close(AAA=price)  # the fifth minute ends 5m as well
    world.close(AAA="99")
    (signal,) = world.signals
    assert signal.values['close @ "5m"'] == 13.0


def test_a_close_waits_for_the_other_interval_and_the_barrier_ends_the_wait() -> None:
    world = TraderWorld()
    world.attach()
    for price in ("10", "11", "12", "13", "14"):
        world.close(AAA=price, BBB="1")
    make(world, filter='close > 50 and close @ "5m" > 0')
    for price in ("20", "21", "22", "23"):
        world.close(AAA=price, BBB="1")
    open_ms = world.clock.now_ms
    world.clock.now_ms += MINUTE_MS
    for interval in ("1m", "5m"):
        world.market.begin_barrier(interval, open_ms if interval == "1m" else open_ms - 240_000)
    world.push("AAAUSDT", "77", open_ms)
    world.push("BBBUSDT", "1", open_ms)
    world.drain()  # the barrier of 1m is complete; that of 5m is not
    assert world.signals == []
    world.clock.now_ms += 3000
    world.market.end_barrier("5m")
    world.drain()
    assert world.signals == [], "its 5m is unknown, so it is unknown"
    world.push("AAAUSDT", "77", open_ms - 240_000, "5m")
    world.drain()
    (signal,) = world.signals
    assert (signal.price, signal.status) == ("77", SignalStatus.FIRED)


def test_edge_fires_once_and_level_at_every_close(world: TraderWorld) -> None:
    """E6."""
    edge = make(world, "edge")
    level = make(world, "level", mode="level")
    for _ in range(10):
        world.close(AAA="60", BBB="1")
    fired = [signal.trader_id for signal in world.signals]
    assert (fired.count(edge.id), fired.count(level.id)) == (1, 10)
    for one in (edge, level):
        world.wait(world.desk.run(ADA, [one.id]))
    assert len(world.signals) == 11, "a run on demand adds none"
    assert len({signal.id for signal in world.signals}) == 11


def test_a_cooldown_keeps_a_trader_quiet(world: TraderWorld) -> None:
    make(world, mode="level", cooldown_bars=3)
    for _ in range(8):
        world.close(AAA="60")
    assert [s.open_time_ms for s in world.signals] == [
        START_MS + MINUTE_MS, START_MS + 5 * MINUTE_MS,
    ]  # fmt: skip


def test_only_the_named_symbols_are_told_of(world: TraderWorld) -> None:
    make(world, symbols=("bbbusdt",))
    world.close(AAA="60", BBB="60")
    assert [signal.symbol for signal in world.signals] == ["BBBUSDT"]
    assert world.executions[-1].symbols_checked == 1


def test_a_corrected_close_retracts_and_a_second_correction_fires_again(
    world: TraderWorld,
) -> None:
    make(world)
    world.close(AAA="60", BBB="1")
    open_ms = START_MS + MINUTE_MS

    def correct(price: str) -> None:
        row = [
            open_ms, price, price, price, price, "5", open_ms + MINUTE_MS - 1, "500", 10, "2",
            "250", "0",
        ]  # fmt: skip
        world.market.apply_klines(
            "AAAUSDT", "1m", json.dumps([row]).encode(), closed_before_ms=1 << 60, correct=True
        )
        world.drain()

    correct("40")
    correct("65")
    told = [(s.status, s.revision, s.price) for s in world.signals]
    assert told == [
        (SignalStatus.FIRED, 1, "60"),
        (SignalStatus.RETRACTED, 2, "60"),
        (SignalStatus.FIRED, 3, "65"),
    ]
    assert len({signal.id for signal in world.signals}) == 1


def test_a_forming_signal_is_confirmed_or_retracted_at_its_close(world: TraderWorld) -> None:
    make(world, evaluate_on="forming")
    open_ms = START_MS + MINUTE_MS
    for symbol in ("AAAUSDT", "BBBUSDT"):
        world.push(symbol, "60", open_ms, closed=False)
    world.drain()
    world.close(AAA="61", BBB="40")
    told = {
        symbol: [(s.status, s.revision) for s in world.signals if s.symbol == symbol]
        for symbol in ("AAAUSDT", "BBBUSDT")
    }
    provisional = (SignalStatus.PROVISIONAL, 1)
    assert told["AAAUSDT"] == [provisional, (SignalStatus.CONFIRMED, 2)]
    assert told["BBBUSDT"] == [provisional, (SignalStatus.RETRACTED, 2)]
    retracted = world.signals[-1] if world.signals[-1].symbol == "BBBUSDT" else world.signals[-2]
    assert retracted.price == "60", "what was told, not nothing"


def provisional(world: TraderWorld) -> Trader:
    one = make(world, evaluate_on="forming")
    for symbol in ("AAAUSDT", "BBBUSDT"):
        world.push(symbol, "60", START_MS + MINUTE_MS, closed=False)
    world.drain()
    assert [s.status for s in world.signals] == [SignalStatus.PROVISIONAL] * 2
    return one


def retracted(world: TraderWorld) -> list[str]:
    return sorted(s.symbol for s in world.signals if (s.status, s.revision) == ("retracted", 2))


@pytest.mark.parametrize(
    ("changed", "gone"),
    [
        ({"symbols": ("AAAUSDT",)}, ["BBBUSDT"]),
        ({"filter": "close > 55"}, ["AAAUSDT", "BBBUSDT"]),
        ({"interval": "5m"}, ["AAAUSDT", "BBBUSDT"]),
        ({"enabled": False}, ["AAAUSDT", "BBBUSDT"]),
    ],
)
def test_what_a_changed_trader_called_provisional_is_retracted(
    world: TraderWorld, changed: dict[str, object], gone: list[str]
) -> None:
    one = provisional(world)
    subscriber = world.hub.subscribe(signal_topic(one.id))
    world.wait(world.desk.update(ADA, one.id, lambda _: msgspec.structs.replace(one, **changed)))
    world.drain()
    assert retracted(world) == gone
    told = [json.loads(subscriber.take() or b"")["data"]["symbol"] for _ in gone]
    assert sorted(told) == gone
    subscriber.end("over")


def test_a_trader_that_waits_for_the_close_confirms_what_it_said_before(
    world: TraderWorld,
) -> None:
    one = provisional(world)
    later = msgspec.structs.replace(one, evaluate_on="closed")
    world.wait(world.desk.update(ADA, one.id, lambda _: later))
    world.close(AAA="60", BBB="40")
    told = {s.symbol: (s.status, s.revision) for s in world.signals}
    assert told == {
        "AAAUSDT": (SignalStatus.CONFIRMED, 2),
        "BBBUSDT": (SignalStatus.RETRACTED, 2),
    }


@pytest.mark.parametrize("origin", [LOCAL, "supabase"])
def test_what_a_deleted_trader_called_provisional_is_retracted(
    world: TraderWorld, origin: str
) -> None:
    one = provisional(world)
    subscriber = world.hub.subscribe(signal_topic(one.id))
    if origin == LOCAL:
        world.wait(world.desk.delete(ADA, one.id))
    else:
        world.desk.book.put(one, origin)
        world.desk.replace([], origin)
    assert retracted(world) == ["AAAUSDT", "BBBUSDT"]
    assert subscriber.take() is not None
    subscriber.end("over")


def test_what_was_said_of_a_symbol_that_left_is_retracted(world: TraderWorld) -> None:
    provisional(world)
    world.market.remove_symbol("BBBUSDT")
    world.drain()
    assert retracted(world) == ["BBBUSDT"]


def test_each_boundary_is_one_execution_of_each_trader(world: TraderWorld) -> None:
    """E5, E7: on its own closes only, all symbols in one."""
    minute, five = make(world, "minute"), make(world, "five", interval="5m")
    before = len(world.executions)
    for _ in range(10):
        world.close(AAA="60", BBB="20")
    runs = [e for e in world.executions[before:] if e.source is RunSource.ENGINE]
    assert [e.trader_id for e in runs].count(minute.id) == 10
    assert [e.trader_id for e in runs].count(five.id) == 2
    assert len({(e.trader_id, e.interval, e.open_time_ms) for e in runs}) == 12
    last = [e for e in runs if e.trader_id == minute.id][-1]
    assert (last.symbols_checked, last.symbols_matched, last.symbols_unknown) == (2, 1, 0)
    assert not last.incomplete


def test_a_missing_close_makes_the_execution_incomplete_not_false(world: TraderWorld) -> None:
    make(world, filter="sma(3) > 50")
    world.close(AAA="60")
    last = world.executions[-1]
    assert (last.symbols_checked, last.symbols_unknown, last.incomplete) == (1, 1, True)


def test_must_never_22_a_screener_has_to_poll(world: TraderWorld) -> None:
    """Symbols that enter and leave are pushed at each close."""
    one = make(world)
    subscriber = world.hub.subscribe(matches_topic(one.id))
    world.close(AAA="60", BBB="1")
    world.close(AAA="60", BBB="60")
    world.close(AAA="1", BBB="60")
    told = []
    while (payload := subscriber.take()) is not None:
        data = json.loads(payload)["data"]
        told.append((data["entered"], data["left"], data["matched"]))
    assert told == [(["AAAUSDT"], [], 1), (["BBBUSDT"], [], 2), ([], ["AAAUSDT"], 1)]
    subscriber.end("over")


def test_a_signal_reaches_its_trader_and_its_owner_and_nobody_else(world: TraderWorld) -> None:
    """E8: one message, the same on every way."""
    one = make(world)
    topics = {
        "trader": signal_topic(one.id),
        "owner": owner_topic("ada"),
        "other": owner_topic("bob"),
        "builtin": builtin_topic(one.access_tier),
    }
    heard = {name: world.hub.subscribe(topic) for name, topic in topics.items()}
    world.close(AAA="60")
    taken = {name: subscriber.take() for name, subscriber in heard.items()}
    assert taken["trader"] == taken["owner"] is not None
    assert taken["other"] is None
    assert taken["builtin"] is None
    message = json.loads(taken["trader"])
    assert message["type"] == "signal"
    assert message["data"]["trader_id"] == one.id
    for subscriber in heard.values():
        subscriber.end("over")


def test_symbols_may_come_and_go(world: TraderWorld) -> None:
    one = make(world)
    world.market.add_symbol("CCCUSDT")
    world.close(AAA="60", BBB="60", CCC="60")
    world.close(AAA="60", BBB="60", CCC="60")
    assert world.executions[-1].symbols_matched == 3
    world.market.remove_symbol("AAAUSDT")
    world.close(BBB="60", CCC="60")
    assert (world.executions[-1].symbols_checked, world.executions[-1].symbols_matched) == (2, 2)
    assert world.desk.health(one).state == "running"


def test_the_past_of_a_symbol_that_comes_is_no_news(world: TraderWorld) -> None:
    """Also if a live close is there before it."""
    make(world, mode="level")
    world.market.add_symbol("CCCUSDT")
    for _ in range(2):
        world.close(AAA="1", BBB="1", CCC="60")
    told = [signal.open_time_ms for signal in world.signals]
    for minute in range(-5, 1):
        world.push("CCCUSDT", "60", START_MS + minute * MINUTE_MS)
    world.market.drain()
    world.close(AAA="1", BBB="1", CCC="60")
    told.append(told[-1] + MINUTE_MS)
    assert [signal.open_time_ms for signal in world.signals] == told


def test_a_symbol_in_the_place_of_one_that_left_enters_all_the_same(world: TraderWorld) -> None:
    one = make(world)
    world.close(AAA="60", BBB="1")
    place = world.desk.engines["spot"].engine.places["AAAUSDT"]
    world.market.remove_symbol("AAAUSDT")
    world.close(BBB="1")
    assert world.desk.health(one).matched == 0
    new = []
    while not new or world.desk.engines["spot"].engine.places[new[-1]] != place:
        new.append(f"N{len(new)}USDT")
        world.market.add_symbol(new[-1])
    subscriber = world.hub.subscribe(f"matches@{one.id}")
    world.close(BBB="1", **{name.removesuffix("USDT"): "60" for name in new})
    told = subscriber.take()
    assert told is not None
    assert json.loads(told)["data"]["entered"] == new
    subscriber.end("over")


def test_a_symbol_that_is_looked_at_no_longer_matches_no_longer(world: TraderWorld) -> None:
    one = make(world)
    world.close(AAA="60", BBB="60")
    fewer = msgspec.structs.replace(one, symbols=("AAAUSDT",))
    world.wait(world.desk.update(ADA, one.id, lambda _: fewer))
    assert world.desk.health(one).matched == 1
    world.close(AAA="60", BBB="1")
    assert (world.desk.health(one).matched, world.desk.health(one).symbols) == (1, 1)


def test_rows_that_came_without_an_event_are_evaluated_before_a_run(world: TraderWorld) -> None:
    one = make(world)
    rows = [
        [
            START_MS + i * MINUTE_MS, "70", "70", "70", "70", "5",
            START_MS + (i + 1) * MINUTE_MS - 1, "500", 10, "2", "250", "0",
        ]
        for i in range(1, 4)
    ]  # fmt: skip
    world.market.apply_klines(
        "AAAUSDT", "1m", json.dumps(rows).encode(), closed_before_ms=1 << 60, notify=False
    )
    (result,) = world.wait(world.desk.run(ADA, [one.id]))
    assert result.matches == ("AAAUSDT",)
    assert result.open_time_ms == START_MS + 3 * MINUTE_MS
    assert [signal.open_time_ms for signal in world.signals] == [START_MS + MINUTE_MS]


def test_a_fault_of_the_engine_begins_it_anew_and_harms_no_channel(
    world: TraderWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make(world)
    engine = world.desk.engines["spot"]

    def fail(*_: object) -> None:
        raise RuntimeError("filters start anew without end")

    monkeypatch.setattr(type(engine), "catch_up", fail)
    monkeypatch.setattr(type(engine), "pump", fail)
    world.close(AAA="1", BBB="1")
    monkeypatch.undo()
    assert world.desk.engines["spot"] is not engine
    world.close(AAA="60", BBB="1")
    assert [signal.trader_id for signal in world.signals] == [one.id]
    assert b'trader_engine_failures_total{market="spot"} 2' in world.metrics.render()


def test_a_fault_that_comes_again_harms_no_channel_and_no_other_trader(
    world: TraderWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make(world, "one"), make(world, "other", filter="close > 51")
    engine = world.desk.engines["spot"]
    right = type(engine).follow

    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    def follow(self: TraderEngine, trader: Trader, filter: Filter) -> Watch:
        if trader.id == one.id:
            raise RuntimeError("this one again")
        return right(self, trader, filter)

    monkeypatch.setattr(type(engine), "pump", fail)
    monkeypatch.setattr(type(engine), "follow", follow)
    world.close(AAA="1", BBB="1")
    monkeypatch.undo()
    health = world.desk.health(one)
    assert (health.state, [error.kind for error in health.errors]) == ("error", ["engine_fault"])
    world.close(AAA="60", BBB="1")
    assert [signal.trader_id for signal in world.signals] == [other.id]
    world.wait(world.desk.update(ADA, one.id, lambda _: one))
    assert world.desk.health(one).errors == []


def test_an_engine_that_cannot_be_begun_anew_goes_on(
    world: TraderWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make(world)
    engine = world.desk.engines["spot"]

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(engine), "pump", fail)
    monkeypatch.setattr(type(engine), "anew", fail)
    world.drain()
    monkeypatch.undo()
    world.close(AAA="1", BBB="1")
    world.close(AAA="60", BBB="1")
    assert [signal.trader_id for signal in world.signals] == [one.id]


def test_what_was_provisional_at_a_fault_is_confirmed_or_retracted_all_the_same(
    world: TraderWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(world, evaluate_on="forming")
    for symbol in ("AAAUSDT", "BBBUSDT"):
        world.push(symbol, "60", START_MS + MINUTE_MS, closed=False)
    world.drain()

    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(type(world.desk.engines["spot"]), "pump", fail)
    world.drain()
    monkeypatch.undo()
    world.close(AAA="61", BBB="40")
    told = {s.symbol: (s.status, s.revision) for s in world.signals}
    assert told == {
        "AAAUSDT": (SignalStatus.CONFIRMED, 2),
        "BBBUSDT": (SignalStatus.RETRACTED, 2),
    }
    assert world.desk.engines["spot"].memory.provisional() == []


def test_must_never_17_a_filter_is_evaluated_late_unseen(world: TraderWorld) -> None:
    one = make(world)
    world.close(AAA="60", BBB="1", late_ms=1_500)
    health = world.desk.health(world.desk.get(ADMIN, one.id))
    assert (health.late_ms, health.late_ms_max) == (1_500, 1_500)
    assert (health.evaluations, health.signals, health.matched) == (1, 1, 1)
    assert health.last_open_time_ms == START_MS + MINUTE_MS


def test_unknown_evaluations_are_counted_by_reason(world: TraderWorld) -> None:
    one = make(world, filter="sma(5) > 50")
    world.close(AAA="60", BBB="1")
    assert world.desk.health(one).unknown == {"NOT_WARM": 2}
    assert world.executions[-1].symbols_unknown == 2


def test_values_of_parts_equal_what_a_fresh_evaluation_gives(world: TraderWorld) -> None:
    make(world, filter="ema(3) > 20 and rsi(3) > 40 and macd(2, 3, 2).hist > -50", mode="level")
    for price in ("60", "61", "59", "66", "64", "70", "75", "71"):
        world.close(AAA=price, BBB="20")
    last = world.signals[-1]
    entry = world.desk.book.get(last.trader_id)
    assert entry is not None
    assert entry.filter is not None
    found = kc.filters.evaluate(entry.filter, world.market, "1m", ["AAAUSDT"])
    assert last.values == {name: float(column[0]) for name, column in found.parts.items()}
