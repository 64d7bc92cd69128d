"""C face of the barriers: which closes of an interval's newest boundary are in."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from klinecore.events cimport EventQueue
from klinecore.merge cimport SeriesMemory

cdef struct BarrierRecord:
    int64_t open_time_ms        # of the klines that close here; -1 before the first barrier
    uint32_t expected
    uint32_t closed
    uint32_t late               # closes after the event
    bint ended                  # the event is out

cdef class Barriers:
    cdef BarrierRecord[16] records      # by interval
    cdef uint8_t* expected              # by place: 1 while its symbol's closes are waited for
    cdef EventQueue _events
    cdef const SeriesMemory* _memory
    cdef uint8_t* _marks                # [interval][place]: Mark
    cdef uint32_t _interval_count
    cdef uint32_t _place_count

    cdef bint begin(self, uint32_t interval, int64_t open_time_ms) noexcept
    cdef void row_closed(self, uint32_t interval, uint32_t place) noexcept
    cdef void end(self, uint32_t interval) noexcept
    cdef void expect(self, uint32_t place) noexcept
    cdef void dismiss(self, uint32_t place) noexcept
    cdef bint is_missing(self, uint32_t interval, uint32_t place) noexcept
    cdef bint holds(self, uint32_t interval, uint32_t place, int64_t open_time_ms) noexcept
    cdef view(self, uint32_t interval, str name, dict places)
    cdef bint told(self, uint32_t interval, int64_t boundary_ms) noexcept
    cdef void _check(self, uint32_t interval) noexcept

cdef Barriers new_barriers(
    EventQueue events, const SeriesMemory* memory, uint32_t interval_count, uint32_t place_count
)
