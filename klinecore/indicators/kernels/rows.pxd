"""What one row, or two of them side by side, say: prices, crosses, patterns."""

from libc.math cimport NAN

cdef struct CrossState:
    double first, second    # of the row before
    bint started

cdef struct BodyState:
    double open, close      # of the row before
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


cdef inline double engulfing_step(BodyState* s, double open, double close) noexcept nogil:
    """100 or 80 bullish, -100 or -80 bearish, 0 none; 80 where the bodies share an end."""
    cdef double before_open = s.open, before_close = s.close
    cdef int side = 1 if close >= open else -1
    cdef double top, bottom, before_top, before_bottom
    s.open = open
    s.close = close
    if not s.started:
        s.started = True
        return NAN
    if side == (1 if before_close >= before_open else -1):
        return 0.0
    top, bottom = (close, open) if side > 0 else (open, close)
    before_top, before_bottom = (
        (before_open, before_close) if side > 0 else (before_close, before_open)
    )
    if top > before_top and bottom < before_bottom:
        return side * 100.0
    if (top >= before_top and bottom < before_bottom) or (
        top > before_top and bottom <= before_bottom
    ):
        return side * 80.0
    return 0.0
