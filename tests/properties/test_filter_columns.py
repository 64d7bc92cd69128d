"""Columns say of random filters on random markets what plain Python says row by row."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference.filters import Oracle
from reference.trees import Expression, markets, trees

import klinecore as kc
from klinecore.filters import Reason, evaluate, expression_series, replay


def bits(numbers: list[float]) -> list[str]:
    """Every bit that means something: NaN is NaN, and 0.0 is not -0.0."""
    return [float(number).hex() for number in numbers]


@given(
    market=markets(),
    tree=st.one_of(trees(), trees("number")),
    interval=st.sampled_from(["1m", "5m"]),
)
def test_a_line_is_the_same_bit_for_bit(market: kc.Market, tree: Expression, interval: str) -> None:
    oracle = Oracle(market, interval)
    for symbol in market.symbols:
        times, values = expression_series(tree, market, symbol, interval)
        expected = oracle.at_own(tree.root, symbol)
        assert times.tolist() == market[symbol, interval].open_time_ms.tolist()
        assert bits(values.tolist()) == bits([value.number for value in expected]), tree.root.text


@given(market=markets(), tree=trees(), interval=st.sampled_from(["1m", "5m"]))
def test_every_part_at_the_newest_close_with_its_reason(
    market: kc.Market, tree: Expression, interval: str
) -> None:
    oracle = Oracle(market, interval)
    found = evaluate(tree, market, interval)
    assert found.symbols == market.symbols
    parts = {node.text for node in tree.root.walk() if node.op != "const"}
    assert found.parts.keys() <= parts
    for i, symbol in enumerate(market.symbols):
        rows = oracle.rows_at(symbol, interval)
        if not rows:
            assert found.reasons[i] == Reason.NO_ROWS
            assert np.isnan(found.values[i])
            assert np.isnan(found.price[i])
            assert found.open_time_ms[i] == 0
            continue
        assert found.open_time_ms[i] == rows[-1].open_time_ms
        assert found.price[i] == rows[-1].fields["close"]
        expected = oracle.at_own(tree.root, symbol)[-1]
        assert found.reasons[i] == expected.reason, tree.root.text
        assert (symbol in found.matches) == bool(expected.value)
        for node in tree.root.walk():
            if node.text in found.parts:
                value = oracle.at_own(node, symbol)[-1].number
                assert bits([found.parts[node.text][i]]) == bits([value]), node.text


@given(
    market=markets(),
    tree=trees(),
    interval=st.sampled_from(["1m", "5m"]),
    mode=st.sampled_from(["edge", "level"]),
    cooldown=st.integers(0, 4),
    chosen=st.sampled_from([None, ["CCCUSDT"], ["CCCUSDT", "AAAUSDT"], []]),
)
def test_firings_of_the_past_are_those_of_a_walk_along_each_series(
    market: kc.Market, tree: Expression, interval: str, mode: str, cooldown: int,
    chosen: list[str] | None,
) -> None:  # fmt: skip
    oracle = Oracle(market, interval, tickers=False)
    found = replay(tree, market, interval, chosen, mode=mode, cooldown=cooldown)
    symbols = market.symbols if chosen is None else tuple(chosen)
    assert found.symbols == symbols
    expected = [
        (time, i)
        for i, symbol in enumerate(symbols)
        for time in oracle.firings(tree.root, symbol, mode, cooldown)
    ]
    fired = zip(found.open_time_ms.tolist(), found.symbol_index.tolist(), strict=True)
    assert list(fired) == sorted(expected)
    reasons = [value.reason for s in symbols for value in oracle.at_own(tree.root, s)]
    assert found.rows == len(reasons)
    assert found.unknown == {r: reasons.count(r) for r in Reason if r and r in reasons}
    for name, anchors in found.anchors.items():
        for symbol, anchor in zip(symbols, anchors.tolist(), strict=True):
            rows = oracle.rows_at(symbol, name)
            assert anchor == (rows[0].open_time_ms if rows else 0)
