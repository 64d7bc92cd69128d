"""A copy of what a filter reads says what the market it was made of said, whatever came since."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.trees import Expression, markets, trees

import klinecore as kc
from klinecore.filters import MarketCopy, evaluate, expression_series, parse_expression, replay
from klinecore.filters.copied import MarketRows

CHOSEN = [None, ["CCCUSDT"], ["CCCUSDT", "AAAUSDT"], []]


def told(tree: Expression, rows: MarketRows, interval: str, asked: list[str] | None) -> list[str]:
    """All that filters say, as text."""
    symbols = rows.symbols if asked is None else asked
    said: list[object] = [evaluate(tree, rows, interval, asked)]
    said += [expression_series(tree, rows, symbol, interval) for symbol in symbols]
    if tree.root.kind == "condition":
        said.append(replay(tree, rows, interval, asked, cooldown=1))
    with np.printoptions(floatmode="unique", threshold=10**6):
        return [repr(one) for one in said]


@given(
    market=markets(),
    tree=st.one_of(trees(), trees("number")),
    interval=st.sampled_from(["1m", "5m"]),
    chosen=st.sampled_from(CHOSEN),
    step=st.integers(1, 4),
)
def test_a_copy_says_what_the_market_said_and_keeps_saying_it(
    market: kc.Market,
    tree: Expression,
    interval: str,
    chosen: list[str] | None,
    step: int,
) -> None:
    copied = MarketCopy(market, [tree.root], interval, chosen)
    expected = told(tree, market, interval, chosen)
    rows = copied.rows
    while not copied.copy(step):
        pass
    assert copied.asked == (market.symbols if chosen is None else tuple(chosen))
    for symbol in market.symbols:
        market.remove_symbol(symbol)
    assert told(tree, copied, interval, list(copied.asked)) == expected
    assert rows == sum(len(copied[s, i]) for s in copied.symbols for i in copied.intervals)


def two_symbols() -> kc.Market:
    market = kc.Market(["AAAUSDT", "BBBUSDT"], ["1m", "1h"], capacity=5)
    for symbol in market.symbols:
        for minute in range(7):
            opened = minute * 60_000
            row = kc.Kline(
                opened, "1", "2", "1", str(minute + 1), "1", opened + 59_999, "1", 1, "1", "1"
            )
            market.push(symbol, "1m", row)
    return market


def test_a_symbol_that_is_removed_before_its_turn_is_left_out() -> None:
    market = two_symbols()
    tree = parse_expression("rank(close) > 0")
    copied = MarketCopy(market, [tree.root], "1m", ["bbbusdt", "AAAUSDT"])
    assert not copied.copy(1)
    market.remove_symbol("BBBUSDT")
    assert copied.copy(5)
    assert (copied.symbols, copied.asked) == (("AAAUSDT",), ("AAAUSDT",))
    assert evaluate(tree, copied, "1m", copied.asked).matches == ("AAAUSDT",)


def test_only_what_is_read_is_copied() -> None:
    market = two_symbols()
    tree = parse_expression('volume > 0 and high @ "1h" > 1')
    copied = MarketCopy(market, [tree.root], "1m", ["AAAUSDT"])
    assert copied.rows == 5
    assert copied.copy(1)
    there = {name for name, c in zip(kc.COLUMNS, copied["AAAUSDT", "1m"].columns(), strict=True)
             if len(c)}  # fmt: skip
    assert there == {"volume", "close"}
    with pytest.raises(kc.UnknownSeriesError):
        copied["BBBUSDT", "1m"]
    with pytest.raises(kc.UnknownSeriesError):
        copied["AAAUSDT", "5m"]


@pytest.mark.parametrize(
    ("text", "interval", "symbols"),
    [
        ("close > 1", "5m", None),
        ('close @ "5m" > 1', "1m", None),
        ("close > 1", "1m", ["NOPEUSDT"]),
    ],
)
def test_what_the_market_does_not_hold_is_known_before_anything_is_copied(
    text: str, interval: str, symbols: list[str] | None
) -> None:
    with pytest.raises(kc.UnknownSeriesError):
        MarketCopy(two_symbols(), [parse_expression(text).root], interval, symbols)


def test_a_symbol_is_asked_for_once() -> None:
    tree = parse_expression("close > 1")
    with pytest.raises(ValueError, match="twice"):
        MarketCopy(two_symbols(), [tree.root], "1m", ["AAAUSDT", "aaausdt"])
