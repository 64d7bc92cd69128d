"""C face of the loops over rows."""

from libc.stdint cimport int64_t

cdef void sort_rows(
    const double* values, int64_t* rows, int64_t* spare, int64_t count
) noexcept nogil
