"""C face of the REST parser: a cursor over the elements of an answer's array.

``open_klines`` and ``open_tickers`` step into it when all of it is sound; the readers return 1 for
an element read, 0 at the end, -1 for a malformed one, -2 for a number that cannot be kept exactly
(the cursor is behind it all the same).
"""

from klinecore.kline cimport KlineRow
from klinecore.parsers.binance cimport Frame

cdef const char* open_klines(const char* body, const char* end) except NULL
cdef const char* open_tickers(const char* body, const char* end) except NULL
cdef int next_kline(const char** cursor, const char* end, KlineRow* row) noexcept nogil
cdef int next_rest_ticker(const char** cursor, const char* end, Frame* frame) noexcept nogil
