"""Trader routes: whose traders they are, what is refused, and what is told of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from server.signals.topics import owner_topic, signal_topic
from server.traders.builtins import builtin_traders
from server.traders.engine import TraderEngine

KEY = "correct-horse-battery-staple"
DRAFT = {"name": "above", "filter": "close > 50", "interval": "1m"}
Make = Callable[..., Any]


class Traders:
    """A serving server whose desk runs traders on its market."""

    def __init__(self, server: Any, *headers: tuple[str, str]) -> None:
        self.server = server
        self.headers = headers
        self.desk = server.state.desk
        self.index = 30
        asyncio.run(self._start())

    async def _start(self) -> None:
        await self.desk.load(builtin_traders())
        engine = TraderEngine("spot", self.server.market, state_bytes_max=1 << 24, traders_max=99)
        await self.desk.attach(engine)

    def ask(self, method: str, path: str, body: Any = None, headers: Any = None) -> Any:
        sent = list(self.headers if headers is None else headers)
        parts = [b""]
        if body is not None:
            sent.append(("Content-Type", "application/json"))
            parts = [json.dumps(body).encode()]
        return self.server.get(path, *sent, method=method, body=parts)

    def make(self, **changed: Any) -> Any:
        answer = self.ask("POST", "/v1/traders", DRAFT | changed)
        assert answer.status == 201, answer.json()
        return answer.json()

    def close(self, price: str, symbol: str = "BTCUSDT") -> None:
        """One more closed minute."""
        row = self.server.row(self.index)._replace(close=price, high="999", low="1")
        self.index += 1
        self.server.market.push(symbol, "1m", row)
        self.desk.pump("spot", self.server.market.drain())


@pytest.fixture
def traders(server: Any) -> Iterator[Traders]:
    server.market.drain()
    return Traders(server)


def test_a_trader_that_is_made_fires_at_the_next_close(traders: Traders) -> None:
    made = traders.make()
    hub = traders.server.hub
    own, all_of_them = (
        hub.subscribe(signal_topic(made["id"])),
        hub.subscribe(owner_topic(made["owner"])),
    )
    traders.close("10.5")
    assert own.take() is None
    traders.close("70.10")
    message = json.loads(own.take())
    assert message["type"] == "signal"
    signal = message["data"]
    assert (signal["trader_id"], signal["symbol"], signal["price"], signal["status"]) == (
        made["id"], "BTCUSDT", "70.10", "fired"
    )  # fmt: skip
    assert signal["values"] == {"close": 70.1, "close > 50": 1.0}
    assert signal["filter_hash"] == made["filter_hash"]
    assert json.loads(all_of_them.take()) == message
    own.end("over"), all_of_them.end("over")
