"""Signals on ``/ws``: everybody hears their own traders and the built-in ones, nobody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.access.keys import KeysFile
from server.api import stream
from server.identity import Scope, Tier
from server.signals.model import Signal, SignalStatus
from server.traders.engine import TraderEngine
from server.traders.model import Trader

KEY = "correct-horse-battery-staple"
NOW_MS = 1_700_000_000_000


def trader(number: int, owner: str | None, tier: Tier = Tier.ANONYMOUS) -> Trader:
    return Trader(
        id=f"00000000-0000-4000-8000-{number:012d}", owner=owner, name="t", filter="close > 1",
        interval="1m", access_tier=tier, created_ms=NOW_MS, updated_ms=NOW_MS,
    )  # fmt: skip


ANNA, BERT = trader(1, "anna"), trader(2, "bert")
FREE, ELITE = trader(3, None), trader(4, None, Tier.ELITE)
OF = {"anna": ANNA, "bert": BERT, "everybody": FREE, "elite": ELITE}


class Socket:
    """A client of ``/ws``, called in process."""

    def __init__(self, server: Any, key: str) -> None:
        scope = server.scope("/ws", ("X-API-Key", key))
        self._scope = scope | {"type": "websocket", "http_version": "1.1"}
        self._server = server
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> Socket:
        self._inbox.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(
            self._server.api(self._scope, self._inbox.get, self.outbox.put)
        )
        assert (await self.outbox.get())["type"] == "websocket.accept"
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._inbox.put_nowait({"type": "websocket.disconnect"})
        await self.task

    async def ask(self, method: str, *params: str) -> Any:
        text = json.dumps({"method": method, "params": params, "id": 1})
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})
        return await self.next()

    async def next(self) -> Any:
        message = await asyncio.wait_for(self.outbox.get(), 30)
        return json.loads(message["text"])

    async def heard(self) -> list[str]:
        """Whose signals have come."""
        for _ in range(20):
            await asyncio.sleep(0)
        found = []
        while not self.outbox.empty():
            message = json.loads(self.outbox.get_nowait()["text"])
            assert message.keys() == {"type", "data"}
            assert message["type"] == "signal"
            signal = msgspec.convert(message["data"], Signal)
            found += [name for name, one in OF.items() if one.id == signal.trader_id]
        return found


@pytest.fixture
def people(make_server: Callable[..., Any], tmp_path: Path) -> Any:
    """A server with traders of two owners and two built-in ones; ``keys`` of three people."""
    file = KeysFile(str(tmp_path / "keys.json"))
    keys = {
        owner: file.add(owner, tier=tier, scope=Scope.READ, now_ms=NOW_MS)[0]
        for owner, tier in (("anna", Tier.PRO), ("bert", Tier.ELITE), ("carl", Tier.FREE))
    }
    server = make_server(
        capacity=20, api_key=KEY, api_keys_file=str(tmp_path / "keys.json"), ws_messages_per_s=100
    ).serve()
    server.keys = keys | {"operator": KEY}
    server.state.desk.replace([FREE, ELITE], "builtin")
    server.state.desk.replace([ANNA, BERT], "local")
    return server


def tell(server: Any, name: str, number: int = 0) -> Signal:
    """Let a trader fire, as its engine does."""
    one = OF[name]
    signal = Signal(
        id=f"{one.id}-{number}", trader_id=one.id, filter_hash="f", market="spot",
        symbol="BTCUSDT", interval="1m", open_time_ms=NOW_MS, price="1.50",
        status=SignalStatus.FIRED, revision=1, data_revision=1, complete=True, values={},
        anchors={}, at_ms=NOW_MS,
    )  # fmt: skip
    server.state.desk.teller.tell([signal], NOW_MS)
    return signal


@pytest.mark.parametrize(
    ("who", "hears"),
    [
        ("anna", ["anna", "everybody"]),
        ("bert", ["bert", "everybody", "elite"]),
        ("carl", ["everybody"]),
        ("operator", ["anna", "bert", "everybody", "elite"]),
    ],
)
def test_signals_are_those_of_the_traders_one_sees(people: Any, who: str, hears: list[str]) -> None:
    async def scenario() -> None:
        async with Socket(people, people.keys[who]) as socket:
            await socket.ask("SUBSCRIBE", "signals")
            for name in OF:
                tell(people, name)
            assert await socket.heard() == hears
            assert (await socket.ask("LIST_SUBSCRIPTIONS"))["result"] == ["signals"]
            await socket.ask("UNSUBSCRIBE", "signals")
            for name in OF:
                tell(people, name)
            assert await socket.heard() == []

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["signals", "matches"])
def test_anothers_trader_is_no_stream_at_all(people: Any, kind: str) -> None:
    async def scenario() -> None:
        async with Socket(people, people.keys["anna"]) as socket:
            nobodys = await socket.ask("SUBSCRIBE", f"{kind}@00000000-0000-4000-8000-00000000000f")
            berts = await socket.ask("SUBSCRIBE", f"{kind}@{BERT.id}")
            assert "unknown stream" in nobodys["error"]["msg"]
            same = berts["error"]["msg"].replace(BERT.id, "X")
            assert same == nobodys["error"]["msg"].replace(
                "00000000-0000-4000-8000-00000000000f", "X"
            )
            assert (await socket.ask("SUBSCRIBE", f"{kind}@{ANNA.id}"))["result"] is None
            assert (await socket.ask("SUBSCRIBE", f"{kind}@{FREE.id}"))["result"] is None
            assert "error" in await socket.ask("SUBSCRIBE", f"{kind}@{ELITE.id}")
            tell(people, "bert")
            assert await socket.heard() == []

    asyncio.run(scenario())


def test_one_traders_stream_carries_its_signals_only(people: Any) -> None:
    async def scenario() -> None:
        async with Socket(people, people.keys["bert"]) as socket:
            await socket.ask("SUBSCRIBE", f"signals@{BERT.id}", "btcusdt@kline_1m")
            for name in OF:
                tell(people, name)
            assert await socket.heard() == ["bert"]
            listed = (await socket.ask("LIST_SUBSCRIPTIONS"))["result"]
            assert listed == ["btcusdt@kline_1m", f"signals@{BERT.id}"]

    asyncio.run(scenario())


def test_the_stream_of_a_trader_ends_with_it(people: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SWEEP_S", 0.01)

    async def scenario() -> None:
        async with Socket(people, people.keys["anna"]) as socket:
            name = f"signals@{ANNA.id}"
            await socket.ask("SUBSCRIBE", name, f"signals@{FREE.id}")
            people.state.desk.replace([BERT], "local")
            ended = await socket.next()
            assert ended == {"type": "stream_ended", "data": {"stream": name}}
            assert (await socket.ask("LIST_SUBSCRIPTIONS"))["result"] == [f"signals@{FREE.id}"]
            assert "error" in await socket.ask("SUBSCRIBE", name)

    asyncio.run(scenario())


def test_all_symbols_may_fire_at_one_close_and_every_signal_arrives(people: Any) -> None:
    async def scenario() -> None:
        async with Socket(people, people.keys["anna"]) as socket:
            await socket.ask("SUBSCRIBE", "signals")
            for number in range(5000):
                tell(people, "anna", number)
            got = [(await socket.next())["data"]["id"] for _ in range(5000)]
            assert got == [f"{ANNA.id}-{number}" for number in range(5000)]

    asyncio.run(scenario())


def test_who_does_not_take_their_signals_is_ended_with_the_reason(
    people: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SWEEP_S", 0.01)

    async def scenario() -> None:
        async with Socket(people, people.keys["anna"]) as socket:
            await socket.ask("SUBSCRIBE", "signals")
            most = people.settings.signals_queue_max + people.settings.subscriber_queue_max + 10
            for number in range(most):
                tell(people, "anna", number)
            end = await asyncio.wait_for(socket.outbox.get(), 30)
            assert end["type"] == "websocket.close"
            assert end["code"] == 1013
            assert "too slow" in end["reason"]

    asyncio.run(scenario())


def test_must_never_22_a_screener_has_to_ask_again_and_again(people: Any) -> None:
    """What enters and leaves is pushed at each close, whether it is a signal or not."""
    one = msgspec.structs.replace(ANNA, filter="close > 50")
    people.state.desk.replace([one, BERT], "local")

    def close(index: int, price: str) -> None:
        row = people.row(index)._replace(close=price, high="999", low="1")
        people.market.begin_barrier("1m", row.open_time_ms)
        for symbol in people.market.symbols:
            quiet = row if symbol == "BTCUSDT" else row._replace(close="1")
            people.market.push(symbol, "1m", quiet)
        people.state.desk.pump("spot", people.market.drain())
        while people.state.desk.settle("spot"):
            pass

    async def scenario() -> None:
        engine = TraderEngine("spot", people.market, state_bytes_max=1 << 24, traders_max=9)
        await people.state.desk.attach(engine)
        close(0, "10")
        async with Socket(people, people.keys["anna"]) as socket:
            await socket.ask("SUBSCRIBE", f"matches@{one.id}")
            for index, price in enumerate(("60", "61", "10", "70"), 1):
                close(index, price)
            told = [await socket.next() for _ in range(3)]
            assert {message["type"] for message in told} == {"matches"}
            moves = [(m["data"]["entered"], m["data"]["left"]) for m in told]
            assert moves == [(["BTCUSDT"], []), ([], ["BTCUSDT"]), (["BTCUSDT"], [])]

    asyncio.run(scenario())
