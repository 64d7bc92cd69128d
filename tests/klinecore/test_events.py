"""klinecore.events, through Market.drain: what is told, how often, in which order."""

from __future__ import annotations

from reference.messages import dump, kline_frame, rest_klines
from reference.samples import BOOK_TICKER, MINI_TICKER, TICKER
from reference.strategies import START_MS, plain_kline

import klinecore as kc
from klinecore import Event, EventKind

MINUTE_MS = 60_000


def row_at(place: int, trades: int = 10, *, closed: bool = True) -> kc.Kline:
    return plain_kline(START_MS + place * MINUTE_MS, trades, closed=closed)


def event(kind: EventKind, place: int, symbol: str = "BTCUSDT", interval: str = "1m") -> Event:
    return Event(kind, symbol, interval, START_MS + place * MINUTE_MS)


def market_of(capacity: int = 10) -> kc.Market:
    return kc.Market(["BTCUSDT", "ETHUSDT"], ["1m"], capacity)


def test_a_new_market_has_nothing_to_tell() -> None:
    market = market_of()
    assert not market.pending
    assert market.drain() == []


def test_each_way_of_storing_a_row_has_its_event() -> None:
    market = market_of()
    for row in (row_at(0), row_at(3), row_at(1), row_at(1, 11), row_at(4, closed=False)):
        market.apply(kline_frame(row))
    assert market.pending
    assert market.drain() == [
        event(EventKind.CLOSED, 0),
        event(EventKind.CLOSED, 3),
        event(EventKind.FILLED, 1),
        event(EventKind.REVISED, 1),
        event(EventKind.FORMING, 4),
    ]
    assert not market.pending
    assert market.drain() == []


def test_what_changed_nothing_is_not_told() -> None:
    market = market_of(2)
    for place in range(1, 4):
        market.push("BTCUSDT", "1m", row_at(place))
    market.drain()
    silent = [
        row_at(3),  # duplicate
        row_at(3, 9),  # fewer trades
        row_at(3, closed=False),  # an update of a closed kline
        row_at(1),  # before the window
        row_at(4)._replace(close_time_ms=5),  # off the calendar
        row_at(4)._replace(open="0.123456789012345678901"),  # not to be kept exactly
    ]
    for row in silent:
        market.apply(kline_frame(row))
    market.apply(b"{")
    assert not market.pending
    assert market.drain() == []


def test_a_kline_closes_once_however_often_its_close_is_sent() -> None:
    market = market_of()
    for _ in range(5):
        market.apply(kline_frame(row_at(0, closed=False)))
        market.apply(kline_frame(row_at(0)))
        market.apply_klines("BTCUSDT", "1m", rest_klines([row_at(0)]), closed_before_ms=2**60)
    assert market.drain() == [event(EventKind.CLOSED, 0)]


def test_a_close_that_comes_late_is_told_as_a_close() -> None:
    market = market_of()
    market.push("BTCUSDT", "1m", row_at(1, closed=False))
    market.push("BTCUSDT", "1m", row_at(0))
    assert set(market.drain()) == {event(EventKind.FORMING, 1), event(EventKind.CLOSED, 0)}


def test_updates_of_a_forming_kline_are_one_event_until_drained() -> None:
    market = market_of()
    for trades in range(100):
        market.push("BTCUSDT", "1m", row_at(0, trades, closed=False))
    assert market.drain() == [event(EventKind.FORMING, 0)]
    market.push("BTCUSDT", "1m", row_at(0, 100, closed=False))
    assert market.drain() == [event(EventKind.FORMING, 0)]


def test_a_conflated_update_tells_of_the_newest_forming_kline() -> None:
    market = market_of()
    market.push("BTCUSDT", "1m", row_at(0, closed=False))
    market.push("BTCUSDT", "1m", row_at(1, closed=False))
    assert market.drain() == [event(EventKind.FORMING, 1)]


def test_an_update_that_closed_meanwhile_is_told_as_the_close_only() -> None:
    market = market_of()
    market.push("BTCUSDT", "1m", row_at(0, closed=False))
    market.push("BTCUSDT", "1m", row_at(0))
    assert market.drain() == [event(EventKind.CLOSED, 0)]


def test_series_do_not_conflate_with_each_other() -> None:
    market = market_of()
    for symbol in ("ETHUSDT", "BTCUSDT", "ETHUSDT"):
        market.apply(kline_frame(row_at(0, closed=False), symbol))
    assert market.drain() == [
        event(EventKind.FORMING, 0, "ETHUSDT"),
        event(EventKind.FORMING, 0, "BTCUSDT"),
    ]


def test_tickers_of_a_symbol_are_one_event_until_drained() -> None:
    market = market_of()
    for message in (TICKER, MINI_TICKER, BOOK_TICKER, {**TICKER, "s": "ETHUSDT"}):
        market.apply(dump(message))
    told = [Event(EventKind.TICKER, symbol, "", 0) for symbol in ("BTCUSDT", "ETHUSDT")]
    assert market.drain() == told
    assert market.drain() == []


def test_history_is_merged_in_silence() -> None:
    market = market_of()
    rows = [row_at(place) for place in range(3)]
    body = rest_klines(rows)
    end_ms = rows[-1].close_time_ms
    counts = market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=end_ms, notify=False)
    assert counts.changed == 3
    assert not market.pending
    assert market.drain() == []


def test_of_an_answer_only_what_closed_from_some_time_on_is_told() -> None:
    market = market_of()
    rows = [row_at(place) for place in range(4)]
    body = rest_klines(rows)
    counts = market.apply_klines(
        "BTCUSDT",
        "1m",
        body,
        closed_before_ms=rows[3].close_time_ms,
        told_from_ms=rows[1].close_time_ms,
    )
    assert counts.changed == 4
    assert market["BTCUSDT", "1m"].forming is not None
    assert market.drain() == [event(EventKind.CLOSED, 1), event(EventKind.CLOSED, 2)]


def test_a_close_merged_in_silence_takes_the_pending_update_with_it() -> None:
    market = market_of()
    market.push("BTCUSDT", "1m", row_at(0, closed=False))
    body = rest_klines([row_at(0)])
    market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=2**60, notify=False)
    assert market.drain() == []
    assert not market.pending


def test_closes_beyond_the_limit_are_counted_as_lost_and_updates_still_told() -> None:
    market = market_of(10_000)
    for place in range(9000):
        market.push("BTCUSDT", "1m", row_at(place))
    market.push("BTCUSDT", "1m", row_at(9000, closed=False))
    market.apply(dump(TICKER))
    events = market.drain()
    closes = [told for told in events if told.kind == EventKind.CLOSED]
    lost = market.counters()["events_lost"]
    assert lost > 0
    assert len(closes) + lost == 9000
    assert closes == [event(EventKind.CLOSED, place) for place in range(len(closes))]
    assert {told.kind for told in events[len(closes) :]} == {EventKind.FORMING, EventKind.TICKER}
    market.push("BTCUSDT", "1m", row_at(9000))
    assert market.drain() == [event(EventKind.CLOSED, 9000)]


def test_a_barrier_finds_room_in_a_queue_that_closes_have_filled() -> None:
    market = market_of(10_000)
    for place in range(9000):
        market.push("BTCUSDT", "1m", row_at(place))
        market.push("ETHUSDT", "1m", row_at(place))
    lost = market.counters()["events_lost"]
    for place in range(9000, 9064):
        market.begin_barrier("1m", START_MS + place * MINUTE_MS)
    market.end_barrier("1m")
    market.push("BTCUSDT", "1m", row_at(9000, closed=False))
    market.apply(dump(TICKER))
    assert market.counters()["events_lost"] == lost
    told = market.drain()[-66:]
    assert [told.kind for told in told] == [
        *[EventKind.BARRIER] * 64,
        EventKind.FORMING,
        EventKind.TICKER,
    ]


def test_an_absence_is_told_in_its_turn() -> None:
    market = market_of()
    market.push("BTCUSDT", "1m", row_at(0))
    market.push("BTCUSDT", "1m", row_at(3))
    market.confirm_absent("BTCUSDT", "1m", START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS)
    market.push("ETHUSDT", "1m", row_at(0))
    assert market.drain() == [
        event(EventKind.CLOSED, 0),
        event(EventKind.CLOSED, 3),
        event(EventKind.ABSENT, 1),
        event(EventKind.CLOSED, 0, "ETHUSDT"),
    ]


def test_a_burst_of_all_closes_of_an_hour_fits() -> None:
    """500 symbols, four intervals, drained only every other boundary: nothing is lost."""
    symbols = [f"S{number}" for number in range(500)]
    intervals = ["1m", "5m", "15m", "1h"]
    market = kc.Market(symbols, intervals, 2)
    for place in range(2):
        for interval in intervals:
            row = plain_kline(START_MS + place * kc.INTERVAL_MS[interval], interval=interval)
            for symbol in symbols:
                market.push(symbol, interval, row)
    assert len(market.drain()) == 4000
    assert market.counters()["events_lost"] == 0


def test_what_is_told_of_a_removed_symbol_takes_no_room_until_the_next_look() -> None:
    """Symbols may come and go for long before somebody looks."""
    market = kc.Market(["BTCUSDT"], ["1m"], 10, room=1)
    for _ in range(9_000):  # more than a queue of one series and room for another holds
        market.add_symbol("ETHUSDT")
        market.push("ETHUSDT", "1m", row_at(0))
        market.push("ETHUSDT", "1m", row_at(1, closed=False))
        market.remove_symbol("ETHUSDT")
    market.push("BTCUSDT", "1m", row_at(0))
    market.push("BTCUSDT", "1m", row_at(1, closed=False))
    assert market.counters()["events_lost"] == 0
    assert market.drain() == [event(EventKind.CLOSED, 0), event(EventKind.FORMING, 1)]
