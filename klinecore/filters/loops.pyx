"""Loops over rows for which NumPy has nothing, or nothing that gives the same bits everywhere."""

from libc.math cimport NAN, isfinite, log
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc

import numpy as np

from klinecore.filters.reasons import Reason

__all__ = ["latest", "logarithm", "places", "silences", "spaced"]

cdef uint8_t UNDEFINED = Reason.UNDEFINED
cdef uint8_t NOT_WARM = Reason.NOT_WARM


def latest(
    const int64_t[::1] own_ms not None, const int64_t[::1] own_offsets not None,
    const int64_t[::1] other_ms not None, const int64_t[::1] other_offsets not None,
):
    """At each time of ``own_ms`` the last row of ``other_ms`` that is not later; int64, -1: none.

    Both ascend within each symbol, whose rows the offsets bound. O(rows).
    """
    made = np.empty(own_ms.shape[0], dtype=np.int64)
    cdef int64_t[::1] rows = made
    cdef Py_ssize_t symbol, i
    cdef int64_t at, end
    if (
        own_offsets.shape[0] != other_offsets.shape[0]
        or own_offsets[own_offsets.shape[0] - 1] != own_ms.shape[0]
        or other_offsets[other_offsets.shape[0] - 1] != other_ms.shape[0]
    ):
        raise ValueError("offsets must bound the rows of the same symbols")
    with nogil:
        for symbol in range(own_offsets.shape[0] - 1):
            at = other_offsets[symbol]
            end = other_offsets[symbol + 1]
            for i in range(own_offsets[symbol], own_offsets[symbol + 1]):
                while at < end and other_ms[at] <= own_ms[i]:
                    at += 1
                rows[i] = at - 1 if at > other_offsets[symbol] else -1
    return made


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


def silences(
    double[::1] values not None, const uint8_t[::1] fed not None,
    const int64_t[::1] starts not None, const uint8_t[::1] cold not None,
    Py_ssize_t lookback, bint recursive,
):
    """Why an indicator says nothing, 0 where it does; what is not finite in ``values`` turns NaN.

    ``fed`` is why inputs were unknown. ``cold`` says of each row why a value may be missing that
    needs rows before its stretch: those with fewer than ``lookback`` known rows before them, and,
    if it is ``recursive``, all of a stretch that does not begin with the series.
    """
    made = np.zeros(values.shape[0], dtype=np.uint8)
    cdef uint8_t[::1] reasons = made
    cdef Py_ssize_t rows = values.shape[0]
    cdef Py_ssize_t stretch, i, count, end
    cdef uint8_t reason
    cdef bint blind
    if fed.shape[0] != rows or cold.shape[0] != rows or np.any(np.greater_equal(starts, rows)):
        raise ValueError("values, fed and cold must be equally long, and starts within them")
    with nogil:
        for stretch in range(starts.shape[0]):
            end = starts[stretch + 1] if stretch + 1 < starts.shape[0] else rows
            blind = recursive and cold[starts[stretch]] != NOT_WARM
            count = 0
            for i in range(starts[stretch], end):
                count += fed[i] == 0
                if isfinite(values[i]) and not blind:
                    continue
                values[i] = NAN
                reason = fed[i]
                if (blind or count <= lookback) and cold[i] > reason:
                    reason = cold[i]
                reasons[i] = reason if reason else UNDEFINED
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


cdef void sort_rows(
    const double* values, int64_t* rows, int64_t* spare, int64_t count
) noexcept nogil:
    """Rows by value, the largest first; equal ones stay in their order."""
    cdef int64_t width = 1
    cdef int64_t low, middle, high, i, j, k
    cdef int64_t* source = rows
    cdef int64_t* target = spare
    while width < count:
        low = 0
        while low < count:
            middle = min(low + width, count)
            high = min(low + 2 * width, count)
            i = low
            j = middle
            for k in range(low, high):
                if i < middle and (j >= high or values[source[i]] >= values[source[j]]):
                    target[k] = source[i]
                    i += 1
                else:
                    target[k] = source[j]
                    j += 1
            low = high
        source, target = target, source
        width *= 2
    if source != rows:
        for k in range(count):
            rows[k] = source[k]


def places(
    const double[::1] values not None, const int64_t[::1] moments not None,
    const uint8_t[::1] unknown not None,
):
    """Each value's place among those of its moment, 1.0 the largest; NaN where it is unknown.

    Of equal values the one of the earlier row comes first. ``moments`` count from 0. A new float64
    array. O(n log n).
    """
    cdef Py_ssize_t count = values.shape[0]
    made = np.full(count, np.nan)
    cdef double[::1] out = made
    cdef int64_t most = np.max(moments) + 1 if count else 0
    cdef Py_ssize_t i
    cdef int64_t moment, first
    cdef int64_t* begins
    cdef int64_t* rows
    if moments.shape[0] != count or unknown.shape[0] != count:
        raise ValueError("values, moments and unknown must be equally long")
    if not count:
        return made
    if np.min(moments) < 0:
        raise ValueError("moments must count from 0")
    begins = <int64_t*>calloc(most + 1, sizeof(int64_t))
    rows = <int64_t*>malloc(2 * count * sizeof(int64_t))
    if begins == NULL or rows == NULL:
        free(begins)
        free(rows)
        raise MemoryError
    with nogil:
        for i in range(count):
            begins[moments[i] + 1] += not unknown[i]
        for moment in range(most):
            begins[moment + 1] += begins[moment]
        for i in range(count):
            if not unknown[i]:
                rows[begins[moments[i]]] = i
                begins[moments[i]] += 1
        # Each entry now says where its moment ends, and the one before where it begins.
        first = 0
        for moment in range(most):
            sort_rows(&values[0], rows + first, rows + count, begins[moment] - first)
            for i in range(first, begins[moment]):
                out[rows[i]] = i - first + 1
            first = begins[moment]
    free(begins)
    free(rows)
    return made
