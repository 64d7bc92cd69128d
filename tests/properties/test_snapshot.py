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
@given(
    rows,
    st.integers(1, 12),
    st.integers(1, 12),
    st.sets(st.sampled_from(SYMBOLS), min_size=1),
    st.lists(st.booleans(), min_size=24, max_size=24),
)
def test_the_newest_rows_that_fit_come_back(
    given_rows: list[tuple[str, str, kc.Kline]],
    capacity: int,
    other: int,
    kept: set[str],
    confirmed: list[bool],
) -> None:
    market = kc.Market(SYMBOLS, INTERVALS, capacity)
    for symbol, interval, row in given_rows:
        market.push(symbol, interval, row)
    for series in market:
        for gap, known in zip(series.gaps(), confirmed, strict=False):
            if known:
                market.confirm_absent(series.symbol, series.interval, *gap)
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
        assert series.states.tolist() == original.states.tolist()[-other:]
        times = series.open_time_ms.tolist()
        for name in ("gaps", "holes", "absences"):
            # The forming row is not kept, nor are the rows before the window.
            assert getattr(series, name)() == [
                (first, last)
                for first, last in getattr(original, name)()
                if times and times[0] < first and last < times[-1]
            ]
