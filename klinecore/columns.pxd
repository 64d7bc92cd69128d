"""Columns of one series that come from outside, and whether a merge could have stored them."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from klinecore.kline cimport NUMBER_COLUMNS, SOURCE_PUSH, TRADES, VOLUME
from klinecore.merge cimport FORMAT_MASK, SOURCE_MASK, SOURCE_SHIFT
from klinecore.number cimport power_double


cdef extern from *:
    """
    #define KLC_TIME_MAX (1LL << 53)
    #define KLC_VALUE_MAX 7.5e22
    #define KLC_RESIDUAL_FROM 2251799813685248.0
    """
    const int64_t TIME_MAX "KLC_TIME_MAX"
    const double VALUE_MAX "KLC_VALUE_MAX"      # what `number` keeps exactly ends below
    const double RESIDUAL_FROM "KLC_RESIDUAL_FROM"      # 2**51: smaller ones need no residual


cdef struct Columns:
    uint32_t count
    const int64_t* open_time_ms
    const double* values
    const int16_t* residuals
    const uint16_t* tags


cdef inline int64_t first_fault(
    const Columns* columns, const uint64_t* keys, uint64_t format_count
) noexcept nogil:
    """Index of the first row no merge could have stored; -1 if all are sound."""
    cdef uint64_t n = columns.count
    cdef uint64_t i, tag
    cdef const uint8_t* formats
    cdef int column
    cdef double value
    cdef int64_t before = -1
    for i in range(n):
        if columns.open_time_ms[i] <= before or columns.open_time_ms[i] > TIME_MAX:
            return <int64_t>i
        before = columns.open_time_ms[i]
        tag = columns.tags[i]
        if (tag & FORMAT_MASK) >= format_count:
            return <int64_t>i
        if (tag & SOURCE_MASK) >> SOURCE_SHIFT > SOURCE_PUSH:
            return <int64_t>i
        formats = <const uint8_t*>&keys[tag & FORMAT_MASK]
        for column in range(NUMBER_COLUMNS):
            value = columns.values[column * n + i]
            if not 0 <= value < VALUE_MAX:      # false for NaN too
                return <int64_t>i
            if (
                column >= VOLUME and columns.residuals[(column - VOLUME) * n + i]
                and value * power_double[formats[column] & 15] < RESIDUAL_FROM
            ):
                return <int64_t>i
        value = columns.values[TRADES * n + i]
        if not 0 <= value < TIME_MAX or value != <double><int64_t>value:
            return <int64_t>i
    return -1
