"""What one step of filters gives for every symbol: numbers in a column, conditions in two planes of
bits.

A lane is a symbol's place in its market. Steps that remember nothing may be computed again at any
time; the others move only with a lane's next row (``memories``).
"""

cimport cython
from libc.math cimport NAN, fabs, log, sqrt
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from klinecore.kline cimport TRADES
from klinecore.merge cimport ABSENT_BIT, SeriesMemory, series_close_time, series_find
from klinecore.ticker cimport TickerRecord, text_place, ticker_has

__all__ = ["Cell"]

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #define PAIRS(NAME, RULE)                                                                   \\
        static uint64_t NAME(const double *x, const double *y) {                                \\
            uint64_t bits = 0;                                                                  \\
            for (int i = 0; i < 64; i += 2)                                                     \\
                bits |= (uint64_t)_mm_movemask_pd(                                              \\
                    RULE(_mm_loadu_pd(x + i), _mm_loadu_pd(y + i))) << i;                       \\
            return bits;                                                                        \\
        }
    PAIRS(word_lt, _mm_cmplt_pd)
    PAIRS(word_le, _mm_cmple_pd)
    PAIRS(word_eq, _mm_cmpeq_pd)
    PAIRS(word_both, _mm_cmpord_pd)
    #else
    #define PAIRS(NAME, RULE)                                                                   \\
        static uint64_t NAME(const double *x, const double *y) {                                \\
            uint64_t bits = 0;                                                                  \\
            for (int i = 0; i < 64; i++) bits |= (uint64_t)(RULE) << i;                         \\
            return bits;                                                                        \\
        }
    PAIRS(word_lt, x[i] < y[i])
    PAIRS(word_le, x[i] <= y[i])
    PAIRS(word_eq, x[i] == y[i])
    PAIRS(word_both, x[i] == x[i] && y[i] == y[i])
    #endif
    """
    uint64_t word_lt(const double* x, const double* y) nogil
    uint64_t word_le(const double* x, const double* y) nogil
    uint64_t word_eq(const double* x, const double* y) nogil
    uint64_t word_both(const double* x, const double* y) nogil

cdef enum:
    FEW = 8                     # lanes; up to so many are compared one by one
    OPEN_TIME = TRADES + 1

cdef enum Rule:
    NEG, ABS, SQRT, LOG, SIGN, ADD, SUB, MUL, DIV, MIN, MAX, CLIP
    LT, LE, GT, GE, EQ, NE
    AND, OR, NOT

cdef dict RULES = {
    "neg": NEG, "abs": ABS, "sqrt": SQRT, "log": LOG, "sign": SIGN, "add": ADD, "sub": SUB,
    "mul": MUL, "div": DIV, "min": MIN, "max": MAX, "clip": CLIP, "lt": LT, "le": LE, "gt": GT,
    "ge": GE, "eq": EQ, "ne": NE, "and": AND, "or": OR, "not": NOT,
}
# Columns of a series' memory, in their order.
cdef dict COLUMN_OF = {
    "open": 0, "high": 1, "low": 2, "close": 3, "volume": 4, "quote_volume": 5,
    "taker_buy_base": 6, "taker_buy_quote": 7, "trades": TRADES, "open_time_ms": OPEN_TIME,
}
cdef dict TICKER_LETTER = {
    "last": c"c", "change_percent": c"P", "volume": c"v", "quote_volume": c"q", "high": c"h",
    "low": c"l",
}


cdef AsOf as_of(const SeriesMemory* series, int64_t boundary_ms, uint32_t* slot) noexcept nogil:
    """The newest row that closed by then, into ``slot``, and whether one after it is missing."""
    cdef uint32_t start = series.header.start
    cdef uint32_t end = start + series.header.count
    cdef uint32_t found = series_find(series, boundary_ms)
    cdef int64_t followed_ms
    while (
        found > start
        and series_close_time(series, series.open_time_ms[found - 1]) >= boundary_ms
    ):
        found -= 1
    if found == start:
        return NOTHING if series.header.count else AWAITED
    slot[0] = found - 1
    followed_ms = series_close_time(series, series.open_time_ms[found - 1]) + 1
    if series_close_time(series, followed_ms) >= boundary_ms:
        return HELD
    if found < end:
        return HELD if series.tags[found] & ABSENT_BIT else MISSED
    if series.header.has_forming and series.tags[end] & ABSENT_BIT:
        return HELD
    return AWAITED


cdef inline double finite(double value) noexcept nogil:
    """``value``; NaN in place of what is no finite number."""
    return value if value - value == 0 else NAN


cdef class Cell:
    """One step's values on every lane; made by ``make``."""

    def __cinit__(self, step not None, Py_ssize_t places, *args):
        self.key = step.key
        self.places = places
        self.condition = step.kind == "condition"
        self.endless = step.endless
        self.args = []
        if self.condition:
            self.truth = <uint64_t*>self.take(places // 64, 8)
            self.known = <uint64_t*>self.take(places // 64, 8)
        elif step.op not in ("indicator", "output"):
            self.value = <double*>self.take(places, sizeof(double))
            for i in range(places):
                self.value[i] = NAN

    def __dealloc__(self):
        if not self.borrowed:
            free(self.value)
        free(self.truth)
        free(self.known)

    cdef void* take(self, size_t count, size_t size) except NULL:
        """Zeroed memory of this cell, counted."""
        cdef void* memory = calloc(count, size)
        if memory == NULL:
            raise MemoryError(f"no {count * size} bytes for a step of a filter")
        self.size += count * size
        return memory

    cdef void run(self, Rows* rows):
        """Move the lanes of ``rows`` to their rows."""

    cdef void reset(self, Py_ssize_t lane) noexcept:
        """Forget all rows of a lane."""
        if self.condition:
            put_bit(self.truth, lane, False)
            put_bit(self.known, lane, False)
        elif not self.borrowed:
            self.value[lane] = NAN

    cdef Py_ssize_t image_size(self) noexcept:
        """Bytes of what is kept of one lane."""
        return 8

    cdef void save(self, Py_ssize_t lane, char* to) noexcept:
        """Copy what a lane remembers."""
        cdef uint64_t bits
        if self.condition:
            bits = bit(self.truth, lane) | (bit(self.known, lane) << 1)
            memcpy(to, &bits, 8)
        else:
            memcpy(to, &self.value[lane], 8)

    cdef void load(self, Py_ssize_t lane, const char* image) noexcept:
        """Go back to what ``save`` copied."""
        cdef uint64_t bits
        if self.condition:
            memcpy(&bits, image, 8)
            put_bit(self.truth, lane, bits & 1)
            put_bit(self.known, lane, bits >> 1)
        else:
            memcpy(&self.value[lane], image, 8)

    def at(self, Py_ssize_t lane):
        """The newest value of a lane: a number, a bool, or None while it is unknown."""
        if self.condition:
            return bool(bit(self.truth, lane)) if bit(self.known, lane) else None
        return self.value[lane] if self.value[lane] == self.value[lane] else None


@cython.final
cdef class Const(Cell):
    """A number of the filter's text."""

    def __init__(self, step, Py_ssize_t places):
        cdef Py_ssize_t i
        for i in range(places):
            self.value[i] = step.params[0]

    cdef void reset(self, Py_ssize_t lane) noexcept:
        pass


@cython.final
cdef class Field(Cell):
    """A column of the kline."""
    cdef int column

    def __init__(self, step, Py_ssize_t places):
        self.column = COLUMN_OF[step.params[0]]

    cdef void run(self, Rows* rows):
        cdef const SeriesMemory* series
        cdef Py_ssize_t i, lane
        for i in range(rows.count):
            lane = rows.lanes[i]
            series = &rows.memory[lane * rows.interval_count + rows.interval]
            if self.column == OPEN_TIME:
                self.value[lane] = <double>series.open_time_ms[rows.slots[lane]]
            else:
                self.value[lane] = series.values[
                    self.column * <Py_ssize_t>series.slots + rows.slots[lane]
                ]


@cython.final
cdef class Ticker(Cell):
    """A field of the newest ticker."""
    cdef char letter

    def __init__(self, step, Py_ssize_t places):
        self.letter = TICKER_LETTER[step.params[0]]

    cdef void run(self, Rows* rows):
        cdef const TickerRecord* record
        cdef Py_ssize_t i, lane
        cdef int place = text_place(self.letter)
        for i in range(rows.count):
            lane = rows.lanes[i]
            record = rows.tickers[lane]
            self.value[lane] = NAN
            if not ticker_has(record, self.letter):
                put_bit(rows.tickerless, lane, True)
                continue
            self.value[lane] = finite(
                float(record.texts[place].text[:record.texts[place].size])
            )


@cython.final
cdef class Past(Cell):
    """Another interval's value as of the row's close."""

    def __init__(self, step, Py_ssize_t places, int foreign):
        self.foreign = foreign

    cdef void run(self, Rows* rows):
        cdef const SeriesMemory* own
        cdef const SeriesMemory* other
        cdef Cell arg = self.args[0]
        cdef Py_ssize_t i, lane
        cdef uint32_t slot = 0
        cdef bint held
        for i in range(rows.count):
            lane = rows.lanes[i]
            own = &rows.memory[lane * rows.interval_count + rows.interval]
            other = &rows.memory[lane * rows.interval_count + self.foreign]
            held = as_of(
                other, series_close_time(own, own.open_time_ms[rows.slots[lane]]) + 1, &slot
            ) == HELD and self.fed[lane] == other.open_time_ms[slot]
            if not held:
                put_bit(rows.missing, lane, True)
            if self.condition:
                put_bit(self.known, lane, held and bit(arg.known, lane))
                put_bit(self.truth, lane, held and bit(arg.truth, lane))
            else:
                self.value[lane] = arg.value[lane] if held else NAN


cdef inline double one(Rule rule, double x) noexcept nogil:
    if rule == NEG:
        return -x
    if rule == ABS:
        return fabs(x)
    if rule == SQRT:
        return finite(sqrt(x))
    if rule == LOG:
        return finite(log(x))
    return <double>((x > 0) - (x < 0)) if x == x else x


cdef inline double two(Rule rule, double x, double y) noexcept nogil:
    if rule == ADD:
        return finite(x + y)
    if rule == SUB:
        return finite(x - y)
    if rule == MUL:
        return finite(x * y)
    if rule == DIV:
        return finite(x / y)
    if x != x or y != y:
        return NAN
    if rule == MIN:
        return x if x <= y else y
    return x if x >= y else y


@cython.final
cdef class Number(Cell):
    """Arithmetic on numbers of the same row."""
    cdef Rule rule

    def __init__(self, step, Py_ssize_t places):
        self.rule = RULES[step.op]

    cdef void run(self, Rows* rows):
        cdef double* out = self.value
        cdef const double* x = (<Cell>self.args[0]).value
        cdef const double* y
        cdef const double* z
        cdef Py_ssize_t i, lane
        cdef Rule rule = self.rule
        if rule <= SIGN:
            for i in range(rows.count):
                out[rows.lanes[i]] = one(rule, x[rows.lanes[i]])
            return
        y = (<Cell>self.args[1]).value
        if rule == CLIP:
            z = (<Cell>self.args[2]).value
            for i in range(rows.count):
                lane = rows.lanes[i]
                out[lane] = two(MIN, two(MAX, x[lane], y[lane]), z[lane])
        elif rows.dense and rule == ADD:
            for i in range(self.places):
                out[i] = finite(x[i] + y[i])
        elif rows.dense and rule == SUB:
            for i in range(self.places):
                out[i] = finite(x[i] - y[i])
        elif rows.dense and rule == MUL:
            for i in range(self.places):
                out[i] = finite(x[i] * y[i])
        elif rows.dense and rule == DIV:
            for i in range(self.places):
                out[i] = finite(x[i] / y[i])
        else:
            for i in range(rows.count):
                lane = rows.lanes[i]
                out[lane] = two(rule, x[lane], y[lane])


@cython.final
cdef class Compare(Cell):
    """How two numbers compare."""
    cdef Rule rule

    def __init__(self, step, Py_ssize_t places):
        self.rule = RULES[step.op]

    cdef uint64_t word(self, const double* x, const double* y) noexcept:
        if self.rule == LT:
            return word_lt(x, y)
        if self.rule == LE:
            return word_le(x, y)
        if self.rule == GT:
            return word_lt(y, x)
        if self.rule == GE:
            return word_le(y, x)
        return word_eq(x, y)

    cdef void run(self, Rows* rows):
        cdef const double* x = (<Cell>self.args[0]).value
        cdef const double* y = (<Cell>self.args[1]).value
        cdef Py_ssize_t i
        cdef uint64_t mask, truth, known
        if rows.count <= FEW:
            self.run_few(rows, x, y)
            return
        for i in range(self.places // 64):
            mask = rows.mask[i]
            if mask == 0:
                continue
            known = word_both(x + 64 * i, y + 64 * i)
            truth = self.word(x + 64 * i, y + 64 * i)
            if self.rule == NE:
                truth = ~truth
            self.known[i] = (self.known[i] & ~mask) | (known & mask)
            self.truth[i] = (self.truth[i] & ~mask) | (truth & known & mask)

    cdef void run_few(self, Rows* rows, const double* xs, const double* ys) noexcept:
        cdef Py_ssize_t i, lane
        cdef double x, y
        cdef bint truth
        for i in range(rows.count):
            lane = rows.lanes[i]
            x = xs[lane]
            y = ys[lane]
            if self.rule == LT:
                truth = x < y
            elif self.rule == LE:
                truth = x <= y
            elif self.rule == GT:
                truth = x > y
            elif self.rule == GE:
                truth = x >= y
            elif self.rule == EQ:
                truth = x == y
            else:
                truth = x != y
            put_bit(self.known, lane, x == x and y == y)
            put_bit(self.truth, lane, truth and x == x and y == y)


@cython.final
cdef class Logic(Cell):
    """``and``, ``or`` and ``not`` of conditions; unknown if any of them is."""
    cdef Rule rule

    def __init__(self, step, Py_ssize_t places):
        self.rule = RULES[step.op]

    cdef void run(self, Rows* rows):
        cdef Cell arg
        cdef Py_ssize_t i
        cdef uint64_t mask, truth, known
        for i in range(self.places // 64):
            mask = rows.mask[i]
            if mask == 0:
                continue
            arg = <Cell>self.args[0]
            truth = arg.truth[i]
            known = arg.known[i]
            if self.rule == NOT:
                truth = ~truth
            for arg in self.args:
                known &= arg.known[i]
                if self.rule == AND:
                    truth &= arg.truth[i]
                elif self.rule == OR:
                    truth |= arg.truth[i]
            self.known[i] = (self.known[i] & ~mask) | (known & mask)
            self.truth[i] = (self.truth[i] & ~mask) | (truth & known & mask)


cdef Cell make_plain(object step, Py_ssize_t places, int foreign):
    """The cell of a step that remembers nothing; its ``args`` are still to be set."""
    op = step.op
    if op == "const":
        return Const(step, places)
    if op == "field":
        return Field(step, places)
    if op == "ticker":
        return Ticker(step, places)
    if op == "as_of":
        return Past(step, places, foreign)
    if op in ("and", "or", "not"):
        return Logic(step, places)
    return Compare(step, places) if step.kind == "condition" else Number(step, places)
