"""server.store.outbox: each state once, bounded, and what is dropped is counted and said."""

from __future__ import annotations

import asyncio
import json
import random
import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from shelves import NOW_MS, SetClock, execution, mistake, opened, settled, signal

from server.metrics import Registry
from server.store import outbox as outbox_module
from server.store.base import Store
from server.store.outbox import OutboxFile
from server.traders.model import RunSource


class Letter(NamedTuple):
    seq: int
    code: str
    detail: str


def values(metrics: Registry, name: str) -> dict[str, float]:
    """Of a metric, by the text of its labels."""
    text = metrics.render().decode()
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.M)
    return {labels: float(number) for labels, number in found}


def test_what_is_told_waits_in_order_and_leaves_once_it_is_there(tmp_path: Path) -> None:
    async def story() -> None:
        clock, metrics = SetClock(), Registry()
        async with opened(tmp_path, with_outbox=True, clock=clock, metrics=metrics) as store:
            first, second = signal(1), signal(2)
            store.signals.put([first, second])
            store.errors.put([mistake()])
            await settled(store)
            rows = await store.outbox.read("signals", 0, 10)
            assert [msgspec.json.decode(row.body) for row in rows] == [
                json.loads(msgspec.json.encode(one)) for one in (first, second)
            ]
            assert [row.key for row in rows] == [first.id, second.id]
            assert rows[0].trader_id == first.trader_id
            assert await store.outbox.read("signals", rows[0].seq, 10) == rows[1:]
            clock.now_ms = first.at_ms + 90_000
            assert values(metrics, "outbox_depth") == {"": 3}
            assert values(metrics, "outbox_oldest_seconds") == {"": 90}
            file = OutboxFile(store.database.path)  # another process's view
            assert file.read("signals", 0, 1) == rows[:1]
            await store.outbox.acknowledge([row.seq for row in rows])
            assert file.read("signals", 0, 1) == []
            file.close()
            assert values(metrics, "outbox_depth") == {"": 1}

    asyncio.run(story())


def test_a_newer_state_takes_the_older_s_place_also_while_that_is_on_its_way(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with opened(tmp_path, with_outbox=True) as store:
            store.signals.put([signal(1), signal(2)])
            await settled(store)
            sent = await store.outbox.read("signals", 0, 10)
            store.signals.put([signal(1, revision=2, price="9.9")])
            store.signals.put([signal(1, revision=2, price="9.9")])  # the same once more
            await settled(store)
            await store.outbox.acknowledge([row.seq for row in sent])
            (row,) = await store.outbox.read("signals", 0, 10)
            assert json.loads(row.body)["revision"] == 2
            assert row.seq > sent[-1].seq

    asyncio.run(story())


def test_no_seq_comes_twice_after_everything_was_taken(tmp_path: Path) -> None:
    async def story() -> None:
        last = 0
        for number in range(3):
            async with opened(tmp_path, with_outbox=True) as store:
                store.signals.put([signal(number)])
                await settled(store)
                (row,) = await store.outbox.read("signals", 0, 10)
                assert row.seq > last
                last = row.seq
                await store.outbox.acknowledge([row.seq])

    asyncio.run(story())


def test_executions_are_told_where_there_is_something_to_tell(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, with_outbox=True) as store:
            store.executions.put(
                [
                    execution(1),
                    execution(2, symbols_matched=3),
                    execution(3, incomplete=True),
                    execution(4, error="refused"),
                    execution(5, source=RunSource.REQUEST),
                    execution(2, symbols_matched=3),
                ]
            )
            await settled(store)
            rows = await store.outbox.read("executions", 0, 10)
            numbers = [(json.loads(row.body)["open_time_ms"] - NOW_MS) // 60_000 for row in rows]
            assert numbers == [2, 3, 4, 5]

    asyncio.run(story())


def test_without_supabase_nothing_waits_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            store.signals.put([signal(1)])
            store.executions.put([execution(1, error="refused")])
            store.errors.put([mistake()])
            await settled(store)
            for kind in outbox_module.KINDS:
                assert await store.outbox.read(kind, 0, 10) == []

    asyncio.run(story())


def test_at_the_bound_errors_go_before_what_clears_those_already_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, with_outbox=True, outbox_rows_max=100) as store:
            told = mistake()
            store.errors.put([told])
            await settled(store)
            rows = await store.outbox.read("errors", 0, 10)
            await store.outbox.acknowledge([row.seq for row in rows])
            store.errors.clear(told.trader_id)
            store.errors.put([msgspec.structs.replace(told, kind=f"k{n}") for n in range(120)])
            await settled(store)
            assert (await sizes(store))[0] <= 100
            assert len(await store.outbox.read("cleared", 0, 10)) == 1

    asyncio.run(story())


async def sizes(store: Store) -> tuple[int, int]:
    return await store.database.read(
        lambda connection: connection.execute(
            "SELECT count(*), coalesce(sum(length(CAST(body AS BLOB))), 0) FROM outbox"
        ).fetchone()
    )


@pytest.mark.parametrize(
    "bound", [{"outbox_rows_max": 100}, {"outbox_bytes_max": 1 << 16}], ids=["rows", "bytes"]
)
def test_at_the_bound_the_oldest_go_executions_first_counted_and_said(
    bound: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        metrics = Registry()
        async with opened(tmp_path, with_outbox=True, metrics=metrics, **bound) as store:
            store.executions.put([execution(number, error="x") for number in range(40)])
            await settled(store)
            store.signals.put([signal(number) for number in range(60)])
            await settled(store)
            for number in range(60, 400):
                store.signals.put([signal(number, symbol="币安人生USDT")])
            await settled(store)
            rows, size = await sizes(store)
            assert rows <= store.outbox._rows_max
            assert size <= store.outbox._bytes_max
            assert await store.outbox.read("executions", 0, 10) == []
            kept = await store.outbox.read("signals", 0, 1000)
            assert kept[-1].key == signal(399, symbol="币安人生USDT").id  # the newest are there
            dropped = values(metrics, "outbox_dropped_total")
            assert dropped['kind="executions"'] == 40
            assert dropped['kind="signals"'] == 400 - len(kept)
            assert values(metrics, "outbox_depth") == {"": rows}
        # They are counted beyond a restart, and the signals themselves are all here.
        metrics = Registry()
        async with opened(tmp_path, with_outbox=True, metrics=metrics, **bound) as store:
            assert values(metrics, "outbox_dropped_total") == dropped
            assert await store.signals.last_seq() == 400

    asyncio.run(story())
    assert caplog.text.count("the outbox is full") == 1


def test_the_counts_stay_true_whatever_happens(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, with_outbox=True) as store:
            for number in range(50):
                store.signals.put([signal(number % 20, revision=number)])
                store.errors.put([mistake(number)])
            await settled(store)
            rows = await store.outbox.read("signals", 0, 100)
            await store.outbox.acknowledge([row.seq for row in rows[::2]])
            await store.outbox.bury([Letter(row.seq, "23514", "no") for row in rows[1::4]])
            counted = await store.database.read(
                lambda connection: connection.execute("SELECT * FROM outbox_size").fetchall()
            )
            assert counted == [await sizes(store)]

    asyncio.run(story())


def test_a_dead_letter_is_kept_with_its_reason_and_can_be_sent_again(tmp_path: Path) -> None:
    async def story() -> None:
        metrics = Registry()
        async with opened(tmp_path, with_outbox=True, metrics=metrics) as store:
            store.signals.put([signal(1), signal(2)])
            await settled(store)
            first, second = await store.outbox.read("signals", 0, 10)
            await store.outbox.bury([Letter(first.seq, "23514", "price > 0")])
            await store.outbox.bury([Letter(first.seq, "23514", "said twice")])
            assert await store.outbox.read("signals", 0, 10) == [second]
            (letter,) = await store.outbox.dead_letters()
            assert (letter.code, letter.detail, letter.key) == ("23514", "price > 0", signal(1).id)
            assert letter.body.encode() == first.body
            await store.outbox.revive([letter.seq])
            assert await store.outbox.dead_letters() == []
            rows = await store.outbox.read("signals", 0, 10)
            assert [row.key for row in rows] == [signal(2).id, signal(1).id]
            assert rows[1].seq > second.seq  # behind whatever was read already

    asyncio.run(story())


def test_dead_letters_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "DEAD_MAX", 5)

    async def story() -> None:
        async with opened(tmp_path, with_outbox=True) as store:
            store.signals.put([signal(number) for number in range(20)])
            await settled(store)
            rows = await store.outbox.read("signals", 0, 100)
            for row in rows:
                await store.outbox.bury([Letter(row.seq, "23514", "no")])
            letters = await store.outbox.dead_letters()
            assert [one.key for one in letters] == [row.key for row in rows[:-6:-1]]
            page = await store.outbox.dead_letters(before=letters[1].seq, limit=2)
            assert page == letters[2:4]

    asyncio.run(story())


def test_must_never_24_a_burst_of_signals_is_lost_on_its_way_to_the_database(
    tmp_path: Path,
) -> None:
    """12,000 at once, while whoever takes them dies again and again, and so does the server."""
    noise = random.Random(24)
    burst = [signal(number) for number in range(12_000)]
    there: dict[str, int] = {}  # the database: by id, the newest revision
    taken = 0

    async def take(store: Store, lives: int) -> None:
        nonlocal taken
        for _ in range(lives):
            after = 0  # a new life begins at the front
            while rows := await store.outbox.read("signals", after, 500):
                after = rows[-1].seq
                for row in rows:
                    one = json.loads(row.body)
                    there[row.key] = max(there.get(row.key, 0), one["revision"])
                taken += len(rows)
                if noise.random() < 0.3:
                    break  # killed between the database's answer and ours
                await store.outbox.acknowledge([row.seq for row in rows])

    async def story() -> None:
        for life in range(4):
            async with opened(tmp_path, with_outbox=True) as store:
                # What the last life told is told again, some of it changed meanwhile.
                first = max(0, (life - 1) * 3000)
                for start in range(first, (life + 1) * 3000, 100):
                    store.signals.put(burst[start : start + 100])
                store.signals.put(
                    [signal(number, revision=2) for number in range(first, first + 50)]
                )
                await settled(store)
                await take(store, 3)
        async with opened(tmp_path, with_outbox=True) as store:
            while await store.outbox.read("signals", 0, 1):
                await take(store, 1)
            kept = await store.database.read(
                lambda connection: dict(connection.execute("SELECT id, revision FROM signals"))
            )
        assert there == kept
        assert len(kept) == 12_000
        assert sum(revision == 2 for revision in kept.values()) == 150
        assert taken > 12_000  # some were sent twice, and are there once

    asyncio.run(story())
