"""C face of what is known of each row, and of each stretch without rows."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from klinecore.merge cimport SeriesMemory

cpdef enum RowState:
    FORMING = 0
    STREAM = 1
    REST = 2
    PUSHED = 3
    NO_TRADES = 4
    HOLE = 5
    ABSENT = 6
    NONE = 7

cdef struct Stretch:
    int64_t first_ms            # open times of the first and last missing kline
    int64_t last_ms
    bint absent                 # the exchange has confirmed that it has none of them

cdef void series_states(const SeriesMemory* series, uint8_t* states) noexcept nogil
cdef RowState series_state_at(const SeriesMemory* series, int64_t open_time_ms) noexcept nogil
cdef bint series_next_stretch(
    const SeriesMemory* series, uint32_t* slot, Stretch* stretch
) noexcept nogil
cdef bint series_confirm_absent(
    SeriesMemory* series, int64_t first_ms, int64_t last_ms
) noexcept nogil
