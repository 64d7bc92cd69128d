"""Loops in C over lanes, and over TA-Lib's own C functions, whose addresses are handed in."""

from libc.stdint cimport int32_t, uintptr_t

from klinecore.indicators.lanes cimport Lanes

ctypedef int (*OneToOne)(void* handle, double x, double* out) noexcept nogil
ctypedef int (*OneToThree)(void* handle, double x, double* a, double* b, double* c) noexcept nogil
ctypedef int (*ThreeToOne)(
    void* handle, double high, double low, double close, double* out
) noexcept nogil
ctypedef int (*ThreeToTwo)(
    void* handle, double high, double low, double close, double* a, double* b
) noexcept nogil


def sweep(Lanes lanes not None, const double[:, :, ::1] rows not None, bint commit):
    """Step all lanes through ``rows``: row, input, lane."""
    cdef const double* inputs[5]
    cdef Py_ssize_t row, k
    for row in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            inputs[k] = &rows[row, k, 0]
        lanes.step(inputs, NULL, 0, commit)


def sweep_four(
    Lanes first not None, Lanes second not None, Lanes third not None, Lanes fourth not None,
    const double[:, :, ::1] rows not None,
):
    """Step four indicators of one column through ``rows``, one after the other at each row."""
    cdef const double* inputs
    cdef Py_ssize_t row
    for row in range(rows.shape[0]):
        inputs = &rows[row, 0, 0]
        first.step(&inputs, NULL, 0, True)
        second.step(&inputs, NULL, 0, True)
        third.step(&inputs, NULL, 0, True)
        fourth.step(&inputs, NULL, 0, True)


def ticks(
    Lanes first not None, Lanes second not None, Lanes third not None, Lanes fourth not None,
    const double[::1] prices not None, const int32_t[::1] order not None, Py_ssize_t batch,
):
    """Preview four indicators for the lanes in ``order``, ``batch`` ticks at a time."""
    cdef const double* inputs = &prices[0]
    cdef const int32_t* which
    cdef Py_ssize_t i, count
    for i in range(0, order.shape[0], batch):
        which = &order[i]
        count = min(batch, order.shape[0] - i)
        first.step(&inputs, which, count, False)
        second.step(&inputs, which, count, False)
        third.step(&inputs, which, count, False)
        fourth.step(&inputs, which, count, False)


def handles(
    uintptr_t function, const uintptr_t[::1] opened not None,
    const double[:, :, ::1] rows not None, int outputs,
):
    """Call TA-Lib's update or peek for every row and handle: row, input, handle."""
    cdef double a = 0.0, b = 0.0, c = 0.0
    cdef Py_ssize_t row, i, count = opened.shape[0]
    cdef const double* x
    cdef int failed = 0
    for row in range(rows.shape[0]):
        x = &rows[row, 0, 0]
        if rows.shape[1] == 3 and outputs == 2:
            for i in range(count):
                failed |= (<ThreeToTwo>function)(
                    <void*>opened[i], x[i], rows[row, 1, i], rows[row, 2, i], &a, &b
                )
        elif rows.shape[1] == 3:
            for i in range(count):
                failed |= (<ThreeToOne>function)(
                    <void*>opened[i], x[i], rows[row, 1, i], rows[row, 2, i], &a
                )
        elif outputs == 3:
            for i in range(count):
                failed |= (<OneToThree>function)(<void*>opened[i], x[i], &a, &b, &c)
        else:
            for i in range(count):
                failed |= (<OneToOne>function)(<void*>opened[i], x[i], &a)
    if failed:
        raise ValueError("TA-Lib refused a row")
    return a, b, c
