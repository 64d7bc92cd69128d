"""C face of a market: what a listener calls inside its callback."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from klinecore.arena cimport Arena
from klinecore.encode cimport Scratch
from klinecore.kline cimport KlineRow
from klinecore.parsers.binance cimport Frame, FrameKind
from klinecore.series cimport MergeStatus, SeriesMemory
from klinecore.ticker cimport TickerRecord

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

cdef class Market:
    cdef readonly tuple symbols
    cdef readonly tuple intervals
    cdef readonly int capacity
    cdef readonly bint has_events
    cdef Arena _arena
    cdef Scratch _scratch
    cdef dict _series                       # (symbol, interval) -> Series
    cdef dict _symbol_index
    cdef dict _interval_index
    cdef list _names                        # symbols as UTF-8, and escaped for JSON
    cdef list _json_names
    cdef SeriesMemory* _memory
    cdef TickerRecord** _tickers
    cdef int[16] _interval_of               # position in INTERVALS -> our interval, -1 without
    cdef int _interval_count
    # symbol table: open addressing over the UTF-8 bytes
    cdef uint32_t* _buckets
    cdef uint32_t _bucket_mask
    cdef char** _name_data
    cdef uint32_t* _name_size
    # events not yet drained
    cdef EventRecord* _events
    cdef uint32_t _event_limit
    cdef uint32_t _event_count
    cdef uint8_t* _forming_pending
    cdef uint8_t* _ticker_pending
    # counters
    cdef uint64_t[11] _frames               # by FrameKind
    cdef uint64_t _unknown_symbol
    cdef uint64_t _unknown_interval
    cdef uint64_t _bad_time
    cdef uint64_t _unrepresentable
    cdef uint64_t _ticker_stale
    cdef uint64_t _events_lost

    cdef int apply_bytes(self, const char* data, Py_ssize_t size) noexcept
    cdef MergeStatus merge_row(self, uint32_t series_index, const KlineRow* row, bint notify) noexcept
    cdef int _find_symbol(self, const char* name, uint32_t size) noexcept
    cdef void _apply_kline(self, Frame* frame) noexcept
    cdef bint _apply_ticker(self, Frame* frame) noexcept
    cdef void _emit(self, uint32_t kind, uint32_t index, int64_t open_time_ms) noexcept
    cdef int _series_of(self, symbol, interval) except -1
    cdef Py_ssize_t _symbol(self, symbol) except -1
    cdef bint _live(self, const SeriesMemory* series, last, end_ms)
    cdef tuple _slots(self, const SeriesMemory* series, limit, start_ms, end_ms)
