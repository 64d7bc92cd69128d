"""Channels: changes of a real market become frames of its streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

import klinecore as kc
from server.clock import ScaledClock
from server.signals.channels import BARRIER, TICKERS, Channels
from server.signals.hub import Hub, Subscriber

MINUTE = 60_000
UNICODE = "币安人生USDT"


def row(minute: int, close: str = "1.50", *, closed: bool = True, trades: int = 3) -> kc.Kline:
    start = minute * MINUTE
    return kc.Kline(
        start, "1.00", "2.00", "0.50", close, "10.000", start + MINUTE - 1,
        "15.0", trades, "5.000", "7.5", closed,
    )  # fmt: skip


def ticker_frame(symbol: str, last: str, event_ms: int) -> bytes:
    return json.dumps(
        {
            "e": "24hrTicker", "E": event_ms, "s": symbol, "p": "1.0", "P": "1.00", "w": "1.0",
            "x": "1", "c": last, "Q": "1", "b": "1", "B": "1", "a": "1", "A": "1", "o": "1",
            "h": "3", "l": "1", "v": "10.0", "q": "5", "O": 1, "C": 2, "F": 1, "L": 3, "n": 3,
        },
        ensure_ascii=False,
    ).encode()  # fmt: skip


class Setting:
    def __init__(self, capacity: int = 10) -> None:
        self.market = kc.Market(["BTCUSDT", UNICODE], ["1m", "1h"], capacity=capacity)
        self.hub = Hub()
        self.channels = Channels("spot", self.market, self.hub, ScaledClock(1_700_000_000_000))

    def subscribe(self, *streams: str) -> Subscriber:
        return self.hub.subscribe(*(self.channels.topic(stream) for stream in streams))

    def received(self, subscriber: Subscriber) -> list[dict[str, Any]]:
        self.channels.publish(self.market.drain())
        messages = []
        while (payload := subscriber.take()) is not None:
            messages.append(json.loads(payload))
        return messages


def test_a_closed_kline_becomes_binances_frame_with_every_number_as_text() -> None:
    setting = Setting()
    subscriber = setting.subscribe("btcusdt@kline_1m")
    setting.market.push("BTCUSDT", "1m", row(0))
    (frame,) = setting.received(subscriber)
    assert (frame["e"], frame["s"]) == ("kline", "BTCUSDT")
    assert frame["E"] >= 1_700_000_000_000
    assert frame["k"] == {
        "t": 0, "T": 59_999, "s": "BTCUSDT", "i": "1m", "f": -1, "L": -1, "o": "1.00",
        "c": "1.50", "h": "2.00", "l": "0.50", "v": "10.000", "n": 3, "x": True, "q": "15.0",
        "V": "5.000", "Q": "7.5", "B": "0",
    }  # fmt: skip
    assert "revised" not in frame


def test_a_frame_parses_back_into_the_same_row() -> None:
    setting = Setting()
    subscriber = setting.subscribe("btcusdt@kline_1m")
    setting.market.push("BTCUSDT", "1m", row(0))
    setting.channels.publish(setting.market.drain())
    payload = subscriber.take()
    assert payload is not None
    assert kc.parse_frame(payload).kline == row(0)


def test_closes_come_before_the_forming_kline_that_follows_them() -> None:
    setting = Setting()
    subscriber = setting.subscribe("btcusdt@kline_1m")
    setting.market.push("BTCUSDT", "1m", row(0, closed=False))
    setting.market.push("BTCUSDT", "1m", row(0))
    setting.market.push("BTCUSDT", "1m", row(1))
    setting.market.push("BTCUSDT", "1m", row(2, closed=False))
    frames = setting.received(subscriber)
    assert [(frame["k"]["t"] // MINUTE, frame["k"]["x"]) for frame in frames] == [
        (0, True),
        (1, True),
        (2, False),
    ]


def test_a_correction_is_sent_and_marked() -> None:
    setting = Setting()
    subscriber = setting.subscribe("btcusdt@kline_1m")
    setting.market.push("BTCUSDT", "1m", row(0))
    setting.market.push("BTCUSDT", "1m", row(1))
    setting.received(subscriber)
    setting.market.push("BTCUSDT", "1m", row(0, close="1.75", trades=4))
    (frame,) = setting.received(subscriber)
    assert (frame["revised"], frame["k"]["t"], frame["k"]["c"]) == (True, 0, "1.75")


def test_a_filled_hole_is_sent_as_a_close_of_its_own() -> None:
    setting = Setting()
    subscriber = setting.subscribe("btcusdt@kline_1m")
    setting.market.push("BTCUSDT", "1m", row(0))
    setting.market.push("BTCUSDT", "1m", row(2))
    setting.received(subscriber)
    setting.market.push("BTCUSDT", "1m", row(1))
    (frame,) = setting.received(subscriber)
    assert (frame["k"]["t"], frame["k"]["x"], "revised" in frame) == (MINUTE, True, False)


def test_a_close_that_left_its_window_unpublished_is_counted() -> None:
    setting = Setting(capacity=2)
    subscriber = setting.subscribe("btcusdt@kline_1m")
    for minute in range(5):
        setting.market.push("BTCUSDT", "1m", row(minute))
    frames = setting.received(subscriber)
    assert [frame["k"]["t"] // MINUTE for frame in frames] == [3, 4]
    assert setting.channels.closes_lost == 3


def test_a_ticker_comes_in_the_short_form_and_as_binances_frame() -> None:
    setting = Setting()
    short, full = setting.subscribe(TICKERS), setting.subscribe("btcusdt@ticker")
    setting.market.apply(ticker_frame("BTCUSDT", "2.00", 1_700_000_000_000))
    (message,) = setting.received(short)
    assert message == {
        "type": "ticker",
        "data": {
            "s": "BTCUSDT", "c": "2.00", "v": "10.0", "q": "5", "P": "1.00", "h": "3", "l": "1",
            "t": 1_700_000_000_000,
        },
    }  # fmt: skip
    (frame,) = setting.received(full)
    assert (frame["e"], frame["s"], frame["c"], frame["E"]) == (
        "24hrTicker",
        "BTCUSDT",
        "2.00",
        1_700_000_000_000,
    )


def test_tickers_of_a_client_that_takes_nothing_conflate_to_one_per_symbol() -> None:
    setting = Setting()
    subscriber = setting.subscribe(TICKERS)
    for i in range(50):
        for symbol in ("BTCUSDT", UNICODE):
            setting.market.apply(ticker_frame(symbol, f"{i}.00", 1_700_000_000_000 + i))
        setting.channels.publish(setting.market.drain())
    messages = setting.received(subscriber)
    assert [(m["data"]["s"], m["data"]["c"]) for m in messages] == [
        ("BTCUSDT", "49.00"),
        (UNICODE, "49.00"),
    ]


def test_nothing_is_built_when_nobody_listens() -> None:
    setting = Setting()
    setting.market.push("BTCUSDT", "1m", row(0))
    setting.channels.publish(setting.market.drain())
    assert (setting.hub.published, setting.market.pending) == (0, False)


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        ("btcusdt@kline_1m", "btcusdt@kline_1m"),
        ("BTCUSDT@kline_1m", "btcusdt@kline_1m"),
        (f"{UNICODE}@ticker", f"{UNICODE.lower()}@ticker"),
        ("tickers", "tickers"),
        ("btcusdt@kline_1M", None),
        ("btcusdt@KLINE_1m", None),
        ("btcusdt@kline_5m", None),
        ("ethusdt@ticker", None),
        ("btcusdt", None),
        ("", None),
        ("@", None),
    ],
)
def test_a_stream_is_found_in_any_case_of_its_symbol_only(stream: str, found: str | None) -> None:
    channels = Setting().channels
    assert channels.find(stream) == (None if found is None else channels.topic(found))


def test_a_barrier_is_told_after_the_closes_it_counts_and_again_when_a_late_one_comes() -> None:
    setting = Setting()
    subscriber = setting.subscribe("btcusdt@kline_1m", f"{UNICODE.lower()}@kline_1m", BARRIER)
    market = setting.market
    market.begin_barrier("1m", 0)
    market.push("BTCUSDT", "1m", row(0))
    market.end_barrier("1m")
    close, barrier = setting.received(subscriber)
    assert close["k"]["t"] == 0
    assert barrier == {
        "type": "barrier",
        "data": {
            "interval": "1m", "openTime": 0, "closeTime": 59_999, "expected": 2, "closed": 1,
            "late": 0, "complete": False, "missing": [UNICODE], "revised": False,
        },
    }  # fmt: skip
    market.push(UNICODE, "1m", row(0))
    _, barrier = setting.received(subscriber)
    data = barrier["data"]
    assert (data["late"], data["complete"], data["missing"]) == (1, True, [])
    assert data["revised"] is True


def test_a_barrier_of_every_interval_is_found_by_its_name_alone() -> None:
    setting = Setting()
    assert setting.channels.find("!barrier") == "spot:!barrier"
    subscriber = setting.subscribe(BARRIER)
    for interval, open_ms in (("1m", 59 * MINUTE), ("1h", 0)):
        setting.market.begin_barrier(interval, open_ms)
        setting.market.end_barrier(interval)
    assert [m["data"]["interval"] for m in setting.received(subscriber)] == ["1m", "1h"]


def test_a_revision_of_a_barrier_that_is_history_is_not_told() -> None:
    setting = Setting()
    subscriber = setting.subscribe(BARRIER)
    setting.market.begin_barrier("1m", 0)
    setting.market.end_barrier("1m")
    setting.received(subscriber)
    setting.market.push("BTCUSDT", "1m", row(0))
    setting.market.begin_barrier("1m", MINUTE)
    assert setting.received(subscriber) == []


def test_an_absence_is_no_close() -> None:
    setting = Setting()
    subscriber = setting.subscribe("btcusdt@kline_1m")
    setting.market.push("BTCUSDT", "1m", row(0))
    setting.market.push("BTCUSDT", "1m", row(3))
    setting.received(subscriber)
    assert setting.market.confirm_absent("BTCUSDT", "1m", MINUTE, 2 * MINUTE)
    assert setting.received(subscriber) == []
    assert setting.channels.closes_lost == 0
