"""The memory of one series, and the rule by which rows are merged into it.

Rows live in columns. Each column has a little more room than readers can see, so that the newest
rows are always one contiguous slice; when the room is used up, the columns slide back to the
front (one memmove each, once per ``slots - capacity - 1`` closes)::

    slot      0         start                    start + count          slots
    column    [ (free)  | closed, oldest first   | forming (if any)  |  (free) ]

The merge rule is a total order, so that every permutation and duplication of the same rows ends
in the same state. A row's identity is its open time. Of two rows with one identity the one of
higher rank stays: closed before forming, then the trade count, then the numbers themselves. Of
equal rows that came in two ways the source that comes first is kept: stream, REST, pushed.

A stretch without rows may be known to be empty (``states``). That is one bit in the tag of the row
after it: it moves with the row, stays when the row is revised, and goes when the stretch becomes
another one.
"""

from libc.stdint cimport int16_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

from klinecore.arena cimport FormatTable, format_index
from klinecore.kline cimport (
    COLUMN_COUNT, NUMBER_COLUMNS, RESIDUAL_COLUMNS, TRADES, VOLUME, KlineRow,
)
from klinecore.sequence cimport sequence_begin, sequence_end

__all__ = ["MergeStatus"]

cdef enum:
    DAY_MS = 86400000


cdef int64_t _month_end(int64_t time_ms) noexcept nogil:
    """First millisecond of the month after the one containing ``time_ms``, by the civil calendar.

    Years are counted from March, which puts the leap day last: day 0 is 0000-03-01.
    """
    cdef int64_t days = time_ms // DAY_MS + 719468     # times are never negative here
    cdef int64_t era = days // 146097
    cdef int64_t day_of_era = days - era * 146097
    cdef int64_t year = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    cdef int64_t day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    cdef int64_t month = (5 * day_of_year + 2) // 153 + 1      # 1 is March; the month after ours
    if month == 12:
        month = 0
        year += 1
    return (
        era * 146097 + 365 * year + year // 4 - year // 100 + (153 * month + 2) // 5 - 719468
    ) * DAY_MS


cdef uint32_t series_slots(uint32_t capacity) noexcept nogil:
    """Slots per column for ``capacity`` visible rows: the forming row and room to slide rarely."""
    cdef uint32_t slack = capacity // 32
    return capacity + 1 + (slack if slack > 15 else 15)


cdef uint64_t series_size(uint32_t slots) noexcept nogil:
    """Bytes one series takes in the arena, a multiple of a cache line."""
    cdef uint64_t row = 8 + 8 * COLUMN_COUNT + 2 * RESIDUAL_COLUMNS + 2
    return (128 + row * slots + 63) // 64 * 64


cdef void series_open(
    SeriesMemory* series, char* block, FormatTable* formats, uint32_t slots, uint32_t capacity,
    int64_t interval_ms
) noexcept nogil:
    """Point ``series`` at its block of the arena; the block's content is not touched."""
    series.header = <SeriesHeader*>block
    series.formats = formats
    series.open_time_ms = <int64_t*>(block + 128)
    series.values = <double*>(series.open_time_ms + slots)
    series.residuals = <int16_t*>(series.values + COLUMN_COUNT * slots)
    series.tags = <uint16_t*>(series.residuals + RESIDUAL_COLUMNS * slots)
    series.slots = slots
    series.capacity = capacity
    series.interval_ms = interval_ms
    series.aligned_ms = interval_ms if interval_ms <= DAY_MS else 0


cdef int64_t series_close_time(const SeriesMemory* series, int64_t open_time_ms) noexcept nogil:
    """T of the kline that opened at ``open_time_ms``; not stored, since it follows from it.

    Old history holds klines that opened late, off the grid; those end on it all the same.
    """
    if series.aligned_ms:
        return open_time_ms - open_time_ms % series.aligned_ms + series.aligned_ms - 1
    if series.interval_ms:
        return open_time_ms + series.interval_ms - 1
    return _month_end(open_time_ms) - 1


cdef uint32_t series_find(const SeriesMemory* series, int64_t open_time_ms) noexcept nogil:
    """Slot of the first closed row that opened at or after ``open_time_ms``."""
    cdef uint32_t low = series.header.start
    cdef uint32_t high = low + series.header.count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if series.open_time_ms[middle] < open_time_ms:
            low = middle + 1
        else:
            high = middle
    return low


cdef void _write(
    SeriesMemory* series, uint32_t slot, const KlineRow* row, uint16_t tag
) noexcept nogil:
    cdef uint32_t slots = series.slots
    cdef double* value = series.values + slot
    cdef int16_t* residual = series.residuals + slot
    cdef int column
    series.open_time_ms[slot] = row.open_time_ms
    for column in range(NUMBER_COLUMNS):
        value[column * slots] = row.value[column]
    value[TRADES * slots] = <double>row.trades
    for column in range(RESIDUAL_COLUMNS):
        residual[column * slots] = row.residual[VOLUME + column]
    series.tags[slot] = tag


cdef void _move(
    SeriesMemory* series, uint32_t target, uint32_t source, uint32_t count
) noexcept nogil:
    """Move ``count`` rows of every column; the stretches may overlap."""
    cdef uint32_t slots = series.slots
    cdef int column
    memmove(series.open_time_ms + target, series.open_time_ms + source, count * sizeof(int64_t))
    for column in range(COLUMN_COUNT):
        memmove(
            series.values + column * slots + target, series.values + column * slots + source,
            count * sizeof(double)
        )
    for column in range(RESIDUAL_COLUMNS):
        memmove(
            series.residuals + column * slots + target, series.residuals + column * slots + source,
            count * sizeof(int16_t)
        )
    memmove(series.tags + target, series.tags + source, count * sizeof(uint16_t))


cdef int _compare(const SeriesMemory* series, uint32_t slot, const KlineRow* row) noexcept nogil:
    """Rank of ``row`` against the stored row of the same state: 1 higher, 0 equal, -1 lower.

    The trade count decides on a healthy exchange: equal counts mean equal values. The numbers and
    then their printing follow only so that the order is total.
    """
    cdef uint32_t slots = series.slots
    cdef const double* value = series.values + slot
    cdef double stored = value[TRADES * slots]
    cdef int column, difference
    if <double>row.trades != stored:
        return 1 if <double>row.trades > stored else -1
    for column in range(NUMBER_COLUMNS):
        stored = value[column * slots]
        if row.value[column] != stored:
            return 1 if row.value[column] > stored else -1
    for column in range(RESIDUAL_COLUMNS):
        difference = <int>row.residual[VOLUME + column] - series.residuals[column * slots + slot]
        if difference:
            return 1 if difference > 0 else -1
    difference = memcmp(row.format, &series.formats.keys[series.tags[slot] & FORMAT_MASK], 8)
    return (difference > 0) - (difference < 0)


cdef int _tag(SeriesMemory* series, const KlineRow* row) noexcept nogil:
    """Format index and source of a row in 15 bits; -1 when the format table is full."""
    cdef SeriesHeader* header = series.header
    cdef uint64_t key
    cdef int index
    memcpy(&key, row.format, 8)
    if key == header.last_format_key and header.closed_count + header.has_forming:
        index = <int>header.last_format
    else:
        index = format_index(series.formats, key)
        if index < 0:
            return -1
        header.last_format_key = key
        header.last_format = <uint32_t>index
    return index | (<int>row.source << SOURCE_SHIFT)


cdef void _slide(SeriesMemory* series) noexcept nogil:
    cdef SeriesHeader* header = series.header
    _move(series, 0, header.start, header.count + header.has_forming)
    header.start = 0


cdef void _append(SeriesMemory* series, const KlineRow* row, uint16_t tag) noexcept nogil:
    """Store a closed row newer than every closed one; an older forming row ends here."""
    cdef SeriesHeader* header = series.header
    cdef uint32_t end
    if header.start + header.count + 2 > series.slots:
        _slide(series)
    end = header.start + header.count
    if header.has_forming:
        if series.open_time_ms[end] > row.open_time_ms:
            _move(series, end + 1, end, 1)
            series.tags[end + 1] &= ~ABSENT_BIT
        else:
            if series.open_time_ms[end] == row.open_time_ms:
                tag |= series.tags[end] & ABSENT_BIT    # the stretch before it is the same
            header.has_forming = 0
    _write(series, end, row, tag)
    if header.count == series.capacity:
        header.start += 1
        series.tags[header.start] &= ~ABSENT_BIT        # no stretch reaches out of the window
    else:
        header.count += 1
    header.closed_count += 1
    header.revision += 1


cdef void _insert(
    SeriesMemory* series, uint32_t slot, const KlineRow* row, uint16_t tag
) noexcept nogil:
    """Store a closed row before the one at ``slot``; a full window gives up its oldest row."""
    cdef SeriesHeader* header = series.header
    cdef uint32_t end
    if header.count == series.capacity:
        _move(series, header.start, header.start + 1, slot - 1 - header.start)
        slot -= 1
    elif header.start > 0 and slot == header.start:
        header.start -= 1
        header.count += 1
        slot -= 1
    else:
        if header.start + header.count + 2 > series.slots:
            slot -= header.start
            _slide(series)
        end = header.start + header.count + header.has_forming
        _move(series, slot + 1, slot, end - slot)
        header.count += 1
    _write(series, slot, row, tag)
    series.tags[slot + 1] &= ~ABSENT_BIT
    series.tags[header.start] &= ~ABSENT_BIT
    header.closed_count += 1
    header.inserted += 1
    header.revision += 1


cdef void _confirm(SeriesMemory* series, uint32_t slot, uint16_t tag) noexcept nogil:
    """The stored row came once more: it is the one's whose source comes first."""
    if tag & SOURCE_MASK < series.tags[slot] & SOURCE_MASK:
        series.tags[slot] = tag | (series.tags[slot] & ABSENT_BIT)
        series.header.revision += 1


cdef MergeStatus _merge_closed(
    SeriesMemory* series, const KlineRow* row, uint16_t tag, bint correct
) noexcept nogil:
    cdef SeriesHeader* header = series.header
    cdef uint32_t end = header.start + header.count
    cdef uint32_t slot
    cdef int rank
    if header.count == 0 or row.open_time_ms > series.open_time_ms[end - 1]:
        _append(series, row, tag)
        return APPENDED
    slot = series_find(series, row.open_time_ms)
    if series.open_time_ms[slot] != row.open_time_ms:
        if header.count == series.capacity and slot == header.start:
            header.too_old += 1
            return TOO_OLD
        _insert(series, slot, row, tag)
        return INSERTED
    rank = _compare(series, slot, row)
    if rank == 0:
        _confirm(series, slot, tag)
        header.duplicates += 1
        return DUPLICATE
    if <double>row.trades == series.values[TRADES * series.slots + slot]:
        header.mismatches += 1
    if rank < 0 and not correct:
        header.stale += 1
        return STALE
    _write(series, slot, row, tag | (series.tags[slot] & ABSENT_BIT))
    header.revisions += 1
    header.revision += 1
    return REVISED


cdef MergeStatus _merge_forming(
    SeriesMemory* series, const KlineRow* row, uint16_t tag
) noexcept nogil:
    cdef SeriesHeader* header = series.header
    cdef uint32_t end = header.start + header.count
    cdef int rank
    if header.count and row.open_time_ms <= series.open_time_ms[end - 1]:
        header.stale += 1
        return STALE
    if header.has_forming:
        if row.open_time_ms < series.open_time_ms[end]:
            header.stale += 1
            return STALE
        if row.open_time_ms == series.open_time_ms[end]:
            rank = _compare(series, end, row)
            if rank == 0:
                header.duplicates += 1
                return DUPLICATE
            if rank < 0:
                header.stale += 1
                return STALE
            tag |= series.tags[end] & ABSENT_BIT
    elif end == series.slots:
        _slide(series)
        end = header.count
    _write(series, end, row, tag)
    header.has_forming = 1
    return FORMING


cdef inline MergeStatus _merge(
    SeriesMemory* series, const KlineRow* row, bint correct
) noexcept nogil:
    cdef SeriesHeader* header = series.header
    cdef MergeStatus status
    cdef int tag
    if (
        row.open_time_ms < 0
        or series.slots == 0
        or row.close_time_ms != series_close_time(series, row.open_time_ms)
    ):
        return BAD_TIME
    tag = _tag(series, row)
    if tag < 0 or row.trades < 0 or row.trades >= 1LL << 53:
        return UNREPRESENTABLE
    sequence_begin(&header.sequence)
    if row.closed:
        status = _merge_closed(series, row, <uint16_t>tag, correct)
    else:
        status = _merge_forming(series, row, <uint16_t>tag)
    if row.event_time_ms > header.last_event_ms:
        header.last_event_ms = row.event_time_ms
    sequence_end(&header.sequence, header.sequence + 1)
    return status


cdef MergeStatus series_merge(SeriesMemory* series, const KlineRow* row) noexcept nogil:
    """Merge one row, closed or forming, new, late or repeated; what it did is the status."""
    return _merge(series, row, False)


cdef MergeStatus series_correct(SeriesMemory* series, const KlineRow* row) noexcept nogil:
    """``series_merge``, but a closed row takes the place of another one whatever its rank."""
    return _merge(series, row, True)


cdef void series_clear(
    SeriesMemory* series, uint64_t sequence, uint64_t revision
) noexcept nogil:
    """Empty a series; its numbers go on from the given ones, where those are higher."""
    cdef SeriesHeader* header = series.header
    if sequence < header.sequence + 2:
        sequence = header.sequence + 2
    sequence_begin(&header.sequence)
    if revision < header.revision + 1:
        revision = header.revision + 1
    memset(&header.revision, 0, sizeof(SeriesHeader) - sizeof(uint64_t))
    header.revision = revision
    sequence_end(&header.sequence, sequence)
