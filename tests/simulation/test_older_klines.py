"""Klines from before the window, for many clients at once, in the whole server."""

from __future__ import annotations

import asyncio
import json

from simulation.records import Record, next_minute_ms
from simulation.scenario import scenario, simulated


@simulated
async def test_must_never_06_every_bot_fetches_the_same_again() -> None:
    """Must never 6: 25 bots come at once and page two days of the same symbol, of an interval
    that is held and one that is not: the exchange is asked for each block once and gives its own
    bytes; with the weight for clients spent they are refused, and closes are fetched all the
    same."""
    async with scenario(symbols=2, capacity=60, intervals=("1m",), ready=False) as world:
        world.exchange.rest.weight_limit = 400
        await world.until_ready(300.0)
        record, now_ms = Record(world), world.now_ms
        asked = len(record.asked())

        async def page(interval: str) -> bytes:
            start_ms, pages = now_ms - 2 * 86_400_000, []
            target = f"/api/v3/klines?symbol=BTCUSDT&interval={interval}&limit=1000"
            end = f"&endTime={now_ms}"
            while not pages or len(json.loads(pages[-1])) == 1000:
                status, _, body = await world.ask(f"{target}&startTime={start_ms}{end}")
                assert status == 200, body
                pages.append(body)
                start_ms = json.loads(body)[-1][6] + 1
            return b"".join(pages)

        for interval, blocks in (("1m", 4), ("3m", 2)):
            bots = await asyncio.gather(*(page(interval) for _ in range(25)))
            assert len(set(bots)) == 1
            assert bots[0].count(b'"0"]') >= 2 * 1440 // int(interval[0])
            told = [one for one in record.asked()[asked:] if "/klines" in one.target]
            assert len([one for one in told if f"interval={interval}" in one.target]) <= blocks
        older, statuses = f"/api/v3/klines?symbol={world.market.symbols[1]}&interval=1m&limit=1", []
        for days in range(30, 3, -1):
            start_ms = now_ms - days * 86_400_000
            statuses.append((await world.ask(f"{older}&startTime={start_ms}"))[0])
        assert set(statuses) == {200, 429}
        assert world.exchange.counters["refused_429"] == 0
        world.exchange.faults.drop_closes = 2
        minute_ms = next_minute_ms(world)
        await world.sleep_until(minute_ms + 10_000)
        assert world.market["BTCUSDT", "1m"].last_close_ms == minute_ms - 1
