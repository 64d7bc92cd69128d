"""The made-up market: exact, and a function of its seed alone."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klinecore.interval import INTERVALS, next_open_ms, open_time_ms
from server.exchange.book import SERVED_INTERVALS, Book
from server.exchange.generated import DEMO_SYMBOLS, GeneratedMarket
from server.exchange.minutes import Minutes

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
MONDAY_MS = 1_772_409_600_000


def as_lists(minutes: Minutes) -> list[list[int]]:
    return [column.tolist() for column in minutes]


@pytest.mark.parametrize("market", ["spot", "um"])
def test_same_seed_gives_the_same_minutes_in_any_order_of_questions(market: str) -> None:
    one, other = GeneratedMarket(5, market=market), GeneratedMarket(5, market=market)
    days = [MONDAY_MS + day * DAY_MS for day in (0, 40, 3, 41, 2)]
    asked = {at: as_lists(one.minutes("LTCUSDT", at, at + 7_200_000)) for at in days}
    for at in sorted(days, reverse=True):
        other.minutes("BTCUSDT", at - DAY_MS, at)
        assert as_lists(other.minutes("LTCUSDT", at, at + 7_200_000)) == asked[at]


def test_another_seed_gives_another_market() -> None:
    one, other = (GeneratedMarket(seed).minutes("BTCUSDT", MONDAY_MS, MONDAY_MS) for seed in (1, 2))
    assert as_lists(one) != as_lists(other)


def test_rows_of_a_minute_do_not_depend_on_where_the_question_begins() -> None:
    market = GeneratedMarket(3)
    long = market.minutes("QTUMUSDT", MONDAY_MS - 3 * DAY_MS, MONDAY_MS + 500_000)
    short = market.minutes("QTUMUSDT", MONDAY_MS + 480_000, MONDAY_MS + 500_000)
    assert [column[-1] for column in as_lists(long)] == [column[-1] for column in as_lists(short)]


@settings(max_examples=60)
@given(st.integers(0, DAY_MS - 1), st.sampled_from(["BTCUSDT", "QTUMUSDT", "FDUSDUSDT"]))
def test_a_forming_minute_only_grows_and_ends_as_its_close(offset: int, symbol: str) -> None:
    market = GENERATED
    at = MONDAY_MS + offset
    opened = at // MINUTE_MS * MINUTE_MS
    now = market.minutes(symbol, opened, at)
    whole = market.minutes(symbol, opened, opened + MINUTE_MS).between(opened, opened + MINUTE_MS)
    last = market.minutes(symbol, opened, opened + MINUTE_MS - 1)
    assert as_lists(last) == as_lists(whole)
    assert now.trades[0] <= whole.trades[0]
    assert now.volume[0] <= whole.volume[0]
    assert whole.low[0] <= now.low[0] <= now.high[0] <= whole.high[0] or not now.trades[0]


GENERATED = GeneratedMarket(11)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "QTUMUSDT", "COINUSDT"])
def test_klines_obey_their_own_arithmetic(symbol: str) -> None:
    market = GeneratedMarket(2, [symbol])
    rows = market.minutes(symbol, MONDAY_MS, MONDAY_MS + DAY_MS)
    assert np.all(rows.low <= np.minimum(rows.open, rows.close))
    assert np.all(rows.high >= np.maximum(rows.open, rows.close))
    assert np.all(rows.low > 0)
    assert np.all(rows.taker_buy_base <= rows.volume)
    assert np.all(rows.taker_buy_quote <= rows.quote_volume)
    assert np.all(rows.low * rows.volume <= rows.quote_volume)
    assert np.all(rows.quote_volume <= rows.high * rows.volume)


def test_minutes_without_trades_stand_at_the_last_price() -> None:
    rows = GeneratedMarket(2).minutes("QTUMUSDT", MONDAY_MS - DAY_MS, MONDAY_MS + DAY_MS)
    quiet = np.flatnonzero(rows.trades == 0)
    assert len(quiet) > 500
    for at in quiet[quiet > 0].tolist():
        assert rows.open[at] == rows.high[at] == rows.low[at] == rows.close[at]
        assert rows.close[at] == rows.close[at - 1]
        assert (rows.volume[at], rows.first_id[at], rows.last_id[at]) == (0, -1, -1)


def test_trade_ids_count_trades_and_rise() -> None:
    rows = GENERATED.minutes("LTCUSDT", MONDAY_MS, MONDAY_MS + 3 * DAY_MS)
    traded = rows.trades > 0
    first, last = rows.first_id[traded], rows.last_id[traded]
    assert np.array_equal(last - first + 1, rows.trades[traded])
    assert np.all(first[1:] > last[:-1])


def test_spot_prints_eight_decimals_and_um_those_of_tick_and_step() -> None:
    spot, um = (
        Book(GeneratedMarket(4, ("BTCUSDT", "QTUMUSDT"), market=market))
        for market in ("spot", "um")
    )
    rows = spot.rows("QTUMUSDT", "1m", MONDAY_MS, limit=200)
    empty = next(row for row in rows if row.closed and not row.trades)
    assert '"0.00000000",' in spot.rest_row("QTUMUSDT", "1m", empty)
    quiet = next(row for row in um.rows("QTUMUSDT", "1m", MONDAY_MS, limit=200) if not row.trades)
    texts = um.rest_row("QTUMUSDT", "1m", quiet).split(",")
    assert texts[5] == texts[7] == texts[9] == texts[10] == '"0"'
    row = um.rows("BTCUSDT", "1m", MONDAY_MS, limit=1)[0]._replace(open=6_400_010)
    assert um.rest_row("BTCUSDT", "1m", row).split(",")[1] == '"64000.10"'


@pytest.mark.parametrize("symbol", ["BTCUSDT", "QTUMUSDT"])
@pytest.mark.parametrize("interval", [name for name in INTERVALS if name not in ("1s", "1m")])
def test_each_interval_is_the_aggregate_of_its_minutes_by_decimals(
    symbol: str, interval: str
) -> None:
    """The sums are made again from the printed 1m rows, in Decimal, kline by kline."""
    book = Book(GENERATED_SHORT)
    days = 32 if interval == "1M" else 15
    now_ms = GENERATED_SHORT.first_ms + days * DAY_MS + 12_345_678
    rows = book.rows(symbol, interval, now_ms, limit=2)
    assert rows
    for row in rows:
        end_ms = next_open_ms(interval, row.open_ms)
        assert open_time_ms(interval, row.open_ms) == row.open_ms
        assert row.close_ms == end_ms - 1
        minutes = book.rows(
            symbol, "1m", now_ms, limit=50_000, start_ms=row.open_ms, end_ms=end_ms - 1
        )
        texts = [book.rest_row(symbol, "1m", minute)[1:-1].split(",") for minute in minutes]
        columns = [
            [Decimal(text.strip('"')) for text in column] for column in zip(*texts, strict=True)
        ]
        expected = [
            columns[1][0],
            max(columns[2]),
            min(columns[3]),
            columns[4][-1],
            sum(columns[5]),
            sum(columns[7]),
            sum(columns[8]),
            sum(columns[9]),
            sum(columns[10]),
        ]
        printed = book.rest_row(symbol, interval, row)[1:-1].split(",")
        found = [Decimal(printed[at].strip('"')) for at in (1, 2, 3, 4, 5, 7, 8, 9, 10)]
        assert found == expected
        known = [minute for minute in minutes if minute.trades]
        ids = (known[0].first_id, known[-1].last_id) if known else (-1, -1)
        assert (row.first_id, row.last_id) == ids
        assert row.closed == (row.close_ms < now_ms)


#: Lists in the middle of a month and of a week, so that first klines are cut.
GENERATED_SHORT = GeneratedMarket(8, ("BTCUSDT", "QTUMUSDT"), first_ms=MONDAY_MS + 3 * DAY_MS)


def test_a_choice_among_symbols_is_no_symbol() -> None:
    """`klineserver demo --symbols top:50:USDT` once served a symbol of that name, in vain."""
    with pytest.raises(ValueError, match="'TOP:50:USDT' is no symbol: name them"):
        GeneratedMarket(1, ["TOP:50:USDT"])


def test_a_symbol_needs_a_known_quote() -> None:
    with pytest.raises(ValueError, match="ends in USDT"):
        GeneratedMarket(1, ["BTCXYZ"])
    assert "币安人生USDT" in GeneratedMarket(1, ["币安人生USDT"]).symbols
    assert len(DEMO_SYMBOLS) == len(set(DEMO_SYMBOLS))
    assert "1s" not in SERVED_INTERVALS
