"""Whatever a market holds, a snapshot gives it back: any numbers, printings, gaps, windows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import snapshots
from reference.strategies import klines, opens, plain_kline

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


def small() -> bytes:
    market = kc.Market(SYMBOLS, ("1m", "1M"), 5)
    for symbol in SYMBOLS:
        for interval in ("1m", "1M"):
            for open_ms in opens(interval, 5):
                market.push(symbol, interval, plain_kline(open_ms, interval=interval))
    return b"".join(encode(market, label="spot"))


SMALL = small()
places = st.integers(0, len(SMALL))
edits = st.lists(
    st.one_of(
        st.tuples(st.just("write"), places, st.binary(min_size=1, max_size=24)),
        st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=24)),
        st.tuples(st.just("remove"), places, st.integers(1, 200)),
        st.tuples(st.just("repeat"), places, st.integers(1, 200)),
        st.tuples(st.just("zero"), places, st.integers(1, 600)),
    ),
    min_size=1,
    max_size=4,
)


def applied(data: bytes, changes: list[tuple[str, int, Any]]) -> bytes:
    for kind, place, what in changes:
        head, tail = data[:place], data[place:]
        if kind == "write":
            data = head + what + tail[len(what) :]
        elif kind == "insert":
            data = head + what + tail
        elif kind == "remove":
            data = head + tail[what:]
        elif kind == "repeat":
            data = head + tail[:what] + tail
        else:
            data = head + bytes(min(what, len(tail))) + tail[what:]
    return data


@given(edits)
def test_no_other_bytes_than_those_written_are_taken(changes: list[tuple[str, int, Any]]) -> None:
    data = applied(SMALL, changes)
    market = kc.Market(SYMBOLS, ("1m", "1M"), 5)
    if data == SMALL:
        assert restore(market, data).rows == 30
        return
    with pytest.raises(kc.SnapshotError):
        restore(market, data)
    assert sum(map(len, market)) == 0


@given(st.data())
def test_whatever_passes_the_checksums_can_be_read(data: st.DataObject) -> None:
    """An edit that made all of them fit is refused for what it means, or does no harm."""
    records = snapshots.payloads(SMALL)
    for kind, payload in records:
        for _ in range(data.draw(st.integers(0, 2))):
            if payload and kind != snapshots.END:
                place = data.draw(st.integers(0, len(payload) - 1))
                value = data.draw(st.binary(min_size=1, max_size=8))
                payload[place : place + len(value)] = value[: len(payload) - place]
    market = kc.Market(SYMBOLS, ("1m", "1M"), 5)
    try:
        restore(market, snapshots.sealed(SMALL[:16], records))
    except kc.SnapshotError:
        assert sum(map(len, market)) == 0
        return
    for series in market:
        assert len(series.klines()) == len(series) <= 5
        series.gaps()
        market.klines_json(series.symbol, series.interval, 5)
    market.push("BTCUSDT", "1m", plain_kline(opens("1m", 6)[-1]))
    market.drain()
