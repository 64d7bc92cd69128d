"""JSON bytes of rows and tickers, written by the core straight from memory.

A body is written from its last byte to its first: a number's digits come out of a division last
one first, so nothing has to be measured or moved, and one copy makes the Python ``bytes``.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strlen

from klinecore.kline cimport (
    CLOSE, HIGH, LOW, OPEN, QUOTE_VOLUME, TAKER_BUY_BASE, TAKER_BUY_QUOTE, TRADES,
    VOLUME,
)
from klinecore.number cimport NUMBER_TEXT_MAX, write_bytes, write_int, write_number, write_uint
from klinecore.merge cimport FORMAT_MASK, SeriesMemory, series_close_time, series_find
from klinecore.ticker cimport (
    TICKER_INTEGERS, TICKER_TEXT_MAX, TICKER_TEXTS, TickerRecord, integer_place, text_place,
    ticker_has,
)

__all__ = ["Scratch"]

cdef enum:
    ROW_SIZE_MAX = 8 * NUMBER_TEXT_MAX + 4 * 20 + 96
    FRAME_SIZE_MAX = TICKER_TEXTS * (TICKER_TEXT_MAX + 7) + (TICKER_INTEGERS + 1) * 26 + 32
    SCRATCH_KEPT_MAX = 4 << 20      # bytes; a larger body gives its memory back


@cython.final
cdef class Scratch:
    """A reusable piece of memory to write a body in; grows to what was asked, up to a limit."""

    def __dealloc__(self):
        free(self._data)

    cdef char* reserve(self, Py_ssize_t size) except NULL:
        if size > self._size or self._size > SCRATCH_KEPT_MAX:
            free(self._data)
            self._size = 0
            self._data = <char*>malloc(size)
            if self._data == NULL:
                raise MemoryError(f"no {size} bytes to write a body in")
            self._size = size
        return self._data


cdef struct Row:
    # One stored row, looked up once for its eight numbers.
    const double* values
    const int16_t* residuals
    uint32_t slots
    uint8_t[8] formats
    int64_t open_time_ms
    int64_t close_time_ms


cdef inline void _load(Row* row, const SeriesMemory* series, uint32_t slot) noexcept nogil:
    row.values = series.values + slot
    row.residuals = series.residuals + slot
    row.slots = series.slots
    memcpy(row.formats, &series.formats.keys[series.tags[slot] & FORMAT_MASK], 8)
    row.open_time_ms = series.open_time_ms[slot]
    row.close_time_ms = series_close_time(series, row.open_time_ms)


cdef inline char* _number(char* p, const Row* row, int column) noexcept nogil:
    cdef int16_t residual = 0
    if column >= VOLUME:
        residual = row.residuals[(column - VOLUME) * row.slots]
    return write_number(p, row.values[column * row.slots], residual, row.formats[column])


cdef inline char* _trades(char* p, const Row* row) noexcept nogil:
    return write_uint(p, <uint64_t>row.values[TRADES * row.slots])


cdef char* _object(char* p, const SeriesMemory* series, uint32_t slot, bint closed) noexcept nogil:
    """``{"t":..,"o":"..",..,"x":true}``"""
    cdef Row row
    _load(&row, series, slot)
    if closed:
        p = write_bytes(p, b'","x":true}', 11)
    else:
        p = write_bytes(p, b'","x":false}', 12)
    p = _number(p, &row, TAKER_BUY_QUOTE)
    p = write_bytes(p, b'","Q":"', 7)
    p = _number(p, &row, TAKER_BUY_BASE)
    p = write_bytes(p, b',"V":"', 6)
    p = _trades(p, &row)
    p = write_bytes(p, b'","n":', 6)
    p = _number(p, &row, QUOTE_VOLUME)
    p = write_bytes(p, b',"q":"', 6)
    p = write_int(p, row.close_time_ms)
    p = write_bytes(p, b'","T":', 6)
    p = _number(p, &row, VOLUME)
    p = write_bytes(p, b'","v":"', 7)
    p = _number(p, &row, CLOSE)
    p = write_bytes(p, b'","c":"', 7)
    p = _number(p, &row, LOW)
    p = write_bytes(p, b'","l":"', 7)
    p = _number(p, &row, HIGH)
    p = write_bytes(p, b'","h":"', 7)
    p = _number(p, &row, OPEN)
    p = write_bytes(p, b',"o":"', 6)
    p = write_int(p, row.open_time_ms)
    return write_bytes(p, b'{"t":', 5)


cdef char* _tuple(char* p, const SeriesMemory* series, uint32_t slot) noexcept nogil:
    """``[t,"o","h","l","c","v",T,"q",n,"V","Q","0"]``, as Binance's REST has it."""
    cdef Row row
    cdef int column
    _load(&row, series, slot)
    p = write_bytes(p, b'","0"]', 6)
    p = _number(p, &row, TAKER_BUY_QUOTE)
    p = write_bytes(p, b'","', 3)
    p = _number(p, &row, TAKER_BUY_BASE)
    p = write_bytes(p, b',"', 2)
    p = _trades(p, &row)
    p = write_bytes(p, b'",', 2)
    p = _number(p, &row, QUOTE_VOLUME)
    p = write_bytes(p, b',"', 2)
    p = write_int(p, row.close_time_ms)
    p = write_bytes(p, b'",', 2)
    for column in range(VOLUME, OPEN, -1):
        p = _number(p, &row, column)
        p = write_bytes(p, b'","', 3)
    p = _number(p, &row, OPEN)
    p = write_bytes(p, b',"', 2)
    p = write_int(p, row.open_time_ms)
    return write_bytes(p, b'[', 1)


cdef tuple asked_rows(const SeriesMemory* series, limit, start_ms, end_ms):
    """Slots ``first, last`` of the closed rows asked for: from ``start_ms`` on the oldest ``limit``
    ones, without it the newest."""
    cdef uint32_t first = series.header.start
    cdef uint32_t last = first + series.header.count
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    if start_ms is not None:
        first = series_find(series, min(max(start_ms, 0), 1 << 62))
    if end_ms is not None:
        last = max(first, series_find(series, min(max(end_ms + 1, 0), 1 << 62)))
    if last - first > limit:
        if start_ms is None:
            first = last - <uint32_t>limit
        else:
            last = first + <uint32_t>limit
    return first, last


cdef bint asks_forming(const SeriesMemory* series, last, start_ms, end_ms) except -1:
    """Whether the forming row belongs behind slot ``last`` of those."""
    cdef uint32_t end = series.header.start + series.header.count
    if not series.header.has_forming or last != end:
        return False
    return (
        (start_ms is None or series.open_time_ms[end] >= start_ms)
        and (end_ms is None or series.open_time_ms[end] <= end_ms)
    )


cdef bytes encode_klines(
    Scratch scratch, const SeriesMemory* series, bytes symbol, bytes interval,
    uint32_t first, uint32_t last, bint forming
):
    """The seed's answer: slots ``first <= slot < last``, then the forming row if asked and there.

    ``symbol`` is already escaped for JSON.
    """
    cdef bint live = forming and series.header.has_forming
    cdef uint32_t count = last - first + live
    cdef Py_ssize_t size = ROW_SIZE_MAX * <Py_ssize_t>(count + 1) + PyBytes_GET_SIZE(symbol) + 32
    cdef char* data = scratch.reserve(size)
    cdef char* end = data + size
    cdef char* p = end
    cdef uint32_t slot = last
    with nogil:
        p = write_bytes(p, b'}', 1)
        p = write_uint(p, count)
        p = write_bytes(p, b'],"count":', 10)
        if live:
            p = _object(p, series, series.header.start + series.header.count, False)
            if last > first:
                p = write_bytes(p, b',', 1)
        while slot > first:
            slot -= 1
            p = _object(p, series, slot, True)
            if slot > first:
                p = write_bytes(p, b',', 1)
        p = write_bytes(p, b'","klines":[', 12)
    p = write_bytes(p, PyBytes_AS_STRING(interval), PyBytes_GET_SIZE(interval))
    p = write_bytes(p, b'","interval":"', 14)
    p = write_bytes(p, PyBytes_AS_STRING(symbol), PyBytes_GET_SIZE(symbol))
    p = write_bytes(p, b'{"symbol":"', 11)
    return PyBytes_FromStringAndSize(p, end - p)


cdef bytes encode_kline_tuples(
    Scratch scratch, const SeriesMemory* series, uint32_t first, uint32_t last, bint forming
):
    """Binance's REST answer of the same rows."""
    cdef bint live = forming and series.header.has_forming
    cdef Py_ssize_t size = ROW_SIZE_MAX * <Py_ssize_t>(last - first + 2)
    cdef char* data = scratch.reserve(size)
    cdef char* end = data + size
    cdef char* p = end
    cdef uint32_t slot = last
    with nogil:
        p = write_bytes(p, b']', 1)
        if live:
            p = _tuple(p, series, series.header.start + series.header.count)
            if last > first:
                p = write_bytes(p, b',', 1)
        while slot > first:
            slot -= 1
            p = _tuple(p, series, slot)
            if slot > first:
                p = write_bytes(p, b',', 1)
        p = write_bytes(p, b'[', 1)
    return PyBytes_FromStringAndSize(p, end - p)


cdef Py_ssize_t _ticker_size(bytes symbol) noexcept:
    """Bytes one ticker can take."""
    return 400 + 2 * PyBytes_GET_SIZE(symbol)


cdef inline char* _text(char* p, const TickerRecord* record, char letter) noexcept:
    cdef int place = text_place(letter)
    return write_bytes(p, record.texts[place].text, record.texts[place].size)


cdef char* _ticker(char* p, const TickerRecord* record, bytes symbol) noexcept:
    """``{"s":..,"c":..,"v":..,"q":..,"P":..,"h":..,"l":..,"t":..}``"""
    p = write_bytes(p, b'}', 1)
    p = write_int(p, record.event_time_ms)
    p = write_bytes(p, b'","t":', 6)
    p = _text(p, record, c'l')
    p = write_bytes(p, b'","l":"', 7)
    p = _text(p, record, c'h')
    p = write_bytes(p, b'","h":"', 7)
    p = _text(p, record, c'P')
    p = write_bytes(p, b'","P":"', 7)
    p = _text(p, record, c'q')
    p = write_bytes(p, b'","q":"', 7)
    p = _text(p, record, c'v')
    p = write_bytes(p, b'","v":"', 7)
    p = _text(p, record, c'c')
    p = write_bytes(p, b'","c":"', 7)
    p = write_bytes(p, PyBytes_AS_STRING(symbol), PyBytes_GET_SIZE(symbol))
    return write_bytes(p, b'{"s":"', 6)


cdef bytes encode_ticker(Scratch scratch, const TickerRecord* record, bytes symbol):
    """One ticker in the seed's shape, None if it has no close; ``symbol`` is already escaped."""
    cdef Py_ssize_t size = _ticker_size(symbol)
    cdef char* end
    cdef char* p
    if not ticker_has(record, c'c'):
        return None
    end = scratch.reserve(size) + size
    p = _ticker(end, record, symbol)
    return PyBytes_FromStringAndSize(p, end - p)


cdef bytes encode_tickers(Scratch scratch, TickerRecord** records, list places, list symbols):
    """``{"<SYMBOL>": <ticker>, ...}`` of those of ``places`` that have one, in that order.

    ``symbols``, by place, are already escaped for JSON.
    """
    cdef Py_ssize_t place, size = 2
    cdef bytes symbol
    cdef char* data
    cdef char* end
    cdef char* p
    cdef bint first = True
    for place in places:
        symbol = symbols[place]
        size += _ticker_size(symbol) + PyBytes_GET_SIZE(symbol) + 8
    data = scratch.reserve(size)
    end = data + size
    p = write_bytes(end, b"}", 1)
    for place in reversed(places):
        if not ticker_has(records[place], c'c'):
            continue
        if not first:
            p = write_bytes(p, b",", 1)
        first = False
        symbol = symbols[place]
        p = _ticker(p, records[place], symbol)
        p = write_bytes(p, b'":', 2)
        p = write_bytes(p, PyBytes_AS_STRING(symbol), PyBytes_GET_SIZE(symbol))
        p = write_bytes(p, b'"', 1)
    p = write_bytes(p, b"{", 1)
    return PyBytes_FromStringAndSize(p, end - p)


cdef inline char* _lettered(char* p, const TickerRecord* record, char letter) noexcept:
    """``,"x":"<text>"`` or ``,"x":<integer>``, if there is one."""
    cdef int place = integer_place(letter)
    if not ticker_has(record, letter):
        return p
    if place >= 0:
        p = write_int(p, record.integers[place])
        p = write_bytes(p, b'":', 2)
    else:
        p = write_bytes(p, b'"', 1)
        p = _text(p, record, letter)
        p = write_bytes(p, b'":"', 3)
    p = write_bytes(p, &letter, 1)
    return write_bytes(p, b',"', 2)


cdef bytes encode_ticker_frame(
    Scratch scratch, const TickerRecord* record, bytes symbol, bint mini
):
    """The exchange's frame of a ticker, in full or as a mini ticker, of the letters it has.

    None without those of a mini ticker: only bid and ask have come yet. ``symbol`` is already
    escaped for JSON.
    """
    cdef const char* letters = b"cohlvq" if mini else b"pPwxcQbBaAohlvqOCFLn"
    cdef Py_ssize_t place = strlen(letters)
    cdef Py_ssize_t size = FRAME_SIZE_MAX + PyBytes_GET_SIZE(symbol)
    cdef char* end
    cdef char* p
    for letter in b"cohlvq":
        if not ticker_has(record, letter):
            return None
    end = scratch.reserve(size) + size
    p = write_bytes(end, b"}", 1)
    while place > 0:
        place -= 1
        p = _lettered(p, record, letters[place])
    p = write_int(p, record.event_time_ms)
    p = write_bytes(p, b'","E":', 6)
    p = write_bytes(p, PyBytes_AS_STRING(symbol), PyBytes_GET_SIZE(symbol))
    if mini:
        p = write_bytes(p, b'{"e":"24hrMiniTicker","s":"', 27)
    else:
        p = write_bytes(p, b'{"e":"24hrTicker","s":"', 23)
    return PyBytes_FromStringAndSize(p, end - p)
