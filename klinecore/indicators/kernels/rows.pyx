"""Prices and crosses of one row or two: init from parameters, and the run over rows."""

from libc.math cimport NAN

from klinecore.indicators.kernel cimport Room, make_kernel, usable

__all__ = ["KERNELS"]


cdef void nothing_make(void* state, const double* parameters, Room* room) noexcept nogil:
    pass


cdef void hl2_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]):
            y[0][i] = (x[0][i] + x[1][i]) / 2.0
        else:
            y[0][i] = NAN


cdef void hlc3_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]) and usable(x[2][i]):
            y[0][i] = (x[0][i] + x[1][i] + x[2][i]) / 3.0
        else:
            y[0][i] = NAN


cdef void ohlc4_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]) and usable(x[2][i]) and usable(x[3][i]):
            y[0][i] = (x[0][i] + x[1][i] + x[2][i] + x[3][i]) / 4.0
        else:
            y[0][i] = NAN


cdef void above_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef CrossState s = (<CrossState*>state)[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]):
            y[0][i] = cross_step(&s, x[0][i], x[1][i])
        else:
            y[0][i] = NAN
    if commit:
        (<CrossState*>state)[0] = s


cdef void below_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef CrossState s = (<CrossState*>state)[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]):
            y[0][i] = cross_step(&s, x[1][i], x[0][i])
        else:
            y[0][i] = NAN
    if commit:
        (<CrossState*>state)[0] = s


KERNELS = {
    "hl2": make_kernel("hl2", 0, nothing_make, hl2_run),
    "hlc3": make_kernel("hlc3", 0, nothing_make, hlc3_run),
    "ohlc4": make_kernel("ohlc4", 0, nothing_make, ohlc4_run),
    "crosses_above": make_kernel("crosses_above", sizeof(CrossState), nothing_make, above_run),
    "crosses_below": make_kernel("crosses_below", sizeof(CrossState), nothing_make, below_run),
}
