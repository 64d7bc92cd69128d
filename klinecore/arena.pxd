"""The one block of memory in which everything committed lives, and the map of it."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    ARENA_VERSION = 1
    BYTE_ORDER_MARK = 0x01020304
    FORMAT_LIMIT = 8192             # distinct row formats; a real market has a few hundred
    FORMAT_BUCKETS = 16384          # open addressing, at most half full

cdef struct ArenaHeader:
    char magic[8]                   # "KLCARENA"
    uint32_t version
    uint32_t byte_order             # reads as BYTE_ORDER_MARK on a machine of the same order
    uint64_t size                   # bytes of the whole block
    uint32_t capacity               # closed klines a reader can see
    uint32_t slots                  # rows each column has room for
    uint32_t symbol_count
    uint32_t interval_count
    uint64_t format_offset          # FormatTable
    uint64_t ticker_offset          # ticker_stride bytes per symbol
    uint64_t ticker_stride
    uint64_t series_offset          # series_stride bytes per series, symbol-major
    uint64_t series_stride
    uint64_t checksum               # FNV-1a of the bytes before

cdef struct FormatTable:
    # How the numbers of a row were printed: eight bytes (KlineRow.format) as one key, kept once
    # and named by index, so that a row pays 13 bits for it.
    uint32_t count
    uint32_t full_count             # rows refused because the table was full
    uint64_t keys[8192]             # FORMAT_LIMIT
    uint16_t buckets[16384]         # FORMAT_BUCKETS; index + 1, 0 is empty

cdef int format_index(FormatTable* table, uint64_t key) noexcept nogil

cdef class Arena:
    cdef char* data
    cdef readonly Py_ssize_t size
    cdef readonly str path
    cdef ArenaHeader* header
    cdef FormatTable* formats

    cdef char* ticker_at(self, Py_ssize_t symbol_index) noexcept
    cdef char* series_at(self, Py_ssize_t series_index) noexcept
