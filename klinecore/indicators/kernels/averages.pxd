"""Moving averages, as states that are stepped on by one value."""

from libc.math cimport NAN, fabs, floor, sqrt

from klinecore.indicators.kernel cimport Room, room_take
from klinecore.indicators.kernels.windows cimport (
    SUM_LOSS, LagState, SumState, lag_init, lag_step, mean_step, sum_init, sum_step,
)

cdef struct EmaState:
    double alpha            # share of the newest value, 0 < alpha <= 1
    double value            # sum of the first values until there are ``seed`` of them
    Py_ssize_t seed         # values whose mean is the first output
    Py_ssize_t count        # values taken, up to seed; below 0: so many are passed over first

cdef struct ChainState:
    EmaState[6] links       # each smooths what the one before it gives
    double factor           # t3: 0 to 1

cdef struct WmaState:
    double* ring
    Py_ssize_t stride, period, slot, count
    double divisor          # 1 + 2 + ... + period
    double sum
    double weighted         # newest value times period, ..., oldest times 1

cdef struct KamaState:
    SumState way            # sizes of the changes
    LagState before
    double previous, value
    bint started

cdef struct LineState:
    double* ring
    Py_ssize_t period, slot, count

cdef struct HmaState:
    WmaState half, whole, last


cdef inline void ema_init(EmaState* s, double alpha, Py_ssize_t seed) noexcept nogil:
    s.alpha = alpha
    s.seed = seed
    s.value = 0.0
    s.count = 0


cdef inline double ema_alpha(Py_ssize_t period) noexcept nogil:
    return 2.0 / (period + 1)


cdef inline double ema_next(double average, double value, double alpha) noexcept nogil:
    """The average one value on. In this form an average that is the value stays exactly so."""
    return average + (value - average) * alpha


cdef inline double ema_step(EmaState* s, double value) noexcept nogil:
    """NaN until there are ``seed`` values; the mean of those, as TA-Lib seeds; then smoothed."""
    if s.count >= s.seed:
        s.value = ema_next(s.value, value, s.alpha)
        return s.value
    s.count += 1
    if s.count <= 0:
        return NAN
    s.value += value
    if s.count < s.seed:
        return NAN
    s.value /= s.seed
    return s.value


cdef inline double chain_step(ChainState* s, double value, int links, double* out) noexcept nogil:
    """Feed the chain; ``out`` gets each link's output. Returns the last one's, NaN until it is."""
    cdef int i
    for i in range(links):
        value = ema_step(&s.links[i], value)
        if value != value:
            return NAN
        out[i] = value
    return value


cdef inline double dema_step(ChainState* s, double value) noexcept nogil:
    cdef double[6] e
    if chain_step(s, value, 2, e) != e[1]:
        return NAN
    return 2.0 * e[0] - e[1]


cdef inline double tema_step(ChainState* s, double value) noexcept nogil:
    cdef double[6] e
    if chain_step(s, value, 3, e) != e[2]:
        return NAN
    return 3.0 * e[0] - 3.0 * e[1] + e[2]


cdef inline double t3_step(ChainState* s, double value) noexcept nogil:
    cdef double[6] e
    cdef double v = s.factor
    if chain_step(s, value, 6, e) != e[5]:
        return NAN
    return (
        -v * v * v * e[5]
        + 3.0 * (v * v + v * v * v) * e[4]
        + (-6.0 * v * v - 3.0 * (v + v * v * v)) * e[3]
        + (1.0 + 3.0 * v + v * v * v + 3.0 * v * v) * e[2]
    )


cdef inline void wma_init(WmaState* s, Py_ssize_t period, Room* room) noexcept nogil:
    s.stride = 1
    s.period = period
    s.divisor = 0.5 * period * (period + 1)
    s.ring = room_take(room, period)


cdef inline void wma_exact(WmaState* s, double value) noexcept nogil:
    """Both sums from the ring, oldest first, with ``value`` in the current slot."""
    cdef Py_ssize_t i, slot = s.slot
    cdef double one
    s.sum = s.weighted = 0.0
    for i in range(1, s.period + 1):
        slot = slot + 1 if slot + 1 < s.period else 0
        one = value if slot == s.slot else s.ring[slot * s.stride]
        s.sum += one
        s.weighted += one * i


cdef inline double wma_step(WmaState* s, double value, bint commit) noexcept nogil:
    """Mean weighted 1 for the oldest to ``period`` for the newest; NaN until there are as many."""
    cdef double gone = s.ring[s.slot * s.stride]
    s.weighted += value * s.period - s.sum
    s.sum += value - gone
    if s.slot + 1 == s.period or fabs(s.sum) * SUM_LOSS < fabs(gone):
        wma_exact(s, value)
    if commit:
        s.ring[s.slot * s.stride] = value
    s.slot = s.slot + 1 if s.slot + 1 < s.period else 0
    if s.count + 1 < s.period:
        s.count += 1
        return NAN
    return s.weighted / s.divisor


cdef inline void hma_init(HmaState* s, Py_ssize_t period, Room* room) noexcept nogil:
    wma_init(&s.half, period // 2 if period > 1 else 1, room)
    wma_init(&s.whole, period, room)
    wma_init(&s.last, <Py_ssize_t>floor(sqrt(<double>period)), room)


cdef inline double hma_step(HmaState* s, double value, bint commit) noexcept nogil:
    cdef double half = wma_step(&s.half, value, commit)
    cdef double whole = wma_step(&s.whole, value, commit)
    if whole != whole:
        return NAN
    return wma_step(&s.last, 2.0 * half - whole, commit)


cdef inline void kama_init(KamaState* s, Py_ssize_t period, Room* room) noexcept nogil:
    sum_init(&s.way, period, room)
    lag_init(&s.before, period, room)


cdef inline double kama_step(KamaState* s, double value, bint commit) noexcept nogil:
    """Smoothed the less, the more of the way prices went led somewhere."""
    cdef double change = value - lag_step(&s.before, value, commit), way = NAN, share = 1.0
    cdef double previous = s.previous
    s.previous = value
    if s.started:
        way = sum_step(&s.way, fabs(value - previous), commit)
    s.started = True
    if way != way:
        return NAN
    if s.before.count == s.before.period:
        # TA-Lib starts from the value before the first output.
        s.before.count += 1
        s.value = previous
    if way > 0:
        share = fabs(change / way)
    share = share * (2.0 / 3.0 - 2.0 / 31.0) + 2.0 / 31.0
    s.value = ema_next(s.value, value, share * share)
    return s.value


cdef inline void line_init(LineState* s, Py_ssize_t period, Room* room) noexcept nogil:
    s.period = period
    s.ring = room_take(room, period)


cdef inline bint line_step(
    LineState* s, double value, double* end, double* slope, bint commit
) noexcept nogil:
    """End and slope of the straight line of least squares; False until there are enough values."""
    cdef double gone = s.ring[s.slot], total = 0.0, weighted = 0.0
    cdef Py_ssize_t slot = s.slot, i
    cdef bint full = s.count + 1 >= s.period
    s.ring[s.slot] = value
    if full:
        # Of offsets from the newest value: where prices stand still, both are exactly that.
        for i in range(1, s.period + 1):
            slot = slot + 1 if slot + 1 < s.period else 0
            total += s.ring[slot] - value
            weighted += (s.ring[slot] - value) * i
        total /= s.period
        weighted /= 0.5 * s.period * (s.period + 1)
        end[0] = value + (3.0 * weighted - 2.0 * total)
        slope[0] = 6.0 * (weighted - total) / (s.period - 1)
    else:
        s.count += 1
    if not commit:
        s.ring[s.slot] = gone
    s.slot = s.slot + 1 if s.slot + 1 < s.period else 0
    return full
