"""Momentum indicators: init from parameters, and the run over rows."""

from libc.math cimport NAN

from klinecore.indicators.kernel cimport Room, make_kernel, usable
from klinecore.indicators.kernels.windows cimport LagState, lag_init, sum_init, top_init

__all__ = ["KERNELS"]


cdef void rsi_make(void* state, const double* parameters, Room* room) noexcept nogil:
    rsi_init(<RsiState*>state, <Py_ssize_t>parameters[0], parameters[1] != 0)


cdef void rsi_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef RsiState s = (<RsiState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = rsi_step(&s, value[i]) if usable(value[i]) else NAN
    if commit:
        (<RsiState*>state)[0] = s


cdef void macd_make(void* state, const double* parameters, Room* room) noexcept nogil:
    macd_init(
        <MacdState*>state,
        <Py_ssize_t>parameters[0],
        <Py_ssize_t>parameters[1],
        <Py_ssize_t>parameters[2],
        parameters[3] != 0,
    )


cdef void macd_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef MacdState s = (<MacdState*>state)[0]
    cdef const double* value = x[0]
    cdef Py_ssize_t i
    cdef double line, signal, hist
    for i in range(count):
        line = signal = hist = NAN
        if usable(value[i]):
            macd_step(&s, value[i], &line, &signal, &hist)
        y[0][i] = line
        y[1][i] = signal
        y[2][i] = hist
    if commit:
        (<MacdState*>state)[0] = s


cdef void stoch_make(void* state, const double* parameters, Room* room) noexcept nogil:
    stoch_init(
        <StochState*>state,
        <Py_ssize_t>parameters[0],
        <Py_ssize_t>parameters[1],
        <Py_ssize_t>parameters[2],
        True,
        room,
    )


cdef void stochf_make(void* state, const double* parameters, Room* room) noexcept nogil:
    stoch_init(
        <StochState*>state, <Py_ssize_t>parameters[0], 1, <Py_ssize_t>parameters[1], True, room
    )


cdef void stoch_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef StochState s = (<StochState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef Py_ssize_t i
    cdef double k, d
    for i in range(count):
        k = d = NAN
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            stoch_step(&s, high[i], low[i], close[i], &k, &d, commit)
        y[0][i] = k
        y[1][i] = d
    if commit:
        (<StochState*>state)[0] = s


cdef void stochrsi_make(void* state, const double* parameters, Room* room) noexcept nogil:
    stochrsi_init(
        <StochRsiState*>state,
        <Py_ssize_t>parameters[0],
        <Py_ssize_t>parameters[1],
        <Py_ssize_t>parameters[2],
        <Py_ssize_t>parameters[3],
        parameters[4] != 0,
        room,
    )


cdef void stochrsi_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef StochRsiState s = (<StochRsiState*>state)[0]
    cdef const double* value = x[0]
    cdef Py_ssize_t i
    cdef double k, d
    for i in range(count):
        k = d = NAN
        if usable(value[i]):
            stochrsi_step(&s, value[i], &k, &d, commit)
        y[0][i] = k
        y[1][i] = d
    if commit:
        (<StochRsiState*>state)[0] = s


cdef void cci_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cci_init(<CciState*>state, <Py_ssize_t>parameters[0], room)


cdef void cci_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef CciState s = (<CciState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            out[i] = cci_step(&s, high[i], low[i], close[i], commit)
        else:
            out[i] = NAN
    if commit:
        (<CciState*>state)[0] = s


cdef void lag_make(void* state, const double* parameters, Room* room) noexcept nogil:
    lag_init(<LagState*>state, <Py_ssize_t>parameters[0], room)


cdef void mom_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef LagState s = (<LagState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = mom_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<LagState*>state)[0] = s


cdef void roc_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef LagState s = (<LagState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = roc_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<LagState*>state)[0] = s


cdef void willr_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef WillrState* s = <WillrState*>state
    top_init(&s.top, <Py_ssize_t>parameters[0], room)
    top_init(&s.bottom, <Py_ssize_t>parameters[0], room)


cdef void willr_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef WillrState s = (<WillrState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            out[i] = willr_step(&s, high[i], low[i], close[i], commit)
        else:
            out[i] = NAN
    if commit:
        (<WillrState*>state)[0] = s


cdef void ao_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef AoState* s = <AoState*>state
    sum_init(&s.fast, <Py_ssize_t>parameters[0], room)
    sum_init(&s.slow, <Py_ssize_t>parameters[1], room)


cdef void ao_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef AoState s = (<AoState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(high[i]) and usable(low[i]):
            out[i] = ao_step(&s, high[i], low[i], commit)
        else:
            out[i] = NAN
    if commit:
        (<AoState*>state)[0] = s


cdef void ppo_make(void* state, const double* parameters, Room* room) noexcept nogil:
    ppo_init(<PpoState*>state, <Py_ssize_t>parameters[0], <Py_ssize_t>parameters[1])


cdef void ppo_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef PpoState s = (<PpoState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = ppo_step(&s, value[i]) if usable(value[i]) else NAN
    if commit:
        (<PpoState*>state)[0] = s


cdef void ultosc_make(void* state, const double* parameters, Room* room) noexcept nogil:
    ultosc_init(
        <UltoscState*>state,
        <Py_ssize_t>parameters[0],
        <Py_ssize_t>parameters[1],
        <Py_ssize_t>parameters[2],
        room,
    )


cdef void ultosc_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef UltoscState s = (<UltoscState*>state)[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]) and usable(x[2][i]):
            y[0][i] = ultosc_step(&s, x[0][i], x[1][i], x[2][i], commit)
        else:
            y[0][i] = NAN
    if commit:
        (<UltoscState*>state)[0] = s


KERNELS = {
    "ppo": make_kernel("ppo", sizeof(PpoState), ppo_make, ppo_run),
    "ultosc": make_kernel("ultosc", sizeof(UltoscState), ultosc_make, ultosc_run),
    "rsi": make_kernel("rsi", sizeof(RsiState), rsi_make, rsi_run),
    "macd": make_kernel("macd", sizeof(MacdState), macd_make, macd_run),
    "stoch": make_kernel("stoch", sizeof(StochState), stoch_make, stoch_run),
    "stochf": make_kernel("stochf", sizeof(StochState), stochf_make, stoch_run),
    "stochrsi": make_kernel("stochrsi", sizeof(StochRsiState), stochrsi_make, stochrsi_run),
    "cci": make_kernel("cci", sizeof(CciState), cci_make, cci_run),
    "roc": make_kernel("roc", sizeof(LagState), lag_make, roc_run),
    "mom": make_kernel("mom", sizeof(LagState), lag_make, mom_run),
    "willr": make_kernel("willr", sizeof(WillrState), willr_make, willr_run),
    "ao": make_kernel("ao", sizeof(AoState), ao_make, ao_run),
}
