"""The last N closed klines of a symbol and interval, as Python sees them; ``merge`` writes."""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t
from libc.string cimport memset

from klinecore.arena cimport Block
from klinecore.frame cimport Framed
from klinecore.kline cimport COLUMN_COUNT, NUMBER_COLUMNS, TRADES, VOLUME
from klinecore.merge cimport (
    FORMAT_MASK, SeriesHeader, SeriesMemory, series_close_time, series_find,
)
from klinecore.number cimport NUMBER_TEXT_MAX, write_number
from klinecore.states cimport (
    Stretch, series_next_stretch, series_state_at, series_states,
)

import numpy as np

from klinecore.frame import Frame
from klinecore.kline import COLUMNS
from klinecore.kline import Kline
from klinecore.states import RowState

__all__ = ["Series"]


cdef bint _making = False
# Members by value: the compiled enum becomes a Python object through a slow call.
cdef tuple ROW_STATE = tuple(RowState)
cdef SeriesHeader NOTHING       # never written: what a removed series points to
memset(&NOTHING, 0, sizeof(SeriesHeader))


cdef Series new_series(Block arena, SeriesMemory memory, str symbol, str interval):
    """The one way to a ``Series``."""
    global _making
    cdef Series series
    _making = True
    series = Series.__new__(Series)
    _making = False
    series.memory = memory
    series._arena = arena
    series.symbol = symbol
    series.interval = interval
    return series


cdef void series_detach(Series series):
    """Let a removed series be empty for ever, whoever gets its memory."""
    series.memory.header = &NOTHING
    series.memory.slots = 0
    series._times = np.empty(0, np.int64)
    series._block = np.empty((COLUMN_COUNT, 0), np.float64)
    series._times.flags.writeable = series._block.flags.writeable = False
    series._columns = tuple(series._block)
    series._arena = None


@cython.final
cdef class Series(Framed):
    """The last ``capacity`` closed klines of one symbol and interval, and the forming one.

    Columns are read-only views of live memory: float64, shape ``(n,)``, oldest first, contiguous,
    closed rows only. A view shows other rows after the market has applied more data, and another
    symbol's after its own was removed and the place given away; copy what must stay
    (``numpy.array(view)``) or take a ``snapshot``. A removed symbol's series is empty for ever.
    """

    def __cinit__(self):
        # A series without its market's memory would read through a null pointer.
        if not _making:
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
        """Moves when any closed row or its state changes: what caches of closed rows key on."""
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
        """Copies of ``open_time_ms`` (int64) and the nine columns (float64), shape ``(n,)``."""
        block = np.array(self.columns())
        return {"open_time_ms": np.array(self.open_time_ms), **dict(zip(COLUMNS, block))}

    def frame(self):
        """Closed rows of this moment as a ``Frame``; later data does not change it.

        ``open_time`` (timestamp[ms, UTC], the index), float64 prices and volumes, int64 ``trades``.
        One copy, 80 bytes a row: the series' own memory moves.
        """
        block = np.array(self.columns())
        times = np.array(self.open_time_ms).view("M8[ms]")
        made = {"open_time": times, **dict(zip(COLUMNS, block))}
        made["trades"] = block[TRADES].astype(np.int64)
        return Frame(made, index="open_time")

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

    @property
    def states(self):
        """``RowState`` of every closed row; a new uint8 array, shape ``(n,)``."""
        states = np.empty(self.memory.header.count, np.uint8)
        cdef Py_buffer view
        PyObject_GetBuffer(states, &view, PyBUF_WRITABLE)
        series_states(&self.memory, <uint8_t*>view.buf)
        PyBuffer_Release(&view)
        return states

    def state_at(self, open_time_ms):
        """``RowState`` of the kline that opens then, held or not; O(log n)."""
        return ROW_STATE[<int>series_state_at(&self.memory, _clip(open_time_ms))]

    def gaps(self):
        """Missing stretches between held rows: ``(first, last)`` missing open times, inclusive.

        Runs up to the forming row, so that a close still awaited after its kline is over shows.
        """
        return self._stretches(True, True)

    def holes(self):
        """The gaps nobody has explained: what is left to fetch."""
        return self._stretches(True, False)

    def absences(self):
        """The gaps in which the exchange has confirmed that it has no klines."""
        return self._stretches(False, True)

    cdef list _stretches(self, bint holes, bint absences):
        cdef Stretch stretch
        cdef uint32_t slot = self.memory.header.start
        cdef list found = []
        while series_next_stretch(&self.memory, &slot, &stretch):
            if absences if stretch.absent else holes:
                found.append((stretch.first_ms, stretch.last_ms))
        return found

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
