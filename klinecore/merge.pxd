"""C face of a series' memory, and of the one function that merges a row into it."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from klinecore.arena cimport FormatTable
from klinecore.kline cimport KlineRow

cpdef enum MergeStatus:
    APPENDED = 0
    INSERTED = 1
    REVISED = 2
    FORMING = 3
    DUPLICATE = 4
    STALE = 5
    TOO_OLD = 6
    BAD_TIME = 7
    UNREPRESENTABLE = 8

cdef enum:
    FORMAT_MASK = 0x1FFF        # low 13 bits of a tag: index into the arena's FormatTable
    SOURCE_SHIFT = 13           # next 2 bits: Source
    SOURCE_MASK = 0x6000
    ABSENT_BIT = 0x8000         # the exchange has no klines between the row before and this one

cdef struct SeriesHeader:
    uint64_t sequence           # odd while the writer is inside; readers check it before and after
    uint64_t revision           # moves when any closed row changes
    uint64_t closed_count       # klines ever closed here
    uint32_t start              # slot of the oldest closed row
    uint32_t count              # closed rows; the forming one, if any, is at start + count
    uint32_t has_forming
    uint32_t last_format        # format of the last row merged, and its key: nearly always the next
    uint64_t last_format_key
    int64_t last_event_ms       # newest E merged
    uint64_t duplicates
    uint64_t stale
    uint64_t revisions
    uint64_t mismatches         # two closed rows with equal trade count and other values
    uint64_t inserted
    uint64_t too_old

cdef struct SeriesMemory:
    SeriesHeader* header
    FormatTable* formats
    int64_t* open_time_ms       # [slots]
    double* values              # [COLUMN_COUNT][slots]
    int16_t* residuals          # [RESIDUAL_COLUMNS][slots]
    uint16_t* tags              # [slots]; format index, source, ABSENT_BIT
    uint32_t slots              # 0 when the symbol was removed: nothing can be merged
    uint32_t capacity
    int64_t interval_ms         # 0 for 1M
    int64_t aligned_ms          # opening times are multiples of it; 0 where the feed decides

cdef uint32_t series_slots(uint32_t capacity) noexcept nogil
cdef uint64_t series_size(uint32_t slots) noexcept nogil
cdef void series_open(
    SeriesMemory* series, char* block, FormatTable* formats, uint32_t slots, uint32_t capacity,
    int64_t interval_ms
) noexcept nogil
cdef int64_t series_close_time(const SeriesMemory* series, int64_t open_time_ms) noexcept nogil
cdef void series_clear(
    SeriesMemory* series, uint64_t sequence, uint64_t revision
) noexcept nogil
cdef MergeStatus series_merge(SeriesMemory* series, const KlineRow* row) noexcept nogil
cdef MergeStatus series_correct(SeriesMemory* series, const KlineRow* row) noexcept nogil
cdef uint32_t series_find(const SeriesMemory* series, int64_t open_time_ms) noexcept nogil

cdef inline int64_t series_last_open(const SeriesMemory* series) noexcept nogil:
    """Open time of the newest closed row; -1 without one."""
    if series.header.count == 0:
        return -1
    return series.open_time_ms[series.header.start + series.header.count - 1]
