"""C face of the queue of things that happened to a market since its owner last looked."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cpdef enum EventKind:
    TICKER = 0
    FORMING = 1
    CLOSED = 2
    REVISED = 3
    FILLED = 4

cdef struct EventRecord:
    int64_t open_time_ms
    uint32_t index              # of the series, of the symbol for TICKER
    uint32_t kind

cdef class EventQueue:
    cdef EventRecord* records
    cdef uint32_t count
    cdef uint64_t lost
    cdef uint32_t _limit
    cdef uint32_t _conflated        # room kept for one ticker and one forming event of each
    cdef uint8_t* _forming_pending
    cdef uint8_t* _ticker_pending

    cdef void emit(self, uint32_t kind, uint32_t index, int64_t open_time_ms) noexcept
    cdef void clear(self) noexcept
