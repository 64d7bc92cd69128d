"""Volume indicators, as states that are stepped on by one row."""

from libc.math cimport NAN, fabs, floor, sqrt

from klinecore.indicators.kernel cimport Room, usable
from klinecore.indicators.kernels.windows cimport SumState, sum_init, sum_step

cdef struct MfiState:
    SumState inflow, outflow
    double previous         # typical price of the row before
    bint started

cdef struct CmfState:
    SumState flow, volume

cdef struct ObvState:
    double previous         # close of the row before
    double total
    bint started
    bint from_first         # the first row's volume counts

cdef struct VwapState:
    double every_ms         # length of an anchored stretch; 0: one stretch, from the first row
    double offset_ms        # where such a stretch starts, counted from the epoch
    double deviations
    double stretch          # number of the current one
    double flow, volume     # sums of price times volume, and of volume
    double mean             # flow / volume, once there was volume
    double squares          # sum of volume times squared deviation
    bint started

cdef struct PviState:
    double close, volume    # of the row before
    double value
    bint started


cdef inline double mfi_step(
    MfiState* s, double high, double low, double close, double volume, bint commit
) noexcept nogil:
    cdef double typical = (high + low + close) / 3.0
    cdef double change = typical - s.previous, flow = typical * volume, inflow, outflow
    # A change within rounding is none: (h + l + c) / 3 need not repeat where its sum does.
    if fabs(change) <= 1e-14 * (fabs(typical) + fabs(s.previous)):
        change = 0.0
    s.previous = typical
    if not s.started:
        s.started = True
        return NAN
    inflow = sum_step(&s.inflow, flow if change > 0 else 0.0, commit)
    outflow = sum_step(&s.outflow, flow if change < 0 else 0.0, commit)
    if inflow < 0:
        inflow = 0.0
    if outflow < 0:
        outflow = 0.0
    return 100.0 * (inflow / (inflow + outflow)) if inflow + outflow != 0 else 0.0


cdef inline double cmf_step(
    CmfState* s, double high, double low, double close, double volume, bint commit
) noexcept nogil:
    cdef double share = ((close - low) - (high - close)) / (high - low) if high > low else 0.0
    cdef double flow = sum_step(&s.flow, share * volume, commit)
    volume = sum_step(&s.volume, volume, commit)
    return flow / volume if volume != 0 else 0.0


cdef inline double obv_step(ObvState* s, double close, double volume) noexcept nogil:
    if not s.started:
        s.started = True
        s.total = volume if s.from_first else 0.0
    elif close > s.previous:
        s.total += volume
    elif close < s.previous:
        s.total -= volume
    s.previous = close
    return s.total


cdef inline void vwap_step(
    VwapState* s, double high, double low, double close, double volume, double open_time_ms,
    double* vwap, double* upper, double* lower,
) noexcept nogil:
    cdef double typical = (high + low + close) / 3.0, stretch = 0.0, before, reach
    if s.every_ms > 0:
        stretch = floor((open_time_ms - s.offset_ms) / s.every_ms)
    if not s.started or stretch != s.stretch:
        s.flow = s.volume = s.squares = 0.0
        s.started = True
    s.stretch = stretch
    before = s.mean if s.volume != 0 else typical
    s.flow += typical * volume
    s.volume += volume
    if s.volume == 0:
        return
    vwap[0] = s.mean = s.flow / s.volume
    # West's update: no difference of large squares, so a narrow band stays exact.
    s.squares += volume * (typical - before) * (typical - vwap[0])
    reach = s.deviations * sqrt(s.squares / s.volume) if s.squares / s.volume > 0 else 0.0
    upper[0] = vwap[0] + reach
    lower[0] = vwap[0] - reach


cdef inline double pvi_step(PviState* s, double close, double volume) noexcept nogil:
    cdef double grown
    if s.started and volume > s.volume and s.close != 0:
        grown = s.value + s.value * ((close - s.close) / s.close)
        # It only ever multiplies: what has left the range of numbers would not come back.
        if usable(grown):
            s.value = grown
    s.started = True
    s.close = close
    s.volume = volume
    return s.value
