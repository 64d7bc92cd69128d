"""klinecore.notebook: the numbers of a chart are the series' own and the engine's own."""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import klinecore as kc
from klinecore.notebook import rows as chart_rows
from klinecore.notebook import sheet
from klinecore.notebook.rows import Followed, Rows, find_source
from klinecore.notebook.sheet import FIRST_LINE, draw_marks, draw_rows, plan_firings, plan_lines
from klinecore.notebook.still import POINTS_MAX, still

MINUTE = 60_000
START = 1769904000000


def row(minute: int, price: float, *, closed: bool = True) -> kc.Kline:
    open_ms = START + minute * MINUTE
    text = f"{price:.2f}"
    high, low = f"{price + 1:.2f}", f"{price - 1:.2f}"
    close_ms = open_ms + MINUTE - 1
    return kc.Kline(open_ms, text, high, low, text, "2", close_ms, "200", 3, "1", "100", closed)


def waves(count: int, *, without: Set[int] = frozenset(), capacity: int = 500) -> kc.Market:
    market = kc.Market(["BTCUSDT", "ETHUSDT"], ["1m", "5m"], capacity=capacity)
    for minute in set(range(count)) - without:
        market.push("BTCUSDT", "1m", row(minute, 100 + 10 * np.sin(minute / 5)))
    return market


def drawn(source: object, *overlays: str, limit: int = 500, **where: str) -> np.ndarray:
    found = find_source(source, where.get("symbol"), where.get("interval"))
    return draw_rows(found.read(), found.others, plan_lines(overlays, ()), limit)


def test_rows_are_those_of_the_series() -> None:
    series = waves(30)["BTCUSDT", "1m"]
    made = drawn(series)
    assert made.shape == (FIRST_LINE, 30)
    assert made.flags.c_contiguous
    assert made.dtype == np.dtype("<f8")
    assert (made[0] * 1000 == series.open_time_ms).all()
    for place, name in enumerate(("open", "high", "low", "close", "volume"), 1):
        assert (made[place] == getattr(series, name)).all()
    assert not made[6].any()


def test_lines_are_what_the_engine_says() -> None:
    market = waves(60)
    made = drawn(market["BTCUSDT", "1m"], "ema(20)", "close - sma(10)")
    series = market["BTCUSDT", "1m"]
    np.testing.assert_array_equal(made[7], kc.ema(series.close, 20))
    np.testing.assert_array_equal(made[8], series.close - kc.sma(series.close, 10))


def test_the_forming_row_is_drawn_as_if_it_closed() -> None:
    market = waves(40)
    market.push("BTCUSDT", "1m", row(40, 117, closed=False))
    made = drawn(market["BTCUSDT", "1m"], "rsi(14)")
    assert made[:, -1][[1, 4, 6]].tolist() == [117, 117, 1]
    closes = np.append(market["BTCUSDT", "1m"].close, 117.0)
    np.testing.assert_array_equal(made[7], kc.rsi(closes, 14))
    assert not made[6, :-1].any()


def test_another_interval_is_read_of_the_market_beside() -> None:
    market = waves(30)
    for minute in range(0, 30, 5):
        five = row(minute, 200 + minute)
        five = five._replace(close_time_ms=five.open_time_ms + 5 * MINUTE - 1)
        market.push("BTCUSDT", "5m", five)
    made = drawn(market, '(close @ "5m")', symbol="btcusdt", interval="1m")
    assert made[7, -1] == 225
    with pytest.raises(kc.UnknownSeriesError, match="5m"):
        drawn(market["BTCUSDT", "1m"], '(close @ "5m")')


def test_holes_and_absences_are_places_of_their_own() -> None:
    market = waves(50, without={10, 11, 12, 30, 31})
    series = market["BTCUSDT", "1m"]
    assert market.confirm_absent("BTCUSDT", "1m", *series.holes()[1])
    made = drawn(series, "sma(3)")
    minutes = (made[0] * 1000 - START) / MINUTE
    assert minutes.tolist() == list(range(50))
    assert np.flatnonzero(made[6] == 2).tolist() == [10, 11, 12]
    assert np.flatnonzero(made[6] == 3).tolist() == [30, 31]
    assert np.isnan(made[1:6, [10, 11, 12, 30, 31]]).all()
    # Behind a hole a mean begins anew; over an absence it goes on, as filters have it.
    assert np.flatnonzero(np.isnan(made[7])).tolist() == [0, 1, 10, 11, 12, 13, 14, 30, 31]


def test_a_close_that_is_awaited_shows_as_a_hole() -> None:
    market = waves(20)
    market.push("BTCUSDT", "1m", row(22, 100, closed=False))
    made = drawn(market["BTCUSDT", "1m"])
    assert made[6, -4:].tolist() == [0, 2, 2, 1]


def test_a_long_hole_is_cut_short() -> None:
    made = drawn(waves(1000, without=set(range(10, 900)))["BTCUSDT", "1m"])
    assert (made[6] == 2).sum() == sheet.GAP_ROWS_MAX
    assert (np.diff(made[0]) > 0).all()


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.integers(1, 70))
def test_at_most_limit_rows_and_the_newest_of_them(
    count: int, without: set[int], limit: int
) -> None:
    market = waves(count, without=without)
    made = drawn(market["BTCUSDT", "1m"], limit=limit)
    held = sorted(set(range(count)) - without)
    reach = len(range(held[0], held[-1] + 1)) if held else 0
    assert made.shape[1] == min(limit, reach)
    if held:
        assert made[0, -1] * 1000 == START + held[-1] * MINUTE
        assert (np.diff(made[0]) == 60).all()


# --- sources --------------------------------------------------------------------------------------


def test_an_attached_series_is_drawn_as_its_own(tmp_path: Path) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"], capacity=50, path=str(tmp_path / "arena"))
    for minute in {*range(40)} - {7}:
        market.push("BTCUSDT", "1m", row(minute, 100 + minute))
    market.push("BTCUSDT", "1m", row(40, 150, closed=False))
    attached = kc.attach(tmp_path / "arena")
    np.testing.assert_array_equal(drawn(attached, "ema(5)"), drawn(market, "ema(5)"))
    np.testing.assert_array_equal(drawn(attached["BTCUSDT", "1m"]), drawn(market))


def test_a_source_has_moved_when_it_was_written_to(tmp_path: Path) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"], capacity=50, path=str(tmp_path / "arena"))
    for minute, of in enumerate((market, kc.attach(tmp_path / "arena"))):
        source = find_source(of, None, None)
        assert source.moved()
        source.read()
        assert not source.moved()
        market.push("BTCUSDT", "1m", row(minute, 100))
        assert source.moved()


def test_an_attached_market_whose_writer_is_gone_says_so(tmp_path: Path) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"], path=str(tmp_path / "arena"))
    source = find_source(kc.attach(tmp_path / "arena"), None, None)
    assert source.status == ""
    (tmp_path / "arena").unlink()
    assert source.status == "ended: its writer is gone; attach again"
    del market


def test_a_live_market_says_whether_it_is_connected() -> None:
    class Live:
        market = waves(3)
        connected = following = True
        fault = "the connection was lost"

    source = find_source(Live, "BTCUSDT", "1m")
    assert isinstance(source, Followed)
    assert source.status == "live"
    Live.connected = False
    assert source.status == "reconnecting: the connection was lost"
    Live.following, Live.fault = False, "closed here"
    assert source.status == "ended: closed here"


def test_a_frame_is_drawn_with_its_steps_as_interval() -> None:
    series = waves(50, without={20, 21})["BTCUSDT", "1m"]
    made = drawn(series.frame(), "sma(3)")
    np.testing.assert_array_equal(made, drawn(series, "sma(3)"))


def test_months_are_those_of_the_calendar() -> None:
    months = np.array(["2026-01", "2026-02", "2026-05", "2026-06"], "M8[M]").astype("M8[ms]")
    ones = np.ones(4)
    columns = {"open_time": months, "open": ones, "high": ones, "low": ones, "close": ones}
    made = drawn(kc.Frame(columns))
    expected = np.arange("2026-01", "2026-07", dtype="M8[M]").astype("M8[s]").astype(float)
    assert made[0].tolist() == expected.tolist()
    assert made[6].tolist() == [0, 0, 2, 2, 0, 0]


@pytest.mark.parametrize(
    ("source", "where", "error", "fault"),
    [
        (waves(1), {}, ValueError, "say which symbol: BTCUSDT, ETHUSDT"),
        (waves(1), {"symbol": "BTCUSDT"}, ValueError, "say which interval: 1m, 5m"),
        (waves(1), {"symbol": "X", "interval": "1m"}, kc.UnknownSeriesError, "unknown symbol 'X'"),
        (waves(1)["BTCUSDT", "1m"], {"symbol": "BTCUSDT"}, ValueError, "has its symbol"),
        (kc.Frame({"x": np.ones(2)}), {}, ValueError, "close, high, low, open, open_time, too"),
        (waves(1)["BTCUSDT", "1m"].frame(), {}, ValueError, "say interval="),
        ([1, 2], {}, TypeError, "not list"),
    ],
)
def test_what_cannot_be_drawn_says_why(
    source: object, where: dict[str, str], error: type[Exception], fault: str
) -> None:
    with pytest.raises(error, match=re.escape(fault)):
        drawn(source, **where)


def test_a_frame_that_does_not_ascend_is_refused() -> None:
    frame = waves(5)["BTCUSDT", "1m"].frame()
    columns = {name: frame[name][::-1] for name in frame.names}
    with pytest.raises(ValueError, match="open_time must ascend"):
        drawn(kc.Frame({name: np.ascontiguousarray(some) for name, some in columns.items()}))


# --- lines and marks ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, e in kc.CATALOG.items() if len(e.outputs) > 1])
def test_an_indicator_of_several_outputs_brings_all_of_them(name: str) -> None:
    lines = plan_lines((), [f"{name}()"])
    assert [line.name for line in lines] == [f"{name}().{o}" for o in kc.CATALOG[name].outputs]
    assert plan_lines((), [name]) == lines
    assert {line.pane for line in lines} == {1}


def test_what_is_no_price_stays_out_of_the_prices_pane() -> None:
    names = [line.name for line in plan_lines(["bb(20)", "supertrend()"], ())]
    assert names == ["bb(20).upper", "bb(20).middle", "bb(20).lower", "supertrend().line"]


def test_a_pane_may_have_several_lines() -> None:
    lines = plan_lines(["ema(9)"], ["rsi()", ["adx()", "chop()"], "macd().line - 1", "close > 5"])
    assert [(line.name, line.pane) for line in lines] == [
        ("ema(9)", 0),
        ("rsi()", 1),
        ("adx()", 2),
        ("chop()", 2),
        ("macd().line - 1", 3),
        ("close > 5", 4),
    ]


@pytest.mark.parametrize(
    ("overlays", "panes", "fault"),
    [
        (["rsy(14)"], [], "unknown name rsy"),
        (["macd(0)"], [], "macd"),
        (["close > open"], [], "is a condition"),
        (["rank(close)"], [], "looks across symbols"),
        ([], ["close"] * 6, "at most 5 panes"),
        (["close"] * 17, [], "at most 16 lines"),
        ("ema(20)", [], "are lists"),
    ],
)
def test_lines_that_cannot_be_drawn_are_refused(
    overlays: list[str], panes: list[str], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        plan_lines(overlays, panes)


def marks(market: kc.Market, firings: sheet.Fired, first_s: float = 0.0) -> np.ndarray:
    source = find_source(market, "BTCUSDT", "1m")
    return draw_marks(source.read(), source.others, plan_firings(firings), first_s)


def test_marks_are_the_firings_of_a_replay() -> None:
    market = waves(100)
    dips = kc.compile("crosses_below(close, sma(20))")
    fired = kc.replay(dips, market, "1m")
    assert len(fired.price) > 1
    for same in (fired, dips, dips.text):
        made = marks(market, same)
        assert (made[0] * 1000 == fired.open_time_ms).all()
        assert not made[1].any()
    assert marks(market, fired, made[0, 1]).shape[1] == made.shape[1] - 1


def test_marks_have_the_place_of_their_filter_and_ascend() -> None:
    market = waves(100)
    made = marks(market, {"up": "close > close[1]", "high": "close > 105"})
    assert set(made[1]) == {0.0, 1.0}
    assert (np.diff(made[0]) >= 0).all()


def test_other_symbols_firings_are_not_marked() -> None:
    market = waves(60)
    for minute in range(60):
        market.push("ETHUSDT", "1m", row(minute, 100 - 10 * np.sin(minute / 5)))
    fired = kc.replay(kc.compile("close > 100"), market, "1m")
    own = fired.open_time_ms[fired.symbol_index == 0]
    assert (marks(market, fired)[0] * 1000 == own).all()


def test_the_forming_row_fires_nothing() -> None:
    market = waves(30)
    market.push("BTCUSDT", "1m", row(30, 500, closed=False))
    assert not marks(market, "close > 400").size


def test_of_many_marks_the_newest_are_drawn() -> None:
    market = waves(1200, capacity=1200)
    fired = kc.replay(kc.compile("close > 0"), market, "1m", ["BTCUSDT"], mode="level")
    made = marks(market, fired)
    assert made.shape == (2, sheet.MARKS_MAX)
    assert made[0, -1] * 1000 == START + 1199 * MINUTE


@pytest.mark.parametrize(
    ("firings", "fault"),
    [
        ("close", "condition"),
        ("rank(close) < 3", "looks across symbols"),
        ({str(n): "close > 1" for n in range(9)}, "at most 8 filters"),
    ],
)
def test_firings_that_cannot_be_known_are_refused(firings: sheet.Fired, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        plan_firings(firings)


# --- what is sent ---------------------------------------------------------------------------------

_Change = tuple[int, float]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 45), st.floats(1, 99)), max_size=20), st.integers(5, 50))
def test_old_rows_and_the_tail_make_the_new_rows(changes: list[_Change], limit: int) -> None:
    """What a page does with a tail, in any order of closes, revisions and filled holes."""
    market = waves(20, without={4, 5, 15}, capacity=60)
    before = drawn(market["BTCUSDT", "1m"], "sma(3)", limit=limit)
    for minute, price in changes:
        market.push("BTCUSDT", "1m", row(minute, price))
        now = drawn(market["BTCUSDT", "1m"], "sma(3)", limit=limit)
        tail = sheet.tail_of(before, now)
        if tail is not None and tail.shape[1]:
            kept = before[:, before[0] < tail[0, 0]]
            joined = np.concatenate((kept, tail), axis=1)[:, -now.shape[1] :]
            np.testing.assert_array_equal(joined, now)
        elif tail is not None:
            np.testing.assert_array_equal(before[:, -now.shape[1] :], now)
        before = now


def test_a_tick_is_one_row_and_a_close_two() -> None:
    market = waves(100)
    market.push("BTCUSDT", "1m", row(100, 100, closed=False))
    before = drawn(market["BTCUSDT", "1m"])
    market.push("BTCUSDT", "1m", row(100, 101, closed=False))
    now = drawn(market["BTCUSDT", "1m"])
    assert np.shape(sheet.tail_of(before, now)) == (FIRST_LINE, 1)
    market.push("BTCUSDT", "1m", row(100, 102))
    market.push("BTCUSDT", "1m", row(101, 103, closed=False))
    assert np.shape(sheet.tail_of(now, drawn(market["BTCUSDT", "1m"]))) == (FIRST_LINE, 2)


def test_many_changes_are_sent_as_all_rows() -> None:
    market = waves(100, without=set(range(40, 80)))
    before = drawn(market["BTCUSDT", "1m"])
    for minute in range(40, 80):
        market.push("BTCUSDT", "1m", row(minute, 50))
    assert sheet.tail_of(before, drawn(market["BTCUSDT", "1m"])) is None


# --- the still picture ----------------------------------------------------------------------------


def test_a_still_picture_is_small_and_well_formed_whatever_it_is_called() -> None:
    lines = plan_lines(["ema(20)"], ["rsi()"])
    source = find_source(waves(2000, without={900}, capacity=2000)["BTCUSDT", "1m"], None, None)
    made = draw_rows(source.read(), None, lines, 2000)
    text = still("<b>&", made, np.array([[made[0, 50]], [0.0]]), lines)
    tree = ElementTree.fromstring(text)
    assert tree[0].text == "<b>&"
    assert len(tree.findall("{*}circle")) == 1
    assert text.count(",") < 3 * POINTS_MAX
    assert len(text) < 12_000


def test_a_still_picture_breaks_off_where_rows_are_missing() -> None:
    made = drawn(waves(50, without={20, 21})["BTCUSDT", "1m"])
    tree = ElementTree.fromstring(still("", made, np.empty((2, 0)), []))
    assert len(tree.findall("{*}polyline")) == 2


def test_a_still_picture_of_nothing_is_one() -> None:
    empty = draw_rows(Followed(waves(0)["BTCUSDT", "1m"]).read(), None, [], 5)
    assert empty.shape == (FIRST_LINE, 0)
    assert "polyline" not in still("", empty, np.empty((2, 0)), [])


def test_rows_without_a_forming_one_are_all_closed() -> None:
    rows = Followed(waves(5)["BTCUSDT", "1m"]).read()
    assert isinstance(rows, Rows)
    assert rows.closed is rows
    assert chart_rows.OneSeries(rows, None).ticker("BTCUSDT") is None
