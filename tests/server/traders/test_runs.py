"""Traders run on demand: at once when they are made, over the past, and while others go on."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from trader_world import START_MS, TraderWorld, person, trader

from server.traders.desk import UnknownTraderError
from server.traders.images import go_on
from server.traders.model import RunSource, Trader
from server.traders.runs import RunResult

ADA = person("ada")


@pytest.fixture
def world() -> TraderWorld:
    world = TraderWorld()
    world.attach()
    world.close(AAA="60", BBB="10")
    return world


def make(world: TraderWorld, name: str = "one", **changed: object) -> Trader:
    one = trader(name, **changed)
    world.wait(world.desk.create(ADA, one))
    return world.desk.get(ADA, one.id)


def test_must_never_20_a_new_trader_sees_nothing(world: TraderWorld) -> None:
    """It runs at once."""
    run = world.wait(world.desk.create(ADA, trader(filter="close > 50 and close < 1000")))
    assert run is not None
    assert (run.matches, run.symbols, run.error) == (("AAAUSDT",), ("AAAUSDT", "BBBUSDT"), None)
    assert run.values["AAAUSDT"]["close"] == 60.0
    assert [(e.source, e.symbols_matched) for e in world.executions] == [(RunSource.REQUEST, 1)]
    assert world.signals == []


def test_its_past_is_kept_marked_historical(world: TraderWorld) -> None:
    for price in ("10", "70.50", "10", "80"):
        world.close(AAA=price, BBB="1")
    subscriber = world.hub.subscribe(f"signals@{trader().id}")
    world.wait(world.desk.create(ADA, trader(), past=True))
    told = [(s.open_time_ms, s.price, s.historical) for s in world.signals]
    assert told == [
        (START_MS + 120_000, "70.50", True), (START_MS + 240_000, "80", True)
    ]  # fmt: skip
    assert subscriber.take() is None, "nobody is alerted of the past"
    world.close(AAA="1", BBB="1")
    world.close(AAA="90", BBB="1")
    assert [s.historical for s in world.signals] == [True, True, False]
    subscriber.end("over")


@pytest.mark.parametrize("what", ["deleted", "another filter", "other symbols"])
def test_a_past_that_is_no_longer_its_own_is_not_kept(world: TraderWorld, what: str) -> None:
    """It is computed beside the loop, where others go on."""
    world.close(AAA="10", BBB="10")
    world.close(AAA="70", BBB="71")
    one = trader(symbols=("AAAUSDT", "BBBUSDT"))

    async def scenario() -> object:
        made = asyncio.create_task(world.desk.create(ADA, one, past=True))
        while world.desk.book.get(one.id) is None:
            await asyncio.sleep(0)
        if what == "deleted":
            await world.desk.delete(ADA, one.id)
        else:
            text = "close > 65" if what == "another filter" else one.filter
            changed = msgspec.structs.replace(one, filter=text, symbols=("BBBUSDT",))
            await world.desk.update(ADA, one.id, lambda _: changed)
        return await made

    if what == "deleted":
        with pytest.raises(UnknownTraderError):
            world.wait(scenario())
        assert (world.signals, world.executions) == ([], [])
        return
    run = world.wait(scenario())
    assert isinstance(run, RunResult)
    assert (run.symbols, run.filter_hash) == (("BBBUSDT",), hash_of(world, one))
    kept = [signal.symbol for signal in world.signals]
    assert kept == ([] if what == "another filter" else ["BBBUSDT"])


def hash_of(world: TraderWorld, one: Trader) -> str:
    entry = world.desk.book.get(one.id)
    assert entry is not None
    assert entry.filter is not None
    return entry.filter.hash


@pytest.mark.parametrize("source", list(RunSource))
def test_nothing_is_kept_of_a_run_whose_trader_went_meanwhile(
    world: TraderWorld, source: RunSource
) -> None:
    one = make(world, enabled=False, filter="close > 50", symbols=("AAAUSDT",))
    world.market.remove_symbol("AAAUSDT")  # it would be an error of the trader's
    executions = len(world.executions)

    async def scenario() -> object:
        run = asyncio.create_task(world.desk.run(ADA, [one.id], source))
        await asyncio.sleep(0)
        await world.desk.delete(ADA, one.id)
        return await run

    with pytest.raises(UnknownTraderError):
        world.wait(scenario())
    assert len(world.executions) == executions
    assert world.desk.errors.of(one.id) == []
    assert world.desk._runs == {}


def test_a_run_of_a_trader_that_changed_meanwhile_counts_for_nothing(world: TraderWorld) -> None:
    one = make(world, enabled=False, symbols=("AAAUSDT",))
    world.market.remove_symbol("AAAUSDT")
    executions = len(world.executions)

    async def scenario() -> list[RunResult]:
        run = asyncio.create_task(world.desk.run(ADA, [one.id]))
        await asyncio.sleep(0)
        changed = msgspec.structs.replace(one, filter="close > 1", symbols=("BBBUSDT",))
        await world.desk.update(ADA, one.id, lambda _: changed)
        return await run

    (run,) = world.wait(scenario())
    assert run.error is not None, "it answers as it was asked"
    assert len(world.executions) == executions
    assert world.desk.errors.of(one.id) == []


def test_must_never_23_no_symbol_evaluated_looks_like_no_match() -> None:
    world = TraderWorld()
    world.attach()
    one = make(world)
    (run,) = world.wait(world.desk.run(ADA, [one.id]))
    assert run.error == "no symbol was evaluated"
    assert [error.kind for error in world.desk.health(one).errors] == ["no_symbols"]
    assert world.errors[-1].count == 2  # once when it was made
    assert world.executions[-1].error == "no symbol was evaluated"


@pytest.mark.parametrize("begun", [True, False])
def test_must_never_21_a_backfill_at_a_cold_start_is_no_news(begun: bool) -> None:
    world = TraderWorld()
    world.attach()
    make(world)
    if begun:
        go_on(world.desk.engines["spot"], None, START_MS + 3 * 60_000)
    for minute, price in enumerate(("10", "90", "10", "90")):  # three closed before the start
        world.push("AAAUSDT", price, START_MS + minute * 60_000)
    world.drain()
    told = [(s.open_time_ms - START_MS) // 60_000 for s in world.signals]
    assert told == ([3] if begun else [1, 3])


def test_what_is_mended_by_the_next_close_is_wrong_no_longer() -> None:
    world = TraderWorld()
    world.attach()
    one = make(world)
    world.wait(world.desk.run(ADA, [one.id]))
    assert world.desk.errors.has(one.id, "no_symbols")
    world.close(AAA="70", BBB="1")
    assert world.executions[-1].symbols_checked == 2
    assert world.desk.health(one).errors == []


def test_a_disabled_trader_can_be_run_and_says_the_same(world: TraderWorld) -> None:
    live = make(world, "live", filter="ema(3) > 20 and close > 50")
    still = make(world, "still", filter="ema(3) > 20 and close > 50", enabled=False)
    for price in ("60", "61", "62"):
        world.close(AAA=price, BBB="10")
    one, other = world.wait(world.desk.run(ADA, [live.id, still.id]))
    for name in ("symbols", "matches", "unknown", "values", "open_time_ms", "filter_hash"):
        assert getattr(one, name) == getattr(other, name), name
    assert world.desk.health(still).state == "disabled"


def test_a_run_of_some_symbols_looks_at_those(world: TraderWorld) -> None:
    one = make(world)
    (run,) = world.wait(world.desk.run(ADA, [one.id], symbols=["BBBUSDT", "NOPEUSDT"]))
    assert (run.symbols, run.matches) == (("BBBUSDT",), ())


def test_the_clocks_second_run_of_a_close_is_the_first_again(world: TraderWorld) -> None:
    """E4: runs overlap."""
    one = make(world)
    first, again = (world.wait(world.desk.run(ADA, [one.id], RunSource.CRON))[0] for _ in range(2))
    assert again.repeated
    assert not first.repeated
    assert (again.at_ms, again.matches) == (first.at_ms, first.matches)
    crons = [e for e in world.executions if e.source is RunSource.CRON]
    assert len(crons) == 1
    world.close(AAA="60", BBB="10")
    (third,) = world.wait(world.desk.run(ADA, [one.id], RunSource.CRON))
    assert not third.repeated
    assert third.open_time_ms == first.open_time_ms + 60_000


def test_all_traders_see_the_same_rows_and_nothing_is_asked_of_the_exchange(
    world: TraderWorld,
) -> None:
    """E7: there is no exchange here at all."""
    ids = [make(world, f"t{n}", filter=f"close > {n}").id for n in range(5)]
    runs = world.wait(world.desk.run(ADA, ids))
    assert {run.open_time_ms for run in runs} == {START_MS}
    assert {run.symbols for run in runs} == {("AAAUSDT", "BBBUSDT")}
