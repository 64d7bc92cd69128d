"""kc.client: a local market in step with a server's, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import uvloop
from cutting_proxy import CuttingProxy, cutting_proxy
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_port import MINUTE, START_MS, Running, row, running

import klinecore as kc
from klinecore.client import Live

CAPACITY = 50  # the server's
PATIENCE_S = 60.0
CLOSES = {kc.EventKind.CLOSED, kc.EventKind.FILLED}


def follow(port: int, *symbols: str, **options: object) -> Live:
    return kc.client.connect(
        f"ws://127.0.0.1:{port}",
        symbols=symbols or ("BTCUSDT", "ETHUSDT"),
        intervals=["1m"],
        capacity=CAPACITY,
        retry_s=0.002,
        **options,
    )


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


def texts(market: kc.Market, symbol: str = "BTCUSDT") -> bytes:
    """Every row of a series, digit by digit."""
    return market.klines_json(symbol, "1m", CAPACITY, forming=True)


def in_step(live: Live, server: Running) -> bool:
    return all(
        texts(live.market, symbol) == texts(server.market, symbol)
        and live.market[symbol, "1m"].columns().tobytes()
        == server.market[symbol, "1m"].columns().tobytes()
        for symbol in live.market.symbols
    )


def test_entering_brings_the_newest_klines_and_iterating_what_changes() -> None:
    async def story() -> None:
        async with running() as server:
            for index in range(3):
                server.close_kline(index)
            server.move_kline(3, "3.21")
            async with follow(server.streams.port) as live:
                assert live.connected
                assert in_step(live, server)
                assert live.market["BTCUSDT", "1m"].close.tolist() == [0.5, 1.5, 2.5]
                server.close_kline(3)
                event = await anext(aiter(live))
                assert event == (kc.EventKind.CLOSED, "BTCUSDT", "1m", START_MS + 3 * MINUTE)
                assert live.market["BTCUSDT", "1m"].close[-1] == 3.5

    uvloop.run(story())


def test_it_may_be_entered_without_a_block_and_closed_later() -> None:
    async def story() -> None:
        async with running() as server:
            server.close_kline(0)
            live = await follow(server.streams.port)
            assert (live.connected, live.following) == (True, True)
            server.close_kline(1)
            assert (await anext(aiter(live))).kind is kc.EventKind.CLOSED
            await live.close()
            assert (live.connected, live.following, live.fault) == (False, False, "closed here")
            assert live.market["BTCUSDT", "1m"].close.tolist() == [0.5, 1.5]
            assert [event async for event in live] == []
            await live.close()

    uvloop.run(story())


def test_tickers_follow_where_they_are_wanted() -> None:
    ticker = {
        "e": "24hrTicker", "E": START_MS, "s": "BTCUSDT", "p": "0.5", "P": "1.20", "w": "7.1",
        "x": "7.0", "c": "7.50", "Q": "1.0", "b": "7.4", "B": "1.0", "a": "7.6", "A": "1.0",
        "o": "7.0", "h": "8.0", "l": "6.0", "v": "3.0", "q": "4.0", "O": 1, "C": 2, "F": 1,
        "L": 2, "n": 2,
    }  # fmt: skip

    async def story() -> None:
        async with running() as server, follow(server.streams.port, tickers=True) as live:
            server.market.apply(json.dumps(ticker).encode())
            server.channels.publish(server.market.drain())
            event = await anext(aiter(live))
            assert (event.kind, event.symbol) == (kc.EventKind.TICKER, "BTCUSDT")
            found = live.market.ticker("BTCUSDT")
            assert found is not None
            assert found["c"] == "7.50"

    uvloop.run(story())


class Exchange:
    """What happens to a server's klines, and which closes it must have told of."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.next = {"BTCUSDT": 0, "ETHUSDT": 0}
        self.left_out: list[tuple[str, int]] = []
        self.closed: set[tuple[str, int]] = set()
        self.revisions = 0

    def close(self, symbol: str) -> None:
        index = self.next[symbol]
        self.server.close_kline(index, symbol)
        self.closed.add((symbol, START_MS + index * MINUTE))
        self.next[symbol] += 1

    def move(self, symbol: str) -> None:
        index = self.next[symbol]
        self.server.move_kline(index, f"{index}.{len(self.closed) % 80 + 10}", symbol)

    def leave_out(self, symbol: str) -> None:
        self.left_out.append((symbol, self.next[symbol]))
        self.next[symbol] += 1
        self.close(symbol)

    def fill(self) -> None:
        if self.left_out:
            symbol, index = self.left_out.pop(0)
            self.server.market.push(symbol, "1m", row(index))
            self.server.channels.publish(self.server.market.drain())
            self.closed.add((symbol, START_MS + index * MINUTE))

    def revise(self, symbol: str) -> None:
        """The exchange takes trades back: a row with fewer of them replaces what stood there."""
        if not self.next[symbol]:
            return
        self.revisions += 1
        start = START_MS + (self.next[symbol] - 1) * MINUTE
        end, close = start + MINUTE - 1, f"9.{self.revisions % 90 + 10}"
        tuple_ = [start, "9.1", "9.99", "9.05", close, "1.0", end, "1.5", 1, "0.5", "0.7", "0"]
        self.server.market.apply_klines(
            symbol, "1m", json.dumps([tuple_]).encode(), closed_before_ms=end + 1, correct=True
        )
        self.server.channels.publish(self.server.market.drain())


SYMBOLS = st.sampled_from(["BTCUSDT", "ETHUSDT"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["close", "move", "leave_out", "revise"]), SYMBOLS),
        st.tuples(st.just("fill")),
        st.tuples(st.just("cut")),
        st.tuples(st.just("limit"), st.integers(1, 8000)),
        st.tuples(st.just("forget")),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.004])),
    ),
    min_size=5,
    max_size=40,
)


async def happen(step: tuple[object, ...], exchange: Exchange, proxy: CuttingProxy) -> None:
    name, *arguments = step
    if name == "cut":
        proxy.cut()
    elif name == "limit":
        proxy.limits.append(arguments[0])  # type: ignore[arg-type]
        proxy.cut()
    elif name == "forget":  # the server's log is too short for who comes back now
        fanout = exchange.server.streams.fanout
        fanout._log.clear()
        fanout._log_size = 0
        fanout._forgotten = fanout.sequence
    elif name == "wait":
        await asyncio.sleep(arguments[0])  # type: ignore[arg-type]
    else:
        getattr(exchange, str(name))(*arguments)


def check_rows_and_events(
    steps: list[tuple[object, ...]], first: int, limits: list[int], at_once: int
) -> None:
    """Local rows are the server's, bit by bit; each close is told once and none is missing."""

    async def story() -> None:
        async with running() as server, cutting_proxy(server.streams.port) as proxy:
            exchange = Exchange(server)
            for _ in range(first):
                exchange.close("BTCUSDT")
            exchange.closed.clear()  # history
            proxy.limits.extend(limits)
            told: list[kc.Event] = []

            async def listen(live: Live) -> None:
                async for event in live:
                    told.append(event)  # noqa: PERF401  one by one, so that none is lost at a cut

            async with follow(proxy.port) as live:
                listener = asyncio.create_task(listen(live))
                for step in steps:
                    await happen(step, exchange, proxy)
                for symbol in ("BTCUSDT", "ETHUSDT"):
                    exchange.close(symbol)
                await until(lambda: in_step(live, server))
                await until(lambda: not live.market.pending)
                assert live.market.counters()["events_lost"] == 0
            await listener
            closes = Counter((e.symbol, e.open_time_ms) for e in told if e.kind in CLOSES)
            assert set(closes) == exchange.closed
            assert set(closes.values()) == {1}
            revised = sum(event.kind is kc.EventKind.REVISED for event in told)
            assert revised <= exchange.revisions

    # Streams subscribed one by one are at different numbers when a cut comes between them.
    with mock.patch("klinecore.client.live.STREAMS_AT_ONCE", at_once):
        uvloop.run(story())


CUTS = {
    "steps": STEPS,
    "first": st.integers(0, 5),
    "limits": st.lists(st.integers(1, 20_000), max_size=3),
    "at_once": st.sampled_from([1, 1000]),
}


@settings(max_examples=12)
@given(**CUTS)
def test_rows_and_events_are_the_servers_whatever_is_cut(**story: Any) -> None:
    check_rows_and_events(**story)


@pytest.mark.slow
@settings(max_examples=100)
@given(**CUTS)
def test_rows_and_events_are_the_servers_in_many_stories(**story: Any) -> None:
    check_rows_and_events(**story)


def test_after_a_cut_the_log_brings_what_was_missed_and_nothing_is_read_anew() -> None:
    async def story() -> None:
        async with (
            running() as server,
            cutting_proxy(server.streams.port) as proxy,
            follow(proxy.port) as live,
        ):
            server.close_kline(0)
            await until(lambda: in_step(live, server))
            proxy.cut()
            server.close_kline(1)
            await until(lambda: in_step(live, server) and live.connections == 2)
            assert live.snapshots == 2  # one of each series, at the start

    uvloop.run(story())


def test_a_server_that_started_anew_is_read_anew() -> None:
    async def story() -> None:
        async with (
            running() as server,
            cutting_proxy(server.streams.port) as proxy,
            follow(proxy.port, "BTCUSDT") as live,
        ):
            server.close_kline(0)
            await until(lambda: in_step(live, server))
            async with running() as later:
                for index in range(CAPACITY + 20):  # so long that its window has moved past
                    later.close_kline(index)
                proxy.target = later.streams.port
                proxy.cut()
                await until(lambda: in_step(live, later))
                assert live.snapshots == 2
                assert live.market["BTCUSDT", "1m"].holes() == []

    uvloop.run(story())


@pytest.mark.parametrize("options", [{}, {"key": "wrong"}])
def test_a_wrong_key_is_told_and_not_tried_again(options: dict[str, str]) -> None:
    async def story() -> None:
        async with running(api_key="secret-key-1") as server:
            with pytest.raises(kc.RefusedError, match="key"):
                async with follow(server.streams.port, **options):
                    pass
            async with follow(server.streams.port, key="secret-key-1") as live:
                assert live.connected

    uvloop.run(story())


def test_an_unknown_symbol_is_told_with_what_the_server_says() -> None:
    async def story() -> None:
        async with running() as server:
            with pytest.raises(kc.RefusedError, match="nope"):
                async with follow(server.streams.port, "NOPEUSDT"):
                    pass

    uvloop.run(story())


def test_a_refusal_after_the_start_ends_the_iteration_and_a_mistake_of_ours_does() -> None:
    async def story() -> None:
        async with (
            running() as server,
            running(api_key="secret-key-1") as locked,
            cutting_proxy(server.streams.port) as proxy,
        ):
            async with follow(proxy.port) as live:
                proxy.target = locked.streams.port
                proxy.cut()
                with pytest.raises(kc.RefusedError, match="key"):
                    await asyncio.wait_for(anext(aiter(live)), PATIENCE_S)
                assert (live.connected, live.following) == (False, False)
                assert "key" in live.fault
            proxy.target = server.streams.port
            async with follow(proxy.port) as live:
                with mock.patch.object(live, "_join", side_effect=ZeroDivisionError):
                    proxy.cut()
                    with pytest.raises(ZeroDivisionError):
                        await asyncio.wait_for(anext(aiter(live)), PATIENCE_S)

    uvloop.run(story())


def test_nobody_there_is_an_error_once_the_time_is_over() -> None:
    async def story() -> None:
        async with running() as server:
            gone = server.streams.port
        with pytest.raises(ConnectionError, match="0.1 s have passed"):
            async with follow(gone, timeout_s=0.1):
                pass

    uvloop.run(story())


def test_many_series_may_take_longer_than_the_time_as_long_as_they_come() -> None:
    async def story() -> None:
        async with running() as server:
            live = kc.client.connect(
                f"ws://127.0.0.1:{server.streams.port}",
                symbols=["BTCUSDT", "ETHUSDT", "SOLUSDT"],
                intervals=["1m", "1h"],
                timeout_s=0.25,
            )
            async with live:
                assert live.snapshots == 6

    with (
        mock.patch("klinecore.client.live.ROWS_AT_ONCE", 500),  # one series at a time,
        mock.patch.multiple("klinecore.client.link", RATE=10.0, BURST=1),  # ten a second
    ):
        uvloop.run(story())


def test_importing_the_library_brings_no_sockets() -> None:
    program = "import sys, klinecore; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
