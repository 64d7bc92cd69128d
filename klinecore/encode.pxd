"""JSON bytes of rows and tickers, written by the core straight from memory."""

from libc.stdint cimport uint32_t

from klinecore.merge cimport SeriesMemory
from klinecore.ticker cimport TickerRecord

cdef class Scratch:
    cdef char* _data
    cdef Py_ssize_t _size

    cdef char* reserve(self, Py_ssize_t size) except NULL

cdef tuple asked_rows(const SeriesMemory* series, limit, start_ms, end_ms)
cdef bint asks_forming(const SeriesMemory* series, last, start_ms, end_ms) except -1
cdef bytes encode_klines(
    Scratch scratch, const SeriesMemory* series, bytes symbol, bytes interval,
    uint32_t first, uint32_t last, bint forming
)
cdef bytes encode_kline_tuples(
    Scratch scratch, const SeriesMemory* series, uint32_t first, uint32_t last, bint forming
)
cdef bytes encode_ticker(Scratch scratch, const TickerRecord* record, bytes symbol)
cdef bytes encode_tickers(Scratch scratch, TickerRecord** records, list places, list symbols)
cdef bytes encode_ticker_frame(
    Scratch scratch, const TickerRecord* record, bytes symbol, bint mini
)
