"""A symbol that is halted: asked for rarely, and what had begun before is closed all the same."""

from __future__ import annotations

import asyncio

from closes_bench import running
from shelf import at
from simulation.loop import run

from server.feeds.closes import HALTED_RETRY_S


def test_a_halted_symbol_is_asked_for_rarely_until_it_is_expected_again() -> None:
    async def scenario() -> None:
        async with running(9.5) as bench:
            bench.shelf.halted_ms["AUSDT"] = at(9)
            bench.market.set_expected("AUSDT", False)
            await bench.until(70.0)
            times = [query["at"] for query in bench.shelf.asked]
            first = 9  # doubled waits at the beginning: it was halted within a kline
            assert 4 <= len(times) <= first + 3600 / HALTED_RETRY_S[1]
            assert bench.closes.late == 0
            bench.shelf.halted_ms.clear()
            bench.market.set_expected("AUSDT", True)
            await bench.until(72.5)
            assert bench.held[-1] == 71

    run(scenario())


def test_a_symbol_that_trades_again_is_asked_for_at_once_not_at_its_next_boundary() -> None:
    async def scenario() -> None:
        async with running(9.5, intervals=("5m",)) as bench:
            bench.shelf.halted_ms["AUSDT"] = at(5)
            bench.market.set_expected("AUSDT", False)
            await bench.until(46.0)
            bench.shelf.halted_ms = {}
            bench.market.set_expected("AUSDT", True)
            await bench.until(46.1)
            assert bench.held[-1] == 40

    run(scenario())


def test_a_kline_cut_short_by_a_halt_is_read_again_soon_once_it_has_been_seen() -> None:
    """Nothing comes after it that could prove its close: two reads that agree do."""

    async def scenario() -> None:
        async with running(9.5, symbols=("AUSDT", "BUSDT")) as bench:
            bench.shelf.halted_ms["AUSDT"] = at(11)
            bench.shelf.frozen_ms = at(10) - 1  # the database is late with minute 10
            await bench.until(10.01)
            bench.stream(("AUSDT", "1m"), ("BUSDT", "1m"))
            bench.market.set_expected("AUSDT", False)
            await bench.until(13.2)
            assert bench.held[-1] == 9
            bench.shelf.frozen_ms = None
            while bench.series.forming is None:
                await asyncio.sleep(1.0)
            assert bench.held[-1] == 9
            await asyncio.sleep(10.0)
            assert bench.held[-1] == 10

    run(scenario())
