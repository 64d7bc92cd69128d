"""server.store.signals: each signal once, in its newest state, found page by page."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelves import opened, settled, signal, trader

from server.signals.model import Signal, SignalStatus
from server.store import signals
from server.store.base import Store
from server.store.signals import SignalQuery


async def newest(store: Store, **query: Any) -> list[Signal]:
    """All signals, page by page, the newest first."""
    found: list[Signal] = []
    asked = SignalQuery(**{"trader_ids": None, "limit": 3} | query)
    while True:
        page = await store.signals.page(asked)
        found += [kept.signal for kept in page.signals]
        if page.before is None:
            return found
        asked = msgspec.structs.replace(asked, before=page.before)


async def changes(store: Store, since: int, **query: Any) -> list[Signal]:
    """Likewise all changes, in their order."""
    found: list[Signal] = []
    while True:
        page = await store.signals.page(
            SignalQuery(**{"trader_ids": None, "limit": 3, "since": since} | query)
        )
        if not page.signals:
            assert page.since == since
            return found
        found += [kept.signal for kept in page.signals]
        assert page.since is not None
        since = page.since


def test_a_signal_is_read_as_it_was_kept_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        told = [
            signal(1),
            signal(2, symbol="币安人生USDT", complete=False, historical=True, price="0.00000001"),
            signal(3, status=SignalStatus.PROVISIONAL, values={}, anchors={}),
        ]
        async with opened(tmp_path) as store:
            store.signals.put(told)
        async with opened(tmp_path) as store:
            for one in told:
                kept = await store.signals.get(one.id)
                assert kept is not None
                assert kept.signal == one
            assert await store.signals.get("another") is None
            assert await store.signals.last_seq() == 3

    asyncio.run(story())


def test_the_newer_revision_wins_and_the_same_one_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        first = signal(1, status=SignalStatus.PROVISIONAL)
        second = msgspec.structs.replace(
            first, status=SignalStatus.CONFIRMED, revision=2, price="2.0"
        )
        async with opened(tmp_path, with_outbox=True) as store:
            store.signals.put([first, signal(2)])
            store.signals.put([second])
            store.signals.put([first, second, signal(2)])
            await settled(store)
            assert await newest(store) == [signal(2), second]
            assert await changes(store, 0) == [signal(2), second]
            assert await store.signals.last_seq() == 3
            assert len(await store.outbox.read("signals", 0, 100)) == 2

    asyncio.run(story())


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from(["AUSDT", "BUSDT"]), st.integers(1, 4)),
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40)
def test_any_order_and_repetition_ends_in_the_newest_revisions(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[int, str, int]], noise: random.Random
) -> None:
    async def story() -> None:
        once = [signal(number, symbol=symbol, revision=r) for number, symbol, r in told]
        again = once + noise.sample(once, len(once) // 2)
        noise.shuffle(again)
        expected: dict[str, Signal] = {}
        for one in once:
            if one.id not in expected or expected[one.id].revision < one.revision:
                expected[one.id] = one
        folder = tmp_path_factory.mktemp("any")
        async with opened(folder) as store:
            for one in again:
                store.signals.put([one])
            await settled(store)
            found = await newest(store)
            assert {one.id: one for one in found} == expected
            assert len(found) == len(expected)
            keys = [(one.open_time_ms, one.id) for one in found]
            assert keys == sorted(keys, reverse=True)
            assert {one.id: one for one in await changes(store, 0)} == expected

    asyncio.run(story())


def test_pages_show_what_was_asked_for_and_is_visible(tmp_path: Path) -> None:
    async def story() -> None:
        mine, other, third = trader(1), trader(2), trader(3)
        told = [
            signal(number, whose=whose, symbol=symbol)
            for number in range(20)
            for whose in (mine, other, third)
            for symbol in ("AUSDT", "BUSDT")
        ]
        async with opened(tmp_path) as store:
            random.Random(5).shuffle(told)
            store.signals.put(told)
            await settled(store)
            for visible in (None, [mine.id], [mine.id, third.id, "unknown"], []):
                for wanted in (None, mine.id, other.id):
                    for symbol in (None, "AUSDT", "CUSDT"):
                        expected = [
                            one
                            for one in told
                            if (visible is None or one.trader_id in visible)
                            and wanted in (None, one.trader_id)
                            and symbol in (None, one.symbol)
                        ]
                        asked = {"trader_ids": visible, "trader_id": wanted, "symbol": symbol}
                        assert await changes(store, 0, **asked) == expected
                        expected.sort(key=lambda one: (one.open_time_ms, one.id), reverse=True)
                        assert await newest(store, **asked) == expected
            assert await newest(store, market="um") == []
            assert await changes(store, 7, market="spot") == told[7:]

    asyncio.run(story())


def test_a_revision_between_two_pages_moves_no_signal(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            store.signals.put([signal(number) for number in range(6)])
            await settled(store)
            first = await store.signals.page(SignalQuery(trader_ids=None, limit=3))
            store.signals.put([signal(1, revision=2), signal(5, revision=2), signal(9)])
            await settled(store)
            second = await store.signals.page(
                SignalQuery(trader_ids=None, limit=3, before=first.before)
            )
            assert [kept.signal.open_time_ms for kept in (*first.signals, *second.signals)] == [
                signal(number).open_time_ms for number in (5, 4, 3, 2, 1, 0)
            ]
            # Whoever follows the changes is told of exactly these.
            assert await changes(store, 6) == [
                signal(1, revision=2), signal(5, revision=2), signal(9),
            ]  # fmt: skip

    asyncio.run(story())


def test_a_page_reads_by_index_however_many_signals_others_have(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            plans = []
            for since in (None, 5):
                query = SignalQuery(trader_ids=["a", "b"], since=since, symbol="AUSDT")
                plans += await store.database.read(partial(_plan, query=query))
            scans = [step for step in plans if "SCAN" in step and "json_each" not in step]
            assert scans == [], plans

    asyncio.run(story())


def _plan(connection: sqlite3.Connection, query: SignalQuery) -> list[str]:
    class Explaining:
        def execute(self, sql: str, values: list[Any]) -> list[object]:
            steps.extend(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))
            return []

    steps: list[str] = []
    signals._page(Explaining(), query)
    return steps


def test_what_is_provisional_is_found_by_market_in_order_of_coming(tmp_path: Path) -> None:
    """A start settles what a life that was killed left so."""

    async def story() -> None:
        open_ones = [
            signal(n, status=SignalStatus.PROVISIONAL, market=market)
            for n, market in enumerate(["spot", "usdm", "spot", "spot"])
        ]
        confirmed = msgspec.structs.replace(open_ones[2], status=SignalStatus.CONFIRMED, revision=2)
        async with opened(tmp_path) as store:
            store.signals.put([*open_ones, signal(9), confirmed])
        async with opened(tmp_path) as store:
            assert await store.sinks.told.provisional("spot", 9) == [open_ones[0], open_ones[3]]
            assert await store.sinks.told.provisional("spot", 1) == [open_ones[3]]
            plan = await store.database.read(
                lambda connection: connection.execute(
                    "EXPLAIN QUERY PLAN SELECT id FROM signals"
                    " WHERE status = 'provisional' AND market = 'spot' ORDER BY seq DESC LIMIT 9"
                ).fetchall()
            )
            assert "signals_provisional" in plan[0][3]

    asyncio.run(story())
