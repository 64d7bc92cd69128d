"""What happened to a market since its owner last looked: bounded, conflated where that is harmless.

A ticker or a forming row that changes ten times between two looks is one event; every close,
revision and late close is one of its own.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

__all__ = ["EventKind", "EventQueue"]

cdef enum:
    DISTINCT_MIN = 8192         # closes, revisions and late closes a queue can hold at least


@cython.final
cdef class EventQueue:
    """For ``series_count`` series and ``symbol_count`` tickers; when full, ``lost`` counts."""

    def __cinit__(self, uint32_t series_count, uint32_t symbol_count):
        self._conflated = series_count + symbol_count
        self._limit = self._conflated + max(DISTINCT_MIN, 2 * series_count)
        self.records = <EventRecord*>calloc(self._limit, sizeof(EventRecord))
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
        if kind == TICKER:
            if self._ticker_pending[index]:
                return
            self._ticker_pending[index] = 1
        elif kind == FORMING:
            if self._forming_pending[index]:
                return
            self._forming_pending[index] = 1
        elif self.count + self._conflated >= self._limit:
            self.lost += 1
            return
        record = &self.records[self.count]
        record.kind = kind
        record.index = index
        record.open_time_ms = open_time_ms
        self.count += 1

    cdef void clear(self) noexcept:
        """Forget all events; what was conflated may be told again."""
        cdef uint32_t i
        for i in range(self.count):
            if self.records[i].kind == TICKER:
                self._ticker_pending[self.records[i].index] = 0
            elif self.records[i].kind == FORMING:
                self._forming_pending[self.records[i].index] = 0
        self.count = 0
