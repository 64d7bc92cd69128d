"""``/v1/status`` beyond its series: which of them it describes, memory, latencies, the store."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from api_house import serving

import klinecore as kc
from server.api.types import Status
from server.clock import SystemClock
from server.metrics import Registry
from server.signals.latency import CloseLatency

KEY = ("BTCUSDT", "1m")


def status_of(server: Any, query: str = "") -> Status:
    return msgspec.json.decode(server.get("/v1/status" + query).body, type=Status)


def named(status: Status) -> set[tuple[str, str]]:
    return {(one.symbol, one.interval) for one in status.markets["spot"].series}


def test_only_series_that_need_attention_are_described_where_asked(server: Any) -> None:
    assert named(status_of(server, "?series=attention")) == set()
    server.feed.incomplete_keys.add(("ETHUSDT", "1h"))
    server.market.push(*KEY, server.row(33))
    assert named(status_of(server, "?series=attention")) == {KEY, ("ETHUSDT", "1h")}
    assert named(status_of(server, "?series=attention&symbol=ETHUSDT")) == {("ETHUSDT", "1h")}
    (series,) = status_of(server, "?series=attention&symbol=BTCUSDT").markets["spot"].series
    assert series.holes
    assert server.market.confirm_absent(*KEY, *series.holes[0])
    assert KEY in named(status_of(server, "?series=attention")), "an absence is named too"


def test_none_or_all_can_be_asked_for_and_nothing_else(server: Any) -> None:
    assert named(status_of(server, "?series=none")) == set()
    assert len(named(status_of(server, "?series=all"))) == 6
    assert server.get("/v1/status?series=some").code == "invalid_series"


def test_the_process_tells_its_age_and_memory(server: Any) -> None:
    server.clock.now_ms += 90_000
    process = status_of(server).process
    assert process.uptime_s == 90.0
    if sys.platform == "linux":
        assert process.pss_bytes is not None
        assert process.rss_bytes is not None
        assert 1 << 20 < process.pss_bytes <= process.rss_bytes


def test_what_is_kept_and_who_runs_is_told(tmp_path: Path, server: Any) -> None:
    assert status_of(server).store is None

    async def scenario() -> Any:
        async with serving(tmp_path) as house:
            house.state.markets["spot"] = server.served
            return (await house.ask("operator", "/v1/status?series=none")).json()

    status = asyncio.run(asyncio.wait_for(scenario(), 40))
    assert (status["store"]["up"], status["store"]["fault"]) == (True, None)
    assert status["store"]["file_bytes"] > 0
    assert status["traders"]["held"] == 0
    assert sum(status["latencies"]["signal"]["counts"]) == 0


@pytest.fixture
def market() -> kc.Market:
    return kc.Market(["BTCUSDT", "ETHUSDT"], ["1m"], capacity=10)


def test_closes_are_measured_from_the_end_of_their_klines(server: Any, market: kc.Market) -> None:
    now_ms = server.row(0).close_time_ms
    metrics = Registry()
    clock = [now_ms]
    latency = CloseLatency("spot", lambda: clock[0], metrics)
    market.push("BTCUSDT", "1m", server.row(0))
    market.push("ETHUSDT", "1m", server.row(0))
    market.push("ETHUSDT", "1m", server.row(1, closed=False))
    clock[0] = now_ms + 1 + 400
    latency.note(market.drain())
    text = metrics.render().decode()
    assert 'kline_close_told_seconds_bucket{market="spot",le="0.25"} 0' in text
    assert 'kline_close_told_seconds_bucket{market="spot",le="0.5"} 2' in text
    assert 'kline_close_told_seconds_sum{market="spot"} 0.8' in text


def test_klines_from_before_the_start_are_no_news(server: Any, market: kc.Market) -> None:
    metrics = Registry()
    latency = CloseLatency("spot", SystemClock().time_ms, metrics)
    market.push("BTCUSDT", "1m", server.row(0))
    latency.note(market.drain())
    assert "kline_close_told_seconds_count" not in metrics.render().decode()


def test_latencies_add_up_over_markets(server: Any) -> None:
    histogram = server.metrics.histogram("kline_close_told_seconds", "x", ["market"], (0.1, 1.0))
    histogram.observe(0.05, "spot", count=3)
    histogram.observe(0.5, "um")
    histogram.observe(7.0, "um")
    close = status_of(server).latencies["close"]
    assert (close.bounds_s, close.counts, close.sum_s) == ([0.1, 1.0], [3, 1, 1], 7.65)
