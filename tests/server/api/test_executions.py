"""``/v1/executions``: each sees how the traders they see went, page by page and added up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import shelves
from alert_samples import make_trader
from api_house import House, serving

from server.identity import Tier
from server.traders.model import Execution

ANNAS, BERTS = make_trader(1), make_trader(3, "bert")
FREE, ELITE = make_trader(4, None), make_trader(5, None, access_tier=Tier.ELITE)
EVERYBODY = (ANNAS, BERTS, FREE, ELITE)
COUNT = 7


def run(folder: Path, scenario: Callable[[House], Any]) -> None:
    async def whole() -> None:
        async with serving(folder) as house:
            house.own(*EVERYBODY)
            now_ms = house.state.clock.time_ms()
            store = house.state.store
            assert store is not None
            for one in EVERYBODY:
                store.executions.put(
                    [
                        shelves.execution(number, whose=one, started_ms=now_ms - 60_000 * number,
                                          symbols_matched=1)
                        for number in range(COUNT)
                    ]
                )  # fmt: skip
            await shelves.settled(store)
            await scenario(house)

    asyncio.run(asyncio.wait_for(whole(), 120))


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        ("anna", [ANNAS, FREE]),
        ("bert", [BERTS, FREE, ELITE]),
        ("operator", list(EVERYBODY)),
    ],
)
def test_everybody_sees_how_the_traders_they_see_went(
    tmp_path: Path, who: str, sees: list[Any]
) -> None:
    async def scenario(house: House) -> None:
        answer = await house.ask(who, "/v1/executions")
        windows = answer.json()["windows"]
        assert list(windows) == ["1h", "24h", "7d", "30d"]
        for window in windows.values():
            assert window == {
                "runs": COUNT * len(sees), "success_percent": 100.0, "matches": COUNT * len(sees),
                "ms_min": 1.5, "ms_mean": 1.5, "ms_max": 1.5,
            }  # fmt: skip
        for one in EVERYBODY:
            answer = await house.ask(who, f"/v1/traders/{one.id}/executions")
            if one not in sees:
                assert (answer.status, answer.code) == (404, "unknown_trader")
                continue
            assert answer.json()["windows"]["30d"]["runs"] == COUNT
            found = msgspec.convert(answer.json()["executions"], list[Execution])
            assert [execution.trader_id for execution in found] == [one.id] * COUNT

    run(tmp_path, scenario)


def test_pages_lead_to_each_execution_once_the_newest_first(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        target: str | None = f"/v1/traders/{ANNAS.id}/executions?limit=3"
        times, pages = [], 0
        while target is not None:
            answer = (await house.ask("anna", target)).json()
            times += [one["started_ms"] for one in answer["executions"]]
            target = answer["next"]
            pages += 1
        assert pages == 3
        assert len(set(times)) == COUNT
        assert times == sorted(times, reverse=True)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_limit"),
        ("limit=1001", "invalid_limit"),
        ("limit=x", "invalid_limit"),
        ("limit=0000000011001", "invalid_limit"),
        ("limit=000000001" + "0" * 30, "invalid_limit"),
        ("cursor=x", "invalid_cursor"),
        ("cursor=1.2.3", "invalid_cursor"),
        ("cursor=-1.2", "invalid_cursor"),
        ("cursor=1." + "9" * 30, "invalid_cursor"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(tmp_path: Path, query: str, code: str) -> None:
    async def scenario(house: House) -> None:
        answer = await house.ask("anna", f"/v1/traders/{ANNAS.id}/executions?{query}")
        assert (answer.status, answer.code) == (400, code)

    run(tmp_path, scenario)
