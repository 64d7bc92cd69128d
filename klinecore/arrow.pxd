"""C face of columns that other libraries read in place."""

from libc.stdint cimport int64_t

ctypedef const void* Address

cdef enum:
    BUFFERS_MAX = 3         # validity, offsets, texts

cdef class Column:
    cdef object values      # a read-only array, or texts as a tuple
    cdef bytes name
    cdef const char* format
    cdef int64_t null_count
    cdef int64_t buffer_count
    cdef Address[BUFFERS_MAX] buffers
    cdef list _kept         # whose memory that is

    cdef _add(self, object exporter)
    cdef _add_validity(self, object missing)

cdef class Columns:
    cdef tuple items        # of Column
    cdef dict by_name
    cdef Py_ssize_t length

cdef object schema_capsule(Columns columns)
cdef object array_capsule(Columns columns)
cdef object stream_capsule(Columns columns)
