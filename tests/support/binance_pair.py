"""The simulated exchange, and our server filled from it: both are asked the same."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import klinecore as kc
from server.api.state import ServedMarket
from server.clock import Clock
from server.exchange.book import Book
from server.exchange.faults import Faults
from server.exchange.generated import GeneratedMarket
from server.exchange.rest import RestFace
from server.feeds.binance import VENUES, Api
from server.feeds.block_files import BlockFiles
from server.feeds.budget import WeightBudget
from server.feeds.forwards import Forwards
from server.feeds.history import History
from server.feeds.rest import RestResponse
from server.feeds.venue_time import VenueTime
from server.metrics import Registry
from server.signals.channels import Channels

MINUTE = 60_000
NOW_MS = 1_772_409_600_000 + 12 * 3_600_000 + 34_567
SYMBOLS = ("BTCUSDT", "ETHUSDT", "币安人生USDT")
CAPACITY = 600
LENGTHS = {"1m": MINUTE, "1h": 60 * MINUTE}
PREFIXES = {"spot": "/api/v3", "um": "/fapi/v1"}


class FaceRest:
    """A simulated exchange's REST as the feed's client sees it; notes what was asked."""

    def __init__(self, face: RestFace, clock: Clock) -> None:
        self.face = face
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.on_ask: Callable[[], None] = lambda: None  # what happens meanwhile
        self._clock = clock

    async def get(self, path: str, query: Mapping[str, str | int]) -> RestResponse:
        if self.error is not None:
            raise self.error
        target = path + "?" + urllib.parse.urlencode(query)
        self.asked.append(target)
        self.on_ask()
        answer = self.face.handle(target, self._clock.time_ms())
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return RestResponse(answer.status, headers, answer.body)

    async def close(self) -> None:
        return None


def open_api(rest: FaceRest, market: str, clock: Clock, limit: int) -> Api:
    """As the server opens it; all of ``limit`` is ours, and clients' if nobody else wants it."""
    budget = WeightBudget(VenueTime(clock), limit=limit, share=1.0, client_share=1.0)
    return Api(VENUES[market], rest, budget, clock)


class Pair:
    """``ours`` and ``theirs`` answer; ``history`` gives the server the rows before its windows."""

    def __init__(
        self,
        make_server: Callable[..., Any],
        market: str,
        *,
        capacity: int = CAPACITY,
        first_ms: int | None = None,
        history: bool = False,
        files: BlockFiles | None = None,
        intervals: Sequence[str] = tuple(LENGTHS),
        weight_limit: int = 10**9,
        filled: int | None = None,
        forward: bool = False,
    ) -> None:
        """``filled``: rows of each window, where it is not full."""
        self.prefix = PREFIXES[market]
        self.symbols = SYMBOLS if market == "spot" else SYMBOLS[:2]
        dates = {} if first_ms is None else {"first_ms": first_ms}
        source = GeneratedMarket(6, self.symbols, market=market, **dates)
        self.exchange = RestFace(Book(source), Faults(), weight_limit=10**9)
        self.server = server = make_server(market=market, capacity=capacity, forward=forward)
        server.clock.now_ms = NOW_MS
        self.market = kc.Market(list(self.symbols), list(intervals), capacity)
        for symbol in self.symbols:
            for interval in intervals:
                self.fill(symbol, interval, filled or capacity)
            ticker = self.theirs(f"/ticker/24hr?symbol={quote(symbol)}")[1]
            assert self.market.apply_tickers(json.dumps(ticker).encode()) == 1
        self.rest = FaceRest(self.exchange, server.clock)
        self.api = open_api(self.rest, market, server.clock, weight_limit)
        self.metrics = Registry()
        self.history = History(
            self.api, base="simulated", files=files, clock=server.clock, metrics=self.metrics
        )
        channels = Channels(market, self.market, server.hub, server.clock)
        self.served = ServedMarket(market, self.market, server.feed, channels, epoch=7)
        self.served.history = self.history if history else None
        self.served.forwards = Forwards(self.api, self.metrics) if forward else None
        server.state.markets[market] = self.served
        server.state.waiting_for.clear()
        server.state.beat(0.0)

    def fill(self, symbol: str, interval: str, count: int) -> None:
        """The newest ``count`` closed rows and the forming one, one page after the other."""
        query = f"/klines?symbol={quote(symbol)}&interval={interval}"
        left, end = count + 1, ""
        while left:
            limit = min(left, self.exchange.limit_max)
            body = self.their_bytes(f"{query}&limit={limit}{end}")[1]
            now_ms = self.server.clock.time_ms()
            counts = self.market.apply_klines(symbol, interval, body, closed_before_ms=now_ms)
            if counts.rows < limit:
                break
            left -= counts.rows
            end = f"&endTime={counts.first_open_ms - 1}"

    def theirs(self, target: str) -> tuple[int, Any]:
        status, body = self.their_bytes(target)
        return status, json.loads(body)

    def their_bytes(self, target: str) -> tuple[int, bytes]:
        now_ms = self.server.clock.time_ms()
        answer = self.exchange.handle(self.prefix + target, now_ms, "another address")
        return answer.status, answer.body

    def ours(self, target: str) -> tuple[int, Any]:
        status, body = self.our_bytes(target)
        return status, json.loads(body)

    def our_bytes(self, target: str) -> tuple[int, bytes]:
        answer = self.server.get(self.prefix + target)
        assert answer.headers["content-type"] == "application/json"
        return answer.status, answer.body
