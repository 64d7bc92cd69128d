"""klinecore.merge: which of two rows stays, and what each row is said to have done."""

from __future__ import annotations

import pytest
from reference.messages import kline_frame
from reference.series import due_close_ms
from reference.strategies import START_MS, opens, plain_kline

import klinecore as kc
from klinecore import MergeStatus

MINUTE_MS = 60_000


def market_of(capacity: int = 5, interval: str = "1m") -> tuple[kc.Market, kc.Series]:
    market = kc.Market(["BTCUSDT"], [interval], capacity)
    return market, market["BTCUSDT", interval]


def row_at(place: int, trades: int = 10, **changes: object) -> kc.Kline:
    row = plain_kline(START_MS + place * MINUTE_MS, trades)
    return row._replace(**changes)  # type: ignore[arg-type]


def push(market: kc.Market, *rows: kc.Kline) -> list[str]:
    return [market.push("BTCUSDT", "1m", row).name for row in rows]


def test_a_kline_forms_grows_and_closes() -> None:
    market, series = market_of()
    updates = [row_at(0, trades, closed=False) for trades in (0, 1, 5)]
    assert push(market, *updates, row_at(0, 7)) == ["FORMING", "FORMING", "FORMING", "APPENDED"]
    assert series.klines() == [row_at(0, 7)]
    assert series.forming is None


def test_an_update_is_the_whole_row_not_an_increment() -> None:
    market, series = market_of()
    first = row_at(0, 1, closed=False, high="99.0", taker_buy_base="1.5")
    second = row_at(0, 2, closed=False, high="100", taker_buy_base="0")
    push(market, first, second)
    assert series.forming == second


def test_an_older_update_never_replaces_a_newer_one() -> None:
    market, series = market_of()
    newer, older = row_at(0, 9, closed=False), row_at(0, 8, closed=False)
    assert push(market, newer, older) == ["FORMING", "STALE"]
    assert series.forming == newer


def test_a_stale_update_never_reopens_a_closed_kline() -> None:
    market, series = market_of()
    assert push(market, row_at(0, 9), row_at(0, 99, closed=False)) == ["APPENDED", "STALE"]
    assert series.klines() == [row_at(0, 9)]
    assert series.forming is None


def test_closed_beats_forming_even_with_fewer_trades() -> None:
    market, series = market_of()
    assert push(market, row_at(0, 9, closed=False), row_at(0, 8)) == ["FORMING", "APPENDED"]
    assert series.klines(forming=True) == [row_at(0, 8)]


def test_duplicates_change_nothing_and_are_counted() -> None:
    market, series = market_of()
    push(market, row_at(0), row_at(1, closed=False))
    before = (series.revision, series.closed_count, series.klines(forming=True))
    assert push(market, row_at(0), row_at(1, closed=False)) == ["DUPLICATE", "DUPLICATE"]
    assert (series.revision, series.closed_count, series.klines(forming=True)) == before
    assert series.counters["duplicates"] == 2


def test_equal_values_with_another_event_time_change_nothing() -> None:
    market, series = market_of()
    market.apply(kline_frame(row_at(0), event_time_ms=START_MS + 60_001))
    revision = series.revision
    market.apply(kline_frame(row_at(0), event_time_ms=START_MS + 62_000))
    assert series.revision == revision
    assert series.counters["duplicates"] == 1
    assert series.last_event_ms == series.counters["last_event_ms"] == START_MS + 62_000


def test_a_closed_row_with_more_trades_is_a_revision() -> None:
    market, series = market_of()
    push(market, row_at(0, 9), row_at(1))
    revision = series.revision
    assert push(market, row_at(0, 10, close="11.00")) == ["REVISED"]
    assert series.klines()[0].close == "11.00"
    assert series.revision > revision
    assert series.counters["revisions"] == 1
    assert series.counters["mismatches"] == 0
    assert series.closed_count == 2


def test_a_closed_row_with_fewer_trades_is_stale() -> None:
    market, series = market_of()
    assert push(market, row_at(0, 10), row_at(0, 9)) == ["APPENDED", "STALE"]
    assert series.last == row_at(0, 10)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_equal_counts_with_other_values_are_a_mismatch_and_the_greater_stays(
    order: tuple[int, int],
) -> None:
    market, series = market_of()
    rows = [row_at(0, close="10.00"), row_at(0, close="10.01")]
    push(market, *(rows[place] for place in order))
    assert series.last == rows[1]
    assert series.counters["mismatches"] == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    ("lesser", "greater"),
    [
        # Equal as float64: only the digits it cannot hold decide.
        ({"quote_volume": "90071992547.40992001"}, {"quote_volume": "90071992547.40992002"}),
        # Equal as numbers: the printing decides.
        ({"close": "10.0"}, {"close": "10.00"}),
        ({"volume": "0"}, {"volume": "0.00000000"}),
    ],
)
def test_the_order_of_rows_is_total(
    lesser: dict[str, str], greater: dict[str, str], order: tuple[int, int]
) -> None:
    market, series = market_of()
    rows = [row_at(0, **lesser), row_at(0, **greater)]
    push(market, *(rows[place] for place in order))
    assert series.last == rows[1]


def test_a_past_row_fills_its_place() -> None:
    market, series = market_of()
    push(market, row_at(0), row_at(3))
    assert push(market, row_at(2), row_at(1), row_at(-1)) == ["INSERTED"] * 3
    assert series.klines() == [row_at(place) for place in range(-1, 4)]
    assert series.counters["inserted"] == 3


def test_a_full_window_gives_up_its_oldest_row_and_takes_no_older_one() -> None:
    market, series = market_of(3)
    push(market, row_at(0), row_at(1), row_at(3))
    assert push(market, row_at(2)) == ["INSERTED"]
    assert series.klines() == [row_at(1), row_at(2), row_at(3)]
    assert push(market, row_at(0)) == ["TOO_OLD"]
    assert series.klines() == [row_at(1), row_at(2), row_at(3)]
    assert series.counters["too_old"] == 1


def test_a_forming_row_that_is_overtaken_is_dropped_and_the_hole_is_named() -> None:
    market, series = market_of()
    push(market, row_at(0), row_at(1, closed=False))
    assert push(market, row_at(2, closed=False)) == ["FORMING"]
    assert series.klines(forming=True) == [row_at(0), row_at(2, closed=False)]
    assert series.gaps() == [(START_MS + MINUTE_MS, START_MS + MINUTE_MS)]
    assert push(market, row_at(1)) == ["APPENDED"]
    assert series.klines(forming=True) == [row_at(0), row_at(1), row_at(2, closed=False)]
    assert series.gaps() == []


def test_an_update_older_than_the_newest_row_is_stale() -> None:
    market, series = market_of()
    push(market, row_at(1), row_at(3, closed=False))
    assert push(market, row_at(2, closed=False), row_at(0, closed=False)) == ["STALE", "STALE"]
    assert series.counters["stale"] == 2


def test_a_close_beyond_the_forming_row_ends_it() -> None:
    market, series = market_of()
    push(market, row_at(0, closed=False))
    assert push(market, row_at(1)) == ["APPENDED"]
    assert series.klines(forming=True) == [row_at(1)]


def test_a_kline_without_trades_is_a_kline() -> None:
    market, series = market_of()
    quiet = row_at(
        1, 0, volume="0.00000000", quote_volume="0.00000000", taker_buy_base="0.00000000"
    )
    assert push(market, row_at(0), quiet._replace(closed=False), quiet) == [
        "APPENDED",
        "FORMING",
        "APPENDED",
    ]
    assert series.klines() == [row_at(0), quiet]


@pytest.mark.parametrize("interval", kc.INTERVALS)
def test_every_interval_takes_the_rows_of_its_calendar(interval: str) -> None:
    market, series = market_of(50, interval)
    rows = [plain_kline(opens_ms, interval=interval) for opens_ms in opens(interval, 40)]
    for row in rows:
        assert market.push("BTCUSDT", interval, row) == MergeStatus.APPENDED
    assert series.klines() == rows
    assert series.gaps() == []


@pytest.mark.parametrize("interval", kc.INTERVALS)
@pytest.mark.parametrize("off_ms", [-1, 1, 60_000, -60_000])
def test_a_close_time_off_the_calendar_is_refused(interval: str, off_ms: int) -> None:
    market, series = market_of(5, interval)
    row = plain_kline(opens(interval, 1)[0], interval=interval)
    row = row._replace(close_time_ms=row.close_time_ms + off_ms)
    assert market.push("BTCUSDT", interval, row) == MergeStatus.BAD_TIME
    assert market.apply(kline_frame(row, interval=interval)) == kc.FrameKind.KLINE
    assert market.counters()["bad_time"] == 2
    assert series.sequence == 0
    assert not market.pending


def test_history_that_opened_late_ends_on_the_grid() -> None:
    """Binance's own history holds such a row: 2018-02-09 09:58:14.800."""
    market, series = market_of(5, "1m")
    late = plain_kline(1_518_170_294_800)
    assert late.close_time_ms == 1_518_170_339_999
    assert market.push("BTCUSDT", "1m", late) == MergeStatus.APPENDED
    following = plain_kline(1_518_170_340_000)
    assert market.push("BTCUSDT", "1m", following) == MergeStatus.APPENDED
    assert series.klines() == [late, following]
    assert series.gaps() == []


def test_a_month_of_a_leap_year_has_29_days() -> None:
    february = 1_706_745_600_000
    assert due_close_ms("1M", february) == 1_709_251_199_999
    market, _ = market_of(5, "1M")
    row = plain_kline(february, interval="1M")
    assert market.push("BTCUSDT", "1M", row) == MergeStatus.APPENDED


@pytest.mark.parametrize("time_ms", [-MINUTE_MS, 10**18 - 10**18 % MINUTE_MS])
def test_times_at_the_ends_of_the_range_do_no_harm(time_ms: int) -> None:
    market, series = market_of()
    row = plain_kline(time_ms)
    status = market.push("BTCUSDT", "1m", row)
    assert status == (MergeStatus.BAD_TIME if time_ms < 0 else MergeStatus.APPENDED)
    assert series.klines() == ([] if time_ms < 0 else [row])


def test_trade_counts_are_kept_below_2_to_the_53() -> None:
    market, series = market_of()
    most, beyond = row_at(0, 2**53 - 1), row_at(1, 2**53)
    assert push(market, most, beyond) == ["APPENDED", "UNREPRESENTABLE"]
    market.apply(kline_frame(beyond))
    assert market.counters()["unrepresentable"] == 2
    assert series.klines() == [most]


@pytest.mark.parametrize("trades", [-1, -(2**60)])
def test_a_negative_count_of_trades_is_refused(trades: int) -> None:
    market, series = market_of()
    row = row_at(0)._replace(trades=trades)
    with pytest.raises(ValueError, match="expected a count of trades, received -"):
        push(market, row)
    assert market.apply(kline_frame(row)) == kc.FrameKind.MALFORMED
    assert series.sequence == 0


def test_a_count_of_trades_is_a_whole_number() -> None:
    market, _ = market_of()
    with pytest.raises(TypeError, match="integer"):
        push(market, row_at(0)._replace(trades=1.5))


def test_every_write_moves_the_sequence_by_two_and_reads_do_not() -> None:
    market, series = market_of()
    assert series.sequence == 0
    for count, row in enumerate([row_at(0), row_at(0), row_at(1, closed=False)], start=1):
        push(market, row)
        assert series.sequence == 2 * count
    series.klines(forming=True)
    series.snapshot()
    market.klines_json("BTCUSDT", "1m", 5)
    assert series.sequence == 6


def test_the_revision_stands_still_while_only_the_forming_row_moves() -> None:
    market, series = market_of()
    push(market, row_at(0))
    revision = series.revision
    push(market, *(row_at(1, trades, closed=False) for trades in range(20)))
    assert series.revision == revision
    push(market, row_at(1, 20))
    assert series.revision > revision


def test_series_of_one_market_do_not_touch_each_other() -> None:
    market = kc.Market(["A", "B"], ["1m", "5m"], 3)
    for place in range(100):
        market.apply(kline_frame(row_at(place), "A"))
    five = plain_kline(START_MS, interval="5m")
    market.push("B", "5m", five)
    assert [len(series) for series in market] == [3, 0, 0, 1]
    assert market["B", "5m"].klines() == [five]
    assert market["A", "1m"].klines() == [row_at(place) for place in (97, 98, 99)]


@pytest.mark.parametrize("capacity", [1, 16, 48])  # 16 and 48 leave no padding behind a series
@pytest.mark.parametrize("early", [0, 1])
def test_nothing_is_written_beyond_a_series_at_the_end_of_its_room(
    capacity: int, early: int
) -> None:
    """The forming row stands behind the closed ones: the last slot is its, and no neighbour's."""
    market = kc.Market(["A", "B"], ["1m"], capacity)
    series, neighbour = market["A", "1m"], market["B", "1m"]
    for place in range(200):
        live = row_at(place + early, closed=False)
        for row in (live, row_at(place)):
            market.push("A", "1m", row)
        expected = [row_at(kept) for kept in range(max(place + 1 - capacity, 0), place + 1)]
        assert series.klines(forming=True) == expected + [live] * early
        assert neighbour.sequence == 0
        assert neighbour.klines(forming=True) == []


def test_a_first_row_of_whole_numbers_is_not_printed_as_another_series_prints() -> None:
    market = kc.Market(["A", "B"], ["1m"], 5)
    market.push("A", "1m", row_at(0))
    whole = kc.Kline(START_MS, *"12345", START_MS + MINUTE_MS - 1, "6", 7, "8", "9")
    market.push("B", "1m", whole)
    assert market["B", "1m"].klines() == [whole]
