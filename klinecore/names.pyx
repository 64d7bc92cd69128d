"""From the symbol in a message to the symbol's place, without a Python object."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from klinecore.arena cimport SYMBOL_SIZE_MAX

__all__ = ["SymbolTable", "symbol_bytes"]


def symbol_bytes(str symbol not None):
    """UTF-8 of a symbol. Raises ValueError: it has not 1..64 bytes."""
    cdef bytes name = symbol.encode()
    if not 0 < len(name) <= SYMBOL_SIZE_MAX:
        raise ValueError(
            f"a symbol has 1..{SYMBOL_SIZE_MAX} bytes of UTF-8, not {len(name)}: {symbol!r}"
        )
    return name


cdef uint32_t _hash(const char* name, uint32_t size) noexcept nogil:
    """FNV-1a, folded."""
    cdef uint64_t value = 0xCBF29CE484222325ULL
    cdef uint32_t i
    for i in range(size):
        value = (value ^ <uint8_t>name[i]) * 0x100000001B3ULL
    return <uint32_t>(value ^ value >> 32)


@cython.final
cdef class SymbolTable:
    """Open addressing over the UTF-8 bytes of at most ``place_count`` distinct symbols."""

    def __cinit__(self, uint32_t place_count):
        self._names = [None] * place_count
        self._mask = 15
        while self._mask < 2 * place_count:
            self._mask = 2 * self._mask + 1
        self._data = <const char**>calloc(place_count, sizeof(char*))
        self._sizes = <uint32_t*>calloc(place_count, sizeof(uint32_t))
        self._buckets = <uint32_t*>calloc(self._mask + 1, sizeof(uint32_t))
        if self._data == NULL or self._sizes == NULL or self._buckets == NULL:
            raise MemoryError(f"no memory for a table of {place_count} symbols")

    def __dealloc__(self):
        free(self._data)
        free(self._sizes)
        free(self._buckets)

    cdef int find(self, const char* name, uint32_t size) noexcept:
        """Place of a symbol; -1 for others."""
        cdef uint32_t bucket = _hash(name, size)
        cdef uint32_t place
        while True:
            place = self._buckets[bucket & self._mask]
            if not place:
                return -1
            place -= 1
            if self._sizes[place] == size and memcmp(self._data[place], name, size) == 0:
                return <int>place
            bucket += 1

    cdef _enter(self, uint32_t place):
        cdef uint32_t bucket = _hash(self._data[place], self._sizes[place])
        while self._buckets[bucket & self._mask]:
            bucket += 1
        self._buckets[bucket & self._mask] = place + 1

    cdef set_name(self, uint32_t place, bytes name):
        """Enter a symbol that is not in the table at a free place."""
        self._names[place] = name
        self._data[place] = PyBytes_AS_STRING(name)
        self._sizes[place] = <uint32_t>PyBytes_GET_SIZE(name)
        self._enter(place)

    cdef clear_name(self, uint32_t place):
        """Free a place; those who stood behind it for want of room move up."""
        cdef uint32_t bucket = _hash(self._data[place], self._sizes[place])
        cdef uint32_t moved
        while self._buckets[bucket & self._mask] != place + 1:
            bucket += 1
        self._buckets[bucket & self._mask] = 0
        self._sizes[place] = 0
        self._data[place] = NULL
        self._names[place] = None
        bucket += 1
        while self._buckets[bucket & self._mask]:
            moved = self._buckets[bucket & self._mask] - 1
            self._buckets[bucket & self._mask] = 0
            self._enter(moved)
            bucket += 1
