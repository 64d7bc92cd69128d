"""Volatility indicators, as states that are stepped on by one row."""

from libc.math cimport NAN, fabs, log10, sqrt

from klinecore.indicators.kernel cimport Room
from klinecore.indicators.kernels.averages cimport EmaState, ema_alpha, ema_init, ema_step
from klinecore.indicators.kernels.windows cimport (
    MomentState, SumState, TopState, bottom_step, larger, moment_mean, moment_step, sum_init,
    sum_step, top_init, top_step,
)

cdef struct BandState:
    MomentState moments
    double deviations

cdef struct RangeState:
    double previous         # close of the row before
    bint started
    bint from_first         # the first row's range is high - low; else it has none

cdef struct AtrState:
    RangeState range
    EmaState average

cdef struct KeltnerState:
    AtrState atr
    EmaState middle
    double multiplier
    bint of_close           # the middle averages closes; else typical prices

cdef struct DonchianState:
    TopState top, bottom

cdef struct ChopState:
    RangeState range
    SumState ranges
    TopState top, bottom
    double scale


cdef inline void bb_step(
    BandState* s, double value, double* upper, double* middle, double* lower, double* width,
    bint commit,
) noexcept nogil:
    cdef double reach
    if not moment_step(&s.moments, value, commit):
        return
    reach = s.deviations * sqrt(s.moments.squares * s.moments.share)
    middle[0] = moment_mean(&s.moments)
    upper[0] = middle[0] + reach
    lower[0] = middle[0] - reach
    width[0] = 2.0 * reach / middle[0] if middle[0] != 0 else NAN


cdef inline double true_range(double high, double low, double previous) noexcept nogil:
    """Range of a row together with the close before it."""
    return larger(high - low, larger(fabs(high - previous), fabs(low - previous)))


cdef inline double range_step(
    RangeState* s, double high, double low, double close
) noexcept nogil:
    """True range; NaN for the first row unless ``from_first``."""
    cdef double previous = s.previous
    s.previous = close
    if not s.started:
        s.started = True
        return high - low if s.from_first else NAN
    return true_range(high, low, previous)


cdef inline void atr_init(AtrState* s, Py_ssize_t period, bint tradingview) noexcept nogil:
    s.range.started = False
    s.range.from_first = tradingview
    ema_init(&s.average, 1.0 / period, period)


cdef inline double atr_step(AtrState* s, double high, double low, double close) noexcept nogil:
    cdef double size = range_step(&s.range, high, low, close)
    return ema_step(&s.average, size) if size == size else NAN


cdef inline double natr_step(AtrState* s, double high, double low, double close) noexcept nogil:
    cdef double atr = atr_step(s, high, low, close)
    if close == 0:
        return 0.0 if atr == atr else NAN
    return 100.0 * (atr / close)


cdef inline void keltner_init(
    KeltnerState* s, Py_ssize_t period, Py_ssize_t atr_period, double multiplier, bint tradingview
) noexcept nogil:
    cdef Py_ssize_t ahead = period - 1 - atr_period
    atr_init(&s.atr, atr_period, tradingview)
    ema_init(&s.middle, ema_alpha(period), period)
    s.multiplier = multiplier
    s.of_close = tradingview
    if not tradingview:
        # In TA-Lib both seeds end at the first row that has both.
        s.atr.average.count = -ahead if ahead > 0 else 0
        s.middle.count = ahead if ahead < 0 else 0


cdef inline void keltner_step(
    KeltnerState* s, double high, double low, double close,
    double* upper, double* middle, double* lower,
) noexcept nogil:
    cdef double atr = atr_step(&s.atr, high, low, close)
    middle[0] = ema_step(&s.middle, close if s.of_close else (high + low + close) / 3.0)
    if atr != atr:
        middle[0] = NAN
    upper[0] = middle[0] + s.multiplier * atr
    lower[0] = middle[0] - s.multiplier * atr


cdef inline void donchian_step(
    DonchianState* s, double high, double low, double* upper, double* middle, double* lower,
    bint commit,
) noexcept nogil:
    upper[0] = top_step(&s.top, high, commit)
    lower[0] = bottom_step(&s.bottom, low, commit)
    middle[0] = (upper[0] + lower[0]) / 2.0


cdef inline void chop_init(ChopState* s, Py_ssize_t period, Room* room) noexcept nogil:
    s.range.started = False
    s.range.from_first = False
    sum_init(&s.ranges, period, room)
    top_init(&s.top, period, room)
    top_init(&s.bottom, period, room)
    s.scale = 100.0 / log10(<double>period)


cdef inline double chop_step(
    ChopState* s, double high, double low, double close, bint commit
) noexcept nogil:
    cdef double size = range_step(&s.range, high, low, close)
    cdef double total = sum_step(&s.ranges, size, commit) if size == size else NAN
    cdef double top = top_step(&s.top, high, commit)
    cdef double bottom = bottom_step(&s.bottom, low, commit)
    return s.scale * log10(total / (top - bottom)) if top > bottom and total > 0 else NAN
