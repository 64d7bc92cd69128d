"""What is told of a filter before it runs."""

from __future__ import annotations

import pytest

from klinecore.filters import compile, explain
from klinecore.filters.need import _INDICATOR_NS
from klinecore.indicators import CATALOG


def test_a_filter_is_explained_by_its_parts_and_needs() -> None:
    found = explain(compile('macd().hist > 0 and close @ "1h" > 1'))
    assert [part.text for part in found.parts] == [
        "close",
        "macd(close, 12, 26, 9).hist",
        "macd(close, 12, 26, 9).hist > 0",
        'close @ "1h"',
        'close @ "1h" > 1',
        found.normal,
    ]
    assert [part.kind for part in found.parts][:3] == ["number", "number", "condition"]
    assert found.nodes == len(found.parts) + 3  # 0, 1, and all outputs of macd at once
    assert found.intervals == ("1h",)
    assert found.bars == {"": 34, "1h": 1}
    assert not found.cross_symbols
    assert explain(compile("rank(close) < 3")).cross_symbols


def test_what_is_needed_is_told_by_the_filters_own_interval() -> None:
    filter = compile('(close @ "1m")[2] > 0')
    assert explain(filter, "1h").bars == {"1h": 3, "1m": 121}
    with pytest.raises(KeyError):
        explain(filter, "1x")


def test_a_filter_with_more_parts_costs_more() -> None:
    one = explain(compile("rsi(14) > 50")).cost_ns
    assert one < explain(compile("rsi(14) > 50 and sma(20) > 5")).cost_ns


def test_what_goes_over_its_window_costs_as_much_as_it_is_long() -> None:
    def cost(text: str) -> int:
        return explain(compile(text)).cost_ns

    assert cost("sma(400) > 1") == cost("sma(4) > 1")
    assert cost("linreg(400) > 1") > 10 * cost("linreg(4) > 1")
    assert cost("volume_nodes(400, 100).above > 1") > 100 * cost("sma(400) > 1")


@pytest.mark.parametrize(
    ("text", "depends"),
    [
        ("close > sma(20)", False),
        ("close > ema(20)", True),
        ("bars_since(close > 1) > 3", True),
        ("any_of(close > 1, 3)", False),
    ],
)
def test_what_remembers_all_klines_says_so(text: str, depends: bool) -> None:
    assert explain(compile(text)).depends_on_first is depends


def test_what_other_filters_compute_too_is_told_and_costs_nothing_more() -> None:
    filter = compile("rsi(14) < 30 and close > sma(200)")
    alone = explain(filter)
    assert alone.cost_added_ns == alone.cost_ns
    assert not any(part.shared for part in alone.parts)
    beside = explain(filter, others=[compile("rsi(14) < 30 and open > 3"), compile("sma(50) > 1")])
    shared = [part.text for part in beside.parts if part.shared]
    assert shared == ["rsi(close, 14)", "rsi(close, 14) < 30"]
    assert beside.cost_ns == alone.cost_ns
    assert beside.cost_added_ns == explain(compile("close > sma(200)")).cost_ns + 1
    assert explain(filter, others=[filter]).cost_added_ns == 0


def test_a_part_on_another_interval_is_another_part() -> None:
    found = explain(compile('rsi(14) @ "1h" < 30'), others=[compile("rsi(14) < 30")])
    assert not any(part.shared for part in found.parts)


def test_an_explanation_can_be_read() -> None:
    filter = compile("rsi(14) < 30 and top(close, 3)")
    assert str(explain(filter, "5m", [compile("rsi(14) > 70")])).splitlines() == [
        "filter   rsi(close, 14) < 30 and top(close, 3)",
        f"hash     {filter.hash}",
        "klines   15 of 5m",
        "symbols  all together",
        "cost     about 77 ns per symbol and close, 15 of them shared, 6 nodes",
        "parts",
        "  number     close",
        "  number     rsi(close, 14)  (shared)",
        "  condition  rsi(close, 14) < 30",
        "  condition  top(close, 3)",
        "  condition  rsi(close, 14) < 30 and top(close, 3)",
    ]


def test_what_goes_over_its_whole_window_costs_by_its_length() -> None:
    costs = [explain(compile(f"volume_nodes({n}).above > 1")).cost_ns for n in (100, 200)]
    assert costs[1] > 1.9 * costs[0]
    assert all(name in CATALOG for name in _INDICATOR_NS)
    for name in _INDICATOR_NS:
        assert CATALOG[name].parameters[0].kind == "period"
