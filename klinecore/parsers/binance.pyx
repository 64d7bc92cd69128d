"""Binance's messages -> klines and tickers, without a Python object.

One pass over the bytes. Fields may come in any order, unknown ones are skipped, strings may be
escaped, numbers of a kline are read where they stand. Everything is checked as JSON before
anything is reported: a cut or broken message is ``MALFORMED`` and has no effect.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from klinecore.kline cimport (
    CLOSE,
    HIGH,
    LOW,
    NUMBER_COLUMNS,
    OPEN,
    QUOTE_VOLUME,
    SOURCE_REST,
    SOURCE_STREAM,
    TAKER_BUY_BASE,
    TAKER_BUY_QUOTE,
    VOLUME,
    KlineRow,
    Slice,
)
from klinecore.number cimport NUMBER_OK, NUMBER_TEXT_MAX, NUMBER_UNREPRESENTABLE, Number
from klinecore.number cimport likely, number_read, write_number

from typing import NamedTuple

from klinecore.errors import ParseError
from klinecore.interval import INTERVALS
from klinecore.kline import Kline

cdef enum:
    NAME_STREAM = 1
    NAME_DATA = 2
    NAME_RESULT = 4
    NAME_ERROR = 8
    NAME_CODE = 16
    NAME_MSG = 32
    NAME_ID = 64
    NAME_KLINE = 128
    NAME_UNREPRESENTABLE = 256      # a kline number was too long
    NAME_SHIFTED = 512              # a kline stream in another time zone: other boundaries

    KEY_LONG = 128                  # read_key: more than one character
    KEY_BAD = -1

    SEEN_t = 1
    SEEN_T = 2
    SEEN_i = 4
    SEEN_x = 8
    SEEN_n = 16
    SEEN_NUMBERS = 0x1FE0           # bits 5..12, one per number column
    SEEN_KLINE = 0x1FFF


# --- JSON, as little as needed -----------------------------------------------------------------
# Readers take the cursor and the end and return the byte after what they read, NULL if malformed.

cdef inline const char* skip_space(const char* p, const char* end) noexcept nogil:
    while p < end and (p[0] == c' ' or p[0] == c'\n' or p[0] == c'\r' or p[0] == c'\t'):
        p += 1
    return p


cdef inline bint is_digit(char c) noexcept nogil:
    return c'0' <= c <= c'9'


cdef bint valid_utf8(const char* text, uint32_t size) noexcept nogil:
    cdef const unsigned char* p = <const unsigned char*>text
    cdef const unsigned char* end = p + size
    cdef unsigned int code, rest, smallest
    while p < end:
        code = p[0]
        p += 1
        if code < 0x80:
            continue
        if code < 0xC2:
            return False
        if code < 0xE0:
            rest, smallest, code = 1, 0x80, code & 0x1F
        elif code < 0xF0:
            rest, smallest, code = 2, 0x800, code & 0x0F
        elif code < 0xF5:
            rest, smallest, code = 3, 0x10000, code & 0x07
        else:
            return False
        while rest:
            if p >= end or (p[0] & 0xC0) != 0x80:
                return False
            code = code << 6 | (p[0] & 0x3F)
            p += 1
            rest -= 1
        if code < smallest or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            return False
    return True


cdef int hex4(const char* p, const char* end) noexcept nogil:
    """Value of four hex digits; -1 if they are not."""
    cdef int value = 0, i
    cdef char c
    if end - p < 4:
        return -1
    for i in range(4):
        c = p[i]
        if is_digit(c):
            value = value * 16 + (c - c'0')
        elif c'a' <= (c | 32) <= c'f':
            value = value * 16 + ((c | 32) - c'a' + 10)
        else:
            return -1
    return value


cdef const char* read_string(const char* p, const char* end, Slice* out) noexcept nogil:
    """Read a string whose opening quote is behind us; ``out`` is its raw text."""
    cdef unsigned char c, high = 0
    out.data = p
    out.kind = SLICE_STRING
    while p < end:
        c = <unsigned char>p[0]
        if c == c'"':
            out.size = <uint32_t>(p - out.data)
            if high >= 0x80 and not valid_utf8(out.data, out.size):
                return NULL
            return p + 1
        if c == c'\\':
            out.kind = SLICE_ESCAPED
            p += 1
            if p >= end:
                return NULL
            c = <unsigned char>p[0]
            if c == c'u':
                if hex4(p + 1, end) < 0:
                    return NULL
                p += 4
            elif not (
                c == c'"' or c == c'\\' or c == c'/' or c == c'b' or c == c'f' or c == c'n'
                or c == c'r' or c == c't'
            ):
                return NULL
        elif c < 0x20:
            return NULL
        high |= c
        p += 1
    return NULL


cdef int unescape(const Slice* text, char* out, int size_max) noexcept nogil:
    """Write the characters of an escaped string as UTF-8; their size, -1 if there is no room."""
    cdef const char* p = text.data
    cdef const char* end = p + text.size
    cdef int size = 0, code, low
    while p < end:
        if size + 4 > size_max:
            return -1
        if p[0] != c'\\':
            out[size] = p[0]
            size += 1
            p += 1
            continue
        p += 1
        code = p[0]
        if code == c'n':
            code = c'\n'
        elif code == c't':
            code = c'\t'
        elif code == c'r':
            code = c'\r'
        elif code == c'b':
            code = 8
        elif code == c'f':
            code = 12
        elif code == c'u':
            code = hex4(p + 1, end)
            p += 4
            if 0xD800 <= code < 0xDC00 and end - p > 6 and p[1] == c'\\' and p[2] == c'u':
                low = hex4(p + 3, end)
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                    p += 6
        p += 1
        size += write_utf8(out + size, code)
    return size


cdef int write_utf8(char* out, int code) noexcept nogil:
    if code < 0x80:
        out[0] = <char>code
        return 1
    if code < 0x800:
        out[0] = <char>(0xC0 | code >> 6)
        out[1] = <char>(0x80 | (code & 0x3F))
        return 2
    if code < 0x10000:
        out[0] = <char>(0xE0 | code >> 12)
        out[1] = <char>(0x80 | (code >> 6 & 0x3F))
        out[2] = <char>(0x80 | (code & 0x3F))
        return 3
    out[0] = <char>(0xF0 | code >> 18)
    out[1] = <char>(0x80 | (code >> 12 & 0x3F))
    out[2] = <char>(0x80 | (code >> 6 & 0x3F))
    out[3] = <char>(0x80 | (code & 0x3F))
    return 4


cdef const char* read_number_token(const char* p, const char* end, Slice* out) noexcept nogil:
    """Read a JSON number; ``out`` is its text."""
    out.data = p
    out.kind = SLICE_INTEGER
    if p < end and p[0] == c'-':
        p += 1
    if p >= end or not is_digit(p[0]):
        return NULL
    if p[0] == c'0':
        p += 1
    else:
        while p < end and is_digit(p[0]):
            p += 1
    if p < end and p[0] == c'.':
        out.kind = SLICE_NUMBER
        p += 1
        if p >= end or not is_digit(p[0]):
            return NULL
        while p < end and is_digit(p[0]):
            p += 1
    if p < end and (p[0] | 32) == c'e':
        out.kind = SLICE_NUMBER
        p += 1
        if p < end and (p[0] == c'+' or p[0] == c'-'):
            p += 1
        if p >= end or not is_digit(p[0]):
            return NULL
        while p < end and is_digit(p[0]):
            p += 1
    out.size = <uint32_t>(p - out.data)
    return p


cdef const char* read_value(const char* p, const char* end, Slice* out, int depth) noexcept nogil:
    """Read any value; ``out`` is its text (of a string: what is between the quotes)."""
    cdef Slice ignored
    cdef char opening
    if p >= end:
        return NULL
    if p[0] == c'"':
        return read_string(p + 1, end, out)
    if p[0] == c'-' or is_digit(p[0]):
        return read_number_token(p, end, out)
    out.data = p
    if p[0] == c'{' or p[0] == c'[':
        if depth >= DEPTH_MAX:
            return NULL
        opening = p[0]
        p = skip_space(p + 1, end)
        if p < end and p[0] == opening + 2:
            p += 1
        else:
            while True:
                if opening == c'{':
                    if p >= end or p[0] != c'"':
                        return NULL
                    p = read_string(p + 1, end, &ignored)
                    if p == NULL:
                        return NULL
                    p = skip_space(p, end)
                    if p >= end or p[0] != c':':
                        return NULL
                    p = skip_space(p + 1, end)
                p = read_value(p, end, &ignored, depth + 1)
                if p == NULL:
                    return NULL
                p = skip_space(p, end)
                if p >= end:
                    return NULL
                if p[0] == c',':
                    p = skip_space(p + 1, end)
                elif p[0] == opening + 2:       # in ASCII the closing bracket is two further on
                    p += 1
                    break
                else:
                    return NULL
        out.kind = SLICE_CONTAINER
    else:
        p = read_literal(p, end)
        if p == NULL:
            return NULL
        out.kind = SLICE_LITERAL
    out.size = <uint32_t>(p - out.data)
    return p


cdef const char* read_literal(const char* p, const char* end) noexcept nogil:
    if end - p >= 4 and (memcmp(p, b"true", 4) == 0 or memcmp(p, b"null", 4) == 0):
        return p + 4
    if end - p >= 5 and memcmp(p, b"false", 5) == 0:
        return p + 5
    return NULL


cdef inline const char* read_key(const char* p, const char* end, int* key, Slice* name) noexcept nogil:
    """Read a key and its colon up to the value; ``key`` is its one letter, or KEY_LONG."""
    cdef char[16] text
    if likely(end - p > 4 and p[0] == c'"' and p[2] == c'"' and p[3] == c':'
              and p[1] > 32 and p[1] != c'\\' and p[1] != c'"'):
        key[0] = p[1]
        p += 4
    else:
        if p >= end or p[0] != c'"':
            return NULL
        p = read_string(p + 1, end, name)
        if p == NULL:
            return NULL
        key[0] = KEY_LONG
        if name.kind == SLICE_ESCAPED:
            if unescape(name, text, 16) == 1 and text[0] > 0:
                key[0] = text[0]
        elif name.size == 1:
            key[0] = name.data[0] if name.data[0] > 0 else KEY_LONG
        p = skip_space(p, end)
        if p >= end or p[0] != c':':
            return NULL
        p += 1
    return skip_space(p, end)


cdef inline const char* read_integer(const char* p, const char* end, int64_t* out) noexcept nogil:
    """Read an integer of at most 18 digits."""
    cdef const char* start
    cdef int64_t value = 0
    cdef bint negative = p < end and p[0] == c'-'
    if negative:
        p += 1
    start = p
    while p < end and is_digit(p[0]):
        value = value * 10 + (p[0] - c'0')
        p += 1
        if p - start > 18:
            return NULL
    if p == start or (start[0] == c'0' and p - start > 1):
        return NULL
    out[0] = -value if negative else value
    return p


cdef inline const char* next_member(const char* p, const char* end, char closing, bint* done) noexcept nogil:
    """Step over the comma, or over the closing bracket (``done``)."""
    p = skip_space(p, end)
    if p >= end:
        return NULL
    if p[0] == c',':
        return skip_space(p + 1, end)
    if p[0] != closing:
        return NULL
    done[0] = True
    return p + 1


# --- klines ------------------------------------------------------------------------------------

cdef const char* read_decimal(const char* p, const char* end, KlineRow* row, int column, int* status) noexcept nogil:
    """Read a quoted decimal into a column; ``status`` tells a too long number from a bad one."""
    cdef Number number
    cdef Slice text
    cdef char[NUMBER_TEXT_MAX] plain
    cdef const char* after
    cdef int size
    if p >= end or p[0] != c'"':
        return NULL
    after = number_read(p + 1, end, column >= VOLUME, &number, status)
    if likely(after != NULL and after < end and after[0] == c'"'):
        row.value[column] = number.value
        row.residual[column] = number.residual
        row.format[column] = number.format
        return after + 1
    p = read_string(p + 1, end, &text)
    if p == NULL:
        return NULL
    if text.kind == SLICE_ESCAPED:
        size = unescape(&text, plain, NUMBER_TEXT_MAX)
        if size < 0:
            return NULL
        after = number_read(plain, plain + size, column >= VOLUME, &number, status)
        if after != plain + size:
            return p if status[0] == NUMBER_UNREPRESENTABLE else NULL
        row.value[column] = number.value
        row.residual[column] = number.residual
        row.format[column] = number.format
        return p
    return p if status[0] == NUMBER_UNREPRESENTABLE else NULL


cdef inline int decimal_column(int key) noexcept nogil:
    """Column of a kline field's letter; -1 for others."""
    if key == c'o':
        return OPEN
    if key == c'h':
        return HIGH
    if key == c'l':
        return LOW
    if key == c'c':
        return CLOSE
    if key == c'v':
        return VOLUME
    if key == c'q':
        return QUOTE_VOLUME
    if key == c'V':
        return TAKER_BUY_BASE
    if key == c'Q':
        return TAKER_BUY_QUOTE
    return -1


cdef const char* read_kline(const char* p, const char* end, Frame* frame, Slice* symbol) noexcept nogil:
    """Read the object ``k`` whose opening brace is behind us."""
    cdef KlineRow* row = &frame.row
    cdef uint32_t seen = 0
    cdef int64_t ignored
    cdef Slice text
    cdef int key, column, status
    cdef bint done = False
    p = skip_space(p, end)
    while not done:
        p = read_key(p, end, &key, &text)
        if p == NULL:
            return NULL
        column = decimal_column(key)
        if column >= 0:
            status = NUMBER_OK
            p = read_decimal(p, end, row, column, &status)
            if status == NUMBER_UNREPRESENTABLE:
                frame.names |= NAME_UNREPRESENTABLE
            seen |= 1u << (5 + column)
        elif key == c't':
            p = read_integer(p, end, &row.open_time_ms)
            seen |= SEEN_t
        elif key == c'T':
            p = read_integer(p, end, &row.close_time_ms)
            seen |= SEEN_T
        elif key == c'n':
            p = read_integer(p, end, &row.trades)
            seen |= SEEN_n
        elif key == c'f' or key == c'L':
            p = read_integer(p, end, &ignored)
        elif key == c'x':
            row.closed = p < end and p[0] == c't'
            p = read_value(p, end, &text, DEPTH_MAX)
            if p == NULL or text.kind != SLICE_LITERAL or text.data[0] == c'n':
                return NULL
            seen |= SEEN_x
        elif key == c'i':
            p = read_value(p, end, &text, DEPTH_MAX)
            if p == NULL or text.kind != SLICE_STRING:
                return NULL
            frame.interval = interval_index(text.data, text.size)
            seen |= SEEN_i
        elif key == c's':
            p = read_value(p, end, symbol, DEPTH_MAX)
        else:
            p = read_value(p, end, &text, 2)
        if p == NULL:
            return NULL
        p = next_member(p, end, c'}', &done)
        if p == NULL:
            return NULL
    return p if seen & SEEN_KLINE == SEEN_KLINE else NULL


cdef int interval_index(const char* text, Py_ssize_t size) noexcept nogil:
    """Position of an interval's name in ``klinecore.interval.INTERVALS``; -1 for others."""
    cdef char unit
    cdef int count
    if size == 2 and is_digit(text[0]):
        count = text[0] - c'0'
        unit = text[1]
    elif size == 3 and is_digit(text[0]) and is_digit(text[1]):
        count = 10 * (text[0] - c'0') + (text[1] - c'0')
        unit = text[2]
        if count < 10:
            return -1
    else:
        return -1
    if unit == c'm':
        return 1 if count == 1 else 2 if count == 3 else 3 if count == 5 else 4 if count == 15 else (
            5 if count == 30 else -1)
    if unit == c'h':
        return 6 if count == 1 else 7 if count == 2 else 8 if count == 4 else 9 if count == 6 else (
            10 if count == 8 else 11 if count == 12 else -1)
    if unit == c'd':
        return 12 if count == 1 else 13 if count == 3 else -1
    if count != 1:
        return -1
    return 0 if unit == c's' else 14 if unit == c'w' else 15 if unit == c'M' else -1


# --- messages ----------------------------------------------------------------------------------

cdef int letter_index(char letter) noexcept nogil:
    """Position of a field's letter in ``Frame.fields``; -1 if it is none."""
    if c'a' <= letter <= c'z':
        return letter - c'a'
    if c'A' <= letter <= c'Z':
        return 26 + letter - c'A'
    return -1


cdef inline bint name_is(const Slice* name, const char* text, uint32_t size) noexcept nogil:
    return name.size == size and memcmp(name.data, text, size) == 0


cdef uint32_t long_name(const Slice* name) noexcept nogil:
    if name_is(name, b"stream", 6):
        return NAME_STREAM
    if name_is(name, b"data", 4):
        return NAME_DATA
    if name_is(name, b"result", 6):
        return NAME_RESULT
    if name_is(name, b"error", 5):
        return NAME_ERROR
    if name_is(name, b"code", 4):
        return NAME_CODE
    if name_is(name, b"msg", 3):
        return NAME_MSG
    if name_is(name, b"id", 2):
        return NAME_ID
    return 0


cdef const char* read_object(const char* p, const char* end, Frame* frame, bint outer) noexcept nogil:
    """Read a message whose opening brace is behind us; an outer one may wrap it as ``data``."""
    cdef Slice text, name
    cdef Slice symbol
    cdef int key, index
    cdef uint32_t known
    cdef bint done = False
    symbol.data = NULL
    p = skip_space(p, end)
    if p < end and p[0] == c'}':
        return p + 1
    while not done:
        p = read_key(p, end, &key, &name)
        if p == NULL or p >= end:
            return NULL
        if key == c'k' and p[0] == c'{':
            p = read_kline(p + 1, end, frame, &symbol)
            frame.names |= NAME_KLINE
        elif key == KEY_LONG:
            known = long_name(&name)
            if known == NAME_DATA and outer and p[0] == c'{':
                frame.names |= NAME_DATA
                p = read_object(p + 1, end, frame, False)
            elif known == NAME_DATA and outer and p[0] == c'[':
                frame.names |= NAME_DATA
                frame.items = p
                p = read_value(p, end, &text, 1)
            else:
                p = read_value(p, end, &text, 1)
                if p != NULL and known == NAME_STREAM and text.size > 6 and (
                    memcmp(text.data + text.size - 6, b"+08:00", 6) == 0
                ):
                    known |= NAME_SHIFTED
                frame.names |= known
        else:
            index = letter_index(<char>key)
            if index < 0:
                p = read_value(p, end, &text, 1)
            else:
                p = read_value(p, end, &frame.fields[index], 1)
                frame.seen |= 1ULL << index
        if p == NULL:
            return NULL
        p = next_member(p, end, c'}', &done)
        if p == NULL:
            return NULL
    if frame.names & NAME_KLINE and symbol.data != NULL and not same_symbol(frame, &symbol):
        return NULL
    return p


cdef bint same_symbol(Frame* frame, const Slice* symbol) noexcept nogil:
    """The kline's own symbol must be its message's; it stands in where that has none."""
    cdef int index = letter_index(c's')
    if not frame.seen >> index & 1:
        frame.fields[index] = symbol[0]
        frame.seen |= 1ULL << index
        return True
    return name_is(&frame.fields[index], symbol.data, symbol.size) or (
        symbol.kind == SLICE_ESCAPED or frame.fields[index].kind == SLICE_ESCAPED
    )


cdef inline bint has_letters(const Frame* frame, const char* letters) noexcept nogil:
    while letters[0]:
        if not frame.seen >> letter_index(letters[0]) & 1:
            return False
        letters += 1
    return True


cdef bint is_decimal(const Slice* text) noexcept nogil:
    """A string of digits with at most one point and one leading minus."""
    cdef const char* p = text.data
    cdef const char* end = p + text.size
    if text.kind != SLICE_STRING:
        return False
    if p < end and p[0] == c'-':
        p += 1
    if p >= end or not is_digit(p[0]):
        return False
    if p[0] == c'0' and end - p > 1 and p[1] != c'.':
        return False
    while p < end and is_digit(p[0]):
        p += 1
    if p < end and p[0] == c'.':
        p += 1
        if p >= end:
            return False
        while p < end and is_digit(p[0]):
            p += 1
    return p == end


cdef FrameKind check_ticker(const Frame* frame, FrameKind kind) noexcept nogil:
    """``kind`` if every field of the ticker is there and of its type, else MALFORMED."""
    cdef const char* texts
    cdef const char* integers
    if kind == TICKER:
        texts = b"pPwcQohlvq"
        integers = b"EOCFLn"
    elif kind == MINI_TICKER:
        texts = b"cohlvq"
        integers = b"E"
    else:
        texts = b"bBaA"
        integers = b"u"
    if not has_letters(frame, b"s") or not has_letters(frame, texts):
        return MALFORMED
    if not has_letters(frame, integers):
        return MALFORMED
    while texts[0]:
        if not is_decimal(&frame.fields[letter_index(texts[0])]):
            return MALFORMED
        texts += 1
    while integers[0]:
        if frame.fields[letter_index(integers[0])].kind != SLICE_INTEGER:
            return MALFORMED
        if frame.fields[letter_index(integers[0])].size > 18:
            return MALFORMED
        integers += 1
    if kind == TICKER:      # USD-M leaves these out; where they are, they are prices too
        texts = b"xbBaA"
        while texts[0]:
            if frame.seen >> letter_index(texts[0]) & 1 and not is_decimal(
                &frame.fields[letter_index(texts[0])]
            ):
                return MALFORMED
            texts += 1
    return kind


cdef int64_t slice_integer(const Slice* text) noexcept nogil:
    """Value of an integer field; 0 if it is none or longer than 18 digits."""
    cdef int64_t value = 0
    if text.kind != SLICE_INTEGER or read_integer(
        text.data, text.data + text.size, &value
    ) == NULL:
        return 0
    return value


cdef bint take_symbol(Frame* frame) noexcept nogil:
    cdef const Slice* text = &frame.fields[letter_index(c's')]
    cdef int size
    frame.symbol = text[0]
    if text.kind == SLICE_ESCAPED:
        size = unescape(text, frame.symbol_text, SYMBOL_SIZE_MAX)
        if size < 0:
            return False
        frame.symbol.data = frame.symbol_text
        frame.symbol.size = <uint32_t>size
        frame.symbol.kind = SLICE_STRING
    return frame.symbol.kind == SLICE_STRING


cdef FrameKind classify_event(Frame* frame) noexcept nogil:
    """Kind of a message that says what it is in ``e``."""
    cdef const Slice* event = &frame.fields[letter_index(c'e')]
    cdef FrameKind kind
    if name_is(event, b"kline", 5):
        if frame.names & NAME_SHIFTED:
            return OTHER
        if not frame.names & NAME_KLINE or not has_letters(frame, b"sE"):
            return MALFORMED
        if not take_symbol(frame) or frame.fields[letter_index(c'E')].kind != SLICE_INTEGER:
            return MALFORMED
        if frame.fields[letter_index(c'E')].size > 18:
            return MALFORMED
        frame.row.event_time_ms = slice_integer(&frame.fields[letter_index(c'E')])
        frame.row.source = SOURCE_STREAM
        return UNREPRESENTABLE if frame.names & NAME_UNREPRESENTABLE else KLINE
    if name_is(event, b"24hrTicker", 10):
        kind = check_ticker(frame, TICKER)
    elif name_is(event, b"24hrMiniTicker", 14):
        kind = check_ticker(frame, MINI_TICKER)
    elif name_is(event, b"bookTicker", 10):
        kind = check_ticker(frame, BOOK_TICKER)
    elif name_is(event, b"serverShutdown", 14):
        return SHUTDOWN
    else:
        return OTHER
    if kind != MALFORMED and not take_symbol(frame):
        return MALFORMED
    return kind


cdef FrameKind classify(Frame* frame) noexcept nogil:
    cdef FrameKind kind
    if frame.seen >> letter_index(c'e') & 1:
        return classify_event(frame)
    if frame.names & NAME_ERROR or frame.names & (NAME_CODE | NAME_MSG) == NAME_CODE | NAME_MSG:
        return ERROR_REPLY
    if frame.names & NAME_RESULT and frame.names & NAME_ID:
        return REPLY
    if has_letters(frame, b"usbBaA"):
        kind = check_ticker(frame, BOOK_TICKER)
        return kind if kind != MALFORMED and take_symbol(frame) else OTHER
    return OTHER


cdef void reset(Frame* frame) noexcept nogil:
    frame.seen = 0
    frame.names = 0
    frame.interval = -1


cdef int next_item(Frame* frame) noexcept nogil:
    """Read the next element of a TICKER_ARRAY into ``frame``; 0 at the end, -1 if malformed."""
    cdef const char* p = skip_space(frame.items, frame.end)
    reset(frame)
    if p >= frame.end or p[0] == c']':
        return 0
    if p[0] == c'[' or p[0] == c',':
        p = skip_space(p + 1, frame.end)
        if p < frame.end and p[0] == c']':
            return 0
    if p >= frame.end or p[0] != c'{':
        return -1
    p = read_object(p + 1, frame.end, frame, False)
    if p == NULL:
        return -1
    frame.items = p
    frame.kind = classify(frame)
    return 1


cdef FrameKind classify_array(Frame* frame, const char* items) noexcept nogil:
    """An array of tickers is one only if every element is; it is read once to find out."""
    cdef int status = 1
    cdef FrameKind kind = TICKER_ARRAY
    frame.items = items
    while True:
        status = next_item(frame)
        if status <= 0:
            break
        if frame.kind == MALFORMED:
            kind = MALFORMED
            break
        if frame.kind != TICKER and frame.kind != MINI_TICKER:
            kind = OTHER
            break
    if status < 0:
        kind = OTHER        # valid JSON, no array of objects
    frame.items = items
    return kind


cdef FrameKind parse_message(const char* data, Py_ssize_t size, Frame* frame) noexcept nogil:
    """Read one stream message, raw or wrapped; slices in ``frame`` borrow from ``data``."""
    cdef const char* end = data + size
    cdef const char* p = skip_space(data, end)
    cdef Slice text
    cdef FrameKind kind
    reset(frame)
    frame.items = NULL
    frame.end = end
    if p < end and p[0] == c'{':
        p = read_object(p + 1, end, frame, True)
    elif p < end and p[0] == c'[':
        frame.items = p
        p = read_value(p, end, &text, 0)
    else:
        p = NULL
    if p == NULL or skip_space(p, end) != end:
        kind = MALFORMED
    elif frame.items != NULL:
        kind = classify_array(frame, frame.items)
    else:
        kind = classify(frame)
    frame.kind = kind
    return kind


# --- REST --------------------------------------------------------------------------------------

cdef const char* open_array(const char* p, const char* end) noexcept nogil:
    """Step into an array that is the whole of a body; NULL if the bytes are no such thing."""
    cdef Slice text
    cdef const char* after
    p = skip_space(p, end)
    if p >= end or p[0] != c'[':
        return NULL
    after = read_value(p, end, &text, 0)
    return p + 1 if after != NULL and skip_space(after, end) == end else NULL


cdef inline const char* next_element(const char* p, const char* end, char opening) noexcept nogil:
    """Step to the next element, which must begin with ``opening``; ``end`` when there is none."""
    p = skip_space(p, end)
    if p < end and p[0] == c',':
        p = skip_space(p + 1, end)
    if p < end and p[0] == c']':
        return end
    return p if p < end and p[0] == opening else NULL


cdef const char* read_kline_tuple(const char* p, const char* end, KlineRow* row, bint* exact) noexcept nogil:
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
        letter = rest_ticker_letter(&name) if key == KEY_LONG else 0
        if letter:
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


# --- for people --------------------------------------------------------------------------------

class ParsedFrame(NamedTuple):
    """One parsed message, for inspection and tests; the hot path makes no such object."""

    kind: object
    symbol: str | None
    interval: str | None
    event_time_ms: int | None
    kline: object
    ticker: dict | None


cdef str _symbol(const Frame* frame):
    return frame.symbol.data[:frame.symbol.size].decode("utf-8", "replace")


cdef object _kline(const KlineRow* row):
    cdef char[NUMBER_TEXT_MAX] buffer
    cdef char* end = buffer + NUMBER_TEXT_MAX
    cdef char* text
    cdef list texts = []
    cdef int column
    for column in range(NUMBER_COLUMNS):
        text = write_number(end, row.value[column], row.residual[column], row.format[column])
        texts.append(text[:end - text].decode("ascii"))
    return Kline(
        row.open_time_ms, *texts[:5], row.close_time_ms, texts[5], row.trades, texts[6], texts[7],
        bool(row.closed)
    )


cdef dict _fields(const Frame* frame):
    cdef dict fields = {}
    cdef const Slice* text
    for letter in "sEPpwxcQbBaAohlvqOCFLnu":
        index = letter_index(<char>ord(letter))
        if not frame.seen >> <int>index & 1:
            continue
        text = &frame.fields[<int>index]
        value = text.data[:text.size].decode("utf-8", "replace")
        fields[letter] = int(value) if text.kind == SLICE_INTEGER else value
    return fields


def parse_frame(frame):
    """Parse one combined or raw stream message; never raises on bad bytes, see ``kind``."""
    cdef const unsigned char[::1] data = frame
    cdef Frame parsed
    cdef FrameKind kind = MALFORMED
    if data.shape[0]:
        kind = parse_message(<const char*>&data[0], data.shape[0], &parsed)
    if kind == KLINE:
        interval = INTERVALS[parsed.interval] if parsed.interval >= 0 else None
        return ParsedFrame(
            kind, _symbol(&parsed), interval, parsed.row.event_time_ms,
            _kline(&parsed.row), None
        )
    if kind == TICKER or kind == MINI_TICKER or kind == BOOK_TICKER:
        fields = _fields(&parsed)
        return ParsedFrame(
            kind, _symbol(&parsed), None, fields.get("E"), None,
            {**fields, "s": _symbol(&parsed)}
        )
    return ParsedFrame(kind, None, None, None, None, None)


def parse_klines(body):
    """Parse a REST klines answer (array of 12-tuples); ``closed`` is True in every row.

    Raises ParseError: not such an array, or a number that cannot be kept exactly.
    """
    cdef const unsigned char[::1] data = body
    cdef const char* p = NULL
    cdef const char* end = NULL
    cdef KlineRow row
    cdef int status
    if data.shape[0]:
        end = <const char*>&data[0] + data.shape[0]
        p = open_array(<const char*>&data[0], end)
    if p == NULL:
        raise ParseError(f"expected a JSON array of klines, received {bytes(body)[:60]!r}")
    rows = []
    while True:
        status = next_kline(&p, end, &row)
        if status == 0:
            return rows
        if status < 0:
            what = "is no kline tuple" if status == -1 else "has a number too long to keep exactly"
            raise ParseError(f"element {len(rows)} {what}")
        rows.append(_kline(&row))
