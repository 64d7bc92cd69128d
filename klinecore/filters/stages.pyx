"""Which row each lane of a group of steps stands at, and where the filters among them fire."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from klinecore.filters.cells cimport Cell, put_bit

__all__ = ["Root", "Stage"]

NEVER = <int64_t>1 << 62

cdef extern from *:
    int __builtin_ctzll(unsigned long long value) nogil


cdef class Times:
    """One time per lane, at first -1 on all."""

    def __cinit__(self, Py_ssize_t places):
        self.places = places
        self.size = 8 * places
        self.at = <int64_t*>calloc(places, 8)
        if self.at == NULL:
            raise MemoryError(f"no {self.size} bytes for the times of a filter")
        for lane in range(places):
            self.at[lane] = -1

    def __dealloc__(self):
        free(self.at)

    cdef Times copy(self):
        cdef Times other = Times(self.places)
        memcpy(other.at, self.at, self.size)
        return other


cdef class Root:
    """The condition of one filter, and at which rows it fires."""

    def __cinit__(self, int number, step, Cell cell, *, bint edge, Py_ssize_t cooldown):
        cdef Py_ssize_t places = cell.places
        self.number = number
        self.step = step
        self.cell = cell
        self.edge = edge
        self.cooldown = cooldown
        self.rows = step.rows
        self.others = {}
        for below in step.walk():
            if below.stage.interval != step.stage.interval:
                self.others[below.stage] = max(below.rows, self.others.get(below.stage, 0))
        self.endless = any(below.endless for below in step.walk())
        self.armed = <uint64_t*>calloc(places // 64, 8)
        self.doubtful = <uint64_t*>calloc(places // 64, 8)
        self.told = <uint64_t*>calloc(places // 64, 8)
        self.since = Times(places)
        self.anchor = Times(places)
        self.size = places // 8 * 3
        if cooldown:
            self.quiet = <int32_t*>calloc(places, 4)
            self.size += 4 * places
        if step.stage.across:
            self.armed_before = <uint64_t*>calloc(places // 64, 8)
            self.size += places // 8
            if self.armed_before == NULL:
                raise MemoryError(f"no {self.size} bytes for a filter")
            if cooldown:
                self.quiet_before = <int32_t*>calloc(places, 4)
                self.size += 4 * places
                if self.quiet_before == NULL:
                    raise MemoryError(f"no {self.size} bytes for a filter")
        if (
            self.armed == NULL or self.doubtful == NULL or self.told == NULL
            or (cooldown and self.quiet == NULL)
        ):
            raise MemoryError(f"no {self.size} bytes for a filter")
        self.part_names = self.part_cells = ()

    def __dealloc__(self):
        free(self.armed)
        free(self.doubtful)
        free(self.told)
        free(self.armed_before)
        free(self.quiet_before)
        free(self.quiet)

    cdef own(self):
        """Have times of its own, to be set."""
        self.since = self.since.copy()
        self.anchor = self.anchor.copy()

    cdef share(self, dict held):
        """Have those times that another root of the stage has, if they are the same.

        They stay the same: what happens to a lane happens to all roots of its stage.
        """
        self.since = held.setdefault(b"s" + (<char*>self.since.at)[:self.since.size], self.since)
        self.anchor = held.setdefault(
            b"a" + (<char*>self.anchor.at)[:self.anchor.size], self.anchor
        )

    cdef void reset(self, Py_ssize_t lane) noexcept:
        self.anchor.at[lane] = -1
        put_bit(self.armed, lane, False)
        put_bit(self.doubtful, lane, True)
        if self.quiet != NULL:
            self.quiet[lane] = 0
        if self.armed_before != NULL:
            put_bit(self.armed_before, lane, False)
        if self.quiet_before != NULL:
            self.quiet_before[lane] = 0

    cdef tuple part_values(self, Py_ssize_t lane):
        """The parts at the row the lane stands at: conditions 1.0 and 0.0; NaN unknown."""
        return tuple([(<Cell>cell).number(lane) for cell in self.part_cells])

    cdef void begin_row(self, bint again) noexcept:
        """Keep what was before this row; or go back to that, if it is the same once more."""
        cdef Py_ssize_t places = self.cell.places
        if again:
            memcpy(self.armed, self.armed_before, places // 8)
            if self.quiet != NULL:
                memcpy(self.quiet, self.quiet_before, 4 * places)
        else:
            memcpy(self.armed_before, self.armed, places // 8)
            if self.quiet != NULL:
                memcpy(self.quiet_before, self.quiet, 4 * places)

    cdef uint64_t cool(self, uint64_t mask, uint64_t fires, Py_ssize_t word) noexcept:
        """Which of the firings are not within ``cooldown`` rows of the last one."""
        cdef Py_ssize_t lane
        cdef uint64_t allowed = 0, left = mask
        while left:
            lane = word * 64 + __builtin_ctzll(left)
            left &= left - 1
            if self.quiet[lane]:
                self.quiet[lane] -= 1
            elif fires >> (lane & 63) & 1:
                allowed |= <uint64_t>1 << (lane & 63)
                self.quiet[lane] = <int32_t>self.cooldown
        return allowed


cdef class Stage:
    """Steps that advance together, and the row at which each lane stands."""

    def __cinit__(self, key, Py_ssize_t places, uint32_t interval):
        cdef Py_ssize_t i
        self.key = key
        self.places = places
        self.across = key.across
        self.interval = interval
        self.cells = []
        self.roots = []
        self.sinces = []
        self.below = []
        self.reads = []
        self.readers = []
        self.fed = <int64_t*>self.take(8 * places)
        self.seen = <int64_t*>self.take(8 * places)
        self.floor = <int64_t*>self.take(8 * places)
        self.limit = <int64_t*>self.take(8 * places)
        self.due_ms = <int64_t*>self.take(8 * places)
        self.hole_ms = <int64_t*>self.take(8 * places)
        self.stretch = <int32_t*>self.take(4 * places)
        self.slots = <uint32_t*>self.take(4 * places)
        self.lanes = <int32_t*>self.take(4 * places)
        self.mask = <uint64_t*>self.take(places // 8)
        self.fires = <uint64_t*>self.take(places // 8)
        self.told = <uint64_t*>self.take(places // 8)
        self.fresh = <uint64_t*>self.take(places // 8)
        self.blind = <uint64_t*>self.take(places // 8)
        self.missing = <uint64_t*>self.take(places // 8)
        self.tickerless = <uint64_t*>self.take(places // 8)
        self.done_ms = -1
        for i in range(places):
            self.fed[i] = self.seen[i] = self.floor[i] = -1
            self.limit[i] = NEVER

    def __dealloc__(self):
        free(self.fed)
        free(self.seen)
        free(self.floor)
        free(self.limit)
        free(self.due_ms)
        free(self.hole_ms)
        free(self.stretch)
        free(self.slots)
        free(self.lanes)
        free(self.mask)
        free(self.fires)
        free(self.told)
        free(self.fresh)
        free(self.blind)
        free(self.missing)
        free(self.tickerless)

    cdef list times(self):
        """Those that its filters have, again and again where they share them."""
        cdef Root root
        return [one for root in self.roots for one in (root.since, root.anchor)]

    cdef void* take(self, size_t size) except NULL:
        cdef void* memory = calloc(1, size)
        if memory == NULL:
            raise MemoryError(f"no {size} bytes for the filters of an interval")
        self.size += size
        return memory

    cdef void reset(self, Py_ssize_t lane):
        """Stand before the lane's first row."""
        self.fed[lane] = -1
        self.due_ms[lane] = 0
        self.stretch[lane] = 0
        self.done_ms = -1
        put_bit(self.blind, lane, False)
        for cell in self.cells:
            (<Cell>cell).reset(lane)
        for root in self.roots:
            (<Root>root).reset(lane)

    cdef forget(self, Py_ssize_t lane):
        """Let the lane be another symbol's."""
        cdef int64_t done_ms = self.done_ms
        self.reset(lane)
        self.done_ms = done_ms          # the others were compared, and stay so
        self.seen[lane] = self.floor[lane] = -1
        for root in self.roots:
            (<Root>root).since.at[lane] = -1
