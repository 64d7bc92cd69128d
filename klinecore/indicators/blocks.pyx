"""Which states can be laid side by side, field by field, and which loop steps them."""

from libc.string cimport memset

from klinecore.indicators.kernels.averages cimport EmaState, WmaState
from klinecore.indicators.kernels.momentum cimport MacdState, RsiState, StochState
from klinecore.indicators.kernels.trend cimport AdxState
from klinecore.indicators.kernels.volatility cimport AtrState, BandState
from klinecore.indicators.kernels.windows cimport SumState, TopState

__all__ = ["INSTRUCTIONS", "use_instructions"]

cdef extern from "blocks.h" nogil:
    Loop find_loop "kc_loop"(int width, int loop, bint commit)
    void fill_limits "kc_fill_limits"()
    int widest "kc_widest"()
    void write_out "kc_write_slots"(const Sweep* sweep, Py_ssize_t block, int ahead)

cdef enum:
    SHAPES_MAX = 16

cdef Shape[SHAPES_MAX] shapes
cdef dict places = {}
cdef int width

# Sets of instructions there are loops for on this machine, best last; all give the same bits.
INSTRUCTIONS = ("baseline", "avx2", "avx512")[:1 + widest()]


def use_instructions(str name not None):
    """Let all lanes be stepped by this set of instructions from now on, as comparisons want.

    ValueError: this machine has no such set. The best one is in use from the start.
    """
    global width
    if name not in INSTRUCTIONS:
        raise ValueError(f"instructions must be one of {INSTRUCTIONS}, not {name!r}")
    width = INSTRUCTIONS.index(name)


cdef const Shape* shape_of(str name):
    """How states of this indicator are laid out; NULL if there is no loop for them."""
    place = places.get(name)
    return NULL if place is None else &shapes[<int>place]


cdef Loop loop_of(const Shape* shape, bint commit) noexcept nogil:
    return find_loop(width, shape.loop, commit)


cdef inline Py_ssize_t read_size(const char* state, Py_ssize_t offset) noexcept nogil:
    return (<const Py_ssize_t*>(state + offset))[0]


cdef Py_ssize_t shape_rows(const Shape* shape, const char* state) noexcept nogil:
    """Doubles of a lane: its fields and its rings."""
    cdef Py_ssize_t rows = shape.fields
    cdef int i
    for i in range(shape.rings):
        rows += read_size(state, shape.ring[i].period) + shape.ring[i].beyond
    return rows


cdef void shape_describe(const Shape* shape, const char* state, Sweep* sweep) noexcept nogil:
    """What a loop has to know of the parameters, as a state that was made with them says it."""
    cdef double* to = &sweep.a
    cdef Py_ssize_t row = shape.fields
    cdef int i
    for i in range(shape.rings):
        sweep.period[i] = read_size(state, shape.ring[i].period)
        sweep.ring[i] = row
        row += sweep.period[i] + shape.ring[i].beyond
    for i in range(shape.counts):
        sweep.full[i] = read_size(state, shape.count[i].full) - shape.count[i].short
    sweep.slots = shape.slots * BLOCK if shape.slots >= 0 else -1
    for i in range(3):
        if shape.constant[i] >= 0:
            to[i] = (<const double*>(state + shape.constant[i]))[0]


cdef void write_slots(const Sweep* sweep, Py_ssize_t block) noexcept nogil:
    """Write the slots down in the block, as one of its lanes is to be read or stepped alone."""
    write_out(sweep, block, 0)


cdef void shape_gather(const Shape* shape, const double* column, char* state) noexcept nogil:
    """Fill a state that was made with the same parameters from a lane's column."""
    cdef int i
    cdef double value
    cdef char* to
    for i in range(shape.fields):
        value = column[i * BLOCK]
        to = state + shape.field[i].offset
        if shape.field[i].kind == DOUBLE:
            (<double*>to)[0] = value
        elif shape.field[i].kind == SIZE:
            (<Py_ssize_t*>to)[0] = <Py_ssize_t>value
        else:
            (<int*>to)[0] = <int>value
    column += shape.fields * BLOCK
    for i in range(shape.rings):
        (<const double**>(state + shape.ring[i].start))[0] = column
        (<Py_ssize_t*>(state + shape.ring[i].stride))[0] = BLOCK
        column += (read_size(state, shape.ring[i].period) + shape.ring[i].beyond) * BLOCK


cdef void shape_scatter(const Shape* shape, const char* state, double* column) noexcept nogil:
    """The other way round; rings were written by the state's own pointers."""
    cdef int i
    cdef const char* at
    for i in range(shape.fields):
        at = state + shape.field[i].offset
        if shape.field[i].kind == DOUBLE:
            column[i * BLOCK] = (<const double*>at)[0]
        elif shape.field[i].kind == SIZE:
            column[i * BLOCK] = (<const Py_ssize_t*>at)[0]
        else:
            column[i * BLOCK] = (<const int*>at)[0]


# -- the shapes; fields in the order of the rows the loops read -----------------------------------

cdef const char* origin     # of the state whose members are being taken


cdef Shape* begin(str name, int loop, void* state):
    global origin
    cdef Shape* shape = &shapes[len(places)]
    assert len(places) < SHAPES_MAX
    places[name] = len(places)
    memset(shape, 0, sizeof(Shape))
    origin = <char*>state
    shape.loop = loop
    shape.constant[:] = [-1, -1, -1]
    shape.slots = -1
    return shape


cdef Py_ssize_t offset_of(const void* member) noexcept:
    return <const char*>member - origin


cdef void take(Shape* shape, const void* member, FieldKind kind) noexcept:
    """The next row."""
    shape.field[shape.fields].offset = offset_of(member)
    shape.field[shape.fields].kind = kind
    shape.fields += 1


cdef void take_slot(Shape* shape, const void* member) noexcept:
    """The next row: the slots of a shape with one ring."""
    shape.slots = shape.fields
    take(shape, member, SIZE)


cdef void count_to(Shape* shape, const void* full, Py_ssize_t short) noexcept:
    """The field taken last counts to this."""
    cdef Count* count = &shape.count[shape.counts]
    count.field = shape.fields - 1
    count.full = offset_of(full)
    count.short = short
    shape.counts += 1


cdef void ring_at(
    Shape* shape, const void* period, const void* start, const void* stride, Py_ssize_t beyond
) noexcept:
    """The next ring."""
    cdef Ring* ring = &shape.ring[shape.rings]
    ring.period = offset_of(period)
    ring.start = offset_of(start)
    ring.stride = offset_of(stride)
    ring.beyond = beyond
    shape.rings += 1


cdef void make_sma():
    cdef SumState s
    cdef Shape* shape = begin("sma", 0, &s)
    take(shape, &s.sum, DOUBLE)
    take_slot(shape, &s.slot)
    take(shape, &s.count, SIZE)
    count_to(shape, &s.period, 1)
    ring_at(shape, &s.period, &s.ring, &s.stride, 0)


cdef void make_ema(str name):
    cdef EmaState s
    cdef Shape* shape = begin(name, 1, &s)
    take(shape, &s.value, DOUBLE)
    take(shape, &s.count, SIZE)
    count_to(shape, &s.seed, 0)
    shape.constant[0] = offset_of(&s.alpha)


cdef void make_wma():
    cdef WmaState s
    cdef Shape* shape = begin("wma", 2, &s)
    take(shape, &s.sum, DOUBLE)
    take(shape, &s.weighted, DOUBLE)
    take_slot(shape, &s.slot)
    take(shape, &s.count, SIZE)
    count_to(shape, &s.period, 1)
    ring_at(shape, &s.period, &s.ring, &s.stride, 0)
    shape.constant[0] = offset_of(&s.divisor)


cdef void make_rsi():
    cdef RsiState s
    cdef Shape* shape = begin("rsi", 3, &s)
    take(shape, &s.gain.value, DOUBLE)
    take(shape, &s.loss.value, DOUBLE)
    take(shape, &s.previous, DOUBLE)
    take(shape, &s.started, FLAG)
    take(shape, &s.gain.count, SIZE)
    take(shape, &s.loss.count, SIZE)
    count_to(shape, &s.loss.seed, 0)
    shape.constant[:] = [offset_of(&s.gain.alpha), offset_of(&s.flat), -1]


cdef void make_macd():
    cdef MacdState s
    cdef Shape* shape = begin("macd", 4, &s)
    take(shape, &s.fast.value, DOUBLE)
    take(shape, &s.slow.value, DOUBLE)
    take(shape, &s.signal.value, DOUBLE)
    take(shape, &s.fast.count, SIZE)
    take(shape, &s.slow.count, SIZE)
    # The last to begin: it is fed with what the others give.
    take(shape, &s.signal.count, SIZE)
    count_to(shape, &s.signal.seed, 0)
    shape.constant[:] = [
        offset_of(&s.fast.alpha), offset_of(&s.slow.alpha), offset_of(&s.signal.alpha)
    ]


cdef void make_bb():
    cdef BandState s
    cdef Shape* shape = begin("bb", 5, &s)
    take(shape, &s.moments.origin, DOUBLE)
    take(shape, &s.moments.mean, DOUBLE)
    take(shape, &s.moments.squares, DOUBLE)
    take(shape, &s.moments.peak, DOUBLE)
    take_slot(shape, &s.moments.slot)
    take(shape, &s.moments.count, SIZE)
    count_to(shape, &s.moments.period, 1)
    ring_at(shape, &s.moments.period, &s.moments.ring, &s.moments.stride, 0)
    shape.constant[:] = [offset_of(&s.moments.share), offset_of(&s.deviations), -1]


cdef void make_atr():
    cdef AtrState s
    cdef Shape* shape = begin("atr", 6, &s)
    take(shape, &s.average.value, DOUBLE)
    take(shape, &s.range.previous, DOUBLE)
    take(shape, &s.range.started, FLAG)
    take(shape, &s.average.count, SIZE)
    count_to(shape, &s.average.seed, 0)
    shape.constant[0] = offset_of(&s.average.alpha)


cdef void make_adx():
    cdef AdxState s
    cdef Shape* shape = begin("adx", 7, &s)
    take(shape, &s.direction.high, DOUBLE)
    take(shape, &s.direction.low, DOUBLE)
    take(shape, &s.direction.close, DOUBLE)
    take(shape, &s.direction.plus, DOUBLE)
    take(shape, &s.direction.minus, DOUBLE)
    take(shape, &s.direction.range, DOUBLE)
    take(shape, &s.average.value, DOUBLE)
    take(shape, &s.direction.plus_di, DOUBLE)
    take(shape, &s.direction.minus_di, DOUBLE)
    take(shape, &s.direction.count, SIZE)
    # The last to begin: it is fed once the sums are there.
    take(shape, &s.average.count, SIZE)
    count_to(shape, &s.average.seed, 0)
    shape.constant[0] = offset_of(&s.direction.share)


cdef void make_top(str name, int loop):
    cdef TopState s
    cdef Shape* shape = begin(name, loop, &s)
    take(shape, &s.prefix, DOUBLE)
    take_slot(shape, &s.slot)
    take(shape, &s.count, SIZE)
    count_to(shape, &s.period, 1)
    ring_at(shape, &s.period, &s.ring, &s.stride, 1)


cdef void make_stoch(str name):
    cdef StochState s
    cdef Shape* shape = begin(name, 10, &s)
    take(shape, &s.top.prefix, DOUBLE)
    take(shape, &s.bottom.prefix, DOUBLE)
    take(shape, &s.k.sum, DOUBLE)
    take(shape, &s.d.sum, DOUBLE)
    take(shape, &s.top.slot, SIZE)
    take(shape, &s.bottom.slot, SIZE)
    take(shape, &s.k.slot, SIZE)
    take(shape, &s.d.slot, SIZE)
    # Each window is fed with what the one before gives, and one of a single row counts nothing.
    take(shape, &s.top.count, SIZE)
    count_to(shape, &s.top.period, 1)
    take(shape, &s.bottom.count, SIZE)
    take(shape, &s.k.count, SIZE)
    count_to(shape, &s.k.period, 1)
    take(shape, &s.d.count, SIZE)
    count_to(shape, &s.d.period, 1)
    ring_at(shape, &s.top.period, &s.top.ring, &s.top.stride, 1)
    ring_at(shape, &s.bottom.period, &s.bottom.ring, &s.bottom.stride, 1)
    ring_at(shape, &s.k.period, &s.k.ring, &s.k.stride, 0)
    ring_at(shape, &s.d.period, &s.d.ring, &s.d.stride, 0)
    shape.constant[0] = offset_of(&s.still)


make_sma()
make_ema("ema")
make_ema("rma")
make_wma()
make_rsi()
make_macd()
make_bb()
make_atr()
make_adx()
make_top("highest", 8)
make_top("lowest", 9)
make_stoch("stoch")
make_stoch("stochf")
fill_limits()
width = widest()
