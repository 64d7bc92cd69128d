"""Momentum indicators, as states that are stepped on by one row."""

from libc.math cimport NAN, fabs

from klinecore.indicators.kernel cimport Room, room_take
from klinecore.indicators.kernels.averages cimport EmaState, ema_alpha, ema_init, ema_step
from klinecore.indicators.kernels.windows cimport (
    LagState, SumState, TopState, bottom_step, lag_step, larger, mean_step, sum_init, sum_step,
    top_init, top_step,
)

cdef struct RsiState:
    EmaState gain, loss
    double previous
    double flat             # what a series that never moved gives
    bint started

cdef struct MacdState:
    EmaState fast, slow, signal
    bint together           # line and histogram wait for the signal

cdef struct StochState:
    TopState top, bottom
    SumState k, d
    double still            # extremes no further apart than this are the same
    bint together           # k waits for d

cdef struct StochRsiState:
    RsiState rsi
    StochState stoch

cdef struct CciState:
    double* ring
    Py_ssize_t period, slot, count

cdef struct WillrState:
    TopState top, bottom

cdef struct PpoState:
    EmaState fast, slow

cdef struct UltoscState:
    SumState[3] pressure, range     # of the short, the middle and the long window
    double previous                 # close of the row before
    bint started

cdef struct AoState:
    SumState fast, slow


cdef inline void rsi_init(RsiState* s, Py_ssize_t period, bint tradingview) noexcept nogil:
    ema_init(&s.gain, 1.0 / period, period)
    ema_init(&s.loss, 1.0 / period, period)
    s.flat = 100.0 if tradingview else 0.0
    s.started = False


cdef inline double rsi_of(double gain, double loss, double flat) noexcept nogil:
    return 100.0 * (gain / (gain + loss)) if gain + loss != 0 else flat


cdef inline double rsi_step(RsiState* s, double value) noexcept nogil:
    cdef double change = value - s.previous, gain, loss
    s.previous = value
    if not s.started:
        s.started = True
        return NAN
    gain = ema_step(&s.gain, larger(change, 0.0))
    loss = ema_step(&s.loss, larger(-change, 0.0))
    return rsi_of(gain, loss, s.flat)


cdef inline void macd_init(
    MacdState* s, Py_ssize_t fast, Py_ssize_t slow, Py_ssize_t signal, bint tradingview
) noexcept nogil:
    if fast > slow:
        fast, slow = slow, fast
    ema_init(&s.fast, ema_alpha(fast), fast)
    ema_init(&s.slow, ema_alpha(slow), slow)
    ema_init(&s.signal, ema_alpha(signal), signal)
    s.together = not tradingview
    if not tradingview:
        # TA-Lib seeds the fast average on the values that end where the slow one's seed ends.
        s.fast.count = fast - slow


cdef inline void macd_step(
    MacdState* s, double value, double* line, double* signal, double* hist
) noexcept nogil:
    cdef double fast = ema_step(&s.fast, value), slow = ema_step(&s.slow, value)
    line[0] = fast - slow
    signal[0] = NAN
    if line[0] == line[0]:
        signal[0] = ema_step(&s.signal, line[0])
    hist[0] = line[0] - signal[0]
    if s.together and signal[0] != signal[0]:
        line[0] = NAN


cdef inline void stoch_init(
    StochState* s, Py_ssize_t period, Py_ssize_t smooth, Py_ssize_t d, bint together, Room* room
) noexcept nogil:
    top_init(&s.top, period, room)
    top_init(&s.bottom, period, room)
    sum_init(&s.k, smooth, room)
    sum_init(&s.d, d, room)
    s.still = 0.0
    s.together = together


cdef inline void stoch_step(
    StochState* s, double high, double low, double close, double* k, double* d, bint commit
) noexcept nogil:
    cdef double top = top_step(&s.top, high, commit)
    cdef double bottom = bottom_step(&s.bottom, low, commit)
    k[0] = d[0] = NAN
    if top != top:
        return
    k[0] = mean_step(
        &s.k,
        100.0 * ((close - bottom) / (top - bottom)) if top - bottom > s.still else 0.0,
        commit,
    )
    if k[0] == k[0]:
        d[0] = mean_step(&s.d, k[0], commit)
    if s.together and d[0] != d[0]:
        k[0] = NAN


cdef inline void stochrsi_init(
    StochRsiState* s, Py_ssize_t period, Py_ssize_t length, Py_ssize_t smooth, Py_ssize_t d,
    bint tradingview, Room* room,
) noexcept nogil:
    rsi_init(&s.rsi, period, tradingview)
    stoch_init(&s.stoch, length, smooth, d, not tradingview, room)
    # While prices stand still the RSI does too, but for its last bits, which would be blown up.
    s.stoch.still = 1e-10


cdef inline void stochrsi_step(
    StochRsiState* s, double value, double* k, double* d, bint commit
) noexcept nogil:
    cdef double rsi = rsi_step(&s.rsi, value)
    k[0] = d[0] = NAN
    if rsi == rsi:
        stoch_step(&s.stoch, rsi, rsi, rsi, k, d, commit)


cdef inline void cci_init(CciState* s, Py_ssize_t period, Room* room) noexcept nogil:
    s.period = period
    s.ring = room_take(room, period)


cdef inline double offset_sum(const double* ring, Py_ssize_t size, double base) noexcept nogil:
    """Sum of ring - base; four at a time, since each addition waits for the one before it."""
    cdef double a = 0.0, b = 0.0, c = 0.0, d = 0.0
    cdef Py_ssize_t i = 0
    while i + 4 <= size:
        a += ring[i] - base
        b += ring[i + 1] - base
        c += ring[i + 2] - base
        d += ring[i + 3] - base
        i += 4
    while i < size:
        a += ring[i] - base
        i += 1
    return (a + b) + (c + d)


cdef inline double distance_sum(
    const double* ring, Py_ssize_t size, double base, double mean
) noexcept nogil:
    """Sum of |ring - base - mean|, likewise."""
    cdef double a = 0.0, b = 0.0, c = 0.0, d = 0.0
    cdef Py_ssize_t i = 0
    while i + 4 <= size:
        a += fabs(ring[i] - base - mean)
        b += fabs(ring[i + 1] - base - mean)
        c += fabs(ring[i + 2] - base - mean)
        d += fabs(ring[i + 3] - base - mean)
        i += 4
    while i < size:
        a += fabs(ring[i] - base - mean)
        i += 1
    return (a + b) + (c + d)


cdef inline double cci_step(
    CciState* s, double high, double low, double close, bint commit
) noexcept nogil:
    cdef double typical = (high + low + close) / 3.0
    cdef double mean = 0.0, deviation = 0.0
    cdef double gone = s.ring[s.slot]
    cdef bint full = s.count + 1 >= s.period
    # The window is read as it would be; a preview puts the ring back as it was.
    s.ring[s.slot] = typical
    if full:
        # Offsets from today's value keep the digits that a sum of prices would lose.
        mean = offset_sum(s.ring, s.period, typical) / s.period
        deviation = distance_sum(s.ring, s.period, typical, mean) / s.period
    else:
        s.count += 1
    if not commit:
        s.ring[s.slot] = gone
    s.slot = s.slot + 1 if s.slot + 1 < s.period else 0
    if not full:
        return NAN
    # Typical prices that differ by rounding alone would give +-67 out of nothing.
    return -mean / (0.015 * deviation) if deviation > 1e-14 * fabs(typical) else 0.0


cdef inline double mom_step(LagState* s, double value, bint commit) noexcept nogil:
    return value - lag_step(s, value, commit)


cdef inline double roc_step(LagState* s, double value, bint commit) noexcept nogil:
    cdef double before = lag_step(s, value, commit)
    return (value / before - 1.0) * 100.0 if before != 0 else 0.0


cdef inline double willr_step(
    WillrState* s, double high, double low, double close, bint commit
) noexcept nogil:
    cdef double top = top_step(&s.top, high, commit)
    cdef double bottom = bottom_step(&s.bottom, low, commit)
    return -100.0 * ((top - close) / (top - bottom)) if top != bottom else 0.0


cdef inline double ao_step(AoState* s, double high, double low, bint commit) noexcept nogil:
    cdef double median = (high + low) / 2.0
    cdef double fast = mean_step(&s.fast, median, commit)
    return fast - mean_step(&s.slow, median, commit)


cdef inline void ppo_init(PpoState* s, Py_ssize_t fast, Py_ssize_t slow) noexcept nogil:
    if fast > slow:
        fast, slow = slow, fast
    ema_init(&s.fast, ema_alpha(fast), fast)
    ema_init(&s.slow, ema_alpha(slow), slow)


cdef inline double ppo_step(PpoState* s, double value) noexcept nogil:
    cdef double fast = ema_step(&s.fast, value), slow = ema_step(&s.slow, value)
    return 100.0 * ((fast - slow) / slow) if slow != 0 else 0.0


cdef inline void ultosc_init(
    UltoscState* s, Py_ssize_t a, Py_ssize_t b, Py_ssize_t c, Room* room
) noexcept nogil:
    cdef int i
    # The shortest window weighs most, in whatever order they are given.
    if a > b:
        a, b = b, a
    if b > c:
        b, c = c, b
    if a > b:
        a, b = b, a
    for i in range(3):
        sum_init(&s.pressure[i], a if i == 0 else b if i == 1 else c, room)
        sum_init(&s.range[i], a if i == 0 else b if i == 1 else c, room)


cdef inline double ultosc_step(
    UltoscState* s, double high, double low, double close, bint commit
) noexcept nogil:
    cdef double previous = s.previous, total = 0.0, pressure, size
    cdef int i
    s.previous = close
    if not s.started:
        s.started = True
        return NAN
    for i in range(3):
        pressure = sum_step(&s.pressure[i], close + larger(-low, -previous), commit)
        size = sum_step(
            &s.range[i], larger(high - low, larger(fabs(previous - high), fabs(previous - low))),
            commit,
        )
        if size != size:
            total = NAN
        elif size > 0:
            total += (4 >> i) * (pressure / size)
    return 100.0 * (total / 7.0)
