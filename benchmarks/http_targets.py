"""ASGI applications that ``bench_http.py`` serves in processes of their own."""

from __future__ import annotations

from gc import freeze

import klinecore as kc
from server.api.application import create_api
from server.api.state import ServedMarket, ServerState
from server.api.types import Application, Receive, Response, Scope, Send
from server.clock import SystemClock
from server.feeds.base import FeedStatus, Progress, SeriesState
from server.metrics import Registry
from server.settings import Settings
from server.signals.channels import Channels
from server.signals.hub import Hub

ROWS = 500
MINUTE_MS = 60_000


def small_market() -> kc.Market:
    """One full series."""
    market = kc.Market(["BTCUSDT"], ["1m"], ROWS)
    for index in range(ROWS):
        open_ms = 1_764_000_000_000 + index * MINUTE_MS
        row = kc.Kline(
            open_ms,
            "57432.15000000",
            "57445.00000000",
            "57432.14000000",
            "57444.99000000",
            f"{index}.98730000",
            open_ms + MINUTE_MS - 1,
            f"{573588 + index}.12345678",
            214 + index,
            "4.24300000",
            "243588.12345678",
        )
        market.push("BTCUSDT", "1m", row)
    return market


class Still:
    """A feed that has delivered everything there is."""

    def status(self) -> FeedStatus:
        return FeedStatus("spot", "live", [], 0, 0, Progress(1, 1), [], 0, 0, 6000, 0, 0, 0, [])

    def details(self) -> dict[str, bytes]:
        return {}

    def statuses(self) -> dict[str, str]:
        return {}

    def incomplete(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    def series_state(self, symbol: str, interval: str) -> SeriesState:
        return SeriesState(ready=True, source="rest")


def large_market() -> kc.Market:
    """500 symbols x 4 intervals x 500 rows, every slot of every column touched."""
    lengths = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000}
    names = ["BTCUSDT", *(f"COIN{index}USDT" for index in range(499))]
    market = kc.Market(names, lengths, ROWS)
    for interval, length in lengths.items():
        first = 1_700_000_000_000 // length * length
        rows = (
            f'[{open_ms},"57432.15","57445.00","57432.14","57444.99","9.98730",'
            f'{open_ms + length - 1},"573588.12345",214,"4.24300","243588.12345","0"]'
            for open_ms in range(first, first + (ROWS + 40) * length, length)
        )
        body = f"[{','.join(rows)}]".encode()
        for name in names:
            market.apply_klines(name, interval, body, closed_before_ms=1 << 60, notify=False)
    return market


def api(market: kc.Market) -> Application:
    """Our API over a market that has all it can have."""
    clock = SystemClock()
    hub = Hub()
    state = ServerState(Settings(), clock, Registry(), hub)
    channels = Channels("spot", market, hub, clock)
    state.markets["spot"] = ServedMarket("spot", market, Still(), channels, epoch=1)
    state.waiting_for.clear()
    state.beat(0.0)
    return _with_lifespan(create_api(state))


def constant() -> Application:
    """The floor: what granian costs for the same bytes and headers."""
    response = Response(
        small_market().klines_json("BTCUSDT", "1m", ROWS),
        headers=[(b"etag", b'W/"1-1f4"'), (b"cache-control", b"no-cache")],
    )
    start = {"type": "http.response.start", "status": 200, "headers": response.headers}
    body = {"type": "http.response.body", "body": response.body}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send(body)

    return _with_lifespan(application)


def _with_lifespan(application: Application) -> Application:
    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await application(scope, receive, send)
            return
        freeze()  # as server.app does once it has started
        for moment in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{moment}.complete"})

    return outer


TARGETS = {
    "api": lambda: api(small_market()),
    "full": lambda: api(large_market()),
    "constant": constant,
}
