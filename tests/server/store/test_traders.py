"""server.store.traders: what was acknowledged is there, quotas hold, what goes, goes whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from shelves import execution, mistake, opened, settled, signal, trader

from server.errors import QuotaError, StoreError
from server.identity import Tier
from server.store.signals import SignalQuery
from server.traders.model import Trader

FULL = Trader(
    id="6b0f1f7e-0000-4000-8000-000000000001",
    owner="ann",
    name="Ünïcode ✓",
    filter="rsi(14) < 30 and close > sma(200)",
    interval="1h",
    market="um",
    symbols=("BTCUSDT", "币安人生USDT"),
    mode="level",
    cooldown_bars=3,
    evaluate_on="forming",
    enabled=False,
    paused_reason="too many",
    description="a\nb",
    conditions=("one", "two"),
    indicators=(msgspec.Raw(b'{"id":"rsi","parameters":[14, 1.50]}'),),
    access_tier=Tier.PRO,
    category="momentum",
    difficulty="advanced",
    created_ms=1,
    updated_ms=2,
)


def test_a_trader_is_read_as_it_was_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.traders.insert(FULL, None)
            await store.traders.insert(trader(2), None)
        async with opened(tmp_path) as store:
            first, second = await store.traders.load()
        assert msgspec.json.encode(first) == msgspec.json.encode(FULL)
        assert second == trader(2)

    asyncio.run(story())


def test_an_update_takes_the_place_of_what_was(tmp_path: Path) -> None:
    async def story() -> None:
        changed = trader(1, filter="close > 2", enabled=False)
        async with opened(tmp_path) as store:
            await store.traders.insert(trader(1), None)
            await store.traders.update(changed, None)
            with pytest.raises(StoreError, match="no trader"):
                await store.traders.update(trader(2), None)
            with pytest.raises(StoreError, match="already"):
                await store.traders.insert(trader(1), None)
        async with opened(tmp_path) as store:
            assert await store.traders.load() == [changed]

    asyncio.run(story())


def test_forty_inserts_at_once_at_a_quota_of_ten_leave_ten(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.traders.insert(trader(100, owner="bob"), 10)
            results = await asyncio.gather(
                *(store.traders.insert(trader(number), 10) for number in range(40)),
                return_exceptions=True,
            )
            refused = [one for one in results if isinstance(one, QuotaError)]
            assert len(refused) == 30
            assert all(one.limit == 10 for one in refused)
            assert sum(one.owner == "ann" for one in await store.traders.load()) == 10
            # Asleep it counts for nothing; to wake it is one too many.
            asleep = trader(50, enabled=False)
            await store.traders.insert(asleep, 10)
            with pytest.raises(QuotaError):
                await store.traders.update(trader(50), 10)
            await store.traders.update(trader(50, enabled=False, name="other"), 10)

    asyncio.run(story())


def test_what_is_deleted_goes_with_everything_of_it(tmp_path: Path) -> None:
    async def story() -> None:
        mine, other = trader(1), trader(2)
        async with opened(tmp_path) as store:
            for one in (mine, other):
                await store.traders.insert(one, None)
                store.signals.put([signal(number, whose=one) for number in range(2500)])
                store.executions.put([execution(number, whose=one) for number in range(2500)])
                store.errors.put([mistake(whose=one)])
            await store.traders.delete(mine.id)
            # Its engine had said this before it heard.
            store.signals.put([signal(9999, whose=mine)])
            await settled(store)
            while await store.retention.step():
                pass
            assert await store.traders.load() == [other]
            page = await store.signals.page(SignalQuery(trader_ids=[mine.id]))
            assert page.signals == []
            assert (await store.executions.page(mine.id)).executions == []
            assert (await store.executions.roll_up([mine.id]))["30d"].runs == 0
            assert [one.trader_id for one in await store.errors.load()] == [other.id]
            page = await store.signals.page(SignalQuery(trader_ids=[other.id], since=0, limit=1000))
            assert len(page.signals) == 1000

    asyncio.run(story())


def test_the_last_good_set_of_supabase_is_replaced_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.traders.insert(trader(1), None)
            await store.traders.replace([trader(2), trader(3, owner=None)])
            store.signals.put([signal(whose=trader(2)), signal(whose=trader(3))])
            await store.traders.replace([trader(3, owner=None, name="new"), trader(4)])
            while await store.retention.step():
                pass
        async with opened(tmp_path) as store:
            assert await store.traders.load() == [trader(1)]
            kept = await store.traders.load("supabase")
            assert kept == [trader(3, owner=None, name="new"), trader(4)]
            page = await store.signals.page(SignalQuery(trader_ids=None))
            assert [one.signal.trader_id for one in page.signals] == [trader(3).id]

    asyncio.run(story())


def test_a_trader_that_cannot_be_read_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.traders.insert(trader(1), None)
            await store.traders.insert(trader(2), None)
            await store.database.write(
                lambda connection: (
                    connection.execute(
                        "UPDATE traders SET body = '{\"id\": 5}' WHERE id = ?", (trader(1).id,)
                    ).rowcount
                )
            )
            assert await store.traders.load() == [trader(2)]

    asyncio.run(story())
    assert trader(1).id in caplog.text
