"""Ticker streams beside ``@ticker``: what the exchange says at a moment is what we say."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import uvloop
from stream_port import Running, ask, running

import klinecore as kc
from server.clock import ScaledClock
from server.exchange.book import Book
from server.exchange.faults import Faults
from server.exchange.generated import GeneratedMarket
from server.exchange.publisher import Publisher, Speeds
from server.exchange.sockets import Streams
from server.signals.channels import ARRAYS, Channels
from server.signals.hub import Hub, Subscriber

NOW_MS = 1_772_409_600_000
SYMBOLS = {"spot": ("BTCUSDT", "QTUMUSDT", "币安人生USDT"), "um": ("BTCUSDT", "QTUMUSDT")}
#: Every ticker and every array once a second.
SPEEDS = Speeds(kline=0, ticker=1000, array=1000, book=0)


class Listener:
    """As a connection of the exchange: remembers what it is sent."""

    combined = True

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def send(self, message: bytes) -> None:
        wrapped = json.loads(message)
        self.heard.append((wrapped["stream"], wrapped["data"]))


class Pair:
    """The simulated exchange, and channels over a market that hears its ``@ticker`` streams."""

    def __init__(self, market: str) -> None:
        self.symbols = SYMBOLS[market]
        clock = ScaledClock(NOW_MS)
        self.streams = Streams(clock, Faults(), market=market)
        book = Book(GeneratedMarket(11, self.symbols, market=market))
        self.publisher = Publisher(book, self.streams, self.streams.faults)
        self.publisher.published_ms = self.now_ms = NOW_MS
        self.listener = Listener()
        lows = [symbol.lower() for symbol in self.symbols]
        self.minis = [f"{low}@miniTicker" for low in lows]
        for name in (*(f"{low}@ticker" for low in lows), *self.minis, *ARRAYS):
            self.streams.subscribe(name, self.listener)  # type: ignore[arg-type]
        self.hub = Hub()
        self.market = kc.Market(list(self.symbols), ["1m"], capacity=5)
        self.channels = Channels(market, self.market, self.hub, clock)

    def subscribe(self, *streams: str) -> Subscriber:
        return self.hub.subscribe(*map(self.channels.topic, streams))

    def second(self, *, arrays: bool = True) -> dict[str, Any]:
        """Let a second pass; what the exchange said, by stream, once our market has heard it."""
        self.now_ms += 1000
        self.listener.heard.clear()
        self.publisher.publish(self.now_ms, SPEEDS)
        said = dict(self.listener.heard)
        for name, frame in said.items():
            if name.endswith("@ticker"):
                self.market.apply(json.dumps(frame).encode())
        self.channels.publish(self.market.drain())
        if arrays:
            self.channels.publish_arrays()
        return said


def taken(subscriber: Subscriber) -> list[Any]:
    messages = []
    while (payload := subscriber.take()) is not None:
        messages.append(json.loads(payload))
    return messages


@pytest.mark.parametrize("market", ["spot", "um"])
def test_arrays_are_the_exchanges_second_by_second(market: str) -> None:
    pair = Pair(market)
    mini, full = pair.subscribe("!miniTicker@arr"), pair.subscribe("!ticker@arr")
    sizes = set()
    for _ in range(120):
        said = pair.second()
        # On spot the exchange has no array in full any more: its single streams stand for it.
        singles = [frame for name, frame in said.items() if name.endswith("@ticker")]
        for subscriber, theirs in (
            (mini, said.get("!miniTicker@arr")),
            (full, said.get("!ticker@arr") if market == "um" else singles or None),
        ):
            assert taken(subscriber) == ([] if theirs is None else [theirs])
        sizes.add(len(singles))
    assert len(sizes) > 1  # there were symbols that had not changed


@pytest.mark.parametrize("market", ["spot", "um"])
def test_mini_tickers_are_the_exchanges_message_by_message(market: str) -> None:
    pair = Pair(market)
    subscribers = {name: pair.subscribe(name) for name in pair.minis}
    for _ in range(60):
        said = pair.second()
        for name, subscriber in subscribers.items():
            assert taken(subscriber) == ([said[name]] if name in said else [])


def test_an_array_is_built_once_for_all_and_only_if_somebody_listens() -> None:
    pair = Pair("spot")
    pair.second()
    assert pair.hub.published == 0
    listeners = [pair.subscribe("!miniTicker@arr") for _ in range(3)]
    pair.second()
    first, *others = [listener.take() for listener in listeners]
    assert first is not None
    assert all(other is first for other in others)
    assert pair.hub.published == 1


def test_what_changed_before_anybody_listened_is_no_news() -> None:
    pair = Pair("spot")
    pair.second()
    listener = pair.subscribe("!miniTicker@arr")
    pair.channels.publish_arrays()
    assert taken(listener) == []


def test_no_array_takes_the_place_of_an_older_one() -> None:
    pair = Pair("spot")
    listener = pair.subscribe("!miniTicker@arr")
    said = [pair.second().get("!miniTicker@arr") for _ in range(30)]
    assert taken(listener) == [one for one in said if one is not None]


def test_a_symbol_that_was_dropped_meanwhile_is_left_out() -> None:
    pair = Pair("spot")
    listener = pair.subscribe("!miniTicker@arr")
    said = pair.second(arrays=False)["!miniTicker@arr"]
    assert "BTCUSDT" in {one["s"] for one in said}
    pair.market.remove_symbol("BTCUSDT")
    pair.channels.publish_arrays()
    (heard,) = taken(listener)
    assert heard == [one for one in said if one["s"] != "BTCUSDT"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("!miniTicker@arr", "!miniTicker@arr"),
        ("!miniTicker@arr@1000ms", "!miniTicker@arr"),
        ("!miniTicker@arr@3000ms", "!miniTicker@arr"),
        ("!ticker@arr", "!ticker@arr"),
        ("BTCUSDT@miniTicker", "btcusdt@miniTicker"),
        ("btcusdt@miniticker", None),
        ("!miniticker@arr", None),
        ("!ticker_1h@arr", None),
        ("!bookTicker", None),
        ("!miniTicker@arr@100ms", None),
    ],
)
def test_arrays_are_found_by_the_exchanges_names(asked: str, found: str | None) -> None:
    channels = Pair("spot").channels
    assert channels.find(asked) == (None if found is None else channels.topic(found))


def frame(symbol: str, last: str) -> bytes:
    return json.dumps(
        {
            "e": "24hrTicker", "E": 1_700_000_000_000, "s": symbol, "p": "1.0", "P": "1.00",
            "w": "1.0", "x": "1", "c": last, "Q": "1", "b": "1", "B": "1", "a": "1", "A": "1",
            "o": "1", "h": "3", "l": "1", "v": "10.0", "q": "5", "O": 1, "C": 2, "F": 1, "L": 3,
            "n": 3,
        }
    ).encode()  # fmt: skip


def tell(server: Running, *symbols: str) -> None:
    for symbol in symbols:
        server.market.apply(frame(symbol, "2.50"))
    server.channels.publish(server.market.drain())
    server.channels.publish_arrays()


def test_an_array_comes_wrapped_and_bare_under_the_name_it_was_asked_by() -> None:
    async def story() -> None:
        async with (
            running() as server,
            server.connect("/stream?streams=!miniTicker@arr") as wrapped,
            server.connect("/ws/!miniTicker@arr") as bare,
        ):
            assert (await ask(bare, "LIST_SUBSCRIPTIONS"))["result"] == ["!miniTicker@arr"]
            tell(server, "BTCUSDT", "SOLUSDT")
            message = json.loads(await asyncio.wait_for(wrapped.recv(), 30))
            assert message["stream"] == "!miniTicker@arr"
            assert [one["s"] for one in message["data"]] == ["BTCUSDT", "SOLUSDT"]
            assert message["data"][0] == {
                "e": "24hrMiniTicker", "E": 1_700_000_000_000, "s": "BTCUSDT", "c": "2.50",
                "o": "1", "h": "3", "l": "1", "v": "10.0", "q": "5",
            }  # fmt: skip
            assert json.loads(await asyncio.wait_for(bare.recv(), 30)) == message["data"]

    uvloop.run(story())
