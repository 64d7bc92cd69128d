"""The newest ticker of a symbol: every field as the text the exchange sent.

Three messages bring fields: 24hrTicker all of them, 24hrMiniTicker prices and volumes, bookTicker
bid and ask. The newest event time wins; a bookTicker, which on spot has none, goes by its update
id. A mini ticker has no change in percent, so it is computed anew from its open and close.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset

from klinecore.kline cimport Slice
from klinecore.number cimport NUMBER_OK, Number, number_read
from klinecore.sequence cimport sequence_begin, sequence_end

__all__ = []

cdef const char* TEXT_LETTERS = b"pPwxcQbBaAohlvq"
cdef const char* INTEGER_LETTERS = b"OCFLn"


cdef int _place(const char* letters, char letter) noexcept nogil:
    cdef int place = 0
    while letters[place]:
        if letters[place] == letter:
            return place
        place += 1
    return -1


cdef int text_place(char letter) noexcept nogil:
    """Index into ``TickerRecord.texts``; -1 for letters that are no text."""
    return _place(TEXT_LETTERS, letter)


cdef int integer_place(char letter) noexcept nogil:
    """Index into ``TickerRecord.integers``; -1 for letters that are no integer."""
    return _place(INTEGER_LETTERS, letter)


cdef inline int _bit(char letter) noexcept nogil:
    return letter - c'a' if letter >= c'a' else 26 + letter - c'A'


cdef bint ticker_has(const TickerRecord* record, char letter) noexcept nogil:
    return record.seen >> _bit(letter) & 1


cdef int64_t _integer(const Slice* text) noexcept nogil:
    cdef int64_t value = 0
    cdef uint64_t i = 0
    cdef bint negative = text.size > 0 and text.data[0] == c'-'
    for i in range(negative, text.size):
        value = value * 10 + (text.data[i] - c'0')
    return -value if negative else value


cdef void _derive_change(TickerRecord* record) noexcept nogil:
    """p and P from open and close; in percent with three decimals, as the exchange prints it."""
    cdef TickerText* opened = &record.texts[text_place(c'o')]
    cdef TickerText* closed = &record.texts[text_place(c'c')]
    cdef Number first, last
    cdef int status = NUMBER_OK
    number_read(opened.text, opened.text + opened.size, True, &first, &status)
    if status == NUMBER_OK:
        number_read(closed.text, closed.text + closed.size, True, &last, &status)
    record.seen &= ~(1ULL << _bit(c'P') | 1ULL << _bit(c'p'))
    record.texts[text_place(c'P')].size = record.texts[text_place(c'p')].size = 0
    if status != NUMBER_OK or first.value <= 0:
        return
    _print(record, c'P', 3, (last.value - first.value) / first.value * 100.0)
    _print(record, c'p', (last.format & 15) + (last.format >> 4), last.value - first.value)


cdef void _print(TickerRecord* record, char letter, int decimals, double value) noexcept nogil:
    """Store a computed number, unless it is longer than a field."""
    cdef TickerText* text = &record.texts[text_place(letter)]
    cdef int size = snprintf(text.text, TICKER_TEXT_MAX, b"%.*f", decimals, value)
    if 0 < size < TICKER_TEXT_MAX:
        text.size = <unsigned char>size
        record.seen |= 1ULL << _bit(letter)


cdef TickerStatus ticker_merge(
    TickerRecord* record, const Slice* fields, uint64_t seen, int64_t event_time_ms,
    int64_t book_update_id, bint mini
) noexcept nogil:
    """Store a checked ticker's fields; ``book_update_id`` is 0 for all but bookTicker."""
    cdef const char* letter = TEXT_LETTERS
    cdef const Slice* field
    cdef int place
    if book_update_id:
        if book_update_id < record.book_update_id:
            return TICKER_STALE
    elif event_time_ms < record.event_time_ms:
        return TICKER_STALE
    while letter[0]:
        if seen >> _bit(letter[0]) & 1 and fields[_bit(letter[0])].size > TICKER_TEXT_MAX:
            return TICKER_REFUSED
        letter += 1
    sequence_begin(&record.sequence)
    letter = TEXT_LETTERS
    while letter[0]:
        if seen >> _bit(letter[0]) & 1:
            field = &fields[_bit(letter[0])]
            place = text_place(letter[0])
            record.texts[place].size = <unsigned char>field.size
            memcpy(record.texts[place].text, field.data, field.size)
            record.seen |= 1ULL << _bit(letter[0])
        letter += 1
    if book_update_id:
        record.book_update_id = book_update_id
    else:
        record.event_time_ms = event_time_ms
        letter = INTEGER_LETTERS
        while letter[0]:
            if seen >> _bit(letter[0]) & 1:
                record.integers[integer_place(letter[0])] = _integer(&fields[_bit(letter[0])])
                record.seen |= 1ULL << _bit(letter[0])
            letter += 1
        if mini:
            _derive_change(record)
    sequence_end(&record.sequence, record.sequence + 1)
    return TICKER_STORED


cdef void ticker_clear(TickerRecord* record) noexcept nogil:
    """Forget the ticker of a symbol; the sequence goes on."""
    sequence_begin(&record.sequence)
    memset(&record.seen, 0, sizeof(TickerRecord) - sizeof(uint64_t))
    sequence_end(&record.sequence, record.sequence + 1)


cdef dict ticker_fields(const TickerRecord* record, str symbol):
    """What is known of a ticker, in the exchange's letters; None before the first."""
    cdef int place
    if not record.seen:
        return None
    fields = {"s": symbol, "E": record.event_time_ms}
    for letter in "pPwxcQbBaAohlvq":
        if ticker_has(record, <char>ord(letter)):
            place = text_place(<char>ord(letter))
            fields[letter] = record.texts[place].text[:record.texts[place].size].decode("ascii")
    for letter in "OCFLn":
        if ticker_has(record, <char>ord(letter)):
            fields[letter] = record.integers[integer_place(<char>ord(letter))]
    return fields
