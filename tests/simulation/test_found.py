"""What seeds have found, each as a scenario of its own, so that it stays mended."""

from __future__ import annotations

from simulation.scenario import scenario, simulated

MINUTE_MS = 60_000
HOUR_MS = 3_600_000


@simulated
async def test_the_kline_in_which_a_halt_begins_is_closed_though_its_frame_was_lost() -> None:
    """A halted symbol is not waited for; the kline it was halted in has trades and does close."""
    async with scenario(symbols=3) as world:
        hour_ms = (world.now_ms // HOUR_MS + 2) * HOUR_MS
        await world.sleep_until(hour_ms - HOUR_MS // 2)
        world.exchange.set_status("BTCUSDT", "HALT")
        world.exchange.faults.mute_streams.add("btcusdt@kline_1h")
        await world.sleep_until(hour_ms - 5_000)
        assert world.feed.statuses()["BTCUSDT"] == "HALT"
        await world.sleep_until(hour_ms + 60_000)
        assert world.market["BTCUSDT", "1h"].last_close_ms == hour_ms - 1


@simulated
async def test_a_halt_longer_than_a_kline_does_not_leave_the_server_unready() -> None:
    """The next close is due when the forming kline ends, not one interval after the last one."""
    async with scenario(symbols=3, market="um") as world:
        await world.sleep_until((world.now_ms // 900_000 + 1) * 900_000 - 60_000)
        world.exchange.set_status("BTCUSDT", "HALT")
        await world.sleep(1100.0)
        world.exchange.set_status("BTCUSDT", "TRADING")
        await world.sleep(400.0)
        assert not world.market["BTCUSDT", "15m"].forming.closed
        world.check_ready()
        assert world.judge.faults == []


@simulated
async def test_the_first_kline_of_a_listing_is_kept_though_no_answer_proved_it_closed() -> None:
    """It stood behind in every answer, and the next one came by the stream: no gap showed it."""
    async with scenario(symbols=2, spare=1) as world:
        await world.sleep_until((world.now_ms // MINUTE_MS + 2) * MINUTE_MS + 30_000)
        listed_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        name = world.unlisted.pop()
        world.exchange.list_symbol(name)
        world.exchange.faults.klines_lack_last = True
        await world.sleep_until(listed_ms + MINUTE_MS + 10_000)
        assert await world.feed.universe.poll()
        await world.sleep(90.0)
        world.exchange.faults.klines_lack_last = False
        await world.sleep(120.0)
        assert int(world.market[name, "1m"].open_time_ms[0]) == listed_ms
