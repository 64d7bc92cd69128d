"""A real market behind the real API, called in process as granian calls it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import klinecore as kc
from server.api.application import Api, create_api
from server.api.state import ServedMarket, ServerState
from server.feeds.base import FeedStatus, Progress, SeriesState
from server.metrics import Registry
from server.settings import Settings
from server.signals.channels import Channels
from server.signals.hub import Hub

MINUTE = 60_000
START_MS = 1_700_000_040_000  # a full minute
UNICODE = "币安人生USDT"


def row(index: int, *, closed: bool = True, interval_ms: int = MINUTE, close: str = "") -> kc.Kline:
    """Kline number ``index`` of a 1m series that began at ``START_MS``; each differs."""
    start = START_MS // interval_ms * interval_ms + index * interval_ms
    return kc.Kline(
        start, f"{index}.10", f"{index}.90", f"{index}.05", close or f"{index}.50", "10.000",
        start + interval_ms - 1, "15.00000001", 3 + index, "5.000", "7.5", closed,
    )  # fmt: skip


def ticker_frame(symbol: str, last: str) -> bytes:
    return json.dumps(
        {
            "e": "24hrTicker", "E": START_MS, "s": symbol, "p": "1.0", "P": "1.00", "w": "1.0",
            "x": "1", "c": last, "Q": "1", "b": "1", "B": "1", "a": "1", "A": "1", "o": "1",
            "h": "3", "l": "1", "v": "10.0", "q": "5", "O": 1, "C": 2, "F": 1, "L": 3, "n": 3,
        },
        ensure_ascii=False,
    ).encode()  # fmt: skip


class ManualClock:
    """Stands still until told otherwise."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        await asyncio.sleep(0)


class StillFeed:
    """A feed that is in whatever state a test puts it."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.age_ms: int | None = 100
        self.changed: list[tuple[list[str], list[str]]] = []
        self.said: dict[str, bytes] = {}  # of symbols, by the exchange
        self.words: dict[str, str] = {}  # statuses that are not TRADING
        self.change_error: Exception | None = None
        self.incomplete_keys: set[tuple[str, str]] = set()

    def status(self) -> FeedStatus:
        return FeedStatus(
            market="spot", phase="live", connections=[], streams_desired=6, streams_delivering=6,
            backfill=Progress(4, 4), unknown_symbols=["NOPEUSDT"], last_message_age_ms=self.age_ms,
            used_weight=10, weight_limit=6000, server_offset_ms=0, gaps_repaired=0, gaps_absent=0,
            reasons=self.reasons,
        )  # fmt: skip

    def details(self) -> dict[str, bytes]:
        return self.said

    def statuses(self) -> dict[str, str]:
        return dict.fromkeys(["BTCUSDT", "ETHUSDT", UNICODE], "TRADING") | self.words

    @property
    def room(self) -> int:
        return 5

    async def change_symbols(self, add: Sequence[str], remove: Sequence[str]) -> None:
        if self.change_error is not None:
            raise self.change_error
        self.changed.append((list(add), list(remove)))

    def incomplete(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.incomplete_keys)

    def series_state(self, symbol: str, interval: str) -> SeriesState:
        return SeriesState(ready=(symbol, interval) not in self.incomplete_keys, source="stream")


class Answer:
    """One HTTP answer."""

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.raw_headers = list(headers)
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code; asserts the form every error has, of functions their own."""
        if self.headers["content-type"] == "application/json":
            refusal = self.json()
            assert self.status >= 400
            if isinstance(refusal["code"], int):  # Binance's
                assert isinstance(refusal["msg"], str)
                return {-2015: "unauthorized"}.get(refusal["code"], str(refusal["code"]))
            assert isinstance(refusal["error"], str)
            return str(refusal["code"]).lower()
        assert self.headers["content-type"] == "application/problem+json"
        problem = self.json()
        assert problem["status"] == self.status
        assert {"title", "detail", "code", "instance"} <= problem.keys()
        code = problem["code"]
        assert isinstance(code, str)
        return code


def make_scope(
    target: str, method: str, headers: Sequence[tuple[str, str | bytes]], address: str
) -> dict[str, Any]:
    path, _, query = target.partition("?")
    listed = [(n.lower().encode(), v if isinstance(v, bytes) else v.encode()) for n, v in headers]
    if not any(name == b"host" for name, _ in listed):
        listed.insert(0, (b"host", b"127.0.0.1:8080"))
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [item for item in listed if item[1] != b"(absent)"],
        "client": (address, "50000"),
        "extensions": {"websocket.http.response": {}},
        "subprotocols": [],
    }


class Server:
    """Real market, hub and API; ``get`` asks it as granian would."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock(START_MS)
        self.settings = Settings.load({}, overrides=settings)
        self.metrics = Registry()
        self.hub = Hub(self.settings.subscriber_queue_max)
        self.state = ServerState(self.settings, self.clock, self.metrics, self.hub)
        self.feed = StillFeed()
        self.market = kc.Market(
            ["BTCUSDT", "ETHUSDT", UNICODE], ["1m", "1h"], capacity=self.settings.capacity
        )
        self.channels = Channels("spot", self.market, self.hub, self.clock)
        self.served = ServedMarket("spot", self.market, self.feed, self.channels, epoch=7)
        self.api: Api = create_api(self.state)

    row = staticmethod(row)

    def serve(self) -> Server:
        """The market is there, as after a start."""
        self.state.markets["spot"] = self.served
        self.state.waiting_for.clear()
        self.state.beat(0.0)
        return self

    def fill(self, count: int, symbol: str = "BTCUSDT") -> Server:
        for index in range(count):
            self.market.push(symbol, "1m", row(index))
        return self

    def scope(self, target: str, *headers: tuple[str, str | bytes]) -> dict[str, Any]:
        """A GET as granian tells of it, for tests that talk to the API at length."""
        return make_scope(target, "GET", headers, "127.0.0.1")

    def get(
        self,
        target: str,
        *headers: tuple[str, str | bytes],
        method: str = "GET",
        address: str = "127.0.0.1",
        body: Sequence[bytes] = (b"",),
    ) -> Answer:
        sent: list[dict[str, Any]] = []
        parts = list(body)

        async def receive() -> dict[str, Any]:
            if not parts:
                return {"type": "http.disconnect"}
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.api(make_scope(target, method, headers, address), receive, send))
        start, end = sent
        assert start["type"] == "http.response.start"
        return Answer(start["status"], start["headers"], end["body"])


@pytest.fixture(scope="session")
def make_server() -> Callable[..., Server]:
    """``make_server(api_key=...)``: a server that has not begun to serve a market."""
    return Server


@pytest.fixture
def server() -> Server:
    """Serving 30 closed 1m klines of BTCUSDT in windows of 20, and their forming one."""
    server = Server(capacity=20).serve().fill(30)
    server.market.push("BTCUSDT", "1m", row(30, closed=False))
    return server
