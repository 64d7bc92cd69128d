"""Binance's REST answers -> klines and tickers, one element at a time."""

from libc.stdint cimport uint32_t

from klinecore.kline cimport (
    QUOTE_VOLUME, SOURCE_REST, TAKER_BUY_BASE, KlineRow, Slice,
)
from klinecore.number cimport NUMBER_OK, NUMBER_UNREPRESENTABLE
from klinecore.parsers._json cimport (
    KEY_LONG, name_is, next_member, read_integer, read_key, read_value, skip_space,
)
from klinecore.parsers.binance cimport (
    TICKER, Frame, check_ticker, kline_of, letter_index, read_decimal, reset, settle,
    take_symbol,
)

from klinecore.errors import ParseError

__all__ = ["parse_klines"]


cdef const char* open_array(const char* p, const char* end) noexcept nogil:
    """Step into an array that is the whole of a body; NULL if the bytes are no such thing."""
    cdef Slice text
    cdef const char* after
    p = skip_space(p, end)
    if p >= end or p[0] != c'[':
        return NULL
    after = read_value(p, end, &text, 0)
    return p + 1 if after != NULL and skip_space(after, end) == end else NULL


cdef const char* open_klines(const char* body, const char* end) except NULL:
    """Step into a klines answer of which every element is sound.

    Raises ParseError: it is none, or has an element that is none; nothing of it must be stored.
    """
    cdef KlineRow row
    cdef const char* start = open_array(body, end)
    cdef const char* p = start
    cdef int status = 1, rows = 0
    if start == NULL:
        raise not_an_array("a JSON array of klines", body, end)
    while status:
        status = next_kline(&p, end, &row)
        if status == -1:
            raise ParseError(f"element {rows} of the klines answer is no kline tuple")
        rows += 1
    return start


cdef const char* open_tickers(const char* body, const char* end) except NULL:
    """Likewise of a FULL ``ticker/24hr`` answer, as an array."""
    cdef Frame frame
    cdef const char* start = open_array(body, end)
    cdef const char* p = start
    cdef int status = 1, seen = 0
    if start == NULL:
        raise not_an_array("ticker/24hr as JSON", body, end)
    while status:
        status = next_rest_ticker(&p, end, &frame)
        if status < 0:
            raise ParseError(f"element {seen} of the answer is no FULL 24 h ticker")
        seen += 1
    return start


cdef not_an_array(str what, const char* body, const char* end):
    """The error to raise."""
    return ParseError(f"expected {what}, received {body[:min(60, end - body)]!r}")


cdef inline const char* next_element(const char* p, const char* end, char opening) noexcept nogil:
    """Step to the next element, which must begin with ``opening``; ``end`` when there is none."""
    p = skip_space(p, end)
    if p < end and p[0] == c',':
        p = skip_space(p + 1, end)
    if p < end and p[0] == c']':
        return end
    return p if p < end and p[0] == opening else NULL


cdef const char* read_kline_tuple(
    const char* p, const char* end, KlineRow* row, bint* exact
) noexcept nogil:
    """Read ``[t,"o","h","l","c","v",T,"q",n,"V","Q",..]`` whose opening bracket is behind us."""
    cdef Slice ignored
    cdef int place, status
    cdef bint done = False
    for place in range(11):
        p = skip_space(p, end)
        status = NUMBER_OK
        if place == 0:
            p = read_integer(p, end, &row.open_time_ms)
        elif place == 6:
            p = read_integer(p, end, &row.close_time_ms)
        elif place == 8:
            p = read_integer(p, end, &row.trades)
            if p != NULL and row.trades < 0:
                return NULL
        elif place < 6:
            p = read_decimal(p, end, row, place - 1, &status)
        elif place == 7:
            p = read_decimal(p, end, row, QUOTE_VOLUME, &status)
        else:
            p = read_decimal(p, end, row, place - 9 + TAKER_BUY_BASE, &status)
        if status == NUMBER_UNREPRESENTABLE:
            exact[0] = False
        if p == NULL:
            return NULL
        p = next_member(p, end, c']', &done)
        if p == NULL or (done and place < 10):
            return NULL
    while not done:
        p = read_value(p, end, &ignored, 2)
        if p == NULL:
            return NULL
        p = next_member(p, end, c']', &done)
        if p == NULL:
            return NULL
    return p


cdef int next_kline(const char** cursor, const char* end, KlineRow* row) noexcept nogil:
    """Read the next tuple of a REST klines answer that ``open_array`` accepted."""
    cdef bint exact = True
    cdef const char* p = next_element(cursor[0], end, c'[')
    if p == NULL:
        return -1
    if p == end:
        return 0
    p = read_kline_tuple(p + 1, end, row, &exact)
    if p == NULL:
        return -1
    cursor[0] = p
    row.event_time_ms = 0
    row.source = SOURCE_REST
    row.closed = True
    return 1 if exact else -2


cdef int rest_ticker_letter(const Slice* name) noexcept nogil:
    """Letter of a ``ticker/24hr`` field; 0 for others."""
    cdef const char** known = [
        b"symbol", b"priceChange", b"priceChangePercent", b"weightedAvgPrice", b"prevClosePrice",
        b"lastPrice", b"lastQty", b"bidPrice", b"bidQty", b"askPrice", b"askQty", b"openPrice",
        b"highPrice", b"lowPrice", b"volume", b"quoteVolume", b"openTime", b"closeTime",
        b"firstId", b"lastId", b"count",
    ]
    cdef const char* letters = b"spPwxcQbBaAohlvqOCFLn"
    cdef int i, size
    for i in range(21):
        size = 0
        while known[i][size]:
            size += 1
        if name_is(name, known[i], <uint32_t>size):
            return letters[i]
    return 0


cdef int next_rest_ticker(const char** cursor, const char* end, Frame* frame) noexcept nogil:
    """Read the next object of a FULL ``ticker/24hr`` answer as if a 24hrTicker had brought it."""
    cdef Slice name, text
    cdef int key, letter
    cdef bint done = False
    cdef const char* p = next_element(cursor[0], end, c'{')
    if p == NULL:
        return -1
    if p == end:
        return 0
    reset(frame)
    p = skip_space(p + 1, end)
    while not done:
        p = read_key(p, end, &key, &name)
        if p == NULL:
            return -1
        p = read_value(p, end, &text, 2)
        if p == NULL:
            return -1
        letter = 0
        if key == KEY_LONG:
            settle(frame, &name)
            letter = rest_ticker_letter(&name)
        if letter:
            settle(frame, &text)
            frame.fields[letter_index(<char>letter)] = text
            frame.seen |= 1ULL << letter_index(<char>letter)
        p = next_member(p, end, c'}', &done)
        if p == NULL:
            return -1
    cursor[0] = p
    # The window's end is the newest thing the answer knows of: its event time.
    frame.fields[letter_index(c'E')] = frame.fields[letter_index(c'C')]
    frame.seen |= (frame.seen >> letter_index(c'C') & 1) << letter_index(c'E')
    frame.kind = check_ticker(frame, TICKER)
    return 1 if frame.kind == TICKER and take_symbol(frame) else -1


def parse_klines(const unsigned char[::1] body not None):
    """Parse a REST klines answer (array of 12-tuples); ``closed`` is True in every row.

    Raises ParseError: not such an array, or a number that cannot be kept exactly.
    """
    cdef const char* start = <const char*>&body[0] if body.shape[0] else NULL
    cdef const char* end = start + body.shape[0]
    cdef const char* p = open_array(start, end)
    cdef KlineRow row
    cdef int status
    if p == NULL:
        raise not_an_array("a JSON array of klines", start, end)
    rows = []
    while True:
        status = next_kline(&p, end, &row)
        if status == 0:
            return rows
        if status < 0:
            what = "is no kline tuple" if status == -1 else "has a number too long to keep exactly"
            raise ParseError(f"element {len(rows)} {what}")
        rows.append(kline_of(&row))
