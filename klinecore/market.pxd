"""C face of a market: what a listener calls inside its callback."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from klinecore.arena cimport Arena
from klinecore.barrier cimport Barriers
from klinecore.encode cimport Scratch
from klinecore.events cimport EventQueue
from klinecore.kline cimport KlineRow
from klinecore.names cimport SymbolTable
from klinecore.parsers.binance cimport Frame, FrameKind
from klinecore.merge cimport MergeStatus, SeriesMemory
from klinecore.ticker cimport TickerRecord

cdef class Market:
    cdef readonly tuple symbols             # in the order they were added
    cdef readonly tuple intervals
    cdef readonly int capacity
    cdef bint has_events                    # True when drain() would return something
    cdef public int64_t horizon_ms
    cdef Arena _arena
    cdef Scratch _scratch
    cdef dict _series                       # (symbol, interval) -> Series
    cdef dict _places                       # symbol -> its place in the arena
    cdef list _names                        # by place: symbol; None where it is free
    cdef object _free_places                # longest free first
    cdef dict _interval_index
    cdef SymbolTable _table
    cdef list _json_names                   # by place: symbol escaped for JSON
    cdef SeriesMemory* _memory
    cdef TickerRecord** _tickers
    cdef int[16] _interval_of               # position in INTERVALS -> our interval, -1 without
    cdef int _interval_count
    cdef EventQueue _events
    cdef Barriers _barriers
    cdef uint64_t _sequence_floor           # beyond those of every series ever removed
    cdef uint64_t _revision_floor
    # counters
    cdef uint64_t[11] _frames               # by FrameKind
    cdef uint64_t _unknown_symbol
    cdef uint64_t _unknown_interval
    cdef uint64_t _bad_time
    cdef uint64_t _future
    cdef uint64_t _event_future
    cdef uint64_t _unrepresentable
    cdef uint64_t _ticker_stale

    cdef int apply_bytes(self, const char* data, Py_ssize_t size) noexcept
    cdef MergeStatus merge_row(
        self, uint32_t series_index, const KlineRow* row, bint notify, bint correct
    ) noexcept
    cdef void _row_closed(self, uint32_t series_index, int64_t open_time_ms) noexcept
    cdef void _apply_kline(self, Frame* frame) noexcept
    cdef bint _apply_ticker(self, Frame* frame) noexcept
    cdef void _notice(self) noexcept
    cdef _map_memory(self, uint32_t place_count, path)
    cdef _take_place(self, str symbol, bytes name)
    cdef void _emit(self, uint32_t kind, uint32_t index, int64_t open_time_ms) noexcept
    cdef int _series_of(self, symbol, interval) except -1
    cdef int _interval(self, interval) except -1
    cdef Py_ssize_t _symbol(self, symbol) except -1
