"""What a caller of the functions waits: of the server itself, and of Deno before it."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from commands import Demo

from server.access.keys import KeysFile
from server.identity import Scope, Tier

SYMBOLS = [f"B{number:02d}USDT" for number in range(50)]
KEY = "operators-key-of-the-benchmark"
#: Requests of one measurement; a user of the highest tier has 1,000 a minute of each function.
REQUESTS = 700
FIRST = 20  # of these are not counted: connections, compilers and look-ups settle
CONNECTIONS = 4


class Way(NamedTuple):
    """How the functions are reached, and as whom."""

    ports: dict[str, int]
    path: str
    headers: dict[str, str]


class Ways(NamedTuple):
    """Both, and a trader of the one who asks."""

    direct: Way
    deno: Way
    trader_id: str


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    from stack.tools import missing

    reason = missing("rest", "edge")
    if reason is not None:
        pytest.skip(reason)
    from stack.project import Stack

    folder = tmp_path_factory.mktemp("functions")
    with Stack(folder) as stack:
        user = stack.user(tier="elite")
        path = str(folder / "keys.json")
        now_ms = time.time_ns() // 1_000_000
        own, _ = KeysFile(path).add(user.id, Tier.ELITE, Scope.TRADE, now_ms=now_ms)
        demo = Demo(
            *("--symbols", ",".join(SYMBOLS)),
            API_KEY=KEY,
            KLINE_API_KEYS_FILE=path,
            KLINE_DATA_DIR=str(folder),
            KLINE_INTERVALS="1m,1h",
        )
        try:
            stack.start_functions({"KLINE_SERVER_URL": demo.url, "KLINE_SERVER_API_KEY": KEY})
            shown = {"authorization": f"Bearer {user.token}", "apikey": stack.publishable_key}
            names = ("get-klines", "execute-trader")
            direct = Way(dict.fromkeys(names, demo.port), "/functions/v1/", {"x-api-key": own})
            trader = {"name": "rsi", "filter": "rsi(14) < 45 and close > 0", "interval": "1m"}
            made = ask(direct, "/v1/traders", json.dumps(trader).encode())
            deno = Way(dict(stack.functions.ports), "/", shown)
            yield Ways(direct, deno, json.loads(made)["id"])
        finally:
            demo.command.end()


def ask(way: Way, path: str, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", next(iter(way.ports.values())))
    connection.request("POST", path, body, {"content-type": "application/json", **way.headers})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status < 300, text
    connection.close()
    return text


def waits_ms(way: Way, name: str, body: bytes, count: int) -> list[float]:
    """How long each of ``count`` requests of one connection took, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", way.ports[name])
    headers = {"content-type": "application/json", **way.headers}
    waits = []
    for number in range(count):
        began = time.perf_counter()
        connection.request("POST", way.path + name, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        waits.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200, text
        if number == 0:
            check(name, json.loads(text))
    connection.close()
    return waits[FIRST:]


def check(name: str, answer: Any) -> None:
    if name == "get-klines":
        assert answer["count"] == 100
        assert answer["auth"] == {"tier": "elite", "authenticated": True}
    else:
        assert answer["totalSymbols"] == len(SYMBOLS)
        assert all("error" not in result for result in answer["results"])


def report(bench: Any, way: Way, name: str, body: Any) -> None:
    content = json.dumps(body).encode()
    alone = sorted(bench.once(waits_ms, way, name, content, REQUESTS // 2))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        count = REQUESTS // 2 // CONNECTIONS
        several = sorted(
            wait
            for waits in pool.map(lambda _: waits_ms(way, name, content, count), range(CONNECTIONS))
            for wait in waits
        )
    for how, waits in (("", alone), (f" at {CONNECTIONS} connections", several)):
        bench.quantity(f"p50, ms{how}", waits[len(waits) // 2])
        bench.quantity(f"p99, ms{how}", waits[len(waits) * 99 // 100])


def bench_get_klines(bench: Any, ways: Ways) -> None:
    """100 klines and the ticker, from the server itself."""
    report(bench, ways.direct, "get-klines", {"symbol": SYMBOLS[0], "timeframe": "1m"})


def bench_get_klines_through_deno(bench: Any, ways: Ways) -> None:
    """The same for a user with a token, whose function asks the server."""
    report(bench, ways.deno, "get-klines", {"symbol": SYMBOLS[0], "timeframe": "1m"})


def bench_execute_trader(bench: Any, ways: Ways) -> None:
    """A trader and 50 symbols, from the server itself."""
    report(bench, ways.direct, "execute-trader", {"traderId": ways.trader_id, "symbols": SYMBOLS})


def bench_execute_trader_through_deno(bench: Any, ways: Ways) -> None:
    """The same for a user with a token, whose function asks the server."""
    report(bench, ways.deno, "execute-trader", {"traderId": ways.trader_id, "symbols": SYMBOLS})
