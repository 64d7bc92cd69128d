"""C face of the queue of things that happened to a market since its owner last looked."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cpdef enum EventKind:
    TICKER = 0
    FORMING = 1
    CLOSED = 2
    REVISED = 3
    FILLED = 4
    ABSENT = 5
    BARRIER = 6
    BARRIER_REVISED = 7

cdef struct EventRecord:
    int64_t open_time_ms
    uint32_t index              # of the series; TICKER: of the symbol; BARRIER: of the interval
    uint32_t kind

cdef class EventQueue:
    cdef EventRecord* records
    cdef uint32_t count
    cdef bint urgent                # some event is neither a ticker nor a forming row
    cdef uint64_t lost
    cdef uint32_t _limit
    cdef uint32_t _conflated        # room kept for one ticker and one forming event of each
    cdef uint8_t* _forming_pending
    cdef uint8_t* _ticker_pending
    cdef int64_t[16] _revised_pending   # BARRIER_REVISED by interval: open time + 1, or 0

    cdef void emit(self, uint32_t kind, uint32_t index, int64_t open_time_ms) noexcept
    cdef void _settle(self, EventRecord* record) noexcept
    cdef void clear(self) noexcept
    cdef void forget(self, uint32_t symbol, uint32_t interval_count) noexcept
