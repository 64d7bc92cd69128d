"""JSON, as little as an exchange's messages need: strict, bounded, without an allocation."""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp

from klinecore.kline cimport Slice
from klinecore.number cimport likely

cdef enum:
    DEPTH_MAX = 32          # nesting of values we do not read
    KEY_LONG = 128          # read_key: more than one character

cdef enum SliceKind:
    SLICE_STRING = 1
    SLICE_ESCAPED = 2       # a string that holds backslashes
    SLICE_INTEGER = 3
    SLICE_NUMBER = 4
    SLICE_LITERAL = 5
    SLICE_CONTAINER = 6

# Readers take the cursor and the end and return the byte after what they read, NULL if malformed.

cdef inline const char* skip_space(const char* p, const char* end) noexcept nogil:
    while p < end and (p[0] == c' ' or p[0] == c'\n' or p[0] == c'\r' or p[0] == c'\t'):
        p += 1
    return p


cdef inline bint is_digit(char c) noexcept nogil:
    return c'0' <= c <= c'9'


cdef inline bint valid_utf8(const char* text, uint32_t size) noexcept nogil:
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


cdef inline int hex4(const char* p, const char* end) noexcept nogil:
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


cdef inline const char* read_string(const char* p, const char* end, Slice* out) noexcept nogil:
    """Read a string whose opening quote is behind us; ``out`` is its raw text."""
    cdef unsigned char c, high = 0
    cdef uint32_t kind = SLICE_STRING
    out.data = p
    while p < end:
        c = <unsigned char>p[0]
        if c == c'"':
            out.size = <uint32_t>(p - out.data)
            out.kind = kind
            if high >= 0x80 and not valid_utf8(out.data, out.size):
                return NULL
            return p + 1
        if c == c'\\':
            kind = SLICE_ESCAPED
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


cdef inline int write_utf8(char* out, int code) noexcept nogil:
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


cdef inline int unescape(const Slice* text, char* out, int size_max) noexcept nogil:
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


cdef inline const char* read_number_token(
    const char* p, const char* end, Slice* out
) noexcept nogil:
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


cdef inline const char* read_literal(const char* p, const char* end) noexcept nogil:
    if end - p >= 4 and (memcmp(p, b"true", 4) == 0 or memcmp(p, b"null", 4) == 0):
        return p + 4
    if end - p >= 5 and memcmp(p, b"false", 5) == 0:
        return p + 5
    return NULL


cdef inline const char* read_value(
    const char* p, const char* end, Slice* out, int depth
) noexcept nogil:
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


cdef inline const char* read_key(
    const char* p, const char* end, int* key, Slice* name
) noexcept nogil:
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


cdef inline const char* next_member(
    const char* p, const char* end, char closing, bint* done
) noexcept nogil:
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


cdef inline bint name_is(const Slice* name, const char* text, uint32_t size) noexcept nogil:
    return name.size == size and memcmp(name.data, text, size) == 0
