"""Trend indicators, as states that are stepped on by one row."""

from libc.math cimport NAN, fabs

from klinecore.indicators.kernel cimport Room, room_take
from klinecore.indicators.kernels.averages cimport EmaState, ema_init, ema_step
from klinecore.indicators.kernels.volatility cimport AtrState, atr_init, atr_step, true_range
from klinecore.indicators.kernels.windows cimport TopState, bottom_step, larger, top_init, top_step

cdef struct DirectionState:
    double high, low, close     # of the row before
    double plus, minus, range   # Wilder's sums
    Py_ssize_t period, count
    double share                # 1 / period
    double plus_di, minus_di
    bint tradingview            # the sums start from ``period`` rows, not from one less

cdef struct AdxState:
    DirectionState direction
    EmaState average

cdef struct SuperState:
    AtrState atr
    double multiplier, upper, lower, previous
    int direction               # 1 up, -1 down, 0 not yet
    int shown_up                # what ``direction`` up is shown as

cdef struct SarState:
    double step, limit, factor  # acceleration
    double extreme, stop
    double high, low            # of the row before
    int count                   # rows taken, up to 2
    bint rising

cdef struct AgeState:
    double* ring
    Py_ssize_t period, slot, count  # the window is one row longer than the period
    double best                     # largest of the window
    Py_ssize_t age                  # rows since it

cdef struct AroonState:
    AgeState top, bottom

cdef struct IchimokuState:
    TopState[3] top, bottom         # of the conversion, the base and the second span

cdef struct AshiState:
    double open, close
    bint started


cdef inline void direction_init(
    DirectionState* s, Py_ssize_t period, bint tradingview
) noexcept nogil:
    s.period = period
    s.share = 1.0 / period
    s.tradingview = tradingview


cdef inline bint direction_step(
    DirectionState* s, double high, double low, double close
) noexcept nogil:
    """Move ``plus_di`` and ``minus_di`` on; False until they are defined."""
    cdef double up = high - s.high, down = s.low - low, size = true_range(high, low, s.close)
    # The larger of both, if it is above 0, counts for its side.
    cdef double plus = larger(up, 0.0) * (up > down)
    cdef double minus = larger(down, 0.0) * (down > up)
    s.high = high
    s.low = low
    s.close = close
    if s.count == 0:
        s.count = 1
        return False
    if s.count > s.period or (s.count == s.period and not s.tradingview):
        s.plus -= s.plus * s.share
        s.minus -= s.minus * s.share
        s.range -= s.range * s.share
    s.plus += plus
    s.minus += minus
    s.range += size
    if s.count < s.period:
        s.count += 1
        return False
    s.count = s.period + 1
    if s.range > 0:
        s.plus_di = 100.0 * (s.plus / s.range)
        s.minus_di = 100.0 * (s.minus / s.range)
    elif not s.tradingview:
        s.plus_di = s.minus_di = 0.0
    return True


cdef inline double adx_step(AdxState* s, double high, double low, double close) noexcept nogil:
    cdef DirectionState* d = &s.direction
    cdef double total
    if not direction_step(d, high, low, close):
        return NAN
    total = d.plus_di + d.minus_di
    if total > 0:
        return ema_step(&s.average, 100.0 * (fabs(d.plus_di - d.minus_di) / total))
    # No movement at all: TA-Lib counts it as 0 while seeding and passes over it afterwards.
    if d.tradingview or s.average.count < s.average.seed:
        return ema_step(&s.average, 0.0)
    return s.average.value


cdef inline void super_init(
    SuperState* s, Py_ssize_t period, double multiplier, bint tradingview
) noexcept nogil:
    atr_init(&s.atr, period, tradingview)
    s.multiplier = multiplier
    s.direction = 0
    s.shown_up = -1 if tradingview else 1


cdef inline void super_step(
    SuperState* s, double high, double low, double close, double* line, double* trend
) noexcept nogil:
    cdef double atr = atr_step(&s.atr, high, low, close)
    cdef double middle = (high + low) / 2.0, upper, lower
    if atr != atr:
        return
    upper = middle + s.multiplier * atr
    lower = middle - s.multiplier * atr
    if s.direction == 0:
        # TA-Lib starts up, Pine's ta.supertrend down.
        s.direction = s.shown_up
        s.upper = upper
        s.lower = lower
    else:
        if upper < s.upper or s.previous > s.upper:
            s.upper = upper
        if lower > s.lower or s.previous < s.lower:
            s.lower = lower
        if s.direction > 0 and close < s.lower:
            s.direction = -1
        elif s.direction < 0 and close > s.upper:
            s.direction = 1
    s.previous = close
    line[0] = s.lower if s.direction > 0 else s.upper
    trend[0] = s.direction * s.shown_up


cdef inline double highest_of(double a, double b, double c) noexcept nogil:
    return larger(larger(a, b), c)


cdef inline double lowest_of(double a, double b, double c) noexcept nogil:
    return -larger(larger(-a, -b), -c)


cdef inline double sar_step(SarState* s, double high, double low) noexcept nogil:
    cdef double shown, before_high = s.high, before_low = s.low
    s.high = high
    s.low = low
    if s.count < 2:
        s.count += 1
        if s.count == 1:
            return NAN
        s.rising = not (before_low - low > 0 and before_low - low > high - before_high)
        s.factor = s.step
        s.extreme = high if s.rising else low
        s.stop = before_low if s.rising else before_high
        # The first row is only the stop: it does not bound what the second one may do.
        before_high = high
        before_low = low
    if s.rising and low <= s.stop:
        s.rising = False
        shown = highest_of(s.extreme, before_high, high)
        s.factor = s.step
        s.extreme = low
        s.stop = highest_of(shown + s.factor * (s.extreme - shown), before_high, high)
        return shown
    if not s.rising and high >= s.stop:
        s.rising = True
        shown = lowest_of(s.extreme, before_low, low)
        s.factor = s.step
        s.extreme = high
        s.stop = lowest_of(shown + s.factor * (s.extreme - shown), before_low, low)
        return shown
    shown = s.stop
    if (high > s.extreme) if s.rising else (low < s.extreme):
        s.extreme = high if s.rising else low
        s.factor += s.step
        if s.factor > s.limit:
            s.factor = s.limit
    s.stop = shown + s.factor * (s.extreme - shown)
    if s.rising:
        s.stop = lowest_of(s.stop, before_low, low)
    else:
        s.stop = highest_of(s.stop, before_high, high)
    return shown


cdef inline void ashi_step(
    AshiState* s, double first, double high, double low, double last,
    double* open, double* top, double* bottom, double* close,
) noexcept nogil:
    open[0] = (s.open + s.close) / 2.0 if s.started else (first + last) / 2.0
    close[0] = (first + high + low + last) / 4.0
    top[0] = highest_of(high, open[0], close[0])
    bottom[0] = lowest_of(low, open[0], close[0])
    s.started = True
    s.open = open[0]
    s.close = close[0]


cdef inline void age_init(AgeState* s, Py_ssize_t period, Room* room) noexcept nogil:
    s.period = period
    s.ring = room_take(room, period + 1)


cdef inline void age_step(AgeState* s, double value, bint commit) noexcept nogil:
    """Move the newest of the largest values on; ``count`` says how many rows there are."""
    cdef double gone = s.ring[s.slot]
    cdef Py_ssize_t slot, i
    s.ring[s.slot] = value
    s.age += 1
    if s.count == 0 or value >= s.best:
        s.best = value
        s.age = 0
    elif s.age > s.period:
        s.best = value
        slot = s.slot
        for i in range(s.period + 1):
            if s.ring[slot] > s.best or i == 0:
                s.best = s.ring[slot]
                s.age = i
            slot = slot - 1 if slot > 0 else s.period
    if s.count <= s.period:
        s.count += 1
    if not commit:
        s.ring[s.slot] = gone
    s.slot = s.slot + 1 if s.slot < s.period else 0


cdef inline void aroon_step(
    AroonState* s, double high, double low, double* up, double* down, double* oscillator,
    bint commit,
) noexcept nogil:
    cdef Py_ssize_t period = s.top.period
    age_step(&s.top, high, commit)
    age_step(&s.bottom, -low, commit)
    if s.top.count <= period:
        return
    up[0] = 100.0 * (period - s.top.age) / period
    down[0] = 100.0 * (period - s.bottom.age) / period
    oscillator[0] = up[0] - down[0]


cdef inline void ichimoku_init(
    IchimokuState* s, const double* periods, Room* room
) noexcept nogil:
    cdef int i
    for i in range(3):
        top_init(&s.top[i], <Py_ssize_t>periods[i], room)
        top_init(&s.bottom[i], <Py_ssize_t>periods[i], room)


cdef inline void ichimoku_step(
    IchimokuState* s, double high, double low,
    double* conversion, double* base, double* span_a, double* span_b, bint commit,
) noexcept nogil:
    cdef double[3] middle
    cdef int i
    for i in range(3):
        middle[i] = top_step(&s.top[i], high, commit) + bottom_step(&s.bottom[i], low, commit)
        middle[i] /= 2.0
    conversion[0] = middle[0]
    base[0] = middle[1]
    span_a[0] = (middle[0] + middle[1]) / 2.0
    span_b[0] = middle[2]
