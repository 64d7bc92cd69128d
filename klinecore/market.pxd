"""C face of a market: what a listener calls inside its callback."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from klinecore.arena cimport Arena
from klinecore.encode cimport Scratch
from klinecore.events cimport EventQueue
from klinecore.kline cimport KlineRow
from klinecore.names cimport SymbolTable
from klinecore.parsers.binance cimport Frame, FrameKind
from klinecore.merge cimport MergeStatus, SeriesMemory
from klinecore.ticker cimport TickerRecord

cdef class Market:
    cdef readonly tuple symbols
    cdef readonly tuple intervals
    cdef readonly int capacity
    cdef bint has_events                    # True when drain() would return something
    cdef Arena _arena
    cdef Scratch _scratch
    cdef dict _series                       # (symbol, interval) -> Series
    cdef dict _symbol_index
    cdef dict _interval_index
    cdef SymbolTable _table
    cdef list _json_names                   # symbols escaped for JSON
    cdef SeriesMemory* _memory
    cdef TickerRecord** _tickers
    cdef int[16] _interval_of               # position in INTERVALS -> our interval, -1 without
    cdef int _interval_count
    cdef EventQueue _events
    # counters
    cdef uint64_t[11] _frames               # by FrameKind
    cdef uint64_t _unknown_symbol
    cdef uint64_t _unknown_interval
    cdef uint64_t _bad_time
    cdef uint64_t _unrepresentable
    cdef uint64_t _ticker_stale

    cdef int apply_bytes(self, const char* data, Py_ssize_t size) noexcept
    cdef MergeStatus merge_row(
        self, uint32_t series_index, const KlineRow* row, bint notify
    ) noexcept
    cdef void _apply_kline(self, Frame* frame) noexcept
    cdef bint _apply_ticker(self, Frame* frame) noexcept
    cdef void _emit(self, uint32_t kind, uint32_t index, int64_t open_time_ms) noexcept
    cdef int _series_of(self, symbol, interval) except -1
    cdef Py_ssize_t _symbol(self, symbol) except -1
    cdef bint _live(self, const SeriesMemory* series, last, start_ms, end_ms)
    cdef tuple _slots(self, const SeriesMemory* series, limit, start_ms, end_ms)
