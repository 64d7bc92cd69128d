"""The one block of memory everything committed lives in: private, or a file others can map."""

cimport cython
import os

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE
from posix.mman cimport mmap, munmap

__all__ = ["Arena"]


cdef int format_index(FormatTable* table, uint64_t key) noexcept nogil:
    """Index of a row format, interned on first sight; -1 when the table is full."""
    cdef uint64_t bucket = ((key * 0x9E3779B97F4A7C15ULL) >> 50) % FORMAT_BUCKETS
    cdef int index
    while table.buckets[bucket]:
        index = table.buckets[bucket] - 1
        if table.keys[index] == key:
            return index
        bucket = (bucket + 1) % FORMAT_BUCKETS
    if table.count == FORMAT_LIMIT:
        table.full_count += 1
        return -1
    index = <int>table.count
    table.keys[index] = key
    table.buckets[bucket] = <unsigned short>(index + 1)
    table.count += 1
    return index


cdef uint64_t _align(uint64_t offset, uint64_t step) noexcept:
    return (offset + step - 1) // step * step


cdef uint64_t _fnv1a(const unsigned char* data, size_t size) noexcept:
    cdef uint64_t value = 0xCBF29CE484222325ULL
    cdef size_t i
    for i in range(size):
        value = (value ^ data[i]) * 0x100000001B3ULL
    return value


@cython.final
cdef class Arena:
    """A zeroed block laid out for ``symbol_count * interval_count`` series; fixed for its life.

    Exports the buffer protocol read-only, so that NumPy views keep the memory alive.
    ``path`` maps that file instead of private memory. The file replaces an older one atomically:
    whoever maps the old one keeps it.

    Raises OSError: the memory or the file is not to be had.
    """

    def __cinit__(
        self,
        *,
        int capacity,
        int slots,
        int symbol_count,
        int interval_count,
        uint64_t ticker_stride,
        uint64_t series_stride,
        str path=None,
    ):
        cdef ArenaHeader header
        cdef void* data
        cdef int descriptor = -1
        memcpy(header.magic, b"KLCARENA", 8)
        header.version = ARENA_VERSION
        header.byte_order = BYTE_ORDER_MARK
        header.capacity = capacity
        header.slots = slots
        header.symbol_count = symbol_count
        header.interval_count = interval_count
        header.format_offset = _align(sizeof(ArenaHeader), 64)
        header.ticker_offset = _align(header.format_offset + sizeof(FormatTable), 64)
        header.ticker_stride = ticker_stride
        header.series_offset = _align(header.ticker_offset + symbol_count * ticker_stride, 4096)
        header.series_stride = series_stride
        header.size = _align(
            header.series_offset + series_stride * <uint64_t>symbol_count * interval_count, 4096
        )
        header.checksum = _fnv1a(
            <const unsigned char*>&header, sizeof(ArenaHeader) - sizeof(uint64_t)
        )
        self.path = path
        self.size = <Py_ssize_t>header.size
        if path is None:
            data = mmap(
                NULL, header.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0
            )
        else:
            descriptor = _create_file(path, self.size)
            data = mmap(NULL, header.size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
            os.close(descriptor)
        if data == MAP_FAILED:
            raise MemoryError(f"cannot map {self.size} bytes for the arena")
        self.data = <char*>data
        memcpy(self.data, &header, sizeof(ArenaHeader))
        self.header = <ArenaHeader*>self.data
        self.formats = <FormatTable*>(self.data + header.format_offset)
        if path is not None:
            _publish_file(path)

    def __dealloc__(self):
        if self.data != NULL:
            munmap(self.data, self.size)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 1, flags)

    def verify(self) -> bool:
        """True while the header is whole: magic, version, byte order, size and checksum agree."""
        cdef ArenaHeader* header = self.header
        return (
            memcmp(header.magic, b"KLCARENA", 8) == 0
            and header.version == ARENA_VERSION
            and header.byte_order == BYTE_ORDER_MARK
            and header.size == <uint64_t>self.size
            and header.checksum == _fnv1a(
                <const unsigned char*>header, sizeof(ArenaHeader) - sizeof(uint64_t)
            )
        )

    cdef char* ticker_at(self, Py_ssize_t symbol_index) noexcept:
        return self.data + self.header.ticker_offset + symbol_index * self.header.ticker_stride

    cdef char* series_at(self, Py_ssize_t series_index) noexcept:
        return self.data + self.header.series_offset + series_index * self.header.series_stride


def _publish_file(path: str) -> None:
    """Let the finished file take the name; whoever maps the old one keeps it."""
    try:
        os.replace(path + ".new", path)
    except OSError:
        os.unlink(path + ".new")
        raise


def _create_file(path: str, size: int) -> int:
    descriptor = os.open(path + ".new", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)     # no SIGBUS later when the disk is full
    except OSError:
        os.close(descriptor)
        os.unlink(path + ".new")
        raise
    return descriptor
