"""The exchange's time: measured, carried by the monotonic clock, moved by nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.feeds.venue_time import DOUBTFUL_MAX, READINGS_MAX, VenueTime

START_MS = 1_768_384_800_000


class TwoClocks:
    """A wall clock that can be set and a monotonic one; the exchange's own time beside them."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.wall_ms = START_MS
        self.drift = 0.0  # how much faster the exchange's clock runs

    def time_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")

    def call_later(self, seconds: float, callback: object) -> Any:
        raise AssertionError("nobody waits here")

    @property
    def venue_ms(self) -> float:
        return START_MS + (self.now_s - 1000.0) * 1000 * (1 + self.drift)

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall_ms += int(seconds * 1000)


def read(time: VenueTime, clocks: TwoClocks, there_s: float = 0.05, back_s: float = 0.05) -> bool:
    """One round trip to an exchange whose clock is right."""
    sent_s = clocks.now_s
    clocks.pass_s(there_s)
    server_ms = int(clocks.venue_ms)
    clocks.pass_s(back_s)
    return time.note(sent_s, clocks.now_s, server_ms)


def error_of(time: VenueTime, clocks: TwoClocks) -> float:
    return abs(time.now_ms() - clocks.venue_ms)


def test_before_the_first_measurement_it_is_the_wall_clocks() -> None:
    clocks = TwoClocks()
    time = VenueTime(clocks)
    clocks.wall_ms += 12_345
    assert (time.known, time.now_ms()) == (False, START_MS + 12_345)
    assert time.error_ms == float("inf")


@pytest.mark.parametrize("step_ms", [-3_600_000, -500, 500, 3_600_000])
def test_a_step_of_the_wall_clock_does_not_move_it(step_ms: int) -> None:
    clocks = TwoClocks()
    time = VenueTime(clocks)
    assert read(time, clocks)
    clocks.wall_ms += step_ms
    clocks.pass_s(7.5)
    assert error_of(time, clocks) <= 1
    assert time.offset_ms == pytest.approx(-step_ms, abs=1)


def test_it_is_measured_at_the_middle_of_the_round_trip() -> None:
    clocks = TwoClocks()
    time = VenueTime(clocks)
    read(time, clocks, there_s=0.3, back_s=0.1)
    assert error_of(time, clocks) == pytest.approx(100, abs=1)
    assert time.error_ms == pytest.approx(200, abs=1)


@pytest.mark.parametrize("there_s", [0.0, 10.0])
def test_a_stall_of_ten_seconds_does_not_move_it(there_s: float) -> None:
    clocks = TwoClocks()
    time = VenueTime(clocks)
    read(time, clocks)
    for _ in range(2 * READINGS_MAX):
        clocks.pass_s(300.0)
        assert not read(time, clocks, there_s, 10.0 - there_s)
        assert error_of(time, clocks) <= 1
    assert time.doubtful == 2 * READINGS_MAX


@pytest.mark.parametrize("there_s", [0.0, 10.0])
def test_a_first_reading_that_stalled_is_not_known_time(there_s: float) -> None:
    clocks = TwoClocks()
    time = VenueTime(clocks)
    assert not read(time, clocks, there_s, 10.0 - there_s)
    assert not time.known
    assert read(time, clocks)
    assert time.known
    assert error_of(time, clocks) <= 1


def test_where_every_round_trip_is_long_the_best_of_a_few_has_to_do() -> None:
    clocks = TwoClocks()
    time = VenueTime(clocks)
    for round_trip_s in (9.0, 5.0, 7.0)[:DOUBTFUL_MAX]:
        assert not time.known
        read(time, clocks, 0.0, round_trip_s)
    assert time.known
    assert time.error_ms < 2_600
    assert error_of(time, clocks) < 2_600


@pytest.mark.parametrize("drift", [-500e-6, -100e-6, 100e-6, 500e-6])
def test_slew_is_followed(drift: float) -> None:
    clocks = TwoClocks()
    clocks.drift = drift
    time = VenueTime(clocks)
    for _ in range(100):
        read(time, clocks)
        clocks.pass_s(300.0)
        assert error_of(time, clocks) <= 300 * 1000 * abs(drift) + 10
    assert time.steps == 1


def test_a_machine_that_slept_is_noticed_by_the_second_reading() -> None:
    """Its monotonic clock stood still; one odd answer alone moves nothing."""
    clocks = TwoClocks()
    time = VenueTime(clocks)
    for _ in range(READINGS_MAX):
        read(time, clocks)
    now_s = clocks.now_s
    assert not time.note(now_s, now_s + 0.1, int(clocks.venue_ms) + 3_600_000)
    assert error_of(time, clocks) <= 1
    assert read(time, clocks), "the odd one was a mistake"
    for believed in (False, True):
        now_s = clocks.now_s
        clocks.pass_s(0.1)
        assert time.note(now_s, clocks.now_s, int(clocks.venue_ms) + 3_600_000) is believed
    assert time.now_ms() - clocks.venue_ms == pytest.approx(3_600_000, abs=60)
    assert time.steps == 2


@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 0.5),
            st.floats(0.001, 0.5),
            st.floats(0.0, 600.0),
            st.integers(-7_200_000, 7_200_000),
        ),
        min_size=1,
        max_size=40,
    ),
    st.floats(-400e-6, 400e-6),
)
def test_it_is_never_further_off_than_it_admits(
    trips: list[tuple[float, float, float, int]], drift: float
) -> None:
    clocks = TwoClocks()
    clocks.drift = drift
    time = VenueTime(clocks)
    for there_s, back_s, pause_s, step_ms in trips:
        read(time, clocks, there_s, back_s)
        clocks.pass_s(pause_s)
        clocks.wall_ms += step_ms
        assert error_of(time, clocks) <= time.error_ms + 2
