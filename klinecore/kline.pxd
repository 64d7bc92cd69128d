"""One kline as the compiled core passes it from the parser to a series; owns no memory."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t

cdef enum:
    OPEN = 0
    HIGH = 1
    LOW = 2
    CLOSE = 3
    VOLUME = 4              # the first column that may carry a residual
    QUOTE_VOLUME = 5
    TAKER_BUY_BASE = 6
    TAKER_BUY_QUOTE = 7
    NUMBER_COLUMNS = 8      # columns of decimal text
    TRADES = 8              # a count, kept as float64 beside them: exact below 2**53
    COLUMN_COUNT = 9
    RESIDUAL_COLUMNS = 4    # VOLUME .. TAKER_BUY_QUOTE

cdef enum Source:
    SOURCE_STREAM = 0
    SOURCE_REST = 1
    SOURCE_PUSH = 2

cdef struct KlineRow:
    int64_t open_time_ms            # t, UTC: the row's identity
    int64_t close_time_ms           # T, the last millisecond of the kline
    int64_t event_time_ms           # E, when the exchange sent it; 0 where it does not say
    int64_t trades                  # n
    double value[8]                 # NUMBER_COLUMNS
    int16_t residual[8]             # 0 in price columns
    uint8_t format[8]               # scale and printed zeros of each number
    bint closed                     # x
    Source source

cdef struct Slice:
    # Text borrowed from a message; valid as long as the message is.
    const char* data
    uint32_t size
    uint32_t kind           # what the parser made of it: see parsers.binance.SliceKind
