"""evaluate, replay and expression_series: what a filter says of the klines in memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from recordings import unpack
from reference.messages import dump
from reference.samples import MINI_TICKER
from reference.strategies import START_MS, opens
from reference.trees import Expression, Grower, random_market

import klinecore as kc
from klinecore.filters import (
    Reason,
    compile,
    evaluate,
    evaluation,
    expression_series,
    parse_expression,
    replay,
)
from klinecore.interval import close_time_ms, next_open_ms

MINUTE_MS = 60_000
Closes = Sequence[float | None]


def push(market: kc.Market, symbol: str, interval: str, opened: int, close: float) -> None:
    prices = [str(close)] * 4
    row = kc.Kline(opened, *prices, "1", close_time_ms(interval, opened), "1", 1, "0", "0")
    market.push(symbol, interval, row)


def market_of(interval: str = "1m", /, **closes: Closes) -> kc.Market:
    """A market whose symbols have these closes from START_MS on; None is a hole."""
    market = kc.Market(closes, [interval], capacity=100)
    for symbol, some in closes.items():
        for opened, close in zip(opens(interval, len(some)), some, strict=False):
            if close is not None:
                push(market, symbol, interval, opened, close)
    return market


def line(text: str, closes: Closes, market: kc.Market | None = None) -> list[float]:
    market = market_of(BTC=closes) if market is None else market
    return expression_series(parse_expression(text), market, "BTC", "1m")[1].tolist()


def same(found: Sequence[float], expected: Closes) -> bool:
    """None stands for unknown."""
    wanted = [np.nan if value is None else value for value in expected]
    return np.array_equal(found, wanted, equal_nan=True)


def reason(text: str, market: kc.Market, interval: str = "1m") -> Reason:
    return Reason(evaluate(parse_expression(text), market, interval).reasons[0])


def fired(text: str, closes: Closes, **how: object) -> list[int]:
    """Places of the closes at which a filter fires."""
    found = replay(compile(text), market_of(BTC=closes), "1m", **how)  # type: ignore[arg-type]
    return ((found.open_time_ms - START_MS) // MINUTE_MS).tolist()


# One row


def test_true_false_and_unknown_are_told_apart() -> None:
    market = market_of(BTC=[1, 2], ETH=[2, 1], XRP=[1], DOGE=[])
    found = evaluate(compile("close > close[1]"), market, "1m")
    assert found.symbols == ("BTC", "ETH", "XRP", "DOGE")
    assert same(found.values.tolist(), [1.0, 0.0, None, None])
    assert found.reasons.tolist() == [0, 0, Reason.NOT_WARM, Reason.NO_ROWS]
    assert found.matches == ("BTC",)
    assert found.open_time_ms.tolist() == [START_MS + MINUTE_MS] * 2 + [START_MS, 0]
    assert same(found.price.tolist(), [2.0, 1.0, 1.0, None])


def test_every_part_but_constants_is_shown_by_its_normal_text() -> None:
    found = evaluate(
        compile("macd(2,3,2).hist>0 and close<2*open"), market_of(BTC=range(1, 9)), "1m"
    )
    shown = {text: values.tolist() for text, values in found.parts.items()}
    hist = kc.macd(np.arange(1.0, 9.0), 2, 3, 2).hist
    assert shown == {
        "close": [8.0],
        "open": [8.0],
        "2 * open": [16.0],
        "macd(close, 2, 3, 2).hist": [hist[-1]],
        "macd(close, 2, 3, 2).hist > 0": [float(hist[-1] > 0)],
        "close < 2 * open": [1.0],
        "macd(close, 2, 3, 2).hist > 0 and close < 2 * open": [float(hist[-1] > 0)],
    }


@pytest.mark.parametrize(
    "text",
    ["close / (close - close)", "log(0 * close)", "sqrt(-close)", "1e100 * 1e100 * 1e100 * 1e100",
     "log(-1)", "roc(close - 1, 1) / 0"],
)  # fmt: skip
def test_what_has_no_finite_result_is_unknown_and_undefined(text: str) -> None:
    market = market_of(BTC=[1, 2, 3])
    assert reason(text, market) == Reason.UNDEFINED
    assert same(line(text, [], market)[-1:], [None])


def test_no_operation_sees_through_an_unknown_argument() -> None:
    unknown = "close / (close - close) > 1"
    for text in (
        f"{unknown} and close < 0", f"{unknown} or close > 0", f"not {unknown}",
        f"count({unknown}, 1) >= 0", f"any_of({unknown}, 1)",
    ):  # fmt: skip
        assert reason(text, market_of(BTC=[1.0])) == Reason.UNDEFINED


def test_of_several_reasons_the_largest_is_told() -> None:
    market = market_of(BTC=[1])
    assert reason("close[1] + close / 0", market) == Reason.UNDEFINED
    assert reason("close / 0 + ticker.last", market) == Reason.NO_TICKER
    assert reason("close / 0 + ticker.last", market_of(BTC=[])) == Reason.NO_ROWS


# Memory


def test_a_lag_looks_back_over_klines_of_the_same_stretch() -> None:
    assert same(line("close[2]", [1, 2, 3, 4]), [None, None, 1, 2])
    assert same(line("(close > 2)[1]", [1, 2, 3, 4]), [None, 0, 0, 1])


def test_rising_is_above_each_of_the_values_before() -> None:
    assert same(line("rising(close, 2)", [1, 2, 3, 2, 4, 4]), [None, None, 1, 0, 1, 0])
    assert same(line("falling(close, 2)", [3, 2, 1, 2, 0, 0]), [None, None, 1, 0, 1, 0])


def test_conditions_over_time_count_the_newest_kline() -> None:
    closes = [0, 5, 0, 5, 5]
    assert same(line("any_of(close > 1, 2)", closes), [None, 1, 1, 1, 1])
    assert same(line("all_of(close > 1, 2)", closes), [None, 0, 0, 0, 1])
    assert same(line("count(close > 1, 3)", closes), [None, None, 1, 2, 2])


def test_bars_since_is_unknown_before_the_first_time_and_behind_an_unknown_one() -> None:
    assert same(line("bars_since(close > 1)", [0, 5, 0, 0, 5]), [None, 0, 1, 2, 0])
    closes = [5, 1, 0, 1, 5, 1]
    assert same(line("bars_since(log(close) > 1)", closes), [0, 1, None, None, 0, 1])


def test_an_indicator_leaves_out_what_is_unknown() -> None:
    expected = kc.sma(1 / np.array([1.0, 2, 4, 8]), 2)
    found = line("sma(1 / close, 2)", [1, 2, 0, 4, 8])
    assert same(found, [None, expected[1], None, *expected[2:]])


# Holes


def test_behind_a_hole_windows_start_again_and_what_has_no_window_stays_unknown() -> None:
    closes = [1, 2, 3, None, 5, 6, 7]
    market = market_of(BTC=closes)
    assert same(line("sma(2)", [], market), [None, 1.5, 2.5, None, 5.5, 6.5])
    assert same(line("close[1]", [], market), [None, 1, 2, None, 5, 6])
    assert same(line("ema(2)", [], market), [None, 1.5, 2.5, None, None, None])
    assert same(line("bars_since(close > 4)", [], market), [None] * 6)
    assert reason("ema(2)", market) == reason("bars_since(close > 4)", market) == Reason.HOLE
    assert reason("sma(4)", market) == Reason.HOLE
    assert reason("sma(3)", market) == Reason.KNOWN


def test_a_repaired_hole_leaves_no_trace() -> None:
    market = market_of(BTC=[1, 2, 3, None, 5, 6, 7])
    push(market, "BTC", "1m", opens("1m", 4)[3], 4)
    for text in ("sma(2)", "close[3]", "ema(3)", "rsi(2)", "bars_since(close > 4)"):
        assert same(line(text, [], market), line(text, [1, 2, 3, 4, 5, 6, 7])), text


def test_rows_beside_a_confirmed_absence_are_adjacent() -> None:
    market = market_of(BTC=[1, 2, 3, None, 5, 6, 7])
    absent = opens("1m", 4)[3]
    assert market.confirm_absent("BTC", "1m", absent, absent)
    for text in ("sma(2)", "close[3]", "ema(3)", "rsi(2)", "bars_since(close > 4)"):
        assert same(line(text, [], market), line(text, [1, 2, 3, 5, 6, 7])), text


# Other intervals


def two_intervals(minutes: int, fives: Sequence[float | None]) -> kc.Market:
    market = kc.Market(["BTC"], ["1m", "5m"], capacity=100)
    for i, opened in enumerate(opens("1m", minutes)):
        push(market, "BTC", "1m", opened, i)
    for opened, close in zip(opens("5m", len(fives)), fives, strict=False):
        if close is not None:
            push(market, "BTC", "5m", opened, close)
    return market


def test_another_interval_is_read_as_of_the_close() -> None:
    market = two_intervals(11, [100, 200])
    # The fifth minute closes when the first five minutes do.
    assert same(line('close @ "5m"', [], market), [None] * 4 + [100] * 5 + [200] * 2)


def test_an_overdue_kline_of_another_interval_makes_it_unknown() -> None:
    market = two_intervals(16, [100, None, 300])
    assert same(line('close @ "5m"', [], market), [None] * 4 + [100] * 5 + [None] * 5 + [300] * 2)
    assert reason('close @ "5m"', two_intervals(10, [100])) == Reason.MISSING_CLOSE
    assert reason('close @ "5m"', two_intervals(4, [100])) == Reason.NOT_WARM
    assert reason('close @ "5m"', two_intervals(4, [])) == Reason.NO_ROWS


def test_a_confirmed_absence_of_another_interval_is_not_waited_for() -> None:
    market = two_intervals(16, [100, None, 300])
    absent = opens("5m", 2)[1]
    assert market.confirm_absent("BTC", "5m", absent, absent)
    assert same(line('close @ "5m"', [], market), [None] * 4 + [100] * 10 + [300] * 2)


def test_a_shorter_interval_is_read_at_its_last_kline_before_the_close() -> None:
    market = two_intervals(10, [100, 200])
    _, values = expression_series(parse_expression('close @ "1m"'), market, "BTC", "5m")
    assert values.tolist() == [4.0, 9.0]


def test_the_own_interval_by_its_name_is_the_own_interval() -> None:
    closes = [3, 1, 4, 1, 5]
    assert same(line('sma(2) @ "1m"', closes), line("sma(2)", closes))


def test_months_are_as_long_as_the_calendar_says() -> None:
    market = kc.Market(["BTC"], ["1d", "1M"], capacity=100)
    january = START_MS - 31 * 86_400_000
    for opened in (january, START_MS):
        push(market, "BTC", "1M", opened, opened)
    day = january
    while day < next_open_ms("1M", START_MS) + 3 * 86_400_000:
        push(market, "BTC", "1d", day, 1)
        day += 86_400_000
    _, values = expression_series(parse_expression('close @ "1M"'), market, "BTC", "1d")
    assert same(values.tolist(), [None] * 30 + [january] * 28 + [START_MS] * 4)


# Across symbols


def test_places_are_among_the_symbols_known_at_the_same_close() -> None:
    market = market_of(AAA=[1, 9], BBB=[3, None], CCC=[3, 7], DDD=[0, 8])
    root = parse_expression("rank(log(close))")
    places = {s: expression_series(root, market, s, "1m")[1].tolist() for s in market.symbols}
    # Of equal values the one of the symbol that comes first in the market is the larger.
    assert same(places["AAA"], [3, 1])
    assert same(places["BBB"], [1])
    assert same(places["CCC"], [2, 3])
    assert same(places["DDD"], [None, 2])


def test_the_bottom_is_the_top_of_the_negative() -> None:
    market = market_of(AAA=[2], BBB=[1], CCC=[1], DDD=[2])
    assert evaluate(compile("top(close, 1)"), market, "1m").matches == ("AAA",)
    assert evaluate(compile("bottom(close, 1)"), market, "1m").matches == ("BBB",)
    assert evaluate(compile("bottom(close, 3)"), market, "1m").matches == ("AAA", "BBB", "CCC")


def test_breadth_is_one_number_for_all_symbols_also_where_the_own_value_is_unknown() -> None:
    market = market_of(AAA=[1], BBB=[9], CCC=[16], DDD=[0])
    found = evaluate(parse_expression("breadth(log(close) > 2)"), market, "1m")
    assert found.values.tolist() == [100 * 2 / 3] * 4
    assert reason("breadth(log(close) > 2)", market_of(AAA=[0])) == Reason.UNDEFINED


def test_those_who_are_asked_for_are_compared_with_all() -> None:
    market = market_of(AAA=[3, 1], BBB=[2, 2], CCC=[1, 3])
    found = evaluate(parse_expression("rank(close)"), market, "1m", ["ccc", "BBB"])
    assert found.symbols == ("CCC", "BBB")
    assert found.values.tolist() == [1.0, 2.0]
    past = replay(compile("top(close, 2)"), market, "1m", ["CCC", "AAA"], mode="level")
    assert past.symbols == ("CCC", "AAA")
    assert past.symbol_index.tolist() == [1, 0]
    assert past.rows == 4


# Tickers


def test_the_ticker_is_known_now_and_has_no_past() -> None:
    market = market_of(BTC=[1, 2])
    filter = compile("ticker.last > 1")
    assert reason("ticker.last", market) == Reason.NO_TICKER
    market.apply(dump(MINI_TICKER | {"s": "BTC", "c": "2.5"}))
    found = evaluate(filter, market, "1m")
    assert found.matches == ("BTC",)
    assert found.parts["ticker.last"].tolist() == [2.5]
    assert same(line("ticker.last", [], market), [None, 2.5])
    assert replay(filter, market, "1m").unknown == {Reason.NO_TICKER: 2}


# The past


def test_an_edge_fires_where_it_becomes_true_and_never_at_the_first_known_value() -> None:
    assert fired("close > 1", [5, 5, 0, 5, 5, 0, 5]) == [3, 6]
    assert fired("close > 1", [5, 5, 0, 5, 5, 0, 5], mode="level") == [0, 1, 3, 4, 6]


def test_an_edge_is_seen_across_unknown_rows_and_holes_and_only_once() -> None:
    assert fired("log(close) > 1", [1, 0, 5]) == [2]
    assert fired("log(close) > 1", [1, 5, 0, 5]) == [1]
    assert fired("close > 1", [0, None, 5, None, 5]) == [2]


def test_a_cooldown_is_counted_in_klines_behind_a_firing() -> None:
    assert fired("close > 1", [5] * 7, mode="level", cooldown=2) == [0, 3, 6]
    assert fired("close > 1", [0, 5, 0, 5, 0, 5], cooldown=2) == [1, 5]
    assert fired("close > 1", [0, 5, None, None, 0, 5], cooldown=2) == [1]


def test_a_replay_tells_what_it_looked_at() -> None:
    market = market_of(BTC=[1, 2, None, 1, 5], ETH=[1, 0, 3], XRP=[])
    found = replay(compile("close > close[1]"), market, "1m")
    assert found.symbols == ("BTC", "ETH", "XRP")
    assert found.rows == 7
    assert found.unknown == {Reason.NOT_WARM: 2, Reason.HOLE: 1}
    assert found.symbol_index.dtype == np.int32
    assert list(zip(found.symbol_index.tolist(), found.price.tolist(), strict=True)) == [(1, 3.0)]
    assert {k: v.tolist() for k, v in found.anchors.items()} == {"1m": [START_MS, START_MS, 0]}


def test_firings_are_told_in_the_order_of_time_and_then_of_symbols() -> None:
    market = market_of(AAA=[0, 0, 5], BBB=[0, 5, 5], CCC=[0, 0, 5])
    found = replay(compile("close > 1"), market, "1m", ["CCC", "BBB", "AAA"])
    assert found.symbols == ("CCC", "BBB", "AAA")
    assert found.symbol_index.tolist() == [1, 0, 2]


def test_what_is_asked_wrongly_is_refused() -> None:
    market = market_of(BTC=[1])
    with pytest.raises(ValueError, match="only a condition fires; close is a number"):
        replay(parse_expression("close"), market, "1m")
    with pytest.raises(ValueError, match="mode must be 'edge' or 'level', not 'once'"):
        replay(compile("close > 1"), market, "1m", mode="once")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cooldown must be 0 or more"):
        replay(compile("close > 1"), market, "1m", cooldown=-1)
    with pytest.raises(ValueError, match="a symbol is asked for twice"):
        evaluate(compile("close > 1"), market, "1m", ["BTC", "btc"])
    for text, symbols in (("close > 1", ["ETH"]), ('close @ "1h" > 1', None)):
        with pytest.raises(kc.UnknownSeriesError):
            evaluate(compile(text), market, "1m", symbols)


# However much there is


def test_symbols_worked_on_one_by_one_or_together_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(40):
        market = random_market(seed, symbols=["AAA", "BBB", "CCC", "DDD", "EEE"])
        tree = Expression(Grower(random.Random(seed).choice, others=["5m"]).condition())
        found = []
        for rows in (1, 64, 1 << 15):
            monkeypatch.setattr(evaluation, "BLOCK_ROWS", rows)
            now, past = evaluate(tree, market, "1m"), replay(tree, market, "1m", cooldown=1)
            arrays = [now.values, now.reasons, now.open_time_ms, now.price, *now.parts.values()]
            arrays += [past.symbol_index, past.open_time_ms, past.price, *past.anchors.values()]
            found.append((past.rows, past.unknown, list(now.parts), [a.tobytes() for a in arrays]))
        assert found[0] == found[1] == found[2]


def test_nobody_is_asked_for() -> None:
    market = market_of(BTC=[1])
    assert evaluate(compile("close > 1"), market, "1m", []).symbols == ()
    assert replay(compile("top(close, 1)"), market, "1m", []).rows == 0


@pytest.mark.parametrize(
    "symbol", ["ALGOUSDT", "AVAXUSDT", "DOTUSDT", "FILUSDT", "LINKUSDT", "LTCUSDT", "NEARUSDT"]
)
def test_a_real_month_says_what_the_functions_over_arrays_say(data_dir: Path, symbol: str) -> None:
    text = unpack(data_dir / "klines/um/1m/2026-02" / f"{symbol}-1m-2026-02.csv.gz")
    rows = [row.split(",") for row in text.splitlines()[1:]]
    market = kc.Market([symbol], ["1m"], capacity=len(rows))
    for row in rows:
        market.push(symbol, "1m", kc.Kline(int(row[0]), *row[1:6], int(row[6]), row[7], int(row[8]),
                                           row[9], row[10]))  # fmt: skip
    series = market[symbol, "1m"]
    close, volume = np.array(series.close), np.array(series.volume)

    def column(expression: str) -> bytes:
        return expression_series(parse_expression(expression), market, symbol, "1m")[1].tobytes()

    assert column("rsi(14)") == kc.rsi(close).tobytes()
    assert column("ema(rsi(14), 9)") == kc.ema(kc.rsi(close), 9).tobytes()
    assert column("macd(12, 26, 9).hist") == kc.macd(close).hist.tobytes()
    assert column("bb(20, 2).width") == kc.bb(close).width.tobytes()
    assert column("mfi(14)") == kc.mfi(series.high, series.low, series.close, volume).tobytes()
    assert (
        column('vwap(anchor="day").vwap')
        == kc.vwap(
            series.high, series.low, series.close, volume, series.open_time_ms, anchor="day"
        ).vwap.tobytes()
    )
    past = replay(compile("rsi(14) < 30 and close > sma(200)"), market, "1m", mode="level")
    true = (kc.rsi(close) < 30) & (close > kc.sma(close, 200))
    assert past.open_time_ms.tolist() == series.open_time_ms[true].tolist()
    assert past.unknown == {Reason.NOT_WARM: 199}
