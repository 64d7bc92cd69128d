"""Binance's stream messages -> klines and tickers, without a Python object.

One pass over the bytes. Fields may come in any order, unknown ones are skipped, strings may be
escaped, numbers of a kline are read where they stand. Everything is checked as JSON before
anything is reported: a cut or broken message is ``MALFORMED`` and has no effect.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

from klinecore.kline cimport (
    CLOSE, HIGH, LOW, NUMBER_COLUMNS, OPEN, QUOTE_VOLUME, SOURCE_STREAM, TAKER_BUY_BASE,
    TAKER_BUY_QUOTE, VOLUME, KlineRow, Slice,
)
from klinecore.number cimport (
    NUMBER_OK, NUMBER_TEXT_MAX, NUMBER_UNREPRESENTABLE, Number, likely, number_read, unlikely,
    write_number,
)
from klinecore.parsers._json cimport (
    DEPTH_MAX, KEY_LONG, SLICE_ESCAPED, SLICE_INTEGER, SLICE_LITERAL, SLICE_STRING, is_digit,
    name_is, next_member, read_integer, read_key, read_string, read_value, skip_space, unescape,
)

from typing import NamedTuple

from klinecore.interval import INTERVALS
from klinecore.kline import Kline

__all__ = ["FrameKind", "ParsedFrame", "parse_frame"]

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

    SEEN_t = 1
    SEEN_T = 2
    SEEN_i = 4
    SEEN_x = 8
    SEEN_n = 16
    SEEN_NUMBERS = 0x1FE0           # bits 5..12, one per number column
    SEEN_KLINE = 0x1FFF


# --- klines ------------------------------------------------------------------------------------

cdef const char* read_decimal(
    const char* p, const char* end, KlineRow* row, int column, int* status
) noexcept nogil:
    """Read a quoted decimal into a column; a too long one is stepped over, ``status`` tells."""
    cdef Number number
    cdef Slice text
    cdef char[NUMBER_TEXT_MAX] plain
    cdef const char* after
    cdef int size
    if p >= end or p[0] != c'"':
        return NULL
    after = number_read(p + 1, end, column >= VOLUME, &number, status)
    if unlikely(after == NULL or after >= end or after[0] != c'"'):
        p = read_string(p + 1, end, &text)
        if p == NULL or text.kind != SLICE_ESCAPED:
            return NULL
        size = unescape(&text, plain, NUMBER_TEXT_MAX)
        if size < 0:
            return NULL
        status[0] = NUMBER_OK
        after = number_read(plain, plain + size, column >= VOLUME, &number, status)
        if after != plain + size:
            return NULL
    else:
        p = after + 1
    if likely(status[0] == NUMBER_OK):
        row.value[column] = number.value
        row.residual[column] = number.residual
        row.format[column] = number.format
    return p


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


cdef const char* read_kline(
    const char* p, const char* end, Frame* frame, Slice* symbol
) noexcept nogil:
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
            if p != NULL and row.trades < 0:
                return NULL
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
            if p == NULL:
                return NULL
            settle(frame, &text)
            if text.kind != SLICE_STRING:
                return NULL
            frame.interval = interval_index(text.data, text.size)
            seen |= SEEN_i
        elif key == c's':
            p = read_value(p, end, symbol, DEPTH_MAX)
            if p == NULL:
                return NULL
            settle(frame, symbol)
        else:
            p = read_value(p, end, &text, 2)
        if p == NULL:
            return NULL
        p = next_member(p, end, c'}', &done)
        if p == NULL:
            return NULL
    return p if seen & SEEN_KLINE == SEEN_KLINE else NULL


cdef uint32_t[16] INTERVAL_CODES       # the names of INTERVALS, packed as interval_code does


cdef inline uint32_t interval_code(const char* text, Py_ssize_t size) noexcept nogil:
    """An interval's name as one number; 0 for text of another length."""
    if size == 2:
        return <uint8_t>text[0] | <uint32_t><uint8_t>text[1] << 8
    if size == 3:
        return (
            <uint8_t>text[0] | <uint32_t><uint8_t>text[1] << 8 | <uint32_t><uint8_t>text[2] << 16
        )
    return 0


cdef int interval_index(const char* text, Py_ssize_t size) noexcept nogil:
    """Position of an interval's name in ``klinecore.interval.INTERVALS``; -1 for others."""
    cdef uint32_t code = interval_code(text, size)
    cdef int index
    for index in range(16):
        if INTERVAL_CODES[index] == code:
            return index
    return -1


def _fill_interval_codes():
    for index, name in enumerate(INTERVALS):
        text = name.encode()
        INTERVAL_CODES[<int>index] = interval_code(<const char*>(<bytes>text), len(text))


_fill_interval_codes()


cdef void settle(Frame* frame, Slice* text) noexcept nogil:
    """Put the characters an escaped string means in its place; too long ones stay escaped."""
    cdef int size
    if text.kind != SLICE_ESCAPED:
        return
    size = unescape(
        text, frame.scratch + frame.scratch_used, SCRATCH_SIZE - <int>frame.scratch_used
    )
    if size >= 0:
        text.data = frame.scratch + frame.scratch_used
        text.size = <uint32_t>size
        text.kind = SLICE_STRING
        frame.scratch_used += <uint32_t>size


# --- messages ----------------------------------------------------------------------------------

cdef int letter_index(char letter) noexcept nogil:
    """Position of a field's letter in ``Frame.fields``; -1 if it is none."""
    if c'a' <= letter <= c'z':
        return letter - c'a'
    if c'A' <= letter <= c'Z':
        return 26 + letter - c'A'
    return -1


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


cdef const char* read_object(
    const char* p, const char* end, Frame* frame, bint outer
) noexcept nogil:
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
            settle(frame, &name)
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
                if p == NULL:
                    return NULL
                settle(frame, &frame.fields[index])
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
    return name_is(&frame.fields[index], symbol.data, symbol.size)


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


cdef bint _check_letters(
    const Frame* frame, const char* letters, bint texts, uint64_t* kept
) noexcept nogil:
    """True if all fields of these letters that are there have their type; adds them to ``kept``."""
    cdef const Slice* field
    cdef int index
    while letters[0]:
        index = letter_index(letters[0])
        letters += 1
        if not frame.seen >> index & 1:
            continue
        field = &frame.fields[index]
        if texts and not is_decimal(field):
            return False
        if not texts and (field.kind != SLICE_INTEGER or field.size > 18):
            return False
        kept[0] |= 1ULL << index
    return True


cdef FrameKind check_ticker(Frame* frame, FrameKind kind) noexcept nogil:
    """``kind`` if every field of the ticker is there and of its type, else MALFORMED.

    Fields that this kind of ticker does not have are forgotten: nobody checked them.
    """
    cdef uint64_t kept = 1ULL << letter_index(c's')
    cdef const char* texts = b"pPwcQohlvq"
    cdef const char* optional = b""
    cdef const char* integers = b"EOCFLn"
    if kind == TICKER:
        optional = b"xbBaA"         # USD-M leaves these out
    elif kind == MINI_TICKER:
        texts, integers = b"cohlvq", b"E"
    else:
        texts, integers = b"bBaA", b"u"
    if not (
        has_letters(frame, b"s") and has_letters(frame, texts) and has_letters(frame, integers)
        and _check_letters(frame, texts, True, &kept)
        and _check_letters(frame, optional, True, &kept)
        and _check_letters(frame, integers, False, &kept)
    ):
        return MALFORMED
    if kind == BOOK_TICKER:     # spot has no event time, so none is needed
        _check_letters(frame, b"E", False, &kept)
    frame.seen &= kept
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
    frame.symbol = frame.fields[letter_index(c's')]
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
    frame.scratch_used = 0
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


cdef object kline_of(const KlineRow* row):
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


def parse_frame(const unsigned char[::1] frame not None):
    """Parse one combined or raw stream message; never raises on bad bytes, see ``kind``."""
    cdef Frame parsed
    cdef FrameKind kind = MALFORMED
    if frame.shape[0]:
        kind = parse_message(<const char*>&frame[0], frame.shape[0], &parsed)
    if kind == KLINE:
        interval = INTERVALS[parsed.interval] if parsed.interval >= 0 else None
        return ParsedFrame(
            kind, _symbol(&parsed), interval, parsed.row.event_time_ms,
            kline_of(&parsed.row), None
        )
    if kind == TICKER or kind == MINI_TICKER or kind == BOOK_TICKER:
        fields = _fields(&parsed)
        return ParsedFrame(
            kind, _symbol(&parsed), None, fields.get("E"), None,
            {**fields, "s": _symbol(&parsed)}
        )
    return ParsedFrame(kind, None, None, None, None, None)
