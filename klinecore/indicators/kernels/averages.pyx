"""Moving averages: init from parameters, and the run over rows."""

from libc.math cimport NAN

from klinecore.indicators.kernel cimport Room, make_kernel, usable
from klinecore.indicators.kernels.windows cimport SumState, mean_step, sum_init

__all__ = ["KERNELS"]


cdef void sma_make(void* state, const double* parameters, Room* room) noexcept nogil:
    sum_init(<SumState*>state, <Py_ssize_t>parameters[0], room)


cdef void sma_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef SumState s = (<SumState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = mean_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<SumState*>state)[0] = s


cdef void ema_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef Py_ssize_t period = <Py_ssize_t>parameters[0]
    ema_init(<EmaState*>state, ema_alpha(period), 1 if parameters[1] else period)


cdef void rma_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef Py_ssize_t period = <Py_ssize_t>parameters[0]
    ema_init(<EmaState*>state, 1.0 / period, period)


cdef void ema_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef EmaState s = (<EmaState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = ema_step(&s, value[i]) if usable(value[i]) else NAN
    if commit:
        (<EmaState*>state)[0] = s


cdef void wma_make(void* state, const double* parameters, Room* room) noexcept nogil:
    wma_init(<WmaState*>state, <Py_ssize_t>parameters[0], room)


cdef void wma_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef WmaState s = (<WmaState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = wma_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<WmaState*>state)[0] = s


cdef void hma_make(void* state, const double* parameters, Room* room) noexcept nogil:
    hma_init(<HmaState*>state, <Py_ssize_t>parameters[0], room)


cdef void hma_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef HmaState s = (<HmaState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = hma_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<HmaState*>state)[0] = s


cdef void chain_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef ChainState* s = <ChainState*>state
    cdef Py_ssize_t period = <Py_ssize_t>parameters[0]
    cdef int i
    for i in range(6):
        ema_init(&s.links[i], ema_alpha(period), period)


cdef void t3_make(void* state, const double* parameters, Room* room) noexcept nogil:
    chain_make(state, parameters, room)
    (<ChainState*>state).factor = parameters[1]


cdef void dema_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef ChainState s = (<ChainState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = dema_step(&s, value[i]) if usable(value[i]) else NAN
    if commit:
        (<ChainState*>state)[0] = s


cdef void tema_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef ChainState s = (<ChainState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = tema_step(&s, value[i]) if usable(value[i]) else NAN
    if commit:
        (<ChainState*>state)[0] = s


cdef void t3_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef ChainState s = (<ChainState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = t3_step(&s, value[i]) if usable(value[i]) else NAN
    if commit:
        (<ChainState*>state)[0] = s


cdef void kama_make(void* state, const double* parameters, Room* room) noexcept nogil:
    kama_init(<KamaState*>state, <Py_ssize_t>parameters[0], room)


cdef void kama_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef KamaState s = (<KamaState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = kama_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<KamaState*>state)[0] = s


cdef void line_make(void* state, const double* parameters, Room* room) noexcept nogil:
    line_init(<LineState*>state, <Py_ssize_t>parameters[0], room)


cdef inline void line_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit, bint sloped
) noexcept nogil:
    cdef LineState s = (<LineState*>state)[0]
    cdef Py_ssize_t i
    cdef double end, slope
    for i in range(count):
        end = slope = NAN
        if usable(x[0][i]):
            line_step(&s, x[0][i], &end, &slope, commit)
        y[0][i] = slope if sloped else end
    if commit:
        (<LineState*>state)[0] = s


cdef void linreg_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    line_run(state, x, y, count, commit, False)


cdef void slope_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    line_run(state, x, y, count, commit, True)


KERNELS = {
    "kama": make_kernel("kama", sizeof(KamaState), kama_make, kama_run),
    "linreg": make_kernel("linreg", sizeof(LineState), line_make, linreg_run),
    "linreg_slope": make_kernel("linreg_slope", sizeof(LineState), line_make, slope_run),
    "sma": make_kernel("sma", sizeof(SumState), sma_make, sma_run),
    "ema": make_kernel("ema", sizeof(EmaState), ema_make, ema_run),
    "rma": make_kernel("rma", sizeof(EmaState), rma_make, ema_run),
    "wma": make_kernel("wma", sizeof(WmaState), wma_make, wma_run),
    "hma": make_kernel("hma", sizeof(HmaState), hma_make, hma_run),
    "dema": make_kernel("dema", sizeof(ChainState), chain_make, dema_run),
    "tema": make_kernel("tema", sizeof(ChainState), chain_make, tema_run),
    "t3": make_kernel("t3", sizeof(ChainState), t3_make, t3_run),
}
