"""Trader routes: whose traders they are, what is refused, and what is told of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_house import serving

from server.identity import Tier
from server.signals.topics import owner_topic, signal_topic
from server.traders.builtins import builtin_id, builtin_traders
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


def test_what_was_made_is_answered_as_it_is(traders: Traders) -> None:
    made = traders.make(
        symbols=["btcusdt"],
        mode="level",
        cooldown_bars=3,
        conditions=["the close is high"],
        indicators=[{"id": "one", "expr": "sma(20)"}],
        category="trend",
    )
    assert made["run"]["symbols"] == ["BTCUSDT"]
    assert made["symbols"] == ["BTCUSDT"]
    assert made["indicators"] == [{"id": "one", "expr": "sma(20)"}]
    assert made["health"]["state"] == "running"
    found = traders.ask("GET", f"/v1/traders/{made['id']}").json()
    assert {k: v for k, v in found.items() if k not in ("run", "health")} == {
        k: v for k, v in made.items() if k not in ("run", "health")
    }


def test_a_trader_is_changed_run_and_deleted(traders: Traders) -> None:
    path = f"/v1/traders/{traders.make()['id']}"
    changed = traders.ask("PATCH", path, {"name": "below", "filter": "close < 50"})
    assert (changed.status, changed.json()["name"], changed.json()["interval"]) == (
        200, "below", "1m"
    )  # fmt: skip
    run = traders.ask("POST", path + "/run", {}).json()
    assert run["matches"] == ["BTCUSDT"]
    assert run["source"] == "request"
    gone = traders.ask("DELETE", path)
    assert (gone.status, gone.body) == (204, b"")
    assert traders.ask("GET", path).code == "unknown_trader"
    assert traders.ask("DELETE", path).status == 404


def test_lists_are_pages(traders: Traders) -> None:
    for number in range(5):
        traders.make(name=f"t{number}")
    count = len(builtin_traders()) + 5
    names, after = [], None
    while True:
        target = "/v1/traders?limit=4" + (f"&after={after}" if after else "")
        page = traders.ask("GET", target).json()
        assert page["count"] == count
        names += [one["name"] for one in page["traders"]]
        after = page["next"]
        if after is None:
            break
    assert len(names) == count
    assert sorted(names[-5:]) == [f"t{number}" for number in range(5)]
    for limit in ("0", "1001", "0000000011001"):
        assert traders.ask("GET", f"/v1/traders?limit={limit}").code == "invalid_limit"
    assert traders.ask("GET", "/v1/traders?after=nope").code == "invalid_parameter"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (DRAFT | {"owner": "somebody"}, "bad_body"),
        (DRAFT | {"access_tier": "elite"}, "bad_body"),
        (DRAFT | {"name": ""}, "bad_body"),
        (DRAFT | {"cooldown_bars": -1}, "bad_body"),
        ({"name": "x"}, "bad_body"),
        (DRAFT | {"filter": "close >"}, "invalid_filter"),
        (DRAFT | {"filter": "().__class__"}, "invalid_filter"),
        (DRAFT | {"interval": "4h"}, "interval_not_held"),
        (DRAFT | {"market": "um"}, "invalid_market"),
        (DRAFT | {"symbols": ["NOPE"]}, "unknown_symbol"),
    ],
)
def test_what_cannot_run_is_refused_with_a_code(traders: Traders, body: Any, code: str) -> None:
    answer = traders.ask("POST", "/v1/traders", body)
    assert answer.status == 400
    assert answer.code == code


def test_built_in_traders_are_shown_and_not_changed(traders: Traders) -> None:
    path = f"/v1/traders/{builtin_id('golden_cross')}"
    shown = traders.ask("GET", path).json()
    assert (shown["owner"], shown["origin"], shown["access_tier"]) == (None, "builtin", "anonymous")
    assert shown["health"]["state"] == "error"  # 15m is not held here
    assert shown["health"]["errors"][0]["kind"] == "interval_not_held"
    assert traders.ask("PATCH", path, {"enabled": False}).code == "not_allowed"
    assert traders.ask("DELETE", path).code == "not_allowed"


ROUTES = [
    ("POST", "/v1/traders", DRAFT),
    ("PATCH", "/v1/traders/x", {}),
    ("DELETE", "/v1/traders/x", None),
    ("POST", "/v1/traders/x/run", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_changes_need_a_key_and_never_come_from_another_site(
    make_server: Make, method: str, path: str, body: Any
) -> None:
    locked = Traders(make_server(api_key=KEY, capacity=20).serve().fill(30))
    assert locked.ask(method, path, body).code == "unauthorized"
    key = ("X-API-Key", KEY)
    assert locked.ask(method, path, body, [key]).status != 401
    elsewhere = locked.ask(method, path, body, [key, ("Origin", "https://elsewhere.example")])
    assert elsewhere.code == "origin_not_allowed"


def test_without_a_key_the_lowest_tier_is_shown(make_server: Make) -> None:
    locked = Traders(make_server(api_key=KEY, capacity=20).serve().fill(30))
    shown = locked.ask("GET", "/v1/traders").json()
    assert {one["access_tier"] for one in shown["traders"]} == {"anonymous"}
    assert locked.ask("GET", "/v1/traders", None, [("X-API-Key", "wrong")]).status == 401
    with_key = locked.ask("GET", "/v1/traders", None, [("X-API-Key", KEY)]).json()
    assert with_key["count"] == len(builtin_traders())
    assert with_key["locked"] == []


def test_built_in_traders_of_higher_tiers_are_named_but_not_what_they_say(
    make_server: Make,
) -> None:
    locked = Traders(make_server(api_key=KEY, capacity=20).serve().fill(30))
    locked.ask("POST", "/v1/traders", DRAFT, [("X-API-Key", KEY)])
    answer = locked.ask("GET", "/v1/traders?limit=1").json()
    higher = [one for one in builtin_traders() if one.access_tier is not Tier.ANONYMOUS]
    assert [one["id"] for one in answer["locked"]] == [one.id for one in higher]
    for one in answer["locked"]:
        assert one["access_tier"] != "anonymous"
        assert not {"filter", "health", "conditions"} & one.keys()
    assert locked.ask("GET", f"/v1/traders/{higher[0].id}").code == "unknown_trader"


def test_before_the_market_is_up_a_trader_is_made_and_waits(make_server: Make) -> None:
    server = make_server(capacity=20)
    waiting = Traders.__new__(Traders)
    waiting.server, waiting.headers = server, ()
    made = waiting.make()
    assert (made["health"]["state"], made["run"]) == ("waiting", None)
    run = waiting.ask("POST", f"/v1/traders/{made['id']}/run", {})
    assert (run.status, run.code) == (503, "starting")


def test_changes_at_the_same_time_all_count(tmp_path: Path) -> None:
    """The store lets them wait for each other."""

    async def scenario() -> None:
        async with serving(tmp_path) as house:
            made = await house.ask("anna", "/v1/traders", "POST", DRAFT)
            path = f"/v1/traders/{made.json()['id']}"
            changes = [{"name": "below"}, {"filter": "close < 50"}, {"description": "new"}]
            replies = await asyncio.gather(
                *(house.ask("anna", path, "PATCH", change) for change in changes)
            )
            assert [reply.status for reply in replies] == [200] * 3
            shown = (await house.ask("anna", path)).json()
            for change in changes:
                assert {name: shown[name] for name in change} == change

    asyncio.run(scenario())
