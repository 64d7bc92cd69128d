"""Volume indicators: init from parameters, and the run over rows."""

from libc.math cimport NAN

from klinecore.indicators.kernel cimport Room, make_kernel, usable

__all__ = ["KERNELS"]

cdef double DAY_MS = 86_400_000.0
cdef double MONDAY_MS = 4 * 86_400_000.0        # the epoch was a Thursday


cdef void mfi_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef MfiState* s = <MfiState*>state
    sum_init(&s.inflow, <Py_ssize_t>parameters[0], room)
    sum_init(&s.outflow, <Py_ssize_t>parameters[0], room)


cdef void mfi_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef MfiState s = (<MfiState*>state)[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]) and usable(x[2][i]) and usable(x[3][i]):
            out[i] = mfi_step(&s, x[0][i], x[1][i], x[2][i], x[3][i], commit)
        else:
            out[i] = NAN
    if commit:
        (<MfiState*>state)[0] = s


cdef void obv_make(void* state, const double* parameters, Room* room) noexcept nogil:
    (<ObvState*>state).from_first = parameters[0] == 0


cdef void obv_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef ObvState s = (<ObvState*>state)[0]
    cdef const double* close = x[0]
    cdef const double* volume = x[1]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(close[i]) and usable(volume[i]):
            out[i] = obv_step(&s, close[i], volume[i])
        else:
            out[i] = NAN
    if commit:
        (<ObvState*>state)[0] = s


cdef void vwap_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef VwapState* s = <VwapState*>state
    s.every_ms = 0.0 if parameters[0] == 0 else DAY_MS if parameters[0] == 1 else 7 * DAY_MS
    s.offset_ms = MONDAY_MS if parameters[0] == 2 else 0.0
    s.deviations = parameters[1]


cdef void vwap_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef VwapState s = (<VwapState*>state)[0]
    cdef Py_ssize_t i
    cdef double vwap, upper, lower
    for i in range(count):
        vwap = upper = lower = NAN
        if (
            usable(x[0][i]) and usable(x[1][i]) and usable(x[2][i]) and usable(x[3][i])
            and usable(x[4][i])
        ):
            vwap_step(
                &s, x[0][i], x[1][i], x[2][i], x[3][i], x[4][i], &vwap, &upper, &lower
            )
        y[0][i] = vwap
        y[1][i] = upper
        y[2][i] = lower
    if commit:
        (<VwapState*>state)[0] = s


cdef void pvi_make(void* state, const double* parameters, Room* room) noexcept nogil:
    (<PviState*>state).value = parameters[0]


cdef void pvi_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef PviState s = (<PviState*>state)[0]
    cdef const double* close = x[0]
    cdef const double* volume = x[1]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(close[i]) and usable(volume[i]):
            out[i] = pvi_step(&s, close[i], volume[i])
        else:
            out[i] = NAN
    if commit:
        (<PviState*>state)[0] = s


cdef void cmf_make(void* state, const double* parameters, Room* room) noexcept nogil:
    sum_init(&(<CmfState*>state).flow, <Py_ssize_t>parameters[0], room)
    sum_init(&(<CmfState*>state).volume, <Py_ssize_t>parameters[0], room)


cdef void cmf_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef CmfState s = (<CmfState*>state)[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]) and usable(x[2][i]) and usable(x[3][i]):
            y[0][i] = cmf_step(&s, x[0][i], x[1][i], x[2][i], x[3][i], commit)
        else:
            y[0][i] = NAN
    if commit:
        (<CmfState*>state)[0] = s


KERNELS = {
    "cmf": make_kernel("cmf", sizeof(CmfState), cmf_make, cmf_run),
    "mfi": make_kernel("mfi", sizeof(MfiState), mfi_make, mfi_run),
    "obv": make_kernel("obv", sizeof(ObvState), obv_make, obv_run),
    "vwap": make_kernel("vwap", sizeof(VwapState), vwap_make, vwap_run),
    "pvi": make_kernel("pvi", sizeof(PviState), pvi_make, pvi_run),
}
