"""The whole server in one loop against a simulated exchange, over real sockets between the two."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from crash_disk import CrashDisk

import klinecore as kc
from klinecore.snapshot import restore
from server.app import Server, create
from server.clock import PACE_VARIABLE, ScaledClock, SystemClock, pace_text, read_pace
from server.errors import SettingsError
from server.exchange.app import Exchange
from server.exchange.generated import GeneratedMarket
from server.settings import Settings

#: 2026-01-14 09:58:30 UTC: minutes, and then an hour, end soon after the start.
START_MS = 1_768_384_710_000
RATE = 20.0
DATA_DIR = "/nowhere"
PATIENCE_S = 60.0


class World:
    """A server, the exchanges it follows, and one clock for all of them."""

    def __init__(self, clock: ScaledClock, server: Server, exchanges: dict[str, Exchange]) -> None:
        self.clock = clock
        self.server = server
        self.exchanges = exchanges

    @property
    def exchange(self) -> Exchange:
        return next(iter(self.exchanges.values()))

    async def get(self, target: str) -> tuple[int, Any]:
        """Status and JSON of a request, made as granian makes it."""
        path, _, query = target.partition("?")
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        await self.server(
            {
                "type": "http",
                "http_version": "1.1",
                "method": "GET",
                "raw_path": path.encode(),
                "query_string": query.encode(),
                "headers": [(b"host", b"localhost")],
                "client": ("127.0.0.1", "1"),
            },
            receive,
            send,
        )
        return sent[0]["status"], json.loads(sent[1]["body"])

    async def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.server.state.readiness()
            await asyncio.sleep(0.01)

    async def until_ready(self, ready: bool = True) -> Any:
        """Return the body of ``/ready`` once it says so."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.server.state.beat(0.0)
            status, body = await self.get("/ready")
            if (status == 200) == ready:
                return body
            assert time.monotonic() < deadline, body
            await asyncio.sleep(0.02)


@asynccontextmanager
async def open_world(
    *markets: str,
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT"),
    rate: float = RATE,
    disk: CrashDisk | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    clock = ScaledClock(START_MS, rate)
    exchanges = {}
    for name in markets or ("spot",):
        exchange = Exchange(GeneratedMarket(3, symbols, market=name), clock)
        await exchange.start()
        exchanges[name] = exchange
        settings |= {f"{name}_rest": exchange.rest_url, f"{name}_ws": exchange.ws_url}
    world = World(clock, make_server(clock, disk, symbols=",".join(symbols), **settings), exchanges)
    await world.server.start()
    try:
        yield world
    finally:
        await world.server.stop()
        for exchange in exchanges.values():
            await exchange.stop()
    assert len(asyncio.all_tasks()) == 1, asyncio.all_tasks()


def make_server(clock: ScaledClock, disk: CrashDisk | None = None, **settings: Any) -> Server:
    values: dict[str, Any] = {
        "data_dir": DATA_DIR,
        "intervals": ["1m", "5m", "1h"],
        "capacity": 60,
        "connect_interval_s": 0.0,
        "stale_after_s": 10.0,
        "backoff_min_s": 0.5,
        "backoff_max_s": 2.0,
        "rest_weight_share": 1.0,
    }
    return Server(
        Settings.load({}, overrides=values | settings),
        clock=SystemClock(),
        market_clock=clock,
        random=random.Random(5),
        disk=disk,
    )


def truth(exchange: Exchange, symbol: str, interval: str, start_ms: int, end_ms: int) -> Any:
    """The exchange's own closed rows."""
    prefix = "/api/v3" if exchange.source.market == "spot" else "/fapi/v1"
    answer = exchange.rest.handle(
        f"{prefix}/klines?symbol={symbol}&interval={interval}&limit=1000"
        f"&startTime={start_ms}&endTime={end_ms}",
        exchange.now_ms,
        "127.0.0.9",
    )
    return [row[:11] for row in json.loads(answer.body)]


LETTERS = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")


def test_what_the_exchange_has_is_what_is_served() -> None:
    async def scenario() -> None:
        async with open_world(rate=60.0) as world:
            await world.until_ready()
            first_ms = world.exchange.now_ms
            await world.until(lambda: world.exchange.now_ms > first_ms + 100_000)  # streamed rows
            for symbol in ("BTCUSDT", "ETHUSDT"):
                for interval in ("1m", "5m", "1h"):
                    status, body = await world.get(f"/klines/{symbol}/{interval}?limit=60")
                    assert (status, body["count"]) == (200, 60)
                    rows = [[row[letter] for letter in LETTERS] for row in body["klines"]]
                    assert rows == truth(world.exchange, symbol, interval, rows[0][0], rows[-1][0])
            series = world.server.state.markets["spot"].market["BTCUSDT", "1m"]
            assert series.last_close_ms > first_ms

    asyncio.run(scenario())


def test_http_answers_before_the_exchange_does_and_says_what_is_missing() -> None:
    async def scenario() -> None:
        clock = ScaledClock(START_MS, RATE)
        exchange = Exchange(GeneratedMarket(3, ["BTCUSDT"]), clock)
        await exchange.start()
        port = exchange.port
        await exchange.stop()  # nobody listens there now
        server = make_server(
            clock, symbols="BTCUSDT", spot_rest=exchange.rest_url, spot_ws=exchange.ws_url
        )
        await server.start()
        world = World(clock, server, {"spot": exchange})
        assert (await world.get("/health"))[0] == 200
        assert (await world.get("/klines/BTCUSDT/1m"))[0] == 503
        await world.until(lambda: "asking again" in server.state.waiting_for[0])
        status, body = await world.get("/ready")
        assert status == 503
        assert body["reasons"][0].startswith("spot: ")
        again = Exchange(GeneratedMarket(3, ["BTCUSDT"]), clock)
        await again.start(port=port)
        await world.until_ready()
        assert (await world.get("/klines/BTCUSDT/1m"))[1]["count"] == 60
        await server.stop()
        await again.stop()

    asyncio.run(scenario())


def test_a_feed_that_brings_nothing_makes_the_server_unready_until_it_does() -> None:
    """K13: pings and ACKs go on, data does not; the original's /health stayed healthy."""

    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            world.exchange.faults.mute_all = True
            body = await world.until_ready(False)
            assert body["reasons"]
            assert (await world.get("/health"))[0] == 200
            assert (await world.get("/klines/BTCUSDT/1m"))[0] == 200  # what is known stays
            world.exchange.faults.mute_all = False
            await world.until_ready()

    asyncio.run(scenario())


MALFORMED = [
    b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"e":"kline"}', b'{"e":"kline","E":"x","s":1,"k":[]}',
    b'{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":"1","T":2}}', b'{"e":7}', b'{"e":"24hrTicker"}',
    b'{"e":"24hrTicker","E":1,"s":"BTCUSDT","c":null}', b'[{"e":"24hrMiniTicker"}]',
    b'{"stream":"x","data":{"e":"kline","k":null}}', b'{"result":{},"id":[]}', b"[" * 5000,
]  # fmt: skip


def test_odd_frames_are_counted_and_the_next_one_is_fine() -> None:
    """K9: one odd field killed the original's process."""

    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            market = world.server.state.markets["spot"].market
            before = market.counters()
            world.exchange.faults.malformed.extend(MALFORMED)
            await world.until(lambda: not world.exchange.faults.malformed)
            sent_ms = world.exchange.now_ms
            await world.until(lambda: market["BTCUSDT", "1m"].last_event_ms > sent_ms)
            counted = market.counters()
            assert counted["frames_malformed"] >= before["frames_malformed"] + 10
            await world.until_ready()

    asyncio.run(scenario())


def test_closes_and_live_rows_reach_subscribers() -> None:
    """K3 over the stream: forming rows come, and each close exactly once, in order."""

    async def scenario() -> None:
        async with open_world(rate=60.0) as world:
            await world.until_ready()
            channels = world.server.state.markets["spot"].channels
            topic = channels.topic("btcusdt@kline_1m")
            subscriber = world.server.state.hub.subscribe(topic)
            arrays = world.server.state.hub.subscribe(channels.topic("!miniTicker@arr"))
            closed: list[list[Any]] = []
            forming = 0
            async with asyncio.timeout(PATIENCE_S):
                while len(closed) < 3:
                    await subscriber.wait()
                    while (payload := subscriber.take()) is not None:
                        parsed = kc.parse_frame(payload).kline
                        assert parsed is not None
                        if parsed.closed:
                            closed.append(list(parsed[:11]))
                        else:
                            forming += 1
            subscriber.end("done")
            assert forming > 0
            tickers = json.loads(arrays.take() or b"[]")
            assert {one["s"] for one in tickers} == {"BTCUSDT", "ETHUSDT"}
            assert closed == truth(world.exchange, "BTCUSDT", "1m", closed[0][0], closed[-1][0])

    asyncio.run(scenario())


def test_two_markets_are_served_side_by_side() -> None:
    async def scenario() -> None:
        async with open_world("spot", "um", market="both") as world:
            body = await world.until_ready()
            assert set(body["markets"]) == {"spot", "um"}
            spot = (await world.get("/klines/BTCUSDT/1m?limit=1&market=spot"))[1]["klines"][0]
            um = (await world.get("/klines/BTCUSDT/1m?limit=1&market=um"))[1]["klines"][0]
            assert (await world.get("/klines/BTCUSDT/1m?limit=1"))[1]["klines"][0] == spot
            assert len(spot["o"].partition(".")[2]) == 8
            assert len(um["o"].partition(".")[2]) < 8
            assert set((await world.get("/v1/status"))[1]["markets"]) == {"spot", "um"}

    asyncio.run(scenario())


def test_a_symbol_the_exchange_does_not_trade_is_named_and_hurts_no_other() -> None:
    async def scenario() -> None:
        async with open_world() as world:
            rest, ws = world.exchange.rest_url, world.exchange.ws_url
            server = make_server(
                world.clock, symbols="BTCUSDT,NOPEUSDT", spot_rest=rest, spot_ws=ws
            )
            await server.start()
            other = World(world.clock, server, world.exchanges)
            await other.until_ready()
            symbols = (await other.get("/v1/symbols"))[1]["markets"]["spot"]
            assert (symbols["symbols"], symbols["unknown_symbols"]) == (["BTCUSDT"], ["NOPEUSDT"])
            assert (await other.get("/klines/NOPEUSDT/1m"))[0] == 404
            await server.stop()

    asyncio.run(scenario())


def test_the_arena_is_a_file_where_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "arena"
        async with open_world(arena=str(path)) as world:
            await world.until_ready()
            assert path.stat().st_size == world.server.state.markets["spot"].market.size

    asyncio.run(scenario())


def test_metrics_show_feed_streams_and_requests() -> None:
    """K22."""

    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            text = world.server.state.metrics.render().decode()
            for name in (
                'kline_streams_desired{market="spot"} 8',
                'kline_backfill_windows_done{market="spot"} 6',
                "ws_clients 0",
                "event_loop_lag_seconds",
                'http_requests_total{route="/ready",code="200"}',
            ):
                assert name in text

    asyncio.run(scenario())


def test_stopping_while_starting_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        async with open_world():
            pass  # the world asserts that no task is left

    asyncio.run(scenario())


def test_processes_of_a_simulation_share_its_time() -> None:
    clock = SystemClock()
    text = pace_text(START_MS, 10.0, clock)
    first = read_pace(text, clock)
    time.sleep(0.05)
    second = read_pace(text, clock)
    assert abs(first.time_ms() - second.time_ms()) <= 20  # a real ms or two, ten times as fast
    assert first.time_ms() - START_MS >= 500


@pytest.mark.parametrize("text", ["", "1:2", "a:b:c", "1:2:0", "1:2:-1", "1:2:nan"])
def test_a_malformed_pace_is_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match=PACE_VARIABLE):
        read_pace(text, SystemClock())


def test_the_worker_reads_its_settings_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings.load({}, overrides={"symbols": "BTCUSDT", "capacity": 7, "market": "um"})
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("server.app.logs.configure", lambda level, form: None)
    server = create()
    assert isinstance(server, Server)
    assert server.state.settings == settings


def test_the_worker_refuses_settings_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLINE_HOST", "0.0.0.0")
    with pytest.raises(SettingsError, match="API_KEY"):
        create()


def test_a_restart_begins_with_the_rows_of_the_last_snapshot() -> None:
    async def scenario() -> None:
        disk = CrashDisk()
        async with open_world(disk=disk, capacity=20) as world:
            await world.until_ready()
            await world.server.stop()
            assert disk.steps[-1] == "sync_directory"
            kept = kc.Market(["BTCUSDT", "ETHUSDT"], ["1m", "5m", "1h"], 20)
            restore(kept, disk.entries[f"{DATA_DIR}/spot.snapshot"].written)
            addresses = {"spot_rest": world.exchange.rest_url, "spot_ws": world.exchange.ws_url}
            world.server = make_server(
                world.clock, disk, capacity=20, symbols="BTCUSDT,ETHUSDT", **addresses
            )
            await world.server.start()
            await world.until_ready()
            metrics = world.server.state.metrics.render().decode()
            assert sum(map(len, kept)) == 120
            assert 'kline_snapshot_restored_rows{market="spot"} 120\n' in metrics
            served = world.server.state.markets["spot"]
            await world.until(lambda: served.market.heartbeat_ms > 0)
            for symbol in ("BTCUSDT", "ETHUSDT"):
                _, body = await world.get(f"/klines/{symbol}/1m?limit=20")
                opens = [row["t"] for row in body["klines"]]
                assert [[row[letter] for letter in LETTERS] for row in body["klines"]] == truth(
                    world.exchange, symbol, "1m", opens[0], opens[-1]
                )

    asyncio.run(scenario())


def test_a_server_whose_disk_fails_serves_all_the_same() -> None:
    async def scenario() -> None:
        disk = CrashDisk()
        full = OSError(errno.ENOSPC, "No space left on device")
        disk.fail_at = dict.fromkeys(range(1000), full)
        async with open_world(disk=disk, snapshot_interval_s=0.05) as world:
            await world.until_ready()
            await world.until(lambda: len(disk.steps) > 20)
            status, body = await world.get("/klines/BTCUSDT/1m?limit=5")
            assert (status, body["count"]) == (200, 5)
            metrics = world.server.state.metrics.render().decode()
            assert 'kline_snapshot_errors_total{market="spot",reason="ENOSPC"}' in metrics

    asyncio.run(scenario())


def test_a_period_of_zero_keeps_no_rows_and_reads_none() -> None:
    async def scenario() -> None:
        disk = CrashDisk()
        async with open_world(disk=disk, snapshot_interval_s=0.0) as world:
            await world.until_ready()
        assert disk.steps == ["read"]  # a ban of an earlier life: that is kept all the same

    asyncio.run(scenario())


def test_what_memory_does_not_hold_is_fetched_once_also_over_a_restart() -> None:
    day_ms = 86_400_000
    span = f"startTime={START_MS - 3 * day_ms}&endTime={START_MS - 2 * day_ms}&limit=1000"
    target = f"/api/v3/klines?symbol=BTCUSDT&interval=1m&{span}"

    async def scenario() -> None:
        disk = CrashDisk()
        async with open_world(disk=disk) as world:
            await world.until_ready()
            status, rows = await world.get(target)
            opens = [row[0] for row in rows]
            assert (status, len(opens)) == (200, 1000)
            expected = truth(world.exchange, "BTCUSDT", "1m", opens[0], opens[-1])
            assert [row[:11] for row in rows] == expected
            await world.server.stop()
            addresses = {"spot_rest": world.exchange.rest_url, "spot_ws": world.exchange.ws_url}
            world.server = make_server(
                world.clock, disk, symbols="BTCUSDT,ETHUSDT", forward=True, **addresses
            )
            await world.server.start()
            await world.until_ready()
            assert await world.get(target) == (200, rows)
            metrics = world.server.state.metrics.render().decode()
            blocks = 'kline_history_blocks_total{market="spot",source="%s"} %d\n'
            assert blocks % ("exchange", 0) in metrics
            assert blocks % ("disk", 2) in metrics
            status, average = await world.get("/api/v3/avgPrice?symbol=BTCUSDT")
            assert (status, average["mins"]) == (200, 5)

    asyncio.run(scenario())
