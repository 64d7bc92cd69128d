"""What is known of each row, and of each stretch between rows in which none is held.

A stretch is a hole until the exchange has said that it has no klines there: then it is an absence,
one bit in the tag of the row after it (``merge`` keeps the bit true). Nothing is ever stored for a
kline that does not exist.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from klinecore.kline cimport SOURCE_PUSH, SOURCE_REST, TRADES
from klinecore.merge cimport (
    ABSENT_BIT, SOURCE_MASK, SOURCE_SHIFT, SeriesHeader, SeriesMemory, series_close_time,
    series_find,
)
from klinecore.sequence cimport sequence_begin, sequence_end

__all__ = ["RowState"]


cdef RowState _closed_state(const SeriesMemory* series, uint32_t slot) noexcept nogil:
    cdef int source = (series.tags[slot] & SOURCE_MASK) >> SOURCE_SHIFT
    if source == SOURCE_PUSH:
        return RowState.PUSHED      # somebody's word, but not the exchange's
    if series.values[TRADES * series.slots + slot] == 0:
        return RowState.NO_TRADES
    return RowState.REST if source == SOURCE_REST else RowState.STREAM


cdef void series_states(const SeriesMemory* series, uint8_t* states) noexcept nogil:
    """The states of all closed rows, oldest first, into room for ``header.count`` of them."""
    cdef uint32_t i
    for i in range(series.header.count):
        states[i] = <uint8_t>_closed_state(series, series.header.start + i)


cdef int64_t _last_before(
    const SeriesMemory* series, int64_t first_ms, int64_t open_time_ms
) noexcept nogil:
    """Open time of the last kline, counted from ``first_ms``, before ``open_time_ms``."""
    cdef int64_t limit = open_time_ms - 1
    cdef int64_t following = first_ms
    if series.interval_ms:
        return limit - (limit - first_ms) % series.interval_ms
    while following <= limit:
        first_ms = following
        following = series_close_time(series, following) + 1
    return first_ms


cdef bint _stretch_before(
    const SeriesMemory* series, uint32_t slot, Stretch* stretch
) noexcept nogil:
    """False if no kline is missing between the row at ``slot`` and the one before."""
    cdef int64_t after = series.open_time_ms[slot]
    stretch.first_ms = series_close_time(series, series.open_time_ms[slot - 1]) + 1
    if after <= stretch.first_ms:
        return False
    stretch.last_ms = _last_before(series, stretch.first_ms, after)
    stretch.absent = series.tags[slot] & ABSENT_BIT != 0
    return True


cdef bint series_next_stretch(
    const SeriesMemory* series, uint32_t* slot, Stretch* stretch
) noexcept nogil:
    """The next missing stretch whose row after it stands behind ``slot``, which moves there.

    Starts with ``header.start``; the forming row counts as a row. False when there is none.
    """
    cdef const SeriesHeader* header = series.header
    cdef uint32_t last = header.start + header.count + header.has_forming
    if last < slot[0] + 2 or (
        series.interval_ms
        and series.open_time_ms[last - 1] - series.open_time_ms[slot[0]]
        == series.interval_ms * <int64_t>(last - 1 - slot[0])
    ):
        return False        # as many rows as intervals: none is missing
    while slot[0] + 1 < last:
        slot[0] += 1
        if _stretch_before(series, slot[0], stretch):
            return True
    return False


cdef uint32_t _row_after(const SeriesMemory* series, int64_t open_time_ms) noexcept nogil:
    """Slot of the first row, closed or forming, that opened then or later; 0 without a row before
    it."""
    cdef const SeriesHeader* header = series.header
    cdef uint32_t slot = series_find(series, open_time_ms)
    if slot == header.start or slot == header.start + header.count + header.has_forming:
        return 0
    return slot if series.open_time_ms[slot] >= open_time_ms else 0


cdef RowState series_state_at(const SeriesMemory* series, int64_t open_time_ms) noexcept nogil:
    """What is known of the kline that opens then."""
    cdef const SeriesHeader* header = series.header
    cdef uint32_t end = header.start + header.count
    cdef uint32_t slot = series_find(series, open_time_ms)
    cdef Stretch stretch
    if slot < end and series.open_time_ms[slot] == open_time_ms:
        return _closed_state(series, slot)
    if header.has_forming and series.open_time_ms[end] == open_time_ms:
        return RowState.FORMING
    slot = _row_after(series, open_time_ms)
    if (
        slot == 0
        or not _stretch_before(series, slot, &stretch)
        or open_time_ms < stretch.first_ms
        or _last_before(series, stretch.first_ms, open_time_ms + 1) != open_time_ms
    ):
        return RowState.NONE
    return RowState.ABSENT if stretch.absent else RowState.HOLE


cdef bint series_confirm_absent(
    SeriesMemory* series, int64_t first_ms, int64_t last_ms
) noexcept nogil:
    """Note that the exchange has no kline in a stretch; False unless that very one was a hole."""
    cdef uint32_t slot = _row_after(series, first_ms)
    cdef Stretch stretch
    if (
        slot == 0
        or not _stretch_before(series, slot, &stretch)
        or stretch.first_ms != first_ms
        or stretch.last_ms != last_ms
        or stretch.absent
    ):
        return False
    sequence_begin(&series.header.sequence)
    series.tags[slot] |= ABSENT_BIT
    series.header.revision += 1
    sequence_end(&series.header.sequence, series.header.sequence + 1)
    return True
