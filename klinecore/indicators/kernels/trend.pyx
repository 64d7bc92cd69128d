"""Trend indicators: init from parameters, and the run over rows."""

from libc.math cimport NAN

from klinecore.indicators.kernel cimport Room, make_kernel, usable
from klinecore.indicators.kernels.averages cimport ema_init

__all__ = ["KERNELS"]


cdef void direction_make(void* state, const double* parameters, Room* room) noexcept nogil:
    direction_init(<DirectionState*>state, <Py_ssize_t>parameters[0], parameters[1] != 0)


cdef void plus_di_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef DirectionState s = (<DirectionState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = NAN
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            if direction_step(&s, high[i], low[i], close[i]):
                out[i] = s.plus_di
    if commit:
        (<DirectionState*>state)[0] = s


cdef void minus_di_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef DirectionState s = (<DirectionState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = NAN
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            if direction_step(&s, high[i], low[i], close[i]):
                out[i] = s.minus_di
    if commit:
        (<DirectionState*>state)[0] = s


cdef void adx_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef AdxState* s = <AdxState*>state
    cdef Py_ssize_t period = <Py_ssize_t>parameters[0]
    direction_init(&s.direction, period, parameters[1] != 0)
    ema_init(&s.average, 1.0 / period, period)


cdef void adx_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef AdxState s = (<AdxState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            out[i] = adx_step(&s, high[i], low[i], close[i])
        else:
            out[i] = NAN
    if commit:
        (<AdxState*>state)[0] = s


cdef void supertrend_make(void* state, const double* parameters, Room* room) noexcept nogil:
    super_init(
        <SuperState*>state, <Py_ssize_t>parameters[0], parameters[1], parameters[2] != 0
    )


cdef void supertrend_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef SuperState s = (<SuperState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef const double* close = x[2]
    cdef Py_ssize_t i
    cdef double line, trend
    for i in range(count):
        line = trend = NAN
        if usable(high[i]) and usable(low[i]) and usable(close[i]):
            super_step(&s, high[i], low[i], close[i], &line, &trend)
        y[0][i] = line
        y[1][i] = trend
    if commit:
        (<SuperState*>state)[0] = s


cdef void sar_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef SarState* s = <SarState*>state
    s.limit = parameters[1]
    s.step = parameters[0] if parameters[0] < s.limit else s.limit


cdef void sar_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef SarState s = (<SarState*>state)[0]
    cdef const double* high = x[0]
    cdef const double* low = x[1]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = sar_step(&s, high[i], low[i]) if usable(high[i]) and usable(low[i]) else NAN
    if commit:
        (<SarState*>state)[0] = s


cdef void heikin_ashi_make(void* state, const double* parameters, Room* room) noexcept nogil:
    (<AshiState*>state).started = False


cdef void heikin_ashi_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef AshiState s = (<AshiState*>state)[0]
    cdef Py_ssize_t i
    cdef double open, high, low, close
    for i in range(count):
        open = high = low = close = NAN
        if usable(x[0][i]) and usable(x[1][i]) and usable(x[2][i]) and usable(x[3][i]):
            ashi_step(&s, x[0][i], x[1][i], x[2][i], x[3][i], &open, &high, &low, &close)
        y[0][i] = open
        y[1][i] = high
        y[2][i] = low
        y[3][i] = close
    if commit:
        (<AshiState*>state)[0] = s


cdef void aroon_make(void* state, const double* parameters, Room* room) noexcept nogil:
    age_init(&(<AroonState*>state).top, <Py_ssize_t>parameters[0], room)
    age_init(&(<AroonState*>state).bottom, <Py_ssize_t>parameters[0], room)


cdef void aroon_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef AroonState s = (<AroonState*>state)[0]
    cdef Py_ssize_t i
    cdef double up, down, oscillator
    for i in range(count):
        up = down = oscillator = NAN
        if usable(x[0][i]) and usable(x[1][i]):
            aroon_step(&s, x[0][i], x[1][i], &up, &down, &oscillator, commit)
        y[0][i] = up
        y[1][i] = down
        y[2][i] = oscillator
    if commit:
        (<AroonState*>state)[0] = s


cdef void ichimoku_make(void* state, const double* parameters, Room* room) noexcept nogil:
    ichimoku_init(<IchimokuState*>state, parameters, room)


cdef void ichimoku_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef IchimokuState s = (<IchimokuState*>state)[0]
    cdef Py_ssize_t i
    cdef double conversion, base, span_a, span_b
    for i in range(count):
        conversion = base = span_a = span_b = NAN
        if usable(x[0][i]) and usable(x[1][i]):
            ichimoku_step(
                &s, x[0][i], x[1][i], &conversion, &base, &span_a, &span_b, commit
            )
        y[0][i] = conversion
        y[1][i] = base
        y[2][i] = span_a
        y[3][i] = span_b
    if commit:
        (<IchimokuState*>state)[0] = s


KERNELS = {
    "aroon": make_kernel("aroon", sizeof(AroonState), aroon_make, aroon_run),
    "ichimoku": make_kernel("ichimoku", sizeof(IchimokuState), ichimoku_make, ichimoku_run),
    "adx": make_kernel("adx", sizeof(AdxState), adx_make, adx_run),
    "plus_di": make_kernel("plus_di", sizeof(DirectionState), direction_make, plus_di_run),
    "minus_di": make_kernel("minus_di", sizeof(DirectionState), direction_make, minus_di_run),
    "supertrend": make_kernel(
        "supertrend", sizeof(SuperState), supertrend_make, supertrend_run
    ),
    "sar": make_kernel("sar", sizeof(SarState), sar_make, sar_run),
    "heikin_ashi": make_kernel(
        "heikin_ashi", sizeof(AshiState), heikin_ashi_make, heikin_ashi_run
    ),
}
