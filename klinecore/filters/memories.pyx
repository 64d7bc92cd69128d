"""Steps that remember rows of their lane, or look at all lanes: they move with next rows only."""

cimport cython
from libc.math cimport NAN
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort
from libc.string cimport memcpy, memset

from klinecore.filters.cells cimport Cell, Rows, bit, make_plain, put_bit
from klinecore.indicators.kernel cimport INPUTS_MAX
from klinecore.indicators.lanes cimport Lanes

from klinecore.indicators.lanes import Lanes as new_lanes

__all__: list[str] = []


@cython.final
cdef class Series(Cell):
    """An indicator."""
    cdef Lanes lanes

    def __init__(self, step, Py_ssize_t places):
        self.lanes = new_lanes(*step.params, lanes=places)
        self.size += self.lanes.nbytes
        if not self.condition:
            self.value = self.lanes.closed[0]
            self.borrowed = True

    cdef void run(self, Rows* rows):
        cdef const double* inputs[INPUTS_MAX]
        cdef double* out
        cdef Py_ssize_t i, lane
        cdef int k
        for i in range(len(self.args)):
            inputs[i] = (<Cell>self.args[i]).value
        self.lanes.step(
            inputs, NULL if rows.dense else <int32_t*>rows.lanes, rows.count, rows.commit
        )
        for k in range(self.lanes.outputs):
            out = self.lanes.closed[k] if rows.commit else self.lanes.live[k]
            for i in range(rows.count):
                lane = rows.lanes[i]
                if out[lane] - out[lane] != 0 or (self.endless and bit(rows.blind, lane)):
                    self.lanes.live[k][lane] = self.lanes.closed[k][lane] = NAN
                elif not rows.commit:
                    self.lanes.closed[k][lane] = out[lane]      # until it is put back
        if self.condition:
            out = self.lanes.closed[0] if rows.commit else self.lanes.live[0]
            for i in range(rows.count):
                lane = rows.lanes[i]
                put_bit(self.known, lane, out[lane] == out[lane])
                put_bit(self.truth, lane, out[lane] > 0)

    cdef void keep(self, Py_ssize_t lane, double* to) noexcept:
        cdef int k
        if self.condition:
            Cell.keep(self, lane, to)
            return
        for k in range(self.lanes.outputs):
            to[k] = self.lanes.closed[k][lane]

    cdef void put_back(self, Py_ssize_t lane, const double* kept) noexcept:
        cdef int k
        if self.condition:
            Cell.put_back(self, lane, kept)
            return
        for k in range(self.lanes.outputs):
            self.lanes.closed[k][lane] = kept[k]

    cdef void reset(self, Py_ssize_t lane) noexcept:
        Cell.reset(self, lane)
        self.lanes.reset_lane(lane)

    cdef Py_ssize_t image_size(self) noexcept:
        return 8 + (self.lanes.lane_size() + 7) // 8 * 8

    cdef void save(self, Py_ssize_t lane, char* to) noexcept:
        Cell.save(self, lane, to)
        self.lanes.save_lane(lane, to + 8)

    cdef void load(self, Py_ssize_t lane, const char* image) noexcept:
        Cell.load(self, lane, image)
        self.lanes.load_lane(lane, image + 8)


@cython.final
cdef class Output(Cell):
    """One output of an indicator with several."""
    cdef int index

    def __init__(self, step, Py_ssize_t places, Series source):
        self.index = source.lanes.kernel.entry.outputs.index(step.params[0])
        self.value = source.lanes.closed[self.index]
        self.borrowed = True


cdef relink(Cell output):
    """Show the values of the indicator it has now."""
    output.value = (<Series>output.args[0]).lanes.closed[(<Output>output).index]


cdef inline double shown(Cell cell, Py_ssize_t lane) noexcept:
    """What a cell says as one number: of a condition 1.0 or 0.0; NaN where it is unknown."""
    if not cell.condition:
        return cell.value[lane]
    return <double>bit(cell.truth, lane) if bit(cell.known, lane) else NAN


cdef inline void show(Cell cell, Py_ssize_t lane, double value) noexcept:
    if cell.condition:
        put_bit(cell.known, lane, value == value)
        put_bit(cell.truth, lane, value == 1.0)
    else:
        cell.value[lane] = value


cdef class Ringed(Cell):
    """What remembers the n values before the newest one."""
    cdef Py_ssize_t n
    cdef double* ring               # [lane][n]
    cdef uint32_t* place            # by lane: of the oldest value

    def __init__(self, step, Py_ssize_t places):
        self.n = step.params[0]
        self.ring = <double*>self.take(places * self.n + 1, sizeof(double))
        self.place = <uint32_t*>self.take(places, sizeof(uint32_t))
        for lane in range(places):
            self.reset(lane)

    def __dealloc__(self):
        free(self.ring)
        free(self.place)

    cdef void reset(self, Py_ssize_t lane) noexcept:
        cdef Py_ssize_t i
        Cell.reset(self, lane)
        self.place[lane] = 0
        for i in range(self.n):
            self.ring[lane * self.n + i] = NAN

    cdef Py_ssize_t image_size(self) noexcept:
        return 16 + 8 * self.n

    cdef void save(self, Py_ssize_t lane, char* to) noexcept:
        cdef uint64_t place = self.place[lane]
        Cell.save(self, lane, to)
        memcpy(to + 8, &place, 8)
        memcpy(to + 16, self.ring + lane * self.n, 8 * self.n)

    cdef void load(self, Py_ssize_t lane, const char* image) noexcept:
        cdef uint64_t place
        Cell.load(self, lane, image)
        memcpy(&place, image + 8, 8)
        self.place[lane] = <uint32_t>place
        memcpy(self.ring + lane * self.n, image + 16, 8 * self.n)

    cdef inline void push(self, Py_ssize_t lane, double value) noexcept:
        """Take a value in the place of the oldest one."""
        if self.n:
            self.ring[lane * self.n + self.place[lane]] = value
            self.place[lane] = (self.place[lane] + 1) % <uint32_t>self.n


@cython.final
cdef class Lag(Ringed):
    """The value n rows ago, of a number or a condition."""

    cdef void run(self, Rows* rows):
        cdef Cell arg = self.args[0]
        cdef double* ring
        cdef Py_ssize_t i, lane
        for i in range(rows.count):
            lane = rows.lanes[i]
            if self.n == 0:
                show(self, lane, shown(arg, lane))
                continue
            ring = self.ring + lane * self.n
            show(self, lane, ring[self.place[lane]])
            if rows.commit:
                self.push(lane, shown(arg, lane))


@cython.final
cdef class Trend(Ringed):
    """``rising`` and ``falling``: beyond each of the n values before."""
    cdef bint up

    def __init__(self, step, Py_ssize_t places):
        Ringed.__init__(self, step, places)
        self.up = step.op == "rising"

    cdef void run(self, Rows* rows):
        cdef const double* xs = (<Cell>self.args[0]).value
        cdef double* ring
        cdef Py_ssize_t i, k, lane
        cdef double x, other
        cdef bint known, truth
        for i in range(rows.count):
            lane = rows.lanes[i]
            x = xs[lane]
            ring = self.ring + lane * self.n
            known = x == x
            truth = True
            for k in range(self.n):
                other = ring[k]
                known &= other == other
                truth &= x > other if self.up else x < other
            put_bit(self.known, lane, known)
            put_bit(self.truth, lane, known and truth)
            if rows.commit:
                self.push(lane, x)


cdef enum Flag:
    FALSE = 0
    TRUE = 1
    UNKNOWN = 2

cdef struct Tally:
    uint32_t place              # in the ring, of the oldest flag
    uint32_t true_count
    uint32_t unknown_count
    uint32_t spare


cdef inline Flag flag_at(Cell cell, Py_ssize_t lane) noexcept:
    if not bit(cell.known, lane):
        return UNKNOWN
    return TRUE if bit(cell.truth, lane) else FALSE


@cython.final
cdef class Flags(Cell):
    """``any_of``, ``all_of`` and ``count``: how often true in the last n rows."""
    cdef Py_ssize_t n
    cdef str op
    cdef uint8_t* ring              # [lane][n]: Flag
    cdef Tally* tallies

    def __init__(self, step, Py_ssize_t places):
        self.n = step.params[0]
        self.op = step.op
        self.ring = <uint8_t*>self.take(places * self.n + 1, 1)
        self.tallies = <Tally*>self.take(places, sizeof(Tally))
        for lane in range(places):
            self.reset(lane)

    def __dealloc__(self):
        free(self.ring)
        free(self.tallies)

    cdef void run(self, Rows* rows):
        cdef Cell arg = self.args[0]
        cdef Tally tally
        cdef uint8_t* ring
        cdef Py_ssize_t i, lane
        cdef Flag flag
        cdef bint known
        for i in range(rows.count):
            lane = rows.lanes[i]
            ring = self.ring + lane * self.n
            tally = self.tallies[lane]
            flag = flag_at(arg, lane)
            tally.true_count += (flag == TRUE) - <int>(ring[tally.place] == TRUE)
            tally.unknown_count += (flag == UNKNOWN) - <int>(ring[tally.place] == UNKNOWN)
            known = tally.unknown_count == 0
            if self.condition:
                put_bit(self.known, lane, known)
                put_bit(self.truth, lane, known and (
                    tally.true_count == self.n if self.op == "all_of" else tally.true_count > 0
                ))
            else:
                self.value[lane] = <double>tally.true_count if known else NAN
            if rows.commit:
                ring[tally.place] = <uint8_t>flag
                tally.place = (tally.place + 1) % <uint32_t>self.n
                self.tallies[lane] = tally

    cdef void reset(self, Py_ssize_t lane) noexcept:
        cdef Tally* tally = &self.tallies[lane]
        Cell.reset(self, lane)
        tally.place = tally.true_count = 0
        tally.unknown_count = <uint32_t>self.n
        memset(self.ring + lane * self.n, UNKNOWN, self.n)

    cdef Py_ssize_t image_size(self) noexcept:
        return 8 + sizeof(Tally) + (self.n + 7) // 8 * 8

    cdef void save(self, Py_ssize_t lane, char* to) noexcept:
        Cell.save(self, lane, to)
        memcpy(to + 8, &self.tallies[lane], sizeof(Tally))
        memset(to + 8 + sizeof(Tally), 0, (self.n + 7) // 8 * 8)
        memcpy(to + 8 + sizeof(Tally), self.ring + lane * self.n, self.n)

    cdef void load(self, Py_ssize_t lane, const char* image) noexcept:
        Cell.load(self, lane, image)
        memcpy(&self.tallies[lane], image + 8, sizeof(Tally))
        memcpy(self.ring + lane * self.n, image + 8 + sizeof(Tally), self.n)


@cython.final
cdef class Since(Cell):
    """``bars_since``: rows since it was last true."""

    def __init__(self, step, Py_ssize_t places):
        self.step = step
        self.age = <double*>self.take(places, sizeof(double))
        for lane in range(places):
            self.age[lane] = NAN

    def __dealloc__(self):
        free(self.age)

    cdef void run(self, Rows* rows):
        cdef Cell arg = self.args[0]
        cdef Py_ssize_t i, lane
        cdef Flag flag
        cdef double age
        for i in range(rows.count):
            lane = rows.lanes[i]
            flag = flag_at(arg, lane)
            age = NAN if flag == UNKNOWN else 0.0 if flag == TRUE else self.age[lane] + 1
            if bit(rows.blind, lane):
                age = NAN
            self.value[lane] = age
            if rows.commit:
                self.age[lane] = age

    cdef void reset(self, Py_ssize_t lane) noexcept:
        Cell.reset(self, lane)
        self.age[lane] = NAN

    cdef Py_ssize_t image_size(self) noexcept:
        return 16

    cdef void save(self, Py_ssize_t lane, char* to) noexcept:
        Cell.save(self, lane, to)
        memcpy(to + 8, &self.age[lane], 8)

    cdef void load(self, Py_ssize_t lane, const char* image) noexcept:
        Cell.load(self, lane, image)
        memcpy(&self.age[lane], image + 8, 8)


cdef struct Rival:
    double value
    int32_t order
    int32_t lane


cdef int larger_first(const void* first, const void* second) noexcept nogil:
    cdef const Rival* a = <const Rival*>first
    cdef const Rival* b = <const Rival*>second
    if a.value != b.value:
        return -1 if a.value > b.value else 1
    return (a.order > b.order) - (a.order < b.order)


@cython.final
cdef class Across(Cell):
    """``rank``, ``top``, ``bottom`` and ``breadth``: among all lanes that move."""
    cdef str op
    cdef Py_ssize_t n
    cdef Rival* rivals

    def __init__(self, step, Py_ssize_t places):
        self.op = step.op
        self.n = step.params[0] if step.params else 0
        self.rivals = <Rival*>self.take(places, sizeof(Rival))

    def __dealloc__(self):
        free(self.rivals)

    cdef void run(self, Rows* rows):
        cdef const double* x = (<Cell>self.args[0]).value
        cdef Py_ssize_t i, lane, count = 0
        if self.op == "breadth":
            self.run_breadth(rows)
            return
        for i in range(rows.count):
            lane = rows.lanes[i]
            if self.condition:
                put_bit(self.known, lane, False)
                put_bit(self.truth, lane, False)
            else:
                self.value[lane] = NAN
            if x[lane] == x[lane]:
                # bottom(x, n) is top(-x, n), ties included.
                self.rivals[count].value = -x[lane] if self.op == "bottom" else x[lane]
                self.rivals[count].order = rows.order[lane]
                self.rivals[count].lane = <int32_t>lane
                count += 1
        qsort(self.rivals, count, sizeof(Rival), larger_first)
        for i in range(count):
            lane = self.rivals[i].lane
            if self.condition:
                put_bit(self.known, lane, True)
                put_bit(self.truth, lane, i < self.n)
            else:
                self.value[lane] = <double>(i + 1)

    cdef void run_breadth(self, Rows* rows) noexcept:
        cdef Cell arg = self.args[0]
        cdef Py_ssize_t i, known = 0, true = 0
        cdef double share
        for i in range(rows.count):
            known += bit(arg.known, rows.lanes[i])
            true += flag_at(arg, rows.lanes[i]) == TRUE
        share = 100.0 * true / known if known else NAN
        for i in range(rows.count):
            self.value[rows.lanes[i]] = share


cdef Cell make(object step, list args, Py_ssize_t places, int foreign):
    """The cell of a step; ``foreign`` is the market's number of the interval it reads as of."""
    cdef Cell cell
    op = step.op
    if op == "indicator":
        cell = Series(step, places)
    elif op == "output":
        cell = Output(step, places, args[0])
    elif op == "lag":
        cell = Lag(step, places)
    elif op in ("rising", "falling"):
        cell = Trend(step, places)
    elif op in ("any_of", "all_of", "count"):
        cell = Flags(step, places)
    elif op == "bars_since":
        cell = Since(step, places)
    elif op in ("rank", "top", "bottom", "breadth"):
        cell = Across(step, places)
    else:
        cell = make_plain(step, places, foreign)
    cell.args = args
    cell.remembers = isinstance(cell, (Series, Lag, Trend, Flags, Since))
    return cell
