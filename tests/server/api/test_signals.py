"""``/v1/signals``: pages that neither skip nor repeat, and streams that go on where they were."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import shelves
from alert_samples import NOW_MS, make_signal, make_trader
from api_house import House, serving
from event_reader import Reader

from server.api import events, signal_log
from server.identity import Tier
from server.signals.model import Signal, SignalStatus

ANNAS, ANNAS_OTHER, BERTS = make_trader(1), make_trader(2), make_trader(3, "bert")
FREE, ELITE = make_trader(4, None), make_trader(5, None, access_tier=Tier.ELITE)
EVERYBODY = (ANNAS, ANNAS_OTHER, BERTS, FREE, ELITE)


def run(folder: Path, scenario: Callable[[House], Any], **settings: Any) -> None:
    async def whole() -> None:
        async with serving(folder, **settings) as house:
            house.own(*EVERYBODY)
            await scenario(house)

    asyncio.run(asyncio.wait_for(whole(), 120))


async def kept(house: House, *signals: Signal) -> None:
    house.tell(*signals)
    await shelves.settled(house.state.store)


def ids(answer: Any) -> list[str]:
    return [signal["id"] for signal in answer.json()["signals"]]


def follow(house: House, who: str, query: str = "", last_id: Any = None) -> Reader:
    headers = {"accept": "text/event-stream"}
    if last_id is not None:
        headers["last_event_id"] = str(last_id)
    return Reader(house.api, house.scope(f"/v1/signals{query}", who, **headers))


# --- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        ("anna", [ANNAS, ANNAS_OTHER, FREE]),
        ("reader", [ANNAS, ANNAS_OTHER, FREE]),
        ("bert", [BERTS, FREE, ELITE]),
        ("carl", [FREE]),
        ("operator", list(EVERYBODY)),
    ],
)
def test_everybody_sees_the_signals_of_the_traders_they_see(
    tmp_path: Path, who: str, sees: list[Any]
) -> None:
    async def scenario(house: House) -> None:
        signals = {one.id: make_signal(0, one) for one in EVERYBODY}
        await kept(house, *signals.values())
        answer = await house.ask(who, "/v1/signals")
        assert set(ids(answer)) == {signals[one.id].id for one in sees}
        first = answer.json()["signals"][0]
        assert msgspec.convert(first, Signal) in signals.values()
        for one in EVERYBODY:
            answer = await house.ask(who, f"/v1/signals?trader={one.id}")
            if one in sees:
                assert ids(answer) == [signals[one.id].id]
            else:
                assert (answer.status, answer.code) == (404, "unknown_trader")

    run(tmp_path, scenario)


@pytest.mark.parametrize("seed", range(3))
def test_pages_lead_to_every_signal_once_there_and_back(tmp_path: Path, seed: int) -> None:
    async def scenario(house: House) -> None:
        chance = random.Random(seed)
        mine = [
            make_signal(chance.randrange(40), chance.choice((ANNAS, ANNAS_OTHER)))
            for _ in range(60)
        ]
        await kept(house, *mine, *(make_signal(i, BERTS) for i in range(30)))
        expected = sorted({(s.open_time_ms, s.id) for s in mine}, reverse=True)
        target: str | None = f"/v1/signals?limit={chance.randint(1, 9)}"
        there: list[str] = []
        while target is not None:
            answer = await house.ask("anna", target)
            there += ids(answer)
            previous, target = answer.json()["previous"], answer.json()["next"]
            if len(there) == len(expected) // 2:
                # What comes meanwhile is newer, and moves no page.
                await kept(house, make_signal(1000, ANNAS))
        assert there == [id for _, id in expected]
        back: list[str] = list(reversed(ids(answer)))
        while ids(answer):
            answer = await house.ask("anna", previous)
            back += reversed(ids(answer))
            previous = answer.json()["previous"]
        newest = [make_signal(1000, ANNAS).id] if len(back) > len(there) else []
        assert back == [*reversed(there), *newest]
        # There it waits for what is to come.
        await kept(house, make_signal(2000, ANNAS))
        assert ids(await house.ask("anna", previous)) == [make_signal(2000, ANNAS).id]

    run(tmp_path, scenario)


def test_changes_since_one_are_told_in_their_order_with_revisions(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        first = (await house.ask("anna", "/v1/signals")).json()["since"]
        await kept(house, *(make_signal(i, ANNAS) for i in range(5)))
        revised = make_signal(1, ANNAS, revision=2, status=SignalStatus.RETRACTED)
        await kept(house, revised, make_signal(0, BERTS))
        target: str | None = f"/v1/signals?since={first}&limit=2"
        told: list[tuple[str, int]] = []
        while target is not None:
            answer = (await house.ask("anna", target)).json()
            told += [(signal["id"], signal["revision"]) for signal in answer["signals"]]
            target = answer["next"]
        order = [0, 2, 3, 4]
        assert told == [*((make_signal(i, ANNAS).id, 1) for i in order), (revised.id, 2)]
        again = (await house.ask("anna", f"/v1/signals?since={answer['since']}")).json()
        assert again["signals"] == []
        assert again["since"] == answer["since"]

    run(tmp_path, scenario)


def test_pages_can_be_of_one_symbol(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        other = make_signal(0, ANNAS, symbol="ETHUSDT", id="e")
        await kept(house, make_signal(0, ANNAS), other)
        assert ids(await house.ask("anna", "/v1/signals?symbol=ethusdt")) == ["e"]
        assert ids(await house.ask("anna", "/v1/signals?symbol=NOPE&market=spot")) == []

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_parameter"), ("limit=1001", "invalid_parameter"),
        ("limit=x", "invalid_parameter"), ("since=-1", "invalid_parameter"),
        ("since=%D9%A1", "invalid_parameter"), ("since=99999999999999999999", "invalid_parameter"),
        ("cursor=", "invalid_cursor"), ("cursor=!!", "invalid_cursor"),
        ("cursor=PDEueA&since=1", "invalid_cursor"), ("cursor=" + "A" * 201, "invalid_cursor"),
        ("cursor=PHguYQ", "invalid_cursor"), ("cursor=%C3%A4", "invalid_cursor"),
        ("market=um", "invalid_market"), ("trader=nobody", "unknown_trader"),
        ("owner=bert", "unknown_parameter"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(tmp_path: Path, query: str, code: str) -> None:
    async def scenario(house: House) -> None:
        assert (await house.ask("anna", f"/v1/signals?{query}")).code == code

    run(tmp_path, scenario)


def test_a_lower_tier_sees_the_newest_ones_and_no_further(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        await kept(house, *(make_signal(i, FREE) for i in range(50)))
        answer = await house.ask("carl", "/v1/signals?limit=100")
        assert ids(answer) == [make_signal(i, FREE).id for i in range(49, 19, -1)]
        assert answer.json()["next"] is None
        for query in ("since=0", "cursor=PDEueA"):
            assert (await house.ask("carl", f"/v1/signals?{query}")).code == "tier"

    run(tmp_path, scenario)


# --- streams -------------------------------------------------------------------------------------


def test_a_stream_begins_now_and_tells_of_what_one_sees(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        await kept(house, make_signal(0, ANNAS))
        async with follow(house, "anna") as reader, follow(house, "bert") as berts:
            assert reader.status == 200
            await asyncio.sleep(0.05)
            house.tell(*(make_signal(1, one) for one in EVERYBODY))
            got = [event.data for event in await reader.some(3)]
            assert {one["type"] for one in got} == {"signal"}
            told = [one["data"]["trader_id"] for one in got]
            assert told == [ANNAS.id, ANNAS_OTHER.id, FREE.id]
            theirs = [event.data["data"]["trader_id"] for event in await berts.some(3)]
            assert theirs == [BERTS.id, FREE.id, ELITE.id]
            await reader.silence()

    run(tmp_path, scenario)


def test_a_stream_can_be_of_one_trader_or_symbol(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        eth = make_signal(1, ANNAS_OTHER, symbol="ETHUSDT", id="e")
        await kept(house, make_signal(0, ANNAS), make_signal(0, ANNAS_OTHER), eth)
        async with follow(house, "anna", f"?trader={ANNAS_OTHER.id}&symbol=ethusdt", 0) as reader:
            (event,) = await reader.some(1)
            assert event.data["data"]["id"] == "e"
            house.tell(make_signal(2, ANNAS), make_signal(2, ANNAS_OTHER))
            house.tell(make_signal(3, ANNAS_OTHER, symbol="ETHUSDT", id="f"))
            (event,) = await reader.some(1)
            assert event.data["data"]["id"] == "f"
        async with follow(house, "anna", f"?trader={BERTS.id}") as reader:
            assert reader.status == 404
        async with follow(house, "anna", "?limit=5") as reader:
            assert reader.status == 400

    run(tmp_path, scenario)


@pytest.mark.parametrize("seed", range(4))
def test_whoever_comes_back_hears_every_change_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Also when more came than is held in memory, and while more comes."""
    chance = random.Random(seed)
    monkeypatch.setattr(signal_log, "HELD_MAX", chance.choice((1, 5, 4096)))
    monkeypatch.setattr(signal_log, "PAGE", chance.choice((2, 7, 500)))

    async def scenario(house: House) -> None:
        heard: list[tuple[str, int]] = []
        put: dict[str, Signal] = {}
        last_id = 0

        def more() -> None:
            for _ in range(chance.randrange(12)):
                if put and chance.random() < 0.2:
                    old = put[chance.choice(list(put))]
                    one = msgspec.structs.replace(old, revision=old.revision + 1)
                else:
                    one = make_signal(len(put), chance.choice((ANNAS, FREE)))
                put[one.id] = one
                house.tell(one, make_signal(len(put), BERTS))

        async def hear(reader: Reader, count: int) -> None:
            nonlocal last_id
            for event in await reader.some(count):
                assert event.kind == "message"
                heard.append((event.data["data"]["id"], event.data["data"]["revision"]))
                assert int(event.id or 0) > last_id
                last_id = int(event.id or 0)

        for _ in range(12):
            more()
            if chance.random() < 0.5:
                await shelves.settled(house.state.store)
            async with follow(house, "anna", last_id=last_id) as reader:
                more()
                await asyncio.sleep(chance.random() * 0.1)
                await hear(reader, min(chance.randrange(5), reader._events.qsize()))
        await shelves.settled(house.state.store)
        async with follow(house, "anna", last_id=last_id) as reader:
            while not all((one.id, one.revision) in heard for one in put.values()):
                await hear(reader, 1)
            await reader.silence()
        # A revision that came before the older one was read takes its place.
        assert len(heard) == len(set(heard))
        for id, revision in heard:
            assert revision <= put[id].revision

    run(tmp_path, scenario)


def test_a_number_of_another_file_is_told_to_be_none(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        await kept(house, make_signal(0, ANNAS))
        async with follow(house, "anna", last_id=10_000) as reader:
            reset = await reader.next()
            assert reset is not None
            assert reset.kind == "reset"
            house.tell(make_signal(1, ANNAS))
            (event,) = await reader.some(1)
            assert event.data["data"]["id"] == make_signal(1, ANNAS).id
        async with follow(house, "anna", last_id="nonsense") as reader:
            assert reader.status == 400

    run(tmp_path, scenario)


def test_five_thousand_at_one_close_reach_a_slow_reader_and_memory_does_not_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal_log, "HELD_MAX", 100)
    monkeypatch.setattr(events, "SWEEP_S", 0.01)

    async def scenario(house: House) -> None:
        async with follow(house, "anna") as reader, follow(house, "anna") as stuck:
            await asyncio.sleep(0.05)
            stuck.takes.clear()
            house.tell(*(make_signal(i, ANNAS) for i in range(5000)))
            got = await reader.some(5000)
            assert [e.data["data"]["open_time_ms"] for e in got] == [
                NOW_MS + i * 60_000 for i in range(5000)
            ]
            stuck.takes.set()
            assert len(await stuck.some(5000)) == 5000

    run(tmp_path, scenario)


def test_nothing_is_read_or_held_when_nobody_follows(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        async with follow(house, "anna") as reader:
            await asyncio.sleep(0.05)
            house.tell(make_signal(0, ANNAS))
            await reader.some(1)
        hooks = house.state.store.database.after_commit
        logs = [getattr(hook, "__self__", None) for hook in hooks]
        (log,) = [one for one in logs if isinstance(one, signal_log.SignalLog)]
        assert (len(log), log._task, log._changes) == (0, None, [])

    run(tmp_path, scenario)


def test_a_fault_in_reading_ends_the_streams_and_the_next_one_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(house: House) -> None:
        async with follow(house, "anna") as reader:
            await asyncio.sleep(0.05)
            with monkeypatch.context() as patch:
                patch.setattr(signal_log, "_change", lambda kept: 1 // 0)
                house.tell(make_signal(0, ANNAS))
                (end,) = await reader.some(1)
            assert end.kind == "end"
            assert "cannot be read" in str(end.data)
        async with follow(house, "anna", last_id=0) as reader:
            house.tell(make_signal(1, ANNAS))
            assert [event.id for event in await reader.some(2)] == ["1", "2"]

    run(tmp_path, scenario)


def test_without_a_store_there_are_no_signals(server: Any) -> None:
    assert server.get("/v1/signals").code == "no_store"
