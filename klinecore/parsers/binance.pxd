"""C face of the Binance parser: bytes in, one ``Frame`` out; no Python object, no allocation."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from klinecore.kline cimport KlineRow, Slice

cpdef enum FrameKind:
    MALFORMED = 0
    UNREPRESENTABLE = 1
    KLINE = 2
    TICKER = 3
    MINI_TICKER = 4
    BOOK_TICKER = 5
    TICKER_ARRAY = 6
    SHUTDOWN = 7
    REPLY = 8
    ERROR_REPLY = 9
    OTHER = 10

cdef enum:
    FRAME_KINDS = 11
    LETTERS = 52            # fields of a message are single letters: a-z, then A-Z
    SCRATCH_SIZE = 512

cdef struct Frame:
    FrameKind kind
    int interval                # index into klinecore.interval.INTERVALS; -1 where unknown
    Slice symbol
    KlineRow row                # KLINE
    uint64_t seen               # which letters of ``fields`` the message had
    Slice fields[52]            # LETTERS
    const char* items           # TICKER_ARRAY: next item, and the end of the message
    const char* end
    uint32_t names              # longer keys seen at the top
    uint32_t scratch_used
    char scratch[512]           # SCRATCH_SIZE; where escaped strings are unescaped to

cdef FrameKind parse_message(const char* data, Py_ssize_t size, Frame* frame) noexcept nogil
cdef int next_item(Frame* frame) noexcept nogil
cdef int64_t slice_integer(const Slice* text) noexcept nogil
cdef int letter_index(char letter) noexcept nogil
cdef FrameKind check_ticker(Frame* frame, FrameKind kind) noexcept nogil
cdef void settle(Frame* frame, Slice* text) noexcept nogil
cdef bint take_symbol(Frame* frame) noexcept nogil
cdef void reset(Frame* frame) noexcept nogil
cdef const char* read_decimal(
    const char* p, const char* end, KlineRow* row, int column, int* status
) noexcept nogil
cdef object kline_of(const KlineRow* row)
cdef int interval_index(const char* text, Py_ssize_t size) noexcept nogil
