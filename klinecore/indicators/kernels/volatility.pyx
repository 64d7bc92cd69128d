"""Volatility indicators: init from parameters, and the run over rows."""

from libc.math cimport NAN

from klinecore.indicators.kernel cimport Room, make_kernel, usable
from klinecore.indicators.kernels.windows cimport moment_init, top_init

__all__ = ["KERNELS"]


cdef void bb_make(void* state, const double* parameters, Room* room) noexcept nogil:
    moment_init(&(<BandState*>state).moments, <Py_ssize_t>parameters[0], room)
    (<BandState*>state).deviations = parameters[1]


cdef void bb_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef BandState s = (<BandState*>state)[0]
    cdef const double* value = x[0]
    cdef Py_ssize_t i
    cdef double upper, middle, lower, width
    for i in range(count):
        upper = middle = lower = width = NAN
        if usable(value[i]):
            bb_step(&s, value[i], &upper, &middle, &lower, &width, commit)
        y[0][i] = upper
        y[1][i] = middle
        y[2][i] = lower
        y[3][i] = width
    if commit:
        (<BandState*>state)[0] = s


cdef void atr_make(void* state, const double* parameters, Room* room) noexcept nogil:
    atr_init(<AtrState*>state, <Py_ssize_t>parameters[0], parameters[1] != 0)


cdef void atr_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef AtrState s = (<AtrState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            out[i] = atr_step(&s, high[i], low[i], close[i])
        else:
            out[i] = NAN
    if commit:
        (<AtrState*>state)[0] = s


cdef void natr_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef AtrState s = (<AtrState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            out[i] = natr_step(&s, high[i], low[i], close[i])
        else:
            out[i] = NAN
    if commit:
        (<AtrState*>state)[0] = s


cdef void keltner_make(void* state, const double* parameters, Room* room) noexcept nogil:
    keltner_init(
        <KeltnerState*>state,
        <Py_ssize_t>parameters[0],
        <Py_ssize_t>parameters[1],
        parameters[2],
        parameters[3] != 0,
    )


cdef void keltner_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef KeltnerState s = (<KeltnerState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef Py_ssize_t i
    cdef double upper, middle, lower
    for i in range(count):
        upper = middle = lower = NAN
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            keltner_step(&s, high[i], low[i], close[i], &upper, &middle, &lower)
        y[0][i] = upper
        y[1][i] = middle
        y[2][i] = lower
    if commit:
        (<KeltnerState*>state)[0] = s


cdef void donchian_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef DonchianState* s = <DonchianState*>state
    top_init(&s.top, <Py_ssize_t>parameters[0], room)
    top_init(&s.bottom, <Py_ssize_t>parameters[0], room)


cdef void donchian_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef DonchianState s = (<DonchianState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef Py_ssize_t i
    cdef double upper, middle, lower
    for i in range(count):
        upper = middle = lower = NAN
        if usable(high[i]) and usable(low[i]):
            donchian_step(&s, high[i], low[i], &upper, &middle, &lower, commit)
        y[0][i] = upper
        y[1][i] = middle
        y[2][i] = lower
    if commit:
        (<DonchianState*>state)[0] = s


cdef void chop_make(void* state, const double* parameters, Room* room) noexcept nogil:
    chop_init(<ChopState*>state, <Py_ssize_t>parameters[0], room)


cdef void chop_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef ChopState s = (<ChopState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            out[i] = chop_step(&s, high[i], low[i], close[i], commit)
        else:
            out[i] = NAN
    if commit:
        (<ChopState*>state)[0] = s


KERNELS = {
    "bb": make_kernel("bb", sizeof(BandState), bb_make, bb_run),
    "atr": make_kernel("atr", sizeof(AtrState), atr_make, atr_run),
    "natr": make_kernel("natr", sizeof(AtrState), atr_make, natr_run),
    "keltner": make_kernel("keltner", sizeof(KeltnerState), keltner_make, keltner_run),
    "donchian": make_kernel("donchian", sizeof(DonchianState), donchian_make, donchian_run),
    "chop": make_kernel("chop", sizeof(ChopState), chop_make, chop_run),
}
