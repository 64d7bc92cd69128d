"""C face of the table that leads from a symbol's bytes to its index."""

from libc.stdint cimport uint32_t

cdef class SymbolTable:
    cdef list _names                # owns the bytes the pointers lead to
    cdef const char** _data
    cdef uint32_t* _sizes
    cdef uint32_t* _buckets         # index + 1, 0 is empty; at most half full
    cdef uint32_t _mask

    cdef int find(self, const char* name, uint32_t size) noexcept
