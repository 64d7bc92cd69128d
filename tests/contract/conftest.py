"""Two ways to the functions: the server itself and, with ``edge``, Deno before it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from commands import Demo
from contract import ORIGIN, Target, send

from server.access.keys import KeysFile
from server.identity import Scope, Tier

OPERATOR_KEY = "operators-key-of-the-contract"
PEOPLE = {"free": Tier.FREE, "pro": Tier.PRO}


class Served:
    """A server on a simulated exchange, and the keys of some people."""

    def __init__(self, folder: Any, owners: dict[str, str]) -> None:
        path = str(folder / "keys.json")
        now_ms = time.time_ns() // 1_000_000
        self.owners = owners
        self.keys = {
            caller: KeysFile(path).add(owners[caller], tier, Scope.TRADE, now_ms=now_ms)[0]
            for caller, tier in PEOPLE.items()
        }
        self.demo = Demo(
            API_KEY=OPERATOR_KEY,
            KLINE_API_KEYS_FILE=path,
            KLINE_ANONYMOUS_KLINES="true",
            KLINE_CORS_ORIGINS=ORIGIN,
            KLINE_DATA_DIR=str(folder),
            KLINE_INTERVALS="1m,1h",
        )


class Direct:
    """Asked without anything between."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.url = self.server = served.demo.url
        self.key = OPERATOR_KEY

    def owner(self, caller: str) -> str:
        return self._served.owners[caller]

    def headers(self, caller: str) -> dict[str, str]:
        if caller == "anybody":
            return {}
        key = OPERATOR_KEY if caller == "operator" else self._served.keys[caller]
        return {"x-api-key": key}

    def own_headers(self, caller: str) -> dict[str, str]:
        return {"x-api-key": self._served.keys[caller]}


class Edge(Direct):
    """Asked through the project's gateway and its functions."""

    def __init__(self, served: Served, stack: Any, tokens: dict[str, str]) -> None:
        super().__init__(served)
        self._stack = stack
        self._tokens = tokens
        self.url = stack.url

    def headers(self, caller: str) -> dict[str, str]:
        if caller == "operator":
            return {"apikey": self._stack.secret_key}
        shown = {"apikey": self._stack.publishable_key}
        if caller != "anybody":
            shown["authorization"] = f"Bearer {self._tokens[caller]}"
        return shown


@pytest.fixture(scope="session")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Direct]:
    owners = {caller: str(uuid4()) for caller in PEOPLE}
    served = Served(tmp_path_factory.mktemp("direct"), owners)
    yield Direct(served)
    served.demo.command.end()


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    from stack.tools import missing

    reason = missing("rest", "edge")
    if reason is not None:
        pytest.skip(reason)
    from stack.project import Stack

    folder = tmp_path_factory.mktemp("edge")
    with Stack(folder) as stack:
        users = {caller: stack.user(tier=str(tier)) for caller, tier in PEOPLE.items()}
        served = Served(folder, {caller: user.id for caller, user in users.items()})
        stack.start_functions(
            {
                "KLINE_SERVER_URL": served.demo.url,
                "KLINE_SERVER_API_KEY": OPERATOR_KEY,
                "ALLOWED_ORIGINS": ORIGIN,
            }
        )
        yield Edge(served, stack, {caller: user.token for caller, user in users.items()})
        served.demo.command.end()


@pytest.fixture(params=["server", pytest.param("edge", marks=[pytest.mark.edge, pytest.mark.rest])])
def target(request: pytest.FixtureRequest) -> Target:
    name = "direct" if request.param == "server" else "edge"
    found: Target = request.getfixturevalue(name)
    return found


@pytest.fixture
def trader(target: Any) -> Iterator[Callable[..., str]]:
    """``trader(caller, **fields)`` makes one and gives its id; it is gone after the test."""
    made: list[tuple[str, str]] = []

    def make(caller: str, **fields: Any) -> str:
        headers = {"content-type": "application/json", **target.own_headers(caller)}
        answer = send(f"{target.server}/v1/traders", "POST", json.dumps(fields), headers)
        assert answer.status == 201, answer.text
        made.append((caller, answer.body["id"]))
        return made[-1][1]

    yield make
    for caller, trader_id in made:
        url = f"{target.server}/v1/traders/{trader_id}"
        send(url, "DELETE", None, target.own_headers(caller))
