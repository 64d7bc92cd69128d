"""The feed as a whole, against the simulated exchange: start, outage, repair, what it admits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from simulation.clock import SimulatedClock
from simulation.loop import run

from server.exchange.faults import RestFault

MINUTE_MS = 60_000
START_MS = 1_768_384_780_000  # of every world


@pytest.mark.parametrize("name", ["spot", "um"])
def test_cold_start_fills_whole_windows_before_it_is_ready(open_world: Any, name: str) -> None:
    async def scenario() -> None:
        async with open_world(name=name, intervals=("1m", "5m", "15m", "1h")) as world:
            assert not world.feed.ready
            await world.until_ready()
            assert all(len(series) == 100 for series in world.market)
            world.assert_true_and_whole()
            status = world.feed.status()
            assert (status.phase, status.reasons) == ("live", [])
            assert status.backfill.done == status.backfill.total == 12
            assert world.progress[-1] == (12, 12)
            await world.until(
                lambda: world.feed.status().streams_delivering == 15, "all streams deliver"
            )

    run(scenario())


def test_reasons_tell_how_far_the_backfill_is(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(rest_concurrency=1) as world:
            seen = set()
            while not world.feed.ready:
                seen.update(world.feed.status().reasons)
                await asyncio.sleep(0.005)
            assert any(reason.startswith("connection 0 is down") for reason in seen)
            assert any(reason.endswith("of 6 windows") for reason in seen)

    run(scenario())


def test_every_close_is_told_once_and_is_the_exchanges_own(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(intervals=("1m", "5m")) as world:
            await world.until_ready()
            await world.until(lambda: sum(world.closes().values()) >= 18)
            closes = world.closes()
            assert set(closes.values()) == {1}
            opens = sorted(
                open_ms
                for symbol, interval, open_ms in closes
                if (symbol, interval) == ("BTCUSDT", "1m")
            )
            assert opens == list(range(opens[0], opens[-1] + 1, MINUTE_MS))
            world.assert_true_and_whole()

    run(scenario())


def test_k5_closes_missed_while_cut_off_are_fetched_and_the_gap_shows_until_then(
    open_world: Any,
) -> None:
    async def scenario() -> None:
        async with open_world(intervals=("1m",)) as world:
            await world.until_ready()
            world.exchange.faults.refuse_connects = True
            world.exchange.streams.cut_all(reset=True)
            await world.until(lambda: not world.feed.ready, "the cut is seen")
            assert "connection 0 is down" in world.feed.status().reasons[0]
            cut_ms = world.market["BTCUSDT", "1m"].last_close_ms
            await world.clock.sleep(150.0)
            world.exchange.faults.refuse_connects = False
            await world.until(
                lambda: world.market["BTCUSDT", "1m"].last_close_ms > cut_ms + 2 * MINUTE_MS
            )
            await world.until(lambda: not any(s.gaps() for s in world.market), "no gap is left")
            await world.until_ready()
            assert world.feed.repaired >= 3
            world.assert_true_and_whole()
            assert set(world.closes().values()) == {1}

    run(scenario())


def test_a_connection_that_comes_back_is_looked_after_at_once(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(intervals=("1m",), sweep_interval_s=3600.0) as world:
            await world.until_ready()
            world.exchange.faults.refuse_connects = True
            world.exchange.streams.cut_all(reset=True)
            await world.clock.sleep(130.0)
            world.exchange.faults.refuse_connects = False
            await world.until_ready()
            await world.until(lambda: world.feed.repaired >= 3, "without waiting for a sweep")
            await world.until(lambda: not any(s.gaps() for s in world.market))

    run(scenario())


def test_nothing_is_filled_before_the_exchanges_time_is_known(open_world: Any) -> None:
    async def scenario() -> None:
        def fail(exchange: Any) -> None:
            exchange.faults.rest.extend([RestFault(500)] * 3)

        async with open_world(prepare=fail) as world:
            await world.until(lambda: world.feed.phase != "starting")
            assert not world.exchange.faults.rest
            await world.until_ready()

    run(scenario())


def test_a_gap_makes_its_series_unready_until_it_is_filled(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(intervals=("1m",), sweep_interval_s=3600.0) as world:
            await world.until_ready()
            world.exchange.faults.drop_closes = 3
            await world.until(lambda: world.market["BTCUSDT", "1m"].gaps(), "a close is missing")
            state = world.feed.series_state("BTCUSDT", "1m")
            assert (state.ready, state.source) == (False, "stream")

    run(scenario())


def test_a_missing_close_is_fetched_and_told_once(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(intervals=("1m",)) as world:
            await world.until_ready()
            world.exchange.faults.drop_closes = 3  # one of each symbol
            await world.until(lambda: world.exchange.faults.drop_closes == 0)
            await world.until(lambda: world.feed.repaired >= 3, "REST brought them")
            await world.until(lambda: not any(s.gaps() for s in world.market))
            await world.until(lambda: sum(world.closes().values()) >= 3, "they are told")
            assert set(world.closes().values()) == {1}
            world.assert_true_and_whole()

    run(scenario())


def test_k6_duplicate_and_disordered_frames_leave_one_row_each(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(intervals=("1m", "5m")) as world:
            world.exchange.faults.duplicates = 2
            world.exchange.faults.reorder = True
            await world.until_ready()
            await world.until(lambda: sum(world.closes().values()) >= 9)
            assert world.market["BTCUSDT", "1m"].counters["duplicates"] > 0
            assert set(world.closes().values()) == {1}
            world.assert_true_and_whole()

    run(scenario())


def test_k8_several_connections_share_one_market(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(streams_per_connection_spot=2) as world:
            await world.until_ready()
            status = world.feed.status()
            assert [connection.streams for connection in status.connections] == [2, 2, 2, 2, 1]
            await world.until(lambda: world.feed.status().streams_delivering == 9)
            await world.until(lambda: sum(world.closes().values()) >= 3)
            assert set(world.closes().values()) == {1}
            world.assert_true_and_whole()

    run(scenario())


MALFORMED = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe\x00",
    b'{"e":"kline"}',
    b'{"e":"kline","E":"x","s":7,"k":[]}',
    b'{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":0,"T":59999,"i":"1m","o":"NaN","x":true}}',
    b'{"stream":"btcusdt@kline_1m","data":{"e":"kline"',
    b'{"e":"24hrTicker","s":"BTCUSDT","c":"1e999"}',
    b'{"result":{"a":[1,{}]},"id":"x"}',
    b'{"error":7,"id":{}}',
    b'{"code":"x","msg":null}',
    b"9" * 100_000,
)


def test_k9_malformed_frames_are_counted_and_survived(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            world.exchange.faults.malformed.extend(MALFORMED)
            await world.until(lambda: not world.exchange.faults.malformed)
            count = world.market.counters()["frames_kline"]
            await world.until(lambda: world.market.counters()["frames_kline"] > count)
            assert world.market.counters()["frames_malformed"] >= 8
            status = world.feed.status()
            assert [connection.connects for connection in status.connections] == [1]
            world.assert_true_and_whole()

    run(scenario())


@pytest.mark.parametrize("name", ["spot", "um"])
def test_k11_half_open_connection_is_found_and_replaced(open_world: Any, name: str) -> None:
    async def scenario() -> None:
        async with open_world(name=name, ack_timeout_s=5.0) as world:
            await world.until_ready()
            world.exchange.faults.half_open = True
            dead_s = world.clock.monotonic()
            await world.until(lambda: not world.feed.ready, "the silence is seen")
            assert world.clock.monotonic() - dead_s < 30.0
            world.exchange.faults.half_open = False
            await world.until_ready()
            assert world.feed.status().connections[0].connects == 2
            await world.until(lambda: not any(s.gaps() for s in world.market))
            world.assert_true_and_whole()

    run(scenario())


def test_k12_unknown_symbol_is_named_and_hurts_no_other(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(unknown=("NOSUCHUSDT",)) as world:
            await world.until_ready()
            assert world.feed.status().unknown_symbols == ["NOSUCHUSDT"]

    run(scenario())


def test_symbol_the_exchange_has_no_klines_of_is_named_and_hurts_no_other(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(exchange_options={"unlisted": ["SOLUSDT"]}) as world:
            await world.until_ready()
            status = world.feed.status()
            assert status.unknown_symbols == ["SOLUSDT"]
            assert not world.feed.series_state("SOLUSDT", "1m").ready
            assert world.feed.series_state("BTCUSDT", "1m").ready
            assert status.streams_delivering <= 6 < status.streams_desired == 9

    run(scenario())


def test_streams_that_are_acknowledged_and_silent_show_in_the_status(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world() as world:
            world.exchange.faults.mute_streams = {"btcusdt@kline_1m", "ethusdt@ticker"}
            await world.until_ready()
            await world.until(lambda: world.feed.status().streams_delivering == 7)
            count = world.market.counters()["frames_kline"]
            await world.until(lambda: world.market.counters()["frames_kline"] > count + 10)
            status = world.feed.status()
            assert (status.streams_delivering, status.streams_desired) == (7, 9)
            assert status.connections[0].delivering == 7

    run(scenario())


def test_connection_that_answers_and_brings_nothing_is_not_ready_and_replaced(
    open_world: Any,
) -> None:
    async def scenario() -> None:
        async with open_world(stale_after_s=20.0) as world:
            await world.until_ready()
            world.exchange.faults.mute_all = True
            await world.until(
                lambda: any("no new data" in reason for reason in world.feed.status().reasons)
            )
            await world.until(lambda: world.feed.status().connections[0].connects >= 2)
            world.exchange.faults.mute_all = False
            await world.until_ready()

    run(scenario())


def test_usd_m_is_asked_for_where_it_delivers(open_world: Any) -> None:
    """The bare path acknowledges and stays silent, since the hosts were split."""

    async def scenario() -> None:
        async with open_world(name="um", streams_per_connection_um=3) as world:
            await world.until_ready()
            assert len(world.exchange.streams.connections) == 3
            await world.until(lambda: world.feed.status().streams_delivering == 9)

    run(scenario())


@pytest.mark.parametrize("name", ["spot", "um"])
def test_minutes_without_a_trade_close_too(open_world: Any, name: str) -> None:
    """USD-M pushes nothing for them; REST has the row, once a later one stands behind it."""

    async def scenario() -> None:
        symbols = ("BTCUSDT", "QTUMUSDT")
        async with open_world(
            name=name, symbols=symbols, intervals=("1m",), stale_after_s=600.0
        ) as world:
            await world.until_ready()
            series = world.market["QTUMUSDT", "1m"]
            last_ms = series.last_close_ms
            await world.until(lambda: series.last_close_ms >= last_ms + 5 * MINUTE_MS)
            await world.until(lambda: not series.gaps())
            world.assert_true_and_whole()
            assert 0 in series.trades[-6:], "the market was quiet, as the test wants it"
            assert set(world.closes().values()) == {1}

    run(scenario())


def test_tickers_of_rest_do_not_keep_frames_from_being_told(open_world: Any) -> None:
    """A market with events nobody was told of must not silence the feed."""

    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            world.market.apply_tickers(await world.api.tickers())
            world.events.clear()
            await world.until(lambda: any(e.interval for e in world.events), "klines are told")

    run(scenario())


def test_skewed_local_clock_does_not_matter(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world(intervals=("1m",)) as world:
            # The exchange lives an hour ahead of us.
            world.exchange.clock = SimulatedClock(START_MS + 3_600_000)
            world.exchange.streams.clock = world.exchange.clock
            await world.until(lambda: world.feed.status().server_offset_ms > 3_590_000)
            await world.until_ready()
            await world.until(lambda: sum(world.closes().values()) >= 3)
            assert set(world.closes().values()) == {1}
            world.assert_true_and_whole()

    run(scenario())


def test_metrics_say_what_the_status_says(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            await world.until(lambda: world.feed.status().streams_delivering == 9)
            found = {
                (sample.name, *sample.labels.values()): sample.value
                for family in text_string_to_metric_families(world.metrics.render().decode())
                for sample in family.samples
            }
            assert found["kline_streams_desired", "spot"] == 9
            assert found["kline_streams_delivering", "spot"] == 9
            assert found["kline_backfill_windows_done", "spot"] == 6
            assert found["kline_feed_connections", "spot", "live"] == 1
            assert found["kline_feed_messages_total", "spot", "kline"] > 0
            assert found["kline_feed_messages_total", "spot", "malformed"] == 0
            assert found["kline_feed_bytes_total", "spot"] > 1000
            assert found["kline_rest_requests_total", "spot"] >= 8
            assert found["kline_rest_failures_total", "spot"] == 0
            assert found["kline_rest_weight_allowed", "spot"] == 3000
            assert found["kline_rest_queued_weight", "spot", "repair"] == 0
            assert found["kline_backfill_rows_total", "spot", "requested"] >= 6 * 101
            assert found["kline_backfill_rows_total", "spot", "received"] >= 6 * 101
            assert found["kline_mismatch_total", "spot"] == 0
            ahead_ms = world.market.horizon_ms - world.clock.time_ms()
            assert 50_000 < ahead_ms <= 61_000, "rows of the future are refused"

    run(scenario())


def test_stop_ends_connections_and_says_so(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world() as world:
            await world.until_ready()
            await world.feed.stop()
            assert world.feed.status().phase == "stopped"
            assert not world.feed.ready
            await world.until(lambda: not world.exchange.streams.connections)
            assert len(asyncio.all_tasks()) <= 3

    run(scenario())


def test_stop_before_anything_came_is_clean(open_world: Any) -> None:
    async def scenario() -> None:
        async with open_world():
            pass

    run(scenario())
