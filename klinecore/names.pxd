"""C face of the table that leads from a symbol's bytes to its place."""

from libc.stdint cimport uint32_t

cdef class SymbolTable:
    cdef list _names                # by place; owns the bytes the pointers lead to
    cdef const char** _data
    cdef uint32_t* _sizes           # 0: the place is free
    cdef uint32_t* _buckets         # place + 1, 0 is empty; at most half full
    cdef uint32_t _mask

    cdef int find(self, const char* name, uint32_t size) noexcept
    cdef set_name(self, uint32_t place, bytes name)
    cdef clear_name(self, uint32_t place)
    cdef _enter(self, uint32_t place)
