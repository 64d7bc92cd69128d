"""The set of traders follows Supabase's: whole at first, then by what changed, row by row."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation.clock import SimulatedClock
from simulation.loop import run
from sync_world import USER, MemoryRest, Parent, trader_row

from server.identity import Tier
from server.store.tiers import UserTier
from server.sync.answers import NO_ANSWER, Answer
from server.sync.reader import READ_EVERY_S, Reader
from server.sync.wire import LINE_BYTES_MAX, encode
from server.traders.model import Trader


class World:
    def __init__(self) -> None:
        self.rest = MemoryRest(SimulatedClock(0))
        self.parent = Parent()
        self.reader = Reader(
            self.rest, self.parent.hear, clock=self.rest.clock, random=random.Random(0)
        )
        self.traders = self.rest.tables.setdefault("traders", {})
        self.tiers = self.rest.tables.setdefault("user_tiers", {})
        self.mirrored: dict[str, Trader] = {}
        self.known_tiers: dict[str, UserTier] = {}

    def put(self, *rows: dict[str, Any]) -> None:
        self.traders.update((row["id"], row) for row in rows)

    def put_tier(self, user: str, tier: str, status: str = "active", until: Any = None) -> None:
        self.tiers[user] = {
            "user_id": user, "tier": tier, "status": status, "expires_at": until
        }  # fmt: skip

    def follow(self) -> None:
        """Apply what was said, as the parent does."""
        changes, self.parent.changes = self.parent.changes, []
        for change in changes:
            assert len(encode(change)) < LINE_BYTES_MAX
            if change.first and change.whole:
                self.mirrored.clear()
                self.known_tiers.clear()
            for id in (*change.gone, *(row.trader_id for row in change.broken)):
                self.mirrored.pop(id, None)
            self.mirrored.update((trader.id, trader) for trader in change.traders)
            self.known_tiers.update((row.user_id, row) for row in change.tiers)
            for user in change.free:
                self.known_tiers.pop(user, None)
        assert not changes or (changes[0].first and changes[-1].last)

    @property
    def reads(self) -> int:
        return len(self.rest.requests)


def test_everything_is_read_page_by_page_and_told_once() -> None:
    async def story() -> None:
        world = World()
        world.put(*(trader_row(n) for n in range(1000)))
        world.put_tier(USER, "pro")
        assert await world.reader.look()
        world.follow()
        assert len(world.mirrored) == 1000
        assert world.reader.ids == set(world.traders)
        trader = world.mirrored[trader_row(7)["id"]]
        assert (trader.owner, trader.symbols, trader.name) == (USER, ("BTCUSDT",), "trader 7")
        assert trader.created_ms == 1_795_662_000_000
        assert bytes(trader.indicators[0]) == b'{"expr": "sma(5)"}'
        assert world.known_tiers == {USER: UserTier(user_id=USER, tier=Tier.PRO)}
        assert await world.reader.look()
        assert not world.parent.changes  # nothing is otherwise

    run(story())


@pytest.mark.parametrize("rows", [0, 3])
def test_what_is_told_first_is_the_whole_set_even_an_empty_one(rows: int) -> None:
    """The parent's set is older: what went while nobody looked has to go there too."""

    async def story() -> None:
        world = World()
        world.put(*(trader_row(n) for n in range(rows)))
        await world.reader.look()
        assert [change.whole for change in world.parent.changes] == [True]
        world.follow()
        world.put(trader_row(9))
        await world.reader.look()
        assert [change.whole for change in world.parent.changes] == [False]

    run(story())


def test_a_look_reads_only_the_rows_that_say_they_changed() -> None:
    async def story() -> None:
        world = World()
        world.put(*(trader_row(n) for n in range(6)))
        await world.reader.look()
        world.follow()
        world.put(trader_row(2, 1, name="renamed"), trader_row(9))
        del world.traders[trader_row(4)["id"]]
        before = world.reads
        await world.reader.look()
        (change,) = [c for c in world.parent.changes if c.traders]
        assert {trader.name for trader in change.traders} == {"renamed", "trader 9"}
        world.follow()
        assert set(world.mirrored) == set(world.traders)
        # A page of versions, its end, the two rows, and the tiers.
        assert world.reads - before == 4

    run(story())


@pytest.mark.parametrize(
    "fault",
    [{"mode": "sometimes"}, {"filter": ""}, {"filter": "x" * 4097}, {"cooldown_bars": -1},
     {"symbols": None}, {"name": "n" * 121}, {"access_tier": "gold"},
     {"indicators": ["x" * 300_000]}],
    ids=lambda fault: next(iter(fault)),
)  # fmt: skip
def test_a_broken_row_is_that_traders_fault_alone(fault: dict[str, Any]) -> None:
    async def story() -> None:
        world = World()
        world.put(trader_row(1), trader_row(2, **fault), trader_row(3))
        assert await world.reader.look()
        (broken,) = [row for change in world.parent.changes for row in change.broken]
        assert broken.trader_id == trader_row(2)["id"]
        assert broken.detail
        world.follow()
        assert [trader.name for trader in world.mirrored.values()] == ["trader 1", "trader 3"]
        world.put(trader_row(2, 1))
        await world.reader.look()
        world.follow()
        assert len(world.mirrored) == 3

    run(story())


def test_tiers_hold_while_they_are_active() -> None:
    async def story() -> None:
        world = World()
        world.put_tier("a", "pro")
        world.put_tier("b", "elite", "cancelled")
        world.put_tier("c", "elite", until="1970-01-01T00:00:01+00:00")
        await world.reader.look()
        world.follow()
        assert world.known_tiers == {
            "a": UserTier(user_id="a", tier=Tier.PRO),
            "c": UserTier(user_id="c", tier=Tier.ELITE, expires_ms=1000),
        }
        world.put_tier("a", "pro", "past_due")
        await world.reader.look()
        world.follow()
        assert list(world.known_tiers) == ["c"]

    run(story())


@pytest.mark.parametrize(
    "answer",
    [Answer(status=NO_ANSWER), Answer(status=503, code="PGRST002"), Answer(status=401),
     Answer(status=200, body=b"<html>")],
    ids=["transport", "starting", "key", "body"],
)  # fmt: skip
def test_a_failed_look_leaves_the_set_as_it_is_and_says_so(answer: Answer) -> None:
    async def story() -> None:
        world = World()
        world.put(trader_row(1))
        await world.reader.look()
        world.follow()
        world.rest.read_answer = answer
        assert not await world.reader.look()
        assert world.reader.fault
        assert world.reader.ids == {trader_row(1)["id"]}
        assert not world.parent.changes
        world.rest.read_answer = None
        assert await world.reader.look()
        assert not world.reader.fault

    run(story())


def test_it_looks_every_minute_and_soon_when_it_is_wanted() -> None:
    async def story() -> None:
        world = World()
        task = asyncio.ensure_future(world.reader.run())
        await asyncio.sleep(1)
        world.put(trader_row(1))
        await asyncio.sleep(READ_EVERY_S - 10)
        world.follow()
        assert not world.mirrored
        await asyncio.sleep(15)
        world.follow()
        assert len(world.mirrored) == 1  # without any hint
        world.put(trader_row(2))
        world.reader.want()
        await asyncio.sleep(0.5)
        world.follow()
        assert len(world.mirrored) == 2
        before = world.reads
        for _ in range(1000):  # a crowd of hints is one look
            world.reader.want()
        await asyncio.sleep(5)
        assert world.reads - before < 5
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(story())


def test_a_start_without_supabase_asks_until_it_is_there() -> None:
    async def story() -> None:
        world = World()
        world.put(trader_row(1))
        world.rest.read_answer = Answer(status=NO_ANSWER)
        task = asyncio.ensure_future(world.reader.run())
        await asyncio.sleep(600)
        assert world.reader.ids is None
        assert 15 < world.reads < 150
        world.rest.read_answer = None
        await asyncio.sleep(31)
        assert world.reader.ids == {trader_row(1)["id"]}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(story())


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 30), st.sampled_from(["put", "delete", "break"])), max_size=20
        ),
        max_size=6,
    )
)
def test_after_each_look_the_set_is_that_of_supabase(
    rounds: list[list[tuple[int, str]]],
) -> None:
    async def story() -> None:
        world, version = World(), 0
        for changes in rounds:
            for n, what in changes:
                version += 1
                id = trader_row(n)["id"]
                if what == "delete":
                    world.traders.pop(id, None)
                else:
                    mode = {"mode": "no"} if what == "break" else {}
                    world.put(trader_row(n, version, cooldown_bars=version, **mode))
            assert await world.reader.look()
            world.follow()
            good = {id: row for id, row in world.traders.items() if row["mode"] != "no"}
            assert {id: trader.cooldown_bars for id, trader in world.mirrored.items()} == {
                id: row["cooldown_bars"] for id, row in good.items()
            }
            assert world.reader.ids == set(world.traders)

    run(story())
