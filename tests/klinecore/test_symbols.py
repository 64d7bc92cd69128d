"""klinecore.market: symbols that come and go while the market runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.messages import dump, kline_frame
from reference.samples import TICKER
from reference.strategies import START_MS, plain_kline

import klinecore as kc
from klinecore import EventKind, FrameKind

MINUTE_MS = 60_000
ROW = plain_kline(START_MS)


def market_of(*symbols: str, room: int = 1, capacity: int = 5) -> kc.Market:
    return kc.Market(symbols or ["A", "B"], ["1m", "5m"], capacity, room=room)


def test_a_symbol_can_be_added_while_there_is_room() -> None:
    market = market_of()
    market.add_symbol(" dusdt ")
    assert market.symbols == ("A", "B", "DUSDT")
    assert len(market) == 6
    assert market.apply(kline_frame(ROW, "DUSDT")) == FrameKind.KLINE
    assert market["dusdt", "1m"].klines() == [ROW]
    with pytest.raises(ValueError, match="no room for E: 3 symbols is all"):
        market.add_symbol("E")


def test_room_costs_its_memory_at_once_and_no_more_later() -> None:
    without, spare = market_of(room=0, capacity=500), market_of(room=2, capacity=500)
    assert spare.size > without.size
    size = spare.size
    spare.add_symbol("C")
    assert spare.size == size


@pytest.mark.parametrize("room", [-1, 10_001])
def test_room_has_bounds(room: int) -> None:
    with pytest.raises(ValueError, match=r"room must be 0\.\.10000 symbols"):
        market_of(room=room)


@pytest.mark.parametrize(
    ("symbol", "says"),
    [("a", "A is held already"), ("", r"1\.\.64 bytes"), ("X" * 65, r"1\.\.64 bytes")],
)
def test_what_cannot_be_added_changes_nothing(symbol: str, says: str) -> None:
    market = market_of()
    with pytest.raises(ValueError, match=says):
        market.add_symbol(symbol)
    assert market.symbols == ("A", "B")
    market.add_symbol("C")


def test_a_removed_symbol_is_unknown() -> None:
    market = market_of()
    market.apply(kline_frame(ROW, "A"))
    market.remove_symbol("a")
    assert market.symbols == ("B",)
    assert ("A", "1m") not in market
    assert [series.symbol for series in market] == ["B", "B"]
    with pytest.raises(kc.UnknownSeriesError):
        market["A", "1m"]
    market.apply(kline_frame(ROW, "A"))
    assert market.counters()["unknown_symbol"] == 1
    with pytest.raises(ValueError, match="A is not held"):
        market.remove_symbol("A")


def test_the_series_of_a_removed_symbol_is_empty_for_ever() -> None:
    market = market_of(room=0)
    series = market["A", "1m"]
    market.push("A", "1m", ROW)
    market.push("A", "1m", plain_kline(START_MS + MINUTE_MS, closed=False))
    assert len(series.close) == 1
    market.remove_symbol("A")
    market.add_symbol("C")
    market.push("C", "1m", ROW)
    assert (series.symbol, series.interval, series.capacity) == ("A", "1m", 5)
    assert len(series) == series.closed_count == series.sequence == series.revision == 0
    assert series.last is series.forming is None
    assert series.last_close_ms == series.last_event_ms == 0
    assert series.klines(forming=True) == series.gaps() == series.holes() == series.absences() == []
    assert series.states.shape == series.close.shape == series.open_time_ms.shape == (0,)
    assert series.columns().shape == (9, 0)
    assert series.snapshot()["close"].shape == (0,)
    assert series.state_at(START_MS) == kc.RowState.NONE
    assert series.index_range(None, None) == series.index_range(0, START_MS) == (0, 0)
    assert set(series.counters.values()) == {0}
    assert not series.columns().flags.writeable
    assert repr(series) == "<Series A 1m: 0 of 5 klines>"


def test_a_view_taken_before_stays_safe_to_read() -> None:
    market = market_of(room=0)
    for place in range(5):
        market.push("A", "1m", plain_kline(START_MS + place * MINUTE_MS))
    view = market["A", "1m"].close
    market.remove_symbol("A")
    del market
    assert np.isfinite(view).all()


def test_a_new_symbol_sees_nothing_of_the_one_before_it() -> None:
    market = market_of("A", room=0)
    for place in (0, 3):
        market.push("A", "1m", plain_kline(START_MS + place * MINUTE_MS))
    market.confirm_absent("A", "1m", START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS)
    market.apply(dump({**TICKER, "s": "A"}))
    market.set_expected("A", False)
    market.remove_symbol("A")
    market.add_symbol("B")
    assert market["B", "1m"].klines(forming=True) == []
    assert market.ticker("B") is None
    assert market.tickers_json() == b"{}"
    assert market.missing_closes("1m", START_MS) == ["B"]
    for place in (0, 3):
        market.push("B", "1m", plain_kline(START_MS + place * MINUTE_MS))
    assert len(market["B", "1m"].holes()) == 1
    market.apply(dump({**TICKER, "s": "B"}))
    assert list(json.loads(market.tickers_json())) == ["B"]
    assert json.loads(market.klines_json("B", "1m", 5))["symbol"] == "B"


def test_a_symbol_that_comes_back_never_repeats_its_numbers() -> None:
    """Caches know a series by its name and these; an old body must not look like a new one."""
    market = market_of(room=3)
    seen: set[tuple[int, int]] = set()
    for life in range(4):
        series = market["A", "1m"]
        for place in range(life, 10):
            market.push("A", "1m", plain_kline(START_MS + place * MINUTE_MS))
            version = (series.revision, series.sequence)
            assert all(version[0] > old[0] and version[1] > old[1] for old in seen)
            seen.add(version)
        market.remove_symbol("A")
        market.add_symbol("A")


def test_events_of_a_removed_symbol_vanish_and_others_stay_in_order() -> None:
    market = market_of()
    for symbol in ("A", "B", "A"):
        market.push(symbol, "1m", ROW)
        market.push(symbol, "5m", plain_kline(START_MS, interval="5m", closed=False))
        market.apply(dump({**TICKER, "s": symbol}))
    market.remove_symbol("A")
    told = [(event.kind, event.symbol) for event in market.drain()]
    assert told == [(EventKind.CLOSED, "B"), (EventKind.FORMING, "B"), (EventKind.TICKER, "B")]


def test_a_symbol_in_the_place_of_another_tells_of_itself() -> None:
    market = market_of("A", room=0)
    live = plain_kline(START_MS, closed=False)
    market.push("A", "1m", live)
    market.apply(dump({**TICKER, "s": "A"}))
    market.remove_symbol("A")
    market.add_symbol("B")
    market.push("B", "1m", live)
    market.apply(dump({**TICKER, "s": "B"}))
    told = [(event.kind, event.symbol) for event in market.drain()]
    assert told == [(EventKind.FORMING, "B"), (EventKind.TICKER, "B")]


def test_the_last_symbol_can_go_too() -> None:
    market = market_of("A")
    market.remove_symbol("A")
    assert market.symbols == ()
    assert market.event_times().shape == (0, 2)
    assert market.tickers_json() == b"{}"
    market.add_symbol("B")
    assert market.symbols == ("B",)


def test_times_are_in_the_order_of_the_symbols() -> None:
    market = market_of(room=0)
    market.remove_symbol("A")
    market.add_symbol("C")  # where A was, before B
    market.apply(kline_frame(ROW, "C", event_time_ms=START_MS + 7))
    market.apply(dump({**TICKER, "s": "C", "E": START_MS + 9}))
    five = plain_kline(START_MS, interval="5m")
    market.apply(kline_frame(five, "B", "5m", event_time_ms=START_MS + 8))
    assert market.symbols == ("B", "C")
    assert market.event_times().tolist() == [[0, START_MS + 8], [START_MS + 7, 0]]
    assert market.last_open_times().tolist() == [[0, START_MS], [START_MS, 0]]
    assert market.ticker_times().tolist() == [0, START_MS + 9]
    for times in (market.event_times(), market.last_open_times(), market.ticker_times()):
        assert times.dtype == np.int64
        assert times.flags.owndata


def test_those_who_stay_are_found_when_every_other_symbol_of_a_full_table_leaves() -> None:
    names = [f"{number}USDT" for number in range(512)]
    market = kc.Market(names, ["1m"], 1)
    for name in names[::2]:
        market.remove_symbol(name)
    for name in names:
        market.apply(kline_frame(ROW, name))
    assert market.counters()["unknown_symbol"] == 256
    assert [series.symbol for series in market if series.last == ROW] == names[1::2]


@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.sampled_from([f"{n}X" for n in range(12)])), max_size=60
    )
)
def test_a_table_of_symbols_finds_those_it_holds_and_no_other(
    steps: list[tuple[bool, str]],
) -> None:
    """Seven places in sixteen buckets: chains form, and break when a symbol leaves."""
    market = kc.Market(["0X"], ["1m"], 1, room=6)
    held = {"0X": 0}
    for count, (add, symbol) in enumerate(steps, start=1):
        if add and symbol not in held and len(held) < 7:
            market.add_symbol(symbol)
            held[symbol] = 0
        elif not add and symbol in held:
            market.remove_symbol(symbol)
            del held[symbol]
        for name in held:
            market.apply(kline_frame(ROW._replace(trades=count), name))
            held[name] = count
        others = market.counters()["unknown_symbol"]
        for name in {f"{n}X" for n in range(12)} - held.keys():
            market.apply(kline_frame(ROW, name))
        assert market.counters()["unknown_symbol"] - others == 12 - len(held)
    assert market.symbols == tuple(held)
    for name, trades in held.items():
        last = market[name, "1m"].last
        assert (last.trades if last else 0) == trades
