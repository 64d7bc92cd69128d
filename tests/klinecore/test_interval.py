"""klinecore.interval: the exchange's calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klinecore import INTERVAL_MS, INTERVALS
from klinecore.interval import check_interval, close_time_ms, next_open_ms, open_time_ms

NAMES = ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h"]
NAMES += ["1d", "3d", "1w", "1M"]
times = st.integers(0, 4_102_444_800_000)  # to the year 2100


def ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc, arg-type]


def test_the_sixteen_intervals_shortest_first() -> None:
    assert list(INTERVALS) == NAMES
    lengths = [INTERVAL_MS[name] for name in NAMES[:-1]]
    assert lengths == sorted(lengths)
    assert INTERVAL_MS["1m"] == 60_000
    assert INTERVAL_MS["1M"] == 0


@pytest.mark.parametrize("name", ["", "1", "m", "1min", "2m", "60m", "1H", "1D", "1 m", "1mo"])
def test_an_unknown_interval_is_refused_and_the_allowed_ones_are_named(name: str) -> None:
    with pytest.raises(ValueError, match="unknown interval") as caught:
        check_interval(name)
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in NAMES)


def test_a_minute_and_a_month_differ_in_case_only() -> None:
    assert check_interval("1m") == "1m"
    assert check_interval("1M") == "1M"
    assert close_time_ms("1m", ms(2026, 2, 1)) != close_time_ms("1M", ms(2026, 2, 1))


@pytest.mark.parametrize(
    ("interval", "moment", "opens", "following"),
    [
        ("1m", ms(2026, 2, 1, 12, 34, 56), ms(2026, 2, 1, 12, 34), ms(2026, 2, 1, 12, 35)),
        ("8h", ms(2026, 2, 1, 17), ms(2026, 2, 1, 16), ms(2026, 2, 2)),
        ("1d", ms(2026, 2, 28, 23, 59, 59), ms(2026, 2, 28), ms(2026, 3, 1)),
        # 2026-02-01 is a Sunday: its week opened on Monday, 26 January.
        ("1w", ms(2026, 2, 1, 23, 59, 59), ms(2026, 1, 26), ms(2026, 2, 2)),
        ("1w", ms(2026, 2, 2), ms(2026, 2, 2), ms(2026, 2, 9)),
        ("1w", ms(1970, 1, 5), ms(1970, 1, 5), ms(1970, 1, 12)),
        ("1M", ms(2024, 2, 29, 12), ms(2024, 2, 1), ms(2024, 3, 1)),
        ("1M", ms(2025, 12, 31, 23), ms(2025, 12, 1), ms(2026, 1, 1)),
    ],
)
def test_opening_times_follow_the_calendar(
    interval: str, moment: int, opens: int, following: int
) -> None:
    assert open_time_ms(interval, moment) == opens
    assert next_open_ms(interval, opens) == following
    assert close_time_ms(interval, opens) == following - 1


@given(interval=st.sampled_from(NAMES), time_ms=times)
def test_every_moment_lies_in_exactly_one_kline(interval: str, time_ms: int) -> None:
    opens = open_time_ms(interval, time_ms)
    assert opens <= time_ms <= close_time_ms(interval, opens)
    assert open_time_ms(interval, opens) == opens
    assert open_time_ms(interval, close_time_ms(interval, opens)) == opens
    assert open_time_ms(interval, next_open_ms(interval, opens)) == next_open_ms(interval, opens)


@given(time_ms=times)
def test_weeks_open_on_monday_and_months_on_the_first(time_ms: int) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    week = epoch + timedelta(milliseconds=open_time_ms("1w", time_ms))
    month = epoch + timedelta(milliseconds=open_time_ms("1M", time_ms))
    assert (week.weekday(), week.hour, week.minute, week.second) == (0, 0, 0, 0)
    assert (month.day, month.hour, month.minute, month.second) == (1, 0, 0, 0)


@given(interval=st.sampled_from([name for name in NAMES if name not in ("1w", "1M", "3d")]))
def test_up_to_a_day_opening_times_are_multiples_of_the_length(interval: str) -> None:
    assert open_time_ms(interval, ms(2026, 2, 1, 7, 8, 9)) % INTERVAL_MS[interval] == 0
