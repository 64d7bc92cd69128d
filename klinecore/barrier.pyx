"""The moment at which all closes of an interval's boundary are in, told once, with what is missing.

Each interval has one barrier, its newest. While it is open it waits for the symbols that are
expected then; once its event is out, only late closes, and symbols it waits for no longer, change
it. A close costs a comparison; symbols are gone through when a barrier begins.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from klinecore.events cimport EventKind, EventQueue
from klinecore.merge cimport SeriesMemory, series_close_time, series_find

from typing import NamedTuple

__all__ = ["Barrier", "Barriers"]

cdef enum Mark:
    IGNORED = 0
    MISSING = 1
    IN = 2


class Barrier(NamedTuple):
    """What an interval's newest barrier waits for, and what came."""

    interval: str
    open_time_ms: int
    close_time_ms: int
    expected: int
    closed: int
    late: int
    complete: bool
    ended: bool
    missing: tuple


cdef Barriers new_barriers(
    EventQueue events, const SeriesMemory* memory, uint32_t interval_count, uint32_t place_count
):
    """The barriers over ``memory[place * interval_count + interval]``."""
    cdef Barriers barriers = Barriers.__new__(Barriers, interval_count, place_count)
    barriers._events = events
    barriers._memory = memory
    return barriers


@cython.final
cdef class Barriers:
    """One barrier per interval; used through ``Market``, whose series it looks at."""

    def __cinit__(self, uint32_t interval_count, uint32_t place_count):
        cdef uint32_t interval
        self._interval_count = interval_count
        self._place_count = place_count
        for interval in range(16):
            self.records[interval].open_time_ms = -1
        self.expected = <uint8_t*>calloc(place_count, 1)
        self._marks = <uint8_t*>calloc(place_count * interval_count, 1)
        if self.expected == NULL or self._marks == NULL:
            raise MemoryError(f"no memory for the barriers of {place_count} symbols")

    def __dealloc__(self):
        free(self.expected)
        free(self._marks)

    cdef bint holds(self, uint32_t interval, uint32_t place, int64_t open_time_ms) noexcept:
        """True if the symbol at ``place`` has a closed row of that time."""
        cdef const SeriesMemory* series = &self._memory[place * self._interval_count + interval]
        cdef uint32_t slot = series_find(series, open_time_ms)
        return (
            slot < series.header.start + series.header.count
            and series.open_time_ms[slot] == open_time_ms
        )

    cdef bint is_missing(self, uint32_t interval, uint32_t place) noexcept:
        """True if the barrier waits, or waited in vain, for the symbol at ``place``."""
        return self._marks[interval * self._place_count + place] == MISSING

    cdef void _check(self, uint32_t interval) noexcept:
        """Something changed: end the barrier if all is in, tell of it if it has ended."""
        cdef BarrierRecord* record = &self.records[interval]
        if record.ended:
            self._events.emit(EventKind.BARRIER_REVISED, interval, record.open_time_ms)
        elif record.closed == record.expected:
            self.end(interval)

    cdef bint begin(self, uint32_t interval, int64_t open_time_ms) noexcept:
        """Wait for the closes of a newer boundary; False if it is not newer than the last one."""
        cdef BarrierRecord* record = &self.records[interval]
        cdef uint8_t* marks = self._marks + interval * self._place_count
        cdef uint32_t place
        if open_time_ms <= record.open_time_ms:
            return False
        self.end(interval)
        record.open_time_ms = open_time_ms
        record.expected = record.closed = record.late = 0
        record.ended = False
        for place in range(self._place_count):
            marks[place] = IGNORED
            if self.expected[place]:
                record.expected += 1
                marks[place] = MISSING
                if self.holds(interval, place, open_time_ms):
                    marks[place] = IN
                    record.closed += 1
        self._check(interval)
        return True

    cdef void end(self, uint32_t interval) noexcept:
        """Tell of an open barrier, whatever is missing; wait no longer."""
        cdef BarrierRecord* record = &self.records[interval]
        if record.open_time_ms >= 0 and not record.ended:
            record.ended = True
            self._events.emit(EventKind.BARRIER, interval, record.open_time_ms)

    cdef void row_closed(self, uint32_t interval, uint32_t place) noexcept:
        """A row of the barrier's time was stored that was not there before."""
        cdef BarrierRecord* record = &self.records[interval]
        if not self.is_missing(interval, place):
            return
        self._marks[interval * self._place_count + place] = IN
        record.closed += 1
        record.late += record.ended
        self._check(interval)

    cdef void expect(self, uint32_t place) noexcept:
        """Wait for a symbol from now on: in open barriers and in those to come."""
        cdef BarrierRecord* record
        cdef uint32_t interval
        if self.expected[place]:
            return
        self.expected[place] = 1
        for interval in range(self._interval_count):
            record = &self.records[interval]
            if record.open_time_ms < 0 or record.ended:
                continue
            record.expected += 1
            self._marks[interval * self._place_count + place] = MISSING
            if self.holds(interval, place, record.open_time_ms):
                self._marks[interval * self._place_count + place] = IN
                record.closed += 1

    cdef void dismiss(self, uint32_t place) noexcept:
        """Wait for a symbol no longer. What it closed in a barrier that has ended still counts."""
        cdef BarrierRecord* record
        cdef uint8_t* mark
        cdef uint32_t interval
        self.expected[place] = 0
        for interval in range(self._interval_count):
            record = &self.records[interval]
            mark = &self._marks[interval * self._place_count + place]
            if mark[0] == MISSING or (mark[0] == IN and not record.ended):
                record.expected -= 1
                record.closed -= mark[0] == IN
                self._check(interval)
            mark[0] = IGNORED

    cdef view(self, uint32_t interval, str name, dict places):
        """The barrier as a tuple, missing symbols in the order of ``places``; None before."""
        cdef BarrierRecord* record = &self.records[interval]
        if record.open_time_ms < 0:
            return None
        missing = [
            symbol for symbol, place in places.items() if self.is_missing(interval, place)
        ]
        return Barrier(
            name, record.open_time_ms,
            series_close_time(&self._memory[interval], record.open_time_ms), record.expected,
            record.closed, record.late, record.closed == record.expected, record.ended,
            tuple(missing)
        )

    cdef bint told(self, uint32_t interval, int64_t boundary_ms) noexcept:
        """True if the event of the boundary that the next klines open at is out."""
        cdef BarrierRecord* record = &self.records[interval]
        cdef int64_t followed_ms
        if record.open_time_ms < 0:
            return False
        followed_ms = series_close_time(&self._memory[interval], record.open_time_ms) + 1
        return followed_ms > boundary_ms or (followed_ms == boundary_ms and record.ended)
