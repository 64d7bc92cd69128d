"""server.store.executions and retention: once each, added up rightly, gone when too old."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from shelves import MINUTE, NOW_MS, SetClock, execution, mistake, opened, settled, signal, trader

from server.store.base import Store
from server.store.executions import HOUR_MS, WINDOWS_MS
from server.store.signals import SignalQuery
from server.traders.model import Execution, RunSource

DAY_MS = 24 * HOUR_MS


async def history(store: Store, trader_id: str, limit: int = 7) -> list[Execution]:
    """All of it, page by page."""
    found: list[Execution] = []
    before = None
    while True:
        page = await store.executions.page(trader_id, before=before, limit=limit)
        found += page.executions
        before = page.before
        if before is None:
            return found


def test_the_history_has_each_execution_once_and_the_newest_first(tmp_path: Path) -> None:
    async def story() -> None:
        told = [execution(number) for number in range(30)]
        told += [execution(3, source=RunSource.CRON), execution(3, interval="5m")]
        told += [execution(3, source=RunSource.REQUEST, error="refused", incomplete=True)]
        other = execution(1, whose=trader(2))
        async with opened(tmp_path) as store:
            store.executions.put([*told, other])
            store.executions.put(told[10:])
            # What came first stays.
            store.executions.put([execution(4, duration_us=9, symbols_matched=9)])
        async with opened(tmp_path) as store:
            found = await history(store, trader().id)
            times = [one.started_ms for one in found]
            assert times == sorted(times, reverse=True)
            assert sorted(map(repr, found)) == sorted(map(repr, told))
            assert await history(store, trader(2).id) == [other]
            counts = (await store.executions.roll_up([trader().id]))["30d"]
            assert (counts.runs, counts.matches) == (len(told), 0)

    asyncio.run(story())


def test_what_runs_amount_to_is_what_a_plain_sum_gives(tmp_path: Path) -> None:
    noise = random.Random(3)
    clock = SetClock(NOW_MS + 40 * DAY_MS + 17 * MINUTE)
    ages = [noise.choice([0.5, 5, 20, 100, 500, 719, 800]) * noise.random() for _ in range(600)]
    told = [
        execution(
            number,
            whose=trader(number % 3),
            started_ms=clock.now_ms - int(age * HOUR_MS),
            duration_us=noise.randrange(1, 100_000),
            symbols_matched=noise.randrange(3),
            error="refused" if noise.random() < 0.1 else None,
        )
        for number, age in enumerate(ages)
    ]

    async def story() -> None:
        async with opened(tmp_path, clock=clock, keep_executions_days=60) as store:
            noise.shuffle(told)
            store.executions.put(told)
            await settled(store)
            for wanted in (None, [trader(0).id], [trader(1).id, trader(2).id], []):
                found = await store.executions.roll_up(wanted)
                assert list(found) == list(WINDOWS_MS)
                for name, length_ms in WINDOWS_MS.items():
                    from_ms = clock.now_ms - length_ms
                    if name in ("7d", "30d"):  # the oldest hour counts whole
                        from_ms -= from_ms % HOUR_MS
                    those = [
                        one
                        for one in told
                        if one.started_ms >= from_ms and (wanted is None or one.trader_id in wanted)
                    ]
                    counts = found[name]
                    assert counts.runs == len(those)
                    assert counts.matches == sum(one.symbols_matched for one in those)
                    if not those:
                        assert counts.ms_mean is None
                        continue
                    spent = [one.duration_us / 1000 for one in those]
                    good = sum(one.error is None for one in those)
                    assert counts.success_percent == pytest.approx(100 * good / len(those))
                    assert (counts.ms_min, counts.ms_max) == (min(spent), max(spent))
                    assert counts.ms_mean == pytest.approx(sum(spent) / len(spent))

    asyncio.run(story())


def test_an_error_is_kept_once_in_its_newest_state_and_counts_on_after_a_restart(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            for count in range(1, 6):
                store.errors.put([mistake(count, count=count), mistake(kind="other")])
        async with opened(tmp_path) as store:
            # A program that forgot begins at one again.
            store.errors.put([mistake(9, count=1, first_ms=NOW_MS + 8)])
            await settled(store)
            kept = {one.kind: one for one in await store.errors.load()}
            assert kept["other"] == mistake(kind="other")
            error = kept["unknown_symbol"]
            assert (error.count, error.first_ms, error.last_ms) == (5, NOW_MS, NOW_MS + 9)
            assert error.message == "no such symbol: 9"
            store.errors.clear(trader().id)
            await settled(store)
            assert await store.errors.load() == []

    asyncio.run(story())


# --- retention ---------------------------------------------------------------------------------


async def count(store: Store, table: str) -> int:
    return await store.database.read(
        lambda connection: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    )


def test_what_is_too_old_goes_and_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        clock = SetClock()
        async with opened(tmp_path, clock=clock) as store:

            async def retained() -> tuple[int, int, int]:
                while await store.retention.step():
                    pass
                return (
                    await count(store, "signals"),
                    await count(store, "executions"),
                    await count(store, "execution_hours"),
                )

            for day in range(40):
                at_ms = NOW_MS + day * DAY_MS
                numbers = range(day * 1440, day * 1440 + 40)
                store.signals.put([signal(number) for number in numbers])
                store.executions.put([execution(number) for number in numbers])
            await settled(store)
            clock.now_ms = NOW_MS
            assert await retained() == (1600, 1600, 40)
            clock.now_ms = NOW_MS + 40 * DAY_MS
            assert await retained() == (30 * 40, 7 * 40, 31)
            page = await store.signals.page(SignalQuery(trader_ids=None, since=0, limit=1))
            assert page.signals[0].signal.at_ms >= at_ms - 30 * DAY_MS
            clock.now_ms = NOW_MS + 100 * DAY_MS
            assert await retained() == (0, 0, 0)
            # What is told anew comes behind whatever anybody has seen.
            store.signals.put([signal(1, at_ms=clock.now_ms)])
            await settled(store)
            assert await store.signals.last_seq() == 1601

    asyncio.run(story())


def test_a_signal_of_the_past_that_was_found_today_stays_its_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, clock=SetClock(NOW_MS + 90 * DAY_MS)) as store:
            store.signals.put([signal(1, historical=True, at_ms=NOW_MS + 90 * DAY_MS)])
            await settled(store)
            await store.retention.step()
            assert await count(store, "signals") == 1

    asyncio.run(story())


def test_too_many_rows_go_oldest_first_whatever_their_age(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path, keep_signals_max=1000, keep_executions_max=1000) as store:
            for first in range(0, 3000, 500):
                numbers = range(first, first + 500)
                store.signals.put([signal(number) for number in numbers])
                store.executions.put([execution(number) for number in numbers])
            store.executions.put([execution(1, whose=trader(2))])
            await store.traders.delete(trader(2).id)
            await settled(store)
            while await store.retention.step():
                pass
            assert await count(store, "signals") == 1000
            assert 999 <= await count(store, "executions") <= 1000
            page = await store.signals.page(SignalQuery(trader_ids=None, since=0, limit=1))
            assert page.signals[0].signal == signal(2000)

    asyncio.run(story())


def test_space_is_given_back_to_the_disk_in_small_steps(tmp_path: Path) -> None:
    async def story() -> None:
        clock = SetClock()
        path = tmp_path / "klinecore.sqlite"
        async with opened(tmp_path, clock=clock) as store:
            for first in range(0, 20_000, 500):
                store.signals.put([signal(number) for number in range(first, first + 500)])
                await settled(store)
        before = path.stat().st_size
        async with opened(tmp_path, clock=clock) as store:
            clock.now_ms = NOW_MS + 365 * DAY_MS
            steps = 0
            while await store.retention.step():
                steps += 1
            assert steps >= 20  # the store removes of itself too
        assert path.stat().st_size < before / 4

    asyncio.run(story())
