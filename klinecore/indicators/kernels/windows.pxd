"""Sliding windows over one value per row: sum, moments, extremes, the value that left.

Each keeps its rows in a ring. What is accumulated is computed anew from the ring once per turn of
it, and at once where it has lost digits to a value that left; so no error outlives the window.
``commit`` says whether the ring may be written; a preview works on a copy of the struct and leaves
the ring as it is. A ring's rows are ``stride`` doubles apart: 1, or more where rings of several
series lie side by side.
"""

from libc.math cimport INFINITY, NAN, fabs

from klinecore.indicators.kernel cimport Room, room_take

cdef extern from *:
    """
    /* One instruction; written as a branch it is mispredicted every other time. */
    static inline double larger(double a, double b) { return a > b ? a : b; }
    """
    double larger(double a, double b) noexcept nogil

cdef enum:
    # A sum that is 2**-10 of what just left it, or a variance 2**-6 of what it was since it was
    # last exact, has lost that many bits: it is computed anew.
    SUM_LOSS = 1024
    SQUARES_LOSS = 64

cdef struct SumState:
    double* ring
    Py_ssize_t stride, period, slot, count
    double sum

cdef struct MomentState:
    double* ring
    Py_ssize_t stride, period, slot, count
    double share            # 1 / period: a division takes as long as all the rest
    double origin           # a price of the window: what follows is relative to it
    double mean
    double squares          # sum of squared deviations from the mean
    double peak             # largest of them since they were last computed anew

cdef struct TopState:
    double* ring
    Py_ssize_t stride, period, slot, count
    double prefix           # largest of the block's rows so far

cdef struct LagState:
    double* ring
    Py_ssize_t period, slot, count

cdef struct PairState:
    double* first
    double* second
    Py_ssize_t period, slot, count
    double share            # 1 / period
    double first_origin, second_origin
    double first_mean, second_mean
    double first_squares, second_squares, products
    double first_peak, second_peak


cdef inline void sum_init(SumState* s, Py_ssize_t period, Room* room) noexcept nogil:
    s.stride = 1
    s.period = period
    s.ring = room_take(room, period)


cdef inline double sum_exact(const SumState* s, double value) noexcept nogil:
    """The ring's sum with ``value`` in the current slot."""
    cdef double total = 0.0
    cdef Py_ssize_t i
    for i in range(s.period):
        total += value if i == s.slot else s.ring[i * s.stride]
    return total


cdef inline double sum_step(SumState* s, double value, bint commit) noexcept nogil:
    """Sum of the newest ``period`` values; NaN until there are as many."""
    cdef double gone = s.ring[s.slot * s.stride]       # zero until the ring is full
    s.sum += value - gone
    if s.slot + 1 == s.period or fabs(s.sum) * SUM_LOSS < fabs(gone):
        s.sum = sum_exact(s, value)
    if commit:
        s.ring[s.slot * s.stride] = value
    s.slot = s.slot + 1 if s.slot + 1 < s.period else 0
    if s.count + 1 < s.period:
        s.count += 1
        return NAN
    return s.sum


cdef inline double mean_step(SumState* s, double value, bint commit) noexcept nogil:
    """Mean of the newest ``period`` values; NaN until there are as many."""
    return sum_step(s, value, commit) / s.period


cdef inline void moment_init(MomentState* s, Py_ssize_t period, Room* room) noexcept nogil:
    s.stride = 1
    s.period = period
    s.share = 1.0 / period
    s.ring = room_take(room, period)


cdef inline void moment_exact(MomentState* s, double value) noexcept nogil:
    """Mean and squares in two passes, with ``value`` in the current slot."""
    cdef double total = 0.0, squares = 0.0, rest = 0.0, off
    cdef Py_ssize_t i
    # Differences of prices are exact where prices are close: deviations keep all their digits.
    s.origin = value
    for i in range(s.period):
        if i != s.slot:
            total += s.ring[i * s.stride] - value
    s.mean = total / s.period
    for i in range(s.period):
        off = (0.0 if i == s.slot else s.ring[i * s.stride] - value) - s.mean
        rest += off
        squares += off * off
    squares -= rest * rest / s.period
    s.squares = squares if squares > 0 else 0.0
    s.peak = s.squares


cdef inline double moment_mean(const MomentState* s) noexcept nogil:
    return s.origin + s.mean


cdef inline void moment_slide(MomentState* s, double value, double gone) noexcept nogil:
    """Take a value in and the oldest one out."""
    cdef double mean
    value -= s.origin
    gone -= s.origin
    mean = s.mean + (value - gone) * s.share
    s.squares += (value - gone) * ((value - mean) + (gone - s.mean))
    s.mean = mean
    s.peak = larger(s.peak, s.squares)


cdef inline bint moment_lost(const MomentState* s) noexcept nogil:
    """True if the squares have lost too many digits; also if they are no number any more."""
    return not s.squares * SQUARES_LOSS >= s.peak


cdef inline bint moment_step(MomentState* s, double value, bint commit) noexcept nogil:
    """Move mean and squares on; False until there are ``period`` values."""
    cdef bint full = s.count + 1 >= s.period
    if full:
        moment_slide(s, value, s.ring[s.slot * s.stride])
        if s.slot + 1 == s.period or moment_lost(s):
            moment_exact(s, value)
    else:
        s.count += 1
    if commit:
        s.ring[s.slot * s.stride] = value
    s.slot = s.slot + 1 if s.slot + 1 < s.period else 0
    return full


cdef inline void top_init(TopState* s, Py_ssize_t period, Room* room) noexcept nogil:
    cdef Py_ssize_t i
    s.stride = 1
    s.period = period
    s.prefix = -INFINITY
    s.ring = room_take(room, period + 1)        # the last one is no slot: nothing follows a block
    if s.ring != NULL:
        for i in range(period + 1):
            s.ring[i] = -INFINITY


cdef inline double top_step(TopState* s, double value, bint commit) noexcept nogil:
    """Largest of the newest ``period`` values; NaN until there are as many.

    Van Herk: the window is the end of the last block and the start of this one. Slots this block
    has not reached hold the last block's maxima from there to its end.
    """
    cdef double best
    cdef Py_ssize_t i
    s.prefix = larger(s.prefix, value)
    best = larger(s.prefix, s.ring[(s.slot + 1) * s.stride])
    if commit:
        s.ring[s.slot * s.stride] = value
    s.slot += 1
    if s.slot == s.period:
        s.slot = 0
        s.prefix = -INFINITY
        if commit:
            for i in range(s.period - 2, -1, -1):
                value = larger(value, s.ring[i * s.stride])
                s.ring[i * s.stride] = value
    if s.count + 1 < s.period:
        s.count += 1
        return NAN
    return best


cdef inline double bottom_step(TopState* s, double value, bint commit) noexcept nogil:
    """Smallest of the newest ``period`` values; a state of its own, not shared with ``top_step``.
    """
    return -top_step(s, -value, commit)


cdef inline void lag_init(LagState* s, Py_ssize_t period, Room* room) noexcept nogil:
    s.period = period
    s.ring = room_take(room, period)


cdef inline double lag_step(LagState* s, double value, bint commit) noexcept nogil:
    """The value ``period`` rows ago; NaN until there is one."""
    cdef double gone = s.ring[s.slot]
    if commit:
        s.ring[s.slot] = value
    s.slot = s.slot + 1 if s.slot + 1 < s.period else 0
    if s.count < s.period:
        s.count += 1
        return NAN
    return gone


cdef inline void pair_init(PairState* s, Py_ssize_t period, Room* room) noexcept nogil:
    s.period = period
    s.share = 1.0 / period
    s.first = room_take(room, period)
    s.second = room_take(room, period)


cdef inline void pair_exact(PairState* s, double x, double y) noexcept nogil:
    cdef double first = 0.0, second = 0.0, a_rest = 0.0, b_rest = 0.0, a, b
    cdef Py_ssize_t i
    s.first_origin = x
    s.second_origin = y
    for i in range(s.period):
        if i != s.slot:
            first += s.first[i] - x
            second += s.second[i] - y
    s.first_mean = first / s.period
    s.second_mean = second / s.period
    s.first_squares = s.second_squares = s.products = 0.0
    for i in range(s.period):
        a = (0.0 if i == s.slot else s.first[i] - x) - s.first_mean
        b = (0.0 if i == s.slot else s.second[i] - y) - s.second_mean
        a_rest += a
        b_rest += b
        s.first_squares += a * a
        s.second_squares += b * b
        s.products += a * b
    s.first_squares -= a_rest * a_rest / s.period
    s.second_squares -= b_rest * b_rest / s.period
    s.products -= a_rest * b_rest / s.period
    s.first_peak = s.first_squares
    s.second_peak = s.second_squares


cdef inline void pair_slide(
    PairState* s, double x, double y, double x_gone, double y_gone
) noexcept nogil:
    """Take a row in and the oldest one out."""
    cdef double x_mean, y_mean
    x -= s.first_origin
    y -= s.second_origin
    x_gone -= s.first_origin
    y_gone -= s.second_origin
    x_mean = s.first_mean + (x - x_gone) * s.share
    y_mean = s.second_mean + (y - y_gone) * s.share
    s.first_squares += (x - x_gone) * ((x - x_mean) + (x_gone - s.first_mean))
    s.second_squares += (y - y_gone) * ((y - y_mean) + (y_gone - s.second_mean))
    s.products += (x - s.first_mean) * (y - y_mean) - (x_gone - s.first_mean) * (y_gone - y_mean)
    s.first_mean = x_mean
    s.second_mean = y_mean
    s.first_peak = larger(s.first_peak, s.first_squares)
    s.second_peak = larger(s.second_peak, s.second_squares)


cdef inline bint pair_step(PairState* s, double x, double y, bint commit) noexcept nogil:
    """Move both means, squares and the products on; False until there are ``period`` rows."""
    cdef bint full = s.count + 1 >= s.period
    if full:
        pair_slide(s, x, y, s.first[s.slot], s.second[s.slot])
        if (
            s.slot + 1 == s.period
            or not s.first_squares * SQUARES_LOSS >= s.first_peak
            or not s.second_squares * SQUARES_LOSS >= s.second_peak
        ):
            pair_exact(s, x, y)
    else:
        s.count += 1
    if commit:
        s.first[s.slot] = x
        s.second[s.slot] = y
    s.slot = s.slot + 1 if s.slot + 1 < s.period else 0
    return full
