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

cdef extern from "words.h":
    uint64_t word_lt(const double* x, const double* y) nogil
    uint64_t word_le(const double* x, const double* y) nogil
    uint64_t word_eq(const double* x, const double* y) nogil
    void words_join(
        uint64_t* truth, uint64_t* known, const uint64_t* mask, const uint64_t** truths,
        const uint64_t** knows, int count, int every, long words
    ) nogil

cdef enum:
    FEW = 8                     # lanes; up to so many are compared one by one
    ARGS_MAX = 256              # conditions joined by one ``and``
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
        free(self.numbers)

    cdef const uint64_t* known_numbers(self, Rows* rows):
        """The lanes where a number is known, as bits; looked up once a move."""
        cdef Py_ssize_t i
        if self.numbers == NULL:
            self.numbers = <uint64_t*>self.take(self.places // 64, 8)
            self.numbers_of = rows.number - 1
        if self.numbers_of != rows.number and not (self.fixed and self.numbers_of):
            self.numbers_of = rows.number
            for i in range(self.places // 64):
                self.numbers[i] = word_eq(self.value + 64 * i, self.value + 64 * i)
        return self.numbers

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

    cdef void keep(self, Py_ssize_t lane, double* to) noexcept:
        """Copy what a lane shows, before it is run without ``commit``."""
        if self.condition:
            to[0] = bit(self.truth, lane)
            to[1] = bit(self.known, lane)
        elif not self.borrowed:
            to[0] = self.value[lane]

    cdef void put_back(self, Py_ssize_t lane, const double* kept) noexcept:
        """Show that again."""
        if self.condition:
            put_bit(self.truth, lane, kept[0] != 0)
            put_bit(self.known, lane, kept[1] != 0)
        elif not self.borrowed:
            self.value[lane] = kept[0]

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

    cdef double number(self, Py_ssize_t lane) noexcept:
        """The newest value of a lane: of a condition 1 or 0; NaN while it is unknown."""
        if self.condition:
            return <double>bit(self.truth, lane) if bit(self.known, lane) else NAN
        return self.value[lane]

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
        self.fixed = True
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
        cdef int64_t boundary_ms
        cdef bint held
        for i in range(rows.count):
            lane = rows.lanes[i]
            own = &rows.memory[lane * rows.interval_count + rows.interval]
            other = &rows.memory[lane * rows.interval_count + self.foreign]
            boundary_ms = own.open_time_ms[rows.slots[lane]]
            if rows.commit:
                boundary_ms = series_close_time(own, boundary_ms) + 1
            held = as_of(other, boundary_ms, &slot) == HELD and (
                self.fed[lane] == other.open_time_ms[slot]
            )
            # A forming row sees what has closed since it began, too.
            if not rows.commit and self.fed[lane] >= 0:
                held |= series_close_time(other, self.fed[lane]) >= boundary_ms
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

    cdef void run(self, Rows* rows):
        cdef Cell first = self.args[0]
        cdef Cell second = self.args[1]
        cdef const double* x = first.value
        cdef const double* y = second.value
        cdef const uint64_t* knows
        cdef const uint64_t* too
        cdef Py_ssize_t i
        cdef uint64_t mask, truth, known
        if rows.count <= FEW:
            self.run_few(rows, x, y)
            return
        knows = first.known_numbers(rows)
        too = second.known_numbers(rows)
        for i in range(self.places // 64):
            mask = rows.mask[i]
            if mask:
                if self.rule == LT:
                    truth = word_lt(x, y)
                elif self.rule == LE:
                    truth = word_le(x, y)
                elif self.rule == GT:
                    truth = word_lt(y, x)
                elif self.rule == GE:
                    truth = word_le(y, x)
                elif self.rule == EQ:
                    truth = word_eq(x, y)
                else:
                    truth = ~word_eq(x, y)
                known = knows[i] & too[i]
                self.known[i] = (self.known[i] & ~mask) | (known & mask)
                self.truth[i] = (self.truth[i] & ~mask) | (truth & known & mask)
            # The same 64 numbers again are in the cache already.
            x += 0 if first.fixed else 64
            y += 0 if second.fixed else 64

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
        if len(step.args) > ARGS_MAX:
            raise ValueError(f"{step.op} of {len(step.args)} conditions; at most {ARGS_MAX}")

    cdef void run(self, Rows* rows):
        cdef const uint64_t* truths[ARGS_MAX]
        cdef const uint64_t* knows[ARGS_MAX]
        cdef Py_ssize_t i, k, count = len(self.args)
        cdef uint64_t mask
        for k in range(count):
            truths[k] = (<Cell>self.args[k]).truth
            knows[k] = (<Cell>self.args[k]).known
        if self.rule != NOT:
            words_join(
                self.truth, self.known, rows.mask, truths, knows, <int>count, self.rule == AND,
                self.places // 64
            )
            return
        for i in range(self.places // 64):
            mask = rows.mask[i]
            self.known[i] = (self.known[i] & ~mask) | (knows[0][i] & mask)
            self.truth[i] = (self.truth[i] & ~mask) | (~truths[0][i] & knows[0][i] & mask)


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
