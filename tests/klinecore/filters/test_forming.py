"""Filters at forming klines: previews, and firings that are provisional until the close."""

from __future__ import annotations

import pytest
from filter_desk import ABOVE, HIGH, LOW, MINUTE, START, Desk, kline

from klinecore.filters import Firing, compile
from klinecore.interval import open_time_ms


def form(desk: Desk, minute: int, price: float, interval: str = "1m") -> None:
    time = open_time_ms(interval, START + minute * MINUTE)
    trades = len(desk.market["A", interval]) + int(price)
    row = kline(interval, time, price, trades=trades, closed=False)
    desk.market.push("A", interval, row)


def kinds(firings: list[Firing]) -> list[tuple[int, bool, bool]]:
    """Of each firing: minute, provisional, retracted."""
    return [((f.open_time_ms - START) // MINUTE, f.provisional, f.retracted) for f in firings]


def test_a_preview_is_what_the_close_would_say_and_changes_nothing() -> None:
    desk = Desk()
    number = desk.engine.add(compile("close > ema(2) and macd(2, 3, 2).hist > 0"), "1m")
    assert desk.engine.preview(number, "A") is None
    desk.run(LOW, HIGH, LOW, HIGH, LOW)
    form(desk, 5, HIGH)
    before = desk.engine.save()
    assert desk.engine.preview(number, "A") is True
    assert desk.engine.value(number, "A") is False
    assert desk.engine.save() == before
    form(desk, 5, HIGH + 1)
    desk.close(5, LOW, trades=500)
    desk.pump()
    assert desk.engine.preview(number, "A") is None


def test_a_preview_behind_missing_rows_is_unknown() -> None:
    desk = Desk()
    number = desk.engine.add(compile(ABOVE), "1m")
    desk.run(LOW, LOW)
    form(desk, 4, HIGH)
    assert desk.engine.preview(number, "A") is None
    desk.market.confirm_absent("A", "1m", START + 2 * MINUTE, START + 3 * MINUTE)
    assert desk.engine.preview(number, "A") is True


def test_a_preview_reads_what_has_closed_of_other_intervals() -> None:
    desk = Desk("1m", "5m")
    number = desk.engine.add(compile('(close @ "1m") > 100'), "5m")
    for minute in range(5):
        desk.close(minute, LOW)
    desk.close(0, LOW, interval="5m")
    form(desk, 5, LOW, interval="5m")
    desk.pump()
    assert desk.engine.preview(number, "A") is False
    desk.close(5, HIGH)
    desk.pump()
    assert desk.engine.preview(number, "A") is True


def test_a_firing_of_a_forming_kline_is_provisional_until_the_close() -> None:
    desk = Desk()
    desk.engine.add(compile(ABOVE), "1m", when="forming")
    desk.run(LOW, LOW)
    form(desk, 2, HIGH)
    assert kinds(desk.pump()) == [(2, True, False)]
    form(desk, 2, HIGH + 1)
    assert desk.pump() == []
    desk.close(2, HIGH, trades=500)
    assert kinds(desk.pump()) == [(2, False, False)]
    form(desk, 3, HIGH)
    assert desk.pump() == []  # it was true at the last close


def test_a_provisional_firing_that_does_not_hold_is_taken_back_at_the_close() -> None:
    desk = Desk()
    desk.engine.add(compile(ABOVE), "1m", when="forming")
    desk.run(LOW, LOW)
    form(desk, 2, HIGH)
    assert kinds(desk.pump()) == [(2, True, False)]
    desk.close(2, LOW, trades=500)
    assert kinds(desk.pump()) == [(2, True, True)]


def test_filters_of_closes_only_are_not_told_at_forming_klines() -> None:
    desk = Desk()
    desk.engine.add(compile(ABOVE), "1m")
    desk.run(LOW, LOW)
    form(desk, 2, HIGH)
    assert desk.pump() == []


def test_comparing_symbols_while_klines_form_is_refused() -> None:
    desk = Desk(symbols="AB")
    with pytest.raises(ValueError, match="symbols are compared at their closes"):
        desk.engine.add(compile("top(close, 1)"), "1m", when="forming")
    number = desk.engine.add(compile("top(close, 1)"), "1m")
    assert desk.engine.preview(number, "A") is None
