"""``/v1/me`` says who asks and what they may; signals and traders of others are not counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import shelves
from alert_samples import make_signal, make_trader
from api_house import House, serving

from server.signals.model import SignalStatus

ANNAS, BERTS, BUILTIN = make_trader(1), make_trader(2, "bert"), make_trader(3, None)
DAY_MS = 86_400_000


def run(folder: Path, scenario: Callable[[House], Any], **settings: Any) -> None:
    async def whole() -> None:
        async with serving(folder, **settings) as house:
            house.own(ANNAS, BERTS, BUILTIN)
            await scenario(house)

    asyncio.run(asyncio.wait_for(whole(), 40))


def test_a_key_is_told_who_it_stands_for_and_what_is_left(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        me = (await house.ask("anna", "/v1/me")).json()
        assert (me["owner"], me["tier"], me["scope"]) == ("anna", "pro", "trade")
        assert (me["reads"], me["asks_for_keys"], me["requests_per_minute"]) == (True, True, 500)
        assert me["traders"] == {"held": 1, "held_max": 7, "enabled": 1, "enabled_max": 10}
        operator = (await house.ask("operator", "/v1/me")).json()
        assert (operator["scope"], operator["requests_per_minute"]) == ("admin", None)
        assert operator["traders"]["enabled_max"] is None

    run(tmp_path, scenario, traders_per_owner_max=7)


def test_who_shows_no_key_is_nobody_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        me = (await house.ask(None, "/v1/me")).json()
        assert (me["owner"], me["tier"], me["reads"]) == (None, "anonymous", False)
        assert me["traders"]["held"] == 0
        house.keys["stranger"] = "wrong"
        assert (await house.ask("stranger", "/v1/me")).status == 401

    run(tmp_path, scenario)


def test_signals_of_today_are_counted_for_who_sees_them(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        now_ms = house.state.market_clock.time_ms()
        told = [make_signal(index, ANNAS) for index in range(4)] + [make_signal(9, BERTS)]
        told = [msgspec.structs.replace(signal, open_time_ms=now_ms) for signal in told]
        told[1] = msgspec.structs.replace(told[1], open_time_ms=now_ms - 2 * DAY_MS)
        told[2] = msgspec.structs.replace(told[2], status=SignalStatus.RETRACTED)
        told[3] = msgspec.structs.replace(told[3], historical=True)
        house.tell(*told)
        await shelves.settled(house.state.store)
        counted = {
            who: (await house.ask(who, "/v1/me")).json()["signals_today"]
            for who in ("anna", "bert", "carl", "operator")
        }
        assert counted == {"anna": 1, "bert": 1, "carl": 0, "operator": 2}

    run(tmp_path, scenario)


def test_a_server_without_keys_has_nobody_but_its_operator(server: Any) -> None:
    me = server.get("/v1/me").json()
    assert (me["owner"], me["reads"], me["asks_for_keys"]) == ("operator", True, False)
    assert me["signals_today"] is None
