"""Two ASGI applications for granian: our API over a filled market, and the same bytes as a constant.

Started by ``bench_http.py`` in processes of their own, as ``http_targets:api`` and
``http_targets:constant``.
"""

from __future__ import annotations

import asyncio

import klinecore as kc
from server.api.application import create_api
from server.api.state import ServedMarket, ServerState
from server.clock import SystemClock
from server.feeds.base import FeedStatus, Progress, SeriesState
from server.metrics import Registry
from server.settings import Settings
from server.signals.channels import Channels
from server.signals.hub import Hub

ROWS = 500
MINUTE_MS = 60_000


def filled_market() -> kc.Market:
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


class _Still:
    """A feed that has delivered everything there is."""

    def status(self) -> FeedStatus:
        return FeedStatus("spot", "live", [], 0, 0, Progress(1, 1), [], 0, 0, 6000, 0, 0, 0, [])

    def series_state(self, symbol: str, interval: str) -> SeriesState:
        return SeriesState(ready=True, source="rest")


def _api():
    clock = SystemClock()
    hub = Hub(256)
    state = ServerState(Settings(), clock, Registry(), hub)
    market = filled_market()
    channels = Channels("spot", market, hub, clock)
    state.markets["spot"] = ServedMarket("spot", market, _Still(), channels, epoch=1)
    state.waiting_for.clear()
    return create_api(state)


_BODY = filled_market().klines_json("BTCUSDT", "1m", ROWS)
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def constant(scope, receive, send) -> None:
    """The floor: what granian costs for these bytes."""
    if scope["type"] == "lifespan":
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


api = _api()
