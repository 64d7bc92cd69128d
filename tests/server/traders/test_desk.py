"""The desk: whose traders they are, how many there may be, and what is wrong with them."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest
from trader_world import ADMIN, START_MS, TraderWorld, person, trader

import klinecore as kc
from klinecore.errors import FilterError
from server.errors import QuotaError, StoreError
from server.identity import Principal, Scope, Tier
from server.traders.book import LOCAL
from server.traders.builtins import builtin_id, builtin_traders
from server.traders.desk import NotAllowedError, TraderRefusedError, UnknownTraderError
from server.traders.fitting import fit_to_tiers
from server.traders.keeping import MemoryKeeper
from server.traders.model import Trader
from server.traders.tiers import TIERS

ADA, BOB = person("ada"), person("bob")
NOBODY = Principal(owner=None, tier=Tier.ANONYMOUS, scope=Scope.READ)


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


# --- whose they are ---------------------------------------------------------------------------


def test_the_owner_is_who_asks_whatever_the_trader_says(world: TraderWorld) -> None:
    """E2: no ownership test without a user id."""
    one = trader(owner="bob")
    world.wait(world.desk.create(ADA, one))
    assert world.desk.get(ADA, one.id).owner == "ada"
    for attempt in (
        lambda: world.desk.get(BOB, one.id),
        lambda: world.wait(world.desk.run(BOB, [one.id])),
        lambda: world.wait(world.desk.update(BOB, one.id, lambda _: one)),
        lambda: world.wait(world.desk.delete(BOB, one.id)),
    ):
        with pytest.raises(UnknownTraderError):
            attempt()
    assert one.id not in [t.id for t in world.desk.visible(BOB)]
    assert world.desk.get(ADMIN, one.id).owner == "ada"


def test_nobody_in_particular_makes_no_traders(world: TraderWorld) -> None:
    with pytest.raises(NotAllowedError):
        world.wait(world.desk.create(NOBODY, trader()))


def test_built_in_traders_are_seen_by_tier_and_changed_by_nobody(world: TraderWorld) -> None:
    """E9: the signals of built-in traders could be read by nobody."""
    world.wait(world.desk.load(builtin_traders()))
    counts = {}
    for tier in Tier:
        who = Principal(owner=None, tier=tier, scope=Scope.READ)
        seen = world.desk.visible(who)
        assert all(tier.includes(one.access_tier) for one in seen)
        counts[tier] = len(seen)
    assert 0 < counts[Tier.ANONYMOUS] < counts[Tier.FREE] < counts[Tier.PRO] < counts[Tier.ELITE]
    assert counts[Tier.ELITE] == len(builtin_traders())
    golden = builtin_id("golden_cross")
    with pytest.raises(NotAllowedError):
        world.wait(world.desk.delete(ADMIN, golden))


def test_a_server_without_their_intervals_says_nothing_of_each_built_in_trader(
    world: TraderWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Its operator has chosen the intervals; whoever looks at such a trader is told."""
    with caplog.at_level(logging.INFO):
        world.wait(world.desk.load(builtin_traders()))
    golden = builtin_id("golden_cross")
    assert [error.kind for error in world.desk.errors.of(golden)] == ["interval_not_held"]
    assert (caplog.records, world.desk.errors.counted) == ([], 0)
    own = trader()
    world.wait(world.desk.create(ADA, own))
    world.desk.replace([msgspec.structs.replace(own, interval="4h")], LOCAL)
    assert world.desk.errors.counted == len(caplog.records) == 1


def test_what_can_be_seen_can_be_run(world: TraderWorld) -> None:
    world.wait(world.desk.load(builtin_traders()))
    with pytest.raises(UnknownTraderError):
        world.wait(world.desk.run(NOBODY, [builtin_id("market_structure_break")]))
    assert world.desk.get(NOBODY, builtin_id("golden_cross")).owner is None


# --- how many ---------------------------------------------------------------------------------


def test_forty_at_once_at_a_limit_of_ten_make_ten(world: TraderWorld) -> None:
    async def all_at_once() -> list[object]:
        return await asyncio.gather(
            *(world.desk.create(ADA, trader(f"t{n}")) for n in range(40)), return_exceptions=True
        )

    results = world.wait(all_at_once())
    refused = [one for one in results if isinstance(one, QuotaError)]
    assert len(results) - len(refused) == TIERS[Tier.PRO].custom_traders == 10
    assert len(refused) == 30
    assert len(world.desk.visible(ADA)) == 10
    assert len(world.desk.engines["spot"]) == 10


def test_the_eleventh_cannot_be_enabled_later(world: TraderWorld) -> None:
    for n in range(10):
        make(world, f"t{n}")
    sleeping = make(world, "eleventh", enabled=False)
    with pytest.raises(QuotaError):
        world.wait(world.desk.update(ADA, sleeping.id, lambda _: trader("eleventh", enabled=True)))
    assert not world.desk.get(ADA, sleeping.id).enabled
    assert world.desk.health(sleeping).state == "disabled"


@pytest.mark.parametrize("tier", [Tier.ANONYMOUS, Tier.FREE])
def test_lower_tiers_have_none(world: TraderWorld, tier: Tier) -> None:
    with pytest.raises(QuotaError):
        world.wait(world.desk.create(person("eve", tier), trader()))


def test_the_highest_tier_is_bounded_by_the_server_alone() -> None:
    world = TraderWorld(traders_per_owner_max=12, traders_max=20)
    world.attach()
    rich = person("rich", Tier.ELITE)
    for n in range(12):
        world.wait(world.desk.create(rich, trader(f"t{n}")))
    with pytest.raises(QuotaError):
        world.wait(world.desk.create(rich, trader("more")))
    for n in range(8):
        world.wait(world.desk.create(ADA, trader(f"a{n}")))
    with pytest.raises(TraderRefusedError, match="no more traders"):
        world.wait(world.desk.create(ADA, trader("more")))


def test_a_downgrade_pauses_the_newest_and_says_why(world: TraderWorld) -> None:
    rich = person("ada", Tier.ELITE)
    ids = []
    for n in range(13):
        one = trader(f"t{n}", created_ms=START_MS + n)
        world.wait(world.desk.create(rich, one))
        ids.append(one.id)
    paused = world.wait(world.desk.enforce("ada", Tier.PRO))
    assert [one.id for one in paused] == ids[10:]
    assert all(one.paused_reason == "pro allows 10 traders" for one in paused)
    assert world.desk.health(paused[0]).state == "paused"
    assert len(world.desk.engines["spot"]) == 10
    assert world.wait(world.desk.enforce("ada", Tier.ELITE)) == []
    assert len(world.desk.engines["spot"]) == 13


def test_owners_are_fitted_to_the_tiers_they_have_now(world: TraderWorld) -> None:
    for owner in ("ada", "bob", "gone"):
        for n in range(12):
            one = trader(f"{owner}{n}", created_ms=START_MS + n)
            world.wait(world.desk.create(person(owner, Tier.ELITE), one))
    tiers = {"ada": Tier.PRO, "bob": Tier.ELITE}

    def paused() -> dict[str, int]:
        world.wait(fit_to_tiers(world.desk, tiers.get))
        held = [entry.trader for entry in world.desk.book if entry.trader.paused_reason]
        return {owner: sum(t.owner == owner for t in held) for owner in ("ada", "bob", "gone")}

    assert paused() == {"ada": 2, "bob": 0, "gone": 0}
    tiers["bob"], tiers["ada"] = Tier.FREE, Tier.ELITE
    assert paused() == {"ada": 0, "bob": 12, "gone": 0}


def test_an_owner_who_cannot_be_fitted_now_is_fitted_at_the_next_look(
    world: TraderWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner in ("ada", "bob"):
        for n in range(12):
            world.wait(world.desk.create(person(owner, Tier.ELITE), trader(f"{owner}{n}")))
    keeper = world.desk._sinks.keeper
    update = keeper.update

    async def full(trader: Trader, quota: int | None) -> None:
        if trader.owner == "ada":
            raise StoreError("the disk is full")
        await update(trader, quota)

    def paused() -> list[int]:
        world.wait(fit_to_tiers(world.desk, {"ada": Tier.PRO, "bob": Tier.PRO}.get))
        held = [entry.trader.owner for entry in world.desk.book if entry.trader.paused_reason]
        return [held.count("ada"), held.count("bob")]

    monkeypatch.setattr(keeper, "update", full)
    assert paused() == [0, 2]
    monkeypatch.setattr(keeper, "update", update)
    assert paused() == [2, 2]


# --- what is refused, and what goes wrong later -----------------------------------------------


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"interval": "4h"}, "interval_not_held"),
        ({"filter": 'close > close @ "4h"'}, "interval_not_held"),
        ({"market": "um"}, "invalid_market"),
        ({"symbols": ("AAAUSDT", "NOPEUSDT")}, "unknown_symbol"),
        ({"filter": "top(close, 1)", "evaluate_on": "forming"}, "not_while_forming"),
    ],
)
def test_what_could_not_run_is_refused_at_once(
    world: TraderWorld, changed: dict[str, object], code: str
) -> None:
    with pytest.raises(TraderRefusedError) as caught:
        make(world, **changed)
    assert caught.value.code == code
    assert world.desk.visible(ADA) == []


@pytest.mark.parametrize(
    "text",
    [
        "().__class__.__bases__[0]",
        "__import__('os')",
        "rsi(14).__init__ > 1",
        "(lambda: 1)() > 0",
        "close > 1; close",
        "bogus(14) > 1",
        "9**9**9 > 1",
    ],
)
def test_code_is_refused_as_a_filter(world: TraderWorld, text: str) -> None:
    """E3: user code ran beside the service key."""
    with pytest.raises(FilterError):
        make(world, filter=text)


def test_a_full_engine_refuses_and_keeps_nothing() -> None:
    keeper = MemoryKeeper()
    world = TraderWorld(keeper=keeper)
    world.attach(world.engine(traders_max=2))
    for n in range(2):
        make(world, f"t{n}")
    with pytest.raises(TraderRefusedError) as caught:
        make(world, "third")
    assert caught.value.code == "engine_full"
    assert len(world.wait(keeper.load())) == 2
    assert len(world.desk.visible(ADA)) == 2


def test_a_filter_that_is_refused_after_an_upgrade_is_kept_and_shown() -> None:
    keeper = MemoryKeeper()
    world = TraderWorld(keeper=keeper)
    world.wait(keeper.insert(trader(filter="function(t) { return t.c > 1 }"), None))
    world.wait(world.desk.load())
    world.attach()
    one = world.desk.get(ADA, trader().id)
    health = world.desk.health(one)
    assert health.state == "error"
    assert [error.kind for error in health.errors] == ["refused"]
    assert world.errors[0].trader_id == one.id
    mended = world.wait(world.desk.update(ADA, one.id, lambda _: trader(filter="close > 1")))
    assert world.desk.health(mended).state == "running"
    assert world.desk.health(mended).errors == []
    assert world.error_sink.cleared == [one.id]


def test_an_interval_or_symbol_that_is_gone_after_a_restart_is_an_error() -> None:
    keeper = MemoryKeeper()
    world = TraderWorld(keeper=keeper)
    for one in (
        trader("interval", interval="4h"),
        trader("symbol", symbols=("GONEUSDT", "AAAUSDT")),
        trader("market", market="um"),
    ):
        world.wait(keeper.insert(one, None))
    world.wait(world.desk.load())
    world.attach()
    health = {one.name: world.desk.health(one) for one in world.desk.visible(ADA)}
    assert {name: one.state for name, one in health.items()} == {
        "interval": "error", "symbol": "running", "market": "error",
    }  # fmt: skip
    assert {name: [e.kind for e in one.errors] for name, one in health.items()} == {
        "interval": ["interval_not_held"],
        "symbol": ["unknown_symbol"],
        "market": ["market_not_served"],
    }
    assert health["symbol"].symbols_not_held == ["GONEUSDT"]


def test_what_kept_a_trader_from_running_is_wrong_no_longer_once_it_runs(
    world: TraderWorld,
) -> None:
    one = make(world)
    entry = world.desk.book.get(one.id)
    assert entry is not None
    for kind in ("engine_full", "interval_not_held", "refused", "market_not_served"):
        world.desk._note(entry, kind, "it was so")
    world.desk._note(entry, "other", "it is so")
    world.attach()
    assert [error.kind for error in world.desk.health(one).errors] == ["other"]
    assert [error.kind for error in world.errors[-1:]] == ["other"]


def test_a_symbol_that_is_listed_is_unknown_no_longer() -> None:
    keeper = MemoryKeeper()
    world = TraderWorld(keeper=keeper)
    one = trader(symbols=("AAAUSDT", "CCCUSDT"))
    world.wait(keeper.insert(one, None))
    world.wait(world.desk.load())
    world.attach()
    assert [error.kind for error in world.desk.health(one).errors] == ["unknown_symbol"]
    world.market.add_symbol("CCCUSDT")
    world.close(AAA="60", BBB="1", CCC="60")
    assert world.desk.health(one).errors == []


def test_a_paused_trader_takes_no_room_and_lacks_none() -> None:
    keeper = MemoryKeeper()
    world = TraderWorld(keeper=keeper)
    traders = [trader(name, created_ms=START_MS + n) for n, name in enumerate("abc")]
    for one in traders:
        world.wait(keeper.insert(one, None))
    world.wait(world.desk.load())
    world.attach(world.engine(traders_max=1))
    world.wait(world.desk.enforce("ada", Tier.FREE))
    for entry in world.desk.book:
        health = world.desk.health(entry.trader)
        assert (health.state, health.errors) == ("paused", [])


@pytest.mark.parametrize("how", ["deleted", "disabled", "gone"])
def test_a_trader_that_found_no_room_runs_when_there_is(how: str) -> None:
    keeper = MemoryKeeper()
    world = TraderWorld(keeper=keeper)
    first, *rest = traders = [trader(name) for name in ("a", "b", "c")]
    for one in traders:
        world.wait(keeper.insert(one, None))
    world.wait(world.desk.load())
    world.attach(world.engine(traders_max=1))
    assert [world.desk.health(one).state for one in traders] == ["running", "error", "error"]
    if how == "deleted":
        world.wait(world.desk.delete(ADA, first.id))
    elif how == "disabled":
        off = msgspec.structs.replace(first, enabled=False)
        world.wait(world.desk.update(ADA, first.id, lambda _: off))
    else:
        world.desk.replace(rest, LOCAL)
    health = [world.desk.health(one) for one in rest]
    assert [one.state for one in health] == ["running", "error"]
    assert [[error.kind for error in one.errors] for one in health] == [[], ["engine_full"]]


# --- changes ----------------------------------------------------------------------------------


def test_a_change_of_words_disturbs_nothing_and_one_of_the_filter_starts_anew(
    world: TraderWorld,
) -> None:
    one = make(world)
    world.close(AAA="60", BBB="60")
    watch = world.desk.engines["spot"].watches[one.id]
    world.wait(world.desk.update(ADA, one.id, lambda _: trader(name="one", description="new")))
    assert world.desk.engines["spot"].watches[one.id] is watch
    world.wait(world.desk.update(ADA, one.id, lambda _: trader(name="one", filter="close > 55")))
    assert world.desk.engines["spot"].watches[one.id] is not watch
    assert world.desk.get(ADA, one.id).created_ms == START_MS


def test_a_disabled_or_deleted_trader_says_nothing_more(world: TraderWorld) -> None:
    one, other = make(world, "one", mode="level"), make(world, "other", mode="level")
    world.close(AAA="60", BBB="1")
    world.wait(world.desk.update(ADA, one.id, lambda _: trader("one", mode="level", enabled=False)))
    world.wait(world.desk.delete(ADA, other.id))
    told = len(world.signals)
    world.close(AAA="60", BBB="1")
    assert len(world.signals) == told == 2
    with pytest.raises(UnknownTraderError):
        world.desk.get(ADA, other.id)


def test_traders_of_another_origin_are_swapped_at_once(world: TraderWorld) -> None:
    own = make(world, "own")
    world.desk.replace([trader("a"), trader("b")], "supabase")
    assert {t.name for t in world.desk.visible(ADA)} == {"own", "a", "b"}
    world.desk.replace([trader("b", filter="close > 1"), trader("c", owner="bob")], "supabase")
    assert {t.name for t in world.desk.visible(ADA)} == {"own", "b"}
    assert set(world.desk.engines["spot"].watches) == {
        own.id, trader("b").id, trader("c").id
    }  # fmt: skip
    with pytest.raises(NotAllowedError, match="supabase"):
        world.wait(world.desk.delete(ADA, trader("b").id))


# --- built-in ones ----------------------------------------------------------------------------


def test_built_in_ids_are_the_same_in_every_installation() -> None:
    assert builtin_id("golden_cross") == "6c57b5cd-50b8-50b0-84bd-55ddb4e61ba7"
    ids = [one.id for one in builtin_traders()]
    assert len(set(ids)) == len(ids)


def test_every_built_in_compiles_and_is_owned_by_nobody() -> None:
    """E12."""
    for one in builtin_traders():
        assert one.owner is None
        assert kc.compile(one.filter).normal
        assert one.category is not None
        assert one.difficulty is not None
