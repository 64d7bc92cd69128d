"""Loops over rows for which NumPy has nothing, or nothing that gives the same bits everywhere."""

from libc.math cimport log
from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

__all__ = ["logarithm", "spaced"]


def logarithm(const double[::1] values not None):
    """Natural logarithm by the C library; a new array. NumPy's own varies with the CPU's vectors.
    """
    made = np.empty(values.shape[0])
    cdef double[::1] out = made
    cdef Py_ssize_t i
    with nogil:
        for i in range(values.shape[0]):
            out[i] = log(values[i])
    return made


def spaced(const int64_t[::1] rows not None, const int32_t[::1] symbols not None, int64_t apart):
    """Which of ascending ``rows`` are more than ``apart`` rows behind the last one taken.

    ``symbols`` says whose each row is; every symbol begins anew. A new bool array. O(n).
    """
    made = np.empty(rows.shape[0], dtype=bool)
    cdef uint8_t[::1] taken = made.view(np.uint8)
    cdef int64_t last = 0
    cdef int32_t symbol = -1
    cdef Py_ssize_t i
    if symbols.shape[0] != rows.shape[0]:
        raise ValueError("rows and symbols must be equally long")
    with nogil:
        for i in range(rows.shape[0]):
            taken[i] = symbols[i] != symbol or rows[i] - last > apart
            if taken[i]:
                last = rows[i]
                symbol = symbols[i]
    return made
