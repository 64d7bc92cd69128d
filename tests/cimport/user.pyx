"""What a user writes: a listener in C that feeds a market and looks at its memory."""

from libc.stdint cimport int64_t

from klinecore.indicators.kernels.momentum cimport RsiState, rsi_init, rsi_step
from klinecore.kline cimport CLOSE, KlineRow
from klinecore.market cimport Market
from klinecore.merge cimport (
    ABSENT_BIT, APPENDED, MergeStatus, SeriesMemory, series_close_time, series_merge,
)
from klinecore.parsers.binance cimport KLINE, Frame, FrameKind, parse_message
from klinecore.series cimport Series


def feed(Market market not None, bytes frame not None):
    """Apply a frame from C; its kind."""
    return market.apply_bytes(frame, len(frame))


def newest_close(Series series not None):
    """Close of the newest closed row, read from the column where it lies."""
    cdef SeriesMemory* memory = &series.memory
    cdef Py_ssize_t slot = memory.header.start + memory.header.count - 1
    return memory.values[CLOSE * memory.slots + slot]


def merge_parsed(Series series not None, bytes frame not None):
    """Parse without a market and merge without a lookup; True if the row was appended."""
    cdef Frame parsed
    cdef FrameKind kind = parse_message(frame, len(frame), &parsed)
    cdef MergeStatus status
    assert kind == KLINE
    with nogil:
        status = series_merge(&series.memory, &parsed.row)
    return status == APPENDED


def absent_bits(Series series not None):
    """Which rows, oldest first and the forming one last, say that the stretch before is empty."""
    cdef SeriesMemory* memory = &series.memory
    cdef Py_ssize_t first = memory.header.start
    cdef Py_ssize_t last = first + memory.header.count + memory.header.has_forming
    return [memory.tags[slot] & ABSENT_BIT != 0 for slot in range(first, last)]


def close_time(Series series not None, int64_t open_time_ms):
    """Last millisecond of the kline that opened then."""
    return series_close_time(&series.memory, open_time_ms)


def row_size():
    """Bytes of one row as the parser hands it on."""
    return sizeof(KlineRow)


def rsi_of_many(double[:, ::1] prices not None, double[:, ::1] out not None, Py_ssize_t period):
    """RSI of every column at once, row by row: the library's own step, inlined."""
    cdef RsiState[8] states
    cdef Py_ssize_t row, column
    assert prices.shape[1] <= 8
    for column in range(prices.shape[1]):
        rsi_init(&states[column], period, False)
    with nogil:
        for row in range(prices.shape[0]):
            for column in range(prices.shape[1]):
                out[row, column] = rsi_step(&states[column], prices[row, column])
