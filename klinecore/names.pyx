"""From the symbol in a message to the symbol's index, without a Python object."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

__all__ = ["SymbolTable"]

cdef enum:
    SYMBOL_SIZE_MAX = 64        # bytes of UTF-8


cdef uint32_t _hash(const char* name, uint32_t size) noexcept nogil:
    """FNV-1a, folded."""
    cdef uint64_t value = 0xCBF29CE484222325ULL
    cdef uint32_t i
    for i in range(size):
        value = (value ^ <uint8_t>name[i]) * 0x100000001B3ULL
    return <uint32_t>(value ^ value >> 32)


@cython.final
cdef class SymbolTable:
    """Open addressing over the UTF-8 bytes of a fixed tuple of distinct symbols."""

    def __cinit__(self, tuple symbols):
        cdef uint32_t index, bucket
        cdef uint32_t count = <uint32_t>len(symbols)
        cdef bytes name
        self._names = [symbol.encode() for symbol in symbols]
        self._mask = 15
        while self._mask < 2 * count:
            self._mask = 2 * self._mask + 1
        self._data = <const char**>calloc(count, sizeof(char*))
        self._sizes = <uint32_t*>calloc(count, sizeof(uint32_t))
        self._buckets = <uint32_t*>calloc(self._mask + 1, sizeof(uint32_t))
        if self._data == NULL or self._sizes == NULL or self._buckets == NULL:
            raise MemoryError(f"no memory for a table of {count} symbols")
        for index in range(count):
            name = self._names[index]
            if not 0 < len(name) <= SYMBOL_SIZE_MAX:
                raise ValueError(
                    f"a symbol has 1..{SYMBOL_SIZE_MAX} bytes of UTF-8, not {len(name)}: "
                    f"{symbols[index]!r}"
                )
            self._data[index] = PyBytes_AS_STRING(name)
            self._sizes[index] = <uint32_t>PyBytes_GET_SIZE(name)
            bucket = _hash(self._data[index], self._sizes[index])
            while self._buckets[bucket & self._mask]:
                bucket += 1
            self._buckets[bucket & self._mask] = index + 1

    def __dealloc__(self):
        free(self._data)
        free(self._sizes)
        free(self._buckets)

    cdef int find(self, const char* name, uint32_t size) noexcept:
        """Index of a symbol; -1 for others."""
        cdef uint32_t bucket = _hash(name, size)
        cdef uint32_t index
        while True:
            index = self._buckets[bucket & self._mask]
            if not index:
                return -1
            index -= 1
            if self._sizes[index] == size and memcmp(self._data[index], name, size) == 0:
                return <int>index
            bucket += 1
