"""Levels and turns of a window: pivots, divergence, the prices at which most was traded.

These look over their window at each row; that they may, their windows are bounded.
"""

from libc.math cimport NAN, fabs

from klinecore.indicators.kernel cimport Room, room_take

cdef enum:
    BINS_MAX = 100          # of a volume profile

cdef struct PivotState:
    double* ring
    Py_ssize_t left, right, size, slot, count
    double side             # 1 for highs, -1 for lows
    double value            # of the newest pivot; NaN before the first

cdef struct DivergenceState:
    double* first
    double* second
    Py_ssize_t period, distance, slot, count
    bint hidden             # the second series goes on where the first one does not

cdef struct ProfileState:
    double* high
    double* low
    double* volume
    Py_ssize_t period, slot, count
    int bins
    int place               # of the least volume of a node among all bins', sorted
    double share            # of the largest bin, that a node has at least
    double margin           # what a node is above its neighbours by, as a factor
    double reach            # how far from the close nodes are counted, as a share of it


cdef inline void pivot_init(
    PivotState* s, Py_ssize_t left, Py_ssize_t right, double side, Room* room
) noexcept nogil:
    s.left = left
    s.right = right
    s.size = left + right + 1
    s.side = side
    s.value = NAN
    s.ring = room_take(room, s.size)


cdef inline bint pivot_there(const PivotState* s) noexcept nogil:
    """True if the value ``right`` rows ago is above all before it and not below any after it."""
    cdef Py_ssize_t place = s.slot - s.right, other, _i
    cdef double value
    if place < 0:
        place += s.size
    value = s.ring[place]
    other = place
    for _i in range(s.right):
        other = other + 1 if other + 1 < s.size else 0
        if s.ring[other] > value:
            return False
    other = place
    for _i in range(s.left):
        other = other - 1 if other > 0 else s.size - 1
        if s.ring[other] >= value:
            return False
    return True


cdef inline double pivot_step(PivotState* s, double value, bint commit) noexcept nogil:
    cdef double gone = s.ring[s.slot]
    cdef Py_ssize_t place
    s.ring[s.slot] = s.side * value
    if s.count + 1 < s.size:
        s.count += 1
    elif pivot_there(s):
        place = s.slot - s.right
        s.value = s.side * s.ring[place if place >= 0 else place + s.size]
    if not commit:
        s.ring[s.slot] = gone
    s.slot = s.slot + 1 if s.slot + 1 < s.size else 0
    return s.value


cdef inline void divergence_init(
    DivergenceState* s, Py_ssize_t period, Py_ssize_t distance, bint hidden, Room* room
) noexcept nogil:
    s.period = period
    s.distance = distance
    s.hidden = hidden
    s.first = room_take(room, period)
    s.second = room_take(room, period)


cdef inline Py_ssize_t slot_of(const DivergenceState* s, Py_ssize_t row) noexcept nogil:
    """Where a row of the window stands, 0 the oldest; the newest is in the current slot."""
    cdef Py_ssize_t slot = s.slot + 1 + row
    return slot if slot < s.period else slot - s.period


cdef inline Py_ssize_t turn_before(
    const DivergenceState* s, Py_ssize_t row, double side
) noexcept nogil:
    """The newest extreme at or before that row of the window; below 1: there is none."""
    cdef double value
    while row > 0:
        value = side * s.first[slot_of(s, row)]
        if (
            value > side * s.first[slot_of(s, row - 1)]
            and value > side * s.first[slot_of(s, row + 1)]
        ):
            return row
        row -= 1
    return 0


cdef inline bint diverges(const DivergenceState* s, double side) noexcept nogil:
    """True if of two extremes the newer one is further out in one series and not in the other."""
    cdef Py_ssize_t newer = turn_before(s, s.period - 2, side), older = s.period, a, b
    cdef const double* further = s.second if s.hidden else s.first
    cdef const double* nearer = s.first if s.hidden else s.second
    while newer > s.distance:
        # Both only ever move back: the window is walked through twice at most.
        if older > newer - s.distance:
            older = turn_before(s, newer - s.distance, side)
        if older <= 0:
            return False
        a = slot_of(s, older)
        b = slot_of(s, newer)
        if side * further[b] > side * further[a] and side * nearer[b] < side * nearer[a]:
            return True
        newer = turn_before(s, newer - 1, side)
    return False


cdef inline double divergence_step(
    DivergenceState* s, double first, double second, bint commit
) noexcept nogil:
    """1 bullish, -1 bearish, 0 none; NaN until there are ``period`` rows."""
    cdef double first_gone = s.first[s.slot], second_gone = s.second[s.slot], found = NAN
    s.first[s.slot] = first
    s.second[s.slot] = second
    if s.count + 1 < s.period:
        s.count += 1
    elif diverges(s, -1.0):
        found = 1.0
    else:
        found = -1.0 if diverges(s, 1.0) else 0.0
    if not commit:
        s.first[s.slot] = first_gone
        s.second[s.slot] = second_gone
    s.slot = s.slot + 1 if s.slot + 1 < s.period else 0
    return found


cdef inline void profile_init(
    ProfileState* s, Py_ssize_t period, int bins, double percentile, Room* room
) noexcept nogil:
    s.period = period
    s.bins = bins
    s.place = <int>(bins * percentile / 100.0)
    if s.place > bins - 1:
        s.place = bins - 1
    s.high = room_take(room, period)
    s.low = room_take(room, period)
    s.volume = room_take(room, period)


cdef inline int bin_of(double price, double bottom, double size, int bins) noexcept nogil:
    cdef double place = (price - bottom) / size
    # A row whose high is below its low is no kline, but must not leave the bins.
    if not place > 0:
        return 0
    return <int>place if place < bins - 1 else bins - 1


cdef inline void profile_fill(
    const ProfileState* s, double bottom, double size, double* volumes
) noexcept nogil:
    """Each row's volume, spread evenly over the bins that it touches; oldest row first."""
    cdef Py_ssize_t slot = s.slot, _row
    cdef int first, last, i
    cdef double share
    for i in range(s.bins):
        volumes[i] = 0.0
    for _row in range(s.period):
        slot = slot + 1 if slot + 1 < s.period else 0
        first = bin_of(s.low[slot], bottom, size, s.bins)
        last = bin_of(s.high[slot], bottom, size, s.bins)
        if last < first:
            continue
        share = s.volume[slot] / (last - first + 1)
        for i in range(first, last + 1):
            volumes[i] += share


cdef inline bint stands_out(
    const ProfileState* s, const double* volumes, int bin, double largest
) noexcept nogil:
    """True if that bin holds enough, more than its neighbours, and more than most bins."""
    cdef double volume = volumes[bin]
    cdef int i, under = 0
    if not volume > 0 or volume < s.share * largest:
        return False
    if bin > 0 and not volume > volumes[bin - 1] * s.margin:
        return False
    if bin + 1 < s.bins and not volume > volumes[bin + 1] * s.margin:
        return False
    for i in range(s.bins):
        under += volumes[i] <= volume
    return under > s.place


cdef inline void profile_nodes(
    const ProfileState* s, double bottom, double size, double close,
    double* above, double* below, double* closest, double* count,
) noexcept nogil:
    cdef double[BINS_MAX] volumes
    cdef double price, largest = 0.0
    cdef int i
    profile_fill(s, bottom, size, volumes)
    for i in range(s.bins):
        if volumes[i] > largest:
            largest = volumes[i]
    for i in range(s.bins):
        if not stands_out(s, volumes, i, largest):
            continue
        price = bottom + (i + 0.5) * size
        if fabs(price - close) <= s.reach * fabs(close):
            count[0] += 1
        if price <= close:
            below[0] = price
        elif above[0] != above[0]:
            above[0] = price
    closest[0] = below[0]
    if below[0] != below[0] or above[0] - close < close - below[0]:
        closest[0] = above[0]


cdef inline void profile_step(
    ProfileState* s, double high, double low, double close, double volume,
    double* above, double* below, double* closest, double* count, bint commit,
) noexcept nogil:
    cdef double high_gone = s.high[s.slot], low_gone = s.low[s.slot]
    cdef double volume_gone = s.volume[s.slot], top, bottom
    cdef Py_ssize_t row
    s.high[s.slot] = high
    s.low[s.slot] = low
    s.volume[s.slot] = volume
    if s.count + 1 < s.period:
        s.count += 1
    else:
        count[0] = 0.0
        top = high
        bottom = low
        for row in range(s.period):
            top = s.high[row] if s.high[row] > top else top
            bottom = s.low[row] if s.low[row] < bottom else bottom
        if (top - bottom) / s.bins > 0:
            profile_nodes(
                s, bottom, (top - bottom) / s.bins, close, above, below, closest, count
            )
    if not commit:
        s.high[s.slot] = high_gone
        s.low[s.slot] = low_gone
        s.volume[s.slot] = volume_gone
    s.slot = s.slot + 1 if s.slot + 1 < s.period else 0
