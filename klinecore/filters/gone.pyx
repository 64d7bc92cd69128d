"""Which firings memory can neither confirm nor refute, for rows that they came of have left it.

A lane that starts anew begins with the oldest row in memory. How far a step looks back says from
which row on its value comes of rows in memory alone. What was told of rows before that stands, and
nothing new is told of them: rows that are gone may have spoken for or against it.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from klinecore.filters.cells cimport bit, put_bit
from klinecore.filters.memories cimport Since
from klinecore.filters.runner cimport Doubts, Runner
from klinecore.filters.stages cimport NEVER, Root, Stage
from klinecore.merge cimport SeriesMemory, series_close_time, series_find

from klinecore.filters.tree import OPERATIONS

__all__ = ["Gone", "Reach"]

cdef extern from *:
    int __builtin_ctzll(unsigned long long value) nogil

cdef int64_t ALWAYS = -1        # nothing that it comes of is gone
cdef int64_t FOUND = 2          # added to what is noted of a lane: 0 is nothing yet
COMPARISONS = frozenset(op for op, entry in OPERATIONS.items() if entry.memory == "symbols")


cdef class Reach:
    """How far back one step looks, and from which row on it is whole, lane by lane."""

    def __cinit__(self, step not None, list args not None, Stage stage not None):
        self.args = args
        self.stage = stage
        self.compares = step.op in COMPARISONS
        self.reads = step.op == "as_of"
        self.since = step.op == "bars_since"
        self.endless = self.compares and any([below.op == "bars_since" for below in step.walk()])
        self.back = step.rows - max([arg.rows for arg in step.args], default=1)
        self.whole_ms = <int64_t*>calloc(stage.places, 8)
        if self.since:
            self.true_ms = <int64_t*>calloc(stage.places, 8)
        if self.whole_ms == NULL or (self.since and self.true_ms == NULL):
            raise MemoryError("no memory for what is gone of a step of a filter")

    def __dealloc__(self):
        free(self.whole_ms)
        free(self.true_ms)


cdef class Gone(Doubts):
    """Looks at each row that is taken again, and notes where its filters cannot be decided."""

    def __cinit__(self, Runner runner not None):
        self.runner = runner
        self.told = {}
        self.undecided = set()
        self.reaches = {}
        self.known_reaches = {}
        self.anew = <uint64_t*>calloc(runner.places // 64, 8)
        self.again = <uint64_t*>calloc(runner.places // 64, 8)
        if self.anew == NULL or self.again == NULL:
            raise MemoryError("no memory for the lanes of filters")

    def __dealloc__(self):
        free(self.anew)
        free(self.again)

    cdef clear(self):
        """What was taken again has been told; the memory may be another one next time."""
        self.undecided.clear()
        self.reaches.clear()
        self.known_reaches.clear()
        memset(self.anew, 0, self.runner.places // 8)

    cdef forget(self, set lanes):
        cdef Reach reach
        cdef Root root
        cdef Py_ssize_t lane
        self.undecided = {one for one in self.undecided if one[1] not in lanes}
        for place in lanes:
            lane = place
            put_bit(self.anew, lane, place not in self.runner.rewound)
            for root, firings in self.told.get(place, {}).items():
                put_bit(root.told, lane, len(firings) > 0)
        for reach in self.reaches.values():
            for place in lanes:
                lane = place
                if not reach.compares:
                    reach.whole_ms[lane] = 0
                if reach.since:
                    reach.true_ms[lane] = 0

    cdef begin(self, Stage stage, Py_ssize_t lane, int64_t open_ms):
        """Firings in rows that are gone still count for cooldowns."""
        cdef const SeriesMemory* series
        cdef Root root
        cdef int64_t next_ms
        cdef Py_ssize_t left
        told = self.told.get(lane)
        if not told:
            return
        series = self.runner.series(stage, lane)
        for root in stage.roots:
            if root.quiet == NULL:
                continue
            earlier = [one for one in told.get(root, ()) if one < open_ms]
            if not earlier:
                continue
            left = root.cooldown
            next_ms = series_close_time(series, max(earlier)) + 1
            while left and next_ms < open_ms:
                left -= 1
                next_ms = series_close_time(series, next_ms) + 1
            root.quiet[lane] = <int32_t>left

    cdef look_back(self, Stage stage):
        """Note which lanes take rows again, and since when it is certain how long ago something
        was true."""
        cdef Py_ssize_t i, lane
        cdef int64_t open_ms
        cdef Reach reach
        memset(self.again, 0, self.runner.places // 8)
        for i in range(stage.count):
            lane = stage.lanes[i]
            open_ms = self.runner.series(stage, lane).open_time_ms[stage.slots[lane]]
            if open_ms <= stage.seen[lane] and bit(self.anew, lane):
                put_bit(self.again, lane, True)
        for cell in stage.sinces:
            reach = self.reach_of(cell, (<Since>cell).step)
            for i in range(stage.count):
                lane = stage.lanes[i]
                if (
                    (<Since>cell).age[lane] != 0 or reach.true_ms[lane]
                    or not bit(self.again, lane)
                ):
                    continue
                open_ms = self.runner.series(stage, lane).open_time_ms[stage.slots[lane]]
                if open_ms >= self.whole_from(reach.args[0], lane):
                    reach.true_ms[lane] = open_ms + FOUND

    cdef look(self, Stage stage, Root root):
        cdef Py_ssize_t word, lane
        cdef uint64_t left
        cdef Reach reach = None
        for word in range(self.runner.places // 64):
            # A row that is unknown and was not told needs no look.
            left = self.again[word] & root.doubtful[word] & (
                root.cell.known[word] | root.told[word]
            )
            while left:
                lane = word * 64 + __builtin_ctzll(left)
                left &= left - 1
                if reach is None:
                    reach = self.reach_of(root, root.step)
                self.look_at_row(stage, root, reach, lane)

    cdef look_at_row(self, Stage stage, Root root, Reach reach, Py_ssize_t lane):
        cdef const SeriesMemory* series = self.runner.series(stage, lane)
        cdef int64_t open_ms = series.open_time_ms[stage.slots[lane]]
        cdef int64_t whole_ms = self.whole_from(reach, lane)
        cdef bint whole = open_ms >= whole_ms
        if whole and bit(root.cell.known, lane):
            put_bit(root.doubtful, lane, False)
        # True, and known at no whole row before: that it became so may be past.
        if whole and not (
            root.edge and bit(root.cell.truth, lane)
            and (self.is_full(series) or series.open_time_ms[series.header.start] < whole_ms)
        ):
            return
        if bit(root.told, lane) and open_ms in self.told.get(lane, {}).get(root, ()):
            self.undecided.add((root, lane, open_ms))
            if root.quiet != NULL:
                root.quiet[lane] = <int32_t>root.cooldown
        elif (
            bit(stage.fires, lane) and open_ms > root.since.at[lane] and open_ms > stage.floor[lane]
        ):
            self.undecided.add((root, lane, open_ms))

    # --- how far back values reach -------------------------------------------------------------

    cdef Reach reach_of(self, owner, step):
        """Of a step that ``owner`` computes or asks for, and of all that it builds on."""
        cdef Reach reach = self.known_reaches.get(owner)
        if reach is None:
            for below in step.walk():
                reach = self.reaches.get(below.key)
                if reach is None:
                    reach = self.reaches[below.key] = Reach(
                        below, [self.reaches[arg.key] for arg in below.args],
                        self.runner.stages[below.stage],
                    )
            self.known_reaches[owner] = reach
        return reach

    cdef int64_t whole_from(self, Reach reach, Py_ssize_t lane) except -2:
        """Open time of the first row at which a step's value comes of rows in memory alone."""
        cdef int64_t found
        # Symbols that are compared are as whole as the least of them.
        cdef Py_ssize_t place = 0 if reach.compares else lane
        if reach.whole_ms[place]:
            return reach.whole_ms[place] - FOUND
        if reach.compares:
            found = self.compared_from(reach)
        elif reach.reads:
            found = self.read_from(reach, lane)
        else:
            found = self.looking_from(reach, lane)
        if found != NEVER or reach.compares:
            reach.whole_ms[place] = found + FOUND
        # Else a `bars_since` may become certain yet.
        return found

    cdef int64_t looking_from(self, Reach reach, Py_ssize_t lane) except -2:
        """Of a step that looks so many rows back on its own interval, or till something was."""
        cdef const SeriesMemory* series = self.runner.series(reach.stage, lane)
        cdef int64_t args_ms = ALWAYS
        cdef Py_ssize_t slot = series.header.start
        cdef Py_ssize_t end = slot + <Py_ssize_t>series.header.count
        cdef bint cut
        for arg in reach.args:
            args_ms = max(args_ms, self.whole_from(arg, lane))
        if reach.since:
            if args_ms == ALWAYS and not self.is_full(series):
                return ALWAYS
            return reach.true_ms[lane] - FOUND if reach.true_ms[lane] else NEVER
        cut = args_ms != ALWAYS and slot < end and series.open_time_ms[slot] < args_ms
        if cut:
            slot = <Py_ssize_t>series_find(series, args_ms)
        if not reach.back or not (cut or self.is_full(series)):
            return args_ms
        return series.open_time_ms[slot + reach.back] if slot + reach.back < end else NEVER

    cdef int64_t read_from(self, Reach reach, Py_ssize_t lane) except -2:
        """Of another interval's value as of the closes of this one."""
        cdef Reach there = reach.args[0]
        cdef const SeriesMemory* own = self.runner.series(reach.stage, lane)
        cdef const SeriesMemory* other = self.runner.series(there.stage, lane)
        cdef int64_t there_ms = self.whole_from(there, lane)
        cdef int64_t boundary_ms
        cdef uint32_t slot
        if there_ms == ALWAYS:
            if not self.is_full(other):
                return ALWAYS
            there_ms = other.open_time_ms[other.header.start]
        slot = series_find(other, there_ms)
        if slot == other.header.start + other.header.count:
            return NEVER
        boundary_ms = series_close_time(other, other.open_time_ms[slot]) + 1
        slot = series_find(own, boundary_ms)
        while slot > own.header.start and (
            series_close_time(own, own.open_time_ms[slot - 1]) + 1 >= boundary_ms
        ):
            slot -= 1
        return (
            own.open_time_ms[slot] if slot < own.header.start + own.header.count else NEVER
        )

    cdef int64_t compared_from(self, Reach reach) except -2:
        """Of a comparison of symbols: none may lack its row, nor what is compared of it."""
        cdef const SeriesMemory* series
        cdef int64_t found = ALWAYS
        cdef Py_ssize_t lane
        for lane in range(self.runner.places):
            if self.runner.order[lane] < 0:
                continue
            series = self.runner.series(reach.stage, lane)
            if self.is_full(series):
                found = max(found, series.open_time_ms[series.header.start])
            if series.header.count:
                found = max(found, self.whole_from(reach.args[0], lane))
        # When each of them was true is not waited for.
        return NEVER if reach.endless and found != ALWAYS else found

    cdef bint is_full(self, const SeriesMemory* series) noexcept:
        """Whether rows may have left it."""
        return <Py_ssize_t>series.header.count >= self.runner.market.capacity
