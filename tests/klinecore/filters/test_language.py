"""klinecore.filters.language: what a filter may say, and the one form in which it is said."""

from __future__ import annotations

import pytest

from klinecore.filters import Filter, FilterError, Node, compile, parse_expression
from klinecore.filters.tree import TIME

# Text, normal form, klines needed.
EXAMPLES = [
    (
        "rsi(14) < 30 and close > sma(200)",
        "rsi(close, 14) < 30 and close > sma(close, 200)",
        {"": 200},
    ),
    (
        "crosses_above(ema(12), ema(26)) and volume > 2 * sma(volume, 20)",
        "crosses_above(ema(close, 12), ema(close, 26)) and volume > 2 * sma(volume, 20)",
        {"": 27},
    ),
    (
        'rsi(14) @ "1h" < 30 and close > close[1]',
        'rsi(close, 14) @ "1h" < 30 and close > close[1]',
        {"": 2, "1h": 15},
    ),
    (
        "macd(12, 26, 9).hist > 0 and macd(12, 26, 9).hist[1] <= 0",
        "macd(close, 12, 26, 9).hist > 0 and macd(close, 12, 26, 9).hist[1] <= 0",
        {"": 35},
    ),
    ("30 < stoch(14, 3, 3).k < 70", "30 < stoch(14, 3, 3).k < 70", {"": 18}),
    (
        "bb(20, 2).width < lowest(bb(20, 2).width, 120) * 1.05",
        "bb(close, 20, 2).width < lowest(bb(close, 20, 2).width, 120) * 1.05",
        {"": 139},
    ),
    (
        "close > highest(high, 20)[1] and ticker.quote_volume > 5_000_000",
        "close > highest(high, 20)[1] and ticker.quote_volume > 5000000",
        {"": 21},
    ),
    (
        'top(mom(24) @ "1h", 10)',
        'top(mom(close, 24) @ "1h", 10)',
        {"": 1, "1h": 25},
    ),
    ("any_of(rsi(14) < 30, 5)", "any_of(rsi(close, 14) < 30, 5)", {"": 19}),
]


@pytest.mark.parametrize(("text", "normal", "bars"), EXAMPLES)
def test_the_examples_are_read(text: str, normal: str, bars: dict[str, int]) -> None:
    made = compile(text)
    assert made.normal == normal
    assert made.bars == bars
    assert compile(normal) == made
    assert compile(normal).hash == made.hash


SAME = [
    ("ema(50) > 0", "ema(close, 50) > 0"),
    ("rsi() > 0", "rsi(close, 14) > 0"),
    ("rsi(period=14) > 0", "rsi(close, 14) > 0"),
    ("ema(source=high, period=5) > 0", "ema(high, 5) > 0"),
    ('rsi(14, compat="talib") > 0', "rsi(close, 14) > 0"),
    ('rsi(14, "tradingview") > 0', 'rsi(close, 14, compat="tradingview") > 0'),
    ("atr(high, low, close, 14) > 0", "atr(14) > 0"),
    ('vwap("day").vwap > 0', 'vwap(1, anchor="day").vwap > 0'),
    ("hl2() > 0", "hl2 > 0"),
    ("close[0] > 0", "close > 0"),
    ("+close > --5", "close > 5"),
    ("close > -0", "close > 0"),
    ("close > 1.50", "close > 1.5"),
    ("close > 1e3", "close > 1000"),
    ("(close) > ((2))", "close > 2"),
    ("close > 1 and (open > 1 and high > 1)", "close > 1 and open > 1 and high > 1"),
    ("1 < close and close < 2", "1 < close < 2"),
    ("1 < close < 2 and open > 3", "1 < close < 2 and open > 3"),
    ("not (close > 1)", "not close > 1"),
    ("min(close, open, high) > 1", "min(min(close, open), high) > 1"),
    ("rising(close, n=3)", "rising(close, 3)"),
    ('(rsi(14) < 30) @ "1h"', '(rsi(close, 14) < 30) @ "1h"'),
    ('close + open @ "1h" > 1', 'close + (open @ "1h") > 1'),
]


@pytest.mark.parametrize(("text", "other"), SAME)
def test_texts_that_say_the_same_are_one_filter(text: str, other: str) -> None:
    assert compile(text) == compile(other)
    assert compile(text).root == compile(other).root


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ('pivot_high(high @ "1m", 1, 1)', 'pivot_high(high @ "1m", 1, 1)'),
        ('atr(high=high @ "1m")', 'atr(high @ "1m", low, close, 14)'),
        ('pivot_high(high, 1, 1) @ "1m"', 'pivot_high(1, 1) @ "1m"'),
    ],
)
def test_a_column_of_another_interval_is_written_out(text: str, normal: str) -> None:
    """It was left out as if it were the own one: two filters had one text and one hash."""
    made = parse_expression(text)
    assert made.normal == normal
    assert parse_expression(normal).root.args[0].interval == made.root.args[0].interval


def test_the_source_that_is_meant_by_default_is_the_close() -> None:
    node = parse_expression("ema(50)").root
    assert (node.op, node.params) == ("indicator", ("ema", 50, "sma"))
    assert [(arg.op, arg.params) for arg in node.args] == [("field", ("close",))]


def test_an_indicator_reads_the_columns_it_names() -> None:
    node = parse_expression('vwap("day").upper').root
    assert (node.op, node.params, node.args[0].params) == ("output", ("upper",), ("vwap", "day", 1))
    names = [arg.params[0] for arg in node.args[0].args]
    assert names == ["high", "low", "close", "volume", TIME]


def test_crosses_are_conditions_with_demanded_series() -> None:
    made = compile("crosses_above(rsi(14), 30)")
    assert made.root.kind == "condition"
    assert made.root.args[1].op == "const"


def test_what_stands_left_of_an_interval_is_on_it_whole() -> None:
    made = compile('rsi(14) @ "1h" > rsi(14)')
    left, right = made.root.args
    assert {node.interval for node in left.walk()} == {"1h"}
    assert {node.interval for node in right.walk()} == {""}
    assert made.intervals == ("1h",)


def test_equal_parts_are_one_object() -> None:
    made = compile("ema(close, 20) > sma(ema(20), 5) and ema(20) < 3")
    emas = [n for n in made.root.walk() if n.params[:1] == ("ema",)]
    assert len(emas) == 1


def test_a_condition_stays_one_when_it_is_looked_back_at() -> None:
    assert compile("(close > open)[1]").root.kind == "condition"


def test_across_symbols_is_known() -> None:
    assert compile("rank(close) <= 3").cross_symbols
    assert not compile("close > 3").cross_symbols


REFUSED = [
    ("rsi(14)", 1, "a filter is a condition, and this is a number", "compare it"),
    ("clos > 3", 1, "unknown name clos", "did you mean close?"),
    ("close > 3 and rsj(14) > 3", 15, "unknown name rsj", "did you mean rsi?"),
    ("rsi(14) > (close > 3)", 12, "takes a number, and this is a condition", "use it with and"),
    ("close and open > 3", 1, "and takes a condition, and this is a number", "compare it"),
    ("macd(12, 26, 9) > 0", 1, "macd has several outputs", ".line or .signal or .hist"),
    ("macd(12, 26, 9).hst > 0", 17, "has no output hst", "did you mean hist?"),
    ("close = 3", 7, "= compares nothing", "write =="),
    ("close > 3 && open > 3", 11, "&& is no sign", "write and"),
    ("sma > 3", 1, "sma takes arguments", "sma(20)"),
    ("close[-1] > 3", 7, "looks back only", "close[1]"),
    ("rsi(0) > 3", 5, "must be 1 to 500", ""),
    ("rsi(14.5) > 3", 5, "must be a whole number", "rsi(14)"),
    ("rsi(14) @ '1H' < 30", 11, "unknown interval '1H'", "1h"),
    ("sma(sma(400), 400) > 1", 1, "needs 799", "limit: window"),
    ("(close > 1", 1, "( is not closed", "expected )"),
    ("close > 1)", 10, ") closes nothing", ""),
    ("ticker.prise > 1", 8, "the ticker has no prise", ""),
    ("rising(n=3, close)", 13, "without a name follows one with a name", "put it first"),
    ("ema(ticker.last, 5) > 1", 5, "the ticker has none", ""),
    ('top(close, 3) @ "1h"', 1, "looks across symbols", "put the @ inside"),
    ('(rsi(14) @ "1h" + 1) @ "4h" > 1', 2, "@ stands inside another @", ""),
    ("rsi(14) < 30 AND close > 3", 14, "expected a sign", "write and"),
    ("rsi(close 14) < 30", 11, "expected a sign", "arguments have commas between them"),
    ("rsi(14) @ 1h < 30", 11, "this is no number", 'in quotes: @ "1h"'),
    ('rsi(14, "1h") < 30', 9, "one of some words", 'on another interval: rsi(14) @ "1h"'),
    ('rsi(14) < 30 @ "1h"', 11, "reads no kline", '(rsi(14) < 30) @ "1h"'),
    ("close > 1,02", 10, "a comma stands only between", "numbers have a point"),
    ("close => open", 7, "= compares nothing", "write >="),
    ("sma(n) > 3", 5, "unknown name n", ""),
    ("sma(close) > 3", 1, "sma needs period", "sma(20)"),
    ("crosses_above(close)", 15, "takes these series first: first, second", ""),
    ("close > 3 open", 11, "expected a sign between two values", ""),
    ("", 1, "the filter is empty", ""),
    ("   ", 1, "the filter is empty", ""),
]


@pytest.mark.parametrize(("text", "column", "message", "hint"), REFUSED)
def test_a_refusal_says_where_why_and_what_instead(
    text: str, column: int, message: str, hint: str
) -> None:
    with pytest.raises(FilterError) as caught:
        compile(text)
    error = caught.value
    assert (error.line, error.column) == (1, column)
    assert message in error.message
    assert hint in error.hint


def test_a_refusal_shows_the_place() -> None:
    with pytest.raises(FilterError) as caught:
        compile("close > 3 and clos > 5")
    assert str(caught.value).splitlines() == [
        "unknown name clos (line 1, column 15)",
        "    close > 3 and clos > 5",
        "                  ^",
        "hint: did you mean close?",
    ]


def test_a_filter_is_frozen_and_hashes_by_what_it_says() -> None:
    made = {compile("close > 1.0"), compile("close > 1")}
    assert len(made) == 1
    assert isinstance(next(iter(made)), Filter)
    assert isinstance(next(iter(made)).root, Node)
