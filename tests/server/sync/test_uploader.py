"""Rows go up in order, each exactly once or with the reason why never, whatever fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation.clock import SimulatedClock
from simulation.loop import run
from sync_world import TRADER, Book, MemoryOutbox, MemoryRest, Parent, open_lane, row

from server.store.outbox import OutboxRow
from server.sync.answers import NO_ANSWER, Answer
from server.sync.tables import TABLES
from server.sync.uploader import BATCH_BYTES_MAX, BATCH_MAX, RETRY_MAX_S, Lane

LOST = Answer(status=NO_ANSWER, detail="ReadError")
LATE = Answer(status=NO_ANSWER, detail="ReadTimeout", late=True)
NOT_NULL = Answer(status=400, code="23502", detail="null value")
STARTED_MS = 1_768_384_800_000


class World:
    def __init__(self, rows: list[OutboxRow], **options: Any) -> None:
        self.clock = SimulatedClock(STARTED_MS)
        self.outbox = MemoryOutbox(rows)
        self.rest = MemoryRest(self.clock)
        self.parent = Parent(self.outbox)
        self.book = Book()
        self.lane = open_lane(self.outbox, self.rest, self.parent, self.book, **options)

    async def drain(self, within_s: float = 3600.0) -> None:
        self.lane.drain()
        async with asyncio.timeout(within_s):
            await self.lane.run()

    @property
    def signals(self) -> dict[str, dict[str, Any]]:
        return self.rest.tables.get("trader_signals", {})


def simulated(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def wrapped(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    return wrapped


@simulated
async def test_rows_go_up_by_batches_and_are_acknowledged() -> None:
    world = World([row(n) for n in range(1, 2 * BATCH_MAX + 2)])
    await world.drain()
    assert [count for _, _, count in world.rest.requests] == [BATCH_MAX, BATCH_MAX, 1]
    assert len(world.signals) == 2 * BATCH_MAX + 1
    assert not world.outbox.rows
    assert world.parent.stored == list(range(1, 2 * BATCH_MAX + 2))


@simulated
async def test_of_a_key_twice_in_a_batch_the_newest_goes_and_both_are_done() -> None:
    world = World([row(1, "a"), row(2, "b"), row(3, "a", revision=2)])
    await world.drain()
    assert [count for _, _, count in world.rest.requests] == [2]
    assert world.signals["a"]["revision"] == 2
    assert not world.outbox.rows


@simulated
async def test_batches_are_bounded_by_bytes_too() -> None:
    big = "x" * (BATCH_BYTES_MAX // 2)
    world = World([row(n, text=big) for n in range(1, 4)])
    await world.drain()
    assert [count for _, _, count in world.rest.requests] == [1, 1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        LOST,
        Answer(status=500),
        Answer(status=502),
        Answer(status=503, code="PGRST002"),
        Answer(status=429),
        Answer(status=408),
        Answer(status=500, code="40001"),
        Answer(status=500, code="40P01"),
        Answer(status=503, code="53300"),
        Answer(status=503, code="57P01"),
        Answer(status=301),
    ],
    ids=lambda answer: answer.reason,
)
def test_what_cannot_at_the_moment_is_asked_again_until_it_can(answer: Answer) -> None:
    async def story() -> None:
        world = World([row(1), row(2)])
        world.rest.before = [answer] * 40
        await world.drain()
        assert len(world.signals) == 2
        assert not world.parent.letters
        times = [moment for moment, _, _ in world.rest.requests]
        waits = [b - a for a, b in zip(times, times[1:], strict=False)]
        assert max(waits) <= RETRY_MAX_S + 0.1
        assert max(waits) > 10  # it did back off
        assert len({round(wait, 3) for wait in waits[10:]}) > 20  # and not in step

    run(story())


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=401),
        Answer(status=401, code="PGRST301"),
        Answer(status=403, code="42501"),
        Answer(status=404, code="PGRST205"),
        Answer(status=400, code="PGRST204"),
        Answer(status=404, code="42P01"),
    ],
    ids=lambda answer: answer.reason,
)
def test_a_wrong_key_or_table_costs_no_row(answer: Answer) -> None:
    async def story() -> None:
        world = World([row(n) for n in range(1, 6)])
        world.rest.before = [answer] * 10
        task = asyncio.ensure_future(world.lane.run())
        await asyncio.sleep(1)
        assert world.lane.blocked == answer.reason
        world.lane.drain()
        await task
        assert world.lane.blocked == ""
        assert len(world.signals) == 5
        assert not world.parent.letters

    run(story())


@simulated
async def test_the_server_may_say_how_long_to_wait() -> None:
    world = World([row(1)])
    world.rest.before = [Answer(status=429, retry_after_s=17.0)]
    await world.drain()
    (first, _, _), (second, _, _) = world.rest.requests
    assert 17.0 <= second - first < 18.0


@simulated
async def test_poison_rows_are_found_and_named_and_the_others_go_up() -> None:
    world = World([row(n) for n in range(1, BATCH_MAX + 1)])
    world.rest.poison = {
        "k7": NOT_NULL,
        "k8": Answer(status=400, code="22P02", detail="invalid input"),
        f"k{BATCH_MAX}": Answer(status=400, code="23514", detail="check"),
    }
    await world.drain()
    assert len(world.signals) == BATCH_MAX - 3
    assert [(f"k{letter.seq}", letter.code) for letter in world.parent.letters] == [
        ("k7", "23502"),
        ("k8", "22P02"),
        (f"k{BATCH_MAX}", "23514"),
    ]
    assert not world.outbox.rows
    assert len(world.rest.requests) < 60


@simulated
async def test_the_server_failing_over_a_row_is_not_asked_for_ever() -> None:
    world = World([row(n) for n in range(1, 5)])
    world.rest.poison = {"k3": Answer(status=500, code="XX000", detail="internal")}
    await world.drain()
    assert sorted(world.signals) == ["k1", "k2", "k4"]
    assert [letter.code for letter in world.parent.letters] == ["XX000"]


@pytest.mark.parametrize("answer", [LATE, Answer(status=500, code="57014"), Answer(status=413)])
def test_what_is_too_much_at_once_goes_up_by_less(answer: Answer) -> None:
    async def story() -> None:
        world = World([row(n) for n in range(1, 101)])
        world.rest.rule = lambda rows: answer if len(rows) > 20 else None
        await world.drain()
        assert len(world.signals) == 100
        assert not world.parent.letters

    run(story())


@simulated
async def test_a_row_too_large_alone_is_a_dead_letter() -> None:
    world = World([row(1), row(2)])
    world.rest.poison = {"k2": Answer(status=413)}
    await world.drain()
    assert [(f"k{letter.seq}", letter.code) for letter in world.parent.letters] == [("k2", "413")]


@simulated
async def test_rows_of_traders_that_supabase_does_not_have_stay_here() -> None:
    world = World([row(1), row(2, trader="local"), row(3)])
    await world.drain()
    assert world.parent.skipped == [2]
    assert sorted(world.signals) == ["k1", "k3"]
    assert not world.outbox.rows


@simulated
async def test_a_trader_that_goes_meanwhile_takes_its_rows_with_it() -> None:
    world = World([row(n, trader="gone" if n % 2 else TRADER) for n in range(1, 101)])
    world.book.ids = {TRADER, "gone"}
    world.book.found = {TRADER}
    gone = Answer(status=409, code="23503", detail="trader_id is not present")
    world.rest.rule = lambda rows: gone if any(r["trader_id"] == "gone" for r in rows) else None
    await world.drain()
    assert world.book.looks == 1
    assert len(world.signals) == len(world.parent.skipped) == 50
    assert not world.parent.letters
    assert len(world.rest.requests) == 2


@simulated
async def test_nothing_goes_up_before_it_is_known_which_traders_there_are() -> None:
    world = World([row(1)])
    world.book.ids = None
    task = asyncio.ensure_future(world.lane.run())
    await asyncio.sleep(60)
    assert not world.rest.requests
    world.book.ids = {TRADER}
    await asyncio.sleep(1)
    assert world.parent.stored == [1]
    world.lane.drain()
    await task


@simulated
async def test_rows_that_come_later_are_found_soon() -> None:
    world = World([])
    task = asyncio.ensure_future(world.lane.run())
    await asyncio.sleep(5)
    world.outbox.rows[9] = row(9)
    await asyncio.sleep(0.5)
    assert world.parent.stored == [9]
    world.lane.drain()
    await task


faults = st.sampled_from(
    [None, None, LOST, LATE, Answer(status=503), Answer(status=500, code="40001"),
     Answer(status=401), Answer(status=429, retry_after_s=2.0)]
)  # fmt: skip


@given(
    keys=st.lists(st.integers(0, 12), max_size=60),
    poison=st.sets(st.integers(0, 12), max_size=3),
    before=st.lists(faults, max_size=30),
    after=st.lists(faults, max_size=30),
    kills=st.lists(st.floats(0.01, 40.0), max_size=4),
    seed=st.integers(0, 99),
)
def test_every_row_is_stored_once_or_dead_whatever_fails_and_whoever_is_killed(
    keys: list[int],
    poison: set[int],
    before: list[Answer | None],
    after: list[Answer | None],
    kills: list[float],
    seed: int,
) -> None:
    """Answers may be lost after the rows were taken, and the process killed at any moment."""

    async def story() -> None:
        newest: dict[str, int] = {}
        rows = []
        for n, key in enumerate(keys, 1):
            newest[f"k{key}"] = newest.get(f"k{key}", 0) + 1
            rows.append(row(n, f"k{key}", revision=newest[f"k{key}"]))
        world = World(rows, seed=seed)
        world.rest.poison = {f"k{key}": NOT_NULL for key in poison}
        world.rest.before, world.rest.after = before, after
        for life_s in kills:
            lane = open_lane(world.outbox, world.rest, world.parent, seed=seed)
            task = asyncio.ensure_future(lane.run())
            await asyncio.sleep(life_s)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        world.lane = open_lane(world.outbox, world.rest, world.parent, seed=seed)
        await world.drain()
        assert not world.outbox.rows
        good = {key: rev for key, rev in newest.items() if int(key[1:]) not in poison}
        assert {key: held["revision"] for key, held in world.signals.items()} == good
        assert {rows[letter.seq - 1].key for letter in world.parent.letters} == set(newest) - set(
            good
        )
        assert {letter.code for letter in world.parent.letters} <= {"23502"}

    run(story())


class OfErrors(MemoryOutbox):
    """Rows of two kinds: ``c`` begins the keys of what clears."""

    def read(self, kind: str, after: int, limit: int) -> list[OutboxRow]:
        clears = kind == "cleared"
        rows = super().read(kind, after, limit)
        return [row for row in rows if row.key.startswith("c") is clears]


@simulated
async def test_what_clears_an_error_waits_until_the_error_is_there() -> None:
    clock, parent = SimulatedClock(STARTED_MS), Parent()
    outbox = parent.outbox = OfErrors(
        [row(1, "e1"), row(2, "c1", last_ms=1), row(3, "e2"), row(4, "c2", last_ms=2)]
    )
    done: list[str] = []

    class Rest(MemoryRest):
        async def upsert(self, table: str, conflict: str, rows: Sequence[bytes]) -> Answer:
            answer = await super().upsert(table, conflict, rows)
            if answer.status == 201:
                done.append("errors")
            return answer

        async def delete(self, table: str, parameters: dict[str, str]) -> Answer:
            done.append(parameters["last_ms"])
            return Answer(status=204)

    rest = Rest(clock)
    rest.before = [LOST] * 5
    lanes = [
        Lane(
            kind, TABLES[kind], outbox, rest, Book(), parent.hear,
            clock=clock, random=random.Random(1),
        )
        for kind in ("cleared", "errors")
    ]  # fmt: skip
    for lane in lanes:
        lane.drain()
    async with asyncio.timeout(600):
        await asyncio.gather(*(lane.run() for lane in lanes))
    assert done == ["errors", "lte.1", "lte.2"]
    assert not outbox.rows
