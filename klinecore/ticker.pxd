"""C face of the newest ticker of a symbol: the exchange's own text, field by field."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from klinecore.kline cimport Slice

cdef enum:
    TICKER_TEXT_MAX = 31        # characters of a number; longer ones are refused
    TICKER_TEXTS = 15
    TICKER_INTEGERS = 6

cdef struct TickerText:
    uint8_t size
    char text[31]

cdef struct TickerRecord:
    uint64_t sequence           # odd while the writer is inside
    uint64_t seen               # letters that have a value
    int64_t event_time_ms       # E of the newest ticker; 0 before the first
    int64_t book_update_id      # u of the newest bookTicker
    int64_t integers[6]         # TICKER_INTEGERS: O C F L n, one spare
    TickerText texts[15]        # TICKER_TEXTS: p P w x c Q b B a A o h l v q

cdef enum TickerStatus:
    TICKER_STORED = 0
    TICKER_STALE = 1
    TICKER_REFUSED = 2

cdef TickerStatus ticker_merge(
    TickerRecord* record, const Slice* fields, uint64_t seen, int64_t event_time_ms,
    int64_t book_update_id, bint mini
) noexcept nogil
cdef dict ticker_fields(const TickerRecord* record, str symbol)
cdef void ticker_clear(TickerRecord* record) noexcept nogil
cdef int text_place(char letter) noexcept nogil
cdef int integer_place(char letter) noexcept nogil
cdef bint ticker_has(const TickerRecord* record, char letter) noexcept nogil
