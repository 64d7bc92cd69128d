"""Several indicators of the same series, stepped by one call."""

cimport cython

from klinecore.indicators.kernel cimport INPUTS_MAX

cdef enum:
    PARTS_MAX = 64
    COLUMNS_MAX = 16    # of all parts together


@cython.final
cdef class Sweep:
    cdef readonly tuple parts               # Lanes
    cdef readonly tuple inputs              # names of the columns, in the order they are given
    cdef readonly Py_ssize_t lanes
    cdef readonly Py_ssize_t nbytes         # beside those of the parts
    cdef Py_ssize_t count, width, outputs   # of parts, of inputs, of outputs of all parts
    cdef Py_ssize_t room                    # of a column: up to a whole block
    cdef void* memory                       # as allocated: the columns are aligned
    cdef double* columns[COLUMNS_MAX]       # as they came last
    cdef const double* column[PARTS_MAX][INPUTS_MAX]    # which of them each part takes
    cdef bint backwards                     # the parts were stepped from the last to the first
    cdef tuple closed_results, live_results

    cdef int feed(self, object given, tuple others, object where, bint commit) except -1
