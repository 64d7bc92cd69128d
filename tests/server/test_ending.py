"""A server that ends: no part of it holds up those after it, and the store is always closed."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from server import app, ending
from server.alerts import office
from server.app import Server
from server.clock import SystemClock
from server.disk import SystemDisk
from server.ending import end_within
from server.serving import SHUTDOWN_S
from server.settings import Settings
from server.snapshots import LAST_S
from server.store import database
from server.sync.supervisor import _END_S, DRAIN_S

NOWHERE = "http://127.0.0.1:9"


def test_what_every_part_may_take_is_less_than_the_process_has() -> None:
    groups = (app.FEEDS_END_S, app.PARTS_END_S, app.STORE_END_S)
    assert app.DRAIN_S + sum(groups) + len(groups) * ending.LEAVE_S < SHUTDOWN_S
    assert max(LAST_S, office.CLOSE_S, DRAIN_S + _END_S) < app.PARTS_END_S
    assert database.CLOSE_S < app.STORE_END_S


def test_parts_end_side_by_side_and_none_waits_for_one_that_hangs_or_fails(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "LEAVE_S", 0.01)
    ended: list[str] = []
    hold = asyncio.Event()

    async def ends() -> None:
        ended.append("ends")

    async def fails() -> None:
        raise ValueError("no such thing")

    async def hangs() -> None:
        await hold.wait()

    async def hears_nothing() -> None:
        while not hold.is_set():
            try:
                await hold.wait()
            except asyncio.CancelledError:
                ended.append("told to leave off")

    async def scenario() -> None:
        await end_within(0.01, fails(), hangs(), hears_nothing(), ends())
        assert ended == ["ends", "told to leave off"]
        hold.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())
    said = [record.getMessage().rpartition("<locals>.")[2] for record in caplog.records]
    assert sorted(said) == [
        "fails failed",
        "hangs takes more than 0.01 s: it is left",
        "hears_nothing takes more than 0.01 s: it is left",
    ]


def test_the_store_is_closed_although_an_alert_is_still_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "PARTS_END_S", 0.05)

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        settings = Settings.load({}, overrides={"data_dir": str(tmp_path), "spot_rest": NOWHERE})
        server = Server(
            settings,
            clock=SystemClock(),
            random=random.Random(1),
            disk=SystemDisk(),
            has_store=True,
        )
        await server.start()
        store, alerts = server.state.store, server.state.alerts
        assert store is not None
        assert alerts is not None
        assert store.database.up
        await alerts.close()
        monkeypatch.setattr(alerts, "close", hangs)
        async with asyncio.timeout(60):
            await server.stop()
        assert not store.database.up

    asyncio.run(scenario())
