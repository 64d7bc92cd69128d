"""Extremes, change and correlation of a window: init from parameters, and the run over rows."""

from libc.math cimport NAN, sqrt

from klinecore.indicators.kernel cimport Room, make_kernel, usable

__all__ = ["KERNELS"]


cdef void top_make(void* state, const double* parameters, Room* room) noexcept nogil:
    top_init(<TopState*>state, <Py_ssize_t>parameters[0], room)


cdef void highest_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef TopState s = (<TopState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = top_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<TopState*>state)[0] = s


cdef void lowest_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef TopState s = (<TopState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = bottom_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<TopState*>state)[0] = s


cdef void lag_make(void* state, const double* parameters, Room* room) noexcept nogil:
    lag_init(<LagState*>state, <Py_ssize_t>parameters[0], room)


cdef inline double change_step(LagState* s, double value, bint commit) noexcept nogil:
    cdef double before = lag_step(s, value, commit)
    return (value / before - 1.0) * 100.0 if before != 0 else NAN


cdef void change_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef LagState s = (<LagState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = change_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<LagState*>state)[0] = s


cdef void pair_make(void* state, const double* parameters, Room* room) noexcept nogil:
    pair_init(<PairState*>state, <Py_ssize_t>parameters[0], room)


cdef inline double correl_step(
    PairState* s, double first, double second, bint commit
) noexcept nogil:
    cdef double r
    if not pair_step(s, first, second, commit):
        return NAN
    if s.first_squares <= 0 or s.second_squares <= 0:
        return 0.0
    r = s.products / (sqrt(s.first_squares) * sqrt(s.second_squares))
    return 1.0 if r > 1.0 else -1.0 if r < -1.0 else r


cdef void correl_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef PairState s = (<PairState*>state)[0]
    cdef const double* first = x[0]
    cdef const double* second = x[1]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(first[i]) and usable(second[i]):
            out[i] = correl_step(&s, first[i], second[i], commit)
        else:
            out[i] = NAN
    if commit:
        (<PairState*>state)[0] = s


KERNELS = {
    "highest": make_kernel("highest", sizeof(TopState), top_make, highest_run),
    "lowest": make_kernel("lowest", sizeof(TopState), top_make, lowest_run),
    "change": make_kernel("change", sizeof(LagState), lag_make, change_run),
    "correl": make_kernel("correl", sizeof(PairState), pair_make, correl_run),
}
