"""C face of the steps that remember; the one way to any cell."""

cimport cython

from klinecore.filters.cells cimport Cell


@cython.final
cdef class Since(Cell):
    cdef readonly object step
    cdef double* age                # by lane; ``value`` may show a forming row


cdef Cell make(object step, list args, Py_ssize_t places, int foreign)
cdef relink(Cell output)
