"""Patterns of a few klines: what the newest ones say, held against the mean of those before.

Means are of the ten (or five) rows before the one they judge, computed from the rows each time: a
threshold that is met exactly must not hang on what a running sum has lost.
"""

from libc.math cimport NAN, fabs

cdef enum:
    ROWS = 16               # a pattern of four rows and the ten before its third one; a power of 2
    SEVERAL = 10            # rows whose mean says what is short or long
    FEW = 5                 # rows whose mean says what is near or far

cdef struct PatternState:
    double[ROWS] open
    double[ROWS] high
    double[ROWS] low
    double[ROWS] close
    Py_ssize_t count
    double penetration      # share of a body that a close must reach into
    bint near               # bodies need not be apart

cdef struct BodyState:
    double open, close      # of the row before
    bint started

cdef struct InsideState:
    double high, low        # of the row before
    bint started

ctypedef double (*PatternRule)(const PatternState* s) noexcept nogil


cdef inline void pattern_push(
    PatternState* s, double open, double high, double low, double close
) noexcept nogil:
    cdef Py_ssize_t slot = s.count & (ROWS - 1)
    s.open[slot] = open
    s.high[slot] = high
    s.low[slot] = low
    s.close[slot] = close
    s.count += 1


cdef inline Py_ssize_t row_at(const PatternState* s, Py_ssize_t back) noexcept nogil:
    """Where the row ``back`` rows ago stands."""
    return (s.count - 1 - back) & (ROWS - 1)


cdef inline double open_at(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return s.open[row_at(s, back)]


cdef inline double high_at(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return s.high[row_at(s, back)]


cdef inline double low_at(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return s.low[row_at(s, back)]


cdef inline double close_at(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return s.close[row_at(s, back)]


cdef inline bint rises(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return close_at(s, back) >= open_at(s, back)


cdef inline double top_of(const PatternState* s, Py_ssize_t back) noexcept nogil:
    """The body's upper end."""
    return close_at(s, back) if rises(s, back) else open_at(s, back)


cdef inline double bottom_of(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return open_at(s, back) if rises(s, back) else close_at(s, back)


cdef inline double body(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return fabs(close_at(s, back) - open_at(s, back))


cdef inline double upper_shadow(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return high_at(s, back) - top_of(s, back)


cdef inline double lower_shadow(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return bottom_of(s, back) - low_at(s, back)


cdef inline double mean_body(const PatternState* s, Py_ssize_t back) noexcept nogil:
    """Of the ten rows before that one."""
    cdef double total = 0.0
    cdef Py_ssize_t i
    for i in range(back + SEVERAL, back, -1):
        total += body(s, i)
    return total / SEVERAL


cdef inline double mean_range(
    const PatternState* s, Py_ssize_t back, Py_ssize_t rows
) noexcept nogil:
    cdef double total = 0.0
    cdef Py_ssize_t i
    for i in range(back + rows, back, -1):
        total += high_at(s, i) - low_at(s, i)
    return total / rows


cdef inline double tiny(const PatternState* s, Py_ssize_t back) noexcept nogil:
    """What a shadow must stay below to be none, and a body to be that of a doji."""
    return 0.1 * mean_range(s, back, SEVERAL)


cdef inline double near(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return 0.2 * mean_range(s, back, FEW)


cdef inline double far(const PatternState* s, Py_ssize_t back) noexcept nogil:
    return 0.6 * mean_range(s, back, FEW)


cdef inline bint above(
    const PatternState* s, double upper, double lower, Py_ssize_t back
) noexcept nogil:
    """True if they are apart; or nearly, by the measure of the row that is ``back`` rows ago."""
    return upper >= lower - near(s, back) if s.near else upper > lower


cdef inline double doji_of(const PatternState* s) noexcept nogil:
    return body(s, 0) <= tiny(s, 0)


cdef inline bint hangs(const PatternState* s) noexcept nogil:
    """A short body on a long lower shadow."""
    return (
        body(s, 0) < mean_body(s, 0)
        and lower_shadow(s, 0) > body(s, 0)
        and upper_shadow(s, 0) < tiny(s, 0)
    )


cdef inline bint stands(const PatternState* s) noexcept nogil:
    """A short body under a long upper shadow."""
    return (
        body(s, 0) < mean_body(s, 0)
        and upper_shadow(s, 0) > body(s, 0)
        and lower_shadow(s, 0) < tiny(s, 0)
    )


cdef inline double hammer_of(const PatternState* s) noexcept nogil:
    return hangs(s) and bottom_of(s, 0) <= low_at(s, 1) + near(s, 1)


cdef inline double hanging_of(const PatternState* s) noexcept nogil:
    return hangs(s) and bottom_of(s, 0) >= high_at(s, 1) - near(s, 1)


cdef inline double inverted_of(const PatternState* s) noexcept nogil:
    return stands(s) and above(s, bottom_of(s, 1), top_of(s, 0), 1)


cdef inline double shooting_of(const PatternState* s) noexcept nogil:
    return stands(s) and above(s, bottom_of(s, 0), top_of(s, 1), 1)


cdef inline double harami_of(const PatternState* s) noexcept nogil:
    """100 or 80 bullish, -100 or -80 bearish; 80 where the bodies share an end."""
    cdef double side = -1.0 if rises(s, 1) else 1.0
    if not (body(s, 1) > mean_body(s, 1) and body(s, 0) <= mean_body(s, 0)):
        return 0.0
    if top_of(s, 0) < top_of(s, 1) and bottom_of(s, 0) > bottom_of(s, 1):
        return side * 100.0
    if top_of(s, 0) <= top_of(s, 1) and bottom_of(s, 0) >= bottom_of(s, 1):
        return side * 80.0
    return 0.0


cdef inline double morning_of(const PatternState* s) noexcept nogil:
    return (
        body(s, 2) > mean_body(s, 2)
        and not rises(s, 2)
        and body(s, 1) <= mean_body(s, 1)
        and above(s, bottom_of(s, 2), top_of(s, 1), 2)
        and body(s, 0) > mean_body(s, 0)
        and rises(s, 0)
        and close_at(s, 0) > close_at(s, 2) + body(s, 2) * s.penetration
    )


cdef inline double evening_of(const PatternState* s) noexcept nogil:
    return (
        body(s, 2) > mean_body(s, 2)
        and rises(s, 2)
        and body(s, 1) <= mean_body(s, 1)
        and above(s, bottom_of(s, 1), top_of(s, 2), 2)
        and body(s, 0) > mean_body(s, 0)
        and not rises(s, 0)
        and close_at(s, 0) < close_at(s, 2) - body(s, 2) * s.penetration
    )


cdef inline double piercing_of(const PatternState* s) noexcept nogil:
    return (
        not rises(s, 1)
        and body(s, 1) > mean_body(s, 1)
        and rises(s, 0)
        and body(s, 0) > mean_body(s, 0)
        and above(s, low_at(s, 1), open_at(s, 0), 1)
        and close_at(s, 0) < open_at(s, 1)
        and close_at(s, 0) > close_at(s, 1) + body(s, 1) * 0.5
    )


cdef inline double cloud_of(const PatternState* s) noexcept nogil:
    return (
        rises(s, 1)
        and body(s, 1) > mean_body(s, 1)
        and not rises(s, 0)
        and above(s, open_at(s, 0), high_at(s, 1), 1)
        and close_at(s, 0) > open_at(s, 1)
        and close_at(s, 0) < close_at(s, 1) - body(s, 1) * s.penetration
    )


cdef inline bint marches(const PatternState* s, Py_ssize_t back) noexcept nogil:
    """Opens within or near the body before it, closes above it, and is not far shorter."""
    return (
        close_at(s, back) > close_at(s, back + 1)
        and open_at(s, back) > open_at(s, back + 1)
        and open_at(s, back) <= close_at(s, back + 1) + near(s, back + 1)
        and body(s, back) > body(s, back + 1) - far(s, back + 1)
    )


cdef inline double soldiers_of(const PatternState* s) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(3):
        if not (rises(s, i) and upper_shadow(s, i) < tiny(s, i)):
            return 0.0
    return marches(s, 1) and marches(s, 0) and body(s, 0) > mean_body(s, 0)


cdef inline bint sinks(const PatternState* s, Py_ssize_t back) noexcept nogil:
    """Opens within the body before it and closes below it."""
    return (
        close_at(s, back) < close_at(s, back + 1)
        and open_at(s, back) < open_at(s, back + 1)
        and above(s, open_at(s, back), close_at(s, back + 1), back + 1)
    )


cdef inline double crows_of(const PatternState* s) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(3):
        if rises(s, i) or not lower_shadow(s, i) < tiny(s, i):
            return 0.0
    return (
        rises(s, 3) and high_at(s, 3) > close_at(s, 2) and sinks(s, 1) and sinks(s, 0)
    )


cdef inline double inside_step(InsideState* s, double high, double low) noexcept nogil:
    """1 where the row lies within the one before it."""
    cdef double inside = high < s.high and low > s.low
    s.high = high
    s.low = low
    if not s.started:
        s.started = True
        return NAN
    return inside


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
