"""What a filter says it needs is what it takes to be known, no kline less."""

from __future__ import annotations

import numpy as np
import pytest
from reference.strategies import START_MS

import klinecore as kc
from klinecore.filters import Reason, evaluate, parse_expression
from klinecore.filters.need import looks_back
from klinecore.filters.vocabulary import example
from klinecore.indicators import CATALOG
from klinecore.interval import INTERVAL_MS, close_time_ms

CAPACITY = 600
END_MS = START_MS - START_MS % INTERVAL_MS["1w"] + 2 * INTERVAL_MS["1w"]


def push_last(market: kc.Market, interval: str, count: int) -> None:
    """So many klines, of which the newest one ends at END_MS."""
    random = np.random.default_rng(7)
    prices = 100 * np.exp(np.cumsum(random.normal(0, 0.02, CAPACITY)))[-count:]
    step = INTERVAL_MS[interval]
    for i, price in enumerate(prices):
        opened = END_MS - (count - i) * step
        row = kc.Kline(
            opened, str(price), str(price * 1.03), str(price * 0.97), str(price * 1.01),
            str(100 + i % 7), close_time_ms(interval, opened), "1", 1, "1", "1",
        )  # fmt: skip
        market.push("BTC", interval, row)


def reason(text: str, interval: str, rows: dict[str, int]) -> Reason:
    """Why a value is unknown with so many klines of each interval."""
    market = kc.Market(["BTC"], list(rows), capacity=CAPACITY)
    for name, count in rows.items():
        push_last(market, name, count)
    return Reason(evaluate(parse_expression(text), market, interval).reasons[0])


# The pivots may lie further back: they need at least as many.
AT_LEAST = {"pivot_high", "pivot_low", "volume_nodes"}


def call(name: str) -> str:
    series = dict.fromkeys(("first", "second"), "close")
    text = example(name)
    for word, column in series.items():
        text = text.replace(word, column if word == "first" else "open")
    return text


@pytest.mark.parametrize("name", CATALOG)
def test_an_indicator_is_known_with_the_klines_it_needs_and_not_with_one_less(name: str) -> None:
    text = call(name)
    need = parse_expression(text).bars[""]
    assert need == 1 + max(map(looks_back, parse_expression(text).root.walk()))
    if need > 1:
        # Of several outputs the last one to be known counts.
        outputs = CATALOG[name].outputs if len(CATALOG[name].outputs) > 1 else ("",)
        texts = [text if not o else f"{text.rpartition('.')[0]}.{o}" for o in outputs]
        assert Reason.NOT_WARM in [reason(one, "1m", {"1m": need - 1}) for one in texts]
    if name not in AT_LEAST:
        assert reason(text, "1m", {"1m": need}) != Reason.NOT_WARM


CHAINS = [
    ("close[3]", 4),
    ("close[3][2]", 6),
    ("sma(20)[5]", 25),
    ("sma(sma(20), 5)", 24),
    ("rsi(14)[2] - sma(close[1], 30)", 31),
    ("rising(sma(5), 3)", 8),
    ("falling(close, 3)", 4),
    ("any_of(close > close[1], 3)", 4),
    ("all_of(rsi(3) > 200, 4)", 7),
    ("count(close > 0, 4)", 4),
    ("crosses_above(ema(5), sma(8))", 9),
    ("min(close[2], close[7]) > 0 and max(high, low) > 0", 8),
    ("highest(bb(20, 2).width, 10)", 29),
]


@pytest.mark.parametrize(("text", "need"), CHAINS)
def test_parts_of_parts_add_up(text: str, need: int) -> None:
    assert parse_expression(text).bars == {"": need}
    assert reason(text, "1m", {"1m": need - 1}) == Reason.NOT_WARM
    assert reason(text, "1m", {"1m": need}) == Reason.KNOWN


# Text, own interval, klines needed of each.
ON_OTHERS = [
    ('close @ "1h"', "5m", {"5m": 1, "1h": 1}),
    ('rsi(14) @ "1h" - sma(5)', "5m", {"5m": 5, "1h": 15}),
    ('close[2] @ "1h"', "5m", {"5m": 1, "1h": 3}),
    ('(close @ "1m")[2]', "5m", {"5m": 3, "1m": 11}),
    ('sma(sma(4) @ "1m", 3)', "5m", {"5m": 3, "1m": 14}),
    ('close @ "1m" + (close @ "1m")[1]', "1h", {"1h": 2, "1m": 61}),
    ('close @ "5m" + rsi(3)', "5m", {"5m": 4}),
]


@pytest.mark.parametrize(("text", "own", "need"), ON_OTHERS)
def test_what_other_intervals_must_have_depends_on_the_own(
    text: str, own: str, need: dict[str, int]
) -> None:
    assert parse_expression(text).bars_on(own) == need
    assert reason(text, own, need) == Reason.KNOWN
    for interval, count in need.items():
        if count > 1:
            less = {**need, interval: count - 1}
            assert reason(text, own, less) == Reason.NOT_WARM


def test_earlier_closes_of_a_longer_interval_need_at_most_one_more_than_their_share() -> None:
    # As of 12 five minutes ago it was the same hour's close or that of the hour before.
    assert parse_expression('(close @ "1h")[12]').bars_on("5m") == {"5m": 13, "1h": 2}
    assert parse_expression('(close @ "1h")[1]').bars_on("5m") == {"5m": 2, "1h": 2}


def test_months_are_taken_as_short_or_long_as_they_may_be() -> None:
    assert parse_expression('(close @ "1d")[1]').bars_on("1M") == {"1M": 2, "1d": 32}
    assert parse_expression('(close @ "1M")[56]').bars_on("1d") == {"1d": 57, "1M": 3}
