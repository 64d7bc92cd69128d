"""The one block of memory in which everything committed lives, and the map of it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    ARENA_VERSION = 2
    BYTE_ORDER_MARK = 0x01020304
    FORMAT_LIMIT = 8192             # distinct row formats; a real market has a few hundred
    FORMAT_BUCKETS = 16384          # open addressing, at most half full
    SYMBOL_SIZE_MAX = 64            # bytes of UTF-8
    INTERVALS_MAX = 16
    INTERVAL_SIZE_MAX = 8           # bytes of ASCII

cdef struct ArenaHeader:
    char magic[8]                   # "KLCARENA"
    uint32_t version
    uint32_t byte_order             # reads as BYTE_ORDER_MARK on a machine of the same order
    uint64_t size                   # bytes of the whole block
    uint32_t capacity               # closed klines a reader can see
    uint32_t slots                  # rows each column has room for
    uint32_t symbols_max            # places for symbols
    uint32_t interval_count
    uint64_t directory_offset       # SymbolPlace[symbols_max]
    uint64_t format_offset          # FormatTable
    uint64_t ticker_offset          # ticker_stride bytes per place
    uint64_t ticker_stride
    uint64_t series_offset          # series_stride bytes per series, place-major
    uint64_t series_stride
    char intervals[16][8]           # INTERVALS_MAX names, zero-padded
    uint64_t checksum               # FNV-1a of the bytes before; what follows changes
    uint64_t directory_sequence     # odd while a place changes hands
    int64_t heartbeat_ms            # when the writer last said that it lives; 0 never

cdef struct SymbolPlace:
    char name[64]                   # SYMBOL_SIZE_MAX
    uint32_t size                   # bytes of the name
    uint32_t live                   # 0: nobody's
    uint64_t generation             # moves whenever the place changes hands

cdef struct FormatTable:
    # How the numbers of a row were printed: eight bytes (KlineRow.format) as one key, kept once
    # and named by index, so that a row pays 13 bits for it.
    uint32_t count
    uint32_t full_count             # rows refused because the table was full
    uint64_t keys[8192]             # FORMAT_LIMIT
    uint16_t buckets[16384]         # FORMAT_BUCKETS; index + 1, 0 is empty

cdef int format_index(FormatTable* table, uint64_t key) noexcept nogil
cdef str arena_fault(const char* data, uint64_t size)
cdef Block map_file(int descriptor, uint64_t size)
cdef Block new_block(uint64_t size, Block below)

cdef class Block:
    cdef char* data
    cdef readonly Py_ssize_t size
    cdef bint mapped                # by mmap; otherwise by malloc
    cdef Block below                # memory this one's content points into

cdef class Arena(Block):
    cdef readonly str path
    cdef ArenaHeader* header
    cdef FormatTable* formats

    cdef SymbolPlace* place_at(self, Py_ssize_t place) noexcept
    cdef char* ticker_at(self, Py_ssize_t place) noexcept
    cdef char* series_at(self, Py_ssize_t series_index) noexcept
