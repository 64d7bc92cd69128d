"""Whatever a market holds, a snapshot gives it back: any numbers, printings, gaps, windows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from reference.strategies import klines

import klinecore as kc
from klinecore.snapshot import encode, restore

SYMBOLS = ("BTCUSDT", "币安人生USDT", "1000PEPEUSDT")
INTERVALS = ("1m", "1h", "1w", "1M")

rows = st.lists(
    st.sampled_from(INTERVALS).flatmap(
        lambda interval: st.tuples(
            st.sampled_from(SYMBOLS), st.just(interval), klines(interval, slots=12)
        )
    ),
    max_size=60,
)


@settings(max_examples=100)
@given(rows, st.integers(1, 12), st.integers(1, 12), st.sets(st.sampled_from(SYMBOLS), min_size=1))
def test_the_newest_rows_that_fit_come_back(
    given_rows: list[tuple[str, str, kc.Kline]], capacity: int, other: int, kept: set[str]
) -> None:
    market = kc.Market(SYMBOLS, INTERVALS, capacity)
    for symbol, interval, row in given_rows:
        market.push(symbol, interval, row)
    data = b"".join(encode(market))
    again = kc.Market(sorted(kept), INTERVALS, other)
    counts = restore(again, data)
    assert counts.rows == sum(map(len, again))
    assert counts.skipped == sum(map(len, market)) - counts.rows
    assert counts.series == sum(len(series) > 0 for series in again)
    for series in again:
        original = market[series.symbol, series.interval]
        assert series.klines() == original.klines()[-other:]
        assert series.closed_count >= len(series)
        assert series.forming is None
        inside = set(series.open_time_ms.tolist())
        assert [gap for gap in series.gaps() if gap[0] > min(inside, default=0)] == [
            gap
            for gap in original.gaps()
            if inside and min(inside) < gap[0] and gap[1] < max(inside)
        ]
