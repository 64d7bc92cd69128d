"""What happened to a market since its owner last looked: bounded, conflated where that is harmless.

A ticker or a forming row that changes ten times between two looks is one event, and so is a barrier
whose completeness changes again; every close, revision, late close, absence and barrier is one of
its own.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

__all__ = ["EventKind", "EventQueue"]

cdef enum:
    DISTINCT_MIN = 8192         # closes, revisions and late closes a queue can hold at least
    BARRIERS_MIN = 64           # barriers that find room when closes have filled the queue


@cython.final
cdef class EventQueue:
    """For ``series_count`` series and ``symbol_count`` tickers; when full, ``lost`` counts."""

    def __cinit__(self, uint32_t series_count, uint32_t symbol_count):
        self._conflated = series_count + symbol_count
        self._limit = self._conflated + max(DISTINCT_MIN, 2 * series_count)
        memset(self._revised_pending, 0, sizeof(self._revised_pending))
        self.records = <EventRecord*>calloc(
            self._limit + BARRIERS_MIN, sizeof(EventRecord)
        )
        self._forming_pending = <uint8_t*>calloc(series_count, 1)
        self._ticker_pending = <uint8_t*>calloc(symbol_count, 1)
        if self.records == NULL or self._forming_pending == NULL or self._ticker_pending == NULL:
            raise MemoryError(f"no memory for a queue of {self._limit} events")

    def __dealloc__(self):
        free(self.records)
        free(self._forming_pending)
        free(self._ticker_pending)

    cdef void emit(self, uint32_t kind, uint32_t index, int64_t open_time_ms) noexcept:
        """Remember one event."""
        cdef EventRecord* record
        if kind > FORMING:
            self.urgent = True
        if kind == TICKER:
            if self._ticker_pending[index]:
                return
            self._ticker_pending[index] = 1
        elif kind == FORMING:
            if self._forming_pending[index]:
                return
            self._forming_pending[index] = 1
        elif kind == BARRIER_REVISED and self._revised_pending[index] == open_time_ms + 1:
            return
        elif (
            self.count + self._conflated
            >= self._limit + (BARRIERS_MIN if kind == BARRIER else 0)
        ):
            self.lost += 1
            return
        elif kind == BARRIER_REVISED:
            self._revised_pending[index] = open_time_ms + 1
        record = &self.records[self.count]
        record.kind = kind
        record.index = index
        record.open_time_ms = open_time_ms
        self.count += 1

    cdef void _settle(self, EventRecord* record) noexcept:
        """What was conflated into this record may be told again."""
        if record.kind == TICKER:
            self._ticker_pending[record.index] = 0
        elif record.kind == FORMING:
            self._forming_pending[record.index] = 0
        elif record.kind == BARRIER_REVISED:
            self._revised_pending[record.index] = 0

    cdef void clear(self) noexcept:
        """Forget all events."""
        cdef uint32_t i
        for i in range(self.count):
            self._settle(&self.records[i])
        self.count = 0
        self.urgent = False

    cdef void forget(self, uint32_t symbol, uint32_t interval_count) noexcept:
        """Forget the events of a symbol and of its series; the others move up, in order."""
        cdef EventRecord* record
        cdef uint32_t i, kept = 0
        self.urgent = False
        for i in range(self.count):
            record = &self.records[i]
            if (
                record.kind != BARRIER and record.kind != BARRIER_REVISED
                and record.index // (1 if record.kind == TICKER else interval_count) == symbol
            ):
                self._settle(record)
                continue
            self.records[kept] = record[0]
            self.urgent |= record.kind > FORMING
            kept += 1
        self.count = kept
