"""The one block of memory everything committed lives in: private, or a file others can map."""

cimport cython
import os

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE
from posix.mman cimport mmap, munmap

from klinecore.sequence cimport sequence_begin, sequence_end

__all__ = ["Arena", "Block"]


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


cdef uint64_t _checksum(const ArenaHeader* header) noexcept:
    """FNV-1a of what stays as it was laid out."""
    cdef const unsigned char* data = <const unsigned char*>header
    cdef uint64_t value = 0xCBF29CE484222325ULL
    cdef size_t i
    for i in range(<size_t>(<const char*>&header.checksum - <const char*>header)):
        value = (value ^ data[i]) * 0x100000001B3ULL
    return value


cdef void _lay_out(ArenaHeader* header) noexcept:
    """Fill in the map that follows from the counts and strides, the size and the checksum."""
    cdef uint64_t places = header.symbols_max
    header.directory_offset = _align(sizeof(ArenaHeader), 64)
    header.format_offset = _align(header.directory_offset + places * sizeof(SymbolPlace), 64)
    header.ticker_offset = _align(header.format_offset + sizeof(FormatTable), 64)
    header.series_offset = _align(header.ticker_offset + places * header.ticker_stride, 4096)
    header.size = _align(
        header.series_offset + header.series_stride * places * header.interval_count, 4096
    )
    header.checksum = _checksum(header)


cdef str arena_fault(const char* data, uint64_t size):
    """What keeps ``size`` bytes from being an arena of this version; None if nothing does."""
    cdef const ArenaHeader* header = <const ArenaHeader*>data
    cdef ArenaHeader due
    if size < sizeof(ArenaHeader) or memcmp(header.magic, b"KLCARENA", 8):
        return "no arena"
    if header.byte_order != BYTE_ORDER_MARK:
        return "written on a machine of another byte order"
    if header.version != ARENA_VERSION:
        return f"version {header.version}, this library reads version {ARENA_VERSION}"
    if header.checksum != _checksum(header):
        return "its header is damaged"
    if header.size != size:
        return f"its header says {header.size} bytes, it has {size}"
    due = header[0]
    _lay_out(&due)
    if (
        memcmp(&due, header, sizeof(ArenaHeader) - 2 * sizeof(uint64_t))
        or not 0 < header.interval_count <= INTERVALS_MAX
    ):
        return "its map contradicts itself"
    return None


cdef class Block:
    """Memory with one owner, exported read-only, so that NumPy views keep it alive."""

    def __dealloc__(self):
        if self.mapped:
            munmap(self.data, self.size)
        else:
            free(self.data)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 1, flags)


cdef Block map_file(int descriptor, uint64_t size):
    """A file others write, read-only. Raises OSError."""
    cdef Block block = Block.__new__(Block)
    cdef void* data = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0)
    if data == MAP_FAILED:
        raise OSError(errno, os.strerror(errno))
    block.data = <char*>data
    block.size = <Py_ssize_t>size
    block.mapped = True
    return block


cdef Block new_block(uint64_t size, Block below):
    """Memory not yet written to; ``below`` lives as long as it."""
    cdef Block block = Block.__new__(Block)
    block.data = <char*>malloc(size)
    if block.data == NULL:
        raise MemoryError(f"no {size} bytes for a copy")
    block.size = <Py_ssize_t>size
    block.below = below
    return block


@cython.final
cdef class Arena(Block):
    """A zeroed block laid out for ``symbols_max`` symbols of every interval; fixed for its life.

    Exports the buffer protocol read-only. ``path`` maps that file instead of private memory. The
    file replaces an older one atomically: whoever maps the old one keeps it.

    Raises OSError: the memory or the file is not to be had.
    """

    def __cinit__(
        self,
        *,
        int capacity,
        int slots,
        int symbols_max,
        tuple intervals,
        uint64_t ticker_stride,
        uint64_t series_stride,
        str path=None,
    ):
        cdef ArenaHeader header
        cdef void* data
        cdef bytes name
        cdef int descriptor = -1
        memset(&header, 0, sizeof(ArenaHeader))
        memcpy(header.magic, b"KLCARENA", 8)
        header.version = ARENA_VERSION
        header.byte_order = BYTE_ORDER_MARK
        header.capacity = capacity
        header.slots = slots
        header.symbols_max = symbols_max
        header.ticker_stride = ticker_stride
        header.series_stride = series_stride
        for interval in intervals:
            name = interval.encode("ascii")
            if header.interval_count == INTERVALS_MAX or len(name) > INTERVAL_SIZE_MAX:
                raise ValueError(
                    f"an arena names {INTERVALS_MAX} intervals of {INTERVAL_SIZE_MAX} bytes, "
                    f"received {intervals}"
                )
            memcpy(header.intervals[header.interval_count], PyBytes_AS_STRING(name), len(name))
            header.interval_count += 1
        _lay_out(&header)
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
        self.mapped = True
        memcpy(self.data, &header, sizeof(ArenaHeader))
        self.header = <ArenaHeader*>self.data
        self.formats = <FormatTable*>(self.data + header.format_offset)
        if path is not None:
            _publish_file(path)

    def verify(self) -> bool:
        """True while the header is whole: magic, version, byte order, size and checksum agree."""
        return arena_fault(self.data, self.size) is None

    def set_symbol(self, Py_ssize_t place, str name):
        """Give a place to a symbol, or with None to nobody; its series are the caller's to clear.

        Take the place away before its series are cleared and give it only after: a reader of
        another process believes a copy only if the place did not change hands meanwhile.

        Raises ValueError: no such place, or a name of 0 or more than 64 bytes of UTF-8.
        """
        cdef SymbolPlace* entry
        cdef bytes text = b"" if name is None else name.encode()
        if not 0 <= place < self.header.symbols_max:
            raise ValueError(f"place must be 0..{self.header.symbols_max - 1}, not {place}")
        if name is not None and not 0 < len(text) <= SYMBOL_SIZE_MAX:
            raise ValueError(
                f"a symbol has 1..{SYMBOL_SIZE_MAX} bytes of UTF-8, not {len(text)}: {name!r}"
            )
        entry = self.place_at(place)
        sequence_begin(&self.header.directory_sequence)
        memset(entry.name, 0, SYMBOL_SIZE_MAX)
        memcpy(entry.name, PyBytes_AS_STRING(text), len(text))
        entry.size = len(text)
        entry.live = name is not None
        entry.generation += 1
        sequence_end(&self.header.directory_sequence, self.header.directory_sequence + 1)

    @property
    def heartbeat_ms(self):
        """When the writer last said that it lives, ms UTC; 0 never. Written by the writer only."""
        return self.header.heartbeat_ms

    @heartbeat_ms.setter
    def heartbeat_ms(self, int64_t time_ms):
        self.header.heartbeat_ms = time_ms

    cdef SymbolPlace* place_at(self, Py_ssize_t place) noexcept:
        return <SymbolPlace*>(self.data + self.header.directory_offset) + place

    cdef char* ticker_at(self, Py_ssize_t place) noexcept:
        return self.data + self.header.ticker_offset + place * self.header.ticker_stride

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
