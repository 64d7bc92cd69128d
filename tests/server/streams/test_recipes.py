"""The recipes of docs/clients.md: unmodified clients of Binance read what the exchange says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import both_markets, fetch, free_port, serve
from recipes import recipes

pytestmark = pytest.mark.slow

#: Simulated seconds a second: a kline of a minute closes every second.
SPEED = 60
#: Real seconds a recipe may take.
PATIENCE_S = 60
#: Behind a recipe: what its variables hold. Models of the SDK become dictionaries.
TELL = """
import json as _json
print(_json.dumps({{name: globals()[name] for name in {names!r}}}, default=lambda o: o.to_dict()))
"""
KEY = "a-key-of-the-tests"
SYMBOLS = {"BTCUSDT", "ETHUSDT"}

Row = list[Any]


class House(NamedTuple):
    """A server, and the exchange behind it."""

    exchange: str  # where the market's klines are asked for
    rest: str
    streams: str
    pace: dict[str, str]  # how fast its time runs

    def truth(self, first_ms: int) -> dict[int, Row]:
        """The exchange's own klines from a time on, by open time."""
        query = f"symbol=BTCUSDT&interval=1m&startTime={first_ms}&limit=1000"
        target = f"{self.exchange}/klines?{query}"
        with urllib.request.urlopen(target, timeout=30) as answer:
            return {row[0]: row for row in json.load(answer)}

    def localised(self, program: str) -> str:
        """A recipe with this house's addresses in place of the usual ones."""
        for usual, own in (
            ("http://127.0.0.1:8080", self.rest), ("ws://127.0.0.1:8081", self.streams),
        ):  # fmt: skip
            program = program.replace(usual, own)
        return program


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, House]]:
    """One server of both markets, spot and USD-M futures."""
    streams = free_port()
    folder = tmp_path_factory.mktemp("house")
    with both_markets(SPEED, folder, "1m,5m", KLINE_STREAM_PORT=str(streams)) as (
        port,
        spot,
        futures,
    ):
        ours = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{streams}"
        yield (
            House(spot["rest"] + "/api/v3", *ours, spot["environment"]),
            House(futures["rest"] + "/fapi/v1", *ours, spot["environment"]),
        )


@pytest.fixture(scope="module")
def locked(
    houses: tuple[House, House], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """A server of the same exchange that asks for a key."""
    exchange, streams = houses[0].exchange.removesuffix("/api/v3"), free_port()
    ways = {"rest": exchange, "ws": exchange.replace("http", "ws"), "environment": houses[0].pace}
    server, port = serve(
        ways, tmp_path_factory.mktemp("locked"), "1m", KLINE_STREAM_PORT=str(streams), API_KEY=KEY
    )
    assert fetch(port, "/api/v3/klines?symbol=BTCUSDT&interval=1m")[0] == 401
    try:
        ours = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{streams}"
        yield House(houses[0].exchange, *ours, houses[0].pace)
    finally:
        server.end()


@pytest.fixture
def house(houses: tuple[House, House]) -> House:
    return houses[0]


@pytest.fixture
def futures(houses: tuple[House, House]) -> House:
    return houses[1]


def run(command: list[str], folder: Path, **extra: str) -> str:
    """What a program prints; no proxy stands between it and the server."""
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        command, cwd=folder, env=clean | extra, capture_output=True, text=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def values(house: House, folder: Path, program: str, *names: str) -> dict[str, Any]:
    """Run a recipe; what its variables hold at the end."""
    told = run([sys.executable, "-c", house.localised(program) + TELL.format(names=names)], folder)
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def of_futures(program: str) -> str:
    """A recipe of ccxt with futures' symbols."""
    return program.replace("/USDT", "/USDT:USDT")


def numbers(row: Row) -> Row:
    """The first six fields, as ccxt shows them."""
    return [row[0], *map(float, row[1:6])]


def settled(house: House, first_ms: int, last_ms: int) -> dict[int, Row]:
    """The exchange's klines from ``first_ms`` to ``last_ms``, once the last of them has closed."""
    while True:
        truth = house.truth(first_ms)
        if max(truth) > last_ms:
            return truth
        time.sleep(0.1)


def check_rows(house: House, found: list[Row], count: int) -> None:
    """``count`` rows without a gap, each closed one the exchange's; the last may be forming."""
    assert len(found) == count
    truth = settled(house, found[0][0], found[-1][0])
    assert [row[0] for row in found] == sorted(truth)[:count]
    for row in found[:-1]:
        known = truth[row[0]]
        assert row in (known, numbers(known), known[: len(row)])


def check_closed(house: House, found: list[dict[str, Any]]) -> None:
    """Klines from a stream follow each other, and are the exchange's."""
    truth = settled(house, found[0]["t"], found[-1]["t"])
    assert [kline["t"] for kline in found] == sorted(truth)[: len(found)]
    for kline in found:
        assert [kline[letter] for letter in "tohlcvTqnVQB"] == truth[kline["t"]]


def test_ccxt_loads_markets_and_reads_klines_and_tickers(
    house: House, root: Path, tmp_path: Path
) -> None:
    (program,) = recipes(root, "ccxt")
    names = ("newest", "since", "markets", "ticker", "tickers", "status")
    found = values(house, tmp_path, program, *names)
    assert set(found["markets"]) == {
        "BTC/USDT", "ETH/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT",
    }  # fmt: skip
    check_rows(house, found["newest"], 50)
    check_rows(house, found["since"], 20)
    assert found["since"][:19] == found["newest"][:19]
    assert found["ticker"]["symbol"] == "BTC/USDT"
    assert found["ticker"]["last"] > 0
    assert set(found["tickers"]) == {"BTC/USDT", "ETH/USDT"}
    assert found["status"] == "ok"


def test_ccxt_pro_watches_klines_and_a_ticker(house: House, root: Path, tmp_path: Path) -> None:
    (program,) = recipes(root, "ccxt.pro")
    found = values(house, tmp_path, program, "ticker", "rows")
    assert found["ticker"]["symbol"] == "BTC/USDT"
    assert found["ticker"]["last"] > 0
    # It sees each kline's close before the next one's first update.
    check_rows(house, found["rows"], 3)


def test_ccxt_reads_and_watches_futures_by_the_same_recipes(
    futures: House, root: Path, tmp_path: Path
) -> None:
    (reading,) = recipes(root, "ccxt")
    (watching,) = recipes(root, "ccxt.pro")
    found = values(futures, tmp_path, of_futures(reading), "newest", "since", "ticker")
    check_rows(futures, found["newest"], 50)
    check_rows(futures, found["since"], 20)
    assert found["ticker"]["symbol"] == "BTC/USDT:USDT"
    found = values(futures, tmp_path, of_futures(watching), "ticker", "rows")
    assert found["ticker"]["symbol"] == "BTC/USDT:USDT"
    check_rows(futures, found["rows"], 3)


def test_python_binance_reads_history_and_watches_klines(
    house: House, root: Path, tmp_path: Path
) -> None:
    program, _ = recipes(root, "python-binance")
    names = ("symbols", "newest", "since", "history", "ticker", "prices", "closed")
    found = values(house, tmp_path, program, *names)
    assert {one["symbol"] for one in found["symbols"]} == SYMBOLS
    check_rows(house, found["newest"], 50)
    check_rows(house, found["since"], 20)
    check_rows(house, found["history"], len(found["history"]))
    assert len(found["history"]) >= 50
    assert found["ticker"]["symbol"] == "BTCUSDT"
    assert {one["symbol"] for one in found["prices"]} == SYMBOLS
    check_closed(house, found["closed"])
    assert len(found["closed"]) == 2


def test_python_binance_without_asyncio_reads_klines(
    house: House, root: Path, tmp_path: Path
) -> None:
    _, program = recipes(root, "python-binance")
    check_rows(house, values(house, tmp_path, program, "newest")["newest"], 50)


def test_the_official_sdk_reads_and_watches_klines(
    house: House, root: Path, tmp_path: Path
) -> None:
    program, _ = recipes(root, "binance-sdk-spot")
    names = ("symbols", "newest", "since", "ticker", "closed")
    found = values(house, tmp_path, program, *names)
    assert set(found["symbols"]) == SYMBOLS
    check_rows(house, found["newest"], 50)
    check_rows(house, found["since"], 20)
    assert found["ticker"]["symbol"] == "BTCUSDT"
    check_closed(house, found["closed"])
    assert len(found["closed"]) == 2


def test_the_official_sdk_asks_over_a_websocket(house: House, root: Path, tmp_path: Path) -> None:
    _, program = recipes(root, "binance-sdk-spot")
    found = values(house, tmp_path, program, "newest", "price")
    check_rows(house, found["newest"], 50)
    assert found["price"]["symbol"] == "BTCUSDT"
    assert float(found["price"]["price"]) > 0


def test_websockets_reads_the_stream_itself(house: House, root: Path, tmp_path: Path) -> None:
    (program,) = recipes(root, "websockets")
    closed = values(house, tmp_path, program, "closed")["closed"]
    check_closed(house, closed)
    assert len(closed) == 2


@pytest.mark.bots
@pytest.mark.skipif("HUMMINGBOT" not in os.environ, reason="no hummingbot: run .ci/bots")
def test_hummingbots_candles_are_the_exchanges(house: House, root: Path, tmp_path: Path) -> None:
    (program,) = recipes(root, "hummingbot")
    tell = TELL.format(names=("candles",))
    told = run(
        [os.environ["HUMMINGBOT"], "-c", house.localised(program) + tell],
        tmp_path,
        PYTHONPATH=os.environ["HUMMINGBOT_SOURCE"],
    )
    candles = json.loads(told.splitlines()[-1])["candles"]
    first_ms, last_ms = (int(candles[place][0] * 1000) for place in (0, -1))
    truth = settled(house, first_ms, last_ms)
    assert [int(row[0] * 1000) for row in candles] == sorted(truth)[:100]
    for opened, *numbers in candles[:-1]:
        known = truth[int(opened * 1000)]
        assert numbers == list(map(float, (*known[1:6], *known[7:11])))


def test_the_librarys_own_client_follows_the_market(
    house: House, root: Path, tmp_path: Path
) -> None:
    (program,) = recipes(root, "klinecore.client")
    closed = values(house, tmp_path, program, "closed")["closed"]
    truth = settled(house, closed[0][0], closed[-1][0])
    assert [row[0] for row in closed] == sorted(truth)[:2]
    assert [row[:11] for row in closed] == [truth[row[0]][:11] for row in closed]


def test_javascript_reads_the_stream_itself(house: House, root: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: the JavaScript recipe was not run")
    (program,) = recipes(root, "JavaScript", "js")
    major = int(run([node, "-p", "process.versions.node"], tmp_path).split(".")[0])
    if major < 20:
        pytest.skip(f"node {major} has no WebSocket: the JavaScript recipe was not run")
    tell = "\nsocket.onclose = () => console.log(JSON.stringify(closed));\n"
    flags = ["--experimental-websocket"] if major < 22 else []
    told = run([node, *flags, "--eval", house.localised(program) + tell], tmp_path)
    closed = json.loads(told.splitlines()[-1])
    check_closed(house, closed)
    assert len(closed) == 2


#: By recipe: what is put where, as the page's table says.
OF_KEYS = {
    "ccxt": {
        "\nmarkets =": '\nexchange.headers = {"X-MBX-APIKEY": key}\nmarkets =',
    },
    "ccxt.pro": {
        "    try:": '    exchange.headers = {"X-MBX-APIKEY": key}\n'
        '    exchange.options["ws"] = {"options": {"headers": exchange.headers}}\n    try:',
    },
    "python-binance": {
        "AsyncClient.create()": "AsyncClient.create(api_key=key)",
        "async with BinanceSocketManager(client)": "manager = BinanceSocketManager(client)\n"
        '        manager.ws_kwargs = {"additional_headers": {"X-MBX-APIKEY": key}}\n'
        "        async with manager",
    },
    "binance-sdk-spot": {
        'base_path="http://127.0.0.1:8080"': 'base_path="http://127.0.0.1:8080", api_key=key',
        "closed = asyncio.run(watch(2))": "closed = []",
    },
    "websockets": {
        '@kline_1m")': '@kline_1m", additional_headers={"X-MBX-APIKEY": key})',
    },
}


@pytest.mark.parametrize("title", OF_KEYS)
def test_with_a_key_a_recipe_reads_a_server_that_asks_for_one(
    locked: House, root: Path, tmp_path: Path, title: str
) -> None:
    page = (root / "docs" / "clients.md").read_text(encoding="utf-8")
    for said in re.findall(r"`([^`]*\bkey\b[^`]*)`", page[page.index("## With a key") :]):
        told = "".join(made for changes in OF_KEYS.values() for made in changes.values())
        assert said in told or "encodeURIComponent" in said
    program = recipes(root, title)[0]
    for old, new in OF_KEYS[title].items():
        assert program.count(old) == 1
        program = program.replace(old, new)
    name = {"ccxt": "newest", "ccxt.pro": "rows"}.get(title, "closed")
    values(locked, tmp_path, f"key = {KEY!r}\n{program}", name)


def test_each_client_that_the_page_names_has_the_version_that_is_tested(root: Path) -> None:
    page = (root / "docs" / "clients.md").read_text(encoding="utf-8")
    pinned = dict(re.findall(r'"([\w-]+)==([\d.]+)"', (root / "pyproject.toml").read_text()))
    pinned |= dict(re.findall(r"^(\w+)=([\d.]+)$", (root / ".ci" / "bots").read_text(), re.M))
    claimed = dict(re.findall(r"^\| \[([\w.-]+)\]\S+ \| ([\d.]+) \|", page, re.M))
    assert len(claimed) >= 6
    for name, version in claimed.items():
        assert pinned[name.removesuffix(".pro")] == version
