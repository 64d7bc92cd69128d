"""Which firings memory can neither confirm nor refute, for rows that they came of have left it.

A lane that starts anew begins with the oldest row in memory. How far a step looks back says from
which row on its value comes of rows in memory alone. What was told of rows before that stands, and
nothing new is told of them: rows that are gone may have spoken for or against it.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t

from klinecore.filters.cells cimport bit, put_bit
from klinecore.filters.memories cimport Since
from klinecore.filters.runner cimport Doubts, Runner
from klinecore.filters.stages cimport NEVER, Root, Stage
from klinecore.merge cimport SeriesMemory, series_close_time, series_find

from klinecore.filters.tree import OPERATIONS

__all__ = ["Gone"]

cdef int64_t ALWAYS = -1        # nothing that it comes of is gone
COMPARISONS = frozenset(op for op, entry in OPERATIONS.items() if entry.memory == "symbols")


cdef class Gone(Doubts):
    """Looks at each row that is taken again, and notes where its filters cannot be decided."""

    def __cinit__(self, Runner runner not None):
        self.runner = runner
        self.told = {}
        self.undecided = set()
        self.whole_ms = {}
        self.true_ms = {}

    cdef clear(self):
        """What was taken again has been told; the memory may be another one next time."""
        self.undecided.clear()
        self.whole_ms.clear()
        self.true_ms.clear()

    cdef forget(self, set lanes):
        self.undecided = {one for one in self.undecided if one[1] not in lanes}
        self.whole_ms = {key: ms for key, ms in self.whole_ms.items() if key[1] not in lanes}
        self.true_ms = {key: ms for key, ms in self.true_ms.items() if key[1] not in lanes}

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
            earlier = [one for one in told.get(root, ()) if one < open_ms]
            if root.quiet == NULL or not earlier:
                continue
            left = root.cooldown
            next_ms = series_close_time(series, max(earlier)) + 1
            while left and next_ms < open_ms:
                left -= 1
                next_ms = series_close_time(series, next_ms) + 1
            root.quiet[lane] = <int32_t>left

    cdef look_back(self, Stage stage):
        """Note since when it is certain how long ago something was true."""
        cdef Py_ssize_t i, lane
        cdef int64_t open_ms
        for cell in stage.cells:
            if not isinstance(cell, Since):
                continue
            for i in range(stage.count):
                lane = stage.lanes[i]
                if (<Since>cell).age[lane] != 0 or (cell.key, lane) in self.true_ms:
                    continue
                open_ms = self.runner.series(stage, lane).open_time_ms[stage.slots[lane]]
                if self.taken_again(stage, lane, open_ms) and (
                    open_ms >= self.whole_from((<Since>cell).step.args[0], lane)
                ):
                    self.true_ms[cell.key, lane] = open_ms

    cdef look(self, Stage stage, Root root):
        cdef Py_ssize_t i, lane
        cdef int64_t open_ms
        for i in range(stage.count):
            lane = stage.lanes[i]
            if not bit(root.doubtful, lane):
                continue
            # A row that is unknown and was not told needs no look.
            if bit(root.cell.known, lane) or root in self.told.get(lane, ()):
                open_ms = self.runner.series(stage, lane).open_time_ms[stage.slots[lane]]
                if self.taken_again(stage, lane, open_ms):
                    self.look_at_row(stage, root, lane, open_ms)

    cdef bint taken_again(self, Stage stage, Py_ssize_t lane, int64_t open_ms) except -1:
        return (
            open_ms <= stage.seen[lane]
            and lane in self.runner.rerun and lane not in self.runner.rewound
        )

    cdef look_at_row(self, Stage stage, Root root, Py_ssize_t lane, int64_t open_ms):
        cdef const SeriesMemory* series = self.runner.series(stage, lane)
        cdef int64_t whole_ms = self.whole_from(root.step, lane)
        cdef bint whole = open_ms >= whole_ms
        if whole and bit(root.cell.known, lane):
            put_bit(root.doubtful, lane, False)
        # True, and known at no whole row before: that it became so may be past.
        if whole and not (
            root.edge and bit(root.cell.truth, lane)
            and (self.is_full(series) or series.open_time_ms[series.header.start] < whole_ms)
        ):
            return
        if open_ms in self.told.get(lane, {}).get(root, ()):
            self.undecided.add((root, lane, open_ms))
            if root.quiet != NULL:
                root.quiet[lane] = <int32_t>root.cooldown
        elif bit(stage.fires, lane):
            self.undecided.add((root, lane, open_ms))

    # --- how far back values reach -------------------------------------------------------------

    cdef int64_t whole_from(self, step, Py_ssize_t lane) except -2:
        """Open time of the first row at which a step's value comes of rows in memory alone."""
        cdef int64_t found
        # Symbols that are compared are as whole as the least of them.
        key = step.key, -1 if step.op in COMPARISONS else lane
        if key in self.whole_ms:
            return self.whole_ms[key]
        if step.op in COMPARISONS:
            found = self.compared_from(step)
        elif step.op == "as_of":
            found = self.read_from(step, lane)
        else:
            found = self.looking_from(step, lane)
        if found != NEVER or step.op in COMPARISONS:
            self.whole_ms[key] = found
        # Else a `bars_since` may become certain yet.
        return found

    cdef int64_t looking_from(self, step, Py_ssize_t lane) except -2:
        """Of a step that looks so many rows back on its own interval, or till something was."""
        cdef const SeriesMemory* series = self.runner.series(
            self.runner.stages[step.stage], lane
        )
        cdef int64_t args_ms = ALWAYS
        cdef Py_ssize_t back = step.rows - max([arg.rows for arg in step.args], default=1)
        cdef Py_ssize_t slot = series.header.start
        cdef Py_ssize_t end = slot + <Py_ssize_t>series.header.count
        cdef bint cut
        for arg in step.args:
            args_ms = max(args_ms, self.whole_from(arg, lane))
        if step.op == "bars_since":
            if args_ms == ALWAYS and not self.is_full(series):
                return ALWAYS
            return self.true_ms.get((step.key, lane), NEVER)
        cut = args_ms != ALWAYS and slot < end and series.open_time_ms[slot] < args_ms
        if cut:
            slot = <Py_ssize_t>series_find(series, args_ms)
        if not back or not (cut or self.is_full(series)):
            return args_ms
        return series.open_time_ms[slot + back] if slot + back < end else NEVER

    cdef int64_t read_from(self, step, Py_ssize_t lane) except -2:
        """Of another interval's value as of the closes of this one."""
        cdef const SeriesMemory* own = self.runner.series(self.runner.stages[step.stage], lane)
        cdef const SeriesMemory* other = self.runner.series(
            self.runner.stages[step.args[0].stage], lane
        )
        cdef int64_t there_ms = self.whole_from(step.args[0], lane)
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

    cdef int64_t compared_from(self, step) except -2:
        """Of a comparison of symbols: none may lack its row, nor what is compared of it."""
        cdef const SeriesMemory* series
        cdef Stage stage = self.runner.stages[step.stage]
        cdef int64_t found = ALWAYS
        cdef Py_ssize_t lane
        cdef bint endless = any([below.op == "bars_since" for below in step.walk()])
        for lane in range(self.runner.places):
            if self.runner.order[lane] < 0:
                continue
            series = self.runner.series(stage, lane)
            if self.is_full(series):
                found = max(found, series.open_time_ms[series.header.start])
            if series.header.count:
                found = max(found, self.whole_from(step.args[0], lane))
        # When each of them was true is not waited for.
        return NEVER if endless and found != ALWAYS else found

    cdef bint is_full(self, const SeriesMemory* series) noexcept:
        """Whether rows may have left it."""
        return <Py_ssize_t>series.header.count >= self.runner.market.capacity
