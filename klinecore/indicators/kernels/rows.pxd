"""What one row, or two of them side by side, say: prices and crosses."""

from libc.math cimport NAN

cdef struct CrossState:
    double first, second    # of the row before
    bint started


cdef inline double cross_step(CrossState* s, double first, double second) noexcept nogil:
    """1 where ``first`` was at or below ``second`` and is above it now, else 0."""
    cdef double crossed = 1.0 if s.first <= s.second and first > second else 0.0
    s.first = first
    s.second = second
    if not s.started:
        s.started = True
        return NAN
    return crossed
