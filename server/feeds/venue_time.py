"""The exchange's time, carried by the monotonic clock: steps of the wall clock do not move it."""

from __future__ import annotations

import logging
from typing import NamedTuple

from server.clock import Clock

__all__ = ["VenueTime"]

log = logging.getLogger(__name__)

#: Readings kept; the surest of them counts.
READINGS_MAX = 5

#: A reading whose round trip took longer is doubtful, s: the answer may be from either end of it.
ROUND_TRIP_MAX_S = 2.0

#: Doubtful readings after which the best of them has to do: this network is no faster.
DOUBTFUL_MAX = 3

#: How far two clocks may drift apart, ms a second: no clock is slewed faster than 500 ppm.
DRIFT_MS_PER_S = 0.5

#: A change of the time by more than this is a step, ms.
STEP_MS = 1000.0


class _Reading(NamedTuple):
    """One round trip: the exchange's time at the monotonic clock's zero, and its possible error."""

    base_ms: float
    error_ms: float  # half the round trip: the answer was written somewhere in it
    taken_s: float

    def error_at(self, now_s: float) -> float:
        return self.error_ms + (now_s - self.taken_s) * DRIFT_MS_PER_S

    def agrees(self, other: _Reading) -> bool:
        """True if one and the same clock can have given both."""
        apart_s = abs(self.taken_s - other.taken_s)
        reach_ms = self.error_ms + other.error_ms + apart_s * DRIFT_MS_PER_S + 1.0
        return abs(self.base_ms - other.base_ms) <= reach_ms


class VenueTime:
    """The exchange's time: a base measured by its ``/time`` plus the monotonic clock.

    Before the first measurement it is the wall clock's. Each reading has an error of half its
    round trip, which grows with its age as clocks drift; the one with the least error counts, so
    a stalled answer moves nothing. A reading that contradicts the others is believed when a second
    one agrees with it: the machine was asleep, and its monotonic clock with it.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.steps = 0  # changes by more than STEP_MS, the first measurement included
        self.doubtful = 0  # readings that were not believed
        self._readings: list[_Reading] = []
        self._suspect: _Reading | None = None
        self._base_ms: float | None = None
        self._doubtful_in_row = 0

    @property
    def known(self) -> bool:
        """True once the exchange's time was measured well enough."""
        return self._base_ms is not None

    @property
    def offset_ms(self) -> int:
        """Exchange time minus the wall clock's, at this moment."""
        return self.now_ms() - self.clock.time_ms()

    @property
    def error_ms(self) -> float:
        """How far the time may be off, ms; infinite before the first measurement."""
        now_s = self.clock.monotonic()
        return min((reading.error_at(now_s) for reading in self._readings), default=float("inf"))

    def now_ms(self) -> int:
        """Ms since 1970 UTC, by the exchange's clock."""
        if self._base_ms is None:
            return self.clock.time_ms()
        return int(self._base_ms + self.clock.monotonic() * 1000)

    def note(self, sent_s: float, received_s: float, server_ms: int) -> bool:
        """Take one round trip, in monotonic seconds; False if it should be repeated soon."""
        base_ms = server_ms - (sent_s + received_s) / 2 * 1000
        reading = _Reading(base_ms, (received_s - sent_s) / 2 * 1000, received_s)
        doubtful = received_s - sent_s > ROUND_TRIP_MAX_S
        if any(not reading.agrees(other) for other in self._readings):
            if self._suspect is None or not self._suspect.agrees(reading):
                self._suspect = reading
                self.doubtful += 1
                return False
            log.warning("the exchange's time is another by two readings: ours stood still")
            self._readings = [self._suspect]
        self._suspect = None
        self._readings.append(reading)
        if len(self._readings) > READINGS_MAX:
            self._readings.remove(max(self._readings, key=lambda r: r.error_at(received_s)))
        self.doubtful += doubtful
        self._doubtful_in_row = self._doubtful_in_row + 1 if doubtful else 0
        if self.known or not doubtful or self._doubtful_in_row >= DOUBTFUL_MAX:
            self._settle(received_s)
        return not doubtful

    def _settle(self, now_s: float) -> None:
        """Follow the surest reading."""
        before_ms = self._base_ms
        self._base_ms = min(self._readings, key=lambda r: r.error_at(now_s)).base_ms
        if before_ms is None or abs(self._base_ms - before_ms) > STEP_MS:
            self.steps += 1
