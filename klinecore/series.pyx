"""The last N closed klines of one symbol and interval, and the forming one behind them.

Rows live in columns. Each column has a little more room than readers can see, so that the newest
rows are always one contiguous slice; when the room is used up, the columns slide back to the
front (one memmove each, once per ``slots - capacity - 1`` closes)::

    slot      0         start                    start + count          slots
    column    [ (free)  | closed, oldest first   | forming (if any)  |  (free) ]

The merge rule is a total order, so that every permutation and duplication of the same rows ends
in the same state. A row's identity is its open time. Of two rows with one identity the one of
higher rank stays: closed before forming, then the trade count, then the numbers themselves.
"""

cimport cython
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

from klinecore.arena cimport FormatTable, format_index
from klinecore.kline cimport COLUMN_COUNT, NUMBER_COLUMNS, RESIDUAL_COLUMNS, TRADES, VOLUME
from klinecore.kline cimport KlineRow
from klinecore.number cimport NUMBER_TEXT_MAX, write_number

import numpy as np

from klinecore.kline import COLUMNS
from klinecore.kline import Kline

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
    cdef uint32_t slack = capacity // 16
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


cdef void _write(SeriesMemory* series, uint32_t slot, const KlineRow* row, uint16_t tag) noexcept nogil:
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


cdef void _move(SeriesMemory* series, uint32_t target, uint32_t source, uint32_t count) noexcept nogil:
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
    """Format index and source of a row in 16 bits; -1 when the format table is full."""
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
        else:
            header.has_forming = 0
    _write(series, end, row, tag)
    if header.count == series.capacity:
        header.start += 1
    else:
        header.count += 1
    header.closed_count += 1
    header.revision += 1


cdef void _insert(SeriesMemory* series, uint32_t slot, const KlineRow* row, uint16_t tag) noexcept nogil:
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
    header.closed_count += 1
    header.inserted += 1
    header.revision += 1


cdef MergeStatus _merge_closed(SeriesMemory* series, const KlineRow* row, uint16_t tag) noexcept nogil:
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
        header.duplicates += 1
        return DUPLICATE
    if <double>row.trades == series.values[TRADES * series.slots + slot]:
        header.mismatches += 1
    if rank < 0:
        header.stale += 1
        return STALE
    _write(series, slot, row, tag)
    header.revisions += 1
    header.revision += 1
    return REVISED


cdef MergeStatus _merge_forming(SeriesMemory* series, const KlineRow* row, uint16_t tag) noexcept nogil:
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
    elif end == series.slots:
        _slide(series)
        end = header.count
    _write(series, end, row, tag)
    header.has_forming = 1
    return FORMING


cdef MergeStatus series_merge(SeriesMemory* series, const KlineRow* row) noexcept nogil:
    """Merge one row, closed or forming, new, late or repeated; what it did is the status."""
    cdef SeriesHeader* header = series.header
    cdef MergeStatus status
    cdef int tag
    if (
        row.open_time_ms < 0
        or row.trades < 0 or row.trades >= 1LL << 53
        or row.close_time_ms != series_close_time(series, row.open_time_ms)
    ):
        return BAD_TIME
    tag = _tag(series, row)
    if tag < 0:
        return UNREPRESENTABLE
    header.sequence += 1
    if row.closed:
        status = _merge_closed(series, row, <uint16_t>tag)
    else:
        status = _merge_forming(series, row, <uint16_t>tag)
    if row.event_time_ms > header.last_event_ms:
        header.last_event_ms = row.event_time_ms
    header.sequence += 1
    return status


@cython.final
cdef class Series:
    """The last ``capacity`` closed klines of one symbol and interval, and the forming one.

    Columns are read-only views of live memory: float64, shape ``(n,)``, oldest first, contiguous,
    closed rows only. A view shows other rows after the market has applied more data; copy what
    must stay (``numpy.array(view)``) or take a ``snapshot``.
    """

    def __init__(self):
        raise TypeError("a Series belongs to a market: market[symbol, interval]")

    cdef _map(self):
        """Make the NumPy arrays over whole columns; views are slices of them."""
        cdef Py_ssize_t slots = self.memory.slots
        cdef Py_ssize_t offset = <char*>self.memory.open_time_ms - self._arena.data
        self._times = np.ndarray((slots,), np.int64, self._arena, offset)
        offset = <char*>self.memory.values - self._arena.data
        self._block = np.ndarray((COLUMN_COUNT, slots), np.float64, self._arena, offset)
        self._columns = tuple(self._block)

    cdef _column(self, int index):
        if self._columns is None:
            self._map()
        cdef SeriesHeader* header = self.memory.header
        return self._columns[index][header.start:header.start + header.count]

    cdef _row(self, uint32_t slot, bint closed):
        cdef SeriesMemory* memory = &self.memory
        cdef const uint8_t* formats = <const uint8_t*>&memory.formats.keys[
            memory.tags[slot] & FORMAT_MASK
        ]
        cdef char[NUMBER_TEXT_MAX] buffer
        cdef char* end = buffer + NUMBER_TEXT_MAX
        cdef char* text
        cdef list texts = []
        cdef int column
        cdef int16_t residual
        for column in range(NUMBER_COLUMNS):
            residual = 0
            if column >= VOLUME:
                residual = memory.residuals[(column - VOLUME) * memory.slots + slot]
            text = write_number(
                end, memory.values[column * memory.slots + slot], residual, formats[column]
            )
            texts.append(text[:end - text].decode("ascii"))
        return Kline(
            memory.open_time_ms[slot], *texts[:5],
            series_close_time(memory, memory.open_time_ms[slot]), texts[5],
            int(memory.values[TRADES * memory.slots + slot]), texts[6], texts[7], closed
        )

    @property
    def capacity(self):
        """Closed klines a reader can see."""
        return self.memory.capacity

    @property
    def open_time_ms(self):
        """Opening times, ms UTC; int64 view, shape ``(n,)``."""
        if self._columns is None:
            self._map()
        cdef SeriesHeader* header = self.memory.header
        return self._times[header.start:header.start + header.count]

    @property
    def open(self):
        """First prices; float64 view, shape ``(n,)``."""
        return self._column(0)

    @property
    def high(self):
        """Highest prices; float64 view, shape ``(n,)``."""
        return self._column(1)

    @property
    def low(self):
        """Lowest prices; float64 view, shape ``(n,)``."""
        return self._column(2)

    @property
    def close(self):
        """Last prices; float64 view, shape ``(n,)``."""
        return self._column(3)

    @property
    def volume(self):
        """Base asset volumes; float64 view, shape ``(n,)``."""
        return self._column(4)

    @property
    def quote_volume(self):
        """Quote asset volumes; float64 view, shape ``(n,)``."""
        return self._column(5)

    @property
    def taker_buy_base(self):
        """Base volumes bought by takers; float64 view, shape ``(n,)``."""
        return self._column(6)

    @property
    def taker_buy_quote(self):
        """Quote volumes bought by takers; float64 view, shape ``(n,)``."""
        return self._column(7)

    @property
    def trades(self):
        """Trade counts; float64 view, shape ``(n,)``, whole numbers."""
        return self._column(8)

    @property
    def forming(self):
        """The kline the exchange may still revise, newer than every closed one; None without."""
        cdef SeriesHeader* header = self.memory.header
        return self._row(header.start + header.count, False) if header.has_forming else None

    @property
    def last(self):
        """The newest closed kline; None before the first."""
        cdef SeriesHeader* header = self.memory.header
        return self._row(header.start + header.count - 1, True) if header.count else None

    @property
    def last_close_ms(self):
        """Close time of the newest closed kline; 0 before the first."""
        cdef SeriesHeader* header = self.memory.header
        if not header.count:
            return 0
        return series_close_time(
            &self.memory, self.memory.open_time_ms[header.start + header.count - 1]
        )

    @property
    def sequence(self):
        """Moves by two on every write; odd while one is going on."""
        return self.memory.header.sequence

    @property
    def revision(self):
        """Moves when any closed row changes: what caches of closed rows key on."""
        return self.memory.header.revision

    @property
    def closed_count(self):
        """Klines ever closed here, also those that left the window since."""
        return self.memory.header.closed_count

    @property
    def last_event_ms(self):
        """Newest event time merged, ms UTC; 0 before the first stream frame."""
        return self.memory.header.last_event_ms

    @property
    def counters(self):
        """Rows that changed less than a new row would, by reason, since the start."""
        cdef SeriesHeader* header = self.memory.header
        return {
            "duplicates": header.duplicates,
            "stale": header.stale,
            "revisions": header.revisions,
            "mismatches": header.mismatches,
            "inserted": header.inserted,
            "too_old": header.too_old,
            "last_event_ms": header.last_event_ms,
        }

    def __len__(self):
        return self.memory.header.count

    def __repr__(self):
        return f"<Series {self.symbol} {self.interval}: {len(self)} of {self.capacity} klines>"

    def columns(self):
        """All nine columns (``klinecore.COLUMNS``) as one read-only view, shape ``(9, n)``."""
        if self._columns is None:
            self._map()
        cdef SeriesHeader* header = self.memory.header
        return self._block[:, header.start:header.start + header.count]

    def snapshot(self):
        """Copies of ``open_time_ms`` (int64) and the nine columns (float64), shape ``(n,)`` each."""
        block = np.array(self.columns())
        return {"open_time_ms": np.array(self.open_time_ms), **dict(zip(COLUMNS, block))}

    def klines(self, limit=None, *, bint forming=False):
        """The newest ``limit`` closed rows (default all), oldest first, as the exchange's text.

        ``forming=True`` appends the forming row, ``closed`` False, beyond the limit.
        Raises ValueError: ``limit`` below 1.
        """
        cdef SeriesHeader* header = self.memory.header
        cdef uint32_t end = header.start + header.count
        cdef uint32_t slot = header.start
        if limit is not None:
            if limit < 1:
                raise ValueError(f"limit must be at least 1, not {limit}")
            slot = end - <uint32_t>min(<object>limit, header.count)
        rows = [self._row(index, True) for index in range(slot, end)]
        if forming and header.has_forming:
            rows.append(self._row(end, False))
        return rows

    def gaps(self):
        """Missing stretches between held rows: ``(first, last)`` missing open times, inclusive.

        Runs up to the forming row, so that a close still awaited after its kline is over shows.
        """
        cdef SeriesHeader* header = self.memory.header
        cdef uint32_t slot
        cdef int64_t expected, following
        missing = []
        for slot in range(header.start + 1, header.start + header.count + header.has_forming):
            expected = series_close_time(&self.memory, self.memory.open_time_ms[slot - 1]) + 1
            if self.memory.open_time_ms[slot] > expected:
                missing.append((expected, self._last_before(expected, slot)))
        return missing

    cdef int64_t _last_before(self, int64_t first_ms, uint32_t slot):
        """Open time of the last kline, counted from ``first_ms``, before the row at ``slot``."""
        cdef int64_t limit = self.memory.open_time_ms[slot] - 1
        cdef int64_t following = first_ms
        if self.memory.interval_ms:
            return limit - (limit - first_ms) % self.memory.interval_ms
        while following <= limit:
            first_ms = following
            following = series_close_time(&self.memory, following) + 1
        return first_ms

    def index_range(self, start_ms, end_ms):
        """Rows ``first <= i < last`` whose open time lies in ``[start_ms, end_ms]``."""
        cdef SeriesHeader* header = self.memory.header
        cdef uint32_t first = header.start
        cdef uint32_t last = header.start + header.count
        if start_ms is not None:
            first = series_find(&self.memory, _clip(start_ms))
        if end_ms is not None:
            last = series_find(&self.memory, _clip(end_ms) + 1)
        return first - header.start, max(first, last) - header.start


cdef int64_t _clip(time_ms) except? -1:
    """A caller's time within what an int64 column can compare."""
    return min(max(time_ms, -1), 1 << 62)
