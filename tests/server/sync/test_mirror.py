"""What the sync process says becomes whole sets, kept ones, and counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from server.clock import SystemClock
from server.errors import StoreError
from server.identity import Tier
from server.metrics import Registry
from server.store.tiers import UserTier
from server.sync.mirror import _STEP_MAX, FIRST_READ_S, Mirror
from server.sync.wire import (
    Acknowledged,
    Alive,
    BrokenRow,
    Dead,
    DeadLetter,
    TradersChanged,
    decode_from_child,
    encode,
)
from server.traders.model import Trader, TraderError


def trader(n: int, filter: str = "close > 1") -> Trader:
    return Trader(
        id=f"t{n}", owner="u", name=f"trader {n}", filter=filter, interval="1m",
        created_ms=0, updated_ms=0,
    )  # fmt: skip


class Keeper:
    """A store of everything that a mirror keeps."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.letters: list[DeadLetter] = []
        self.traders: list[Trader] = []
        self.tiers: list[UserTier] = []
        self.errors: dict[str, str] = {}
        self.fault: Exception | None = None

    async def acknowledge(self, seqs: Sequence[int]) -> None:
        if self.fault is not None:
            raise self.fault
        self.acknowledged += seqs

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    async def load(self, origin: str) -> Sequence[Trader]:
        assert origin == "supabase"
        return self.traders

    async def replace(self, traders: Sequence[Trader], origin: str) -> None:
        assert origin == "supabase"
        self.traders = list(traders)

    def put(self, errors: Sequence[TraderError]) -> None:
        self.errors.update((error.trader_id, error.message) for error in errors)

    def clear(self, trader_id: str) -> None:
        self.errors.pop(trader_id, None)


class TierKeeper:
    def __init__(self) -> None:
        self.tiers: list[UserTier] = []

    async def load(self) -> Sequence[UserTier]:
        return self.tiers

    async def replace(self, tiers: Sequence[UserTier]) -> None:
        self.tiers = list(tiers)


class Clock(SystemClock):
    now_ms = 1000
    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.05))

    def time_ms(self) -> int:
        return self.now_ms


class Bench:
    def __init__(self, keeper: Keeper | None = None, tiers: TierKeeper | None = None) -> None:
        self.keeper, self.tiers = keeper or Keeper(), tiers or TierKeeper()
        self.clock, self.metrics = Clock(), Registry()
        self.sets: list[dict[str, Trader]] = []
        self.cost_s = 0.0  # of each trader that is another one
        self.mirror = Mirror(
            outbox=self.keeper,
            traders=self.keeper,
            tiers=self.tiers,
            replace=self._replace,
            errors=self.keeper,
            clock=self.clock,
            metrics=self.metrics,
        )

    def _replace(self, traders: Sequence[Trader], origin: str) -> None:
        assert origin == "supabase"
        now = {trader.id: trader for trader in traders}
        before = self.sets[-1] if self.sets else {}
        self.clock.now_s += self.cost_s * sum(before.get(id) != found for id, found in now.items())
        self.sets.append(now)

    async def hear(self, *messages: Acknowledged | Dead | TradersChanged | Alive) -> None:
        for message in messages:
            await self.mirror.receive(decode_from_child(encode(message)))

    def line(self, name: str) -> str:
        (line,) = [
            line
            for line in self.metrics.render().decode().splitlines()
            if line.startswith(name + " ")
        ]
        return line.rpartition(" ")[2]


def change(
    *,
    first: bool = True,
    whole: bool = False,
    last: bool = True,
    traders: Sequence[Trader] = (),
    broken: Sequence[BrokenRow] = (),
    gone: Sequence[str] = (),
    tiers: Sequence[UserTier] = (),
    free: Sequence[str] = (),
) -> TradersChanged:
    return TradersChanged(
        first=first, whole=whole, last=last, traders=list(traders), broken=list(broken),
        gone=list(gone), tiers=list(tiers), free=list(free),
    )  # fmt: skip


def test_a_change_takes_place_with_its_last_part() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.hear(change(whole=True, last=False, traders=[trader(1)]))
        assert bench.sets == []
        await bench.hear(change(first=False, whole=True, traders=[trader(2)]))
        assert sorted(bench.sets[-1]) == ["t1", "t2"]
        assert sorted(found.id for found in bench.keeper.traders) == ["t1", "t2"]
        await bench.hear(change(traders=[trader(3)], gone=["t1"]))
        assert sorted(bench.sets[-1]) == ["t2", "t3"]

    asyncio.run(story())


def test_parts_of_a_life_that_ended_are_forgotten() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.hear(change(whole=True, last=False, traders=[trader(1)]))
        await bench.hear(change(whole=True, traders=[trader(2)]))  # a new process
        assert [sorted(found) for found in bench.sets] == [["t2"]]

    asyncio.run(story())


def test_a_set_that_is_the_same_moves_nothing() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.hear(change(whole=True, traders=[trader(1)]))
        await bench.hear(change(whole=True, traders=[trader(1)]))
        assert len(bench.sets) == 1

    asyncio.run(story())


@pytest.mark.parametrize(("cost_s", "largest"), [(0.0, _STEP_MAX), (0.02, 1)])
def test_many_changes_reach_the_desk_in_steps_of_whole_sets(cost_s: float, largest: int) -> None:
    """Small ones if a trader costs much, so that the loop is never held for long."""

    async def story() -> None:
        bench = Bench()
        bench.cost_s = cost_s
        many = [trader(n) for n in range(100)]
        await bench.hear(change(whole=True, traders=many))
        changed = [trader(n, "close > 2") for n in range(90)]
        first = len(bench.sets)
        await bench.hear(change(traders=changed, gone=["t99"]))
        assert len(bench.sets[first]) == 99  # what is gone goes first
        steps = [
            sum(before.get(id) != found for id, found in after.items())
            for before, after in zip([{}, *bench.sets], bench.sets, strict=False)
        ]
        assert max(steps) == largest
        assert bench.sets[-1] == {found.id: found for found in [*changed, *many[90:99]]}

    asyncio.run(story())


def test_the_next_life_begins_with_the_last_good_set() -> None:
    async def story() -> None:
        first = Bench()
        await first.hear(
            change(whole=True, traders=[trader(1)], tiers=[UserTier(user_id="u", tier=Tier.PRO)])
        )
        second = Bench(first.keeper, first.tiers)
        await second.mirror.load()
        assert second.sets == [{"t1": trader(1)}]
        assert second.mirror.tier_of("u") is Tier.PRO

    asyncio.run(story())


def test_a_tier_holds_until_it_expires_and_nobody_has_one_by_default() -> None:
    async def story() -> None:
        bench = Bench()
        rows = [UserTier(user_id="u", tier=Tier.ELITE, expires_ms=2000)]
        await bench.hear(change(tiers=rows))
        assert bench.mirror.tier_of("u") is Tier.ELITE
        bench.clock.now_ms = 2000
        assert bench.mirror.tier_of("u") is Tier.FREE
        assert bench.mirror.tier_of("somebody") is Tier.FREE
        bench.clock.now_ms = 1000
        await bench.hear(change(free=["u"]))
        assert bench.mirror.tier_of("u") is Tier.FREE
        assert bench.tiers.tiers == []

    asyncio.run(story())


def test_a_tier_that_was_never_read_is_awaited_and_nobody_is_free_meanwhile() -> None:
    async def story() -> None:
        first = Bench()
        await first.mirror.load()
        assert first.mirror.tier_of("u") is None
        await first.hear(change(traders=[trader(1)], last=False))
        assert first.mirror.tier_of("u") is None
        await first.hear(change(first=False, tiers=[UserTier(user_id="u", tier=Tier.PRO)]))
        assert (first.mirror.tier_of("u"), first.mirror.tier_of("v")) == (Tier.PRO, Tier.FREE)
        second = Bench(first.keeper, TierKeeper())
        await second.mirror.load()
        assert second.mirror.tier_of("u") is Tier.FREE  # it was read, and nobody had one
        third = Bench()
        await third.mirror.load()
        third.clock.now_s += FIRST_READ_S
        assert third.mirror.tier_of("u") is Tier.FREE  # Supabase must not keep users out

    asyncio.run(story())


def test_a_broken_row_is_an_error_of_its_trader_until_it_can_be_read() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.hear(change(whole=True, traders=[trader(1), trader(2)]))
        await bench.hear(change(broken=[BrokenRow(trader_id="t1", detail="mode: sometimes")]))
        assert sorted(bench.sets[-1]) == ["t2"]
        assert bench.keeper.errors == {"t1": "mode: sometimes"}
        assert bench.line("supabase_traders_broken") == "1"
        await bench.hear(change(traders=[trader(1)]))
        assert sorted(bench.sets[-1]) == ["t1", "t2"]
        assert bench.keeper.errors == {}

    asyncio.run(story())


def test_what_is_done_leaves_the_outbox_and_is_counted() -> None:
    async def story() -> None:
        bench = Bench()
        letter = DeadLetter(seq=9, code="23514", detail="check")
        await bench.hear(
            Acknowledged(kind="signals", stored=[1, 2], skipped=[3], lag_ms=40),
            Dead(letters=[letter]),
        )
        assert bench.keeper.acknowledged == [1, 2, 3]
        assert bench.keeper.letters == [letter]
        assert bench.line('outbox_stored_total{kind="signals"}') == "2"
        assert bench.line('outbox_skipped_total{kind="signals"}') == "1"
        assert bench.line('outbox_lag_seconds_bucket{le="0.05"}') == "1"

    asyncio.run(story())


def test_what_a_store_cannot_take_is_insisted_on_until_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        bench = Bench()
        bench.keeper.fault = StoreError("the disk is full")
        said = Acknowledged(kind="signals", stored=[1], skipped=[], lag_ms=0)
        hearing = asyncio.ensure_future(bench.hear(said))
        await asyncio.sleep(0.2)
        assert bench.line("outbox_lag_seconds_count") == "0"
        bench.keeper.fault = None
        await hearing
        assert bench.keeper.acknowledged == [1]
        assert bench.line("outbox_lag_seconds_count") == "1"

    asyncio.run(story())
    assert caplog.text.count("the disk is full") == 1


def test_signs_of_life_become_metrics() -> None:
    async def story() -> None:
        bench = Bench()
        assert bench.line("supabase_read_age_seconds") == "NaN"
        said = Alive(
            requests={"201": 3, "transport": 1},
            realtime="joined",
            read_age_ms=1500,
            blocked={"signals": "42501"},
        )
        await bench.hear(said, said)
        assert bench.line('supabase_requests_total{code="201"}') == "6"
        assert bench.line('supabase_requests_total{code="transport"}') == "2"
        assert bench.line("supabase_realtime_joined") == "1"
        assert bench.line("supabase_blocked") == "1"
        bench.clock.now_s += 2
        assert bench.line("supabase_read_age_seconds") == "3.5"
        assert bench.mirror.blocked == {"signals": "42501"}

    asyncio.run(story())
